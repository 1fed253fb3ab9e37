"""Which items a bridge should carry, from its ports and its VIFs' policies.

A hook plans for its own VIF; every other item is known by its header and kept.
`plan_bridge` is pure: the whole state in, the whole answer out.
"""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.decision import (decision_flows, endpoint_destination_flows,
                                         isolation_count_flows, network_decision_flows)
from xsisolate.pipeline.delivery import (Topology, bridge_flows, delivery_flows,
                                         gateway_delivery_flow, unsettled_flow)
from xsisolate.pipeline.entry import (closed_port_flow, entry_flows, managed_port_flow, theft_flows,
                                      trunk_port_flows)
from xsisolate.pipeline.guard import guard_flows
from xsisolate.pipeline.multicast import fanout_flow, multicast_flows, network_multicast_flows
from xsisolate.pipeline.peer_lookup import (asker_flows, endpoint_party_flows, network_party_flows,
                                            party_flows)
from xsisolate.pipeline.peer_sets import member_flows, membership_flow
from xsisolate.pipeline.port_security import (identity_flows, port_identity_flows, settle_flow,
                                              settled_flows, spoof_count_flow)
from xsisolate.pipeline.stages import NETWORK
from xsisolate.planner.address_owners import (Conflict, assign_owners, check_claims, check_mac,
                                              leave_waiting)
from xsisolate.planner.cookie import BASE, BRIDGE, Key, Kind, port_id
from xsisolate.planner.item_facts import (EndpointFacts, IsolatedLinks, endpoint_name, endpoints,
                                          format_facts, format_port_facts, isolated_links,
                                          parse_port_facts, ports_of, split_endpoint, takes_turns)
from xsisolate.planner.items import Item, Registry, make_item, reachable
from xsisolate.planner.mute_vifs import explain_mutes
from xsisolate.planner.peer_items import (GROUP, Items, add_peers, find_or_add, group_name,
                                          group_spread_flows, refresh_group, spread_keys)
from xsisolate.planner.vif import UNNAMED, Attached, Surroundings, Vif, VifPort
from xsisolate.policy.model import Mode, Network
from xsisolate.typing_compat import (AbstractSet, FrozenSet, Iterable, Iterator, List, Mapping,
                                     NamedTuple, Optional, Tuple)
from xsisolate.vif_id import VifId, parse_netdev


class Plan(NamedTuple):
    """The items a bridge should carry; those out of scope without their flows."""

    items: Items
    vifs: Tuple[Vif, ...]       # some may be quarantined over a conflict


def plan_bridge(registry: Registry, vifs: Iterable[Vif], around: Surroundings) -> Plan:
    """Return what the bridge should carry for these VIFs beside all that it carries."""
    vifs = list(vifs)
    present = {port.name for vif in vifs for port in vif.ports}
    own = {key for vif in vifs for key in _port_keys(vif) if key in registry}
    gone = {key for key, item in registry.items() if key.kind is Kind.PORT
            and (item.name not in around.ofports or key in own and item.name not in present)}
    touched = reachable(registry, gone | own)
    roots = (BRIDGE,) if around.topology.secure else ()     # it serves the unmanaged, too
    items = {key: item for key, item in registry.items() if key not in gone}
    for key in roots:
        items.setdefault(key, Item(key, 'bridge'))
    planned = {vif.id: vif for vif in vifs}
    for vif in sorted(vifs, key=lambda vif: (not _has_items(registry, vif), vif.id)):
        if vif.ports:       # those that are on the bridge already keep what they have
            planned[vif.id] = _add_vif(items, vif, around)
    items = _sweep(items, roots)
    touched |= items.keys() if around.thorough else reachable(
        items, [port_key(port) for port in present])
    if items:
        _refresh_shared(items, touched, _networks(registry), around)
    return Plan(items, tuple(explain_mutes(items, [planned[vif.id] for vif in vifs], around)))


def _has_items(registry: Registry, vif: Vif) -> bool:
    return any(key in registry for key in _port_keys(vif))


def _sweep(items: Items, roots: Tuple[Key, ...]) -> Items:
    """Return the items that some port, or a root, leads to."""
    kept = reachable(items, [*roots, *(key for key in items if key.kind is Kind.PORT)])
    return {key: item for key, item in items.items() if key in kept}


