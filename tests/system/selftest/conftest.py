"""A host with two VMs, on which self-tests run."""
from typing import Tuple

import pytest
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

CONFIG = 'version: 1\nunsealed: accept\n'


@pytest.fixture(scope='module')
def vms(dom0: Sandbox) -> Tuple[Vm, Vm]:
    """Two members of a group, on a bridge of the host's."""
    dom0.add_bridge('xenbr0')
    dom0.configure(CONFIG)
    red, rose = (dom0.start_vm(name, ipv4='10.9.0.%d/24' % number, policy={
        'groups': 'red', 'vif/0/ipv4': '10.9.0.%d' % number})
        for name, number in (('red', 11), ('rose', 12)))
    return red, rose
