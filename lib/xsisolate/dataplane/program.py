"""Program a bridge: for the VIFs of one event, or for all that are on it.

The caller holds the bridge's lock. What must not be flooded to is hidden from
floods before its flows come, and shown after.
"""
from xsisolate.dataplane.bridge_settings import (Deviation, deviating, set_in_band, settle,
                                                 speaks_ours)
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, find_vifs, make_vif, read_again,
                                                 read_snapshot, read_snapshot_for, read_vifs,
                                                 surroundings, vif_from_facts)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.reconcile import (Outdated, Seen, compare_all, look_at, read_registry,
                                           reconcile, reconcile_all, see, wait_for_verdicts)
from xsisolate.dataplane.remotes import is_noted
from xsisolate.dataplane.vif_facts import VifFacts
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import flow_table, restore_wait
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.cookie import BASE, Kind
from xsisolate.planner.items import Registry
from xsisolate.planner.mute_vifs import changing_macs
from xsisolate.planner.plan import Plan, disturbed, plan_bridge
from xsisolate.planner.retention import is_intact
from xsisolate.planner.vif import Surroundings, Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import (Callable, Iterable, Iterator, List, NamedTuple, Optional, Set,
                                     Tuple)
from xsisolate.vif_id import VifId, parse_netdev

ERROR_KEY = 'xsisolate-error'   # external_ids: why a VIF is quarantined, mute, or waits

Spare = Callable[[Registry, Vif], bool]


class Programmed(NamedTuple):
    """What became of a bridge: its VIFs, and what was, or would be, changed."""

    vifs: Tuple[Vif, ...]
    diff: FlowDiff = FlowDiff()
    settings: Tuple[Deviation, ...] = ()


class Placed(NamedTuple):
    """Where a VIF is, and what its bridge said a moment ago."""

    snapshot: BridgeSnapshot
    seen: Seen
    new: bool = False       # it had no port before, so the switch still floods to it


class Coming(NamedTuple):
    """A VIF that a hook is plugging: its port is made when its facts have been read again."""

    known: VifFacts         # what they were before the bridge was locked
    place: Callable[[VifFacts, flow_table.Glance], Placed]


class Reconciled(NamedTuple):
    """What a bridge carries now for a VIF, and for those that its event concerned."""

    vif: Vif
    plan: Plan
    diff: FlowDiff = FlowDiff()
    stale: bool = False     # the switch may still know verdicts that are not right any more
    spared: bool = False    # nothing was done, for the caller wanted it so


def nobody(registry: Registry, vif: Vif) -> bool:
    """Spare no VIF."""
    return False


def reconcile_vif(host: HostContext, vif_id: VifId, lock: bridge_lock, spare: Spare = nobody,
                  coming: Optional[Coming] = None) -> Reconciled:
    """Make a bridge carry what one of its VIFs needs, one that has left it included.

    The VIF's facts are read here, under the bridge's lock, and nowhere before: whoever held the
    lock meanwhile may have programmed newer and stricter ones.
    """
    with flow_table.Glance(lock.bridge) as glance:
        if coming:
            facts = read_again(host, vif_id, coming.known)
            snapshot, seen, new = coming.place(facts, glance)
            vif = vif_from_facts(facts, snapshot, vif_id)
        else:
            snapshot, new = read_snapshot_for(host, lock.bridge, vif_id), False
            vif = make_vif(host, snapshot, vif_id)
            seen = see(glance)
    if spare(seen.record.items, vif):
        return Reconciled(vif, Plan({}, (vif,)), spared=True)
    silenced = ''
    if not coming and vif.policy.mode is not Mode.UNLOCKED:     # the first on its bridge, maybe
        silenced = set_in_band(host, snapshot.bridge, True)
    done = _program_vif(host, snapshot, seen, vif, new)
    if len(done.plan.vifs) > 1:
        snapshot = read_snapshot(host, lock.bridge)
    for planned in done.plan.vifs:
        _mark(host, snapshot, planned)
    if (done.stale or silenced) and not coming:     # who comes is waited for without the lock
        wait_until_judged(host, lock.bridge, done.plan)
    return done


