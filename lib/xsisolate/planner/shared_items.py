"""What VIFs share: the stages' fixed flows, the bridge, its networks, and groups."""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.decision import decision_flows, network_decision_flows
from xsisolate.pipeline.delivery import (Topology, bridge_flows, delivery_flows,
                                         gateway_delivery_flow)
from xsisolate.pipeline.entry import entry_flows
from xsisolate.pipeline.guard import guard_flows
from xsisolate.pipeline.multicast import fanout_flow, multicast_flows, network_multicast_flows
from xsisolate.pipeline.peer_lookup import network_party_flows, party_flows
from xsisolate.pipeline.peer_sets import member_flows
from xsisolate.pipeline.port_security import identity_flows
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.cookie import BASE, BRIDGE, Key, Kind
from xsisolate.planner.item_facts import (IsolatedLinks, isolated_links, parse_network_name,
                                          parse_port_facts)
from xsisolate.planner.items import Item, Items, make_item
from xsisolate.planner.peer_items import group_of, group_spread_flows, make_group, stamp_of
from xsisolate.policy.model import Network
from xsisolate.typing_compat import AbstractSet, Iterator, Mapping


def networks_of(items: Mapping[Key, Item]) -> Mapping[str, int]:
    """Return the networks on a bridge by uuid."""
    return {parse_network_name(item).uuid: NETWORK | key.id for key, item in items.items()
            if key.kind is Kind.NETWORK}


def refresh_shared(items: Items, touched: AbstractSet[Key], context: PlanContext) -> None:
    """Compile what depends on the bridge, the configuration or several VIFs, except groups."""
    items[BASE] = make_item(BASE, 'base', base_flows())
    items[BRIDGE] = make_item(BRIDGE, 'bridge', bridge_flows(_without_managed(items, context)))
    isolated = isolated_links(items.values())
    for key in touched:
        name = items[key].name
        if key.kind is Kind.NETWORK:
            facts = context.find_network(*parse_network_name(items[key]))
            items[key] = make_item(key, name, _network_flows(isolated, NETWORK | key.id, facts))
        elif key.kind is Kind.SPREAD:
            items[key] = make_item(key, name, group_spread_flows(isolated, key.id))


def refresh_group(items: Items, key: Key, given: GroupInput, context: PlanContext) -> None:
    """Compile a group's item."""
    assert given.members is not None
    item, config = items[key], context.config
    fresh = make_group(item, networks_of(items), config, given.members,
                       stamp_of(group_of(item), given.stamp, config))
    # A stamp that is merely old is not a difference to a sync; the next hook renews it.
    same = context.thorough and fresh.digest == item.digest
    items[key] = fresh._replace(facts=item.facts) if same else fresh


def base_flows() -> Iterator[Flow]:
    """Yield the flows that every bridge with a managed VIF has."""
    for flows in (entry_flows, guard_flows, identity_flows, party_flows, member_flows,
                  decision_flows, multicast_flows, delivery_flows):
        yield from flows()


def _without_managed(items: Items, context: PlanContext) -> Topology:
    """Return the ports without policy: a managed one's frames never come where these are asked."""
    managed = {str(parse_port_facts(item).ofport) for key, item in items.items()
               if key.kind is Kind.PORT}
    topology = context.topology
    return topology._replace(others=tuple([port for port in topology.others
                                           if port[0] not in managed]))


def _network_flows(isolated: IsolatedLinks, network: int, facts: Network) -> Iterator[Flow]:
    yield from network_party_flows(network, facts)
    yield from network_decision_flows(network, facts)
    yield from network_multicast_flows(network, facts)
    for mac in sorted({gateway.mac for gateway in facts.gateways if gateway.mac}):
        yield gateway_delivery_flow(network, mac)
    links = [link for _, link in isolated.get(network, [])]
    if links:
        yield fanout_flow(network, links)
