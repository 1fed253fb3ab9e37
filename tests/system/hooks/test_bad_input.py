"""Whatever the hooks are told or find: one line, the right code, no traceback, no traffic."""
import json
import os
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List

import pytest

from sandbox import metadata
from sandbox.hooks import Call
from sandbox.process import run
from sandbox.dom0 import Sandbox
from sandbox.toolstack import private
from sandbox.vm import Vm

from support.host_state import (CONFIG, OVSDB_SOCKET, XENSTORED_SOCKET, backend_key, hotplug_keys,
                                is_up, mounted, moved_away)
from support.reachability import arrives, can_talk, is_lost, speech
from support.vm_events import end, fire_online, refresh
from support.switch import external_ids, our_flows, policy_flows, ports
from support.hook_log import lines, the_line

LOCKED = {'mode': 'locked', 'vif/0/ipv4': '10.9.0.11'}


@pytest.fixture
def start(host: Sandbox, bystander: Vm) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, and leave nothing behind."""
    def start_vm(policy: Any = None, **more: Any) -> Vm:
        return host.start_vm('vm', policy=policy, **dict({'ipv4': '10.9.0.11/24'}, **more))

    yield start_vm
    for vm in list(host.vms):
        if vm.name not in ('bystander', 'locked', 'witness'):
            end(vm)
    assert ports(host) == [bystander.netdev()] and not our_flows(host)
    assert os.listdir('/run/xsisolate/lock') and not set(os.listdir('/run/xsisolate')) - {
        'config.json', 'counts', 'lock', 'hooks.sock'}


@pytest.fixture(scope='module')
def locked(host: Sandbox, bystander: Vm) -> Vm:
    """A locked VM on another bridge, for tests that put right what they spoil."""
    return host.start_vm('locked', policy=LOCKED, ipv4='10.9.0.11/24', bridge='xenbr1')


@pytest.fixture(scope='module')
def witness(host: Sandbox) -> Vm:
    """An unmanaged VM beside it."""
    return host.start_vm('witness', ipv4='10.9.0.98/24', bridge='xenbr1')


# --- calls -----------------------------------------------------------------------------------

UUID = '11111111-2222-3333-4444-555555555555'


@pytest.mark.parametrize('args', [
    (), ('classic',), ('classic', 'vif1.0', UUID, '0'), ('classic', 'vif1.0', UUID, '0', 'smash'),
    ('classic', 'vif1.0', UUID, '0', 'filter', 'more'), ('classic', 'vif1.0', UUID, '1', 'filter'),
    ('classic', 'eth0', UUID, '0', 'clear'), ('classic', 'vif1.0', 'a/../b', '0', 'filter'),
    ('classic', 'vif1.0', '', '0', 'filter'), ('classic', 'vif99999.0', UUID, '0', 'filter'),
    ('classic', 'vif1.999', UUID, '999', 'filter'), ('vif', 'one', '0', 'filter'),
    ('classic', 'vif1.0\n', UUID, '0', 'filter'), ('vif', '1', '-1', 'filter'),
    ('classic', 'vif1.0', UUID, '0', 'filter\x1b[2J\n')])
def test_setup_vif_rules_refuses_what_it_does_not_know(host: Sandbox, args: Any) -> None:
    result, = host.hooks.run(Call('setup-vif-rules', args, {}))
    assert result.code == 2
    line = the_line(result, ' failed ')
    assert ('usage: setup-vif-rules ' in line or 'not a VIF: ' in line) and line.isprintable()


@pytest.mark.parametrize('args, environment', [
    ((), {}), (('online',), {}), (('online', 'type_if=usb'), {}),
    (('online', 'type_if=vif'), {}),
    (('remove', 'type_if=vif'), {'XENBUS_PATH': 'backend/vbd/1/0'}),
    (('add', 'type_if=tap'), {'INTERFACE': 'vif1.0'}),
    (('online', 'type_if=vif'), {'XENBUS_PATH': 'backend/vif/99999/0'}),
    (('online', 'type_if=vif'), {'XENBUS_PATH': 'backend/vif/1/0/../../../etc'})])
def test_vif_refuses_what_it_does_not_know(host: Sandbox, args: Any,
                                           environment: Dict[str, str]) -> None:
    result, = host.hooks.run(Call('vif', args, environment))
    assert result.code == 2
    the_line(result, ' failed ')


# --- what is missing or broken on the host ---------------------------------------------------


def no_metadata(vm: Vm) -> None:
    os.unlink(metadata.path(vm.uuid, 0))


def write_metadata(text: str) -> Callable[[Vm], None]:
    def write(vm: Vm) -> None:
        with open(metadata.path(vm.uuid, 0), 'w') as file:
            file.write(text or json.dumps({}))
    return write


def change_metadata(**fields: Any) -> Callable[[Vm], None]:
    def change(vm: Vm) -> None:
        record = json.loads(metadata.encode(vm.uuid, vm.vifs[0]))
        write_metadata(json.dumps(dict(record, **fields)))(vm)
    return change


def no_netdev(vm: Vm) -> None:
    run(['ip', 'link', 'del', vm.netdev()])


def no_bridge(vm: Vm) -> None:
    vm.set_vif(bridge='xenbr77')


def without(key: str) -> Callable[[Vm], None]:
    def remove(vm: Vm) -> None:
        vm.dom0.store.rm('%s/%s' % (private(vm.uuid, 0), key))
    return remove


def with_key(key: str, value: str) -> Callable[[Vm], None]:
    def write(vm: Vm) -> None:
        vm.dom0.store.write('%s/%s' % (private(vm.uuid, 0), key), value)
    return write


HALF = '{"ipv6_configuration":"Unspecified6","mac":"02:00:00:0'
BROKEN: List[Any] = [
    (no_metadata, 'No such file'), (write_metadata(HALF), 'vif.0'),
    (write_metadata('[]'), 'not a JSON object'), (write_metadata('\0\0\0'), 'vif.0'),
    (write_metadata('"' + 'x' * 3000000 + '"'), 'larger than'),
    (write_metadata('[' * 100000), 'vif.0'), (change_metadata(mac='junk\n\x1b'), 'a MAC address'),
    (change_metadata(mac='01:00:00:00:00:01'), '01:00:00'),
    (change_metadata(backend=['Local', '../../etc']), 'not a bridge name'),
    (change_metadata(backend=['Remote', ['x', 'y']]), 'only Local networks'),
    (change_metadata(locking_mode=['Locked', {'ipv4': ['10.0.0.300'], 'ipv6': []}]), '10.0.0.300'),
    (change_metadata(locking_mode='Lokced'), 'Lokced'),
    (no_netdev, 'No such device'), (no_bridge, 'xenbr77 is not in Open vSwitch'),
    (without('MTU'), 'MTU'), (without('bridge-MAC'), 'bridge-MAC'),
    (with_key('MTU', '1500; reboot'), 'MTU is not a number'), (with_key('MTU', '99999999'), 'MTU'),
    (with_key('bridge-MAC', 'fe:ff'), 'not a MAC address')]


@pytest.mark.parametrize('break_it, reason', BROKEN,
                         ids=['%d %s' % (at, reason) for at, (_, reason) in enumerate(BROKEN)])
def test_a_plug_that_cannot_work(host: Sandbox, bystander: Vm, start: Any, break_it: Any,
                                 reason: str) -> None:
    vm = start(LOCKED, plug=False)
    vm.cable(0)
    break_it(vm)
    result = fire_online(vm)
    assert result.code == 1
    the_line(result, ' failed ', 'vif=' + vm.netdev(), reason)
    error = backend_key(vm, 'hotplug-error') or ''
    assert vm.netdev() in error and reason in error
    assert 'hotplug' not in hotplug_keys(vm) and backend_key(vm, 'hotplug-status') is None
    assert vm.netdevs(0) == [] or not is_up(vm.netdev())
    assert vm.netdev() not in ports(host) and not our_flows(host)
    if vm.netdevs(0):
        assert is_lost(vm, bystander, speech(vm))
    vm.set_vif(bridge='xenbr0')


@pytest.mark.parametrize('mtu', [None, 0, -1, '1500', [], 10 ** 30])
def test_an_mtu_that_makes_no_sense_keeps_no_vif_off_its_bridge(
        host: Sandbox, bystander: Vm, start: Any, mtu: Any) -> None:
    """xenopsd's metadata has one, too; hooks take it from xenstore."""
    vm = start(LOCKED, plug=False)
    vm.cable(0)
    record = json.loads(metadata.encode(vm.uuid, vm.vifs[0]))
    record['mtu'] = mtu
    if mtu is None:
        del record['mtu']
    write_metadata(json.dumps(record))(vm)
    assert 'mode=locked' in the_line(fire_online(vm))
    assert is_up(vm.netdev()) and arrives(vm, bystander, speech(vm))


