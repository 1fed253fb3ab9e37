"""An OpenFlow connection to one bridge, to be told at once when its flows or it itself go.

ovs-vswitchd hangs up when it ends, however it ends. While it lives it reports
flows that are deleted or modified, headers that are there or come (Nicira's flow
monitor, OpenFlow 1.0, in Open vSwitch since 1.9; nicira-ext.h), and ports whose
configuration changes. It wants no packets.
"""
from struct import Struct
from typing import Dict, FrozenSet, Iterator, Mapping, NamedTuple, Set, Tuple

from xsisolate.dom0.ovs.ear import VENDOR, Ear, message
from xsisolate.openflow.ownership import REGISTRY, SELF_FILLED

PORT_STATUS, STATS_REQUEST, STATS_REPLY = 12, 16, 17
# Vendor statistics of Nicira: OFPST_VENDOR, flags; vendor, subtype 2 is the flow
# monitor, padding; then twice: its id, flags, out_port (any), length of match, table, padding.
# Of all tables deletions and changes, of the registry what is there today and what comes, too.
MONITOR = Struct('!HHII4xIHHHB5xIHHHB5x')
INITIAL, ADD, DELETE, MODIFY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MONITOR_ARGUMENTS = (0xffff, 0, 0x00002320, 2, 1, DELETE | MODIFY, 0xffff, 0, 0xff,
                     2, INITIAL | ADD | DELETE | MODIFY, 0xffff, 0, REGISTRY)
UPDATES = 16                # where a reply's updates begin
UPDATE = Struct('!HH10xBxQ')    # length, what has happened; table, cookie
FLOW_ADDED, FLOW_DELETED, FLOW_MODIFIED = 0, 1, 2
# NXT_SET_ASYNC_CONFIG: vendor, subtype 19; packets in, port status, flows removed, each as
# master (which we are) and as slave.
ASYNC = Struct('!II6I')
DELETED, MODIFIED = 1, 2    # of a port's status: why we are told
ASYNC_ARGUMENTS = (0x00002320, 19, 0, 0, 1 << DELETED | 1 << MODIFIED, 0, 0, 0)
STATUS = Struct('!B7xH6x16sI')      # why; port, name, configuration
NO_FLOOD = 1 << 4
LENGTH = 128


class News(NamedTuple):
    """What a bridge has said since it was listened to."""

    alive: bool                 # the connection
    flows: bool                 # some were deleted or modified
    ports: Mapping[str, bool]   # ports taken out of floods (False) or put into them
    come: FrozenSet[int] = frozenset()      # cookies of headers that are there now
    gone: FrozenSet[int] = frozenset()      # ... and of ports that have gone


class FlowMonitor:
    """What one bridge says of its flows and ports."""

    def __init__(self, bridge: str) -> None:
        self.bridge = bridge
        self._ear = Ear(bridge, message(STATS_REQUEST, 2, MONITOR.pack(*MONITOR_ARGUMENTS))
                        + message(VENDOR, 3, ASYNC.pack(*ASYNC_ARGUMENTS)), LENGTH)
        self._flooded: Dict[str, bool] = {}     # ports that we were told of

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is no connection."""
        return self._ear.fileno()

    def connect(self) -> bool:
        """Connect and subscribe; False if the bridge does not answer yet."""
        self._flooded.clear()
        return self._ear.connect()

    def close(self) -> None:
        """Hang up."""
        self._ear.close()
        self._flooded.clear()

    def read(self) -> News:
        """Return what has been said since the last time."""
        flows = False
        ports: Dict[str, bool] = {}
        come: Set[int] = set()
        gone: Set[int] = set()
        for kind, _, body in self._ear.hear():
            if kind == STATS_REPLY:
                flows = _take_updates(body, come, gone) or flows
            elif kind == PORT_STATUS:
                ports.update(self._flood_changed(body))
        if self.fileno() < 0:
            self._flooded.clear()
        return News(self.fileno() >= 0, flows, ports, frozenset(come), frozenset(gone))

    def _flood_changed(self, body: bytes) -> Iterator[Tuple[str, bool]]:
        """Yield a port, and whether it is flooded, unless it is known that this has not changed.

        Its link may have, which a guest can take down and up all day.
        """
        why, _, name, config = STATUS.unpack_from(body.ljust(STATUS.size, b'\0'))
        port = name.rstrip(b'\0').decode('ascii', 'replace')
        flooded = not config & NO_FLOOD
        if why == DELETED:
            self._flooded.pop(port, None)
        elif self._flooded.get(port) is not flooded:
            self._flooded[port] = flooded
            yield port, flooded


def _take_updates(body: bytes, come: Set[int], gone: Set[int]) -> bool:
    """Sort the headers of a reply; return whether any flow was deleted or modified.

    A reply that makes no sense counts as if one was.
    """
    place, events = UPDATES, set()
    while len(body) - place >= UPDATE.size:
        length, event, table, cookie = UPDATE.unpack_from(body, place)
        events.add(FLOW_ADDED if table in SELF_FILLED else event)
        if table == REGISTRY and event in (FLOW_ADDED, FLOW_DELETED, FLOW_MODIFIED):
            to, other = (gone, come) if event == FLOW_DELETED else (come, gone)
            to.add(cookie)
            other.discard(cookie)
        place += max(length, UPDATE.size)
    return events != {FLOW_ADDED} and len(body) != UPDATES
