"""What the policies say about who reaches whom; knows nothing of flows, nor of lib/.

Two machines may talk when each one's policy admits the other (docs: the policy
page). This is a second, simple reading of the same text, for the demo to compare.
"""
import ipaddress
from typing import Dict, FrozenSet, Iterator, NamedTuple, Tuple

from demo.scene import LAN, Machine, Place


class Probe(NamedTuple):
    """One way to try whether somebody can be reached."""

    kind: str           # 'ping' or 'udp'
    version: int        # 4 or 6


PROBES = tuple(Probe(kind, version) for kind in ('ping', 'udp') for version in (4, 6))
Pair = Tuple[str, str]
Matrix = Dict[Pair, FrozenSet[Probe]]


def pairs(place: Place = LAN) -> Iterator[Tuple[Machine, Machine]]:
    """Yield who tries to reach whom; gateway and outside are one machine."""
    for source in place.machines:
        for target in place.machines:
            if source != target and {source.name, target.name} != {place.router, 'outside'}:
                yield source, target


def promised(place: Place = LAN) -> Matrix:
    """Return which probes must get through, and no others."""
    return {(source.name, target.name): frozenset(
        probe for probe in PROBES
        if admits(source, target, probe, place)
        and admits(target, source, probe, place, begins=False))
        for source, target in pairs(place)}


def admits(owner: Machine, other: Machine, probe: Probe, place: Place = LAN,
           begins: bool = True) -> bool:
    """Tell whether one machine's own policy lets it talk with the other, whichever begins."""
    if not is_isolated(owner) or words(owner, 'groups') & words(other, 'groups'):
        return True
    return any(is_meant(entry, other.address(probe.version), probe, place, begins)
               for entry in words(owner, 'allow'))


def is_isolated(machine: Machine) -> bool:
    """Tell whether a policy names who may be talked to."""
    return bool(words(machine, 'groups') or words(machine, 'allow'))


def words(machine: Machine, key: str) -> FrozenSet[str]:
    """Return the words of a list in a policy."""
    return frozenset((machine.policy or {}).get(key, '').split())


def is_meant(entry: str, address: str, probe: Probe, place: Place, begins: bool) -> bool:
    """Tell whether an entry of an allow list covers a probe to, or from, an address."""
    for direction in ('out:', 'in:'):
        if entry.startswith(direction):
            if begins is not (direction == 'out:'):
                return False
            entry = entry[len(direction):]
    service, _, peer = entry.rpartition('@')
    if service and probe.kind + '/7' != service:
        return False
    if peer == 'external':      # a gateway's own addresses count as outside
        return address in place.gateway or not any(
            ipaddress.ip_address(address) in ipaddress.ip_network(subnet)
            for subnet in place.subnets)
    return address == peer
