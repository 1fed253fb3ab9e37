"""Managers come and networkd resets bridges, with the daemon: how long is the door open?

Guests forge the manager's frames all the time. tests/system/hooks/test_in_band.py has the
same without the daemon, and shows that the frames are heard where nothing is switched off.
"""
import time
from typing import Any, Callable, Iterator, List

import pytest

from sandbox.process import wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.switch import our_flows
from support.vm_events import refresh
from support.in_band_forgery import PORT, REMOTE, Forging, connects, hidden_flows
from support.guarded_host import GUARDED, own

from sandbox.daemon import Watch

pytestmark = GUARDED

MANAGER = 'tcp:%s:%d' % (REMOTE, PORT)
OFF = 'disable-in-band="true"'


@pytest.fixture
def trio(host: Sandbox, start: Any) -> Iterator[List[Vm]]:
    """A guest of one group, which forges, one of another, and one in quarantine."""
    yield [start(13, {'groups': 'red'}), start(14, {'groups': 'blue'}),
           start(15, {'groups': 'Not a name'})]
    host.ovs.vsctl('del-manager', '--', 'del-controller', 'xenbr0')


@pytest.fixture
def forge() -> Iterator[Callable[..., Forging]]:
    """Have guests forge."""
    begun: List[Forging] = []

    def begin(*vms: Vm) -> Forging:
        begun.append(Forging(*vms))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()


def is_off(host: Sandbox) -> bool:
    """Tell whether in-band control is switched off on the bridge."""
    return OFF in host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'other_config')


def test_managers_and_resets_of_the_bridge_in_turns_open_nothing(
        host: Sandbox, watch: Watch, trio: List[Vm], forge: Any) -> None:
    forging = forge(*trio)
    for _ in range(4):
        host.ovs.vsctl('set-manager', MANAGER)
        wait_until(lambda: 'out-of-band' in host.ovs.vsctl('list', 'Manager'), 'the manager', 3)
        host.networkd.create_bridge('xenbr0')
        wait_until(lambda: is_off(host), 'the bridge', 3)
        host.ovs.vsctl('del-manager')
        host.networkd.create_bridge('xenbr0')
        wait_until(lambda: is_off(host), 'the bridge', 3)
    assert not connects(trio[0], trio[1])
    assert forging.stop() == {}
    watch.wait_for('in-band', 'bridge=xenbr0', MANAGER)


def test_a_reset_and_a_manager_at_once_open_for_a_moment(
        host: Sandbox, watch: Watch, trio: List[Vm], forge: Any) -> None:
    """Only vswitch-disable-in-band in the network's record prevents that."""
    forging, took, heard = forge(*trio), [], []
    for _ in range(10):
        host.ovs.vsctl('remove', 'Bridge', 'xenbr0', 'other_config', 'disable-in-band', '--',
                       'set-manager', MANAGER)
        wait_until(lambda: is_off(host) and not hidden_flows(host), 'the door', 3)
        time.sleep(0.3)
        heard.append(sum(forging.look().values()))
        took.append(forging.seconds)
        host.ovs.vsctl('del-manager')
        time.sleep(0.1)
    print('\nopen for %s s; %s forged frames heard' % (
        ' '.join('%.3f' % seconds for seconds in took), ' '.join(map(str, heard))))
    assert sorted(took)[5] < 0.5
    time.sleep(0.5)
    forging.look()
    time.sleep(0.5)
    assert forging.stop() == {}


def test_a_controller_with_networkds_resets_opens_nothing(
        host: Sandbox, watch: Watch, trio: List[Vm], forge: Any) -> None:
    host.ovs.vsctl('set-controller', 'xenbr0', MANAGER)
    wait_until(lambda: 'out-of-band' in host.ovs.vsctl('list', 'Controller'), 'the mode', 3)
    refresh(trio[0])
    forging = forge(*trio)
    for _ in range(3):
        host.networkd.create_bridge('xenbr0')
        time.sleep(0.3)
        assert is_off(host)
    assert not connects(trio[0], trio[1]) and not hidden_flows(host)
    assert forging.stop() == {}


def test_what_the_daemon_set_is_gone_with_the_last_managed_vif(
        host: Sandbox, watch: Watch, start: Any) -> None:
    host.ovs.vsctl('set-manager', MANAGER)
    vm = start(13, {'groups': 'red'}, bridge='xenbr1')
    assert OFF in host.ovs.vsctl('get', 'Bridge', 'xenbr1', 'other_config')
    vm.shutdown()
    wait_until(lambda: OFF not in host.ovs.vsctl('get', 'Bridge', 'xenbr1', 'other_config'),
               'the key', 5)
    assert 'out-of-band' in host.ovs.vsctl('list', 'Manager'), 'the other bridge has managed VIFs'
    host.ovs.vsctl('del-manager')


def test_the_first_managed_vif_of_a_bridge_need_not_be_plugged_for_it(
        host: Sandbox, watch: Watch, start: Any) -> None:
    """A VIF that was unlocked gets a policy while it runs: no hook, the daemon alone."""
    host.ovs.set_bridge('xenbr1', 'fail_mode=secure')
    host.ovs.vsctl('set-controller', 'xenbr1', MANAGER)
    vm = start(13, bridge='xenbr1')
    wait_until(lambda: hidden_flows(host, 'xenbr1'), 'in-band control', 3)
    vm.set_policy(own(13, {'groups': 'red'}))
    wait_until(lambda: our_flows(host, 'xenbr1'), 'the flows', 5)
    assert not hidden_flows(host, 'xenbr1')
    assert OFF in host.ovs.vsctl('get', 'Bridge', 'xenbr1', 'other_config')
    host.ovs.vsctl('del-controller', 'xenbr1')
    host.ovs.set_bridge('xenbr1', 'fail_mode=standalone')
    wait_until(lambda: our_flows(host, 'xenbr1'), 'the flows', 5)
