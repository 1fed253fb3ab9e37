"""What a host knows of its pool: state, age, and its own name."""
import os
from time import monotonic

import pytest
from xsisolate.dom0.run_files.pool_state import PoolState, path, read_state, write_state
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.errors import HostError

UUID = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'


def test_there_and_back(root):
    state = PoolState(True, monotonic() - 5, UUID, 7, 2)
    write_state(state)
    assert read_state().synced == pytest.approx(state.synced, abs=1e-5)
    assert read_state()._replace(synced=0) == state._replace(synced=0) and 5 <= state.age() < 6
    assert state.describe()['age'] >= 5 and state.describe()['error'] is None
    write_state(state._replace(connected=False, error='"no" route'))
    assert read_state().error == '"no" route' and 5 <= read_state().age() < 6


def test_a_state_that_is_confirmed_for_ever_is_written_once(root, monkeypatch):
    """XAPI confirms it every five seconds."""
    syncs, renames = [], []
    monkeypatch.setattr(os, 'fsync', syncs.append)
    monkeypatch.setattr(os, 'rename', lambda *names, rename=os.rename: (
        renames.append(names), rename(*names)))
    state, now = PoolState(True, None, UUID, 7, 2), monotonic()
    write_state(state)
    assert read_state() == state and len(syncs) == len(renames) == 1
    for ago in range(100, 0, -1):
        write_state(state._replace(synced=now - ago))
        assert ago <= read_state().age(now) < ago + 0.001
    assert len(syncs) == len(renames) == 1
    write_state(state._replace(synced=now, groups=3))
    assert read_state().groups == 3 and len(syncs) == len(renames) == 2


def test_a_new_state_is_never_seen_without_its_age(root, monkeypatch):
    """Its file's time is set before it gets its name: a reader would take it for brand-new."""
    seen = []
    monkeypatch.setattr(os, 'rename', lambda *names, rename=os.rename: (
        rename(*names), seen.append(read_state().age())))
    write_state(PoolState(False, monotonic() - 500, error='away'))
    assert [500 <= age < 501 for age in seen] == [True]


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
