"""What a bridge must carry because of a VIF's event: gather, then reconcile.

The caller holds the bridge's lock. What must not be flooded to is hidden from
floods before its flows come, and shown after.
"""
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

from xsisolate.core.event import Event
from xsisolate.core.flows.stages import NETWORK
from xsisolate.core.items import Registry, parse_registry
from xsisolate.core.model import EffectivePolicy, Mode
from xsisolate.core.plan import disturbed, plan_bridge
from xsisolate.core.vif import UNNAMED, Attached, Surroundings, Vif, VifPort, split_port
from xsisolate.core.policy import quarantine
from xsisolate.core.topology import Link, make_topology, vif_ofports
from xsisolate.dom0 import openflow
from xsisolate.dom0.members import read_members
from xsisolate.dom0.ovsdb import Bridge, Ovsdb, Port, find_bridge
from xsisolate.dom0.xenstore import Xenstore
from xsisolate.errors import HostError
from xsisolate.gather import Configuration, VifFacts, read_vif, read_vm_uuid
from xsisolate.reconcile import Result, reconcile

ERROR_KEY = 'xsisolate-error'   # external_ids: why a VIF is quarantined
BALANCED_MODES = ('balance-slb', 'balance-tcp')
ACCESS_MODES = (None, 'access', 'trunk')


class Dom0(NamedTuple):
    """The neighbours that plugging needs, connected once per hook."""

    ovsdb: Ovsdb
    store: Optional[Xenstore]       # None: gone; then only unplugging works
    configuration: Configuration


def program(dom0: Dom0, event: Event, facts: VifFacts, bridge: str,
            new: bool) -> Tuple[EffectivePolicy, Result]:
    """Program a VIF whose netdev is on the bridge; the caller holds the bridge's lock.

    A `new` VIF had no port before, so the switch still floods to it.
    """
    actual, links = _read_bridge(dom0, bridge)
    vif = _vif_from_facts(facts, actual, links, event.domid, event.devid)
    vifs, result = _program_vif(dom0, actual, links, vif, new)
    for vif in vifs:
        _show_reason(dom0, actual, vif)
    return vifs[0].policy, result


def program_remaining(dom0: Dom0, event: Event, bridge: str) -> Result:
    """Program a bridge for those of the VIF's netdevs that are still on it."""
    actual, links = _read_bridge(dom0, bridge)
    vif = _make_vif(dom0, actual, links, event.domid, event.devid)
    return _program_vif(dom0, actual, links, vif, False)[1]


def _program_vif(dom0: Dom0, bridge: Bridge, links: Sequence[Link], vif: Vif,
                 new: bool) -> Tuple[Tuple[Vif, ...], Result]:
    """Program a VIF and those that its event concerns, so that no frame slips through.

    What must not be flooded to is hidden from floods before, and shown after.
    """
    headers = openflow.read_headers(bridge.name)
    registry = parse_registry(headers)
    vifs = [vif] + _others(dom0, bridge, links, registry, vif)
    plan = plan_bridge(registry, vifs, _surroundings(dom0, bridge, links))
    hidden = openflow.set_no_flood(bridge.name, _ports(plan.vifs, hidden=True), True)
    result = reconcile(bridge.name, headers, plan, vif_ofports(links))
    if set(hidden) - {port.ofport for port in vif.ports if new}:
        # What such a VIF has been learned to own, a MAC address not its own or a
        # multicast group, would be sent to it for minutes.
        openflow.forget_addresses(bridge.name, bridge.mcast_snooping)
    openflow.set_no_flood(bridge.name, [] if new else _ports(plan.vifs, hidden=False), False)
    return plan.vifs, result


def _ports(vifs: Iterable[Vif], hidden: bool) -> List[int]:
    """Return the ports that must be left out of floods, or those that must not."""
    return sorted(port.ofport for vif in vifs for port in vif.ports
                  if (vif.policy.mode > Mode.LOCKED) is hidden)