@contextmanager
def no_xenstored(host: Sandbox) -> Iterator[None]:
    with moved_away(XENSTORED_SOCKET):
        yield


@contextmanager
def no_ovsdb(host: Sandbox) -> Iterator[None]:
    with moved_away(OVSDB_SOCKET):
        yield


@contextmanager
def no_lock_folder(host: Sandbox) -> Iterator[None]:
    with mounted('/run/xsisolate', 'ro'):
        yield


@contextmanager
def no_inodes(host: Sandbox) -> Iterator[None]:
    with mounted('/run/xsisolate', 'nr_inodes=1'):
        yield


HOST: List[Any] = [(no_xenstored, 'xenstored cannot be reached at'),
                   (no_ovsdb, 'ovsdb-server cannot be reached at'),
                   (no_lock_folder, 'Read-only file system'),
                   (no_inodes, 'No space left on device')]


@pytest.mark.parametrize('broken, reason', HOST)
def test_a_host_that_cannot_plug(host: Sandbox, bystander: Vm, start: Any, broken: Any,
                                 reason: str) -> None:
    vm = start(LOCKED, plug=False)
    vm.cable(0)
    with broken(host):
        result = fire_online(vm)
        assert result.code == 1
        said = lines(result)
        assert ' failed vif=%s ' % vm.netdev() in said[-1] and reason in said[-1]
        assert len(said) == (2 if broken is no_xenstored else 1)     # nor can it tell xenopsd
        assert not is_up(vm.netdev())
        assert is_lost(vm, bystander, speech(vm))
    assert vm.netdev() not in ports(host) and not our_flows(host)
    if broken is not no_xenstored:
        assert reason in (backend_key(vm, 'hotplug-error') or '')
    assert fire_online(vm).code == 0
    assert can_talk(vm, bystander.address())


