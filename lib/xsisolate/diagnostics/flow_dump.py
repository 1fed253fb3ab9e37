"""What a bridge carries of ours, item by item, with what each item's header says.

The switch's record is the source: VMs' names come from XAPI's notes, everything else from headers.
"""
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Tuple

from xsisolate.diagnostics.flow_words import Names, decode_actions, decode_match, stage
from xsisolate.diagnostics.inventory import BridgeView, Inventory, VifView
from xsisolate.diagnostics.resync_report import format_flow
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.dom0.ovs.ofctl import dump_counts
from xsisolate.errors import HostError
from xsisolate.openflow.flow import Flow
from xsisolate.openflow.ownership import HEADER, OWNER, OWNER_MASK
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.cookie import BASE, BRIDGE, FANOUT, Key, Kind, port_key
from xsisolate.planner.drop_counts import Counted, parse_counts
from xsisolate.planner.item_facts import (parse_facts, parse_network_name, parse_port_facts,
                                          split_endpoint)
from xsisolate.planner.items import Item, Registry, digest_flows, parse_registry, reachable
from xsisolate.planner.peer_items import find_groups, is_allow_list
from xsisolate.planner.vif_items import learned_flows
from xsisolate.policy.address import format_prefix

DIGITS = 8              # of an allow list's digest
BARE = (BASE, BRIDGE)   # the same for every VIF
ORDER = (Kind.PORT, Kind.ENDPOINT, Kind.PEERS, Kind.SPREAD, Kind.NETWORK, Kind.BRIDGE, Kind.BASE)


class ItemDump(NamedTuple):
    """An item, and its flows with the packets that they have met."""

    kind: str
    title: str
    intact: bool                # the flows are those of which the header tells
    flows: Tuple[Counted, ...]


class BridgeDump(NamedTuple):
    """What a bridge carries of ours, or of it what one VM needs."""

    bridge: str
    names: Names
    items: Tuple[ItemDump, ...]
    strays: Tuple[Counted, ...]     # our cookie, but no header tells of them
    others: int                     # flows of ours that were left out, being every VIF's


def read_dump(inventory: Inventory, bridge: str, views: Iterable[VifView] = ()) -> BridgeDump:
    """Return a bridge's items, those that lead from the VIFs of `views`, or all.

    Raises HostError if the switch does not say.
    """
    view = inventory.bridges[bridge]
    if view.error:
        raise HostError('bridge %s: %s' % (bridge, view.error))
    return make_dump(view, inventory.vifs, tuple(views),
                     tuple(parse_counts(dump_counts(bridge, OWNER, OWNER_MASK))))


def make_dump(view: BridgeView, vifs: Iterable[VifView], chosen: Tuple[VifView, ...],
              counted: Tuple[Counted, ...]) -> BridgeDump:
    """Return what a dump of our flows says."""
    registry = parse_registry(one.flow for one in counted)
    by_cookie: Dict[int, List[Counted]] = {}
    for one in counted:
        if not one.flow.cookie & HEADER:
            by_cookie.setdefault(one.flow.cookie, []).append(one)
    keys: FrozenSet[Key] = frozenset(registry)
    if chosen:
        roots = [port_key(port.name) for vif in chosen for port in vif.vif.ports]
        keys = reachable(registry, roots) - frozenset(BARE)
    names = find_names(view, registry)
    learned = learned_flows(registry)
    items = tuple(_dump_item(registry[key], names, registry, _labels(vifs),
                             by_cookie.get(key.cookie, []), learned)
                  for key in sorted(keys, key=_order))
    known = {key.cookie for key in registry}
    strays = tuple(one for cookie in sorted(by_cookie.keys() - known)
                   for one in by_cookie[cookie]) if not chosen else ()
    shown = sum(len(item.flows) for item in items) + len(strays)
    return BridgeDump(view.bridge.name, names, items, strays,
                      sum(map(len, by_cookie.values())) - shown)


def _order(key: Key) -> Tuple[int, int]:
    """Return a place in the dump: VIFs first, what all share last."""
    return ORDER.index(key.kind), key.id


def _labels(vifs: Iterable[VifView]) -> Mapping[str, str]:
    """Return VMs by netdev."""
    return {port.name: label(view) for view in vifs for port in view.vif.ports}


def find_names(view: BridgeView, registry: Registry) -> Names:
    """Return what the numbers in a bridge's flows stand for."""
    networks = {NETWORK | key.id: parse_network_name(item).bridge
                for key, item in registry.items() if key.kind is Kind.NETWORK}
    peers = {key.id: _peers_title(item) for key, item in registry.items()
             if key.kind is Kind.PEERS}
    ports = {link.ofport: link.interface for link in view.snapshot.links if link.ofport is not None}
    return Names(ports, networks, peers)


def _peers_title(item: Item) -> str:
    """Return what a set of peers is called; an allow list has a digest for a name."""
    if not is_allow_list(item.name):
        return item.name
    word, _, digest = item.name.partition(' ')
    return '%s list %s' % (word, digest[:DIGITS])


