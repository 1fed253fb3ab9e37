"""What the daemon learns of leases: frames in, files and tasks out.

    bridges ─► lease_ear ─► messages ─► bindings ─► /run/xsisolate/leases ─► hooks, and XAPI
                                            └─────► a task that programs the VIF

The file of a VIF is written before its flows are: what the flows say, the next hook knows, too.
"""
from time import monotonic, time
from typing import Dict, List, NamedTuple, Optional, Set

from xsisolate.config.host_config import Configuration
from xsisolate.daemon.known import KnownHost
from xsisolate.daemon.learner import QUIET_S, Learner, Owner, why_refused
from xsisolate.daemon.lease_ear import Client, HeardFrame, LeaseEar
from xsisolate.daemon.schedule import Schedule, Task
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.run_files.vif_leases import (hold_learning, list_leases, read_leases,
                                                 stamp_folder, write_leases)
from xsisolate.errors import ConfigError, HostError
from xsisolate.leases.bindings import Bindings, expire, hear
from xsisolate.leases.frame import parse_frame
from xsisolate.leases.messages import parse_message
from xsisolate.planner.vif import Vif
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import LEASED4, LEASED6, Prefix
from xsisolate.vif_id import VifId

WAITING_MAX = 256           # frames of VIFs that are not known yet ...
WAITING_S = 10.0            # ... are kept so long
MANY = 10                   # so many VIFs whose addresses change at once are their bridge's ...
COLLECT_S = 0.5             # ... task, so much later: more will follow, and it takes a while
CHECK_S = 10.0              # how often files are looked at, whatever their folder says
GONE_S = 300.0              # a file of a VIF that is not here is removed after that
REFUSALS_MAX = 16           # that are remembered, so that each is said once


class Waiting(NamedTuple):
    """A frame of a VIF that is not known yet."""

    until: float
    frame: HeardFrame


