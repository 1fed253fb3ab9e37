"""Plug, refresh and unplug a VIF on its bridge, in the order that fails closed.

A VIF's link comes up last, when its flows have been read back and the switch judges
by them. A refresh touches neither port nor link, so it loses no packet. Whatever goes
wrong leaves the link down.
"""
from xsisolate.dataplane.bridge_settings import deviating, settle, why_open
from xsisolate.dataplane.bridge_snapshot import Dom0, Survey, survey_of
from xsisolate.dataplane.program import Coming, Placed, Reconciled, reconcile_vif, wait_until_judged
from xsisolate.dataplane.reconcile import Outdated, check_recorded, look_at, read_registry, see
from xsisolate.dataplane.remotes import is_noted
from xsisolate.dataplane.vif_facts import VifFacts
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.lock import bridge_lock, vif_lock
from xsisolate.dom0.ovs.flow_table import Glance
from xsisolate.dom0.ovs.ovsdb import Bridge, NetworkBridge, Port, find_bridge
from xsisolate.errors import HostError, XsisolateError
from xsisolate.hooks.event import Event
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.cookie import port_key
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import (AbstractSet, Iterable, List, Mapping, NamedTuple, Optional,
                                     Sequence, Tuple)

LEFT_KEY = 'xsisolate-left'     # external_ids: the bridge that a VIF has just moved away from
LOCK_DEADLINE_S = 60.0          # a burst of plugs waits in line; xenopsd gives up after 300

Places = Mapping[str, Tuple[Bridge, Port]]      # by netdev


class Outcome(NamedTuple):
    """What a plug or refresh came to."""

    facts: VifFacts
    vif: Vif
    ofport: int
    fresh: bool                     # the port is new on this bridge
    diff: FlowDiff                  # what changed on the switch
    exposed: str                    # why the bridge may forward what our flows forbid
    silenced: str                   # whose flows of in-band control had to be switched off


class Prepared(NamedTuple):
    """A VIF that has its flows, and waits until it may speak."""

    outcome: Outcome
    reconciled: Reconciled
    ofports: Mapping[str, int]      # of the netdevs that are to be set up


def plug(dom0: Dom0, event: Event, facts: VifFacts, trunks: Optional[Sequence[int]]) -> Outcome:
    """Have a VIF's netdev on its bridge with its flows, then let frames pass.

    Raises HostError when the VIF had to be left without traffic, and before
    anything has been touched when its bridge is not one of Open vSwitch's.
    """
    parent = dom0.ovsdb.find_parent(facts.metadata.bridge)
    if parent is None:
        raise _no_bridge(facts.metadata.bridge)
    with vif_lock(event.vif, LOCK_DEADLINE_S):
        try:
            return _plug_on(dom0, event, facts, trunks, parent)
        except Outdated:        # the switch lost its flows while it was waited for
            return _plug_on(dom0, event, facts, trunks, parent)


def _plug_on(dom0: Dom0, event: Event, facts: VifFacts, trunks: Optional[Sequence[int]],
             parent: str) -> Outcome:
    port = _Port(dom0, event, trunks, parent)
    try:
        with bridge_lock(parent, LOCK_DEADLINE_S) as lock:
            prepared = _plug(dom0, event, facts, port, lock)
        _let_pass(dom0, event, parent, prepared)
    except Exception:
        try:
            _leave(dom0, event, port.before, parent)
        except XsisolateError:
            pass        # the failure that led here is the one to report
        raise
    _leave(dom0, event, port.before, parent)
    return prepared.outcome


def _plug(dom0: Dom0, event: Event, facts: VifFacts, port: '_Port', lock: bridge_lock) -> Prepared:
    try:
        done = reconcile_vif(dom0, event.vif, lock,
                             coming=Coming(facts, port.place))
        done = done._replace(stale=done.stale or bool(port.silenced))
        outcome = Outcome(port.facts or facts, done.vif, port.ofport, port.fresh, done.diff,
                          why_open(dom0, port.survey.bridge), port.silenced)
    except Exception:
        _shut(dom0, event, lock, port.fresh)
        raise
    return Prepared(outcome, done, {name: port.survey.ofports.get(name, 0)
                                    for name in [event.device] * port.fresh + port.along})


