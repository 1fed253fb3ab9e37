"""Plug, refresh and unplug a VIF on its bridge, in the order that fails closed.

A VIF's link comes up last, when its flows have been read back. A refresh
touches neither port nor link, so it loses no packet. Whatever goes wrong
leaves the link down.
"""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.core.event import Event
from xsisolate.core.flows.stages import NETWORK
from xsisolate.core.items import Registry
from xsisolate.core.model import EffectivePolicy, Mode
from xsisolate.core.plan import Conflict, Surroundings, Vif, VifPort, disturbed, port_key
from xsisolate.core.policy import quarantine
from xsisolate.core.topology import Link, make_topology, vif_ofports
from xsisolate.dom0 import netdev, openflow
from xsisolate.dom0.lock import bridge_lock
from xsisolate.dom0.members import read_members
from xsisolate.dom0.ovsdb import Bridge, NetworkBridge, Ovsdb, Port, find_bridge
from xsisolate.dom0.xenstore import Xenstore
from xsisolate.gather import Configuration, VifFacts, read_vif, read_vm_uuid
from xsisolate.reconcile import Result, read_registry, reconcile
from xsisolate.errors import HostError, XsisolateError

LOCK_DEADLINE_S = 60.0          # a burst of plugs waits in line; xenopsd gives up after 300
ERROR_KEY = 'xsisolate-error'   # external_ids: why a VIF is quarantined
ACCESS_MODES = (None, 'access', 'trunk')


class NoBridge(HostError):
    """The network's bridge is not one of Open vSwitch's."""


class Dom0(NamedTuple):
    """The neighbours that plugging needs, connected once per hook."""

    ovsdb: Ovsdb
    store: Optional[Xenstore]       # None: gone; then only unplugging works
    configuration: Configuration


class Outcome(NamedTuple):
    """What a plug or refresh came to."""

    facts: VifFacts
    policy: EffectivePolicy
    ofport: int
    fresh: bool                     # the port is new on this bridge
    result: Result


def plug(dom0: Dom0, event: Event, facts: VifFacts, trunks: Optional[Sequence[int]]) -> Outcome:
    """Have a VIF's netdev on its bridge with its flows, then let frames pass.

    Raises NoBridge before anything has been touched, HostError when the VIF
    had to be left without traffic.
    """
    target = _find_network(dom0, facts.metadata.bridge)
    before = _find_ports(dom0.ovsdb.read_bridges(), event)
    with bridge_lock(target.bridge.name, LOCK_DEADLINE_S):
        facts = _read_again(dom0, event, facts)
        if not netdev.exists(event.device):
            raise HostError('there is no netdev %s' % event.device)
        fresh = (_misplaced(before.get(event.device), target)
                 or not netdev.is_up(event.device))
        outcome = _plug(dom0, event, facts, target, trunks, fresh)
    for name in sorted({bridge.name for bridge, _ in before.values()} - {target.bridge.name}):
        _forget(dom0, event, name)
    return outcome


def _plug(dom0: Dom0, event: Event, facts: VifFacts, target: NetworkBridge,
          trunks: Optional[Sequence[int]], fresh: bool) -> Outcome:
    try:
        if fresh:
            netdev.set_down(event.device)
        _allow_protocols(dom0, target.bridge)
        ofport = dom0.ovsdb.ensure_port(facts.metadata.bridge, event.device,
                                        external_ids(facts), trunks)
        _bring_along(dom0, event, facts, target)
        policy, result = _program(dom0, event, facts, target.bridge.name, fresh)
        netdev.set_up(event.device)
    except Exception:
        _shut(dom0, event, target.bridge.name, fresh)
        raise
    return Outcome(facts, policy, ofport, fresh, result)


def unplug(dom0: Dom0, event: Event) -> Result:
    """Take a VIF's netdev off its bridge, with its flows; needs neither xenstore nor metadata."""
    if netdev.exists(event.device):
        netdev.set_down(event.device)
    bridges = dom0.ovsdb.read_bridges()
    found = _find_ports(bridges, event).get(event.device)
    names = [found[0].name] if found else [
        bridge.name for bridge in bridges
        if port_key(event.device) in read_registry(bridge.name)]
    changes = [_unplug(dom0, event, name) for name in names]
    return Result(sum(change.added for change in changes),
                  sum(change.deleted for change in changes))


def _unplug(dom0: Dom0, event: Event, bridge: str) -> Result:
    with bridge_lock(bridge, LOCK_DEADLINE_S):
        dom0.ovsdb.delete_port(event.device)
        return _program_remaining(dom0, event, bridge)


def _forget(dom0: Dom0, event: Event, bridge: str) -> None:
    """Remove what a VIF has left on a bridge that it moved away from."""
    with bridge_lock(bridge, LOCK_DEADLINE_S):
        _program_remaining(dom0, event, bridge)


def _program_remaining(dom0: Dom0, event: Event, bridge: str) -> Result:
    """Program a bridge for those of the VIF's netdevs that are still on it."""
    actual, links = _read_bridge(dom0, bridge)
    vif = _make_vif(dom0, actual, links, event.domid, event.devid)
    return reconcile(bridge, vif, _surroundings(dom0, actual, links),
                     lambda registry: _others(dom0, actual, links, registry, vif))


def _shut(dom0: Dom0, event: Event, bridge: str, fresh: bool) -> None:
    """Leave a VIF without traffic after a failure, and nothing of a plug that failed."""
    try:
        netdev.set_down(event.device)
        if fresh:
            dom0.ovsdb.delete_port(event.device)
            _program_remaining(dom0, event, bridge)
    except XsisolateError:
        pass        # the failure that led here is the one to report; the link is down


