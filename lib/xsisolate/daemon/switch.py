"""What ovs-vswitchd reports, bridge by bridge, and that it has ended or is back."""
from typing import Any, Dict, Optional

import ovs.poller

from xsisolate.daemon.guard import Guard
from xsisolate.daemon.known import KnownBridge, KnownHost
from xsisolate.daemon.schedule import Schedule, Task
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.flow_monitor import FlowMonitor, News
from xsisolate.vif_id import VIF_NETDEV, parse_netdev

SETTLE_S = 0.1              # after a change: a hook that made it is still at work
RECONNECT_S = 0.02          # to a bridge whose ovs-vswitchd is being started
RECONNECT_LATER_S = 1.0     # to one that is away for longer
PATIENCE_S = 15.0


class Switch:
    """A connection to each bridge."""

    def __init__(self, host: KnownHost, guard: Guard, schedule: Schedule, log: Log) -> None:
        self._host = host
        self._guard = guard
        self._schedule = schedule
        self._log = log
        self._monitors: Dict[str, FlowMonitor] = {}

    def follow_bridges(self, now: float) -> None:
        """Follow the bridges that there are now, and no others."""
        for name in self._monitors.keys() - self._host.bridges.keys():
            self._monitors.pop(name).close()
        for name in self._host.bridges.keys() - self._monitors.keys():
            self._monitors[name] = FlowMonitor(name)
            self._host.bridges[name].away_since = now

    def listen(self, now: float) -> None:
        """Take in what bridges have said, and reconnect to bridges that hung up."""
        for name, monitor in self._monitors.items():
            bridge = self._host.bridges[name]
            if monitor.fileno() >= 0:
                self._take(bridge, monitor.read(), now)
            elif monitor.connect():
                self._take_back(bridge, now)

    def _take(self, bridge: KnownBridge, news: News, now: float) -> None:
        if self._guard.take(bridge, news):
            self._schedule.ask_at_once(Task(bridge.name), now)
        if news.flows or not news.alive:
            self._host.distrust()
        if news.flows:
            self._schedule.ask(Task(bridge.name), now + SETTLE_S)
        for port, flooded in news.ports.items():
            if VIF_NETDEV.fullmatch(port):
                known = self._host.vif(parse_netdev(port))
                if flooded or known.vm_uuid:    # a hook takes a new VIF out of floods: all is well
                    known.programmed = None
                    self._schedule.ask(Task('', known.id), now + SETTLE_S)
        if not news.alive:
            bridge.away_since = now
            self._log.warning('connection lost', bridge=bridge.name)

    def _take_back(self, bridge: KnownBridge, now: float) -> None:
        """Shut a bridge that is back without its flows, and have it compared."""
        if bridge.compared_at is not None:
            self._guard.lose(bridge)
        away, bridge.away_since = bridge.away_since, None
        if away is not None and now > away:
            self._schedule.ask_at_once(Task(bridge.name), now)
        else:
            self._schedule.ask(Task(bridge.name), now)

    def wait(self, poller: Any) -> None:
        """Have a poller wake up when bridges say something."""
        for monitor in self._monitors.values():
            if monitor.fileno() >= 0:
                poller.fd_wait(monitor.fileno(), ovs.poller.POLLIN)

    def next_try(self, now: float) -> Optional[float]:
        """Return when to try again to connect to bridges that are away."""
        away = [bridge.away_since for bridge in self._host.bridges.values()
                if bridge.away_since is not None]
        if not away:
            return None
        return now + (RECONNECT_S if now - max(away) < PATIENCE_S else RECONNECT_LATER_S)
