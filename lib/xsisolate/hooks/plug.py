"""Plug, refresh and unplug a VIF on its bridge, in the order that fails closed.

A VIF's link comes up last, when its flows have been read back and the switch judges
by them. A refresh touches neither port nor link, so it loses no packet. Whatever goes
wrong leaves the link down.
"""
from xsisolate.dataplane.bridge_settings import deviating, settle, why_open
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, make_snapshot, read_again,
                                                 vif_from_facts)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.program import program_vif, reconcile_vif, wait_until_judged
from xsisolate.dataplane.reconcile import Outdated, check_recorded
from xsisolate.dataplane.remotes import is_noted
from xsisolate.dataplane.results import VifResult
from xsisolate.dataplane.switch_state import SwitchState, read_answer, read_registry, read_switch
from xsisolate.dataplane.vif_facts import VifFacts
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.lock import bridge_lock, vif_lock
from xsisolate.dom0.ovs.flow_table import SwitchQuestion
from xsisolate.dom0.ovs.ovsdb import Bridge, NetworkBridge, Port, find_bridge
from xsisolate.errors import HostError
from xsisolate.hooks.event import Event
from xsisolate.hooks.undo import Undo
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.cookie import port_key
from xsisolate.planner.plan import Plan
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import AbstractSet, Iterable, Mapping, Optional, Sequence, Tuple

LEFT_KEY = 'xsisolate-left'     # external_ids: the bridge that a VIF has just moved away from
LOCK_DEADLINE_S = 60.0          # a burst of plugs waits in line; xenopsd gives up after 300

Places = Mapping[str, Tuple[Bridge, Port]]      # by netdev


def plug(host: HostContext, event: Event, known: VifFacts,
         trunks: Optional[Sequence[int]]) -> VifResult:
    """Have a VIF's netdev on its bridge with its flows, then let frames pass.

    Raises HostError when the VIF had to be left without traffic, and before
    anything has been touched when its bridge is not one of Open vSwitch's.
    """
    parent = host.ovsdb.find_parent(known.metadata.bridge)
    if parent is None:
        raise _no_bridge(known.metadata.bridge)
    with vif_lock(event.vif, LOCK_DEADLINE_S):
        try:
            return _plug(host, event, known, trunks, parent)
        except Outdated:        # the switch lost its flows while it was waited for
            return _plug(host, event, known, trunks, parent)


def _plug(host: HostContext, event: Event, known: VifFacts, trunks: Optional[Sequence[int]],
          parent: str) -> VifResult:
    """Plug a VIF; whatever fails leaves nothing behind, and the link down."""
    device = event.device
    with Undo() as undo:
        with bridge_lock(parent, LOCK_DEADLINE_S), SwitchQuestion(parent) as question:
            bridges = host.ovsdb.read_bridges_for(event.vif.netdevs)
            before = _find_ports(bridges, event)
            undo.push(_leave, host, event, before, parent)
            undo.push(_shut, device)
            facts = read_again(host, event.vif, known)
            target = _find_target(bridges, facts.metadata.bridge, parent)
            down = _find_down(event, target, before)
            if device in down:
                undo.push(_take_off, host, event, parent)
            for name in down:
                _set_down(host, name)
            target, switch, silenced = _settle(host, facts, target, before, question)
            moves = _note_move(before.get(device), target)
            ofport = host.ovsdb.ensure_port(facts.metadata.bridge, device,
                                            dict(facts.external_ids, **moves), trunks)
            for name in [name for name in down if name != device]:
                host.ovsdb.ensure_port(facts.metadata.bridge, name, facts.external_ids)
            snapshot = _look_again(host, target, {device, *down}, before)
            done = program_vif(host, snapshot, switch, vif_from_facts(facts, snapshot, event.vif),
                               new=not before)
            exposed = why_open(host, snapshot.bridge)
        if down or done.stale or silenced:
            wait_until_judged(host, parent, done.plan)
        if down:
            _let_pass(host, event, parent, done.plan, {name: snapshot.ofports.get(name, 0)
                                                       for name in down})
    _leave(host, event, before, parent)
    return done._replace(network=facts.metadata.bridge, ofport=ofport, fresh=device in down,
                         exposed=exposed, silenced=silenced)


def _find_target(bridges: Iterable[Bridge], network: str, parent: str) -> NetworkBridge:
    """Return where a network's VIFs belong, on the bridge that is locked."""
    target = _find_network(bridges, network)
    if target.bridge.name != parent:
        raise HostError('network %s moves to bridge %s now' % (network, target.bridge.name))
    return target


def _find_down(event: Event, target: NetworkBridge, before: Places) -> Sequence[str]:
    """Return those of the VIF's netdevs that are down until their flows are there.

    They come to this bridge, or are not up yet; the hook's own one is the first. The VIF's other
    netdev moves along with it: a guest on its emulated NIC must not stay behind.
    """
    if not netdev.exists(event.device):
        raise HostError('the kernel has no netdev ' + event.device)
    names = [event.device] + [name for name in before
                              if name != event.device and netdev.exists(name)]
    return [name for name in names
            if _misplaced(before.get(name), target) or not netdev.is_up(name)]


def _set_down(host: HostContext, device: str) -> None:
    """Set a link down so that a move from bridge to bridge does not set it up again."""
    netdev.set_down(device)
    host.ovsdb.wait_for_link_down(device)


