"""Managers and controllers come and go: no frame in their names passes, and Dom0 reaches them.

No daemon runs here: see tests/system/daemon/test_in_band.py.
"""
import time
from typing import Any, Callable, Iterator, List, Sequence

import pytest

from sandbox.networkd import DISABLE_IN_BAND, Network
from sandbox.process import ip, run
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.command import DIFFERENT, xsisolate
from support.vm_events import end, refresh
from support.switch import our_flows
from support.in_band_forgery import PORT, REMOTE, REMOTE6, Forging, connects, hidden_flows
from support.resync import sync

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
    assert not hidden_flows(host) and not connects(trio[0], trio[1])
    assert forging.look() == {}
    forget_remotes(host)        # the last controller takes all flows with it
    refresh(trio[0])
    if 'set-controller' in OPENERS[opener]:
        forging.look()
    time.sleep(0.3)
    assert forging.stop() == {}


@pytest.mark.parametrize('opener', ['manager over TLS', 'controller over TCP', 'several at once'])
def test_networkd_may_create_the_bridge_again_when_a_hook_has_seen_the_remote(
        host: Sandbox, trio: List[Vm], opener: str) -> None:
    set_remotes(host, OPENERS[opener], trio)
    refresh(trio[0])
    forging = Forging(*trio)
    for _ in range(3):
        host.networkd.create_bridge('xenbr0')
        assert 'band' not in host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'other_config')
        time.sleep(0.3)
    assert not hidden_flows(host) and not connects(trio[0], trio[1])
    assert forging.stop() == {}
    refresh(trio[0])
    assert 'disable-in-band="true"' in host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'other_config')


def test_networkd_keeps_it_off_by_itself_when_the_network_says_so(host: Sandbox,
                                                                  trio: List[Vm]) -> None:
    forging = Forging(*trio)
    told = LAN._replace(other_config={DISABLE_IN_BAND: 'true'})
    for _ in range(3):
        host.networkd._create('xenbr0', told.other_config, told.uuid)
        host.ovs.vsctl('set-manager', MANAGER)
        time.sleep(0.3)
        host.ovs.vsctl('del-manager')
    assert forging.stop() == {}


def test_a_remote_that_comes_after_networkds_reset_is_closed_by_the_next_hook(
        host: Sandbox, trio: List[Vm]) -> None:
    """Without the daemon that is how long it stays open; the hook says whom it was open for."""
    host.networkd.create_bridge('xenbr0')
    host.ovs.vsctl('set-manager', MANAGER)
    forging = Forging(*trio)
    time.sleep(0.3)
    assert forging.look() and hidden_flows(host)
    said = refresh(trio[1]).stderr
    forging.look()
    time.sleep(0.5)
    assert forging.stop() == {} and not hidden_flows(host)
    assert ' in-band bridge=xenbr0 ' in said and MANAGER in said
    assert 'in-band' not in refresh(trio[1]).stderr


def test_a_bridge_that_is_made_again_is_closed_before_its_first_vif_speaks(
        host: Sandbox, start: Any) -> None:
    host.ovs.vsctl('set-manager', MANAGER)
    host.networkd.destroy_bridge('xenbr1')
    host.networkd.create_bridge('xenbr1')
    assert hidden_flows(host, 'xenbr1')
    vms = [start(11, {'groups': 'red'}, bridge='xenbr1'),
           start(12, {'groups': 'blue'}, bridge='xenbr1')]
    forging = Forging(*vms)
    time.sleep(0.5)
    assert forging.stop() == {} and not hidden_flows(host, 'xenbr1')


@pytest.mark.parametrize('target', ['tcp:[%s]:%d' % (REMOTE6, PORT), 'ptcp:6640', 'none',
                                    'unix:/run/openvswitch/nothing.sock'])
def test_other_remotes_have_no_flows(host: Sandbox, start: Any, target: str) -> None:
    """In-band control does not know IPv6; there is nothing to switch off, and it is not said."""
    host.ovs.vsctl('set-controller', 'xenbr0', target, '--', 'set-manager',
                   target if target != 'none' else 'ptcp:6641')
    time.sleep(0.3)
    assert not hidden_flows(host)
    assert 'in-band' not in start(11, {'groups': 'red'}).runs[0].stderr
    assert 'out-of-band' not in host.ovs.vsctl('list', 'Manager') + host.ovs.vsctl(
        'list', 'Controller')