class LeaseBook:
    """The learners of this host."""

    def __init__(self, host: KnownHost, schedule: Schedule, log: Log) -> None:
        self._host = host
        self._schedule = schedule
        self._log = log
        self._ear = LeaseEar()
        self._learners: Dict[VifId, Learner] = {}
        self._clients: Dict[Client, VifId] = {}
        self._waiting: List[Waiting] = []
        self._changed: List[Learner] = []
        self._holds: Optional[int] = None       # the lock: one daemon learns
        self._told = False
        self._stamp: Optional[int] = None
        self._next_check = 0.0
        self._try_to_hold()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._ear.fileno()

    # --- VIFs --------------------------------------------------------------------------------

    def follow(self, vif: Vif, bridge: str, configuration: Configuration) -> None:
        """Learn of a VIF, as its policy is now, or no longer."""
        if not vif.policy.sources & {LEASED4, LEASED6} or not vif.ports:
            self._forget(vif.id)
            return
        learner = self._learners.get(vif.id)
        if learner is None or (learner.owner, learner.vif.mac) != (
                Learner(vif).owner, vif.mac):
            self._forget(vif.id)
            learner = self._learners[vif.id] = Learner(vif)
            learner.at = vif.leases_at
        learner.vif, learner.bridge = vif, bridge
        learner.networks = {attached.network: (attached, configuration.find_network(
            attached.bridge, attached.network_uuid)) for attached in vif.networks}
        mac = bytes.fromhex(vif.mac.replace(':', ''))
        self._clients = {client: one for client, one in self._clients.items() if one != vif.id}
        self._clients.update({(bridge, network, mac): vif.id for network in learner.networks})
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._hear(one.frame)

    def _forget(self, vif_id: VifId) -> None:
        if self._learners.pop(vif_id, None):
            self._clients = {client: one for client, one in self._clients.items()
                             if one != vif_id}

    # --- messages ----------------------------------------------------------------------------

    def listen(self) -> None:
        """Take in what bridges have copied to us."""
        if self._holds is None:
            return
        self._ear.follow_bridges(self._host.bridges)
        for frame in self._ear.take():
            self._hear(frame)
        for client, seconds in self._ear.take_silenced().items():
            self._say_silenced(self._find(client), seconds)
        self._ask_for_tasks()

    def _try_to_hold(self) -> None:
        """Begin to learn, unless another daemon does; what that has learned is in the files."""
        self._holds = hold_learning()
        if self._holds is None and not self._told:
            self._told = True
            self._log.warning('not learning', reason='another daemon of this host learns leases, '
                              'or /run cannot be written')
        for learner in self._learners.values() if self._holds is not None else ():
            try:
                record = read_leases(*learner.owner)
            except ConfigError:
                continue
            if record and record.mac == learner.vif.mac and record.at > learner.at:
                learner.at = record.at
                learner.bindings = Bindings(leases={
                    lease.address: lease for lease in record.leases})

    def _find(self, client: Client) -> Optional[Learner]:
        return self._learners.get(self._clients.get(client, VifId(-1, 0)))

    def _hear(self, heard: HeardFrame) -> None:
        learner = self._find(heard.client)
        if learner is None:
            self._keep_waiting(heard)
        else:
            self._hear_of(learner, heard)

    def _hear_of(self, learner: Learner, heard: HeardFrame) -> None:
        datagram = parse_frame(heard.frame)
        message = parse_message(datagram) if datagram else None
        version = datagram.version if datagram else 0
        if message is None or message.mac != learner.vif.mac or not any(
                source.version == version for source in learner.vif.policy.sources
                & {LEASED4, LEASED6}):
            return
        attached, network = learner.networks[heard.client[1]]
        before, now = learner.bindings, time()
        found = hear(before, message, now, lambda address: why_refused(
            learner, attached, network, address, self._host, self._learners.values()))
        for address, reason in found.refused.items():
            self._say_refused(learner, address, message.server, reason)
        self._take(learner, found.bindings)

    def _keep_waiting(self, heard: HeardFrame) -> None:
        """Keep a frame whose VIF was plugged a moment ago, and have that VIF looked at."""
        bridge, now = self._host.bridges.get(heard.client[0]), monotonic()
        if bridge is None:
            return
        self._waiting = [one for one in self._waiting if one.until > now][-WAITING_MAX + 1:]
        self._waiting.append(Waiting(now + WAITING_S, heard))
        for vif_id in bridge.vif_ids:
            if not self._host.vif(vif_id).is_noted:
                self._schedule.ask(Task('', vif_id), now)

    def _take(self, learner: Learner, bindings: Bindings) -> None:
        """Take in a VIF's new bindings: write them down, and have its flows changed."""
        before, learner.bindings = learner.bindings, bindings
        if before.leases == bindings.leases:
            return
        learner.at = max(int(time() * 1000), learner.at + 1)
        self._write(learner)
        come, gone = bindings.leases.keys() - before.leases.keys(), (
            before.leases.keys() - bindings.leases.keys())
        for address in sorted(come) if come and learner.may_say() else ():
            lease = bindings.leases[address]
            self._log.info('leased', vif=learner.vif.id.vif, vm=learner.vif.vm_uuid,
                           address=format_prefix(address), server=lease.server,
                           seconds=lease.until - int(time()))
        if gone and learner.may_say():
            self._log.info('lease ended', vif=learner.vif.id.vif, vm=learner.vif.vm_uuid,
                           address=','.join(map(format_prefix, sorted(gone))))
        if not come and not gone:
            return
        self._changed.append(learner)

    def _ask_for_tasks(self) -> None:
        """Have the flows changed of VIFs that have got an address, or lost one.

        Many at once are their bridge's task: it takes less time than one for each.
        """
        changed, self._changed = self._changed, []
        now = monotonic()
        for bridge in {learner.bridge for learner in changed}:
            found = [learner for learner in changed if learner.bridge == bridge]
            if len(found) >= MANY:
                self._schedule.ask(Task(bridge), now + COLLECT_S)
                continue
            for learner in found:
                task = Task('', learner.vif.id)
                if now - learner.changed_at >= QUIET_S:
                    self._schedule.ask_first(task)
                else:
                    self._schedule.ask(task, now)
        for learner in changed:
            learner.changed_at = now

    def _say_refused(self, learner: Learner, address: Prefix, server: str, reason: str) -> None:
        if learner.refused.get(address) == reason:
            return
        if len(learner.refused) >= REFUSALS_MAX:
            learner.refused.clear()
        learner.refused[address] = reason
        if learner.may_say():
            self._log.warning('lease refused', vif=learner.vif.id.vif, vm=learner.vif.vm_uuid,
                              address=format_prefix(address), server=server, reason=reason)

    def _say_silenced(self, learner: Optional[Learner], seconds: int) -> None:
        if learner and learner.may_say():
            self._log.warning('silenced', vif=learner.vif.id.vif, vm=learner.vif.vm_uuid,
                              seconds=seconds, reason='it asks DHCP servers more than its share: '
                              'what it is leased meanwhile is not learned')

    # --- files -------------------------------------------------------------------------------

    def look(self) -> None:
        """End what has ended, and have the files as they should be."""
        if self._holds is None:
            self._try_to_hold()
        if self._holds is None:
            return
        now = monotonic()
        there = {known.id for known in self._host.vifs.values()}
        for vif_id in self._learners.keys() - there:
            self._forget(vif_id)
        for learner in list(self._learners.values()):
            self._take(learner, expire(learner.bindings, time()))
        self._ask_for_tasks()
        stamp = stamp_folder()
        if stamp == self._stamp and now < self._next_check:
            return
        self._next_check = now + CHECK_S
        for learner in self._learners.values():
            if learner.at:
                self._write(learner)
        self._remove_old({learner.owner for learner in self._learners.values()})
        self._stamp = stamp_folder()

    def has_kept(self) -> bool:
        """Tell whether any VIF has leases to be carried in XAPI."""
        return self._stamp is not None

    def _write(self, learner: Learner) -> None:
        try:
            write_leases(*learner.owner, learner.record())
        except HostError as error:
            self._log.error('failed', task='writing leases', vif=learner.vif.id.vif, error=error)

    def _remove_old(self, owners: Set[Owner]) -> None:
        """Remove files of VIFs that are not here any more."""
        for vm_uuid, devid, age in list(list_leases()):
            if (vm_uuid, devid) not in owners and age > GONE_S:
                try:
                    write_leases(vm_uuid, devid, None)
                except HostError as error:
                    self._log.error('failed', task='removing leases', vm=vm_uuid, error=error)
