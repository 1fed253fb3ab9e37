"""xcp-networkd sets bridges back, and moves VIFs, while they run: how long is the door open?

A stranger and all managed VIFs shout at each other all the time; what of that arrives
is forbidden.
"""
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from sandbox.networkd import FAIL_MODE, Network
from sandbox.process import wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from xsisolate.dom0.run_files.pool_networks import FILE as NETWORKS
from xsisolate.dom0.run_files.pool_networks import write_networks
from xsisolate.policy.model import PoolNetwork

from support.reachability import can_talk, is_cut_off
from support.switch import external_ids, policy_flows
from support.vm_events import refresh
from support.guarded_host import CONFIG, GUARDED, RED, Around, is_fine
from support.shouting import Heard, Shouting

from sandbox.daemon import Watch
from support.guarded_host import LONG_S

pytestmark = GUARDED

WINDOW_S = 0.4          # measured: 0.02 to 0.16 s, on two cores with a load of eight
CLOSED = (CONFIG % LONG_S).replace('"*":\n', '"*":\n    fail_closed: true\n')
TAG = 120
IDS = ('xs-vm-uuid', 'xs-vif-uuid', 'xs-network-uuid', 'attached-mac')


class Window(NamedTuple):
    """What came of something that networkd did."""

    heard: Heard

    @property
    def seconds(self) -> float:
        """From the first forbidden frame to the last."""
        times = self.heard.forbidden.values()
        return max((one.last for one in times), default=0) - min(
            (one.first for one in times), default=0)


def during(shouting: Shouting, act: Callable[[], object], seconds: float = 1.0) -> Window:
    """Do something while guests shout, wait, and tell what was heard."""
    time.sleep(0.3)
    act()
    time.sleep(seconds)
    window = Window(shouting.stop())
    print('\n%d frames sent, %d forbidden ones arrived in %.3f s' % (
        window.heard.total, window.heard.number, window.seconds))
    window.heard.check_all_sent()
    return window


def network(host: Sandbox, bridge: str = 'xenbr0', **other_config: str) -> Network:
    """Return what networkd is told of a network."""
    return Network(host.network_uuid(bridge), other_config)


def plug(host: Sandbox, other_config: Dict[str, str]) -> Callable[[], None]:
    """Return what plugs the PIF once more, as each start of xapi does."""
    return lambda: host.networkd.plug_pif('xenbr0', 'eth0', network(host, **other_config))


def fail_mode(host: Sandbox) -> str:
    """Return the bridge's fail mode."""
    return host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'fail_mode').strip('"[]')


def close(host: Sandbox, configure: Any) -> None:
    """Let networks fail closed, and wait until the daemon has seen to it."""
    configure(CLOSED)
    wait_until(lambda: fail_mode(host) == 'secure', 'fail_closed', 5)


def check_peace(vm: Vm, blue: Vm, around: Around) -> None:
    """Fail unless everybody is heard where he may be, and nowhere else."""
    vm.dom0.ovs.settle()
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address(), blue.address())
    around.gateway.flush_neighbours()
    assert can_talk(around.gateway, around.bystander.address())
    assert can_talk(around.bystander, '10.9.0.254')


def test_with_the_record_a_plug_opens_nothing(host: Sandbox, around: Around, start: Any,
                                              configure: Any, watch: Watch, shout: Any,
                                              settled: Any) -> None:
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    close(host, configure)
    settled()
    before = policy_flows(host)
    for _ in range(3):
        during(shout(vm, blue, around.friend), plug(host, {FAIL_MODE: 'secure'})
               ).heard.check_none_heard()
    assert fail_mode(host) == 'secure' and policy_flows(host) == before
    settled()
    check_peace(vm, blue, around)
    host.ovs.ofctl('del-flows', 'xenbr0', 'cookie=0/-1')


def test_the_same_without_the_daemon(host: Sandbox, around: Around, start: Any, configure: Any,
                                     shout: Any, settled: Any) -> None:
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    configure(CLOSED)
    refresh(vm)
    during(shout(vm, blue, around.friend), plug(host, {FAIL_MODE: 'secure'})
           ).heard.check_none_heard()
    check_peace(vm, blue, around)
    host.ovs.ofctl('del-flows', 'xenbr0', 'cookie=0/-1')


def test_without_the_record_the_daemon_shuts_the_bridge_at_once(
        host: Sandbox, around: Around, start: Any, configure: Any, watch: Watch, shout: Any,
        settled: Any) -> None:
    """However often it happens, it does not have to wait for its turn."""
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    close(host, configure)
    settled()
    windows: List[Window] = []
    for _ in range(5):
        windows.append(during(shout(vm, blue, around.friend), plug(host, {})))
        wait_until(lambda: fail_mode(host) == 'secure', 'fail_closed', 5)
    assert sorted(window.seconds for window in windows)[2] < WINDOW_S
    settled()
    check_peace(vm, blue, around)


def test_without_record_and_daemon_the_bridge_is_open_until_a_hook_comes(
        host: Sandbox, around: Around, start: Any, configure: Any, shout: Any) -> None:
    """The ears work."""
    vm = start(13, RED)
    configure(CLOSED)
    refresh(vm)
    during(shout(vm), plug(host, {})).heard.check_all_heard()
    refresh(vm)
    assert fail_mode(host) == 'secure' and is_cut_off(vm, around.bystander.address())


