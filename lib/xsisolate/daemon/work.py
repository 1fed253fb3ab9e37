"""The daemon's work: one bridge compared and mended, one VIF brought up to date."""
from functools import partial
from time import monotonic
from typing import Dict, FrozenSet, Mapping, NamedTuple, Optional, Union

from xsisolate.daemon.guard import Guard
from xsisolate.daemon.in_force import ConfigurationInForce
from xsisolate.daemon.known import Failure, KnownBridge, KnownHost, KnownVif
from xsisolate.daemon.lease_book import LeaseBook
from xsisolate.daemon.schedule import Task
from xsisolate.dataplane.bridge_settings import set_in_band
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, make_snapshot, read_facts,
                                                 vif_from_facts)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.program import Spare, reconcile_vif
from xsisolate.dataplane.remotes import SILENCED, is_noted
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.resync import compare, find_gone, resync
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dataplane.vif_facts import read_vm_uuid
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.ovsdb import Ovsdb, find_bridge
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import UnknownVif, XsisolateError
from xsisolate.planner.items import Registry
from xsisolate.planner.retention import is_quarantined, is_whole, keeps_flows, keeps_policy
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode

LOCK_DEADLINE_S = 2.0       # a hook has it: come again
AGAIN_FIRST_S = 0.1         # what has failed once: a port may have vanished while we worked on it
AGAIN_S = 1.0
FAILING_S = 1.0             # what fails that long is worth a line
DEAD_S = 0.5                # a port whose netdev is gone must be seen twice, so far apart


class Done(NamedTuple):
    """What came of a task."""

    again_in: Optional[float] = None        # seconds; None: it is done
    changed: bool = False                   # something: we shall be told of that, too
    wake: Mapping[Task, float] = {}         # other tasks, and when they must run


