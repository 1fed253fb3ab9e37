"""Which VIF may reach which on a network: every pair of its VIFs, and sets of VIFs that are alike.

Two VIFs may talk when each one's policy admits the other, and services name the
server's port on whichever end it is: so what a may say to b is what b may say to a. Where a
service has a direction, b sees it the other way round.

A permissive VIF admits all, whatever its policy says: what the other's policy leaves passes. What
would pass, were its policy enforced, is found by asking the same of VIFs that are.
"""
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.policy.address import LINK_LOCAL, contains
from xsisolate.policy.admission import EVERYTHING, Party, admitted_services
from xsisolate.policy.model import (ANYTHING, EITHER, OPPOSITE, EffectivePolicy, Group, Mode,
                                    Prefix, Service)
from xsisolate.policy.service import VERSIONS

Services = FrozenSet[Service]
Row = FrozenSet[Tuple[int, Services]]
NOTHING: Services = frozenset()
ALL: Services = frozenset((EVERYTHING,))


class Node(NamedTuple):
    """A VIF as others on its network see it."""

    name: str
    policy: EffectivePolicy
    addresses: Tuple[Prefix, ...]       # own ones, of an unmanaged VIF what its guest says
    external: FrozenSet[Prefix] = frozenset()   # addresses that the word `external` means

    @property
    def closed(self) -> bool:
        """Tell whether nothing enters or leaves."""
        return self.policy.mode > Mode.ISOLATED

    @property
    def asks(self) -> bool:
        """Tell whether its policy says with whom it may talk, and is enforced."""
        return self.policy.mode is Mode.ISOLATED and not self.policy.permissive

    @property
    def permissive(self) -> bool:
        """Tell whether its policy lets less pass than what passes."""
        return self.policy.is_loose

    def enforced(self) -> 'Node':
        """Return the VIF as it would be, were it not permissive."""
        mode = Mode.QUARANTINED if self.policy.would_be else self.policy.mode
        return self._replace(policy=self.policy._replace(mode=mode, permissive=False, would_be=''))


class Alike(NamedTuple):
    """VIFs that may say the same to the same."""

    mode: Mode
    groups: FrozenSet[str]
    members: Tuple[int, ...]            # places in the list of nodes
    reaches: Tuple[Tuple[int, Services], ...]   # other sets, and among them itself, by place
    would: Tuple[Tuple[int, Services], ...] = ()    # what policies say, where more passes


def find_links(nodes: Sequence[Node],
               groups: Mapping[str, Group]) -> List[Dict[int, Services]]:
    """Return for each node what it may say to which others, and to one exactly like it."""
    links: List[Dict[int, Services]] = [{} for _ in nodes]
    finder = _Finder(nodes, groups)
    for at in range(len(nodes)):
        for other in range(at, len(nodes)):
            services = finder.between(at, other)
            if services:
                links[at][other] = services
                links[other][at] = turned(services)
    return links


def find_would(nodes: Sequence[Node], links: Sequence[Mapping[int, Services]],
               groups: Mapping[str, Group]) -> List[Dict[int, Services]]:
    """Return for each node what it might say to which others, were none of them permissive.

    Only where that is less than what passes.
    """
    if not any(node.permissive for node in nodes):
        return [{} for _ in nodes]
    would = find_links([node.enforced() for node in nodes], groups)
    return [{other: would[at].get(other, NOTHING) for other, services in row.items()
             if would[at].get(other, NOTHING) != services} for at, row in enumerate(links)]


class _Finder:
    """Remembers what it has found for policies without allow lists: these are few."""

    def __init__(self, nodes: Sequence[Node], groups: Mapping[str, Group]) -> None:
        self._nodes, self._groups = nodes, groups
        kinds: Dict[Tuple[Mode, bool, FrozenSet[str], FrozenSet[int]], int] = {}
        # Groups with addresses of their own may admit by address: then each VIF is special.
        special = any(group.addresses for group in groups.values())
        self._kinds = [-1 - at if node.policy.allow or special else kinds.setdefault(
            (node.policy.mode, node.asks, node.policy.groups, frozenset(
                address.version for address in node.addresses)), len(kinds))
            for at, node in enumerate(nodes)]
        self._known: Dict[Tuple[int, int], Services] = {}

    def between(self, at: int, other: int) -> Services:
        """Return what two nodes may say to each other."""
        key = self._kinds[at], self._kinds[other]
        if min(key) < 0:
            return between(self._nodes[at], self._nodes[other], self._groups)
        if key not in self._known:
            self._known[key] = between(self._nodes[at], self._nodes[other], self._groups)
        return self._known[key]


