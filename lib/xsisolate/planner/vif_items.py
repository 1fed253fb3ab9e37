"""One VIF's items: its ports, and an endpoint for each network that it is on."""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline import additional_macs, permissive
from xsisolate.pipeline.connections import arrival_flow, resumed_flows
from xsisolate.pipeline.decision import endpoint_destination_flows, isolation_count_flows
from xsisolate.pipeline.delivery import unsettled_flow
from xsisolate.pipeline.entry import (closed_port_flow, managed_port_flow, theft_flows,
                                      trunk_port_flows)
from xsisolate.pipeline.peer_lookup import ask, asker_flows, endpoint_party_flows
from xsisolate.pipeline.peer_sets import membership_flow
from xsisolate.pipeline.port_security import (port_identity_flows, settle_flow, settled_flows,
                                              spoof_count_flow)
from xsisolate.pipeline.refusals import receiver_record_flow, sender_record_flow
from xsisolate.pipeline.snooping import answer_copy_flows, question_flows
from xsisolate.planner.address_owners import (AlreadyTaken, assign_owners, check_additional,
                                              check_claims, check_mac, leave_waiting)
from xsisolate.planner.context import PlanContext
from xsisolate.planner.cookie import (BASE, BRIDGE, Key, Kind, fanout_key, network_key, port_id,
                                      port_key)
from xsisolate.planner.item_facts import (EndpointFacts, NetworkName, endpoint_name, format_facts,
                                          format_network_name, format_port_facts, has_arrived,
                                          parse_facts, parse_port_facts, ports_of,
                                          split_endpoint)
from xsisolate.planner.items import Item, Items, Registry, find_or_add, make_item
from xsisolate.planner.peer_items import add_peers, group_name, spread_keys
from xsisolate.planner.roles import holder_flows, sender_flags
from xsisolate.planner.shared_macs import is_placed
from xsisolate.planner.vif import UNNAMED, Attached, Vif, VifPort
from xsisolate.policy.additional_macs import mac_matches
from xsisolate.policy.model import LEASED4, EffectivePolicy, Mode, Prefix
from xsisolate.policy.permissive import beneath, beneath_word
from xsisolate.typing_compat import (AbstractSet, FrozenSet, Iterable, Iterator, List, Mapping,
                                     Optional, Sequence, Tuple)


def add_vif(items: Items, vif: Vif, registry: Registry, context: PlanContext) -> Vif:
    """Add a VIF's items; return the VIF, in quarantine if it wants what is another's.

    `registry` is what the bridge carried before.
    """
    for port in vif.ports:
        items.pop(port_key(port.name), None)
    if vif.policy.mode is Mode.UNLOCKED:
        return vif
    try:
        facts = _add_endpoints(items, vif, registry, context)
        return leave_waiting(_leave_leases(vif, facts), facts)
    except AlreadyTaken as conflict:
        if vif.policy.permissive:
            return add_vif(items, vif.excused(str(conflict)), registry, context)
        vif = vif.closed(str(conflict))
    try:
        _add_endpoints(items, vif, registry, context)
    except AlreadyTaken:
        vif = vif.bare()
        for port in vif.ports:
            _add_port(items, vif, port, (), registry)
    return vif


def _add_endpoints(items: Items, vif: Vif, registry: Registry,
                   context: PlanContext) -> List[EndpointFacts]:
    """Add a VIF's ports, an endpoint per network, and the peers that these ask about."""
    keys = [_find_endpoint(items, vif, attached.network) for attached in vif.networks]
    isolated = vif.policy.mode is Mode.ISOLATED
    asked = add_peers(items, vif.policy, context.config) if isolated else {}
    facts = [_find_facts(items, key, vif, attached, asked, registry, context)
             for key, attached in zip(keys, vif.networks)]
    for port in vif.ports:
        _add_port(items, vif, port, tuple(keys), registry)
    for key, attached, fact in zip(keys, vif.networks, facts):
        _name_network(items, attached)
        items[key] = _make_endpoint(items, key, vif, attached, asked, fact, context)
    return facts


def _leave_leases(vif: Vif, facts: Iterable[EndpointFacts]) -> Vif:
    """Return a VIF without the leases of which another VIF has the address."""
    owned = frozenset([address for fact in facts for address in fact.owners])
    return vif._replace(policy=without_leases(vif.policy, vif.policy.leased - owned))


def without_leases(policy: EffectivePolicy, lost: AbstractSet[Prefix]) -> EffectivePolicy:
    """Return a policy without some of its leased addresses."""
    return policy._replace(addresses=policy.addresses - lost,
                           leased=policy.leased - lost) if lost else policy


