"""Reconcile every bridge of this host with what its VIFs need.

It reads xenstore, xenopsd's metadata, the configuration and the group files alone. It adds
what is missing on a bridge, removes flows of ours that no VIF needs, and takes ports off
whose netdev is gone.
"""
from time import sleep

from xsisolate.dataplane import flooding
from xsisolate.dataplane.bridge_settings import deviating, settle, speaks_ours, why_open
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, read_snapshot, read_vifs,
                                                 plan_context, without_ports)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.grace import wait_for_bridges
from xsisolate.dataplane.in_band import Deviation
from xsisolate.dataplane.interface_errors import find_wrong_ids, set_ids
from xsisolate.dataplane.planning import plan_bridge
from xsisolate.dataplane.program import Spare, is_any_closed, is_managed, nobody, wait_until_judged
from xsisolate.dataplane.reconcile import compare_all, reconcile_all
from xsisolate.dataplane.remotes import is_noted
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.switch_state import record_of
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.ovsdb import Bridge
from xsisolate.errors import HostError, XsisolateError
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.items import Registry
from xsisolate.planner.plan import Plan
from xsisolate.planner.retention import is_intact, keeps_flows, keeps_policy
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import (Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Set)
from xsisolate.vif_id import VIF_NETDEV, VifId

LOCK_DEADLINE_S = 60.0
# A plug makes the port before the kernel has announced the netdev everywhere, and
# an unplug the other way round: what is gone must be seen twice.
DEAD_PAUSE_S = 0.5


class _Difference(NamedTuple):
    """What a bridge carries, what it should carry, and so what is to be done."""

    snapshot: BridgeSnapshot
    plan: Plan
    result: BridgeResult
    registry: Registry = {}
    no_flood: flooding.NoFlood = {}


def resync(host: HostContext, name: str, write: bool, spare: Spare = nobody,
           dead: FrozenSet[str] = frozenset(), released: bool = False) -> BridgeResult:
    """Compare a bridge with what all its VIFs need; `write`: make it carry that and nothing else.

    The caller who writes holds the bridge's lock. The bridge is read once, and once more where
    it had to be set up itself. VIFs that `spare` names keep what the bridge carries for them,
    if it still does; `dead` are ports that had no netdev before, either. `released`: as if no
    VIF had a policy.
    """
    if not write:
        return compare(host, read_snapshot(host, name), spare, dead, released)
    host.ovsdb.wait_for_vswitchd()
    snapshot = read_snapshot(host, name)
    taken_off = tuple(sorted(dead & find_gone([snapshot.bridge])))
    for port in taken_off:
        host.ovsdb.delete_port(port)
    noted, silenced = is_noted(snapshot.bridge), ''
    settings = deviating(host, snapshot.bridge, noted)
    if settings:        # before its flows are read: it may lose them by that
        silenced = settle(host, snapshot.bridge, noted)
        snapshot = read_snapshot(host, name)
    found = _compare(host, snapshot, spare, dead, released)
    if is_managed(found.plan) is not noted:
        silenced += settle(host, snapshot.bridge, not noted)
        snapshot = read_snapshot(host, name)
    _make_so(host, found, bool(silenced))
    return found.result._replace(dead=taken_off, settings=settings + found.result.settings,
                                 exposed=_why_exposed(host, snapshot.bridge, found.plan.vifs))


def compare(host: HostContext, snapshot: BridgeSnapshot, spare: Spare = nobody,
            dead: FrozenSet[str] = frozenset(), released: bool = False) -> BridgeResult:
    """Return what `resync` would change on a bridge, and change nothing."""
    found = _compare(host, snapshot, spare, dead, released)
    return found.result._replace(exposed=_why_exposed(host, snapshot.bridge, found.plan.vifs))


def _compare(host: HostContext, snapshot: BridgeSnapshot, spare: Spare,
             dead: FrozenSet[str], released: bool) -> _Difference:
    """Compare a bridge; one that does not speak our OpenFlow versions does not show its flows."""
    dead &= find_gone([snapshot.bridge])
    snapshot, bridge = without_ports(snapshot, dead), snapshot.bridge
    result = BridgeResult(bridge.name, dead=tuple(sorted(dead)))
    vifs = read_vifs(host, snapshot, released)
    if not speaks_ours(bridge):
        plan = plan_bridge({}, vifs, plan_context(host, snapshot))
        return _Difference(snapshot, plan, result._replace(
            vifs=plan.vifs, settings=deviating(host, bridge, is_managed(plan)),
            managed=is_managed(plan)))
    flows = flow_table.read_flows(bridge.name)
    registry, no_flood = record_of(flows), flow_table.read_no_flood(bridge.name)
    plan = plan_bridge(registry, [vif for vif in vifs if not (
        spare(registry, vif) and is_intact(registry, vif, flows))],
        plan_context(host, snapshot, thorough=True))
    return _Difference(snapshot, plan, result._replace(
        vifs=plan.vifs, diff=compare_all(plan, flows),
        settings=(*deviating(host, bridge, is_managed(plan)),
                  *_port_deviations(snapshot, plan, no_flood)),
        managed=is_managed(plan)), registry, no_flood)


