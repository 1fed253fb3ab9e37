"""The sandbox's toolstack: what a guest may write, and what the hooks will read."""
import json
from typing import Iterator

import pytest

from sandbox import metadata
from sandbox.hotplug import Hotplug, PlainHotplug
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from sandbox.wire import XenstoreError


@pytest.fixture(scope='module')
def hotplug() -> Hotplug:
    """Plain ports on the bridge."""
    return PlainHotplug()


@pytest.fixture
def vm(dom0: Sandbox) -> Iterator[Vm]:
    """A VM with a policy, on a bridge of its own."""
    if not dom0.bridges:
        dom0.add_bridge('xenbr0')
    started = dom0.start_vm('web', policy={'groups': 'red', 'vif/0/mode': 'isolated'},
                            vm_data={'motd': 'hello'})
    yield started
    if started in dom0.vms:
        started.shutdown()


@pytest.mark.parametrize('path', [
    'name', 'new', 'vm', '/vm/{uuid}/uuid', '/vm/{uuid}/new', '/tool/x',
    '/xapi/{uuid}/private/vif/0/bridge', '/local/domain/0/backend/vif/{domid}/0/mac'])
def test_a_guest_cannot_write_what_is_dom0s(vm: Vm, path: str) -> None:
    path = path.format(uuid=vm.uuid, domid=vm.domid)
    with pytest.raises(XenstoreError, match='EACCES'):
        vm.xenstore.write(path, 'forged')


@pytest.mark.parametrize('path', ['name', 'vm', '/vm/{uuid}/uuid', '/xapi'])
def test_a_guest_cannot_take_or_remove_what_is_dom0s(vm: Vm, path: str) -> None:
    path = path.format(uuid=vm.uuid)
    with pytest.raises(XenstoreError, match='EACCES'):
        vm.xenstore.set_perms(path, 'n%d' % vm.domid)
    with pytest.raises(XenstoreError, match='EACCES'):
        vm.xenstore.rm(path)


def test_a_guest_cannot_even_read_the_private_keys(vm: Vm) -> None:
    assert vm.dom0.store.read('/xapi/%s/private/vif/0/bridge' % vm.uuid) == 'xenbr0'
    with pytest.raises(XenstoreError, match='EACCES'):
        vm.xenstore.read('/xapi/%s/private/vif/0/bridge' % vm.uuid)


def test_a_guest_owns_what_is_its(vm: Vm) -> None:
    for path in ('vm-data/xsisolate/groups', 'vm-data/new', 'device/vif/0/mac',
                 'attr/x', 'data/updated'):
        vm.xenstore.write(path, 'forged')
        assert vm.dom0.store.read('/local/domain/%d/%s' % (vm.domid, path)) == 'forged'
    vm.xenstore.rm('vm-data')
    assert vm.dom0.toolstack.vm_data(vm.domain) == {}


def test_what_the_guest_wrote_survives_a_reboot(vm: Vm) -> None:
    vm.xenstore.write('vm-data/xsisolate/groups', 'blue')
    domid = vm.domid
    following = vm.reboot()
    assert following.domid > domid and following.uuid == vm.uuid
    assert following.xenstore.read('vm-data/xsisolate/groups') == 'blue'
    assert following.xenstore.read('vm-data/motd') == 'hello'
    following.shutdown()


def test_a_live_change_makes_vm_data_dom0s(vm: Vm) -> None:
    vm.set_vm_data({'xsisolate/groups': 'green'})
    assert vm.dom0.toolstack.vm_data(vm.domain) == {'xsisolate/groups': 'green'}
    assert vm.xenstore.read('vm-data/xsisolate/groups') == 'green'
    with pytest.raises(XenstoreError, match='EACCES'):
        vm.xenstore.write('vm-data/xsisolate/groups', 'forged')


