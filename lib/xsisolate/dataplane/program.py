"""Make a bridge carry what one of its VIFs needs, and what other VIFs of its event need.

The caller holds the bridge's lock. What must not be flooded to is hidden from
floods before its flows come, and shown after.
"""
from xsisolate.dataplane import flooding
from xsisolate.dataplane.bridge_settings import set_in_band
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, find_vifs, make_vif, read_more,
                                                 read_snapshot_for, plan_context)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.interface_errors import set_ids
from xsisolate.dataplane.planning import plan_bridge
from xsisolate.dataplane.reconcile import Outdated, reconcile, wait_for_verdicts
from xsisolate.dataplane.remotes import is_noted
from xsisolate.dataplane.results import VifResult
from xsisolate.dataplane.switch_state import SwitchState, read_answer, read_switch
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import flow_table, restore_wait
from xsisolate.planner.context import PlanContext
from xsisolate.planner.cookie import BASE, Kind
from xsisolate.planner.items import Registry
from xsisolate.planner.mute_vifs import changing_macs
from xsisolate.planner.plan import Plan, disturbed
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import Callable, List, Set, Tuple
from xsisolate.vif_id import VifId, parse_netdev

Spare = Callable[[Registry, Vif], bool]


def nobody(registry: Registry, vif: Vif) -> bool:
    """Spare no VIF."""
    return False


def reconcile_vif(host: HostContext, vif_id: VifId, lock: bridge_lock,
                  spare: Spare = nobody) -> VifResult:
    """Make a bridge carry what one of its VIFs needs, one that has left it included.

    The VIF's facts are read here, under the bridge's lock, and nowhere before: the lock's last
    holder may have programmed newer and stricter ones.
    """
    with flow_table.SwitchQuestion(lock.bridge) as question:
        snapshot = read_snapshot_for(host, lock.bridge, vif_id)
        vif = make_vif(host, snapshot, vif_id)
        switch = read_answer(question)
    if spare(switch.items, vif):
        return VifResult(vif, Plan({}, (vif,)), spared=True)
    silenced = ''
    if vif.policy.mode is not Mode.UNLOCKED:        # the first on its bridge, maybe
        silenced = set_in_band(host, snapshot.bridge, True)
    done = program_vif(host, snapshot, switch, vif)
    if done.stale or silenced:
        wait_until_judged(host, lock.bridge, done.plan)
    return done._replace(silenced=silenced)


def program_vif(host: HostContext, snapshot: BridgeSnapshot, switch: SwitchState, vif: Vif,
                new: bool = False) -> VifResult:
    """Program a VIF and the VIFs that its event concerns, so that no frame slips through.

    All that is handed in has been read under the bridge's lock. A VIF that is `new` had no port
    before, so the switch still floods to it: that stays so until its plug is through.
    """
    bridge = snapshot.bridge
    hidden: Set[int] = set()
    for last in (False, True):
        context = plan_context(host, snapshot)
        others, snapshot = _others(host, snapshot, switch.items, vif, context)
        plan = plan_bridge(switch.items, [vif] + others, context)
        hidden.update(flooding.hide(bridge.name, plan.vifs, switch.no_flood))
        try:
            with flooding.Showing(bridge.name, () if new else plan.vifs, switch.no_flood):
                diff = reconcile(bridge.name, switch, plan, snapshot.ofports)
            break
        except Outdated:
            if last:
                raise
            switch = read_switch(bridge.name)
    closed = is_any_closed(switch.items, plan)
    if closed or hidden - {port.ofport for port in vif.ports if new}:
        # What such a VIF has been learned to own, a MAC address not its own or a
        # multicast group, would be sent to it for minutes.
        flow_table.forget_addresses(bridge.name, bridge.mcast_snooping)
    for planned in plan.vifs:
        set_ids(host, snapshot, planned)
    if is_noted(bridge) and not is_managed(plan):       # the last VIF with flows has left it
        set_in_band(host, bridge, False)
    return VifResult(plan.vifs[0], plan, diff, closed or bool(hidden))


def wait_until_judged(host: HostContext, bridge: str, plan: Plan) -> None:
    """Wait until packets are judged by what the bridge carries now; this needs no lock.

    A bridge without anything of ours has no verdicts that matter; a switch that forwards
    nothing yet has none at all, and would not answer.
    """
    if BASE in plan.items and not restore_wait.is_held(host.ovsdb):
        wait_for_verdicts(bridge, plan)


def is_managed(plan: Plan) -> bool:
    """Tell whether a bridge has managed VIFs."""
    return any(key.kind is Kind.PORT for key in plan.items)


def is_any_closed(registry: Registry, plan: Plan) -> bool:
    """Tell whether a port stays whose MAC address has no flows of its own any more.

    The switch would still send to that port what it has learned to be there.
    """
    return any(registry[key].refs and not item.refs for key, item in plan.items.items()
               if key.kind is Kind.PORT and key in registry)


def _others(host: HostContext, snapshot: BridgeSnapshot, registry: Registry, vif: Vif,
            context: PlanContext) -> Tuple[List[Vif], BridgeSnapshot]:
    """Return the other VIFs that this VIF's event concerns, and the bridge with their ports.

    A bridge that carries nothing of ours may have lost it, when ovs-vswitchd
    restarted or a controller came or went: then every VIF on it.
    """
    found = disturbed(registry, vif, snapshot.ofports)
    if not registry and vif.policy.mode is not Mode.UNLOCKED:
        found = [other for other in find_vifs(snapshot) if other != vif.id]
    copies = [other for other in _namesakes(host, registry, vif, context)
              if other not in found]
    snapshot = read_more(host, snapshot, [*found, *copies])
    unmanaged = [other for other in [make_vif(host, snapshot, copy) for copy in copies]
                 if other.policy.mode is Mode.UNLOCKED]
    return [make_vif(host, snapshot, other) for other in found] + unmanaged, snapshot


def _namesakes(host: HostContext, registry: Registry, vif: Vif,
               context: PlanContext) -> List[VifId]:
    """Return other VIFs with a MAC address that this VIF's event reserves, or sets free.

    An unmanaged one is in no registry: it is mute from now on, or no longer.
    """
    macs = changing_macs(registry, vif, context)
    names = host.ovsdb.find_by_macs(macs) if macs else []
    return sorted({parse_netdev(name) for name in names} - {vif.id})