def _make_so(host: HostContext, found: _Difference, silenced: bool) -> None:
    """Have a bridge carry what it should."""
    bridge, plan = found.snapshot.bridge, found.plan
    hidden = flooding.hide(bridge.name, plan.vifs, found.no_flood)
    with flooding.Showing(bridge.name, plan.vifs, found.no_flood):
        reconcile_all(bridge.name, plan, found.result.diff)
    closed = hidden or is_any_closed(found.registry, plan)
    if closed:
        flow_table.forget_addresses(bridge.name, bridge.mcast_snooping)
    if closed or silenced:
        wait_until_judged(host, bridge.name, plan)
    for vif in plan.vifs:
        set_ids(host, found.snapshot, vif)


def _why_exposed(host: HostContext, bridge: Bridge, vifs: Iterable[Vif]) -> str:
    """Return why a bridge may forward what flows of VIFs forbid, '' if it cannot."""
    managed = any(vif.policy.mode is not Mode.UNLOCKED for vif in vifs)
    return why_open(host, bridge) if managed else ''


def _port_deviations(snapshot: BridgeSnapshot, plan: Plan,
                     no_flood: flooding.NoFlood) -> Iterator[Deviation]:
    """Yield what beside flows is set of ports, where it is otherwise."""
    for vif in plan.vifs:
        for wrong in find_wrong_ids(snapshot, vif):
            yield Deviation('%s %s' % (wrong.interface, wrong.key), wrong.actual, wrong.desired)
        for port in vif.ports:
            hidden = flooding.is_hidden(vif)
            if no_flood.get(port.ofport) is not hidden:
                yield Deviation('%s no-flood' % port.name, str(not hidden).lower(),
                                str(hidden).lower())


# --- bridge after bridge ---------------------------------------------------------------------


def sync_bridges(host: HostContext, names: Iterable[str], dry_run: bool,
                 released: bool = False) -> Iterator[BridgeResult]:
    """Reconcile bridges one after the other; a failure of one does not stop the rest."""
    names = list(names)
    dead = find_dead(host, names)
    if not dry_run:
        yield from _sync_patiently(host, names, dead, released)
        return
    for name in names:
        yield _try_to_sync(host, name, False, keeps_flows, dead, released)


def _sync_patiently(host: HostContext, names: Iterable[str], dead: FrozenSet[str],
                    released: bool) -> Iterator[BridgeResult]:
    """Reconcile bridges; those with VIFs in grace a second time, when that is over.

    For a VIF in doubt, an admin's next write has begun. Other VIFs do not wait for it.
    """
    doubtful: Set[VifId] = set()
    overdue: Set[VifId] = set()

    def spare(registry: Registry, vif: Vif) -> bool:
        """Leave VIFs alone that xenstore no longer knows, and VIFs in doubt during their grace."""
        in_grace = vif.id not in overdue and keeps_policy(registry, vif,
                                                          host.configuration.config)
        if in_grace:
            doubtful.add(vif.id)
        return in_grace or keeps_flows(registry, vif)

    waiting: Dict[str, BridgeResult] = {}
    for name in names:
        doubtful.clear()
        outcome = _try_to_sync(host, name, True, spare, dead, released)
        if doubtful and not outcome.error:
            waiting[name] = outcome
        else:
            yield outcome
    if waiting:
        overdue.update(wait_for_bridges(host, list(waiting)))
    for name, outcome in waiting.items():
        yield _together(outcome, _try_to_sync(host, name, True, spare, dead, released))


def _try_to_sync(host: HostContext, name: str, write: bool, spare: Spare,
                 dead: FrozenSet[str], released: bool) -> BridgeResult:
    try:
        with bridge_lock(name, LOCK_DEADLINE_S):
            return resync(host, name, write, spare, dead, released)
    except XsisolateError as error:
        return BridgeResult(name, error=str(error), exit_code=error.exit_code)


def _together(first: BridgeResult, second: BridgeResult) -> BridgeResult:
    """Return what two runs have done to a bridge."""
    return second._replace(
        diff=FlowDiff(first.diff.add + second.diff.add, first.diff.delete + second.diff.delete),
        settings=first.settings + second.settings, dead=first.dead + second.dead)


def choose_bridges(host: HostContext, wanted: str) -> List[str]:
    """Return the real bridges to reconcile: all, or the one that carries a network."""
    names = [bridge.name for bridge in host.ovsdb.read_bridge_rows()]
    if not wanted:
        return names
    found = host.ovsdb.find_parent(wanted)
    if found is None:
        raise HostError('Open vSwitch has no bridge %s; it has %s'
                        % (wanted, ', '.join(names) or 'none'))
    return [found]


def find_dead(host: HostContext, names: Iterable[str]) -> FrozenSet[str]:
    """Return the VIFs' ports without a netdev, seen twice."""
    first = _find_gone_on(host, names)
    if not first:
        return first
    sleep(DEAD_PAUSE_S)
    return first & _find_gone_on(host, names)


def _find_gone_on(host: HostContext, names: Iterable[str]) -> FrozenSet[str]:
    return find_gone(bridge for bridge in host.ovsdb.read_bridges() if bridge.name in names)


def find_gone(bridges: Iterable[Bridge]) -> FrozenSet[str]:
    """Return the VIFs' ports that have no netdev now."""
    return frozenset(port.name for bridge in bridges for port in bridge.ports
                     if VIF_NETDEV.fullmatch(port.name) and not netdev.exists(port.name))