def test_what_was_set_is_put_back_with_the_last_managed_vif(host: Sandbox, start: Any) -> None:
    host.ovs.vsctl('set-manager', MANAGER, '--', 'set-controller', 'xenbr0', CONTROLLER, '--',
                   'set', 'Controller', 'xenbr0', 'connection_mode=in-band', '--',
                   'set', 'Bridge', 'xenbr1', 'other_config:disable-in-band=false')
    one, two = start(11, {'groups': 'red'}), start(12, {'groups': 'red'}, bridge='xenbr1')
    start(13)
    assert modes(host) == ['out-of-band', 'out-of-band']
    end(one)
    sync()
    assert modes(host) == ['in-band', 'out-of-band']
    assert hidden_flows(host) and not hidden_flows(host, 'xenbr1')
    end(two)
    sync()
    assert modes(host) == ['in-band', '']
    assert host.ovs.vsctl('get', 'Bridge', 'xenbr1', 'other_config:disable-in-band') == '"false"'
    assert 'xsisolate' not in host.ovs.vsctl('list', 'Bridge') + host.ovs.vsctl('list', 'Manager')
    host.ovs.vsctl('remove', 'Bridge', 'xenbr1', 'other_config', 'disable-in-band')


def modes(host: Sandbox) -> List[str]:
    """Return the connection_mode of controllers and managers."""
    return [host.ovs.vsctl('--bare', '--columns=connection_mode', 'list', table)
            for table in ('Controller', 'Manager')]


def test_a_manager_stays_in_band_where_another_bridge_cannot_do_without(host: Sandbox,
                                                                        start: Any) -> None:
    """It forwards nothing by itself, has Dom0's address and nothing of ours."""
    ip(['addr add 10.8.0.250/24 dev xenbr1'])
    host.ovs.set_bridge('xenbr1', 'fail_mode=secure')
    try:
        host.ovs.vsctl('set-manager', MANAGER)
        vms = [start(11, {'groups': 'red'}), start(12, {'groups': 'blue'})]
        assert modes(host)[1] == '' and hidden_flows(host, 'xenbr1')
        assert not hidden_flows(host) and not connects(*vms)
    finally:
        ip(['addr flush dev xenbr1'])
        host.ovs.set_bridge('xenbr1', 'fail_mode=standalone')
    refresh(vms[0])
    assert modes(host)[1] == 'out-of-band'


def test_sync_shows_and_mends_it(host: Sandbox, trio: List[Vm]) -> None:
    host.ovs.vsctl('set-manager', MANAGER)
    let_it_be(host)
    said = sync('--dry-run', '--bridge', 'xenbr0', code=DIFFERENT).out
    assert '+other_config:disable-in-band=true' in said
    assert '-Manager %s connection_mode=unset' % MANAGER in said
    assert hidden_flows(host)
    sync()
    assert not hidden_flows(host) and not connects(trio[0], trio[1])
    sync('--dry-run')


def test_commands_name_the_remote_that_has_a_bridge_open(host: Sandbox, trio: List[Vm]) -> None:
    host.ovs.vsctl('set-manager', MANAGER)
    let_it_be(host)
    for words in (['status'], ['explain', 'vm11', 'vm12']):
        said = xsisolate(*words).out
        assert 'manager ' + MANAGER in said and 'xsisolate sync' in said
    sync()
    for words in (['status'], ['explain', 'vm11', 'vm12']):
        assert MANAGER not in xsisolate(*words).out


@pytest.fixture
def named(host: Sandbox, tmp_path: Any) -> Iterator[str]:
    """A name that Open vSwitch resolves to the manager's address."""
    hosts = tmp_path / 'hosts'
    hosts.write_text('127.0.0.1 localhost\n%s manager.example\n' % REMOTE)
    run(['mount', '--bind', str(hosts), '/etc/hosts'])
    host.ovs.restart_vswitchd()
    yield 'tcp:manager.example:%d' % PORT
    run(['umount', '--lazy', '/etc/hosts'])
    host.ovs.restart_vswitchd()


def test_a_name_counts_as_the_address_that_it_resolves_to(host: Sandbox, named: str,
                                                          trio: List[Vm]) -> None:
    host.ovs.vsctl('set-manager', named)
    forging = Forging(*trio)
    time.sleep(0.5)
    assert forging.look() == {} and not hidden_flows(host)
    let_it_be(host)
    time.sleep(0.5)
    assert 'from it' in forging.look() and 'nw_src=' + REMOTE in ''.join(hidden_flows(host))
    assert named in refresh(trio[0]).stderr
    time.sleep(0.5)
    forging.look()
    time.sleep(0.3)
    assert forging.stop() == {} and not connects(trio[0], trio[1])
