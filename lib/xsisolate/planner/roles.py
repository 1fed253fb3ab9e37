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
from xsisolate.pipeline.multicast import (LocalHolder, fanout_flow, heard_from_flows,
                                          network_multicast_flows)
from xsisolate.pipeline.peer_lookup import network_party_flows
from xsisolate.pipeline.stages import (ADVERTISER, DHCP_SERVER, FORWARDER, HOLDER, ISOLATED,
                                       MANAGED, Attachment)
from xsisolate.planner.item_facts import (ROLE, endpoints, parse_facts, possible_owners,
                                          split_endpoint)
from xsisolate.planner.items import Registry
from xsisolate.planner.vif import Surroundings, Vif
from xsisolate.policy.address import LINK_LOCAL
from xsisolate.policy.model import (DHCP, GATEWAY, HOLDERS, ROUTER, EffectivePolicy, Gateway, Mode,
                                    Network, Prefix, RemoteMember)
from xsisolate.typing_compat import (AbstractSet, Dict, FrozenSet, Iterable, Iterator, List,
                                     Mapping, NamedTuple, Set, Tuple)

BITS = {GATEWAY: FORWARDER, DHCP: DHCP_SERVER, ROUTER: ADVERTISER}


def sender_flags(policy: EffectivePolicy) -> Tuple[int, ...]:
    """Return the flags of what a VIF sends."""
    roles = [BITS[role] for role in sorted(policy.roles)]
    return (MANAGED, *[ISOLATED] * (policy.mode is Mode.ISOLATED), *roles, *[HOLDER] * bool(roles))


def holder_flows(vif: Vif, network: int, subnets: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield what a VIF of this host may do on a network beside its policy, for its roles."""
    mac, policy = vif.mac, vif.policy
    if policy.mode is Mode.ISOLATED:
        inside = sorted({*policy.addresses, *subnets, LINK_LOCAL})
        yield from holder_destination_flows(network, mac, policy.roles, inside)
    yield from holder_decision_flows(network, mac, policy.roles, vif.arriving)
    if vif.arriving:
        yield from heard_from_flows(network, mac, policy.roles)


class Holders(NamedTuple):
    """Who holds roles on a network."""

    facts: Network                      # the network's, with those on other hosts
    here: Tuple[LocalHolder, ...]
    owners: Mapping[Prefix, int]        # how many VIFs of this host own an address of theirs


def find_holders(items: Registry, network: int, bridge: str, uuid: str,
                 around: Surroundings) -> Holders:
    """Return who holds roles on a network, on this host and on others."""
    here: List[LocalHolder] = []
    macs: Set[str] = set()
    for item in endpoints([item for item in items.values() if ROLE in item.facts]):
        number, mac = split_endpoint(item)
        if number == network:
            known = parse_facts(item)
            macs.add(mac)
            here += [LocalHolder(known.roles, known.mode == Mode.ISOLATED.word, link)
                     for link in known.links]
    named = around.find_network(bridge, uuid)
    facts = with_holders_elsewhere(named, uuid, macs, around)
    theirs = {address for gateway in set(facts.gateways) - set(named.gateways)
              for address in (gateway.ipv4, gateway.ipv6) if address}
    owners: Dict[Prefix, int] = {}
    for item in possible_owners(items.values(), theirs) if theirs else ():
        if split_endpoint(item)[0] == network:
            for address, turn in parse_facts(item).owners.items():
                if address in theirs:
                    owners[address] = max(owners.get(address, 0), turn + 1)
    return Holders(facts, tuple(here), owners)


def with_holders_elsewhere(facts: Network, uuid: str, here: AbstractSet[str],
                           around: Surroundings) -> Network:
    """Return a network's facts with the holders on other hosts; `here`: MAC addresses of ours."""
    gateways = [gateway for gateway in facts.gateways if gateway.mac not in here]
    for member in around.read_members(HOLDERS):
        if member.network == uuid and member.mac not in here:
            gateways += _as_gateways(member)
    return facts._replace(gateways=tuple(gateways))


def _as_gateways(member: RemoteMember) -> Iterator[Gateway]:
    """Yield a holder on another host as one beyond the uplink, address by address."""
    for address in sorted(member.addresses):
        ipv4, ipv6 = (address, None) if address.version == 4 else (None, address)
        yield Gateway(ipv4, ipv6, member.mac, member.roles)


def named_roles(facts: Network, holders: Iterable[LocalHolder]) -> FrozenSet[str]:
    """Return the roles of which a network knows who may have them: nobody else may."""
    known = [gateway.roles for gateway in facts.gateways if gateway.mac]
    known += [holder.roles for holder in facts.holders]
    known += [holder.roles for holder in holders]
    return frozenset([DHCP] if facts.dhcp_servers else []).union(*known)


def network_flows(items: Registry, network: int, name: str, isolated: Iterable[Attachment],
                  around: Surroundings) -> Iterator[Flow]:
    """Yield what is the same for all VIFs of a network; `isolated` links are left out of floods."""
    bridge, uuid = name.split(' ')
    facts, holders, owners = find_holders(items, network, bridge, uuid, around)
    named = named_roles(facts, holders)
    yield from network_party_flows(network, facts, named, owners)
    yield from network_decision_flows(network, facts, named)
    yield from network_multicast_flows(network, facts, named, holders)
    for mac, _ in roles_by_mac(facts):
        yield gateway_delivery_flow(network, mac)
    isolated = list(isolated)
    if isolated:
        yield fanout_flow(network, isolated)
