"""The loop: take in events, schedule tasks, run the tasks that are due."""
import signal
import sys
from contextlib import suppress
from time import monotonic
from typing import Any, Dict, List, Optional, Tuple, Union

import ovs.poller

from xsisolate.daemon.files import Files, metadata_file
from xsisolate.daemon.guard import Guard
from xsisolate.daemon.known import KnownBridge, KnownHost
from xsisolate.daemon.lease_book import LeaseBook
from xsisolate.daemon.pool_child import CARRIER, RECORDER, PoolChild
from xsisolate.daemon.schedule import Schedule, Task
from xsisolate.daemon.switch import SETTLE_S, Switch
from xsisolate.daemon.work import Work
from xsisolate.dom0.linux.systemd import notify, watchdog_interval
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.idl import BridgeState, Database
from xsisolate.dom0.run_files.counts import write_daemon
from xsisolate.dom0.xen.xenstore_watch import XenstoreWatches
from xsisolate.errors import HostError

SWITCH_S = 0.001            # how long the thread that listens to xenstore waits for its turn
STORE_S = 0.05              # how long xenstore's events are collected: guests write without end
FILES_S = 1.0               # how often files are looked at although nothing was heard of them
COUNTS_S = 15.0             # how often what was done is written down
CHECK_S = 300.0             # ... and every bridge is compared


