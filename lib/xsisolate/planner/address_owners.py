"""Which VIF owns an address that several VIFs of a network list?

Members of one isolation group may share an address and take it over from each
other, as VRRP does, if the policies of all say so: each is its nth owner.
Other VIFs must not, such as a clone with its parent's address: the newcomer is
refused. The reason names the VIF that has the address.
Beyond OWNERS_MAX a member waits for the address, and keeps all others.
"""
from xsisolate.errors import PolicyError
from xsisolate.pipeline.peer_lookup import OWNERS_MAX
from xsisolate.planner.context import Claims
from xsisolate.planner.cookie import Key, Kind, port_id
from xsisolate.planner.item_facts import (SPECIAL, EndpointFacts, endpoint_name, endpoints,
                                          parse_facts, parse_network_name, ports_of,
                                          possible_owners, split_endpoint)
from xsisolate.planner.items import Item, Registry, find_item
from xsisolate.planner.peer_items import find_groups
from xsisolate.planner.vif import Attached, Vif
from xsisolate.policy.additional_macs import covers, overlap
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import EffectivePolicy, Prefix
from xsisolate.typing_compat import (Dict, FrozenSet, Iterable, List, Mapping, Optional,
                                     Tuple)


class AlreadyTaken(PolicyError):
    """A VIF wants what another VIF on its network already has."""


def check_mac(items: Mapping[Key, Item], endpoint: Key, mac: str, vm_uuid: str) -> None:
    """Raise AlreadyTaken if an endpoint is another VM's; one VM's NICs may share theirs."""
    item = items.get(endpoint)
    owner = parse_facts(item).vm_uuid if item and item.facts else vm_uuid
    users = ports_of(items.values(), endpoint) if owner != vm_uuid else ()
    if users:
        raise AlreadyTaken('MAC address %s is already in use on this network by %s of VM %s: give '
                           'one of the VMs another' % (mac, users[0].name, owner))


def check_additional(items: Mapping[Key, Item], endpoint: Key, network: int, vif: Vif) -> None:
    """Raise AlreadyTaken if a VIF wants a MAC address that is another's on a network.

    Members of one isolation group may share one if each lists it, and so may one VM's VIFs.
    """
    mine = vif.policy.macs
    for other in endpoints([item for item in items.values() if mine or SPECIAL in item.facts]):
        number, mac = split_endpoint(other)
        facts = parse_facts(other)
        if other.key == endpoint or number != network or facts.vm_uuid == vif.vm_uuid:
            continue
        groups = set(find_groups(items, facts.groups))
        taken = ([mac] if covers(mine, mac) else []) + (
            [vif.mac] if covers(facts.macs, vif.mac) else []) + (
            [] if groups & vif.policy.groups else overlap(mine, facts.macs))
        users = ports_of(items.values(), other.key) if taken else ()
        if users:
            raise AlreadyTaken(
                'MAC address %s is already that of %s of VM %s on this network: take it out of the '
                'key mac of one policy, or list it in both: members of one isolation group may '
                'share an additional MAC address' % (taken[0], users[0].name, facts.vm_uuid))


def assign_owners(items: Mapping[Key, Item], endpoint: Key, network: int,
                  policy: EffectivePolicy, groups: Tuple[int, ...]) -> Dict[Prefix, int]:
    """Return of which address an endpoint is the nth owner, or raise AlreadyTaken.

    A leased address yields: to one that is fixed, and to an older lease.
    """
    addresses = sorted(policy.addresses)
    possible = [item for item in possible_owners(items.values(), addresses)
                if item.key != endpoint and split_endpoint(item)[0] == network]
    alive = {ref for item in items.values() if item.key.kind is Kind.PORT
             for ref in item.refs} if possible else ()
    others = [(item, parse_facts(item)) for item in possible if item.key in alive]
    owners: Dict[Prefix, int] = {}
    for address in addresses:
        found = [other for other in others if address in other[1].owners]
        if address in policy.leased and found:
            continue        # whoever has it keeps it
        owners[address] = _turn(items, address, groups if address in policy.shared else (), [
            other for other in found if address not in other[1].leased])
    return owners