# --- finding the VIF's place ---------------------------------------------------------------


def _find_network(dom0: Dom0, name: str) -> NetworkBridge:
    found = find_bridge(dom0.ovsdb.read_bridges(), name)
    if found is None:
        raise NoBridge('bridge %s is not in Open vSwitch' % name)
    return found


def _find_ports(bridges: Iterable[Bridge], event: Event) -> Dict[str, Tuple[Bridge, Port]]:
    """Return where the VIF's netdevs are now, by name."""
    names = {'%s%d.%d' % (kind, event.domid, event.devid) for kind in ('vif', 'tap')}
    return {port.name: (bridge, port) for bridge in bridges for port in bridge.ports
            if port.name in names}


def _misplaced(found: Optional[Tuple[Bridge, Port]], target: NetworkBridge) -> bool:
    return found is None or (found[0].name, found[1].tag) != (target.bridge.name, target.tag)


def _read_again(dom0: Dom0, event: Event, facts: VifFacts) -> VifFacts:
    """Return the facts as they are now that nobody else changes the bridge."""
    assert dom0.store is not None
    again = read_vif(dom0.store, event.domid, facts.metadata.vm_uuid, event.devid,
                     dom0.configuration)
    if again.metadata.bridge != facts.metadata.bridge:
        raise HostError('the VIF moves to bridge %s at this moment' % again.metadata.bridge)
    return again


def _allow_protocols(dom0: Dom0, bridge: Bridge) -> None:
    """A controller may have restricted the bridge to OpenFlow versions that cannot serve us."""
    if bridge.protocols and not set(openflow.PROTOCOLS) <= set(bridge.protocols):
        dom0.ovsdb.add_protocols(bridge.name, openflow.PROTOCOLS)


def _bring_along(dom0: Dom0, event: Event, facts: VifFacts, target: NetworkBridge) -> None:
    """Move the VIF's other netdev too: a guest on its emulated NIC must not stay behind."""
    for name, found in _find_ports(dom0.ovsdb.read_bridges(), event).items():
        if name != event.device and _misplaced(found, target) and netdev.exists(name):
            netdev.set_down(name)
            dom0.ovsdb.ensure_port(facts.metadata.bridge, name, external_ids(facts))
            netdev.set_up(name)


def external_ids(facts: VifFacts) -> Mapping[str, str]:
    """Return what other programs look for on a VIF's Interface."""
    metadata = facts.metadata
    values = {'xs-vm-uuid': facts.vm_uuid, 'xs-vif-uuid': metadata.vif_uuid,
              'xs-network-uuid': metadata.network_uuid, 'attached-mac': metadata.mac}
    return {key: value for key, value in values.items() if value}


# --- programming the bridge ----------------------------------------------------------------


def _program(dom0: Dom0, event: Event, facts: VifFacts, bridge: str,
             fresh: bool) -> Tuple[EffectivePolicy, Result]:
    """Program a VIF whose netdev is on the bridge; the caller holds the bridge's lock."""
    actual, links = _read_bridge(dom0, bridge)
    vif = _vif_from_facts(facts, actual, links, event.domid, event.devid)
    try:
        result = _program_vif(dom0, actual, links, vif, fresh)
    except Conflict as conflict:
        # Whoever has the address keeps it; the newcomer's port is closed.
        vif = vif._replace(policy=quarantine(str(conflict)), mac='')
        result = _program_vif(dom0, actual, links, vif, fresh)
    _show_reason(dom0, actual, event.device, vif.policy.reason)
    return vif.policy, result


def _program_vif(dom0: Dom0, bridge: Bridge, links: Sequence[Link], vif: Vif,
                 fresh: bool) -> Result:
    ofports = [port.ofport for port in vif.ports]
    hidden = vif.policy.mode > Mode.LOCKED
    if hidden:
        openflow.set_no_flood(bridge.name, ofports, True)
    result = reconcile(bridge.name, vif, _surroundings(dom0, bridge, links),
                       lambda registry: _others(dom0, bridge, links, registry, vif))
    if not hidden and not fresh:
        openflow.set_no_flood(bridge.name, ofports, False)
    return result


def _show_reason(dom0: Dom0, bridge: Bridge, device: str, reason: str) -> None:
    """Keep the Interface's xsisolate-error equal to the reason for quarantine."""
    shown = {interface.name: interface.external_ids.get(ERROR_KEY, '')
             for port in bridge.ports for interface in port.interfaces}
    if shown.get(device, '') != reason:
        dom0.ovsdb.set_external_ids(device, {ERROR_KEY: reason or None})


def _others(dom0: Dom0, bridge: Bridge, links: Sequence[Link], registry: Registry,
            vif: Vif) -> List[Vif]:
    """Return the other VIFs that this VIF's event concerns."""
    return [_make_vif(dom0, bridge, links, domid, devid)
            for domid, devid in disturbed(registry, vif, vif_ofports(links))]


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
        return Vif(domid, devid)        # it lives on another bridge
    return Vif(domid, devid, facts.vm_uuid, facts.metadata.mac, NETWORK | (found.tag or 0),
               facts.metadata.bridge, facts.metadata.network_uuid or '-', facts.policy,
               _vif_ports(links, domid, devid))


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
                       port.tag, active, port.vlan_mode not in ACCESS_MODES)


def _surroundings(dom0: Dom0, bridge: Bridge, links: Sequence[Link]) -> Surroundings:
    return Surroundings(make_topology(bridge.name, links, bridge.mcast_snooping),
                        vif_ofports(links), dom0.configuration.config,
                        dom0.configuration.find_network, read_members)