def test_a_value_has_2048_bytes_at_most(vm: Vm) -> None:
    for connection, path in ((vm.dom0.store, '/local/long'), (vm.xenstore, 'data/long')):
        connection.write(path, 'x' * 2048)
        assert len(connection.read(path)) == 2048
        with pytest.raises(XenstoreError, match='E2BIG|EQUOTA|ENOSPC|EINVAL'):
            connection.write(path, 'x' * 2049)


def test_a_failed_transaction_changes_nothing(vm: Vm) -> None:
    with pytest.raises(RuntimeError):
        with vm.dom0.store.transaction():
            vm.dom0.store.write('/local/half', 'done')
            raise RuntimeError
    assert vm.dom0.store.get('/local/half') is None


def test_the_metadata_is_as_xenopsd_writes_it(vm: Vm) -> None:
    vif = vm.vifs[0]
    with open(metadata.path(vm.uuid, 0)) as file:
        text = file.read()
    assert text == (
        '{"ipv6_configuration":"Unspecified6","ipv4_configuration":"Unspecified4",'
        '"extra_private_keys":{"vif-uuid":"%s","network-uuid":"%s"},'
        '"locking_mode":"Unlocked","other_config":{},"backend":["Local","xenbr0"],'
        '"mtu":1500,"carrier":true,"mac":"%s","position":0,"id":["%s","0"]}'
        % (vif.uuid, vif.network_uuid, vif.mac, vm.uuid))


def test_metadata_of_a_locked_vif(vm: Vm) -> None:
    vm.set_vif(locking_mode='locked', ipv4_allowed=('10.20.0.7',), ipv6_allowed=(),
               vlan=120, other_config={'ethtool-tx': 'off'})
    with open(metadata.path(vm.uuid, 0)) as file:
        record = json.load(file)
    assert record['locking_mode'] == ['Locked', {'ipv6': [], 'ipv4': ['10.20.0.7']}]
    assert record['vlan'] == 120 and list(record)[0] == 'vlan'
    assert record['other_config'] == {'ethtool-tx': 'off'}
    private = vm.dom0.store.tree('/xapi/%s/private/vif/0' % vm.uuid)
    assert private['locking-mode'] == 'locked'
    assert private['ipv4-allowed'] == '10.20.0.7'


def test_a_policy_is_sealed_if_the_sandbox_has_a_sealer(vm: Vm) -> None:
    vm.dom0.sealer = lambda uuid, vif, policy: '%s %d %s' % (
        uuid, vif.devid, ','.join(sorted(policy)))
    vm.set_policy({'groups': 'blue', 'allow': 'external'})
    vm.dom0.sealer = None
    assert vm.vifs[0].other_config == {'xsisolate-seal': vm.uuid + ' 0 allow,groups'}
    with open(metadata.path(vm.uuid, 0)) as file:
        assert json.load(file)['other_config'] == vm.vifs[0].other_config


def test_a_migration_renames_twice(vm: Vm) -> None:
    final = vm.uuid
    incoming = vm.dom0.migrate_in(vm)
    temporary = final[:24] + '000000000001'
    assert incoming.uuid == temporary and incoming.mac == vm.mac
    store = vm.dom0.store
    assert store.read('/vm/%s/final-uuid' % temporary) == final
    assert store.read('/local/domain/%d/vm' % incoming.domid) == '/vm/' + temporary
    with open(metadata.path(temporary, 0)) as file:
        assert json.load(file)['id'] == [temporary, '0']
    vm.depart()
    assert vm.uuid == final[:24] + '000000000000'
    incoming.arrive()
    assert incoming.uuid == final
    assert store.ls('/vm') == [final]
    assert store.get('/vm/%s/final-uuid' % final) is None
    assert store.read('/local/domain/%d/vm' % incoming.domid) == '/vm/' + final
    assert store.read('/xapi/%s/private/vif/0/bridge' % final) == 'xenbr0'
    assert store.perms('/vm/%s/uuid' % final) == ['n0', 'r%d' % incoming.domid]
    incoming.shutdown()
    assert store.ls('/vm') == [] and store.ls('/xapi') == []
