"""Groups' members on other hosts, kept up to date: a change costs what has changed.

It says what pool_members.find_members says of the whole pool, which is the measure of its tests.
Two things tie VIFs together: a group that they are in, and an address of which one alone is the
owner. So a VIF that changes touches its groups, and those of VIFs with one of its addresses.
"""
from typing import Dict, Iterable, List, Mapping, Optional, Set, Tuple, TypeVar

from xsisolate.policy.model import Config, RemoteMember
from xsisolate.policy.pool_members import (Address, Claim, Members, PoolVif, find_claim,
                                           find_losers, order)

K = TypeVar('K')


class MemberIndex:
    """What every VIF of the pool claims, and who owns which address."""

    def __init__(self, config: Config, here: str, before: Members) -> None:
        self._config, self._here = config, here
        self._present: Set[str] = set()                     # VIFs, by reference
        self._claims: Dict[str, Claim] = {}
        self._owners: Dict[Address, Set[str]] = {}
        self._groups: Dict[str, Set[str]] = {}
        self._lost: Dict[Address, Set[str]] = {}            # MAC addresses that came too late
        self._known: Dict[Address, Set[str]] = {}           # MAC addresses of members as last told
        self._addresses: Set[Address] = set()               # touched since they were last settled
        self._touched: Set[str] = set()                     # groups
        for members in before.values():
            for member in members:
                for address in member.addresses:
                    self._known.setdefault((member.network, address), set()).add(member.mac)
        self._touched.update(before)
        self._addresses.update(self._known)

    def put(self, ref: str, place: Optional[PoolVif], now: float = 0.0) -> None:
        """Take in what a VIF is now; None: it is gone.

        `now`, in seconds since the epoch, says which leases still count.
        """
        if place:
            self._present.add(ref)
        else:
            self._present.discard(ref)
        claim = find_claim(place, self._config, self._here, now) if place else None
        before = self._claims.get(ref)
        if claim == before:
            return
        for one, add in ((before, False), (claim, True)):
            if one:
                self._tie(ref, one, add)
        if claim:
            self._claims[ref] = claim
        else:
            del self._claims[ref]

    def _tie(self, ref: str, claim: Claim, add: bool) -> None:
        """Note, or forget, to which groups and addresses a claim belongs."""
        keys = [(claim.member.network, address) for address in claim.member.addresses]
        _link(self._owners, keys, ref, add)
        _link(self._groups, claim.groups, ref, add)
        self._addresses.update(keys)
        self._touched.update(claim.groups)

    @property
    def vifs(self) -> int:
        """The number of the pool's VIFs."""
        return len(self._present)

    def settle(self) -> Dict[str, Tuple[RemoteMember, ...]]:
        """Return the groups that may have changed since the last time, with their members."""
        touched, self._touched = self._touched, set()
        addresses, self._addresses = self._addresses, set()
        for key in addresses:
            refs = self._owners.get(key, ())
            claims = [self._claims[ref] for ref in refs]
            lost = find_losers(key, claims, self._known.get(key, ()))
            if lost != self._lost.get(key, set()):
                for claim in claims:
                    touched.update(claim.groups)
            _keep(self._lost, key, lost)
            _keep(self._known, key, {claim.member.mac for claim in claims
                                     if claim.elsewhere} - lost)
        return {group: self._members(group) for group in touched}

    def _members(self, group: str) -> Tuple[RemoteMember, ...]:
        found: List[RemoteMember] = []
        for ref in self._groups.get(group, ()):
            claim = self._claims[ref]
            if claim.elsewhere:
                found.append(self._without_lost(claim.member))
        return tuple(sorted(found, key=order))

    def _without_lost(self, member: RemoteMember) -> RemoteMember:
        if not any(member.mac in self._lost.get((member.network, address), ())
                   for address in member.addresses):
            return member
        own = frozenset(address for address in member.addresses
                        if member.mac not in self._lost.get((member.network, address), ()))
        return member._replace(addresses=own, shared=member.shared & own,
                               leased=member.leased & own)


def _link(table: Dict[K, Set[str]], keys: Iterable[K], ref: str, add: bool) -> None:
    """Add a reference to the sets of these keys, or take it out; an empty set is none."""
    for key in keys:
        refs = table.setdefault(key, set())
        if add:
            refs.add(ref)
        else:
            refs.discard(ref)
        if not refs:
            del table[key]


def _keep(table: Dict[Address, Set[str]], key: Address, macs: Set[str]) -> None:
    if macs:
        table[key] = macs
    else:
        table.pop(key, None)


def merge(members: Members, changed: Mapping[str, Iterable[RemoteMember]]) -> Members:
    """Return all groups' members after these have changed; a group without any is none."""
    found = dict(members)
    for group, some in changed.items():
        if some:
            found[group] = tuple(some)
        else:
            found.pop(group, None)
    return found
