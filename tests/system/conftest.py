"""A Dom0 as its module marks it, who stays on its network, and VMs that come and go.

Unless the mark says otherwise its hooks trust vm-data, so that tests can set policies without
seals. The neighbours are the bystander, on a host with seals also the friend and the gateway.
"""
from functools import partial
from typing import Any, Callable, Iterator, Sequence

import pytest

from sandbox.dom0 import Sandbox
from sandbox.fixtures import wanted
from sandbox.process import LabError
from sandbox.seals import seal
from sandbox.vm import Vm
from sandbox.wire import XenstoreError

from support import guarded_host
from support.guarded_host import SHORT_S, Around, leaving_nothing, settle_in
from support.host_state import CONFIG
from support.packets.fixtures import net, world  # noqa: F401
from support.resync import PAIR_CONFIG, RED


@pytest.fixture(scope='module')
def config(request: pytest.FixtureRequest) -> str:
    """The configuration that a module's tests begin with."""
    return str(wanted(request, 'config', CONFIG))


@pytest.fixture(scope='module')
def host(dom0: Sandbox, config: str) -> Sandbox:
    """The sandbox with two bridges and a configuration."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.configure(config)
    return dom0


@pytest.fixture(scope='module')
def around(host: Sandbox) -> Around:
    """The neighbours that stay for the whole module."""
    return settle_in(host)


@pytest.fixture(scope='module')
def staying(around: Around) -> Sequence[Vm]:
    """The VMs that no test ends."""
    return around.bystander, around.friend


@pytest.fixture
def start(host: Sandbox, staying: Sequence[Vm]) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, and leave nothing behind."""
    with leaving_nothing(host, *staying):
        yield partial(guarded_host.start_vm, host)


@pytest.fixture(scope='module')
def bystander(host: Sandbox) -> Vm:
    """An unmanaged VM, to see and to be seen by, where there is no other neighbour."""
    return host.start_vm('bystander', ipv4='10.9.0.99/24', ipv6='fd00:9::99/64')


@pytest.fixture
def configure(host: Sandbox, config: str) -> Iterator[Callable[[str], None]]:
    """Change the configuration for one test."""
    yield host.configure
    host.configure(config)


@pytest.fixture
def short(configure: Any) -> None:
    """A grace that a test can wait for."""
    configure(guarded_host.CONFIG % SHORT_S)


@pytest.fixture
def pair_host(dom0: Sandbox) -> Iterator[Sandbox]:
    """Two members of a group on xenbr0, a locked VM on xenbr1 and its fake bridge xapi7."""
    dom0.configure(PAIR_CONFIG)
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.add_bridge('xapi7', parent='xenbr1', vlan=7)
    for name, number, bridge in (('a', 11, 'xenbr0'), ('b', 12, 'xenbr0'), ('c', 13, 'xapi7')):
        policy = dict(RED, **{'vif/0/ipv4': '10.9.0.%d' % number})
        vm = dom0.start_vm(name, bridge, ipv4='10.9.0.%d/24' % number, plug=False, policy=policy)
        vm.set_vif(other_config={'xsisolate-seal': seal(vm.uuid, vm.vifs[0], policy)})
        vm.plug()
    yield dom0
    for vm in list(dom0.vms):
        try:
            vm.shutdown(check=False)
        except (OSError, LabError, XenstoreError):      # what a test has left half done
            vm.halt()
            dom0.forget(vm)
    for bridge in ('xapi7', 'xenbr1', 'xenbr0'):
        dom0.ovs.vsctl('--if-exists', 'del-br', bridge)
    dom0.bridges.clear()
