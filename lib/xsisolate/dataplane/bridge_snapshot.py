"""What is on a bridge now: its ports, and the VIFs behind them with their policies."""
from time import sleep

from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.remotes import served
from xsisolate.dataplane.vif_facts import VifFacts, read_vif, read_vm_uuid
from xsisolate.dom0.ovs.ovsdb import FAIL_MODE_KEY, SECURE, Bridge, Port, find_bridge
from xsisolate.errors import HostError, MetadataError, UnknownVif
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import PlanContext
from xsisolate.planner.topology import Link, make_topology, vif_ofports
from xsisolate.planner.vif import UNNAMED, Attached, Vif, VifPort
from xsisolate.policy.resolve import quarantine
from xsisolate.typing_compat import (AbstractSet, Iterable, List, Mapping, NamedTuple, Optional,
                                     Sequence, Tuple)
from xsisolate.vif_id import VifId, parse_netdev

# xenopsd renames a VM in xenstore and in its metadata one after the other.
RENAME_PAUSE_S = 0.3
BALANCED_MODES = ('balance-slb', 'balance-tcp')
ACCESS_MODES = (None, 'access', 'trunk')


class BridgeSnapshot(NamedTuple):
    """A bridge and its interfaces, as of one moment."""

    bridge: Bridge
    links: Tuple[Link, ...]
    ofports: Mapping[str, int]      # of the VIFs' netdevs


def read_snapshot(host: HostContext, name: str) -> BridgeSnapshot:
    """Return a bridge as of now."""
    return _pick(host.ovsdb.read_bridges(), name)


def read_snapshot_for(host: HostContext, name: str, vif_id: VifId) -> BridgeSnapshot:
    """Return a bridge as of now, but of other VIFs' ports only what concerns this one."""
    return _pick(host.ovsdb.read_bridges_for(vif_id.netdevs), name)


def _pick(bridges: Iterable[Bridge], name: str) -> BridgeSnapshot:
    for bridge in bridges:
        if bridge.name == name:
            return make_snapshot(bridge)
    raise HostError('bridge %s vanished from Open vSwitch' % name)


def without_ports(snapshot: BridgeSnapshot, names: AbstractSet[str]) -> BridgeSnapshot:
    """Return a bridge as it is without these ports."""
    return make_snapshot(snapshot.bridge._replace(ports=tuple(
        port for port in snapshot.bridge.ports if port.name not in names))) if names else snapshot


def read_more(host: HostContext, snapshot: BridgeSnapshot,
              vif_ids: Iterable[VifId]) -> BridgeSnapshot:
    """Return a bridge with all that is to be known of these VIFs' ports, if they have any."""
    wanted = {name for vif_id in vif_ids for name in vif_id.netdevs}
    names = [port.name for port in snapshot.bridge.others if port.name in wanted]
    return make_snapshot(host.ovsdb.read_ports(snapshot.bridge, names)) if names else snapshot


def make_snapshot(bridge: Bridge) -> BridgeSnapshot:
    """Return a bridge with its links."""
    links = tuple(link for port in bridge.ports for link in _links(port)) + tuple(
        Link(port.name, port.name, port.ofport, False, port.tag) for port in bridge.others
        if port.ofport is not None and port.ofport > 0)
    return BridgeSnapshot(bridge, links, vif_ofports(links))


def read_vifs(host: HostContext, snapshot: BridgeSnapshot, released: bool = False) -> List[Vif]:
    """Return all VIFs that have a netdev on the bridge; the unknown are looked for twice.

    `released`: as if none had a policy, to take all that is ours away.
    """
    vif_ids = find_vifs(snapshot)
    if released:
        return [Vif(vif_id, ports=_vif_ports(snapshot, vif_id)) for vif_id in vif_ids]
    found = [_find_vif(host, snapshot, vif_id) for vif_id in vif_ids]
    if None in found:
        sleep(RENAME_PAUSE_S)
    return [vif or make_vif(host, snapshot, vif_id) for vif, vif_id in zip(found, vif_ids)]


def _find_vif(host: HostContext, snapshot: BridgeSnapshot, vif_id: VifId) -> Optional[Vif]:
    try:
        return vif_from_facts(read_facts(host, vif_id), snapshot, vif_id)
    except UnknownVif:
        return None


def find_vifs(snapshot: BridgeSnapshot) -> List[VifId]:
    """Return all VIFs that have a netdev on the bridge."""
    return sorted({parse_netdev(name) for name in snapshot.ofports})


def make_vif(host: HostContext, snapshot: BridgeSnapshot, vif_id: VifId) -> Vif:
    """Return a VIF of which only the numbers are known; an unknown VIF is closed."""
    vif = Vif(vif_id, ports=_vif_ports(snapshot, vif_id))
    if not vif.ports:
        return vif
    try:
        return vif_from_facts(read_facts(host, vif_id), snapshot, vif_id)
    except UnknownVif as error:
        return vif._replace(policy=quarantine(str(error)),
                            lost=not isinstance(error, MetadataError))


