"""The pool's configuration as XAPI keeps it: versions under keys of pool.other_config, signed.

    xsisolate-config-7 = 1:<HMAC-SHA256>:<base64 of zlib of the YAML text>

A pool-operator may write pool.other_config, and only a pool-admin may write policies for all. So a
value counts only with the signature that hosts make, by the pool's secret; a host makes one when a
pool-admin asks for it through the plugin. The highest version that is signed counts. Writing a key
that is not there yet is atomic in XAPI, so of two admins one gets the number.
"""
import base64
import binascii
import hmac
import re
import zlib
from hashlib import sha256
from typing import List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.errors import ConfigError

PREFIX = 'xsisolate-config-'
KEY = re.compile(PREFIX + '([1-9][0-9]{0,8})')
FORMAT = '1'
VALUE = re.compile('1:([0-9a-f]{64}):([A-Za-z0-9+/=]+)')
# The kernel takes 128 KiB for one argument of a program, and so xapi hands on what a plugin is
# asked; each client that follows the pool's record gets all of it with each event.
PACKED_MAX = 64 << 10
TEXT_MAX = 1 << 20          # of the YAML text, as for a file


class Stored(NamedTuple):
    """A version of the pool's configuration."""

    version: int
    text: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, as of a file with it."""
        return sha256(self.text.encode('utf-8')).hexdigest()


class Versions(NamedTuple):
    """What pool.other_config has."""

    found: Tuple[Stored, ...]               # the newest first
    refused: Mapping[int, str]              # versions that do not count, and why

    @property
    def newest(self) -> Optional[Stored]:
        """The version that counts."""
        return self.found[0] if self.found else None


def key_of(version: int) -> str:
    """Return the key of a version."""
    return '%s%d' % (PREFIX, version)


def pack(text: str) -> str:
    """Return a text as it is stored and sent; raise ConfigError if it is too large."""
    packed = base64.b64encode(zlib.compress(text.encode('utf-8'), 9)).decode('ascii')
    if len(packed) > PACKED_MAX:
        raise ConfigError('the configuration has %d bytes, packed %d: the pool\'s record takes %d. '
                          'Write addresses as networks, or leave it in files of the hosts with '
                          'local: true' % (len(text), len(packed), PACKED_MAX))
    return packed


def unpack(packed: str) -> str:
    """Return what was packed; raise ConfigError."""
    if len(packed) > PACKED_MAX:
        raise ConfigError('%d bytes, at most %d are read' % (len(packed), PACKED_MAX))
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(packed, validate=True), TEXT_MAX + 1)
        if len(data) > TEXT_MAX or not inflate.eof:
            raise ConfigError('not the whole of a text, or one of more than %d bytes' % TEXT_MAX)
        return data.decode('utf-8')
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ConfigError('not a packed text: %s' % error) from None


def format_stored(version: int, packed: str, pool: str, secret: bytes) -> str:
    """Return the value under a version's key; `pool` is the pool's uuid."""
    return '%s:%s:%s' % (FORMAT, _sign(version, packed, pool, secret), packed)


def parse_stored(other_config: Mapping[str, str], pool: str, secret: bytes) -> Versions:
    """Return the versions that the pool's other_config has."""
    found: List[Stored] = []
    refused = {}
    for key, value in other_config.items():
        match = KEY.fullmatch(key)
        if match:
            version = int(match.group(1))
            try:
                found.append(Stored(version, _open(version, value, pool, secret)))
            except ConfigError as error:
                refused[version] = str(error)
    return Versions(tuple(sorted(found, reverse=True)), refused)


def _open(version: int, value: str, pool: str, secret: bytes) -> str:
    """Return the text in a value; raise ConfigError."""
    match = VALUE.fullmatch(value)
    if not match:
        raise ConfigError('not a value that xsisolate pool config push has written: %.20r' % value)
    mac, packed = match.groups()
    if not hmac.compare_digest(mac, _sign(version, packed, pool, secret)):
        raise ConfigError('it is not signed with this pool\'s secret: either another program has '
                          'written it, or the secret was changed since (xe pool-secret-rotate)')
    return unpack(packed)


def _sign(version: int, packed: str, pool: str, secret: bytes) -> str:
    key = sha256(b'xsisolate: configuration of the pool\0' + secret).digest()
    said = '%s\n%d\n%s' % (pool.lower(), version, packed)
    return hmac.new(key, said.encode('ascii', 'replace'), sha256).hexdigest()
