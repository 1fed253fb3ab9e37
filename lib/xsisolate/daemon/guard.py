"""Shut bridges and ports that have lost their flows, before anything else is read.

The switch itself says where it has flows of which VIF: their headers. A bridge that loses them all
(ovs-vswitchd crashed, a fail mode was set back) is shut, and so is a VIF's port that comes up on
another bridge than the one with its flows. That takes milliseconds, and to program a bridge a
second where it has hundreds of VIFs. The task that programs it opens it again.
"""
from time import monotonic
from typing import Dict

from xsisolate.daemon.known import KnownBridge, KnownHost
from xsisolate.dataplane.reconcile import close_ports, shut_bridge
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.flow_monitor import News
from xsisolate.dom0.ovs.flow_table import forget_addresses, set_no_flood
from xsisolate.errors import HostError
from xsisolate.openflow.ownership import HEADER
from xsisolate.planner.cookie import BASE, Kind, parse_key, port_key
from xsisolate.planner.vif import Vif

WITNESS = BASE.cookie | HEADER
NUMBER = 0xffffffff         # a key's part of a cookie
SHUT_S = 10                 # how long one shutting flow lasts at most; it is written again ...
SHUT_TRIES_S = 30.0         # ... for so long, while the bridge cannot be programmed


class Guard:
    """Where flows of ours are, and what is done about bridges that have lost theirs."""

    def __init__(self, host: KnownHost, log: Log) -> None:
        self._host = host
        self._log = log
        # By netdev, as a key's number: the bridge with its flows, which may be gone by now.
        self._homes: Dict[int, str] = {}

    def take(self, bridge: KnownBridge, news: News) -> bool:
        """Take in which headers came and went; True if the bridge has lost all its flows.

        A hook that takes the last VIF's flows away does the same, and holds the bridge's lock.
        """
        for cookie in news.come:
            if cookie == WITNESS:
                bridge.managed = True
            elif _is_port(cookie):
                self._homes[cookie & ~HEADER & NUMBER] = bridge.name
        if WITNESS not in news.gone or bridge.name not in self._homes.values():
            return False
        try:
            with bridge_lock(bridge.name, 0):
                return self.lose(bridge)
        except HostError:
            return False

    def lose(self, bridge: KnownBridge) -> bool:
        """Shut a bridge that may have lost its flows; True if it has."""
        bridge.lost_at = monotonic()
        return self.shut(bridge)

    def shut(self, bridge: KnownBridge) -> bool:
        """Let nothing pass on a bridge that has lost its flows, until it is programmed.

        The shutting flow expires by itself and is not renewed for long, so that Dom0 stays
        reachable.
        """
        if bridge.lost_at is None or not bridge.managed:
            return False
        if monotonic() - bridge.lost_at > SHUT_TRIES_S:
            bridge.lost_at = None
            return False
        try:
            if read_registry(bridge.name):
                return False
            shut_bridge(bridge.name, SHUT_S)
        except HostError:
            return False        # it is gone, or speaks other versions: the task will say so
        return True

    def close_strays(self, bridge: KnownBridge) -> bool:
        """Close the ports of VIFs whose flows are on another bridge; True if there are any.

        A hook that moves a VIF does so itself, and holds the bridge's lock meanwhile.
        """
        strays = {name: links[0][1][0] for name, (links, _) in bridge.state.vifs.items()
                  if self._homes.get(port_key(name).number, bridge.name) != bridge.name
                  and links and links[0][1] and links[0][1][0] > 0}
        if not strays:
            return False
        try:
            with bridge_lock(bridge.name, 0):
                close_ports(bridge.name, strays)
                set_no_flood(bridge.name, strays.values(), True)
                forget_addresses(bridge.name, False)
        except HostError:
            return False        # a hook is at work; or a port has gone again
        for name in strays:
            self._homes[port_key(name).number] = bridge.name
        self._log.warning('moved', bridge=bridge.name, vifs=','.join(sorted(strays)),
                          reason='no hook has programmed their flows on this bridge: the daemon '
                          'closes them until it has programmed them')
        return True

    def release(self, vif: Vif) -> None:
        """Note that a VIF needs no flows."""
        for port in vif.ports:
            self._homes.pop(port_key(port.name).number, None)

    def forget_gone(self) -> None:
        """Forget VIFs that have no port any more."""
        there = {port_key(name).number for bridge in self._host.bridges.values()
                 for name in bridge.state.vifs}
        for number in self._homes.keys() - there:
            del self._homes[number]


def _is_port(cookie: int) -> bool:
    """Tell whether a header is about a VIF's netdev."""
    try:
        return parse_key(cookie & NUMBER).kind is Kind.PORT
    except ValueError:
        return False