def disturbed(registry: Registry, vif: Vif, ofports: Mapping[str, int]) -> List[VifId]:
    """Return the other VIFs whose items this VIF's event makes stale.

    They share its MAC address (live migration onto the same host), take turns
    in owning an address, their port has another number than their flows were
    made for, or somebody has deleted the header of an item that they refer to.
    """
    names = {endpoint_name(attached.network, vif.mac) for attached in vif.networks}
    own = set(_port_keys(vif))
    shared = {ref for key in own if key in registry for ref in registry[key].refs}
    shared |= {item.key for item in endpoints(registry.values())
               if item.name in names or takes_turns(item)}
    damaged = _has_gaps(registry)
    found = {parse_netdev(item.name) for item in registry.values()
             if item.key.kind is Kind.PORT and item.key not in own and item.name in ofports
             and (not shared.isdisjoint(item.refs)
                  or ofports[item.name] != parse_port_facts(item).ofport
                  or damaged and _is_damaged(item, registry))}
    return sorted(found)


def _has_gaps(registry: Registry) -> bool:
    """Tell whether items refer to some that are not there."""
    return not {ref for item in registry.values() for ref in item.refs} <= (
        registry.keys() | {BASE, BRIDGE})


def _is_damaged(port: Item, registry: Registry) -> bool:
    """Tell whether a header is missing of what only this port's VIF brings back."""
    return any(ref not in registry and ref not in (BASE, BRIDGE)
               for key in reachable(registry, [port.key]) for ref in registry[key].refs)


def learned_flows(items: Mapping[Key, Item],
                  scope: Optional[AbstractSet[Key]] = None) -> FrozenSet[Flow]:
    """Return what the switch may have learned by itself for items, or for those in scope."""
    ports = [items[key] for key in (items.keys() if scope is None else scope & items.keys())
             if key.kind is Kind.PORT]
    return frozenset(flow for item in ports for ref in item.refs if ref in items
                     for flow in _learned(item, items[ref]))


def port_key(name: str) -> Key:
    """Return the key of a VIF netdev's item."""
    return Key(Kind.PORT, port_id(parse_netdev(name), name.startswith('tap')))


def _port_keys(vif: Vif) -> Tuple[Key, Key]:
    """Return the keys of both netdevs that a VIF may have."""
    return (Key(Kind.PORT, port_id(vif.id, False)), Key(Kind.PORT, port_id(vif.id, True)))


def _learned(port: Item, endpoint: Item) -> Iterator[Flow]:
    network, mac = split_endpoint(endpoint)
    link = parse_port_facts(port)
    for flow in settled_flows(network, link.tagged, mac, link.ofport):
        yield flow._replace(cookie=port.key.cookie)


# --- one VIF -------------------------------------------------------------------------------


def _add_vif(items: Items, vif: Vif, around: Surroundings) -> Vif:
    """Add a VIF's items; return the VIF, in quarantine if it wants what is another's."""
    for port in vif.ports:
        items.pop(port_key(port.name), None)
    if vif.policy.mode is Mode.UNLOCKED:
        return vif
    try:
        return leave_waiting(vif, _add_endpoints(items, vif, around))
    except Conflict as conflict:
        vif = vif.closed(str(conflict))
        for port in vif.ports:
            _add_port(items, vif, port, ())
    return vif


def _add_endpoints(items: Items, vif: Vif, around: Surroundings) -> List[EndpointFacts]:
    """Add a VIF's ports, an endpoint per network, and the peers that these ask about."""
    keys = [_find_endpoint(items, vif, attached.network) for attached in vif.networks]
    asked = add_peers(items, vif.policy, around) if vif.policy.mode is Mode.ISOLATED else {}
    facts = [_find_facts(items, key, vif, attached, asked, around)
             for key, attached in zip(keys, vif.networks)]
    for port in vif.ports:
        _add_port(items, vif, port, tuple(keys))
    for key, attached, fact in zip(keys, vif.networks, facts):
        _name_network(items, attached)
        items[key] = _make_endpoint(items, key, vif, attached.network, asked, fact)
    return facts


def _find_endpoint(items: Items, vif: Vif, network: int) -> Key:
    """Return the key of a VIF's endpoint on a network, a free one if there is none yet."""
    key = find_or_add(items, Kind.ENDPOINT, endpoint_name(network, vif.mac),
                      port_id(vif.id, False))
    check_mac(items, key, vif.mac, vif.vm_uuid)
    return key


def _find_facts(items: Items, key: Key, vif: Vif, attached: Attached, asked: Mapping[str, Key],
                around: Surroundings) -> EndpointFacts:
    """Return an endpoint's facts, its ports still unknown; raise Conflict over an address."""
    groups = tuple(sorted(asked[group_name(group)].id for group in vif.policy.groups
                          if group_name(group) in asked))
    owners = assign_owners(items, key, attached.network, vif.policy, groups)
    check_claims(items, key, vif, attached, around)
    return EndpointFacts(vif.policy.mode.word, vif.vm_uuid, (), groups, owners, vif.policy.shared)