def yield_leases(vifs: Iterable[Vif]) -> Iterator[Vif]:
    """Yield VIFs without leases of addresses that another of them has fixed on its network."""
    vifs = list(vifs)
    if not any(vif.policy.leased for vif in vifs):
        yield from vifs
        return
    fixed = {(attached.network, address): vif.id for vif in vifs if vif.ports
             for attached in vif.networks for address in vif.policy.addresses - vif.policy.leased}
    for vif in vifs:
        lost = [address for address in vif.policy.leased for attached in vif.networks
                if fixed.get((attached.network, address), vif.id) != vif.id]
        yield vif._replace(policy=without_leases(vif.policy, frozenset(lost)))


def _find_endpoint(items: Items, vif: Vif, network: int) -> Key:
    """Return the key of a VIF's endpoint on a network, a free one if there is none yet."""
    key = find_or_add(items, Kind.ENDPOINT, endpoint_name(network, vif.mac),
                      port_id(vif.id, False))
    check_mac(items, key, vif.mac, vif.vm_uuid)
    check_additional(items, key, network, vif)
    return key


def _find_facts(items: Items, key: Key, vif: Vif, attached: Attached, asked: Mapping[str, Key],
                registry: Registry, context: PlanContext) -> EndpointFacts:
    """Return an endpoint's facts, its ports still unknown; raise AlreadyTaken over an address."""
    groups = tuple(sorted(asked[group_name(group)].id for group in vif.policy.groups
                          if group_name(group) in asked))
    elsewhere = check_claims(registry, items, key, vif, attached, context.claims)
    policy = without_leases(vif.policy, elsewhere)
    owners = assign_owners(items, key, attached.network, policy, groups)
    return EndpointFacts(policy.mode.word, vif.vm_uuid, (), groups, owners, policy.shared,
                         policy.roles, policy.macs,
                         vif.arriving and bool(policy.macs), policy.leased & owners.keys(),
                         LEASED4 in policy.sources,
                         beneath_word(vif.locking) if policy.permissive else '')


def _name_network(items: Items, attached: Attached) -> None:
    """Add a network's item; a trunk VIF knows its VLANs' names only by hearsay."""
    key = network_key(attached.network)
    name = format_network_name(NetworkName(attached.bridge, attached.network_uuid))
    if key not in items or items[key].name != name and attached.network_uuid != UNNAMED:
        items[key] = Item(key, name)


def _add_port(items: Items, vif: Vif, port: VifPort, refs: Tuple[Key, ...],
              registry: Registry) -> None:
    key = port_key(port.name)
    arrived = vif.policy.mode <= Mode.ISOLATED and (
        vif.arriving or _came_by_migration(registry.get(key), port))
    items[key] = make_item(key, port.name, _port_flows(vif, port.ofport, key, arrived), refs,
                           format_port_facts(port.ofport, vif.trunk, arrived))


def _came_by_migration(before: Optional[Item], port: VifPort) -> bool:
    """Tell whether the switch says so of a port; xenstore says it only until the guest runs."""
    return before is not None and has_arrived(before) and (
        parse_port_facts(before).ofport == port.ofport)


def _port_flows(vif: Vif, ofport: int, key: Key, arrived: bool) -> Iterator[Flow]:
    yield spoof_count_flow(ofport)
    if vif.policy.mode > Mode.ISOLATED:
        yield closed_port_flow(ofport)
        return
    yield sender_record_flow(ofport, key.cookie)
    networks, bits = [net.network for net in vif.networks], sender_flags(vif.policy)
    if vif.policy.permissive:
        yield from _permissive_port_flows(vif, ofport, networks, bits)
    elif vif.trunk:
        yield from trunk_port_flows(ofport, networks, vif.mac, bits)
    else:
        yield managed_port_flow(ofport, networks[0], vif.mac, bits)
    if vif.policy.macs:
        yield from additional_macs.port_flows(ofport, networks, vif.mac,
                                              mac_matches(vif.policy.macs), key.cookie)
    else:
        yield from port_identity_flows(ofport, vif.mac)
    for network in networks:
        settle = settle_flow(ofport, network, vif.trunk, key.cookie, arrived,
                             vif.policy.permissive)
        yield settle
        yield from question_flows(settle, vif.policy.sources, vif.policy.permissive)
        if arrived:
            yield arrival_flow(ofport, network, key.cookie)


