"""A Dom0 whose hooks trust vm-data, so that tests can set policies without seals.

A test module that is about seals defines fixtures `sealer` and `config` of its own.
"""
from typing import Iterator

import pytest

from sandbox.process import LabError
from sandbox.dom0 import Sandbox
from sandbox.seals import seal
from sandbox.wire import XenstoreError

from support.host_state import CONFIG
from support.resync import PAIR_CONFIG, RED


@pytest.fixture(scope='module')
def config() -> str:
    """The configuration that a module's tests begin with."""
    return CONFIG


@pytest.fixture(scope='module')
def host(dom0: Sandbox, config: str) -> Sandbox:
    """The sandbox with two bridges and a configuration."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.configure(config)
    return dom0


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