def read_facts(host: HostContext, vif_id: VifId) -> VifFacts:
    """Return a VIF's facts; at the end of a migration its VM is renamed while we look."""
    uuid = read_vm_uuid(host.store, vif_id.domid)
    try:
        return read_vif(host.store, vif_id, uuid, host.configuration)
    except UnknownVif:
        renamed = read_vm_uuid(host.store, vif_id.domid)
        if renamed == uuid:
            raise
        return read_vif(host.store, vif_id, renamed, host.configuration)


def read_again(host: HostContext, vif_id: VifId, known: VifFacts) -> VifFacts:
    """Return the facts of a VIF that is being plugged, under its bridge's lock."""
    again = read_vif(host.store, vif_id, known.metadata.vm_uuid, host.configuration)
    if again.metadata.bridge != known.metadata.bridge:
        raise HostError('the VIF moves to bridge %s at this moment' % again.metadata.bridge)
    # An admin's next write has begun: what was proven a moment ago is still good. It is not
    # if XAPI has changed the VIF as well: the hook for that may have been here before us.
    proven = not known.policy.unproven and again.metadata == known.metadata
    return known if again.policy.unproven and proven else again


def vif_from_facts(facts: VifFacts, snapshot: BridgeSnapshot, vif_id: VifId) -> Vif:
    """Return a VIF as planning sees it; one that belongs to another bridge is closed."""
    bridge, ports = snapshot.bridge, _vif_ports(snapshot, vif_id)
    found = find_bridge([bridge], facts.metadata.bridge)
    if found is None:
        vif = Vif(vif_id, facts.vm_uuid, facts.metadata.mac, _networks_here(snapshot, ports),
                  ports=ports)
        return vif.closed('its network is not on this bridge but on ' + facts.metadata.bridge)
    own = Attached(NETWORK | (found.tag or 0), facts.metadata.bridge,
                   facts.metadata.network_uuid or UNNAMED)
    trunks = [] if found.tag else _trunks(bridge, ports)
    return Vif(vif_id, facts.vm_uuid, facts.metadata.mac,
               tuple(_attached(bridge, own, vlan) for vlan in trunks) or (own,), bool(trunks),
               facts.policy, ports, facts.arriving, facts.metadata.locking,
               external_ids=facts.external_ids, vif_uuid=facts.metadata.vif_uuid,
               leases=facts.leases.leases, leases_at=facts.leases.at,
               complaint=facts.leases.complaint)


def _networks_here(snapshot: BridgeSnapshot, ports: Sequence[VifPort]) -> Tuple[Attached, ...]:
    """Return the networks that ports are on, whatever XAPI says."""
    names, bridge = {port.name for port in ports}, snapshot.bridge
    tags = [link.tag for link in snapshot.links if link.interface in names]
    own = Attached(NETWORK | (tags[0] if tags and tags[0] else 0), bridge.name)
    trunks = [] if own.network != NETWORK else _trunks(bridge, ports)
    return tuple(_attached(bridge, own, vlan) for vlan in trunks) or (own,)


def _trunks(bridge: Bridge, ports: Sequence[VifPort]) -> List[int]:
    """Return the VLANs that a VIF may tag its frames with; none: it uses no tags."""
    names = {port.name for port in ports}
    return sorted({vlan for port in bridge.ports if port.name in names for vlan in port.trunks})


def _attached(bridge: Bridge, own: Attached, vlan: int) -> Attached:
    """Return the network that a VLAN of a trunk is; 0 is the untagged one."""
    if not vlan:
        return own
    names = [port.name for port in bridge.ports if port.fake_bridge and port.tag == vlan]
    return Attached(NETWORK | vlan, (names or [UNNAMED])[0])


def _vif_ports(snapshot: BridgeSnapshot, vif_id: VifId) -> Tuple[VifPort, ...]:
    return tuple(VifPort(name, snapshot.ofports[name]) for name in sorted(vif_id.netdevs)
                 if name in snapshot.ofports)


def _links(port: Port) -> Iterable[Link]:
    for interface in port.interfaces:
        if interface.ofport is not None and interface.ofport > 0:
            active = port.bond_active_slave in (None, '', interface.mac_in_use)
            yield Link(port.name, interface.name, interface.ofport, interface.type == 'internal',
                       port.tag, active, port.vlan_mode not in ACCESS_MODES,
                       port.bond_mode in BALANCED_MODES)


def plan_context(host: HostContext, snapshot: BridgeSnapshot,
                 thorough: bool = False) -> PlanContext:
    """Return what planning depends on beside the VIFs."""
    bridge, links, ofports = snapshot
    secure = bridge.fail_mode == SECURE and FAIL_MODE_KEY in bridge.external_ids
    return PlanContext(make_topology(bridge.name, links, bridge.mcast_snooping, secure,
                                     served(bridge), bridge.siblings),
                       ofports, host.configuration.config, thorough)
