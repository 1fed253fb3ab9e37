"""Which VIFs hold roles on a network, here and on other hosts, and what follows for each.

A role is held by whom the configuration names, or whose sealed policy says so. On this host the
VIF's endpoint knows; on another the pool's file of holders. A VIF that is on both, for it
migrates, is one of this host: so the network's flows turn from one to the other in the same
bundle in which its own come or go.
"""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.decision import (holder_decision_flows, holder_destination_flows,
                                         network_decision_flows, roles_by_mac)
from xsisolate.pipeline.delivery import gateway_delivery_flow
from xsisolate.pipeline.multicast import LocalHolder, heard_from_flows, network_multicast_flows
from xsisolate.pipeline.peer_lookup import network_party_flows
from xsisolate.pipeline.tables import (ADVERTISER, DHCP_SERVER, FORWARDER, ISOLATED, MANAGED)
from xsisolate.planner.context import PlanContext
from xsisolate.planner.cookie import Key, network_key
from xsisolate.planner.item_facts import (SPECIAL, endpoints, format_owners, has_enforced,
                                          macs_here, parse_facts, parse_network_name,
                                          possible_owners, split_endpoint)
from xsisolate.planner.items import Item, format_stamp
from xsisolate.planner.shared_macs import (find_holders, format_holders, shared_address_flows,
                                           shared_mac_flows)
from xsisolate.planner.vif import Vif
from xsisolate.policy.additional_macs import mac_matches
from xsisolate.policy.address import LINK_LOCAL
from xsisolate.policy.model import (DHCP, GATEWAY, ROUTER, EffectivePolicy, Gateway, Mode,
                                    Network, Prefix, RemoteMember)
from xsisolate.typing_compat import (AbstractSet, Dict, FrozenSet, Iterable, Iterator, List,
                                     Mapping, Set, Tuple)

BITS = {GATEWAY: FORWARDER, DHCP: DHCP_SERVER, ROUTER: ADVERTISER}


def sender_flags(policy: EffectivePolicy) -> Tuple[int, ...]:
    """Return the flags of what a VIF sends."""
    return (MANAGED, *[ISOLATED] * (policy.mode is Mode.ISOLATED),
            *[BITS[role] for role in sorted(policy.roles)])


def holder_flows(vif: Vif, network: int, subnets: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield what a VIF of this host may do on a network beside its policy, for its roles."""
    mac, policy = vif.mac, vif.policy
    if policy.mode is Mode.ISOLATED:
        inside = sorted({*policy.addresses, *subnets, LINK_LOCAL})
        yield from holder_destination_flows(network, mac, policy.roles, inside, policy.permissive)
    yield from holder_decision_flows(network, mac, policy.roles, vif.arriving)
    if vif.arriving:
        yield from heard_from_flows(network, mac, policy.roles)


def find_holders_here(items: Mapping[Key, Item],
                      network: int) -> Tuple[FrozenSet[str], Tuple[LocalHolder, ...]]:
    """Return the MAC addresses of a network's holders on this host, and a holder for each link."""
    found: List[LocalHolder] = []
    macs: Set[str] = set()
    for item in endpoints([item for item in items.values() if SPECIAL in item.facts]):
        number, mac = split_endpoint(item)
        if number == network:
            known = parse_facts(item)
            if not known.roles:
                continue
            macs |= {mac, *known.macs}
            found += [LocalHolder(known.roles, known.isolated, link)
                      for link in known.links]
    return frozenset(macs), tuple(found)


def with_holders_elsewhere(facts: Network, uuid: str, here: AbstractSet[str],
                           members: Iterable[RemoteMember]) -> Network:
    """Return a network's facts with the holders on other hosts; `here`: MAC addresses of ours."""
    gateways = [gateway for gateway in facts.gateways if gateway.mac not in here]
    for member in members:
        if member.network == uuid and member.mac not in here:
            gateways += [one for one in _as_gateways(member) if one not in gateways]
    return facts._replace(gateways=tuple(gateways))


def _as_gateways(member: RemoteMember) -> Iterator[Gateway]:
    """Yield a holder on another host as some beyond the uplink: by address and MAC address."""
    for address in sorted(member.addresses) if member.roles else ():
        ipv4, ipv6 = (address, None) if address.version == 4 else (None, address)
        for mac in (member.mac, *mac_matches(member.macs)):
            yield Gateway(ipv4, ipv6, mac, member.roles)


def named_roles(facts: Network, holders: Iterable[LocalHolder]) -> FrozenSet[str]:
    """Return the roles of which a network knows who may have them: nobody else may."""
    known = [gateway.roles for gateway in facts.gateways if gateway.mac]
    known += [holder.roles for holder in facts.holders]
    known += [holder.roles for holder in holders]
    return frozenset([DHCP] if facts.dhcp_servers else []).union(*known)


def network_stamp(items: Mapping[Key, Item], network: int, stamp: str,
                  context: PlanContext) -> str:
    """Return a network's facts: what stands for all that its item is made of."""
    name = parse_network_name(items[network_key(network)])
    return format_stamp(stamp, (name, _in_order(context.find_network(*name)),
                                _in_order(find_holders_here(items, network)),
                                format_holders(find_holders(items, network)),
                                format_owners(items.values(), network),
                                has_enforced(items.values(), network)))


def _in_order(value: object) -> object:
    """Return a value whose sets are in order."""
    if isinstance(value, frozenset):
        value = tuple(sorted(value))
    return tuple([_in_order(part) for part in value]) if isinstance(value, tuple) else value


def _count_owners(items: Mapping[Key, Item], network: int,
                  addresses: AbstractSet[Prefix]) -> Mapping[Prefix, int]:
    """Return how many VIFs of this host own each of these addresses, if any does."""
    owners: Dict[Prefix, int] = {}
    for item in possible_owners(items.values(), addresses) if addresses else ():
        if split_endpoint(item)[0] == network:
            for address, turn in parse_facts(item).owners.items():
                if address in addresses:
                    owners[address] = max(owners.get(address, 0), turn + 1)
    return owners


def network_flows(items: Mapping[Key, Item], network: int, members: Iterable[RemoteMember],
                  context: PlanContext) -> Iterator[Flow]:
    """Yield what is the same for all VIFs of a network; `members` hold roles on other hosts."""
    name = parse_network_name(items[network_key(network)])
    macs, holders = find_holders_here(items, network)
    configured = context.find_network(*name)
    facts = with_holders_elsewhere(configured, name.uuid, macs, members)
    theirs = {address for gateway in set(facts.gateways) - set(configured.gateways)
              for address in (gateway.ipv4, gateway.ipv6) if address}
    owners = _count_owners(items, network, theirs)
    named = named_roles(facts, holders)
    yield from network_party_flows(network, facts, named, owners)
    yield from network_decision_flows(network, facts, named, has_enforced(items.values(), network))
    yield from network_multicast_flows(network, facts, named, holders)
    for mac, _ in roles_by_mac(facts):
        yield gateway_delivery_flow(network, mac)
    elsewhere = [member for member in members if member.network == name.uuid]
    yield from shared_address_flows(network, macs_here(items.values(), network), elsewhere)
    yield from shared_mac_flows(
        network, find_holders(items, network), elsewhere,
        configured._replace(gateways=tuple([
            gateway for gateway in configured.gateways if gateway.mac not in macs])))