def _dump_item(item: Item, names: Names, registry: Registry, labels: Mapping[str, str],
               counted: Iterable[Counted], learned: FrozenSet[Flow]) -> ItemDump:
    flows = tuple(sorted(counted, key=lambda one: (one.flow.table, -one.flow.priority,
                                                   one.flow.match)))
    digest = digest_flows(one.flow for one in flows if one.flow not in learned)
    return ItemDump(item.key.kind.name.lower(), _title(item, names, registry, labels),
                    digest == item.digest, flows)


def _title(item: Item, names: Names, registry: Registry, labels: Mapping[str, str]) -> str:
    """Return what an item's header says."""
    kind = item.key.kind
    if kind is Kind.PORT:
        port = parse_port_facts(item)
        return '%s, port %d%s, of %s' % (
            item.name, port.ofport, ' (a trunk)' * port.tagged,
            labels.get(item.name, 'a VIF that is not on this bridge'))
    if kind is Kind.ENDPOINT:
        return _endpoint_title(item, names, registry)
    if kind is Kind.NETWORK:
        name = parse_network_name(item)
        return '%s%s, uuid %s' % (name.bridge, ' (VLAN %d)' % item.key.id * bool(item.key.id),
                                  name.uuid)
    if kind is Kind.PEERS:
        return _peers_title(item)
    if kind is Kind.SPREAD:
        return 'multicast that isolated VIFs of %s hear' % (
            'network ' + names.network(NETWORK | item.key.id & 0xfff) if item.key.id & FANOUT
            else 'group ' + item.name.partition(' ')[2])
    return {Kind.BASE: 'what every bridge with a managed VIF has',
            Kind.BRIDGE: 'uplinks and ports without policy'}[kind]


def _endpoint_title(item: Item, names: Names, registry: Registry) -> str:
    network, mac = split_endpoint(item)
    if not item.facts:
        return '%s on network %s' % (mac, names.network(network))
    facts = parse_facts(item)
    addresses = [format_prefix(address) + (' (shared)' if address in facts.shared else '')
                 + (' (owner %d)' % owner if owner else '')
                 for address, owner in sorted(facts.owners.items())]
    words = [facts.mode, *('role ' + role for role in sorted(facts.roles)),
             *('group ' + group for group in find_groups(registry, facts.groups))]
    asked = [_peers_title(registry[ref]) for ref in item.refs
             if ref.kind is Kind.PEERS and ref in registry and is_allow_list(registry[ref].name)]
    return '%s on network %s, VM %s: %s; addresses: %s' % (
        mac, names.network(network), facts.vm_uuid or 'unknown', ', '.join(words + asked),
        ', '.join(addresses) or 'none')


def describe(dumps: Iterable[BridgeDump]) -> List[Dict[str, Any]]:
    """Return dumps as JSON has them."""
    return [{'bridge': dump.bridge, 'left_out': dump.others,
             'strays': [_describe(one, dump.names) for one in dump.strays],
             'items': [{'kind': item.kind, 'title': item.title, 'intact': item.intact,
                        'flows': [_describe(one, dump.names) for one in item.flows]}
                       for item in dump.items]} for dump in dumps]


def _describe(counted: Counted, names: Names) -> Dict[str, Any]:
    flow = counted.flow
    return {'table': flow.table, 'stage': stage(flow.table), 'priority': flow.priority,
            'packets': counted.packets, 'match': decode_match(flow.match, names),
            'actions': decode_actions(flow.actions, names), 'raw': format_flow(flow)}


def lines(dump: BridgeDump) -> Iterator[str]:
    """Yield a dump's lines: each flow in words, and below as the switch has it."""
    yield 'bridge %s: %d items, %d flows of ours%s' % (
        dump.bridge, len(dump.items), sum(len(item.flows) for item in dump.items)
        + len(dump.strays), ', %d more that every VIF shares or that are other VIFs\''
        % dump.others if dump.others else '')
    for item in dump.items:
        yield ''
        yield '%s %s [%d flow%s%s]' % (
            item.kind, item.title, len(item.flows), 's' * (len(item.flows) != 1),
            '' if item.intact else ', NOT THOSE THAT ITS HEADER TELLS OF')
        for one in item.flows:
            yield from _flow_lines(one, dump.names)
    if dump.strays:
        yield ''
        yield 'flows with our cookie of which no header tells; xsisolate sync removes them'
        for one in dump.strays:
            yield from _flow_lines(one, dump.names)


def _flow_lines(counted: Counted, names: Names) -> Iterator[str]:
    flow = counted.flow
    yield '  %s, priority %d, %d packets: %s -> %s' % (
        stage(flow.table), flow.priority, counted.packets, decode_match(flow.match, names),
        decode_actions(flow.actions, names))
    yield '      ' + format_flow(flow)
