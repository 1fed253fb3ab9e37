"""What is on a bridge now: its ports, and the VIFs behind them with their policies."""
from time import sleep

from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.remotes import served
from xsisolate.dataplane.vif_facts import VifFacts, read_vif, read_vm_uuid
from xsisolate.dom0.ovs.ovsdb import FAIL_MODE_KEY, SECURE, Bridge, Ovsdb, Port, find_bridge
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError, MetadataError, UnknownVif
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import PlanContext
from xsisolate.planner.topology import Link, make_topology, vif_ofports
from xsisolate.planner.vif import UNNAMED, Attached, Vif, VifPort
from xsisolate.policy.resolve import quarantine
from xsisolate.typing_compat import Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from xsisolate.vif_id import VifId, parse_netdev

# xenopsd renames a VM in xenstore and in its metadata one after the other.
RENAME_PAUSE_S = 0.3
BALANCED_MODES = ('balance-slb', 'balance-tcp')
ACCESS_MODES = (None, 'access', 'trunk')


class Dom0(NamedTuple):
    """The neighbours that plugging needs, connected once per run."""

    ovsdb: Ovsdb
    store: Optional[Xenstore]       # None: gone; then only unplugging works
    configuration: Configuration
    released: bool = False          # as if no VIF had a policy: to take all that is ours away


class Survey(NamedTuple):
    """A bridge and its interfaces, as of one moment."""

    bridge: Bridge
    links: Tuple[Link, ...]
    ofports: Mapping[str, int]      # of the VIFs' netdevs


def survey_bridge(dom0: Dom0, name: str) -> Survey:
    """Return a bridge as of now."""
    for bridge in dom0.ovsdb.read_bridges():
        if bridge.name == name:
            return survey_of(bridge)
    raise HostError('bridge %s vanished from Open vSwitch' % name)


def survey_vif(dom0: Dom0, name: str, vif_id: VifId) -> Survey:
    """Return a bridge as of now, but of other VIFs' ports only what concerns this one."""
    for bridge in dom0.ovsdb.look_for(vif_id.netdevs):
        if bridge.name == name:
            return survey_of(bridge)
    raise HostError('bridge %s vanished from Open vSwitch' % name)


def survey_of(bridge: Bridge) -> Survey:
    """Return a bridge with its links."""
    links = tuple(link for port in bridge.ports for link in _links(port))
    return Survey(bridge, links, vif_ofports(links))


def survey_vifs(dom0: Dom0, survey: Survey) -> List[Vif]:
    """Return all VIFs that have a netdev on the bridge; the unknown are looked for twice."""
    vif_ids = find_vifs(survey)
    if dom0.released:
        return [Vif(vif_id, ports=_vif_ports(survey, vif_id)) for vif_id in vif_ids]
    found = [_find_vif(dom0, survey, vif_id) for vif_id in vif_ids]
    if None in found:
        sleep(RENAME_PAUSE_S)
    return [vif or make_vif(dom0, survey, vif_id) for vif, vif_id in zip(found, vif_ids)]


def _find_vif(dom0: Dom0, survey: Survey, vif_id: VifId) -> Optional[Vif]:
    try:
        return vif_from_facts(read_facts(dom0, vif_id), survey, vif_id)
    except UnknownVif:
        return None


def find_vifs(survey: Survey) -> List[VifId]:
    """Return all VIFs that have a netdev on the bridge."""
    return sorted({parse_netdev(name) for name in survey.ofports})


def make_vif(dom0: Dom0, survey: Survey, vif_id: VifId) -> Vif:
    """Return a VIF of which only the numbers are known; one that nobody knows is closed."""
    vif = Vif(vif_id, ports=_vif_ports(survey, vif_id))
    if not vif.ports:
        return vif
    try:
        return vif_from_facts(read_facts(dom0, vif_id), survey, vif_id)
    except UnknownVif as error:
        return vif._replace(policy=quarantine(str(error)),
                            lost=not isinstance(error, MetadataError))


def read_facts(dom0: Dom0, vif_id: VifId) -> VifFacts:
    """Return a VIF's facts; at the end of a migration its VM is renamed while we look."""
    if dom0.store is None:
        raise UnknownVif('there is no xenstored')
    uuid = read_vm_uuid(dom0.store, vif_id.domid)
    try:
        return read_vif(dom0.store, vif_id, uuid, dom0.configuration)
    except UnknownVif:
        renamed = read_vm_uuid(dom0.store, vif_id.domid)
        if renamed == uuid:
            raise
        return read_vif(dom0.store, vif_id, renamed, dom0.configuration)


def read_again(dom0: Dom0, vif_id: VifId, known: VifFacts) -> VifFacts:
    """Return the facts of a VIF that is being plugged, now that nobody else changes its bridge."""
    assert dom0.store is not None
    again = read_vif(dom0.store, vif_id, known.metadata.vm_uuid, dom0.configuration)
    if again.metadata.bridge != known.metadata.bridge:
        raise HostError('the VIF moves to bridge %s at this moment' % again.metadata.bridge)
    # An admin's next write has begun: what was proven a moment ago is still good. It is not
    # if XAPI has changed the VIF as well: the hook for that may have been here before us.
    proven = not known.policy.unproven and again.metadata == known.metadata
    return known if again.policy.unproven and proven else again


def vif_from_facts(facts: VifFacts, survey: Survey, vif_id: VifId) -> Vif:
    """Return a VIF as planning sees it; one that belongs to another bridge is closed."""
    bridge, ports = survey.bridge, _vif_ports(survey, vif_id)
    found = find_bridge([bridge], facts.metadata.bridge)
    if found is None:
        vif = Vif(vif_id, facts.vm_uuid, ports=ports)
        return vif.closed('its network is not on this bridge but on ' + facts.metadata.bridge)
    own = Attached(NETWORK | (found.tag or 0), facts.metadata.bridge,
                   facts.metadata.network_uuid or UNNAMED)
    trunks = [] if found.tag else _trunks(bridge, ports)
    return Vif(vif_id, facts.vm_uuid, facts.metadata.mac,
               tuple(_attached(bridge, own, vlan) for vlan in trunks) or (own,), bool(trunks),
               facts.policy, ports, facts.arriving, facts.metadata.locking,
               external_ids=facts.external_ids)


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


def _vif_ports(survey: Survey, vif_id: VifId) -> Tuple[VifPort, ...]:
    return tuple(VifPort(name, survey.ofports[name]) for name in sorted(vif_id.netdevs)
                 if name in survey.ofports)


def _links(port: Port) -> Iterable[Link]:
    for interface in port.interfaces:
        if interface.ofport is not None and interface.ofport > 0:
            active = port.bond_active_slave in (None, '', interface.mac_in_use)
            yield Link(port.name, interface.name, interface.ofport, interface.type == 'internal',
                       port.tag, active, port.vlan_mode not in ACCESS_MODES,
                       port.bond_mode in BALANCED_MODES)


def plan_context(dom0: Dom0, survey: Survey, thorough: bool = False) -> PlanContext:
    """Return what planning depends on beside the VIFs."""
    bridge, links, ofports = survey
    secure = bridge.fail_mode == SECURE and FAIL_MODE_KEY in bridge.external_ids
    return PlanContext(make_topology(bridge.name, links, bridge.mcast_snooping, secure,
                                     served(bridge), bridge.siblings),
                       ofports, dom0.configuration.config, thorough)
