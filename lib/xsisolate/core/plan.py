"""Which items a bridge should carry, from its ports and its VIFs' policies.

A hook plans for its own VIF; every other item is known by its header and kept.
`plan_bridge` is pure: the whole state in, the whole answer out.
"""
from hashlib import sha256
from typing import (
    AbstractSet,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Set,
    Tuple,
)

from xsisolate.core.cookie import BASE, BRIDGE, Key, Kind, port_id
from xsisolate.core.flow import Flow
from xsisolate.core.flows.decision import (
    decision_flows,
    endpoint_destination_flows,
    isolation_count_flows,
    network_decision_flows,
)
from xsisolate.core.flows.delivery import Topology, bridge_flows, delivery_flows, unsettled_flow
from xsisolate.core.flows.entry import closed_port_flow, entry_flows, managed_port_flow, theft_flows
from xsisolate.core.flows.guard import guard_flows
from xsisolate.core.flows.identity import (
    identity_flows,
    port_identity_flows,
    settle_flow,
    settled_flows,
)
from xsisolate.core.flows.members import (
    allow_flows,
    member_flows,
    membership_flow,
    outside_member_flows,
    remote_member_flows,
    rule_flows,
)
from xsisolate.core.flows.multicast import (
    announcement_flow,
    fanout_flow,
    multicast_flows,
    network_multicast_flows,
)
from xsisolate.core.flows.party import (
    asker_flows,
    endpoint_party_flows,
    network_party_flows,
    party_flows,
)
from xsisolate.core.flows.stages import NETWORK
from xsisolate.core.items import Item, Registry, make_item, reachable
from xsisolate.core.model import (
    Config,
    EffectivePolicy,
    Group,
    Mode,
    Network,
    Peer,
    Prefix,
    RemoteMember,
)
from xsisolate.errors import PolicyError

GROUP = 'group '


class VifPort(NamedTuple):
    """A VIF's netdev on the bridge."""

    name: str               # vif5.0 or tap5.0
    ofport: int


class Vif(NamedTuple):
    """A plugged VIF and what it may do; without ports it is leaving."""

    domid: int
    devid: int
    vm_uuid: str = ''                   # the canonical one
    mac: str = ''
    network: int = NETWORK              # NETWORK | VLAN tag
    bridge: str = ''                    # the network's bridge, fake or real
    network_uuid: str = ''
    policy: EffectivePolicy = EffectivePolicy(Mode.UNLOCKED)
    ports: Tuple[VifPort, ...] = ()


class Surroundings(NamedTuple):
    """What a plan depends on beside the VIFs it is made for."""

    topology: Topology
    ofports: Mapping[str, int]          # the VIF netdevs that are on the bridge now
    config: Config
    find_network: Callable[[str, str], Network]     # by bridge name and network uuid
    read_members: Callable[[str], Iterable[RemoteMember]]


class Conflict(PolicyError):
    """A VIF, (domid, devid), wants what another VIF on its network already has."""

    def __init__(self, reason: str, vif: Tuple[int, int]) -> None:
        super().__init__(reason)
        self.vif = vif


Items = Dict[Key, Item]


def plan_bridge(registry: Registry, vifs: Iterable[Vif], around: Surroundings) -> Items:
    """Return all items the bridge should carry; those out of scope without their flows."""
    vifs = list(vifs)
    items = {key: item for key, item in registry.items()
             if not any(_is_port_of(item, vif) for vif in vifs)
             and not _is_dead(item, around.ofports)}
    touched = reachable(registry, registry.keys() - items.keys())
    for vif in _by_seniority(registry, vifs):
        if vif.ports and vif.policy.mode is not Mode.UNLOCKED:
            touched |= _add_vif(items, vif, around)
    kept = reachable(items, [key for key in items if key.kind is Kind.PORT])
    items = {key: item for key, item in items.items() if key in kept}
    if items:
        _refresh_shared(items, touched, around)
    return items


def _by_seniority(registry: Registry, vifs: Iterable[Vif]) -> List[Vif]:
    """Return the VIFs in the order in which they may claim a MAC address."""
    def rank(vif: Vif) -> Tuple[bool, int, int]:
        owns = any(_is_port_of(item, vif) and ref in registry
                   and registry[ref].name == _endpoint_name(vif)
                   for item in registry.values() for ref in item.refs)
        return not owns, vif.domid, vif.devid

    return sorted(vifs, key=rank)


def disturbed(registry: Registry, vif: Vif, ofports: Mapping[str, int]) -> List[Tuple[int, int]]:
    """Return (domid, devid) of other VIFs whose items this VIF's event makes stale.

    They share its MAC address (live migration onto the same host), their port
    has another number than their flows were made for, or somebody has deleted
    the header of an item that they refer to.
    """
    shared = {ref for item in registry.values() if _is_port_of(item, vif) for ref in item.refs}
    shared |= {item.key for item in registry.values()
               if item.key.kind is Kind.ENDPOINT and item.name == _endpoint_name(vif)}
    found = {split_port(item.name) for item in registry.values()
             if item.key.kind is Kind.PORT and not _is_port_of(item, vif)
             and not _is_dead(item, ofports)
             and (set(item.refs) & shared or ofports[item.name] != _ofport(item)
                  or _is_damaged(item, registry))}
    return sorted(found)