def between(one: Node, other: Node, groups: Mapping[str, Group]) -> Services:
    """Return what two VIFs of a network may say to each other, by one IP version at least.

    Directions are those that `one` sees.
    """
    if one.closed or other.closed:
        return NOTHING
    if not one.asks and not other.asks:
        return ALL
    found: Services = NOTHING
    for version in (4, 6):
        mine = _admitted(one, other, groups, version)
        theirs = _admitted(other, one, groups, version) if mine else NOTHING
        found |= _of_version(common(mine, turned(theirs)), version)
    return simplified(found)


def outside(node: Node, groups: Mapping[str, Group]) -> Services:
    """Return what a VIF may say to every address outside its network."""
    if node.closed:
        return NOTHING
    if not node.asks:
        return ALL
    nobody = Party('', Prefix(4, 0, 32), external=True)
    return admitted_services(node.policy, groups, nobody)


def _admitted(asker: Node, other: Node, groups: Mapping[str, Group], version: int) -> Services:
    """Return what a VIF's policy admits of another over an IP version."""
    if not asker.asks:
        return ALL
    members = other.policy.groups if other.policy.mode is Mode.ISOLATED else frozenset()
    found: Services = NOTHING
    for address in other.addresses:
        if address.version == version and not contains(LINK_LOCAL, address):
            found |= admitted_services(asker.policy, groups, Party(
                other.name, address, members, address in other.external))
    return simplified(found)


def turned(services: Services) -> Services:
    """Return services as the other end sees them."""
    return frozenset(service._replace(direction=OPPOSITE[service.direction])
                     for service in services)


def simplified(services: Services) -> Services:
    """Return services without those that others contain: what both may begin has no direction."""
    if EVERYTHING in services:
        return ALL
    either = frozenset(service._replace(direction=EITHER) for service in services if (
        service._replace(direction=EITHER) in services
        or service._replace(direction=OPPOSITE[service.direction]) in services))
    found = either | frozenset(service for service in services
                               if service._replace(direction=EITHER) not in either)
    return ALL if EVERYTHING in found else found


def _of_version(services: Services, version: int) -> Services:
    return frozenset(service for service in services
                     if VERSIONS.get(service.protocol, version) == version)


def common(one: Services, other: Services) -> Services:
    """Return what is in both of two sets of services, seen from the same end."""
    if EVERYTHING in one:
        return other
    if EVERYTHING in other:
        return one
    return frozenset(found for mine in one for theirs in other for found in _overlap(mine, theirs))


def _overlap(one: Service, other: Service) -> Iterator[Service]:
    """Yield what is in both of two services, if anything is."""
    if one.direction and other.direction == OPPOSITE[one.direction]:
        return
    if ANYTHING not in (one.protocol, other.protocol) and one.protocol != other.protocol:
        return
    first, last = max(one.first, other.first), min(one.last, other.last)
    if first <= last:
        yield Service(other.protocol if one.protocol == ANYTHING else one.protocol, first, last,
                      one.direction or other.direction)


def find_alike(nodes: Sequence[Node], links: Sequence[Mapping[int, Services]],
               would: Sequence[Mapping[int, Services]]) -> Tuple[Alike, ...]:
    """Return the nodes in sets that may say the same to the same, most open policies last.

    Permissive ones are in a set if they would be alike, too.
    """
    sets: Dict[Tuple[EffectivePolicy, Row, Row], List[int]] = {}
    for at, node in enumerate(nodes):
        # what each may say to machines outside this host is in its allow list
        policy = node.policy._replace(addresses=frozenset(), reason='', macs=frozenset(),
                                      would_be=node.policy.would_be.partition(':')[0])
        sets.setdefault((policy, frozenset(links[at].items()), frozenset(would[at].items())),
                        []).append(at)
    ordered = sorted(sets.items(), key=lambda item: _rank(
        item[0][0].mode, item[0][0].groups, item[1]))
    home = {at: place for place, (_, members) in enumerate(ordered) for at in members}
    return tuple(Alike(policy.mode, policy.groups, tuple(members), _reaches(row, home),
                       _reaches(less, home))
                 for (policy, row, less), members in ordered)


def _rank(mode: Mode, groups: Iterable[str], members: Sequence[int]) -> Tuple[int, List[str], int]:
    order = (Mode.ISOLATED, Mode.LOCKED, Mode.UNLOCKED, Mode.DISABLED, Mode.QUARANTINED)
    # Isolated VIFs without any group have allow lists only.
    return order.index(mode), sorted(groups) or ['\uffff'], members[0]


def _reaches(row: Iterable[Tuple[int, Services]],
             home: Mapping[int, int]) -> Tuple[Tuple[int, Services], ...]:
    return tuple(sorted({home[at]: services for at, services in row}.items()))
