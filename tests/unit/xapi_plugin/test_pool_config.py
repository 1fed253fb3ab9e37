"""Two administrators push: XAPI's answer to the second key decides, nothing is half done."""
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
from sandbox.xapidb import Database, Effects, Refused

from xsisolate.config.stored import format_stored, key_of, pack, unpack
from xsisolate.dom0.xapi.session import XapiError
from xsisolate.errors import ConfigError, HostError, UsageError
from xsisolate.xapi_plugin import pool_config

POOL, SECRET = '6c8d0a5e-8a4f-2c61-1c5b-6f2f5a3f8c77', 'aaaaaaaa/bbbbbbbb/cccccccc'
TEXT = 'version: 1\ngrace: %d\n'


class Xapi:
    """XAPI's database, spoken to without a socket; `before` is what happens before a call."""

    def __init__(self) -> None:
        self.db = Database(Effects())
        self.ref = self.db.add('pool', uuid=POOL, master='x', other_config={'folder': 'mine'})
        self.session = self.db.open_session('pool-admin')
        self.before: Optional[Callable[[str], None]] = None

    def __enter__(self) -> 'Xapi':
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def call(self, method: str, *args: Any) -> Any:
        """Answer as XAPI."""
        before, self.before = self.before, None
        if before:
            before(method)
        if self.before is None:
            self.before = before
        try:
            return self.db.answer(method, [self.session, *args])
        except Refused as refused:
            raise XapiError(method, refused.details) from None

    @property
    def config(self) -> Dict[str, str]:
        """The pool's other_config."""
        return dict(self.db.objects['pool'][self.ref]['other_config'])

    @property
    def versions(self) -> List[str]:
        """The keys of versions."""
        return sorted(key for key in self.config if key != 'folder')

    def put(self, version: int, value: str) -> None:
        """Write a key as another program does."""
        self.db.set('pool', self.ref, other_config={**self.config, key_of(version): value})


@pytest.fixture
def xapi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Xapi]:
    """A pool, and a host that knows its secret."""
    (tmp_path / 'etc/xensource').mkdir(parents=True)
    (tmp_path / 'etc/xensource/ptoken').write_text(SECRET)
    (tmp_path / 'etc/xensource/ptoken').chmod(0o600)
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    found = Xapi()
    monkeypatch.setattr(pool_config, 'connect', lambda: found)
    yield found


def push(grace: int, base: int) -> Any:
    """Push a configuration."""
    return pool_config.push(pack(TEXT % grace), str(base))


def shown() -> Any:
    """Return version and text that count."""
    told = pool_config.show()
    return told['version'], unpack(told['packed']) if told['packed'] else ''


def test_versions_follow_each_other(xapi: Xapi) -> None:
    assert shown() == (0, '')
    for number in range(5):
        assert push(number, number) == {'version': number + 1}
        assert shown() == (number + 1, TEXT % number)
    assert xapi.versions == [key_of(4), key_of(5)] and xapi.config['folder'] == 'mine'
    told = pool_config.show()
    assert told['previous'] == 4 and unpack(told['previous_packed']) == TEXT % 3


@pytest.mark.parametrize('base', [0, 2, 7])
def test_another_base(xapi: Xapi, base: int) -> None:
    push(1, 0)
    with pytest.raises(pool_config.Conflict, match='the pool has version 1'):
        push(2, base)
    assert shown() == (1, TEXT % 1) and xapi.versions == [key_of(1)]


def test_two_at_once(xapi: Xapi) -> None:
    """The other one comes between our look and our key."""
    def other(method: str) -> None:
        if method == 'pool.add_to_other_config':
            xapi.before = None
            assert push(9, 0) == {'version': 1}
    xapi.before = other
    with pytest.raises(pool_config.Conflict, match='another administrator has pushed version 1'):
        push(2, 0)
    assert shown() == (1, TEXT % 9) and xapi.versions == [key_of(1)]


def test_one_that_was_asleep(xapi: Xapi) -> None:
    """Its number is free again when it wakes up; what is newer counts, and it is told so."""
    def others(method: str) -> None:
        if method == 'pool.add_to_other_config':
            xapi.before = None
            for number in range(3):
                push(7, number)
    xapi.before = others
    with pytest.raises(pool_config.Conflict, match='version 3 is there'):
        push(2, 0)
    assert shown() == (3, TEXT % 7) and xapi.versions == [key_of(2), key_of(3)]


def test_nonsense_under_the_next_number_is_replaced(xapi: Xapi) -> None:
    xapi.put(1, 'x')
    xapi.put(5, format_stored(5, pack(TEXT % 5), POOL, b'another secret'))
    assert set(pool_config.show()['refused']) == {'1', '5'}
    assert push(1, 0) == {'version': 1} and shown() == (1, TEXT % 1)
    assert xapi.versions == [key_of(1)]


def test_a_mistake_is_not_written(xapi: Xapi) -> None:
    for text in ('version: 2\n', '', 'version: 1\nlocal: true\n'):
        with pytest.raises(ConfigError):
            pool_config.push(pack(text), '0')
        assert pool_config.check(pack(text))['errors']
    assert not xapi.versions
    assert not pool_config.check(pack(TEXT % 3))['errors']


@pytest.mark.parametrize('packed, base', [('x', '0'), ('', '0'), (pack(TEXT % 1), ''),
                                          (pack(TEXT % 1), '-1'), (pack(TEXT % 1), '1' * 10),
                                          (pack(TEXT % 1), 'x')])
def test_arguments(xapi: Xapi, packed: str, base: str) -> None:
    with pytest.raises(UsageError):
        pool_config.push(packed, base)
    assert not xapi.versions


@pytest.mark.parametrize('method, written', [('pool.get_all_records', []),
                                             ('pool.add_to_other_config', []),
                                             ('pool.remove_from_other_config', [1, 2, 3])])
def test_a_call_that_fails(xapi: Xapi, method: str, written: List[int]) -> None:
    """Before the key is added nothing is there; after it the version counts."""
    if written:
        push(1, 0)
        push(2, 1)

    def fail(name: str) -> None:
        if name == method:
            raise XapiError(name, ['INTERNAL_ERROR'])
    xapi.before = fail
    if written:
        assert push(3, 2) == {'version': 3}
    else:
        with pytest.raises(HostError):
            push(3, 0)
    xapi.before = None
    assert xapi.versions == [key_of(number) for number in written]
    assert shown()[0] == (written or [0])[-1]


def test_without_the_secret(xapi: Xapi, tmp_path: Path) -> None:
    (tmp_path / 'etc/xensource/ptoken').unlink()
    with pytest.raises(HostError, match='ptoken'):
        push(1, 0)
    assert not xapi.versions