def _name_network(items: Items, attached: Attached) -> None:
    """Add a network's item; a trunk VIF knows its VLANs' names only by hearsay."""
    key = _network_key(attached.network)
    if key not in items or attached.network_uuid != UNNAMED:
        items[key] = Item(key, '%s %s' % (attached.bridge, attached.network_uuid))


def _network_key(network: int) -> Key:
    return Key(Kind.NETWORK, network & 0xfff)


def _add_port(items: Items, vif: Vif, port: VifPort, refs: Tuple[Key, ...]) -> None:
    key = port_key(port.name)
    items[key] = make_item(key, port.name, _port_flows(vif, port.ofport, key), refs,
                           format_port_facts(port.ofport, vif.trunk))


def _port_flows(vif: Vif, ofport: int, key: Key) -> Iterator[Flow]:
    yield spoof_count_flow(ofport)
    if vif.policy.mode > Mode.ISOLATED:
        yield closed_port_flow(ofport)
        return
    networks, isolated = [net.network for net in vif.networks], vif.policy.mode is Mode.ISOLATED
    if vif.trunk:
        yield from trunk_port_flows(ofport, networks, isolated)
    else:
        yield managed_port_flow(ofport, networks[0], isolated)
    yield from port_identity_flows(ofport, vif.mac)
    for network in networks:
        yield settle_flow(ofport, network, vif.trunk, key.cookie)


def _make_endpoint(items: Items, key: Key, vif: Vif, network: int, asked: Mapping[str, Key],
                   facts: EndpointFacts) -> Item:
    links = tuple(sorted(parse_port_facts(port) for port in ports_of(items.values(), key)))
    facts = facts._replace(links=links)
    refs = [BASE, BRIDGE, _network_key(network), *asked.values(), *spread_keys(asked)]
    return make_item(key, endpoint_name(network, vif.mac),
                     _endpoint_flows(vif, network, facts, asked), refs, format_facts(facts))


def _endpoint_flows(vif: Vif, network: int, facts: EndpointFacts,
                    asked: Mapping[str, Key]) -> Iterator[Flow]:
    where, mode = (network, vif.mac), vif.policy.mode
    yield from theft_flows(*where, vif.arriving)
    yield from endpoint_destination_flows(*where, mode)
    yield from isolation_count_flows(*where)    # in every mode: see drop_counts.py
    if mode > Mode.ISOLATED:
        return
    yield from endpoint_party_flows(*where, facts.owners, mode is Mode.ISOLATED)
    yield unsettled_flow(*where, facts.links, vif.arriving)
    if mode is Mode.ISOLATED:
        yield from asker_flows(*where, sorted(peers.id for peers in asked.values()))
        for group in facts.groups:
            yield membership_flow(*where, group)


# --- what VIFs share -----------------------------------------------------------------------


def _networks(items: Mapping[Key, Item]) -> Mapping[str, int]:
    """Return the networks on a bridge by uuid."""
    return {item.name.split(' ')[1]: NETWORK | key.id for key, item in items.items()
            if key.kind is Kind.NETWORK}


def _refresh_shared(items: Items, touched: AbstractSet[Key], before: Mapping[str, int],
                    around: Surroundings) -> None:
    """Compile what depends on the bridge, the configuration or several VIFs."""
    items[BASE] = make_item(BASE, 'base', base_flows())
    items[BRIDGE] = make_item(BRIDGE, 'bridge', bridge_flows(_without_managed(items, around)))
    isolated = isolated_links(items.values())
    networks = _networks(items)
    if networks != before:      # members elsewhere may be on one that has come, or has gone
        touched = touched | {key for key in items if key.kind is Kind.PEERS}
    for key in sorted(touched & items.keys()):
        name = items[key].name
        if key.kind is Kind.NETWORK:
            facts = around.find_network(*name.split(' '))
            items[key] = make_item(key, name, _network_flows(isolated, NETWORK | key.id, facts))
        elif key.kind is Kind.SPREAD:
            items[key] = make_item(key, name, group_spread_flows(isolated, key.id))
        elif key.kind is Kind.PEERS and name.startswith(GROUP):
            items[key] = refresh_group(items[key], networks, around, networks != before)


def base_flows() -> Iterator[Flow]:
    """Yield the flows that every bridge with a managed VIF has."""
    for flows in (entry_flows, guard_flows, identity_flows, party_flows, member_flows,
                  decision_flows, multicast_flows, delivery_flows):
        yield from flows()


def _without_managed(items: Items, around: Surroundings) -> Topology:
    """Return the ports without policy: a managed one's frames never come where these are asked."""
    managed = {str(parse_port_facts(item).ofport) for key, item in items.items()
               if key.kind is Kind.PORT}
    topology = around.topology
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
