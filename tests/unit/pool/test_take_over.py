"""The host's file and the pool's configuration: which one is there, and what is said of it."""
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from xsisolate.config.stored import format_stored, key_of, pack
from xsisolate.dom0.run_files.pool_configuration import read_taken
from xsisolate.pool.take_over import TakeOver

POOL, OTHER_POOL = '6c8d0a5e-8a4f-2c61-1c5b-6f2f5a3f8c77', '00000000-0000-0000-0000-000000000001'
SECRET = 'aaaaaaaa/bbbbbbbb/cccccccc'
OWN, NEW, NEWER = 'version: 1\n', 'version: 1\ngrace: 3\n', 'version: 1\ngrace: 4\n'


class Logged:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: List[Tuple[str, Dict[str, Any]]] = []

    def info(self, text: str, **more: Any) -> None:
        """Note a line."""
        self.lines.append(('info', more))

    def warning(self, text: str, **more: Any) -> None:
        """Note a line."""
        self.lines.append(('warning', more))


class Host:
    """A host's files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / 'etc/xsisolate/xsisolate.yaml'
        self.log = Logged()
        self.take_over = TakeOver(self.log)     # type: ignore[arg-type]
        for path in (self.file.parent, root / 'etc/xensource', root / 'run/xsisolate'):
            path.mkdir(parents=True)
        self.secret(SECRET)
        self.file.write_text(OWN)

    def secret(self, text: str) -> None:
        """Write the pool's secret."""
        path = self.root / 'etc/xensource/ptoken'
        path.write_text(text)
        path.chmod(0o600)

    def hear(self, *versions: Tuple[int, str], pool: str = POOL, secret: str = SECRET,
             **more: str) -> bool:
        """Have XAPI say that the pool has these versions."""
        other_config = {key_of(number): format_stored(number, pack(text), pool, secret.encode())
                        for number, text in versions}
        return self.take_over.keep(pool, dict(other_config, folder='x', **more))

    @property
    def text(self) -> str:
        """What the file says."""
        return self.file.read_text()

    @property
    def error(self) -> str:
        """What the host has noted as wrong."""
        found = read_taken()
        return found.error if found else ''


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with a file of its own."""
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    yield Host(tmp_path)


def test_a_pool_without_a_configuration_touches_nothing(host: Host) -> None:
    assert not host.hear() and host.text == OWN and read_taken() is None
    assert (host.root / 'run/xsisolate/pool-configuration-asked').exists()
    assert not host.log.lines


def test_a_pool_that_xapi_does_not_tell_of(host: Host) -> None:
    assert host.hear((1, NEW))
    assert not host.take_over.keep('', {}) and host.text == NEW
    taken = read_taken()
    assert taken and taken.taken == 1


def test_the_newest_is_taken_once(host: Host) -> None:
    assert host.hear((1, NEW), (2, NEWER)) and host.text == NEWER
    assert host.file.with_name('xsisolate.yaml.previous').read_text() == OWN
    taken = read_taken()
    assert taken and (taken.taken, taken.wanted, taken.error, taken.local) == (2, 2, '', False)
    stamp = os.stat(str(host.file)).st_mtime_ns
    assert not host.hear((1, NEW), (2, NEWER)) and os.stat(str(host.file)).st_mtime_ns == stamp
    assert [kind for kind, _ in host.log.lines] == ['info']


@pytest.mark.parametrize('broken', ['version: 9\n', '{', '', 'version: 1\nlocal: true\n',
                                    'version: 1\nunknown: 1\n'])
def test_a_broken_one_is_not_taken(host: Host, broken: str) -> None:
    assert host.hear((1, NEW))
    assert not host.hear((1, NEW), (2, broken)) and host.text == NEW
    assert 'version 2 is not valid on this host' in host.error
    assert not host.hear((1, NEW), (2, broken))
    assert [kind for kind, _ in host.log.lines] == ['info', 'warning']      # said once
    assert host.hear((2, broken), (3, NEWER)) and host.text == NEWER and not host.error


def test_a_new_host_takes_the_one_before_the_broken(host: Host) -> None:
    assert host.hear((1, NEW), (2, 'version: 9\n')) and host.text == NEW and host.error


def test_nothing_that_is_valid(host: Host) -> None:
    assert not host.hear((1, 'version: 9\n')) and host.text == OWN and host.error


def test_what_is_not_signed(host: Host) -> None:
    assert host.hear((1, NEW))
    forged = format_stored(2, pack(NEWER), POOL, b'another secret')
    assert not host.hear((1, NEW), **{key_of(2): forged}) and host.text == NEW
    assert 'version 2 in XAPI does not count: it is not signed' in host.error
    assert not host.hear((2, NEWER), secret='another/secret/of/the/pool') and host.text == NEW


@pytest.mark.parametrize('secret', ['', 'short', None])
def test_without_the_secret(host: Host, secret: Any) -> None:
    if secret is None:
        (host.root / 'etc/xensource/ptoken').unlink()
    else:
        host.secret(secret)
    assert not host.hear((1, NEW)) and host.text == OWN and 'ptoken' in host.error


def test_a_secret_that_others_may_read(host: Host) -> None:
    (host.root / 'etc/xensource/ptoken').chmod(0o644)
    assert not host.hear((1, NEW)) and host.text == OWN and 'chmod 600' in host.error


def test_a_lower_version_does_not_count_again(host: Host) -> None:
    assert host.hear((1, NEW), (2, NEWER))
    assert not host.hear((1, NEW)) and host.text == NEWER
    assert 'XAPI has version 1 and this host has taken version 2' in host.error
    assert not host.hear() and host.text == NEWER and 'gone from XAPI' in host.error
    assert host.hear((3, NEW)) and not host.error


def test_another_pool_begins_anew(host: Host) -> None:
    assert host.hear((7, NEW))
    assert host.hear((1, NEWER), pool=OTHER_POOL) and host.text == NEWER and not host.error
    assert not host.hear(pool=POOL) and read_taken() is None     # and into one without any


@pytest.mark.parametrize('own', ['version: 1\nlocal: true\n', 'version: 9\nlocal: true # mine\n'])
def test_a_local_file_stays(host: Host, own: str) -> None:
    host.file.write_text(own)
    assert not host.hear((1, NEW)) and host.text == own
    taken = read_taken()
    assert taken and taken.local and taken.wanted == 1 and not taken.taken and not taken.error
    host.file.write_text(OWN)
    assert host.hear((1, NEW)) and host.text == NEW


@pytest.mark.parametrize('own', ['version: 1\nlocal: false\n', 'version: 9\n# local: true\n',
                                 'version: 9\ngroups: {local: true}\n',
                                 'version: 9\n  local: true\n', '{', ''])
def test_other_files_do_not(host: Host, own: str) -> None:
    host.file.write_text(own)
    assert host.hear((1, NEW)) and host.text == NEW
    assert host.file.with_name('xsisolate.yaml.previous').read_text() == own


def test_a_file_that_is_missing_or_edited_is_written_again(host: Host) -> None:
    assert host.hear((1, NEW))
    host.file.unlink()
    assert host.hear((1, NEW)) and host.text == NEW
    host.file.write_text(NEWER)
    assert host.hear((1, NEW)) and host.text == NEW


def test_a_disk_that_takes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower goes on: groups matter more."""
    def full(*_: Any) -> None:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('xsisolate.dom0.linux.atomic_file.os.rename', full)
    assert not host.hear((1, NEW)) and host.text == OWN
    assert [more['error'] for kind, more in host.log.lines if 'No space' in more['error']]
    monkeypatch.undo()
    monkeypatch.setenv('XSISOLATE_ROOT', str(host.root))
    assert host.hear((1, NEW)) and host.text == NEW
    assert not [name for name in os.listdir(str(host.file.parent)) if name.endswith('.new')]


@pytest.mark.parametrize('noted', ['', '{', '[]', 'null', '{"version": 1, "more": 2}',
                                   '{"version": 1, "pool": "%s", "taken": "7"}' % POOL,
                                   '{"version": 2}', '[' * 9999])
def test_a_note_that_makes_no_sense(host: Host, noted: str) -> None:
    (host.file.parent / 'pool-configuration.json').write_text(noted)
    assert host.hear((1, NEW)) and host.text == NEW
    assert json.loads((host.file.parent / 'pool-configuration.json').read_text())['taken'] == 1


def test_names_of_networks_are_looked_up_here(host: Host) -> None:
    text = 'version: 1\nnetworks: {Tenants: {}}\n'
    networks = host.root / 'run/xsisolate/networks.json'
    networks.write_text('{"version": 1, "networks": []}')
    assert not host.hear((1, text)) and 'Tenants' in host.error
    networks.write_text('{"version": 1, "networks": [["%s", "xapi3", "Tenants"]]}' % POOL)
    assert host.hear((1, text)) and host.text == text
