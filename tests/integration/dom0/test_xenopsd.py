"""xenopsd's metadata: the variants that it writes, and whatever else may lie there."""
import json
import os

import pytest
from xsisolate.dom0.xen.vif_metadata import (VifMetadata, list_devids, read_any_metadata,
                                             read_metadata)
from xsisolate.errors import MetadataError
from xsisolate.policy.model import Locking, Mode, Prefix

VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
VIF = {
    'vlan': 120,
    'ipv6_configuration': 'Unspecified6',
    'ipv4_configuration': ['Static4', [['10.20.0.7/24'], ['10.20.0.1']]],
    'extra_private_keys': {'vif-uuid': '1f0c9b0e-5d0b-7c55-6a0e-0b7d6d0f3c11',
                           'network-uuid': '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'},
    'locking_mode': ['Locked', {'ipv6': [], 'ipv4': ['10.20.0.7']}],
    'other_config': {'ethtool-tx': 'off', 'xsisolate-seal': '1:00'},
    'backend': ['Local', 'xapi3'],
    'rate': [2048, 0],
    'mtu': 1500, 'carrier': True, 'mac': 'BA:1c:2f:5e:90:01', 'position': 0,
    'id': [VM, '0'],
}
HOST = Prefix(4, 0x0a140007, 32)


@pytest.fixture
def write(root):
    """Put a file where xenopsd puts it; return its path."""
    folder = root / 'run/nonpersistent/xenopsd/classic/VM' / VM
    folder.mkdir(parents=True)

    def put(content):
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / 'vif.0').write_bytes(text)
        return str(folder / 'vif.0')
    return put


def test_everything(write):
    write(VIF)
    assert read_metadata(VM, '0') == VifMetadata(
        vm_uuid=VM, devid='0', mac='ba:1c:2f:5e:90:01', bridge='xapi3',
        locking=Locking(Mode.LOCKED, ipv4=frozenset([HOST])),
        vif_uuid='1f0c9b0e-5d0b-7c55-6a0e-0b7d6d0f3c11',
        network_uuid='6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796',
        other_config={'ethtool-tx': 'off', 'xsisolate-seal': '1:00'})


def test_a_function_of_an_sriov_nic(write):
    """No hook has anything to do with it; commands name it as not protected."""
    path = write(dict(VIF, backend=['Sriov', {'domain': 0, 'bus': 4, 'dev': 16, 'fn': 0}]))
    with pytest.raises(MetadataError, match='Sriov: only Local'):
        read_metadata(VM, '0')
    vif = read_any_metadata(VM, '0')
    assert (vif.bridge, vif.mac, vif.other_config) == ('', 'ba:1c:2f:5e:90:01',
                                                       VIF['other_config'])
    for name in ('vif.12', 'vif.x', 'vif.', 'vif.1.tmp', 'pci.3'):
        with open(os.path.join(os.path.dirname(path), name), 'w'):
            pass
    assert list_devids(VM) == [0, 12] and list_devids('not a VM') == []


def test_least(write):
    write({key: VIF[key] for key in ('mac', 'backend', 'locking_mode')})
    vif = read_metadata(VM, '0')
    assert (vif.vif_uuid, vif.network_uuid, vif.other_config) == ('', '', {})


@pytest.mark.parametrize('written, locking', [
    ('Unlocked', Locking(Mode.UNLOCKED)),
    ('unlocked', Locking(Mode.UNLOCKED)),
    ('DISABLED', Locking(Mode.DISABLED)),
    (['locked', {'ipv4': [], 'ipv6': []}], Locking(Mode.LOCKED)),
    (['Locked', {'ipv4': ['10.20.0.7', '10.20.0.7/32'], 'ipv6': ['FD00::1']}],
     Locking(Mode.LOCKED, frozenset([HOST]), frozenset([Prefix(6, 0xfd << 120 | 1, 128)]))),
    # XAPI lets host bits pass; the network is meant
    (['Locked', {'ipv4': ['10.20.0.7/24'], 'ipv6': ['fd00::1/8']}],
     Locking(Mode.LOCKED, frozenset([Prefix(4, 0x0a140000, 24)]),
             frozenset([Prefix(6, 0xfd << 120, 8)]))),
    (['Locked', {'ipv4': ['10.20.0.7/0'], 'ipv6': []}],
     Locking(Mode.LOCKED, frozenset([Prefix(4, 0, 0)]))),
])
def test_locking_modes(write, written, locking):
    write(dict(VIF, locking_mode=written))
    assert read_metadata(VM, '0').locking == locking