def _show_reason(dom0: Dom0, bridge: Bridge, vif: Vif) -> None:
    """Keep xsisolate-error of the VIF's Interfaces equal to the reason for quarantine."""
    shown = {interface.name: interface.external_ids.get(ERROR_KEY, '')
             for port in bridge.ports for interface in port.interfaces}
    for port in vif.ports:
        if shown.get(port.name, '') != vif.policy.reason:
            dom0.ovsdb.set_external_ids(port.name, {ERROR_KEY: vif.policy.reason or None})


def _others(dom0: Dom0, bridge: Bridge, links: Sequence[Link], registry: Registry,
            vif: Vif) -> List[Vif]:
    """Return the other VIFs that this VIF's event concerns.

    A bridge that carries nothing of ours may have lost it, when ovs-vswitchd
    restarted or a controller came or went: then every VIF on it.
    """
    found = disturbed(registry, vif, vif_ofports(links))
    if not registry and vif.policy.mode is not Mode.UNLOCKED:
        found = sorted({split_port(name) for name in vif_ofports(links)}
                       - {(vif.domid, vif.devid)})
    return [_make_vif(dom0, bridge, links, domid, devid) for domid, devid in found]


def _make_vif(dom0: Dom0, bridge: Bridge, links: Sequence[Link], domid: int, devid: int) -> Vif:
    """Return a VIF of which only the number is known; what cannot be read is closed."""
    vif = Vif(domid, devid, ports=_vif_ports(links, domid, devid))
    if not vif.ports:
        return vif
    try:
        if dom0.store is None:
            raise HostError('there is no xenstored')
        facts = read_vif(dom0.store, domid, read_vm_uuid(dom0.store, domid), devid,
                         dom0.configuration)
    except HostError as error:
        return vif._replace(policy=quarantine(str(error)))
    return _vif_from_facts(facts, bridge, links, domid, devid)


def _vif_from_facts(facts: VifFacts, bridge: Bridge, links: Sequence[Link], domid: int,
                    devid: int) -> Vif:
    found = find_bridge([bridge], facts.metadata.bridge)
    if found is None:
        vif = Vif(domid, devid, ports=_vif_ports(links, domid, devid))
        return vif.closed('its network is not on this bridge but on ' + facts.metadata.bridge)
    ports = _vif_ports(links, domid, devid)
    own = Attached(NETWORK | (found.tag or 0), facts.metadata.bridge,
                   facts.metadata.network_uuid or UNNAMED)
    trunks = [] if found.tag else _trunks(bridge, ports)
    return Vif(domid, devid, facts.vm_uuid, facts.metadata.mac,
               tuple(_attached(bridge, own, vlan) for vlan in trunks) or (own,), bool(trunks),
               facts.policy, ports, facts.arriving)


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


def _vif_ports(links: Sequence[Link], domid: int, devid: int) -> Tuple[VifPort, ...]:
    names = ('vif%d.%d' % (domid, devid), 'tap%d.%d' % (domid, devid))
    return tuple(VifPort(link.interface, link.ofport) for link in links
                 if link.interface in names)


def _read_bridge(dom0: Dom0, name: str) -> Tuple[Bridge, Tuple[Link, ...]]:
    """Return a bridge and its links as of now."""
    for bridge in dom0.ovsdb.read_bridges():
        if bridge.name == name:
            return bridge, tuple(link for port in bridge.ports for link in _links(port))
    raise HostError('bridge %s vanished from Open vSwitch' % name)


def _links(port: Port) -> Iterable[Link]:
    for interface in port.interfaces:
        if interface.ofport is not None and interface.ofport > 0:
            active = port.bond_active_slave in (None, '', interface.mac_in_use)
            yield Link(port.name, interface.name, interface.ofport, interface.type == 'internal',
                       port.tag, active, port.vlan_mode not in ACCESS_MODES,
                       port.bond_mode in BALANCED_MODES)


def _surroundings(dom0: Dom0, bridge: Bridge, links: Sequence[Link]) -> Surroundings:
    return Surroundings(make_topology(bridge.name, links, bridge.mcast_snooping),
                        vif_ofports(links), dom0.configuration.config,
                        dom0.configuration.find_network, read_members)
