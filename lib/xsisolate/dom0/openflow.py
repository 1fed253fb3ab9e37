"""ovs-vswitchd's flow tables, through ovs-ofctl: one dump, one bundle, no decisions.

OVS's Python bindings have no OpenFlow client, so ovs-ofctl it is, at 5 ms a
call. OpenFlow 1.4 has bundles as a standard; a bridge that allows other
versions only must be told to allow it too (see hooks).
"""
from xsisolate.core.cookie import HEADER, HEADER_MASK, OWNER, OWNER_MASK
from xsisolate.core.flow import Flow, FlowDiff, format_bundle, parse_dump
from xsisolate.dom0.run import run
from xsisolate.errors import HostError
from xsisolate.hints import Dict, FrozenSet, Iterable, List, Mapping

PROTOCOL = 'OpenFlow14'
OFCTL = ('ovs-ofctl', '-O', PROTOCOL)
# Later versions do not know that a port can be left out of floods.
PORT_PROTOCOL = 'OpenFlow10'
OFCTL_PORTS = ('ovs-ofctl', '-O', PORT_PROTOCOL)
PROTOCOLS = (PORT_PROTOCOL, PROTOCOL)
DUMP = OFCTL + ('--no-stats', '--no-names', 'dump-flows')
TIMEOUT_S = 20.0


def read_flows(bridge: str, cookie: int = OWNER, mask: int = OWNER_MASK) -> FrozenSet[Flow]:
    """Return the flows on a bridge whose cookie matches; by default all of ours."""
    return parse_dump(run(DUMP + (bridge, 'cookie=0x%x/0x%x' % (cookie, mask)),
                          timeout=TIMEOUT_S))


def read_headers(bridge: str) -> FrozenSet[Flow]:
    """Return the flows that record our items."""
    return read_flows(bridge, OWNER | HEADER, HEADER_MASK)


def dump_counts(bridge: str, cookie: int, mask: int) -> str:
    """Return the dump, with statistics, of the flows on a bridge whose cookie matches."""
    return run(OFCTL + ('--no-names', 'dump-flows', bridge, 'cookie=0x%x/0x%x' % (cookie, mask)),
               timeout=TIMEOUT_S)


def apply_diff(bridge: str, diff: FlowDiff) -> None:
    """Change the flows in one bundle: all of it happens, or none."""
    run(OFCTL + ('--bundle', 'add-flows', bridge, '-'), stdin=format_bundle(diff),
        timeout=TIMEOUT_S)


def read_no_flood(bridge: str) -> Mapping[int, bool]:
    """Return, per port, whether the switch leaves it out when it floods."""
    port = 0
    answer: Dict[int, bool] = {}
    for line in run(OFCTL_PORTS + ('dump-ports-desc', bridge), timeout=TIMEOUT_S).splitlines():
        head, _, rest = line.strip().partition('(')
        if head.isdigit():
            port = int(head)
        elif line.strip().startswith('config:') and port:
            answer[port] = 'NO_FLOOD' in line
            port = 0
    return answer


def set_no_flood(bridge: str, ofports: Iterable[int], wanted: bool) -> List[int]:
    """Have ports left out of floods, or not; what was set is read back and returned."""
    ofports = list(ofports)
    deviating = _deviating(bridge, ofports, wanted)
    for ofport in deviating:
        run(OFCTL_PORTS + ('mod-port', bridge, str(ofport), 'no-flood' if wanted else 'flood'),
            timeout=TIMEOUT_S)
    if deviating and _deviating(bridge, deviating, wanted):
        raise HostError('bridge %s did not change the flooding of ports %s'
                        % (bridge, ', '.join(map(str, ofports))))
    return deviating


def forget_addresses(bridge: str, snooping: bool) -> None:
    """Let the switch learn anew which MAC addresses and multicast groups are where."""
    for table in ('fdb', 'mdb') if snooping else ('fdb',):
        run(('ovs-appctl', '-t', 'ovs-vswitchd', table + '/flush', bridge), timeout=TIMEOUT_S)


def _deviating(bridge: str, ofports: List[int], wanted: bool) -> List[int]:
    actual = read_no_flood(bridge) if ofports else {}
    return [ofport for ofport in ofports if actual.get(ofport) is not wanted]
