"""Versions of the pool's configuration: what is signed counts, and nothing else."""
from typing import Dict

import pytest

from xsisolate.config.stored import (PACKED_MAX, TEXT_MAX, Stored, Versions, format_stored, key_of,
                                     pack, parse_stored, unpack)
from xsisolate.errors import ConfigError

POOL, SECRET = '6c8d0a5e-8a4f-2c61-1c5b-6f2f5a3f8c77', b'a secret that hosts have'
TEXT = 'version: 1\n# ünïcode\n'


def stored(*versions: int, pool: str = POOL, secret: bytes = SECRET) -> Dict[str, str]:
    """Return other_config with these versions."""
    return {key_of(version): format_stored(version, pack(TEXT + '# %d\n' % version), pool, secret)
            for version in versions}


def test_the_newest_counts() -> None:
    found = parse_stored(dict(stored(9, 10, 7), folder='x'), POOL, SECRET)
    assert found == Versions(tuple(Stored(version, TEXT + '# %d\n' % version)
                                   for version in (10, 9, 7)), {})
    assert found.newest and found.newest.version == 10
    assert parse_stored({}, POOL, SECRET) == Versions((), {})


def test_the_pool_is_the_same_however_it_is_written() -> None:
    assert parse_stored(stored(1, pool=POOL.upper()), POOL, SECRET).newest


@pytest.mark.parametrize('others', [
    stored(2, secret=b'another secret, of another pool'), stored(2, pool=POOL.replace('6', '7')),
    {key_of(2): stored(1)[key_of(1)]},      # put under another number
    {key_of(2): ''}, {key_of(2): 'x'}, {key_of(2): '2' + stored(2)[key_of(2)][1:]},
    {key_of(2): stored(2)[key_of(2)] + 'A'}, {key_of(2): stored(2)[key_of(2)][:-4]},
    {key_of(2): '1:' + '0' * 64 + ':' + pack(TEXT)}])
def test_what_is_not_signed_does_not_count(others: Dict[str, str]) -> None:
    found = parse_stored(dict(stored(1), **others), POOL, SECRET)
    assert [one.version for one in found.found] == [1] and set(found.refused) == {2}


@pytest.mark.parametrize('name', ['xsisolate-config-', 'xsisolate-config-0', 'xsisolate-config-01',
                                  'xsisolate-config--1', 'xsisolate-config-1x', 'xsisolate-config',
                                  'xsisolate-config-1234567890', 'xsisolate-config-٣'])
def test_other_keys_are_no_versions(name: str) -> None:
    assert parse_stored({name: 'x'}, POOL, SECRET) == Versions((), {})


def test_packing() -> None:
    assert unpack(pack(TEXT)) == TEXT and unpack(pack('')) == ''
    assert len(pack('- 10.9.0.0/24\n' * 50000)) < PACKED_MAX


def test_what_is_too_large_is_not_packed() -> None:
    import random
    draw = random.Random(1)
    with pytest.raises(ConfigError, match='the pool\'s record takes'):
        pack(''.join(chr(draw.randrange(33, 127)) for _ in range(PACKED_MAX)))


@pytest.mark.parametrize('packed', ['', 'x', '====', 'ü', 'AAAA', 'A' * (PACKED_MAX + 4)])
def test_what_cannot_be_unpacked(packed: str) -> None:
    with pytest.raises(ConfigError):
        unpack(packed)


def test_a_bomb_is_not_inflated() -> None:
    """A text that packs to little may be anything when it is unpacked."""
    bomb = pack('a' * (TEXT_MAX + 1))
    assert len(bomb) < 4096
    with pytest.raises(ConfigError, match='more than'):
        unpack(bomb)
    assert len(unpack(pack('a' * TEXT_MAX))) == TEXT_MAX


def test_half_a_text_is_refused() -> None:
    import base64
    half = base64.b64encode(base64.b64decode(pack(TEXT * 50))[:-8]).decode()
    with pytest.raises(ConfigError):
        unpack(half)
