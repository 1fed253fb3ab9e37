"""What a host knows of its pool: state, age, and its own name."""
from time import monotonic

import pytest
from xsisolate.dom0.inventory import read_host_uuid
from xsisolate.dom0.poolstate import PoolState, path, read_state, write_state
from xsisolate.errors import HostError

UUID = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'


def test_there_and_back(root):
    state = PoolState(True, monotonic() - 5, UUID, 7, 2)
    write_state(state)
    assert read_state() == state and 5 <= state.age() < 6
    assert state.describe()['age'] >= 5 and state.describe()['error'] is None
    write_state(state._replace(connected=False, error='"no" route'))
    assert read_state().error == '"no" route' and read_state().synced == state.synced


def test_never(root):
    assert read_state() is None and PoolState(False).age() is None
    assert PoolState(True, monotonic() + 100).age() == 0


@pytest.mark.parametrize('content', [b'', b'[]', b'3', b'{}', b'{"version": 2}', b'\xff',
                                     b'{"version": 1, "nonsense": 2}'])
def test_what_makes_no_sense(root, content):
    (root / 'run/xsisolate').mkdir(parents=True)
    with open(path(), 'wb') as file:
        file.write(content)
    assert read_state() is None


@pytest.mark.parametrize('text', [
    "INSTALLATION_UUID='%s'\n", 'INSTALLATION_UUID="%s"\n', 'INSTALLATION_UUID=%s\n',
    "PRODUCT='x'\nINSTALLATION_UUID='%s'\nCONTROL_DOMAIN_UUID='y'\n"])
def test_this_host(root, text):
    (root / 'etc').mkdir()
    (root / 'etc/xensource-inventory').write_text(text % UUID.upper())
    assert read_host_uuid() == UUID


@pytest.mark.parametrize('text', [None, '', "INSTALLATION_UUID='x'\n",
                                  'XINSTALLATION_UUID=' + UUID])
def test_no_host(root, text):
    (root / 'etc').mkdir()
    if text is not None:
        (root / 'etc/xensource-inventory').write_text(text)
    with pytest.raises(HostError, match='xensource-inventory'):
        read_host_uuid()