def _turn(items: Mapping[Key, Item], address: Prefix, groups: Tuple[int, ...],
          others: List[Tuple[Item, EndpointFacts]]) -> int:
    """Return the first place among an address's owners that is free."""
    taken = {facts.owners[address] for _, facts in others}
    turn = min(set(range(OWNERS_MAX)) - taken, default=OWNERS_MAX)
    strangers = [item for item, facts in others if not set(groups) & set(facts.groups)
                 or address not in facts.shared]
    if strangers:
        other = strangers[0]
        users = ports_of(items.values(), other.key)
        raise _refuse(address, '%s of VM %s on this network' % (
            users[0].name if users else other.name, parse_facts(other).vm_uuid))
    return turn


def waits_for(owners: Mapping[Prefix, int]) -> FrozenSet[Prefix]:
    """Return the addresses that have all the owners they can have."""
    return frozenset([address for address, turn in owners.items() if turn >= OWNERS_MAX])


def leave_waiting(vif: Vif, facts: Iterable[EndpointFacts]) -> Vif:
    """Return a VIF without the shared addresses that it has to wait for on some network."""
    missing = frozenset([address for fact in facts for address in waits_for(fact.owners)])
    if not missing:
        return vif
    return vif._replace(waiting=_explain_waiting(missing), policy=vif.policy._replace(
        addresses=vif.policy.addresses - missing, shared=vif.policy.shared - missing))


def _explain_waiting(addresses: Iterable[Prefix]) -> str:
    return ('it waits for shared %s: %d VIFs of this host have it already, and no more can. All '
            'else of its policy counts. It gets the address when one of them leaves'
            % (' '.join(map(format_prefix, sorted(addresses))), OWNERS_MAX))


def wanted_addresses(registry: Registry, vifs: Iterable[Vif]) -> Dict[str, FrozenSet[Prefix]]:
    """Return by group the addresses that VIFs want and do not have: a member elsewhere may."""
    wanted: Dict[str, FrozenSet[Prefix]] = {}
    for vif in vifs:
        for attached in vif.networks if vif.ports and vif.policy.groups else ():
            endpoint = find_item(registry, Kind.ENDPOINT, endpoint_name(attached.network, vif.mac),
                                 port_id(vif.id, False))
            fresh = _fresh_addresses(registry, endpoint, vif)
            wanted.update((group, wanted.get(group, frozenset()) | fresh)
                          for group in vif.policy.groups if fresh)
    return wanted


def _fresh_addresses(registry: Registry, endpoint: Optional[Key], vif: Vif) -> FrozenSet[Prefix]:
    """Return the addresses of a VIF that the bridge does not carry for it yet."""
    item = registry.get(endpoint) if endpoint else None
    known = parse_facts(item) if item and item.facts else None
    return vif.policy.addresses.difference(
        known.owners.keys() - waits_for(known.owners)
        if known and known.vm_uuid == vif.vm_uuid else ())


def check_claims(registry: Registry, items: Mapping[Key, Item], endpoint: Key, vif: Vif,
                 attached: Attached, claims: Claims) -> FrozenSet[Prefix]:
    """Raise AlreadyTaken if a VIF wants an address that a member on another host has.

    Return the leased ones of which that is so: these it merely does not get.

    One of the same MAC address is the VIF itself, on its way from there. What the VIF has already
    it keeps: the other one came later.
    """
    fresh = _fresh_addresses(registry, endpoint, vif)
    uuids = {attached.network_uuid, *(
        parse_network_name(item).uuid for key, item in items.items()
        if key.kind is Kind.NETWORK and key.id == attached.network & 0xfff)}
    lost: FrozenSet[Prefix] = frozenset()
    for group in sorted(vif.policy.groups) if fresh else ():
        for member in claims.get(group, ()):
            if member.mac == vif.mac or member.network not in uuids:
                continue
            taken = fresh & member.addresses - (member.shared & vif.policy.shared)
            lost |= taken & vif.policy.leased
            fixed = taken - vif.policy.leased - member.leased
            if fixed:
                raise _refuse(min(fixed), 'the VIF with MAC address %s on another host, a member '
                              'of group %s' % (member.mac, group))
    return lost


def _refuse(address: Prefix, owner: str) -> AlreadyTaken:
    return AlreadyTaken('address %s is already that of %s: give the VIFs different addresses, or '
                        'list it under vif/<devid>/shared of both: members of one isolation group '
                        'may share an address then' % (format_prefix(address), owner))
