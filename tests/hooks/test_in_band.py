"""Managers and controllers come and go: no frame in their names passes, and Dom0 reaches them.

No daemon runs here: see tests/watch/test_in_band.py.
"""
import time
from typing import Any, Callable, Iterator, List, Sequence

import pytest

from lab.networkd import DISABLE_IN_BAND, Network
from lab.sandbox import Sandbox
from lab.vm import Vm

from evidence import end, our_flows, refresh
from forging import PORT, REMOTE, REMOTE6, Forging, connects, hidden_flows
from syncing import sync

LAN = Network('lan-uuid')
MANAGER, CONTROLLER = 'tcp:%s:%d' % (REMOTE, PORT), 'ssl:%s:%d' % (REMOTE, PORT)
OPENERS = {
    'manager over TCP': ['set-manager', MANAGER],
    'manager over TLS': ['set-manager', CONTROLLER],
    'controller over TCP': ['set-controller', 'xenbr0', MANAGER],
    'controller over TLS': ['set-controller', 'xenbr0', CONTROLLER],
    'several at once': ['set-manager', 'ptcp:6640:127.0.0.1', 'tcp:10.9.0.201', CONTROLLER, '--',
                        'set-controller', 'xenbr0', MANAGER, 'tcp:10.9.0.202:1'],
}


@pytest.fixture
def start(host: Sandbox) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, as are all remotes and what was set for them."""
    def start_vm(number: int, policy: Any = None, **more: Any) -> Vm:
        if policy:
            policy = dict({'vif/0/ipv4': '10.9.0.%d' % number,
                           'vif/0/ipv6': 'fd00:9::%d' % number}, **policy)
        return host.start_vm('vm%d' % number, ipv4='10.9.0.%d/24' % number,
                             ipv6='fd00:9::%d/64' % number, policy=policy, **more)

    yield start_vm
    for vm in list(host.vms):
        end(vm)
    forget_remotes(host)
    sync()
    assert not our_flows(host) and not hidden_flows(host)
    for bridge in ('xenbr0', 'xenbr1'):
        assert 'band' not in host.ovs.vsctl('get', 'Bridge', bridge, 'external_ids')
        assert 'band' not in host.ovs.vsctl('get', 'Bridge', bridge, 'other_config')


@pytest.fixture
def trio(start: Any) -> List[Vm]:
    """A guest of one group, which forges, one of another, and one in quarantine."""
    one, two = start(11, {'groups': 'red'}), start(12, {'groups': 'blue'})
    two.serve()
    return [one, two, start(13, {'groups': 'Not a name'})]


def forget_remotes(host: Sandbox) -> None:
    """Take all managers and controllers away."""
    host.ovs.vsctl('del-manager', '--', 'del-controller', 'xenbr0', '--',
                   'del-controller', 'xenbr1')


def set_remotes(host: Sandbox, words: Sequence[str], trio: Sequence[Vm]) -> None:
    """Run ovs-vsctl; a first controller takes all flows away, until the next hook."""
    host.ovs.vsctl(*words)
    if 'set-controller' in words:
        refresh(trio[0])


def let_it_be(host: Sandbox) -> None:
    """Undo by hand what keeps in-band control off."""
    host.ovs.vsctl('remove', 'Bridge', 'xenbr0', 'other_config', 'disable-in-band')
    for table in ('Manager', 'Controller'):
        for row in host.ovs.vsctl('--bare', '--columns=_uuid', 'list', table).split():
            host.ovs.vsctl('clear', table, row, 'connection_mode')


@pytest.mark.parametrize('opener', OPENERS)
def test_in_band_control_would_let_every_vif_be_reached(host: Sandbox, trio: List[Vm],
                                                        opener: str) -> None:
    """The ears work: this is what the other tests do not hear."""
    set_remotes(host, OPENERS[opener], trio)
    let_it_be(host)
    forging = Forging(*trio)
    time.sleep(0.5)
    assert set(forging.stop()) == {'from it', 'to it', 'request', 'reply'}
    assert connects(trio[0], trio[1])


@pytest.mark.parametrize('opener', OPENERS)
def test_a_remote_that_comes_while_vms_run_opens_nothing(host: Sandbox, trio: List[Vm],
                                                         opener: str) -> None:
    forging = Forging(*trio)
    set_remotes(host, OPENERS[opener], trio)
    time.sleep(0.7)
    assert not connects(trio[0], trio[1])
    forget_remotes(host)
    refresh(trio[0])
    time.sleep(0.3)
    assert forging.stop() == {}