class Work:
    """What the daemon does; what it learns by it is in the host's records."""

    def __init__(self, host: KnownHost, guard: Guard, book: LeaseBook, log: Log) -> None:
        self._host = host
        self._guard = guard
        self._book = book
        self._log = log
        self._configuration = ConfigurationInForce(log)
        self._wake: Dict[Task, float] = {}      # by the task that is worked on

    def do(self, task: Task) -> Done:
        """Work on a task."""
        self._wake = {}
        record = self._host.bridges.get(task.bridge) if task.bridge else self._host.vif(task.vif)
        if record is None:
            return Done()       # the bridge has gone
        try:
            with Ovsdb() as ovsdb, Xenstore() as store:
                host = HostContext(ovsdb, store, self._configuration.read())
                done = (self._do_bridge(host, record) if isinstance(record, KnownBridge)
                        else self._do_vif(host, record))
            record.failure = None
        except XsisolateError as error:
            done = Done(self._complain(task, record, str(error)))
        return done._replace(wake=self._wake)

    def _complain(self, task: Task, record: Union[KnownBridge, KnownVif], error: str) -> float:
        """Log, once, what has failed for a while; return when to try again."""
        again = AGAIN_S if record.failure else AGAIN_FIRST_S
        failure = record.failure or Failure(monotonic())
        if monotonic() - failure.since >= FAILING_S and error != failure.said:
            self._log.error('failed', task=task, error=error)
            failure = failure._replace(said=error)
        record.failure = failure
        return again

    # --- a bridge --------------------------------------------------------------------------

    def _do_bridge(self, host: HostContext, bridge: KnownBridge) -> Done:
        """Compare a bridge with what its VIFs need; lock and change it only if it differs."""
        began = monotonic()
        network = find_bridge(host.ovsdb.read_bridges(), bridge.name)
        if network is None:
            return Done()
        self._guard.shut(bridge)    # once more, if it could not be programmed the last time
        snapshot = make_snapshot(network.bridge)
        if is_noted(snapshot.bridge):        # before all that takes longer
            bridge.managed = True
            silenced = set_in_band(host, snapshot.bridge, True)
            if silenced:
                self._log.warning('in-band', bridge=bridge.name, reason=SILENCED % silenced)
        if host.configuration.error and _is_as_left(bridge):
            bridge.lost_at, bridge.compared_at = None, began
            return Done()
        gone = find_gone([snapshot.bridge])
        dead = bridge.see_dead(gone, monotonic(), DEAD_S)
        found = _resync(host, snapshot, dead, partial(self._spare, host))
        if found.changed:
            self._log.info('reconciled', bridge=bridge.name, vifs=len(found.vifs),
                           added=len(found.diff.add), deleted=len(found.diff.delete),
                           dead=len(found.dead), ms=round((monotonic() - began) * 1000))
        bridge.lost_at, bridge.compared_at = None, began
        for vif in found.vifs:
            known = self._note(host, vif, bridge.name)
            try:
                known.vm_uuid = read_vm_uuid(host.store, vif.id.domid)
            except UnknownVif:
                pass        # its domain has gone
        self._show_exposed(bridge, found)
        return Done(DEAD_S if gone - dead else None, found.changed)

    def _show_exposed(self, bridge: KnownBridge, found: BridgeResult) -> None:
        """Say once if a bridge may forward what its flows forbid, whatever we do."""
        bridge.managed = found.managed
        if found.exposed and found.exposed != bridge.exposed:
            self._log.warning('exposed', bridge=bridge.name, reason=found.exposed)
        bridge.exposed = found.exposed

    # --- a VIF -----------------------------------------------------------------------------

    def _do_vif(self, host: HostContext, known: KnownVif) -> Done:
        """Bring a VIF's flows up to date; it keeps them for a while if its policy is in doubt."""
        began = monotonic()
        if host.configuration.error:
            return Done()       # it keeps what it has; what is lost is its bridge's business
        try:
            facts = read_facts(host, known.id)
        except UnknownVif:
            return Done()       # it is being plugged or unplugged: the hooks' business
        known.vm_uuid = facts.metadata.vm_uuid
        network = find_bridge(host.ovsdb.read_bridges(), facts.metadata.bridge)
        vif = vif_from_facts(facts, make_snapshot(network.bridge), known.id) if network else None
        bridge = self._host.bridges.get(network.bridge.name) if network else None
        if bridge is None or vif is None or not vif.ports or known.programmed == vif:
            return Done()
        with bridge_lock(bridge.name, LOCK_DEADLINE_S) as lock:
            done = reconcile_vif(host, vif.id, lock, partial(self._spare_known, host))
        if done.spared:
            return Done()
        vif, diff = done.vif, done.diff
        self._note(host, vif, bridge.name)
        if diff.add or diff.delete:
            self._log.info('refreshed', vif=vif.id.vif, vm=vif.vm_uuid,
                           mode=vif.policy.mode.word,
                           permissive='yes' if vif.policy.permissive else None,
                           groups=','.join(sorted(vif.policy.groups)) or None,
                           added=len(diff.add), deleted=len(diff.delete),
                           ms=round((monotonic() - began) * 1000))
        return Done(changed=bool(diff.add or diff.delete))

    def _note(self, host: HostContext, vif: Vif, bridge: str) -> KnownVif:
        """Note what a VIF was programmed to; say why it is or would be quarantined, mute or waits.
        """
        known = self._host.vif(vif.id)
        if vif.policy.would_be and vif.policy.would_be != known.would_be:
            self._log.warning('would be', vif=vif.id.vif, vm=vif.vm_uuid,
                              reason=vif.policy.would_be)
        if known.note(vif, host.configuration.config.groups):
            self._log.warning('mute' if vif.mute else 'waiting' if vif.waiting else 'quarantined',
                              vif=vif.id.vif,
                              vm=vif.vm_uuid, reason=vif.error)
        self._book.follow(vif, bridge, host.configuration)
        if vif.policy.mode is Mode.UNLOCKED:
            self._guard.release(vif)
        return known

    # --- VIFs that keep their flows ----------------------------------------------------------

    def _spare_known(self, host: HostContext, registry: Registry, vif: Vif) -> bool:
        """Spare a VIF that has just become unknown, too: its hooks see to it."""
        return not vif.is_known or self._spare(host, registry, vif)

    def _spare(self, host: HostContext, registry: Registry, vif: Vif) -> bool:
        """Tell whether a VIF keeps what it has: a broken file, an empty xenstore, or grace."""
        if self._configuration.is_broken and is_quarantined(registry, vif):
            return True         # hooks have quarantined it until the file is mended
        known = self._host.vif(vif.id)
        if keeps_flows(registry, vif) or vif.lost and known.unlocked_for:
            return True
        return self._has_grace(host, known, registry, vif)

    def _has_grace(self, host: HostContext, known: KnownVif, registry: Registry, vif: Vif) -> bool:
        """Tell whether a VIF in doubt has grace, which begins with its first time."""
        config = host.configuration.config
        right = keeps_policy(registry, vif, config) or (
            vif.policy.unproven and vif.locking.mode is Mode.UNLOCKED
            and known.unlocked_for == vif.vm_uuid)
        if not right or not config.grace:
            known.doubt_until = None
            return False
        if known.doubt_until is None:
            known.doubt_until = monotonic() + config.grace
            self._log.warning('in doubt', vif=vif.id.vif, vm=vif.vm_uuid, seconds=config.grace,
                              reason='keeps its last policy meanwhile: ' + vif.policy.reason)
        in_grace = monotonic() < known.doubt_until
        self._wake.pop(Task('', vif.id), None)
        if in_grace:    # each time: a run for another reason takes the place of one that waits
            self._wake[Task('', vif.id)] = known.doubt_until
        return in_grace


def _is_as_left(bridge: KnownBridge) -> bool:
    """Tell whether a bridge has all that it had when what VIFs may was last known."""
    registry = read_registry(bridge.name)
    return (is_whole(registry, flow_table.read_flows(bridge.name)) if registry
            else not bridge.managed)


def _resync(host: HostContext, snapshot: BridgeSnapshot, dead: FrozenSet[str],
            spare: Spare) -> BridgeResult:
    """Compare a bridge, and reconcile it if it differs: only that needs its lock."""
    found = compare(host, snapshot, spare, dead)
    if not found.changed:
        return found
    with bridge_lock(found.bridge, LOCK_DEADLINE_S):
        return resync(host, found.bridge, True, spare, dead)
