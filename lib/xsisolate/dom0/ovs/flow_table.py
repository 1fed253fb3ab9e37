"""ovs-vswitchd's flow tables: one dump, one bundle, no decisions.

In OpenFlow over the bridge's own socket, because an ovs-ofctl takes as long to
start as we do. Version 1.4 has bundles as a standard; a bridge that allows other
versions only must be told to allow it too (see dataplane/bridge_settings.py).
"""
from struct import Struct

from xsisolate.dom0.ovs.channel import OPENFLOW10, OPENFLOW14, Channel, Refused
from xsisolate.dom0.ovs.unixctl import Vswitchd
from xsisolate.errors import HostError
from xsisolate.openflow.flow import Flow, FlowDiff
from xsisolate.openflow.message import ALL_TABLES, EXACT, FlowCodec, question
from xsisolate.openflow.ownership import HEADER, HEADER_MASK, OWNER, OWNER_MASK, REGISTRY
from xsisolate.typing_compat import (TYPE_CHECKING, Dict, FrozenSet, Iterable, Iterator, List,
                                     Mapping, NamedTuple, Optional, Sequence, Tuple, Type)

if TYPE_CHECKING:
    from types import TracebackType

# Later versions do not know that a port can be left out of floods.
PROTOCOLS = ('OpenFlow10', 'OpenFlow14')
TIMEOUT_S = 20.0
FLOWS, PORTS = 1, 13                    # what a question is about
PORT_MOD = 15                           # of OpenFlow 1.0
PORT = Struct('!H6s16sI20x')            # number, MAC address, name, settings, ...
PORT_CHANGE = Struct('!H6sIII4x')       # number, MAC address, settings, which of them, ...
NO_FLOOD = 1 << 4
PORTS_MAX = 0xff00                      # above are ports with names, such as LOCAL


# (cookie, note) of flows that record our items, and flows that should, but do not
Notes = Tuple[List[Tuple[int, bytes]], List[Flow]]


class PortSettings(NamedTuple):
    """A port as OpenFlow 1.0 describes it."""

    mac: bytes
    no_flood: bool


def read_flows(bridge: str) -> FrozenSet[Flow]:
    """Return the flows on a bridge that are ours."""
    return _read(bridge, [question(ALL_TABLES, OWNER, OWNER_MASK)])


def read_notes(bridge: str) -> Notes:
    """Return the cookies and notes of the flows that record our items."""
    with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel:
        return _parse_notes(_ask_headers(channel))


class SwitchQuestion:
    """What a hook asks a switch before all else; meanwhile it looks elsewhere.

    For each time that it is spoken to, an ovs-vswitchd with hundreds of ports takes a millisecond.
    """

    def __init__(self, bridge: str) -> None:
        self._channels = [Channel(bridge, version, TIMEOUT_S)
                          for version in (OPENFLOW14, OPENFLOW10)]
        flows, ports = self._channels
        self._headers = _ask_headers(flows)
        self._ports = ports.ask(PORTS, b'')

    def __enter__(self) -> 'SwitchQuestion':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        for channel in self._channels:
            channel.close()

    def read_notes(self) -> Notes:
        """Return the cookies and notes of the flows that record our items."""
        return _parse_notes(self._headers)

    def read_no_flood(self) -> Mapping[int, bool]:
        """Return, per port, whether the switch leaves it out when it floods."""
        return _no_flood(_parse_ports(self._ports))


def _ask_headers(channel: Channel) -> Iterator[bytes]:
    return channel.ask(FLOWS, question(REGISTRY, OWNER | HEADER, HEADER_MASK))


def _parse_notes(parts: Iterable[bytes]) -> Notes:
    codec = FlowCodec()
    notes: List[Tuple[int, bytes]] = []
    strays: List[Flow] = []
    for part in parts:
        more, odd = codec.read_headers(part)
        notes += more
        strays += odd
    return notes, strays


def read_items(bridge: str, cookies: Iterable[int]) -> FrozenSet[Flow]:
    """Return the flows with one of these cookies: the switch finds each without a search."""
    questions = _about(cookies)
    return _read(bridge, questions) if questions else frozenset()


def _read(bridge: str, questions: Sequence[bytes]) -> FrozenSet[Flow]:
    codec = FlowCodec()
    with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel:
        return frozenset(flow for part in channel.ask(FLOWS, *questions)
                         for flow in codec.read(part))


def _about(cookies: Iterable[int]) -> List[bytes]:
    return [question(ALL_TABLES, cookie, EXACT) for cookie in sorted(cookies)]


