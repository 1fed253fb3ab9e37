"""Who owns an address that several VIFs of a network list?

Members of one isolation group may share an address and take it over from each
other, as VRRP and CARP do, if the policies of all say so: each is its nth owner.
Anybody else must not, a clone with its parent's address for one, and the newcomer
is refused. The reason names who has it.
"""
from xsisolate.core.address import format_prefix
from xsisolate.core.cookie import Key, Kind
from xsisolate.core.facts import (EndpointFacts, parse_facts, ports_of, possible_owners,
                                  split_endpoint)
from xsisolate.core.flows.party import OWNERS_MAX
from xsisolate.core.items import Item
from xsisolate.core.model import EffectivePolicy, Prefix, RemoteMember
from xsisolate.errors import PolicyError
from xsisolate.hints import Dict, Iterable, List, Mapping, Tuple


class Conflict(PolicyError):
    """A VIF wants what another VIF on its network already has."""


def check_mac(items: Mapping[Key, Item], endpoint: Key, mac: str, vm_uuid: str) -> None:
    """Raise Conflict if an endpoint is another VM's; one VM's NICs may share theirs."""
    item = items.get(endpoint)
    owner = parse_facts(item).vm_uuid if item and item.facts else vm_uuid
    users = ports_of(items.values(), endpoint) if owner != vm_uuid else ()
    if users:
        raise Conflict('MAC address %s is already in use on this network by %s of VM %s: give '
                       'one of the VMs another' % (mac, users[0].name, owner))


def assign_owners(items: Mapping[Key, Item], endpoint: Key, network: int,
                  policy: EffectivePolicy, groups: Tuple[int, ...]) -> Dict[Prefix, int]:
    """Return of which address an endpoint is the nth owner, or raise Conflict."""
    addresses = sorted(policy.addresses)
    possible = [item for item in possible_owners(items.values(), addresses)
                if item.key != endpoint and split_endpoint(item)[0] == network]
    alive = {ref for item in items.values() if item.key.kind is Kind.PORT
             for ref in item.refs} if possible else ()
    others = [(item, parse_facts(item)) for item in possible if item.key in alive]
    return {address: _turn(items, address, groups if address in policy.shared else (),
                           [other for other in others if address in other[1].owners])
            for address in addresses}


def _turn(items: Mapping[Key, Item], address: Prefix, groups: Tuple[int, ...],
          others: List[Tuple[Item, EndpointFacts]]) -> int:
    """Return the first place among an address's owners that is free."""
    taken = {facts.owners[address] for _, facts in others}
    turn = min(set(range(OWNERS_MAX + 1)) - taken)
    strangers = [item for item, facts in others if not set(groups) & set(facts.groups)
                 or address not in facts.shared]
    if strangers or turn >= OWNERS_MAX:
        other = (strangers or [item for item, _ in others])[0]
        users = ports_of(items.values(), other.key)
        raise _refuse(address, '%s of VM %s on this network' % (
            users[0].name if users else other.name, parse_facts(other).vm_uuid))
    return turn


def check_claims(fresh: Iterable[Prefix], policy: EffectivePolicy, mac: str,
                 claims: Iterable[Tuple[str, RemoteMember]]) -> None:
    """Raise Conflict if a member on another host has one of these addresses.

    One of the same MAC address is the VIF itself, on its way from there.
    """
    for group, member in claims:
        taken = member.addresses.intersection(fresh) - (member.shared & policy.shared)
        if taken and member.mac != mac:
            raise _refuse(min(taken), 'the VIF with MAC address %s on another host, a member of '
                          'group %s' % (member.mac, group))


def _refuse(address: Prefix, owner: str) -> Conflict:
    return Conflict('address %s is already that of %s: give the VIFs different addresses, or list '
                    'it under vif/<devid>/shared of both: members of one isolation group may '
                    'share an address then, %d at most on a host'
                    % (format_prefix(address), owner, OWNERS_MAX))