def _permissive_port_flows(vif: Vif, ofport: int, networks: Sequence[int],
                           bits: Tuple[int, ...]) -> Iterator[Flow]:
    judgement = permissive.Judgement(vif.mac, bits, vif.locking.mode is Mode.LOCKED)
    if vif.trunk:
        yield from permissive.trunk_port_flows(ofport, networks, judgement)
    else:
        yield permissive.port_flow(ofport, networks[0], judgement)
    yield from permissive.own_address_flows(ofport, [vif.mac, *mac_matches(vif.policy.macs)])
    for network in networks if judgement.locked else ():
        yield from permissive.fence_flows(ofport, network,
                                          beneath(vif.mac, vif.locking).addresses)


def _make_endpoint(items: Items, key: Key, vif: Vif, attached: Attached, asked: Mapping[str, Key],
                   facts: EndpointFacts, context: PlanContext) -> Item:
    network = attached.network
    links = tuple(sorted(parse_port_facts(port) for port in ports_of(items.values(), key)))
    facts = facts._replace(links=links)
    refs = [BASE, BRIDGE, network_key(network), *asked.values(), *spread_keys(asked)]
    flows = list(_endpoint_flows(key, vif, network, facts, asked))
    if facts.isolated or facts.learns:
        refs.append(_add_fanout(items, network))
    if facts.roles:
        flows += holder_flows(vif, network, context.find_network(
            attached.bridge, attached.network_uuid).subnets)
    return make_item(key, endpoint_name(network, vif.mac), flows, refs, format_facts(facts))


def _add_fanout(items: Items, network: int) -> Key:
    key = fanout_key(network)
    items.setdefault(key, Item(key, 'fanout'))
    return key


def _endpoint_flows(key: Key, vif: Vif, network: int, facts: EndpointFacts,
                    asked: Mapping[str, Key]) -> Iterator[Flow]:
    where, mode = (network, vif.mac), vif.policy.mode
    if vif.policy.permissive:
        yield from _permissive_endpoint_flows(vif, network, facts)
    else:
        yield from theft_flows(*where, vif.arriving)
        yield from endpoint_destination_flows(*where, mode)
    yield from isolation_count_flows(*where)    # in every mode: see drop_counts.py
    yield receiver_record_flow(*where, key.cookie)
    if mode > Mode.ISOLATED:
        return
    yield from endpoint_party_flows(*where, facts.owners, facts.isolated, facts.roles)
    yield unsettled_flow(*where, facts.links, vif.arriving)
    yield from answer_copy_flows(*where, mode, vif.policy.sources, vif.policy.permissive)
    sets = sorted(peers.id for peers in asked.values())
    if facts.macs:
        yield from additional_macs.endpoint_flows(
            *where, facts.links, vif.arriving, ask(sets) if mode is Mode.ISOLATED else None)
    if mode is Mode.ISOLATED:
        yield from asker_flows(*where, sets)
        for group in facts.groups:
            yield membership_flow(*where, group)


def _permissive_endpoint_flows(vif: Vif, network: int, facts: EndpointFacts) -> Iterator[Flow]:
    isolated = vif.policy.mode is Mode.ISOLATED
    yield permissive.stranger_flow(network, vif.mac, vif.arriving)
    yield from permissive.destination_flows(network, vif.mac, isolated, bool(facts.macs))
    if isolated:
        yield from permissive.sought_flows(network, vif.mac, facts.shared & facts.owners.keys())


def learned_flows(items: Mapping[Key, Item],
                  scope: Optional[AbstractSet[Key]] = None) -> FrozenSet[Flow]:
    """Return what the switch may have learned by itself for items, or for those in scope."""
    ports = [items[key] for key in (items.keys() if scope is None else scope & items.keys())
             if key.kind is Kind.PORT]
    return frozenset(flow for item in ports for ref in item.refs if ref in items
                     for flow in _learned(item, items[ref]))


def without_learned(flows: Iterable[Flow], items: Mapping[Key, Item],
                    scope: Optional[AbstractSet[Key]] = None) -> FrozenSet[Flow]:
    """Return the flows that the switch cannot have learned by itself for items."""
    learned = learned_flows(items, scope)
    return frozenset([flow for flow in flows if flow not in learned and not is_placed(flow, items)])


def _learned(port: Item, endpoint: Item) -> Iterator[Flow]:
    network, mac = split_endpoint(endpoint)
    link = parse_port_facts(port)
    learned = [*settled_flows(network, link.tagged, mac, link.ofport,
                              bool(parse_facts(endpoint).permissive))]
    if has_arrived(port):
        learned += resumed_flows(network, mac, link.ofport)
    for flow in learned:
        yield flow._replace(cookie=port.key.cookie)
