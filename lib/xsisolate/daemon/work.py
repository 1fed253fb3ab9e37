"""The daemon's work: one bridge compared and mended, one VIF brought up to date."""
from time import monotonic
from typing import AbstractSet, Dict, FrozenSet, Optional, Tuple

from xsisolate.config.host_config import Configuration, read_configuration
from xsisolate.daemon.guard import Guard
from xsisolate.daemon.schedule import Task
from xsisolate.dataplane.bridge_settings import set_in_band, why_open
from xsisolate.dataplane.bridge_snapshot import make_snapshot, read_facts, vif_from_facts
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.program import reconcile_vif
from xsisolate.dataplane.remotes import SILENCED, is_noted
from xsisolate.dataplane.resync import BridgeResult, find_dead_ports, preview_bridge, sync_bridge
from xsisolate.dataplane.vif_facts import read_vm_uuid
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb, find_bridge
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import UnknownVif, XsisolateError
from xsisolate.planner.items import Registry
from xsisolate.planner.retention import keeps_flows, keeps_policy
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Config, Mode
from xsisolate.vif_id import VifId

LOCK_DEADLINE_S = 2.0       # a hook has it: come again
AGAIN_FIRST_S = 0.1         # what has failed once: a port may have vanished while we worked on it
AGAIN_S = 1.0
FAILING_S = 1.0             # what fails that long is worth a line
DEAD_S = 0.5                # a port whose netdev is gone must be seen twice, so far apart


