"""Shut what stands without its flows, before anybody asks why.

The switch itself says where it has flows of which VIF: their headers. A bridge that loses them all
(ovs-vswitchd crashed, a fail mode was set back) is shut, and so is a VIF's port that comes up on
another bridge than the one with its flows. That takes milliseconds, and to program a bridge a
second where it has hundreds of VIFs. The task that programs it opens it again.
"""
from time import monotonic
from typing import AbstractSet, Dict, Set

from xsisolate.dataplane.reconcile import close_ports, shut_bridge
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.flow_monitor import News
from xsisolate.dom0.ovs.flow_table import forget_addresses, set_no_flood
from xsisolate.dom0.ovs.idl import BridgeState
from xsisolate.errors import HostError
from xsisolate.openflow.ownership import HEADER
from xsisolate.planner.cookie import BASE, Kind, parse_key, port_key
from xsisolate.planner.vif import Vif

WITNESS = BASE.cookie | HEADER
NUMBER = 0xffffffff         # a key's part of a cookie
SHUT_S = 10                 # so long a bridge without flows is shut at most, and again
SHUT_TRIES_S = 30.0         # ... while it cannot be programmed, for so long


class Guard:
    """Where flows of ours are, and which bridges have lost theirs."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.managed: Set[str] = set()          # bridges that must not stand without flows
        self._lost: Dict[str, float] = {}       # those that do, and since when
        self._homes: Dict[int, str] = {}        # by netdev, as a key's number: where its flows are

    def take(self, bridge: str, news: News) -> bool:
        """Take in which headers came and went; True if the bridge has lost all its flows.

        A hook that takes the last VIF's flows away does the same, and holds the bridge's lock.
        """
        for cookie in news.come:
            if cookie == WITNESS:
                self.managed.add(bridge)
            elif _is_port(cookie):
                self._homes[cookie & ~HEADER & NUMBER] = bridge
        if WITNESS not in news.gone or bridge not in self._homes.values():
            return False
        try:
            with bridge_lock(bridge, 0):
                return self.lose(bridge)
        except HostError:
            return False

    def lose(self, bridge: str) -> bool:
        """Shut a bridge that may have lost its flows; True if it has."""
        self._lost[bridge] = monotonic()
        return self.shut(bridge)

    def shut(self, bridge: str) -> bool:
        """Let nothing pass on a bridge that has lost its flows, until it is programmed.

        It goes by itself, and is not tried for long: not to be reached is no state for a host.
        """
        if monotonic() - self._lost.get(bridge, 0) > SHUT_TRIES_S:
            self._lost.pop(bridge, None)
        if bridge not in self._lost or bridge not in self.managed:
            return False
        try:
            if read_registry(bridge):
                return False
            shut_bridge(bridge, SHUT_S)
        except HostError:
            return False        # it is gone, or speaks other versions: the task will say so
        return True

    def programmed(self, bridge: str) -> None:
        """Note that a bridge carries what it needs."""
        self._lost.pop(bridge, None)

    def close_strays(self, bridge: str, state: BridgeState) -> bool:
        """Close the ports of VIFs whose flows are on another bridge; True if there are any.

        A hook that moves a VIF does so itself, and holds the bridge's lock meanwhile.
        """
        strays = {name: links[0][1][0] for name, (links, _) in state.vifs.items()
                  if self._homes.get(port_key(name).number, bridge) != bridge
                  and links and links[0][1] and links[0][1][0] > 0}
        if not strays:
            return False
        try:
            with bridge_lock(bridge, 0):
                close_ports(bridge, strays)
                set_no_flood(bridge, strays.values(), True)
                forget_addresses(bridge, False)
        except HostError:
            return False        # a hook is at work; or a port has gone again
        for name in strays:
            self._homes[port_key(name).number] = bridge
        self._log.warning('moved', bridge=bridge, vifs=','.join(sorted(strays)),
                          reason='no hook has brought their flows along: closed until they have '
                          'them here')
        return True

    def release(self, vif: Vif) -> None:
        """Note that a VIF needs no flows."""
        for port in vif.ports:
            self._homes.pop(port_key(port.name).number, None)

    def forget_all_but(self, netdevs: AbstractSet[str]) -> None:
        """Forget VIFs that are gone."""
        there = {port_key(name).number for name in netdevs}
        for number in self._homes.keys() - there:
            del self._homes[number]


def _is_port(cookie: int) -> bool:
    """Tell whether a header is about a VIF's netdev."""
    try:
        return parse_key(cookie & NUMBER).kind is Kind.PORT
    except ValueError:
        return False