def _settle(host: HostContext, facts: VifFacts, target: NetworkBridge, before: Places,
            question: SwitchQuestion) -> Tuple[NetworkBridge, SwitchState, str]:
    """Set up a VIF's bridge; return it, what its switch says, and whose flows it had to drop.

    The switch is asked before the port is made. With hundreds of ports, ovs-vswitchd answers no
    question for some time after it has taken up one more port.
    """
    managed = facts.policy.mode is not Mode.UNLOCKED or is_noted(target.bridge)
    if not deviating(host, target.bridge, managed):
        return target, read_answer(question), ''
    silenced = settle(host, target.bridge, managed)
    target = _find_network(host.ovsdb.read_bridges_for(before), facts.metadata.bridge)
    return target, read_switch(target.bridge.name), silenced


def _look_again(host: HostContext, target: NetworkBridge, names: AbstractSet[str],
                before: Places) -> BridgeSnapshot:
    """Return the bridge with the VIF's netdevs on it: now all have their last numbers."""
    there = {name for name, (bridge, _) in before.items() if bridge.name == target.bridge.name}
    return make_snapshot(host.ovsdb.read_ports(target.bridge, names | there))


def _let_pass(host: HostContext, event: Event, bridge: str, plan: Plan,
              ofports: Mapping[str, int]) -> None:
    """Set the links up, now that the switch judges no frame by what was there before.

    A new port may have the number of a port that has gone. While this hook did not hold the lock,
    another program may have removed the port or its flows. A guest may have left its emulated NIC.
    """
    with bridge_lock(bridge, LOCK_DEADLINE_S):
        names = [name for name in ofports if name == event.device or netdev.exists(name)]
        there = host.ovsdb.ofports_on(bridge, names)
        for name in names:
            if there.get(name) != ofports[name]:
                raise HostError('another program took %s off bridge %s while it was being plugged'
                                % (name, bridge))
        check_recorded(bridge, plan, names)
        for name in names:
            netdev.set_up(name)


def _shut(device: str) -> None:
    if netdev.exists(device):
        netdev.set_down(device)


def _take_off(host: HostContext, event: Event, bridge: str) -> None:
    """Have nothing of a plug that failed on its bridge."""
    with bridge_lock(bridge, LOCK_DEADLINE_S) as lock:
        host.ovsdb.delete_port(event.device, bridge)
        reconcile_vif(host, event.vif, lock)


def unplug(host: HostContext, event: Event) -> FlowDiff:
    """Take a VIF's netdev off its bridge, with its flows; needs neither xenstore nor metadata."""
    _shut(event.device)
    with vif_lock(event.vif, LOCK_DEADLINE_S):
        _shut(event.device)     # a plug that was under way may have set it up
        return _unplug_all(host, event)


def _unplug_all(host: HostContext, event: Event) -> FlowDiff:
    bridges = host.ovsdb.read_bridges_for(event.vif.netdevs)
    names = _traces(_find_ports(bridges, event))
    homes = [bridge for bridge in bridges
             if (bridge.name in names if names else _has_flows(bridge, event))]
    changes = [_unplug(host, event, bridge) for bridge in homes]
    return FlowDiff(tuple(flow for change in changes for flow in change.add),
                    tuple(flow for change in changes for flow in change.delete))


def _has_flows(bridge: Bridge, event: Event) -> bool:
    try:
        return port_key(event.device) in read_registry(bridge.name)
    except HostError:
        return False        # if there are any, the next hook for this bridge removes them


def _unplug(host: HostContext, event: Event, bridge: Bridge) -> FlowDiff:
    with bridge_lock(bridge.name, LOCK_DEADLINE_S) as lock:
        host.ovsdb.delete_port(event.device)
        settle(host, bridge, is_noted(bridge))
        return reconcile_vif(host, event.vif, lock).diff


def _leave(host: HostContext, event: Event, before: Places, parent: str) -> None:
    """Remove what a VIF has left on bridges that it moved away from."""
    left = _traces(before) - {parent}
    if not left:
        return
    for name in sorted(left & {bridge.name for bridge in host.ovsdb.read_bridges()}):
        with bridge_lock(name, LOCK_DEADLINE_S) as lock:
            reconcile_vif(host, event.vif, lock)
    host.ovsdb.set_external_ids(event.device, {LEFT_KEY: None})


def _traces(places: Places) -> AbstractSet[str]:
    """Return the bridges on which a VIF is, or has left flows.

    A hook that moved it may have been killed before it came to that; it left a note.
    """
    notes = {interface.external_ids[LEFT_KEY] for _, port in places.values()
             for interface in port.interfaces if LEFT_KEY in interface.external_ids}
    return notes | {bridge.name for bridge, _ in places.values()}


def _note_move(found: Optional[Tuple[Bridge, Port]], target: NetworkBridge) -> Mapping[str, str]:
    """Return the note that goes into the database together with a move."""
    moves = found is not None and found[0].name != target.bridge.name
    return {LEFT_KEY: found[0].name} if found is not None and moves else {}


# --- finding the VIF's place ---------------------------------------------------------------


def _find_network(bridges: Iterable[Bridge], name: str) -> NetworkBridge:
    found = find_bridge(bridges, name)
    if found is None:
        raise _no_bridge(name)
    return found


def _no_bridge(name: str) -> HostError:
    return HostError('bridge %s is not in Open vSwitch' % name)


def _find_ports(bridges: Iterable[Bridge], event: Event) -> Places:
    """Return where the VIF's netdevs are now, by name."""
    names = event.vif.netdevs
    return {port.name: (bridge, port) for bridge in bridges for port in bridge.ports
            if port.name in names}


def _misplaced(found: Optional[Tuple[Bridge, Port]], target: NetworkBridge) -> bool:
    return found is None or (found[0].name, found[1].tag) != (target.bridge.name, target.tag)
