"""The loop: take in events, schedule tasks, work on those that are due."""
import signal
import sys
from time import monotonic
from typing import Any, Dict, List, Optional, Union

import ovs.poller

from xsisolate.daemon.files import Files, metadata_file, shared_files
from xsisolate.daemon.guard import Guard
from xsisolate.daemon.pool_child import PoolChild
from xsisolate.daemon.schedule import Schedule, Task
from xsisolate.daemon.work import Work
from xsisolate.dom0.linux.systemd import notify, watchdog_interval
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.flow_monitor import FlowMonitor
from xsisolate.dom0.ovs.idl import BridgeState, Database
from xsisolate.dom0.xen.xenstore_watch import XenstoreWatches
from xsisolate.vif_id import VIF_NETDEV, VifId, parse_netdev

RECONNECT_S = 0.02          # to a bridge whose ovs-vswitchd is being started
RECONNECT_LATER_S = 1.0     # to one that is away for longer
PATIENCE_S = 15.0
SWITCH_S = 0.001            # how long the thread that listens to xenstore waits for its turn
STORE_S = 0.05              # so long xenstore's events are collected: guests write without end
FILES_S = 1.0               # how often files are looked at
CHECK_S = 300.0             # how often every bridge is compared although nothing was heard
SETTLE_S = 0.1              # after a change: a hook that made it is still at work