def apply_diff(bridge: str, diff: FlowDiff, cookies: Iterable[int] = ()) -> FrozenSet[Flow]:
    """Change the flows in one bundle: all of it happens, or none.

    Deletions come first, so that they do not take away what is added; in a
    bundle no packet sees the state between. Returns the flows with these cookies as they are then.
    """
    codec, questions = FlowCodec(), _about(cookies)
    removals = tuple(diff.removals())
    flows = removals + diff.add
    changes = [codec.delete(flow) for flow in removals]
    changes += [codec.add(flow) for flow in diff.add]
    with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel:
        try:
            if not questions:
                channel.change(changes)
            return frozenset(flow for part in (
                channel.change_and_ask(changes, FLOWS, *questions) if questions else ())
                for flow in codec.read(part))
        except Refused as error:
            flow = flows[error.index if 0 <= error.index < len(flows) else 0]
            raise HostError('%s, for table=%d,%s actions=%s' % (
                error, flow.table, flow.match, flow.actions[:80])) from error


def read_no_flood(bridge: str) -> Mapping[int, bool]:
    """Return, per port, whether the switch leaves it out when it floods."""
    with Channel(bridge, OPENFLOW10, TIMEOUT_S) as channel:
        return _no_flood(_read_ports(channel))


def _no_flood(ports: Mapping[int, PortSettings]) -> Mapping[int, bool]:
    return {number: port.no_flood for number, port in ports.items()}


def set_no_flood(bridge: str, ofports: Iterable[int], wanted: bool) -> List[int]:
    """Have ports left out of floods, or not; what was set is read back and returned."""
    ofports = list(ofports)
    if not ofports:
        return []
    with Channel(bridge, OPENFLOW10, TIMEOUT_S) as channel:
        before = _find_ports(channel, bridge, ofports)
        deviating = [number for number in ofports if before[number].no_flood is not wanted]
        if not deviating:
            return []
        channel.send((PORT_MOD, PORT_CHANGE.pack(number, before[number].mac, NO_FLOOD * wanted,
                                                 NO_FLOOD, 0)) for number in deviating)
        after = _find_ports(channel, bridge, deviating)
    if any(after[number].no_flood is not wanted for number in deviating):
        raise HostError('bridge %s did not change the flooding of ports %s'
                        % (bridge, ', '.join(map(str, ofports))))
    return deviating


def _find_ports(channel: Channel, bridge: str, ofports: List[int]) -> Dict[int, PortSettings]:
    """Return the settings of all ports; raise HostError if one of those wanted has gone."""
    found = _read_ports(channel)
    gone = [number for number in ofports if number not in found]
    if gone:
        raise HostError("bridge %s: couldn't find port %d" % (bridge, gone[0]))
    return found


def _read_ports(channel: Channel) -> Dict[int, PortSettings]:
    return _parse_ports(channel.ask(PORTS, b''))


def _parse_ports(parts: Iterable[bytes]) -> Dict[int, PortSettings]:
    return {number: PortSettings(mac, bool(settings & NO_FLOOD))
            for part in parts
            for number, mac, _, settings in PORT.iter_unpack(part) if number < PORTS_MAX}


def forget_addresses(bridge: str, snooping: bool) -> None:
    """Let the switch learn anew which MAC addresses and multicast groups are where."""
    with Vswitchd(TIMEOUT_S) as vswitchd:
        for table in ('fdb', 'mdb') if snooping else ('fdb',):
            vswitchd.tell(table + '/flush', bridge)


def add_for(bridge: str, flow: Flow, seconds: int) -> None:
    """Add a flow that goes by itself when its time is over."""
    with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel:
        channel.change([FlowCodec().add(flow, seconds)])


def wait_for_verdicts(bridge: str, flow: Flow) -> None:
    """Wait until no packet is judged as it would have been before this call.

    The switch caches its verdicts, and goes through them only after it has said that a
    port is hidden or a flow in place: on a busy host 0.1 s later. A cached flood may name a
    port that was not hidden yet, or that has the number of one that is gone.

    `revalidator/wait` returns when a pass over the cache ends. That may be a pass that began
    before this call, so we call it twice. Rewriting a flow that is there begins a new pass and
    wakes ovs-vswitchd, which may otherwise sleep past the end of the last pass (udpif_run and
    run in ofproto-dpif.c). It is a strict modify, not an add: a flow that was deleted meanwhile
    must not come back alone.
    """
    again = FlowCodec().touch(flow)
    try:
        with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel, Vswitchd(TIMEOUT_S) as vswitchd:
            for _ in range(2):
                vswitchd.tell('revalidator/wait', poke=lambda: channel.change([again]))
    except HostError:       # with datapaths of two kinds it does not know for which
        with Vswitchd(TIMEOUT_S) as vswitchd:
            vswitchd.tell('revalidator/purge')