@pytest.mark.parametrize('broken, reason', HOST)
def test_a_host_that_cannot_refresh(host: Sandbox, bystander: Vm, start: Any, broken: Any,
                                    reason: str) -> None:
    vm = start(LOCKED)
    before = policy_flows(host)
    with broken(host):
        result, = host.hooks.run(host.hooks.locking_changed(vm.domain, vm.vifs[0])[0])
        assert result.code == 1
        the_line(result, ' failed ', 'vif=' + vm.netdev(), reason)
        assert not is_up(vm.netdev())
    assert policy_flows(host) == before     # whoever sets the link up does not open it
    refresh(vm)
    assert can_talk(vm, bystander.address())


@pytest.mark.parametrize('broken, reason', HOST[1:])
def test_a_host_that_cannot_unplug(host: Sandbox, start: Any, broken: Any, reason: str) -> None:
    vm = start(LOCKED)
    with broken(host):
        result, = host.hooks.run(host.hooks.udev_vif('remove', vm.domid, 0))
        assert result.code == 0     # or xenopsd would wait five minutes
        the_line(result, ' not removed ', 'vif=' + vm.netdev(), reason)
        assert not is_up(vm.netdev())
    assert 'hotplug' not in hotplug_keys(vm)
    vm.cut(0)
    other = host.start_vm('other', policy={'mode': 'locked', 'vif/0/ipv4': '10.9.0.12'})
    assert not any(vm.netdev() in flow or vm.mac in flow for flow in our_flows(host))
    other.shutdown()


def test_a_full_disk_costs_nothing_but_time(host: Sandbox, bystander: Vm, start: Any) -> None:
    """The configuration's compiled copy cannot be written; a lock file needs no block."""
    with mounted('/run/xsisolate', 'size=4k'):
        os.makedirs('/run/xsisolate/lock')
        with open('/run/xsisolate/filler', 'wb', buffering=0) as filler:
            filler.write(b'x' * 4096)
        vm = start(LOCKED)
        assert can_talk(vm, bystander.address())
        vm.shutdown()
        assert sorted(os.listdir('/run/xsisolate')) == ['counts', 'filler', 'lock']


@pytest.mark.any_python
def test_vswitchd_is_down(host: Sandbox, bystander: Vm, start: Any) -> None:
    vm, coming = start(LOCKED), start({'mode': 'disabled'}, ipv4='10.9.0.12/24', plug=False)
    coming.cable(0)
    host.ovs.kill_vswitchd()
    try:
        refreshed, plugged = host.hooks.run(
            host.hooks.locking_changed(vm.domain, vm.vifs[0])[0],
            host.hooks.udev_vif('online', coming.domid, 0), timeout=60)
        assert (refreshed.code, plugged.code) == (1, 1)
        the_line(refreshed, ' failed ', 'vif=' + vm.netdev())
        the_line(plugged, ' failed ', 'vif=' + coming.netdev())
        assert not is_up(vm.netdev()) and not is_up(coming.netdev())
        assert vm.netdev() in refreshed.stderr and coming.netdev() not in ports(host)
        removed, = host.hooks.run(host.hooks.udev_vif('remove', vm.domid, 0))
        assert removed.code == 0
        the_line(removed, ' not removed ', 'vif=' + vm.netdev())
        assert vm.netdev() not in ports(host)
    finally:
        host.ovs.start_vswitchd()


# --- policies --------------------------------------------------------------------------------