def _is_damaged(port: Item, registry: Registry) -> bool:
    """Tell whether a header is missing of what only this event's VIFs bring back."""
    return any(ref not in registry and ref not in (BASE, BRIDGE)
               for key in reachable(registry, [port.key]) for ref in registry[key].refs)


def owner_of(items: Mapping[Key, Item], cookie: int) -> str:
    """Return the name of a netdev that a flow of an endpoint serves."""
    users = sorted(item.name for item in items.values()
                   if item.key.kind is Kind.PORT and any(ref.cookie == cookie
                                                         for ref in item.refs))
    return users[0] if users else 'another VIF'


def learned_flows(items: Mapping[Key, Item]) -> FrozenSet[Flow]:
    """Return what the switch may have learned by itself for these items."""
    return frozenset(flow for item in items.values() if item.key.kind is Kind.PORT
                     for ref in item.refs if ref in items for flow in _learned(item, items[ref]))


def split_port(name: str) -> Tuple[int, int]:
    """Return (domid, devid) of a VIF netdev's name."""
    domid, devid = name[3:].split('.')
    return int(domid), int(devid)


def port_key(name: str) -> Key:
    """Return the key of a VIF netdev's item."""
    domid, devid = split_port(name)
    return Key(Kind.PORT, port_id(domid, devid, name.startswith('tap')))


def _is_port_of(item: Item, vif: Vif) -> bool:
    return item.key.kind is Kind.PORT and split_port(item.name) == (vif.domid, vif.devid)


def _is_dead(item: Item, ofports: Mapping[str, int]) -> bool:
    return item.key.kind is Kind.PORT and item.name not in ofports


def _ofport(item: Item) -> int:
    return int(item.facts)


def _learned(port: Item, endpoint: Item) -> Iterator[Flow]:
    network, mac = endpoint.name.split(' ')
    for flow in settled_flows(int(network, 16), mac, _ofport(port)):
        yield flow._replace(cookie=port.key.cookie)


# --- one VIF -------------------------------------------------------------------------------


def _endpoint_name(vif: Vif) -> str:
    return '%x %s' % (vif.network, vif.mac)


def _add_vif(items: Items, vif: Vif, around: Surroundings) -> FrozenSet[Key]:
    """Add a VIF's ports, the endpoint they share, and the peers that it asks about.

    Returns the keys of what is to be looked at anew.
    """
    if not vif.mac:
        for port in vif.ports:      # its MAC address is another's: nothing but closed
            _add_port(items, vif, port, ())
        return frozenset()
    endpoint = _find_endpoint(items, vif)
    for port in vif.ports:
        _add_port(items, vif, port, (endpoint,))
    asked = _add_peers(items, vif, around) if vif.policy.mode is Mode.ISOLATED else {}
    items[endpoint] = _make_endpoint(items, endpoint, vif, asked)
    network = Key(Kind.NETWORK, vif.network & 0xfff)
    items[network] = Item(network, '%s %s' % (vif.bridge, vif.network_uuid))
    return frozenset(asked.values()) | {network}


def _find_endpoint(items: Items, vif: Vif) -> Key:
    """Return the key of the VIF's endpoint, a free one if it has none yet."""
    for key, item in items.items():
        if key.kind is Kind.ENDPOINT and item.name == _endpoint_name(vif):
            owner = item.facts.split(' ')[1]
            users = sorted(port.name for port in items.values() if key in port.refs)
            if users and owner != vif.vm_uuid:
                raise Conflict('MAC address %s is already in use on this network by %s of VM %s: '
                               'give one of the VMs another' % (vif.mac, users[0], owner),
                               (vif.domid, vif.devid))
            return key
    wanted = port_id(vif.domid, vif.devid, False)
    return _free_key(items, Kind.ENDPOINT, wanted)


def _free_key(items: Items, kind: Kind, wanted: int) -> Key:
    key = Key(kind, wanted)
    while key in items:
        key = Key(kind, key.id + 1)
    return key


def _add_port(items: Items, vif: Vif, port: VifPort, refs: Tuple[Key, ...]) -> None:
    key = port_key(port.name)
    items[key] = make_item(key, port.name, _port_flows(vif, port.ofport, key), refs,
                           str(port.ofport))


def _port_flows(vif: Vif, ofport: int, key: Key) -> Iterator[Flow]:
    if vif.policy.mode > Mode.ISOLATED:
        yield closed_port_flow(ofport)
        return
    yield managed_port_flow(ofport, vif.network, vif.policy.mode is Mode.ISOLATED)
    yield from port_identity_flows(ofport, vif.mac)
    yield settle_flow(ofport, key.cookie)


