"""A connection to a bridge's management socket that listens, in OpenFlow 1.0, and never waits.

The switch sends it only what its greeting asks for. It must name a length of packets that it
wants, else the switch tells it nothing of its own accord.
"""
from socket import AF_UNIX, SOCK_STREAM, socket
from struct import Struct
from typing import Iterator, Optional, Tuple

from xsisolate.dom0.ovs.rundir import find_file

HEADER = Struct('!BBHI')            # version, type, length, xid
VERSION = 1
HELLO, ECHO_REQUEST, ECHO_REPLY, VENDOR, GET_CONFIG, CONFIG_REPLY, SET_CONFIG = 0, 2, 3, 4, 7, 8, 9
NICIRA = 0x00002320
CONFIG = Struct('!HH')      # the switch's way with fragments, which stays; length of packets
PIECE = 1 << 16


class Ear:
    """A connection to a bridge."""

    def __init__(self, bridge: str, greeting: bytes, length: int) -> None:
        self.bridge = bridge
        self._greeting, self._length = greeting, length
        self._received = b''
        self._socket: Optional[socket] = None

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is no connection."""
        return self._socket.fileno() if self._socket else -1

    def connect(self) -> bool:
        """Connect and subscribe; False if the bridge does not answer yet."""
        self.close()
        fresh = socket(AF_UNIX, SOCK_STREAM)
        fresh.setblocking(False)
        try:
            fresh.connect(find_file(self.bridge + '.mgmt'))
            fresh.sendall(message(HELLO, 1) + self._greeting + message(GET_CONFIG, 9))
        except OSError:
            fresh.close()
            return False
        self._socket = fresh
        return True

    def close(self) -> None:
        """Hang up."""
        if self._socket:
            self._socket.close()
        self._socket, self._received = None, b''

    def hear(self, pieces: Optional[int] = None) -> Iterator[Tuple[int, int, bytes]]:
        """Yield (type, xid, body) of what has been said, at most so many pieces of it."""
        try:
            while self._socket and pieces != 0:
                piece = self._socket.recv(PIECE)
                if not piece:
                    self.close()
                    break
                pieces = None if pieces is None else pieces - 1
                self._received += piece
                for kind, xid, body in self._messages():
                    if kind in (ECHO_REQUEST, CONFIG_REPLY):
                        self._socket.sendall(self._reply(kind, xid, body))
                    else:
                        yield kind, xid, body
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _messages(self) -> Iterator[Tuple[int, int, bytes]]:
        """Yield the whole messages among what has been received."""
        received, at = self._received, 0
        while len(received) - at >= HEADER.size:
            _, kind, length, xid = HEADER.unpack_from(received, at)
            if len(received) - at < length:
                break
            body = received[at + HEADER.size:at + length]
            at += max(length, HEADER.size)
            yield kind, xid, body
        self._received = received[at:]

    def _reply(self, kind: int, xid: int, body: bytes) -> bytes:
        """Return the answer to an echo, or to how the switch is configured."""
        if kind == ECHO_REQUEST:
            return message(ECHO_REPLY, xid, body)
        fragments, _ = CONFIG.unpack_from(body.ljust(CONFIG.size, b'\0'))
        return message(SET_CONFIG, xid, CONFIG.pack(fragments, self._length))


def message(kind: int, xid: int, body: bytes = b'') -> bytes:
    """Return a message as it goes over the wire."""
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body