RUBBISH = ''.join(chr(33 + number * 7 % 94) for number in range(2048))
POLICIES: Dict[str, Dict[str, str]] = {
    'control characters': {'mode': 'lock\x1b[2J\x00ed\n\r'},
    'not UTF-8': {'groups': 'r\xff\xfe\x80d'},
    '2048 bytes': {'allow': RUBBISH}, 'a long group': {'groups': 'a' * 2048},
    'an unknown key': {'Mode': 'locked'}, 'an unknown mode': {'mode': 'open'},
    'no address': {'vif/0/ipv4': '10.9.0.300'}, 'host bits': {'allow': '10.9.0.1/24'},
    'a gap': {'allow': '10.9.0.1', 'allow-3': '10.9.0.3'},
    'a flow': {'groups': 'red', 'allow': '10.9.0.1,actions=NORMAL'},
    'too many': {'allow': ','.join('10.%d.%d.0/24' % (n // 250, n % 250) for n in range(140)),
                 **{'allow-%d' % number: ','.join(
                     '10.%d.%d.%d' % (number, n // 250, n % 250) for n in range(150))
                    for number in range(1, 30)}},
    'no value of a VIF': {'vif/0/nonsense': ''}}


def is_quarantined(vm: Vm, bystander: Vm, result: Any) -> str:
    """Check that a VIF is on its bridge, up, without a frame; return the reason in the log."""
    assert result.code == 0, result
    said = lines(result)
    assert len(said) == 2 and ' mode=quarantined ' in said[0], said
    assert ' quarantined vif=%s vm=%s reason=' % (vm.netdev(), vm.uuid) in said[1]
    assert said[1].isprintable() and len(said[1]) < 1000
    assert is_up(vm.netdev()) and vm.netdev() in ports(vm.dom0, vm.vifs[0].bridge)
    assert external_ids(vm.dom0, vm.netdev())['xsisolate-error']
    assert is_lost(vm, bystander, speech(vm))
    assert is_lost(bystander, vm, speech(bystander))
    return said[1]


def restore(vm: Vm) -> None:
    """Give a guest the vm-data that it had, its own as after a start."""
    folder = '/local/domain/%d/vm-data' % vm.domid
    vm.dom0.store.rm(folder)
    vm.dom0.store.make(folder, 'n%d' % vm.domid)
    for key, value in LOCKED.items():
        vm.xenstore.write('vm-data/xsisolate/' + key, value)
    assert ' mode=locked ' in refresh(vm).stderr


@pytest.mark.parametrize('kind', sorted(POLICIES))
def test_what_a_guest_may_write(host: Sandbox, locked: Vm, witness: Vm, kind: str) -> None:
    vm = locked
    for key, value in POLICIES[kind].items():
        vm.xenstore.write('vm-data/xsisolate/' + key, value)
    reason = is_quarantined(vm, witness, refresh(vm))
    assert any(key.split('/')[-1] in reason for key in POLICIES[kind]), reason
    restore(vm)


def write_nodes(vm: Vm, where: str, count: int) -> None:
    """Make nodes that belong to the guest: the way through its ring is long for thousands."""
    for number in range(count):
        vm.dom0.store.write('/local/domain/%d/%s' % (vm.domid, where % number), '')
    assert vm.xenstore.perms(where % 0)[0] == 'n%d' % vm.domid


@pytest.mark.parametrize('where, count', [
    ('vm-data/xsisolate/allow-%d', 8000), ('vm-data/xsisolate/x%d/x', 3000),
    ('vm-data/xsisolate/vif/0/%d', 3000)])
def test_thousands_of_nodes(host: Sandbox, locked: Vm, witness: Vm, where: str,
                            count: int) -> None:
    write_nodes(locked, where, count)
    result = refresh(locked)
    assert 'children' in is_quarantined(locked, witness, result)
    assert result.seconds < 5
    restore(locked)


def test_nodes_beside_the_policy_do_not_matter(locked: Vm) -> None:
    write_nodes(locked, 'vm-data/%d', 3000)
    write_nodes(locked, 'vm-data/xsisolate/vif/1%d', 1000)
    assert ' mode=locked ' in refresh(locked).stderr
    restore(locked)


@pytest.mark.parametrize('text, reason', [
    ('version: 1\nnetworks: [', 'xsisolate.yaml:'), ('version: 7\n', 'version'),
    ('version: 1\nunsealed: perhaps\n', 'unsealed'), ('\xff\x00', 'xsisolate.yaml'),
    ('version: 1\nnetworks: {x: {default: !!python/object/apply:os.system [reboot]}}\n',
     'xsisolate.yaml'), ('a: &a [1]\nb: [*a, *a]\n', 'xsisolate.yaml')])
def test_a_broken_configuration_quarantines(host: Sandbox, locked: Vm, witness: Vm, text: str,
                                            reason: str) -> None:
    vm = locked
    try:
        host.configure(text)
        assert reason in is_quarantined(vm, witness, refresh(vm))
    finally:
        host.configure(CONFIG)
    refresh(vm)
    assert can_talk(vm, witness.address())
