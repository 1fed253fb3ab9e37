"""The file of the pool's networks."""
import os

import pytest
from xsisolate.config.host_config import read_configuration
from xsisolate.dom0.run_files.pool_networks import may_be_bridge, read_networks, write_networks
from xsisolate.errors import ConfigError
from xsisolate.policy.model import Mode, PoolNetwork

UUID = '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'
TENANTS = PoolNetwork(UUID, 'xapi1', 'Mieter \N{LATIN SMALL LETTER U WITH DIAERESIS}ber "allen"')
OTHER = PoolNetwork(UUID.replace('6', '7'), 'xenbr0', 'Pool-wide network')


@pytest.fixture
def file(root):
    return root / 'run/xsisolate/networks.json'


def test_written_and_read(root, file):
    assert read_networks() is None
    assert write_networks([OTHER, TENANTS])
    assert read_networks() == (TENANTS, OTHER)
    before = os.stat(str(file)).st_ino
    assert not write_networks([TENANTS, OTHER]) and os.stat(str(file)).st_ino == before
    assert write_networks([]) and read_networks() == ()
    assert os.listdir(str(file.parent)) == ['networks.json']


@pytest.mark.parametrize('content', [
    b'', b'{', b'7', b'[]', b'{"version": 2, "networks": []}', b'{"version": 1}', b'\xff',
    b'{"version": 1, "networks": 7}', b'{"version": 1, "networks": [["a", "b"]]}',
    b'{"version": 1, "networks": [["a", "b", 7]]}', b'{"version": 1, "networks": [7]}',
    b'[' * 100000])
def test_what_makes_no_sense_is_an_error(root, file, content):
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(ConfigError, match='networks.json: '):
        read_networks()


def test_devices():
    assert may_be_bridge('lo')
    assert not may_be_bridge('nosuch') and not may_be_bridge('../net/lo')


@pytest.fixture
def configure(root):
    folder = root / 'etc/xsisolate'
    folder.mkdir(parents=True)
    (folder / 'xsisolate.yaml').write_text(
        'version: 1\nnetworks: {Tenants: {default: isolated}}\n')


def test_the_configuration_has_uuids(root, configure):
    for networks, words in ((None, 'XAPI has not told the daemon'), ([OTHER], 'nor a name-label')):
        if networks:
            write_networks(networks)
        found = read_configuration()
        assert words in found.error and '/etc/xsisolate/xsisolate.yaml: networks.' in found.error
        assert not found.config.networks        # and so every VIF is quarantined
    write_networks([OTHER, TENANTS._replace(label='Tenants')])
    found = read_configuration()
    assert not found.error
    assert found.find_network('xapi1', UUID).default is Mode.ISOLATED
    assert found.find_network('xenbr0', OTHER.uuid).default is Mode.UNLOCKED