@pytest.mark.parametrize('key', ['mtu', 'rate', 'carrier', 'position', 'vlan', 'of-tomorrow'])
def test_what_decides_nothing_may_be_anything(write, key):
    write(VIF)
    usual = read_metadata(VM, '0')
    for value in (None, -1, 1e99, 'x', True, [[]], {'a': None}):
        write(dict(VIF, **{key: value}))
        assert read_metadata(VM, '0') == usual
    write({name: value for name, value in VIF.items() if name != key})
    assert read_metadata(VM, '0') == usual


@pytest.mark.parametrize('key, value, complaint', [
    ('backend', ['Remote', [VM, 'xenbr0']], 'Remote: only Local'),
    ('backend', ['Sriov', {'domain': 0, 'bus': 1, 'dev': 2, 'fn': 3}], 'Sriov: only Local'),
    ('backend', ['Local', '../x'], 'not a bridge name'),
    ('backend', ['Local', 7], 'not a bridge name'),
    ('backend', 'xenbr0', 'backend'),
    ('backend', None, 'backend'),
    ('locking_mode', 'Locked', 'locking_mode'),
    ('locking_mode', 'Open', 'locking_mode'),
    ('locking_mode', None, 'locking_mode'),
    ('locking_mode', ['Unlocked', {'ipv4': [], 'ipv6': []}], 'locking_mode'),
    ('locking_mode', ['Locked', {'ipv4': []}], 'ipv6: not a list'),
    ('locking_mode', ['Locked', {'ipv4': '10.0.0.1', 'ipv6': []}], 'ipv4: not a list'),
    ('locking_mode', ['Locked', {'ipv4': [7], 'ipv6': []}], 'not an address'),
    ('locking_mode', ['Locked', {'ipv4': ['10.0.0.300'], 'ipv6': []}], '10.0.0.300'),
    ('locking_mode', ['Locked', {'ipv4': ['fd00::1'], 'ipv6': []}], 'no IPv4'),
    ('locking_mode', ['Locked', {'ipv4': ['10.0.0.1/33'], 'ipv6': []}], '/33'),
    ('locking_mode', ['Locked', {'ipv4': ['10.0.0.1/'], 'ipv6': []}], '10.0.0.1/'),
    ('locking_mode', ['Locked', {'ipv4': ['10.0.0.1/8/8'], 'ipv6': []}], '/8/8'),
    ('mac', 'ba:1c:2f:5e:90', 'MAC'),
    ('mac', 'ba:1c:2f:5e:90:01\n', 'MAC'),
    ('mac', '01:00:5e:00:00:01', 'multicast'),
    ('mac', None, 'mac'),
    ('other_config', [['a', 'b']], 'other_config'),
    ('other_config', {'a': 1}, 'other_config'),
    ('extra_private_keys', {'vif-uuid': None}, 'extra_private_keys'),
])
def test_what_makes_no_sense(write, key, value, complaint):
    refuse(write({**VIF, key: value}), complaint)


@pytest.mark.parametrize('content, complaint', [
    (b'', 'Expecting value'),
    (json.dumps(VIF).encode()[:200], 'line 1'),
    (os.urandom(16) + b'\xff', 'decode'),
    (b'[]', 'not a JSON object'),
    (b'null', 'not a JSON object'),
    (b'[' * 100000, 'recursion'),
    (b' ' * (10 << 20) + b'{}', 'larger than'),
])
def test_what_is_no_metadata(write, content, complaint):
    refuse(write(content), complaint)


def test_missing_file(write):
    path = write(VIF)
    os.unlink(path)
    refuse(path, 'No such file')


def test_folder_instead_of_file(write):
    path = write(VIF)
    os.unlink(path)
    os.mkdir(path)
    refuse(path, 'directory')


@pytest.mark.parametrize('vm_uuid, devid', [
    ('../../../etc', '0'), (VM + '/..', '0'), (VM + '\n', '0'), ('', '0'),
    (VM, '../x'), (VM, ''), (VM, '-1'), (VM, '0\n'), (VM, '\u0661'),
])
def test_names_that_are_no_path(root, vm_uuid, devid):
    with pytest.raises(MetadataError, match='not a VM uuid'):
        read_metadata(vm_uuid, devid)


def refuse(path, complaint):
    """Expect one bounded line that names the VM, the device, the file and the reason."""
    with pytest.raises(MetadataError, match=complaint) as failure:
        read_metadata(VM, '0')
    line = str(failure.value)
    assert line.startswith('VM %s device 0: %s: ' % (VM, path))
    assert line.isprintable() and len(line) < 600