class _Port:
    """A VIF's port on its way onto a bridge, and how far it has come."""
    survey: Survey                      # with the port on its bridge
    facts: Optional[VifFacts] = None    # by which it was made

    def __init__(self, dom0: Dom0, event: Event, trunks: Optional[Sequence[int]],
                 parent: str) -> None:
        self._dom0, self._event, self._trunks, self._parent = dom0, event, trunks, parent
        self.before: Places = {}
        self.fresh = False
        self.ofport = 0
        self.silenced = ''              # flows of in-band control that were switched off
        self.along: List[str] = []      # the VIF's other netdev, if it moves, too

    def place(self, facts: VifFacts, glance: Glance) -> Placed:
        """Have the port on its bridge, its link down if it is new there."""
        self.facts, network = facts, facts.metadata.bridge
        dom0, event = self._dom0, self._event
        bridges = dom0.ovsdb.look_for(event.vif.netdevs)
        target = _find_network(bridges, network)
        if target.bridge.name != self._parent:
            raise HostError('network %s moves to bridge %s now' % (network, target.bridge.name))
        self.before = before = _find_ports(bridges, event)
        if not netdev.exists(event.device):
            raise HostError('there is no netdev ' + event.device)
        found = before.get(event.device)
        self.fresh = _misplaced(found, target) or not netdev.is_up(event.device)
        if self.fresh:
            _set_down(dom0, event.device)
        # Seen before the port is made: with hundreds of ports ovs-vswitchd answers nobody for
        # some time after it has taken up one more, and there is enough to do until then.
        managed = facts.policy.mode is not Mode.UNLOCKED or is_noted(target.bridge)
        if deviating(dom0, target.bridge, managed):
            self.silenced = settle(dom0, target.bridge, managed)
            target = _find_network(dom0.ovsdb.look_for(before), network)
            seen = look_at(target.bridge.name)
        else:
            seen = see(glance)
        ids = dict(facts.external_ids, **_left(found, target))
        self.ofport = dom0.ovsdb.ensure_port(network, event.device, ids, self._trunks)
        self.along = _bring_along(dom0, event, facts, target, before)
        there = [name for name, (bridge, _) in before.items() if bridge.name == target.bridge.name]
        # Now ovs-vswitchd has done all that it was asked for: the numbers are the last ones.
        self.survey = survey_of(dom0.ovsdb.look_again(
            target.bridge, {event.device, *self.along, *there}))
        return Placed(self.survey, seen, new=not before)


def _let_pass(dom0: Dom0, event: Event, bridge: str, done: Prepared) -> None:
    """Let frames pass, as soon as the switch judges none of them by what was there before.

    A port that has just come may have the number of one that has gone. The bridge is others'
    meanwhile, who may have taken the port off again, or the flows; and a guest may have left its
    emulated NIC.
    """
    if not (done.ofports or done.reconciled.stale):
        return
    try:
        wait_until_judged(dom0, bridge, done.reconciled.plan)
        if not done.ofports:
            return
        with bridge_lock(bridge, LOCK_DEADLINE_S):
            names = [name for name in done.ofports
                     if name == event.device or netdev.exists(name)]
            there = dom0.ovsdb.ofports_on(bridge, names)
            for name in names:
                if there.get(name) != done.ofports[name]:
                    raise HostError('somebody took %s off bridge %s while it was being plugged'
                                    % (name, bridge))
            check_recorded(bridge, done.reconciled.plan, names)
            for name in names:
                netdev.set_up(name)
    except Exception:
        _shut_again(dom0, event, bridge, done.outcome.fresh)
        raise


def unplug(dom0: Dom0, event: Event) -> FlowDiff:
    """Take a VIF's netdev off its bridge, with its flows; needs neither xenstore nor metadata."""
    if netdev.exists(event.device):
        netdev.set_down(event.device)
    with vif_lock(event.vif, LOCK_DEADLINE_S):
        if netdev.exists(event.device):     # a plug that was under way may have set it up
            netdev.set_down(event.device)
        return _unplug_all(dom0, event)


