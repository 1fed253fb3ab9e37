"""Packets that a running VM loses while a hook refreshes its VIF."""
from typing import Callable, Dict, List, Optional, Sequence

from bench.measure import call
from bench.stock import StockHooks, is_locked
from bench.table import Row
from sandbox.pinging import pinging
from sandbox.process import LabError
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

RATE = 100              # pings a second
AFTER_S = 0.7           # until the last ones had time


def measure_loss(dom0: Sandbox, bridge: str, stock: Optional[StockHooks], stock_bridge: str,
                 rounds: int) -> Row:
    """Count the pings without an answer while a VIF is refreshed, ours and theirs in turns.

    Ours gets another policy each time, so that the refresh has something to do.
    """
    ours = [dom0.start_vm('refreshed%d' % host, bridge, ipv4='10.9.0.%d/8' % host,
                          policy=_policy(host)) for host in (11, 12)]
    theirs = [_stock_vm(dom0, stock, host, stock_bridge) for host in (13, 14)] if stock else []
    lost: List[int] = []
    lost_stock: List[int] = []
    for pair in filter(None, (ours, theirs)):
        _introduce(pair)
    for number in range(rounds):
        ours[0].set_policy(_policy(11, *['blue'] * (number % 2)))
        lost.append(_lost(ours, lambda: call(dom0.hooks, dom0.hooks.locking_changed(
            ours[0].domain, ours[0].vifs[0])[0])))
        if stock:
            lost_stock.append(_lost(theirs, lambda: _refresh(dom0, stock, theirs[0])))
    for vm in ours + theirs:
        vm.shutdown(check=False)
    return Row('lost in one refresh, of %d a second' % RATE, 'packets', lost, lost_stock)


def _policy(host: int, *more: str) -> Dict[str, str]:
    return {'groups': ' '.join(('red',) + more), 'vif/0/ipv4': '10.9.0.%d' % host}


def _stock_vm(dom0: Sandbox, stock: StockHooks, host: int, bridge: str) -> Vm:
    """Start a VM that XAPI locks, plugged by the stock scripts."""
    address = '10.9.0.%d' % host
    vm = dom0.start_vm('stock%d' % host, bridge, ipv4=address + '/8', plug=False,
                       locking_mode='locked', ipv4_allowed=(address,),
                       private={'setup-vif-rules': stock.path('setup-vif-rules')})
    vm.cable(0)
    call(stock, stock.udev_vif('online', vm.domid, 0))
    return vm


def _introduce(pair: Sequence[Vm]) -> None:
    """Tell both machines each other's MAC for good: what is lost, is lost on its way."""
    for one, other in (pair, pair[::-1]):
        one.ip('neigh replace %s lladdr %s dev eth0 nud permanent' % (other.address(), other.mac))
    if not pair[0].ping(pair[1].address(), 3):
        raise LabError('%r does not reach %r' % tuple(pair))


def _lost(pair: Sequence[Vm], refresh: Callable[[], float]) -> int:
    """Return how many pings get no answer while something happens."""
    with pinging(pair[0], pair[1].address(), RATE, AFTER_S) as pings:
        refresh()
    return len(pings.lost)


def _refresh(dom0: Sandbox, stock: StockHooks, vm: Vm) -> float:
    took = call(stock, stock.locking_changed(vm.domain, vm.vifs[0])[0])
    if not is_locked(dom0.ovs, vm.vifs[0].bridge, vm.netdev(), 1, 0):
        raise LabError('the stock setup-vif-rules has not locked ' + vm.netdev())
    return took
