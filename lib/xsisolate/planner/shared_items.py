"""What VIFs share: the stages' fixed flows, the bridge, its networks, and groups."""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.additional_macs import link_layer_flows
from xsisolate.pipeline.decision import decision_flows
from xsisolate.pipeline.delivery import Topology, bridge_flows, delivery_flows
from xsisolate.pipeline.entry import entry_flows
from xsisolate.pipeline.guard import guard_flows
from xsisolate.pipeline.multicast import fanout_flow, multicast_flows
from xsisolate.pipeline.peer_lookup import party_flows
from xsisolate.pipeline.peer_sets import member_flows
from xsisolate.pipeline.port_security import identity_flows
from xsisolate.pipeline.permissive import permissive_flows
from xsisolate.pipeline.refusals import refusal_flows
from xsisolate.pipeline.snooping import aloud_copy_flow, copy_flow
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.cookie import BASE, BRIDGE, FANOUT, Key, Kind
from xsisolate.planner.item_facts import (IsolatedLinks, isolated_links, learning_networks,
                                          parse_network_name, parse_port_facts)
from xsisolate.planner.items import Item, Items, make_item, is_merely_restamped
from xsisolate.planner.peer_items import group_of, group_spread_flows, group_stamp, make_group
from xsisolate.planner.roles import network_flows, network_stamp
from xsisolate.typing_compat import AbstractSet, Iterator, Mapping


def networks_of(items: Mapping[Key, Item]) -> Mapping[str, int]:
    """Return the networks on a bridge by uuid."""
    return {parse_network_name(item).uuid: NETWORK | key.id for key, item in items.items()
            if key.kind is Kind.NETWORK}


def stamp_of(items: Mapping[Key, Item], key: Key, stamp: str, context: PlanContext) -> str:
    """Return the facts of a group's or a network's item; `stamp`: of the members elsewhere."""
    if key.kind is Kind.NETWORK:
        return network_stamp(items, NETWORK | key.id, stamp, context)
    return group_stamp(group_of(items[key]), stamp, context.config)


def refresh_shared(items: Items, touched: AbstractSet[Key], context: PlanContext) -> None:
    """Compile what depends on the bridge or several VIFs, and not on members elsewhere."""
    items[BASE] = make_item(BASE, 'base', base_flows())
    items[BRIDGE] = make_item(BRIDGE, 'bridge', bridge_flows(_without_managed(items, context)))
    isolated, learning = isolated_links(items.values()), learning_networks(items.values())
    for key in touched:
        if key.kind is Kind.SPREAD:
            items[key] = make_item(key, items[key].name,
                                   _spread_flows(isolated, learning, key.id))


def refresh_with_members(items: Items, key: Key, given: GroupInput, context: PlanContext) -> None:
    """Compile a group's or a network's item."""
    assert given.members is not None
    item, facts = items[key], stamp_of(items, key, given.stamp, context)
    if key.kind is Kind.NETWORK:
        fresh = make_item(key, item.name, network_flows(items, NETWORK | key.id, given.members,
                                                        context), facts=facts)
    else:
        fresh = make_group(item, networks_of(items), context.config, given.members, facts)
    # A stamp that is merely old is not a difference to a sync; the next hook renews it.
    same = context.thorough and is_merely_restamped(item, fresh)
    items[key] = fresh._replace(facts=item.facts) if same else fresh


def base_flows() -> Iterator[Flow]:
    """Yield the flows that every bridge with a managed VIF has."""
    for flows in (entry_flows, guard_flows, identity_flows, link_layer_flows, party_flows,
                  member_flows, decision_flows, multicast_flows, delivery_flows, refusal_flows,
                  permissive_flows):
        yield from flows()


def _without_managed(items: Items, context: PlanContext) -> Topology:
    """Return the ports without policy: a managed one's frames never come where these are asked."""
    managed = {str(parse_port_facts(item).ofport) for key, item in items.items()
               if key.kind is Kind.PORT}
    topology = context.topology
    return topology._replace(others=tuple([port for port in topology.others
                                           if port[0] not in managed]))


def _spread_flows(isolated: IsolatedLinks, learning: AbstractSet[int],
                  spread: int) -> Iterator[Flow]:
    """Yield the flows that carry multicast: a network's to isolated VIFs, a group's to members."""
    if not spread & FANOUT:
        yield from group_spread_flows(isolated, spread)
        return
    network = NETWORK | spread & 0xfff
    links = [one.link for one in isolated.get(network, []) if one.enforced]
    if links:
        yield fanout_flow(network, links)
    if network in learning:
        yield aloud_copy_flow(network, links)
        yield copy_flow(network)