class Loop:
    """What the daemon listens to, and the timetable that comes of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._host = KnownHost()
        self._schedule = Schedule()
        self._guard = Guard(self._host, log)
        self._book = LeaseBook(self._host, self._schedule, log)
        self._work = Work(self._host, self._guard, self._book, log)
        self._database = Database()
        self._switch = Switch(self._host, self._guard, self._schedule, log)
        self._store = XenstoreWatches()
        self._pool = PoolChild(log)
        self._carrier = PoolChild(log, CARRIER)
        self._recorder = PoolChild(log, RECORDER)
        self._files = Files()
        self._next_files = 0.0
        self._next_store = 0.0
        self._next_beat = 0.0
        self._waiting = False
        self._counts: Dict[str, Tuple[int, float]] = {}     # tasks by kind, and their seconds
        self._next_counts = 0.0
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
            if not ready and self._is_ready():
                ready = notify('READY=1') or True
            self._beat()
            self._wait()
        notify('STOPPING=1')
        self._pool.stop()
        self._carrier.stop()
        self._recorder.stop()
        self._log.info('stopped')

    def _stop(self, *_: Any) -> None:
        self._stopped = True

    def _hang_up(self, *_: Any) -> None:
        self._hung_up = True        # no more: the loop is in the middle of something

    def _is_ready(self) -> bool:
        return self._database.is_complete and all(
            bridge.compared_at is not None for bridge in self._host.bridges.values())

    # --- what it listens to ------------------------------------------------------------------

    def _listen(self, now: float) -> None:
        """Take in all events, and put down what is to be done about them."""
        if self._hung_up:
            self._hung_up = False
            self._compare_all(now)
        if self._database.run():
            self._hear_database(now)
        elif self._database.trouble and not self._waiting:
            self._waiting = True
            self._log.warning('waiting', reason=self._database.trouble)
        self._switch.listen(now)
        self._book.listen()
        if self._store.fileno() < 0 and self._store.connect():
            self._look_at_vifs(None, now)
        if now >= self._next_store:
            for token in self._store.read():
                self._next_store = now + STORE_S
                self._look_at_vifs(int(token), self._next_store)
        if self._pool.rings() or now >= self._next_files:
            self._next_files = now + FILES_S
            self._pool.keep()
            self._recorder.keep()
            self._look_at_files(now)
            self._write_counts(now)
            self._book.look()
            if self._book.has_kept():
                self._carrier.keep()

    def _hear_database(self, now: float) -> None:
        """Take in what Open vSwitch is set to, and which VIFs it has."""
        before = {name: bridge.state for name, bridge in self._host.bridges.items()}
        self._host.take(self._database.bridges())
        for name in before.keys() - self._host.bridges.keys():
            self._schedule.forget(Task(name))
        for name, bridge in self._host.bridges.items():
            self._compare(bridge, before.get(name), now)
        self._guard.forget_gone()
        self._switch.follow_bridges(now)
        self._store.watch_only({str(vif.domid): '/local/domain/%d/vm-data' % vif.domid
                                for vif in self._host.vifs})

    def _compare(self, bridge: KnownBridge, was: Optional[BridgeState], now: float) -> None:
        """Have a bridge compared, and mended, if the database says something new of it."""
        state = bridge.state
        if self._guard.close_strays(bridge) or was and was.remotes != state.remotes:
            self._schedule.ask_at_once(Task(bridge.name), now)
        elif was is None or was.shape != state.shape:
            self._schedule.ask(Task(bridge.name), now)
        elif any(state.vifs.get(netdev) != ports for netdev, ports in was.vifs.items()):
            self._schedule.ask(Task(bridge.name), now + SETTLE_S)

    def _look_at_files(self, now: float) -> None:
        """Look at what has changed of configuration, groups and VIFs' metadata."""
        metadata = {metadata_file(vif.vm_uuid, vif.id.devid): vif.id
                    for vif in self._host.vifs.values() if vif.vm_uuid}
        changed = self._files.look(metadata.keys())
        if changed.configuration:
            self._compare_all(now)
        for name in self._host.bridges_with(changed.groups) if changed.groups else ():
            self._schedule.ask(Task(name), now)
        for path in changed.metadata:
            self._schedule.ask(Task('', metadata[path]), now)
        for name, bridge in self._host.bridges.items():
            self._schedule.ask(Task(name), (bridge.compared_at or now) + CHECK_S)

    def _compare_all(self, now: float) -> None:
        for name in self._host.bridges:
            self._schedule.ask(Task(name), now)

    def _look_at_vifs(self, domid: Optional[int], now: float) -> None:
        for vif in self._host.vifs_of(domid):
            self._schedule.ask(Task('', vif), now)

    # --- what is done ----------------------------------------------------------------------

    def _do(self, task: Task) -> None:
        """Work on a task; one that failed, or is not finished, comes again."""
        began = monotonic()
        done = self._work.do(task)
        now = monotonic()
        self._count(task, now - began)
        self._schedule.end(task, now, done.changed, now - began)
        if done.again_in is not None:
            self._schedule.ask_at(task, now + done.again_in)
        for other, at in done.wake.items():
            self._schedule.ask_at(other, at)

    def _count(self, task: Task, seconds: float) -> None:
        """Count a task, for `metrics`."""
        kind = 'bridge' if task.bridge else 'vif'
        tasks, spent = self._counts.get(kind, (0, 0.0))
        self._counts[kind] = tasks + 1, round(spent + seconds, 6)

    def _write_counts(self, now: float) -> None:
        if now >= self._next_counts:
            self._next_counts = now + COUNTS_S
            with suppress(HostError):
                write_daemon(self._counts)

    def _beat(self) -> None:
        interval, now = watchdog_interval(), monotonic()
        if interval and now >= self._next_beat:
            self._next_beat = now + interval / 3
            notify('WATCHDOG=1')

    def _wait(self) -> None:
        """Sleep until something happens or is due."""
        poller, now = ovs.poller.Poller(), monotonic()
        self._database.wait(poller)
        self._switch.wait(poller)
        listeners: List[Union[PoolChild, LeaseBook, XenstoreWatches]] = [self._pool, self._book]
        if now >= self._next_store:
            listeners.append(self._store)
        for listener in listeners:
            if listener.fileno() >= 0:
                poller.fd_wait(listener.fileno(), ovs.poller.POLLIN)
        times = [self._next_files, self._next_store if now < self._next_store else None,
                 self._schedule.next(), self._next_beat or None, self._switch.next_try(now)]
        due = min(time for time in times if time is not None)
        poller.timer_wait(max(int((due - now) * 1000) + 1, 0))
        poller.block()
