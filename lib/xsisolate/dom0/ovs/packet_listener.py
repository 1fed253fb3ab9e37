"""An OpenFlow connection to one bridge, to be sent the frames that our flows copy to us.

Only those: the flows name the number that this connection gives itself (nicira-ext.h). The switch
keeps a hundred of them for a connection that does not read, and drops what is more.
"""
from struct import Struct
from typing import Iterator, NamedTuple

from xsisolate.dom0.ovs.ear import NICIRA, VENDOR, Ear, message
from xsisolate.openflow.ownership import COPIES, LISTENER

SET_NUMBER = Struct('!II6xH')       # vendor, NXT_SET_CONTROLLER_ID; number
SET_FORMAT = Struct('!III')         # vendor, NXT_SET_PACKET_IN_FORMAT; with registers
# vendor, NXT_SET_ASYNC_CONFIG; packets in, port status, flows removed, as master and as slave
ASYNC = Struct('!II6I')
SENT_BY_ACTION = 1 << 1
GREETING = (message(VENDOR, 2, SET_NUMBER.pack(NICIRA, 20, LISTENER))
            + message(VENDOR, 3, SET_FORMAT.pack(NICIRA, 16, 1))
            + message(VENDOR, 4, ASYNC.pack(NICIRA, 19, SENT_BY_ACTION, 0, 0, 0, 0, 0)))
# vendor, NXT_PACKET_IN; buffer, length of the frame, reason, table, cookie, length of the match
PACKET_IN = Struct('!IIIHBBQH6x')
FIELD = Struct('!I')                # of the match: class, number, length
NETWORK_FIELD = 1 << 16 | 13 << 9 | 4       # register 13
PADDING = 2                         # so that the IP header is aligned
LENGTH = 2048
PIECES = 4                          # of 64 KB, that are read at one time


class CopiedFrame(NamedTuple):
    """A frame, the network that it is on, and whether a VIF asks something by it."""

    network: int
    frame: bytes
    asks: bool


class PacketListener(Ear):
    """A connection to a bridge."""

    def __init__(self, bridge: str) -> None:
        super().__init__(bridge, GREETING, LENGTH)

    def read(self) -> Iterator[CopiedFrame]:
        """Yield frames that have come since the last time, not more than we have time for."""
        for kind, _, body in self.hear(PIECES):
            if kind == VENDOR and len(body) >= PACKET_IN.size:
                vendor, subtype, _, _, _, table, _, match = PACKET_IN.unpack_from(body)
                if (vendor, subtype) == (NICIRA, 17):
                    at = PACKET_IN.size + match + -match % 8 + PADDING
                    yield CopiedFrame(_find_network(body[PACKET_IN.size:PACKET_IN.size + match]),
                                      body[at:], table == COPIES)


def _find_network(match: bytes) -> int:
    """Return the network among a packet's registers, 0 if it has none."""
    at = 0
    while at + FIELD.size <= len(match):
        field, = FIELD.unpack_from(match, at)
        if field == NETWORK_FIELD:
            return int.from_bytes(match[at + FIELD.size:at + FIELD.size + 4], 'big')
        at += FIELD.size + (field & 0xff)
    return 0