class Loop:
    """The daemon's state: what it listens to, and what it has to do."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._schedule = Schedule()
        self._guard = Guard(log)
        self._work = Work(log, self._guard)
        self._database = Database()
        self._store = XenstoreWatches()
        self._files = Files()
        self._pool = PoolChild(log)
        self._bridges: Dict[str, BridgeState] = {}
        self._monitors: Dict[str, FlowMonitor] = {}
        self._lost: Dict[str, float] = {}       # bridges without connection, and since when
        self._next_files = 0.0
        self._next_store = 0.0
        self._next_beat = 0.0
        self._waiting = False
        self._stopped = False
        self._hung_up = False

    def run(self) -> None:
        """Work until SIGTERM; SIGHUP has everything compared."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        sys.setswitchinterval(SWITCH_S)
        self._log.info('watching')
        ready = False
        while not self._stopped:
            self._listen(monotonic())
            task = self._schedule.take(monotonic())
            if task:
                self._do(task)
            if not ready and self._bridges_known():
                ready = notify('READY=1') or True
            self._beat()
            self._wait()
        notify('STOPPING=1')
        self._pool.stop()
        self._log.info('stopped')

    def _stop(self, *_: Any) -> None:
        self._stopped = True

    def _hang_up(self, *_: Any) -> None:
        self._hung_up = True        # no more: the loop is in the middle of something

    def _compare_all(self) -> None:
        for name in self._bridges:
            self._schedule.ask(Task(name), monotonic())

    def _bridges_known(self) -> bool:
        return self._database.is_complete and self._bridges.keys() <= self._work.compared.keys()

    # --- what happens ----------------------------------------------------------------------

    def _listen(self, now: float) -> None:
        """Take in all events."""
        if self._hung_up:
            self._hung_up = False
            self._compare_all()
        if self._database.run():
            self._follow_database(now)
        elif self._database.trouble and not self._waiting:
            self._waiting = True
            self._log.warning('waiting', reason=self._database.trouble)
        self._follow_switch(now)
        if self._store.fileno() < 0 and self._store.connect():
            self._ask_vifs(now)
        if now >= self._next_store:
            for token in self._store.read():
                self._next_store = now + STORE_S
                self._ask_domain(int(token), self._next_store)
        if now >= self._next_files:
            self._next_files = now + FILES_S
            self._follow_files(now)
            self._pool.keep()

    def _follow_database(self, now: float) -> None:
        found = self._database.bridges()
        for name, state in found.items():
            known = self._bridges.get(name)
            if self._guard.close_strays(name, state) or known and known.remotes != state.remotes:
                self._ask_at_once(name, now)
            elif known is None or known.shape != state.shape:
                self._schedule.ask(Task(name), now)
            elif known.vifs.keys() - state.vifs.keys() or any(
                    known.vifs[vif] != ports for vif, ports in state.vifs.items()
                    if vif in known.vifs):
                self._schedule.ask(Task(name), now + SETTLE_S)
        for name in self._bridges.keys() - found.keys():
            self._schedule.forget(Task(name))
            self._monitors.pop(name).close()
            self._lost.pop(name, None)
        for name in found.keys() - self._monitors.keys():
            self._monitors[name] = FlowMonitor(name)
            self._lost[name] = now
        self._bridges = found
        self._store.watch_only({str(domid): '/local/domain/%d/vm-data' % domid
                                for domid, _ in self._vifs()})
        self._work.forget_all_but(set(self._vifs()))
        self._guard.forget_all_but({vif for state in found.values() for vif in state.vifs})

    def _follow_switch(self, now: float) -> None:
        for name, monitor in self._monitors.items():
            if monitor.fileno() >= 0:
                alive, flows, ports, *_ = news = monitor.read()
                if self._guard.take(name, news):
                    self._ask_at_once(name, now)
                if flows:
                    self._work.programmed.clear()
                    self._schedule.ask(Task(name), now + SETTLE_S)
                for port, flooded in ports.items():
                    # a hook takes a new VIF out of floods: nothing that we need to look at
                    if VIF_NETDEV.fullmatch(port) and (
                            flooded or parse_netdev(port) in self._work.uuids):
                        self._work.programmed.pop(parse_netdev(port), None)
                        self._ask_vif(parse_netdev(port), now + SETTLE_S)
                if not alive:
                    self._lost[name] = now
                    self._work.programmed.clear()
                    self._log.warning('connection lost', bridge=name)
            elif monitor.connect():
                if name in self._work.compared:
                    self._guard.lose(name)
                if now - self._lost.pop(name, now) > 0:
                    self._ask_at_once(name, now)
                else:
                    self._schedule.ask(Task(name), now)

    def _ask_at_once(self, name: str, now: float) -> None:
        """Have a bridge compared without waiting, however often it was."""
        self._schedule.forget(Task(name))
        self._schedule.ask(Task(name), now)

    def _follow_files(self, now: float) -> None:
        shared = shared_files()
        metadata = {metadata_file(uuid, vif.devid): vif for vif, uuid in self._work.uuids.items()}
        changed = self._files.changed(shared | metadata.keys())
        if changed & shared:
            self._compare_all()
        for path in changed & metadata.keys():
            self._ask_vif(metadata[path], now)
        for name in self._bridges:
            self._schedule.ask(Task(name), self._work.compared.get(name, now) + CHECK_S)

    def _vifs(self) -> List[VifId]:
        return sorted({parse_netdev(name) for state in self._bridges.values()
                       for name in state.vifs})

    def _ask_domain(self, domid: int, now: float) -> None:
        for vif in self._vifs():
            if vif.domid == domid:
                self._ask_vif(vif, now)

    def _ask_vifs(self, now: float) -> None:
        for vif in self._vifs():
            self._ask_vif(vif, now)

    def _ask_vif(self, vif: VifId, now: float) -> None:
        self._schedule.ask(Task('', vif), now)

    # --- what is done ----------------------------------------------------------------------

    def _do(self, task: Task) -> None:
        """Work on a task; one that failed, or is not finished, comes again."""
        began = monotonic()
        again = self._work.do(task)
        now = monotonic()
        self._schedule.end(task, now, self._work.changed, now - began)
        if again is not None:
            self._schedule.ask_at(task, now + again)
        while self._work.wakes:
            self._schedule.ask_at(*self._work.wakes.popitem())

    def _beat(self) -> None:
        interval, now = watchdog_interval(), monotonic()
        if interval and now >= self._next_beat:
            self._next_beat = now + interval / 3
            notify('WATCHDOG=1')

    def _wait(self) -> None:
        """Sleep until something happens or is due."""
        poller, now = ovs.poller.Poller(), monotonic()
        self._database.wait(poller)
        listeners: List[Union[XenstoreWatches, FlowMonitor]] = [*self._monitors.values()]
        if now >= self._next_store:
            listeners.append(self._store)
        for listener in listeners:
            if listener.fileno() >= 0:
                poller.fd_wait(listener.fileno(), ovs.poller.POLLIN)
        times = [self._next_files, self._next_store if now < self._next_store else None,
                 self._schedule.next(), self._next_beat or None,
                 self._next_try(now)]
        due = min(time for time in times if time is not None)
        poller.timer_wait(max(int((due - now) * 1000) + 1, 0))
        poller.block()

    def _next_try(self, now: float) -> Optional[float]:
        """Return when to try again to connect to bridges that are away."""
        if not self._lost:
            return None
        since = max(self._lost.values())
        return now + (RECONNECT_S if now - since < PATIENCE_S else RECONNECT_LATER_S)