def _make_endpoint(items: Items, key: Key, vif: Vif, asked: Mapping[str, Key]) -> Item:
    ofports = sorted(_ofport(item) for item in items.values()
                     if item.key.kind is Kind.PORT and key in item.refs)
    facts = ' '.join([vif.policy.mode.word, vif.vm_uuid] + ['%d' % ofport for ofport in ofports])
    network = Key(Kind.NETWORK, vif.network & 0xfff)
    return make_item(key, _endpoint_name(vif), _endpoint_flows(vif, ofports, asked),
                     [BASE, BRIDGE, network, *asked.values()], facts)


def _endpoint_flows(vif: Vif, ofports: List[int], asked: Mapping[str, Key]) -> Iterator[Flow]:
    where, policy = (vif.network, vif.mac), vif.policy
    yield from theft_flows(*where)
    yield from endpoint_destination_flows(*where, policy.mode)
    if policy.mode > Mode.ISOLATED:
        return
    isolated = policy.mode is Mode.ISOLATED
    yield from endpoint_party_flows(*where, policy.addresses, isolated)
    yield unsettled_flow(*where, ofports)
    if isolated:
        yield announcement_flow(*where)
        yield from isolation_count_flows(*where)
        yield from asker_flows(*where, sorted(peers.id for peers in asked.values()))
        for group in policy.groups:
            yield membership_flow(*where, asked[_group_name(group)].id)


# --- peers ---------------------------------------------------------------------------------


def _group_name(group: str) -> str:
    return GROUP + group


def _allow_name(allow: Iterable[Peer]) -> str:
    """Return a name under which equal allow lists are one."""
    text = '\n'.join(sorted(repr(tuple(peer)) for peer in allow))
    return 'allow %s' % sha256(text.encode()).hexdigest()


def _add_peers(items: Items, vif: Vif, around: Surroundings) -> Dict[str, Key]:
    """Add the sets of peers that an isolated VIF asks about; return them by name."""
    asked = {}
    for group in sorted(asked_groups(vif.policy.groups, around.config.groups)):
        asked[_group_name(group)] = _find_peers(items, _group_name(group))
    if vif.policy.allow:
        name = _allow_name(vif.policy.allow)
        asked[name] = key = _find_peers(items, name)
        items[key] = make_item(key, name, allow_flows(key.id, vif.policy.allow))
    return asked


def asked_groups(groups: Iterable[str], facts: Mapping[str, Group]) -> FrozenSet[str]:
    """Return the VIF's groups and those that they reach and that reach them."""
    nobody = Group()
    return frozenset(groups) | frozenset(
        other for group in groups for other in facts.get(group, nobody).reach
        if group in facts.get(other, nobody).reach)


def _find_peers(items: Items, name: str) -> Key:
    for key, item in items.items():
        if key.kind is Kind.PEERS and item.name == name:
            return key
    key = _free_key(items, Kind.PEERS, 1)
    items[key] = Item(key, name)
    return key


def _group_flows(peers: int, group: str, networks: Mapping[str, int],
                 around: Surroundings) -> Iterator[Flow]:
    facts = around.config.groups.get(group, Group())
    yield from rule_flows(peers, facts.rules)
    yield from outside_member_flows(peers, facts.addresses)
    taken: Set[Tuple[int, Prefix]] = set()
    for member in sorted(around.read_members(group), key=lambda member: member.mac):
        network = networks.get(member.network)
        if network is None:
            continue
        free = [address for address in sorted(member.addresses)
                if (network, address) not in taken]     # the first who names an address has it
        taken.update((network, address) for address in free)
        yield from remote_member_flows(peers, network, member.mac, free)


# --- what VIFs share -----------------------------------------------------------------------


def _refresh_shared(items: Items, touched: AbstractSet[Key], around: Surroundings) -> None:
    """Compile what depends on the bridge, the configuration or several VIFs."""
    items[BASE] = make_item(BASE, 'base', base_flows())
    items[BRIDGE] = make_item(BRIDGE, 'bridge', bridge_flows(around.topology))
    networks = {item.name.split(' ')[1]: NETWORK | key.id for key, item in items.items()
                if key.kind is Kind.NETWORK}
    for key in sorted(touched & items.keys()):
        name = items[key].name
        if key.kind is Kind.NETWORK:
            facts = around.find_network(*name.split(' '))
            items[key] = make_item(key, name, _network_flows(items, NETWORK | key.id, facts))
        elif name.startswith(GROUP):
            items[key] = make_item(key, name, _group_flows(key.id, name[len(GROUP):], networks,
                                                           around))


def base_flows() -> Iterator[Flow]:
    """Yield the flows that every bridge with a managed VIF has."""
    for flows in (entry_flows, guard_flows, identity_flows, party_flows, member_flows,
                  decision_flows, multicast_flows, delivery_flows):
        yield from flows()


def _network_flows(items: Items, network: int, facts: Network) -> Iterator[Flow]:
    yield from network_party_flows(network, facts)
    yield from network_decision_flows(network, facts)
    yield from network_multicast_flows(network, facts)
    ofports = [int(ofport) for item in items.values()
               if item.key.kind is Kind.ENDPOINT and item.name.startswith('%x ' % network)
               and item.facts.startswith(Mode.ISOLATED.word)
               for ofport in item.facts.split(' ')[2:]]
    if ofports:
        yield fanout_flow(network, ofports)