class Work:
    """What the daemon does, and what it remembers of its VIFs from one task to the next."""

    def __init__(self, log: Log, guard: Guard) -> None:
        self._log = log
        self._guard = guard
        self.uuids: Dict[VifId, str] = {}          # under which xenopsd keeps their metadata
        self.compared: Dict[str, float] = {}        # bridges, and when
        self.changed = False                        # did the last task change anything?
        # What VIFs were programmed to, for as long as the switch reports no change of flows: a
        # guest that writes to no effect then costs a look at what it has written.
        self.programmed: Dict[VifId, Vif] = {}
        self.wakes: Dict[Task, float] = {}          # tasks that the loop must start then
        self._configuration: Optional[Configuration] = None
        self._unlocked: Dict[VifId, str] = {}      # VIFs that are unlocked by right: their VMs
        self._doubts: Dict[VifId, float] = {}      # VIFs in doubt, and until when they have grace
        self._reasons: Dict[VifId, str] = {}       # why VIFs are in quarantine, or mute
        self._failed: Dict[Task, Tuple[float, str]] = {}    # since when, and what was said of it
        self._exposed: Dict[str, str] = {}          # why bridges may forward what flows forbid
        self._dead: Dict[str, float] = {}           # ports without netdev, and since when

    def forget_all_but(self, vifs: AbstractSet[VifId]) -> None:
        """Forget VIFs that are gone."""
        for vif in {*self.uuids, *self._unlocked, *self._doubts, *self._reasons} - vifs:
            self.uuids.pop(vif, None)
            self.programmed.pop(vif, None)
            self._unlocked.pop(vif, None)
            self._doubts.pop(vif, None)
            self._reasons.pop(vif, None)
            self._failed.pop(Task('', vif), None)

    def do(self, task: Task) -> Optional[float]:
        """Work on a task; return in how many seconds it must come again, None if it is done."""
        self.changed = False
        try:
            with Ovsdb() as ovsdb, Xenstore() as store:
                dom0 = HostContext(ovsdb, store, self._configure())
                again = (self._do_bridge(dom0, task.bridge) if task.bridge
                         else self._do_vif(dom0, task.vif))
            self._failed.pop(task, None)
            return again
        except XsisolateError as error:
            return self._complain(task, str(error))

    def _complain(self, task: Task, error: str) -> float:
        """Log, once, what has failed for a while; return when to try again."""
        again = AGAIN_S if task in self._failed else AGAIN_FIRST_S
        since, said = self._failed.get(task, (monotonic(), ''))
        if monotonic() - since >= FAILING_S and error != said:
            self._log.error('failed', task=task, error=error)
            said = error
        self._failed[task] = since, said
        return again

    def _configure(self) -> Configuration:
        """Return the configuration; while it is broken, what it was before."""
        found = read_configuration()
        known = self._configuration
        if found.error and known:
            if found.error != known.error:
                self._log.error('configuration', error=found.error,
                                reason='what it was before stays in force')
                self._configuration = known._replace(error=found.error)
            return known._replace(error='')
        self._configuration = found
        return found

    # --- a bridge --------------------------------------------------------------------------

    def _do_bridge(self, dom0: HostContext, name: str) -> Optional[float]:
        """Compare a bridge with what its VIFs need; lock and change it only if it differs."""
        began = monotonic()
        network = find_bridge(dom0.ovsdb.read_bridges(), name)
        if network is None:
            return None
        self._guard.shut(name)      # once more, if it could not be programmed the last time
        if is_noted(network.bridge):        # before all that takes longer
            silenced = set_in_band(dom0, network.bridge, True)
            if silenced:
                self._log.warning('in-band', bridge=name, reason=SILENCED % silenced)
        dead, again = self._watch_dead(dom0, name)
        found = preview_bridge(dom0, name, dead, self._spare)
        if found.changed:
            found = sync_bridge(dom0, name, dead, self._spare, LOCK_DEADLINE_S)
            self.changed = found.changed
            self._log.info('reconciled', bridge=name, vifs=len(found.vifs),
                           added=len(found.diff.add), deleted=len(found.diff.delete),
                           dead=len(found.dead), ms=round((monotonic() - began) * 1000))
        self._guard.programmed(name)
        self.compared[name] = began
        self._remember(dom0, found)
        self._show_exposed(dom0, found)
        return again

    def _show_exposed(self, dom0: HostContext, found: BridgeResult) -> None:
        """Say once if a bridge may forward what its flows forbid, whatever we do."""
        network = find_bridge(dom0.ovsdb.read_bridges(), found.bridge)
        managed = any(vif.policy.mode is not Mode.UNLOCKED for vif in found.vifs)
        self._guard.managed.discard(found.bridge)
        if managed:
            self._guard.managed.add(found.bridge)
        reason = why_open(dom0, network.bridge) if network and managed else ''
        if reason and reason != self._exposed.get(found.bridge):
            self._log.warning('exposed', bridge=found.bridge, reason=reason)
        self._exposed[found.bridge] = reason

    def _remember(self, dom0: HostContext, found: BridgeResult) -> None:
        for vif in found.vifs:
            self._note(vif)
            try:
                assert dom0.store is not None
                self.uuids[vif.id] = read_vm_uuid(dom0.store, vif.id.domid)
            except UnknownVif:
                pass        # its domain has gone

    def _note(self, vif: Vif) -> None:
        """Remember what a VIF was programmed to; say it if it is in quarantine, mute, or waits."""
        self._doubts.pop(vif.id, None)
        self.programmed[vif.id] = vif._replace(mute='')     # as its facts say
        if vif.policy.mode is Mode.UNLOCKED:
            self._unlocked[vif.id] = vif.vm_uuid
            self._guard.release(vif)
        else:
            self._unlocked.pop(vif.id, None)
        if vif.error and vif.error != self._reasons.get(vif.id):
            self._log.warning(
                'mute' if vif.mute else 'waiting' if vif.waiting else 'quarantined',
                vif=vif.id.vif, vm=vif.vm_uuid, reason=vif.error)
        self._reasons[vif.id] = vif.error

    def _watch_dead(self, dom0: HostContext, name: str) -> Tuple[FrozenSet[str], Optional[float]]:
        """Return the ports that have had no netdev for a while, and when to look again."""
        now, gone = monotonic(), find_dead_ports(dom0, [name])
        self._dead = {port: self._dead.get(port, now) for port in gone}
        dead = frozenset(port for port, since in self._dead.items() if now - since >= DEAD_S)
        return dead, DEAD_S if gone - dead else None

    # --- a VIF -----------------------------------------------------------------------------

    def _do_vif(self, dom0: HostContext, vif_id: VifId) -> Optional[float]:
        """Bring a VIF's flows up to date; it keeps them for a while if its policy is in doubt."""
        began = monotonic()
        try:
            facts = read_facts(dom0, vif_id)
        except UnknownVif:
            return None         # it is being plugged or unplugged: the hooks' business
        self.uuids[vif_id] = facts.metadata.vm_uuid
        network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
        vif = vif_from_facts(facts, make_snapshot(network.bridge), vif_id) if network else None
        if network is None or vif is None or not vif.ports:
            return None
        if self.programmed.get(vif.id) == vif:
            return None
        with bridge_lock(network.bridge.name, LOCK_DEADLINE_S) as lock:
            done = reconcile_vif(dom0, vif.id, lock, self._spare_known)
        if done.spared:
            return None
        vif, diff = done.vif, done.diff
        self.changed = bool(diff.add or diff.delete)
        self._note(vif)
        if self.changed:
            self._log.info('refreshed', vif=vif.id.vif, vm=vif.vm_uuid,
                           mode=vif.policy.mode.word,
                           groups=','.join(sorted(vif.policy.groups)) or None,
                           added=len(diff.add), deleted=len(diff.delete),
                           ms=round((monotonic() - began) * 1000))
        return None

    def _spare_known(self, registry: Registry, vif: Vif) -> bool:
        """Spare a VIF that has just become unknown, too: its hooks see to it."""
        return not vif.is_known or self._spare(registry, vif)

    def _spare(self, registry: Registry, vif: Vif) -> bool:
        """Tell whether a VIF keeps what it has: while nobody knows it, or has grace.

        Its first time in doubt starts its grace.
        """
        if keeps_flows(registry, vif) or vif.lost and vif.id in self._unlocked:
            return True
        config = self._configuration.config if self._configuration else Config()
        right = keeps_policy(registry, vif, config) or (
            vif.policy.unproven and vif.locking.mode is Mode.UNLOCKED
            and self._unlocked.get(vif.id) == vif.vm_uuid)
        if not right or not config.grace:
            self._doubts.pop(vif.id, None)
            return False
        if vif.id not in self._doubts:
            self._doubts[vif.id] = monotonic() + config.grace
            self._log.warning('in doubt', vif=vif.id.vif, vm=vif.vm_uuid,
                              seconds=config.grace, reason='keeps its last policy so long: '
                              + vif.policy.reason)
        # Each time: a run for another reason has taken the place of the one that was to end it.
        self.wakes[Task('', vif.id)] = self._doubts[vif.id]
        if monotonic() < self._doubts[vif.id]:
            return True
        del self.wakes[Task('', vif.id)]
        return False
