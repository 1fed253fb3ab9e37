"""What happens on a bridge while a plug waits for verdicts, without the bridge's lock.

A flood at the same time is in tests/resilience/test_neighbours.py.
"""
from typing import Iterator

import pytest

from bench.crowd import Crowd, Resident, isolated, plug_call, unplug_call
from sandbox.hooks import Call
from sandbox.injection import stopped_at
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.vm_events import end
from support.host_state import is_up
from support.switch import our_flows
from support.packets.built_network import OURS
from support.resync import sync

pytestmark = pytest.mark.any_python
THE_WAIT = 'unixctl.py'            # a call with which a plug begins to wait


@pytest.fixture(scope='module')
def served() -> bool:
    """Hooks are held here in their own process."""
    return False


@pytest.fixture
def managed(host: Sandbox) -> Iterator[Resident]:
    """The only managed VIF on its bridge."""
    crowd = Crowd(host, 'xenbr0')
    one, = crowd.add([isolated(1)])
    assert host.hooks.run(plug_call(host.hooks, one))[0].code == 0
    yield one
    host.hooks.run(unplug_call(host.hooks, one))
    crowd.remove([one])


def begun(host: Sandbox, mode: str) -> Vm:
    """Start a VM that no hook has seen yet."""
    policy = {'mode': mode, 'vif/0/ipv4': '10.9.0.77'}
    vm = host.start_vm('comes', ipv4='10.9.0.77/24', plug=False,
                       policy=None if mode == 'unlocked' else policy)
    vm.cable(0)
    return vm


def online(host: Sandbox, vm: Vm) -> Call:
    """Return its plug."""
    return host.hooks.udev_vif('online', vm.domid, 0)


@pytest.mark.parametrize('mode', ['isolated', 'locked'])
def test_the_switch_loses_its_flows(host: Sandbox, managed: Resident, mode: str) -> None:
    """They are all there again before the link comes up."""
    vm = begun(host, mode)
    with stopped_at(host.hooks, online(host, vm), THE_WAIT) as running:
        host.ovs.del_flows('xenbr0', OURS, '-O', 'OpenFlow14')
        assert not our_flows(host) and not is_up(vm.netdev())
    done, = host.hooks.wait(running)
    assert done.code == 0, done
    assert is_up(vm.netdev())
    sync('--dry-run')
    vm.plugged = [0]
    end(vm)


def test_the_last_managed_vif_goes(host: Sandbox, managed: Resident) -> None:
    """What an unmanaged VIF's plug writes once more, to wake the switch, does not come back."""
    vm = begun(host, 'unlocked')
    with stopped_at(host.hooks, online(host, vm), THE_WAIT) as running:
        assert host.hooks.run(unplug_call(host.hooks, managed))[0].code == 0
        assert not our_flows(host)
    done, = host.hooks.wait(running)
    assert done.code == 0 and is_up(vm.netdev()), done
    assert not our_flows(host)
    vm.plugged = [0]
    end(vm)