def program_all(host: HostContext, bridge: str, spare: Spare = nobody) -> Programmed:
    """Make a bridge carry what all its VIFs need, and nothing else of ours.

    VIFs that `spare` names keep what the bridge carries for them, if it still does.
    """
    host.ovsdb.wait_for_vswitchd()
    snapshot = read_snapshot(host, bridge)
    settings = deviating(host, snapshot.bridge, is_noted(snapshot.bridge))
    silenced = ''
    if settings:
        silenced = settle(host, snapshot.bridge, is_noted(snapshot.bridge))
        snapshot = read_snapshot(host, bridge)
    registry = read_registry(bridge)
    plan = _plan_all(host, snapshot, registry, spare)
    if _is_managed(plan) is not is_noted(snapshot.bridge):
        settings += deviating(host, snapshot.bridge, _is_managed(plan))
        silenced += settle(host, snapshot.bridge, _is_managed(plan))
    settings += _deviations(snapshot, plan)
    hidden = flow_table.set_no_flood(bridge, _ports(plan.vifs, hidden=True), True)
    diff = reconcile_all(bridge, plan)
    closed = hidden or _is_any_closed(registry, plan)
    if closed:
        flow_table.forget_addresses(bridge, snapshot.bridge.mcast_snooping)
    if closed or silenced:
        wait_until_judged(host, bridge, plan)
    flow_table.set_no_flood(bridge, _ports(plan.vifs, hidden=False), False)
    for vif in plan.vifs:
        _mark(host, snapshot, vif)
    return Programmed(plan.vifs, diff, settings)


def preview_all(host: HostContext, bridge: str, spare: Spare = nobody) -> Programmed:
    """Return what program_all would change, and change nothing.

    A bridge that does not speak our OpenFlow versions does not show its flows.
    """
    snapshot = read_snapshot(host, bridge)
    if not speaks_ours(snapshot.bridge):
        plan = plan_bridge({}, read_vifs(host, snapshot), surroundings(host, snapshot))
        return Programmed(plan.vifs, settings=deviating(host, snapshot.bridge, _is_managed(plan)))
    plan = _plan_all(host, snapshot, read_registry(bridge), spare)
    settings = deviating(host, snapshot.bridge, _is_managed(plan)) + _deviations(snapshot, plan)
    return Programmed(plan.vifs, compare_all(bridge, plan), settings)


def _plan_all(host: HostContext, snapshot: BridgeSnapshot, registry: Registry,
              spare: Spare) -> Plan:
    found = [(vif, spare(registry, vif)) for vif in read_vifs(host, snapshot)]
    flows = (flow_table.read_flows(snapshot.bridge.name) if any(spared for _, spared in found)
             else set())
    vifs = [vif for vif, spared in found if not spared or not is_intact(registry, vif, flows)]
    return plan_bridge(registry, vifs, surroundings(host, snapshot, thorough=True))


def _program_vif(host: HostContext, snapshot: BridgeSnapshot, seen: Seen, vif: Vif,
                 new: bool) -> Reconciled:
    """Program a VIF and those that its event concerns, so that no frame slips through."""
    bridge = snapshot.bridge
    hidden: Set[int] = set()
    for last in (False, True):
        around = surroundings(host, snapshot)
        vifs = [vif] + _others(host, snapshot, seen.record.items, vif, around)
        plan = plan_bridge(seen.record.items, vifs, around)
        hidden.update(_set_no_flood(bridge.name, seen, plan, True))
        try:
            diff = reconcile(bridge.name, seen.record, plan, snapshot.ofports)
            break
        except Outdated:
            if last:
                raise
            seen = look_at(bridge.name)
    closed = _is_any_closed(seen.record.items, plan)
    if closed or hidden - {port.ofport for port in vif.ports if new}:
        # What such a VIF has been learned to own, a MAC address not its own or a
        # multicast group, would be sent to it for minutes.
        flow_table.forget_addresses(bridge.name, bridge.mcast_snooping)
    if not new:
        _set_no_flood(bridge.name, seen, plan, False)
    return Reconciled(plan.vifs[0], plan, diff, closed or bool(hidden))


def _set_no_flood(bridge: str, seen: Seen, plan: Plan, wanted: bool) -> List[int]:
    """Have the switch hide a plan's ports from floods, or show them; return those that it must."""
    return flow_table.set_no_flood(bridge, [
        ofport for ofport in _ports(plan.vifs, wanted)
        if seen.no_flood.get(ofport) is not wanted], wanted)