def _unplug_all(dom0: Dom0, event: Event) -> FlowDiff:
    bridges = dom0.ovsdb.look_for(event.vif.netdevs)
    names = _traces(_find_ports(bridges, event))
    homes = [bridge for bridge in bridges
             if (bridge.name in names if names else _has_flows(bridge, event))]
    changes = [_unplug(dom0, event, bridge) for bridge in homes]
    return FlowDiff(tuple(flow for change in changes for flow in change.add),
                    tuple(flow for change in changes for flow in change.delete))


def _has_flows(bridge: Bridge, event: Event) -> bool:
    try:
        return port_key(event.device) in read_registry(bridge.name)
    except HostError:
        return False        # if there are any, the next hook for this bridge removes them


def _unplug(dom0: Dom0, event: Event, bridge: Bridge) -> FlowDiff:
    with bridge_lock(bridge.name, LOCK_DEADLINE_S) as lock:
        dom0.ovsdb.delete_port(event.device)
        settle(dom0, bridge, is_noted(bridge))
        return reconcile_vif(dom0, event.vif, lock).diff


def _leave(dom0: Dom0, event: Event, before: Places, parent: str) -> None:
    """Remove what a VIF has left on bridges that it moved away from."""
    left = _traces(before) - {parent}
    if not left:
        return
    for name in sorted(left & {bridge.name for bridge in dom0.ovsdb.read_bridges()}):
        with bridge_lock(name, LOCK_DEADLINE_S) as lock:
            reconcile_vif(dom0, event.vif, lock)
    dom0.ovsdb.set_external_ids(event.device, {LEFT_KEY: None})


def _traces(places: Places) -> AbstractSet[str]:
    """Return the bridges on which a VIF is, or has left flows.

    A hook that moved it may have been killed before it came to that; it left a note.
    """
    notes = {interface.external_ids[LEFT_KEY] for _, port in places.values()
             for interface in port.interfaces if LEFT_KEY in interface.external_ids}
    return notes | {bridge.name for bridge, _ in places.values()}


def _left(found: Optional[Tuple[Bridge, Port]], target: NetworkBridge) -> Mapping[str, str]:
    """Return the note that goes into the database together with a move."""
    moves = found is not None and found[0].name != target.bridge.name
    return {LEFT_KEY: found[0].name} if found is not None and moves else {}


def _shut(dom0: Dom0, event: Event, lock: bridge_lock, fresh: bool) -> None:
    """Leave a VIF without traffic after a failure, and nothing of a plug that failed."""
    try:
        netdev.set_down(event.device)
        if fresh:
            dom0.ovsdb.delete_port(event.device, lock.bridge)
            reconcile_vif(dom0, event.vif, lock)
    except XsisolateError:
        pass        # the failure that led here is the one to report; the link is down


def _shut_again(dom0: Dom0, event: Event, bridge: str, fresh: bool) -> None:
    try:
        with bridge_lock(bridge, LOCK_DEADLINE_S) as lock:
            _shut(dom0, event, lock, fresh)
    except XsisolateError:
        pass        # whoever has the lock does not end; the hook itself closes the netdev


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


def _set_down(dom0: Dom0, device: str) -> None:
    """Set a link down so that a move from bridge to bridge does not set it up again."""
    netdev.set_down(device)
    dom0.ovsdb.wait_for_link_down(device)


def _bring_along(dom0: Dom0, event: Event, facts: VifFacts, target: NetworkBridge,
                 before: Places) -> List[str]:
    """Move the VIF's other netdev too: a guest on its emulated NIC must not stay behind.

    Returns the names of those that are down until the bridge has their flows.
    """
    names = [name for name, found in before.items() if name != event.device and netdev.exists(name)
             and (_misplaced(found, target) or not netdev.is_up(name))]
    for name in names:
        _set_down(dom0, name)
        dom0.ovsdb.ensure_port(facts.metadata.bridge, name, facts.external_ids)
    return names
