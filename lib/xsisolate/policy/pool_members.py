"""Which VIFs of the pool are in which group, for a host that has to admit those of the others."""
from typing import (Any, Container, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple,
                    Optional, Sequence, Set, Tuple)

from xsisolate.errors import PolicyError
from xsisolate.policy.leases import current, find_carried
from xsisolate.policy.model import HOLDERS, Config, EffectivePolicy, Mode, Prefix, RemoteMember
from xsisolate.policy.resolve import find_network, resolve_policy
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify, read_policy

Members = Mapping[str, Tuple[RemoteMember, ...]]        # by group
Address = Tuple[str, Prefix]                            # on a network, by uuid


class PoolVif(NamedTuple):
    """A VIF with its VM and the bridge of its network."""

    vm: XapiVm
    vif: XapiVif
    bridge: str


class Claim(NamedTuple):
    """A VIF that is a member of groups, and where it is."""

    member: RemoteMember
    groups: Tuple[str, ...]
    elsewhere: bool             # on another host, or about to be


def find_members(places: Iterable[PoolVif], config: Config, here: str,
                 before: Optional[Members] = None, now: float = 0.0) -> Members:
    """Return every group's members outside the host `here`, in an order of their own.

    A VIF is a member where the hooks of its own host would make it one: it is isolated, and its
    policy is the one that its seal is made for. A VM on its way counts as long as it is, or is
    about to be, on another host: it is admitted with its first frame and until its last. An address
    that is not shared has one owner: a member that has it fixed, one known `before`, else a VIF of
    this host. `now` is when leases end.
    """
    claims = list(_find_claims(places, config, here, now))
    lost = _find_lost(claims, before or {})
    found: Dict[str, List[RemoteMember]] = {}
    for member, groups, elsewhere in claims:
        if elsewhere:
            own = frozenset(address for address in member.addresses
                            if (member.network, address, member.mac) not in lost)
            for group in groups:
                found.setdefault(group, []).append(member._replace(
                    addresses=own, shared=member.shared & own, leased=member.leased & own))
    return {group: tuple(sorted(members, key=order)) for group, members in found.items()}


def _find_claims(places: Iterable[PoolVif], config: Config, here: str,
                 now: float) -> Iterator[Claim]:
    for place in places:
        claim = find_claim(place, config, here, now)
        if claim:
            yield claim


def find_claim(place: PoolVif, config: Config, here: str, now: float) -> Optional[Claim]:
    """Return what a VIF claims to be a member of, None if of nothing."""
    hosts = {place.vm.host, place.vm.bound_for} - {''}
    if not hosts or (place.vm.is_live and not place.vif.attached):
        return None
    policy = _read_effective(place, config, now)
    groups = _list_groups(policy) if policy else []
    if not policy or not groups:
        return None
    return Claim(RemoteMember(place.vif.network, place.vif.mac, policy.addresses, policy.shared,
                              policy.roles, policy.macs, policy.leased), tuple(groups),
                 bool(hosts - {here}))


def _list_groups(policy: EffectivePolicy) -> List[str]:
    """Return what a VIF is a member of for other hosts; all special ones are a group, too."""
    groups = sorted(policy.groups) if policy.mode is Mode.ISOLATED else []
    return groups + [HOLDERS] * bool(policy.roles or policy.macs or policy.shared)


def _find_lost(claims: Iterable[Claim],
               before: Members) -> FrozenSet[Tuple[str, Prefix, str]]:
    """Return (network, address, MAC address) of the members that came too late for an address."""
    known: Dict[Address, Set[str]] = {}
    for members in before.values():
        for member in members:
            for address in member.addresses:
                known.setdefault((member.network, address), set()).add(member.mac)
    owners: Dict[Address, List[Claim]] = {}
    for claim in claims:
        for address in claim.member.addresses:
            owners.setdefault((claim.member.network, address), []).append(claim)
    return frozenset((*key, mac) for key, found in owners.items()
                     for mac in find_losers(key, found, known.get(key, ())))


def find_losers(key: Address, claims: Sequence[Claim], known: Container[str]) -> Set[str]:
    """Return the MAC addresses of those of an address's claims that came too late for it."""
    if len(claims) < 2:
        return set()
    address = key[1]
    first, *others = sorted(claims, key=lambda claim: (
        address in claim.member.leased, claim.member.mac not in known, claim.elsewhere,
        claim.member.mac, sorted(claim.member.shared)))
    return {claim.member.mac for claim in others
            if address not in first.member.shared & claim.member.shared}


def _read_effective(place: PoolVif, config: Config, now: float) -> Optional[EffectivePolicy]:
    """Return the policy of a VIF that others must know of, None of others."""
    vm, vif = place.vm, place.vif
    try:
        policy = resolve_policy(identify(vm, vif), vif.seal, vif.locking, read_policy(vm, vif),
                                config, find_network(config, place.bridge, vif.network),
                                frozenset([lease.address for lease in current(find_carried(
                                    vif.other_config, vif.mac), now)]))
    except PolicyError:
        return None     # its own host quarantines it, and says why
    return policy if policy.mode is Mode.ISOLATED or policy.roles or policy.macs else None


def order(member: RemoteMember) -> Tuple[str, str, List[List[Any]]]:
    """Return what members are sorted by: all that they are, for two may have one MAC address."""
    return member.network, member.mac, [sorted(some) for some in (
        member.addresses, member.shared, member.leased, member.roles, member.macs)]