def test_without_fail_closed_a_plug_opens_nothing(host: Sandbox, around: Around, start: Any,
                                                  watch: Watch, shout: Any) -> None:
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    during(shout(vm, blue, around.friend), plug(host, {})).heard.check_none_heard()


def test_a_controller_that_comes_and_goes_opens_no_more_than_a_plug(
        host: Sandbox, around: Around, start: Any, watch: Watch, shout: Any,
        settled: Any) -> None:
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    settled()
    windows = []
    for _ in range(2):
        for change in (('set-controller', 'xenbr0', 'tcp:127.0.0.1:6653'),
                       ('del-controller', 'xenbr0')):
            windows.append(during(shout(vm, blue, around.friend), lambda: host.ovs.vsctl(*change)))
    assert sorted(window.seconds for window in windows)[2] < WINDOW_S
    settled()
    check_peace(vm, blue, around)


@pytest.fixture
def vlans(host: Sandbox, start: Any) -> Iterator[None]:
    """Two VLANs of the bridge; networkd leaves on it the network of the one that came last."""
    for bridge, tag in (('xapi1', TAG), ('xapi2', TAG + 1)):
        host.networkd.plug_vlan(bridge, 'xenbr0', tag, network(host, bridge), network(host),
                                'eth0')
    yield
    os.unlink(NETWORKS)
    for bridge in ('xapi1', 'xapi2'):
        host.networkd.destroy(bridge)
    host.networkd.plug_pif('xenbr0', 'eth0', network(host))


def test_a_vlan_that_is_named_by_uuid_fails_closed_whichever_vlan_was_plugged_last(
        host: Sandbox, around: Around, vlans: None, configure: Any, command: Any) -> None:
    for bridge in ('xapi1', 'xapi2'):
        write_networks([PoolNetwork(host.network_uuid(name), name, name)
                        for name in ('xenbr0', 'xapi1', 'xapi2')])
        configure(CONFIG % LONG_S + '  "%s": {fail_closed: true}\n' % host.network_uuid(bridge))
        assert command('sync').returncode == 0
        assert fail_mode(host) == 'secure', bridge
        configure(CONFIG % LONG_S)
        command('sync')
        assert fail_mode(host) == 'standalone'


# --- an internal network becomes a VLAN ------------------------------------------------------


class Internal(NamedTuple):
    """VMs on an internal network."""

    host: Sandbox
    stranger: Vm
    red: Vm
    blue: Vm

    def shouting(self) -> Shouting:
        """Have them shout at each other."""
        return Shouting(self.stranger, [self.red, self.blue])

    def become_vlan(self) -> None:
        """networkd moves their ports to another bridge, in one transaction."""
        self.host.networkd.plug_vlan('xapi1', 'xenbr0', TAG, network(self.host, 'xapi1'),
                                     network(self.host), 'eth0')


@pytest.fixture
def internal(host: Sandbox, around: Around, start: Any) -> Iterator[Internal]:
    """An internal network with three VMs, which is gone after the test."""
    host.networkd.attach_internal('xapi1', network(host, 'xapi1'))
    vms = [start(15, None, bridge='xapi1'), start(13, RED, bridge='xapi1'),
           start(14, {'groups': 'blue'}, bridge='xapi1')]
    yield Internal(host, *vms)
    for vm in vms:
        vm.shutdown()
    host.networkd.destroy('xapi1')


def check_moved(internal: Internal, settled: Any) -> None:
    """Fail unless all is on the VLAN as it was on the internal network."""
    settled()
    internal.host.ovs.settle()
    for vm in (internal.red, internal.blue):
        assert set(IDS) <= external_ids(internal.host, vm.netdev()).keys()
        assert external_ids(internal.host, vm.netdev())['xs-vm-uuid'] == vm.uuid
        assert not internal.stranger.ping(vm.address(), 0.3)
    assert not internal.red.ping(internal.blue.address(), 0.3)


def test_vifs_that_networkd_moves_are_shut_at_once(
        internal: Internal, watch: Watch, settled: Any) -> None:
    settled()
    window = during(internal.shouting(), internal.become_vlan, 1.5)
    assert window.seconds < WINDOW_S
    watch.wait_for('moved', 'bridge=xenbr0', internal.red.netdev(), internal.blue.netdev())
    assert internal.stranger.netdev() not in ''.join(watch.lines('moved'))
    check_moved(internal, settled)


def test_vifs_that_networkd_moves_are_open_without_the_daemon_until_sync(
        internal: Internal, command: Any, settled: Any) -> None:
    window = during(internal.shouting(), internal.become_vlan)
    window.heard.check_all_heard()
    assert not external_ids(internal.host, internal.red.netdev())
    dry = command('sync', '--dry-run')
    assert dry.returncode == 4 and 'xs-vm-uuid' in dry.stdout
    assert command('sync').returncode == 0
    check_moved(internal, settled)


def test_a_hook_that_moves_a_vif_is_not_disturbed(internal: Internal, watch: Watch,
                                                  settled: Any) -> None:
    settled()
    internal.red.move('xenbr0')
    settled()
    assert not watch.lines('moved')