def wait_until_judged(host: HostContext, bridge: str, plan: Plan) -> None:
    """Wait until packets are judged by what the bridge carries now; this needs no lock.

    A bridge without anything of ours has no verdicts that matter; a switch that forwards
    nothing yet has none at all, and would not answer.
    """
    if BASE in plan.items and not restore_wait.is_held(host.ovsdb):
        wait_for_verdicts(bridge, plan)


def _is_managed(plan: Plan) -> bool:
    """Tell whether a bridge has managed VIFs."""
    return any(key.kind is Kind.PORT for key in plan.items)


def _is_any_closed(registry: Registry, plan: Plan) -> bool:
    """Tell whether a port stays whose MAC address has no flows of its own any more.

    The switch would still send to that port what it has learned to be there.
    """
    return any(registry[key].refs and not item.refs for key, item in plan.items.items()
               if key.kind is Kind.PORT and key in registry)


def _deviations(snapshot: BridgeSnapshot, plan: Plan) -> Tuple[Deviation, ...]:
    """Return what program_all sets of ports beside flows, where it is otherwise."""
    return tuple(_port_deviations(snapshot, plan))


def _port_deviations(snapshot: BridgeSnapshot, plan: Plan) -> Iterator[Deviation]:
    no_flood = flow_table.read_no_flood(snapshot.bridge.name)
    for vif in plan.vifs:
        for name, key, actual, desired in _wrong_marks(snapshot, vif):
            yield Deviation('%s %s' % (name, key), actual, desired)
        for port in vif.ports:
            hidden = vif.policy.mode > Mode.LOCKED
            if no_flood.get(port.ofport) is not hidden:
                yield Deviation('%s no-flood' % port.name, str(not hidden).lower(),
                              str(hidden).lower())


def _ports(vifs: Iterable[Vif], hidden: bool) -> List[int]:
    """Return the ports that must be left out of floods, or those that must not."""
    return sorted(port.ofport for vif in vifs for port in vif.ports
                  if (vif.policy.mode > Mode.LOCKED) is hidden)


def _mark(host: HostContext, snapshot: BridgeSnapshot, vif: Vif) -> None:
    """Have the VIF's Interfaces say whose they are, and why the VIF is in quarantine."""
    for port, key, _, desired in _wrong_marks(snapshot, vif):
        host.ovsdb.set_external_ids(port, {key: desired or None})


def _wrong_marks(snapshot: BridgeSnapshot, vif: Vif) -> Iterator[Tuple[str, str, str, str]]:
    """Yield port, key, actual and desired value of a VIF's external_ids that are not right.

    networkd makes Interfaces anew when a network becomes a VLAN, and brings none of them along.
    """
    names = {port.name for port in vif.ports}
    desired = dict(vif.external_ids, **{ERROR_KEY: vif.error})
    for port in snapshot.bridge.ports:
        for interface in port.interfaces:
            if interface.name in names:
                for key, value in desired.items():
                    actual = interface.external_ids.get(key, '')
                    if actual != value:
                        yield interface.name, key, actual, value


def _others(host: HostContext, snapshot: BridgeSnapshot, registry: Registry, vif: Vif,
            around: Surroundings) -> List[Vif]:
    """Return the other VIFs that this VIF's event concerns.

    A bridge that carries nothing of ours may have lost it, when ovs-vswitchd
    restarted or a controller came or went: then every VIF on it.
    """
    found = disturbed(registry, vif, snapshot.ofports)
    if not registry and vif.policy.mode is not Mode.UNLOCKED:
        found = [other for other in find_vifs(snapshot) if other != vif.id]
    copies = [other for other in _namesakes(host, registry, vif, around)
              if other not in found]
    if found or copies:
        snapshot = read_snapshot(host, snapshot.bridge.name)
    unmanaged = [other for other in [make_vif(host, snapshot, copy) for copy in copies]
                 if other.policy.mode is Mode.UNLOCKED]
    return [make_vif(host, snapshot, other) for other in found] + unmanaged


def _namesakes(host: HostContext, registry: Registry, vif: Vif,
               around: Surroundings) -> List[VifId]:
    """Return other VIFs with a MAC address that this VIF's event reserves, or sets free.

    An unmanaged one is in no registry: it is mute from now on, or no longer.
    """
    macs = changing_macs(registry, vif, around)
    names = host.ovsdb.find_by_macs(macs) if macs else []
    return sorted({parse_netdev(name) for name in names} - {vif.id})
