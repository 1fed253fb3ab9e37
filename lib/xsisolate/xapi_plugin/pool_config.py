"""The pool's configuration in XAPI, as `xsisolate pool config` has hosts read, judge and write it.

XAPI lets only a pool-admin call a plugin, and only hosts know the secret that signs what is
written: so it is pool-admins alone that write what counts.
"""
from typing import Any, Dict, Tuple

from xsisolate import __version__
from xsisolate.admin.pool_call import read_pool
from xsisolate.admin.pool_config_protocol import HostState, Judged, Shown
from xsisolate.config.pool_check import check_for_pool
from xsisolate.config.stored import (KEY, Versions, format_stored, key_of, pack, parse_stored,
                                     unpack)
from xsisolate.diagnostics.overview import digest_file
from xsisolate.dom0.run_files.pool_configuration import Taken, read_taken
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.dom0.xapi.pool_secret import read_pool_secret
from xsisolate.dom0.xapi.session import Xapi, XapiError, connect
from xsisolate.errors import ConfigError, HostError, UsageError

DUPLICATE = 'MAP_DUPLICATE_KEY'
NAME = 'the configuration'


class Conflict(HostError):
    """Somebody else has written a version meanwhile."""


def show() -> Dict[str, Any]:
    """Return the version that counts, and the one before."""
    with connect() as xapi:
        versions = _read(xapi)[1]
    found = [(one.version, pack(one.text)) for one in versions.found[:2]] + [(0, ''), (0, '')]
    return Shown(*found[0], *found[1], {
        str(version): error for version, error in versions.refused.items()}).describe()


def check(packed: str) -> Dict[str, Any]:
    """Return what this release says of a configuration."""
    checked = check_for_pool(_unpack(packed), NAME, read_networks())
    return Judged(__version__, tuple((one.line, one.text) for one in checked.errors),
                  tuple((one.line, one.text) for one in checked.warnings)).describe()


def state() -> Dict[str, Any]:
    """Return what this host has of the pool's configuration."""
    taken = read_taken() or Taken()
    return HostState(taken.taken, taken.wanted, digest_file(), taken.local, taken.error).describe()


def push(packed: str, base: str) -> Dict[str, Any]:
    """Write a configuration as the version after `base`; raise Conflict if there is one already.

    The one call that adds the new key makes it count; what comes after that only tidies up.
    """
    if not base.isdigit() or len(base) > 9:
        raise UsageError('config_push: base is not a version: %.20r' % base)
    text = _unpack(packed)
    checked = check_for_pool(text, NAME, read_networks())
    if checked.errors:
        raise ConfigError('%s:%d: %s' % (NAME, *checked.errors[0]))
    with connect() as xapi:
        pool, versions = _read(xapi)
        _check_base(versions, int(base))
        version = int(base) + 1
        value = format_stored(version, pack(text), str(pool['uuid']), read_pool_secret())
        if version in versions.refused:     # what others have written there does not count
            xapi.call('pool.remove_from_other_config', pool['ref'], key_of(version))
        _add(xapi, str(pool['ref']), version, value)
        after = _read(xapi)[1]
        if after.newest is None or (after.newest.version, after.newest.text) != (version, text):
            xapi.call('pool.remove_from_other_config', pool['ref'], key_of(version))
            raise Conflict('version %d is there, written by another administrator at the same '
                           'time: yours was taken back; look at it (xsisolate pool config diff '
                           'FILE) and push again' % (after.newest.version if after.newest else 0))
        _tidy_up(xapi, pool, version, int(base))
    return {'version': version}


def _check_base(versions: Versions, base: int) -> None:
    newest = versions.newest.version if versions.newest else 0
    if newest != base:
        raise Conflict('the pool has version %d, and yours was made after version %d: another '
                       'administrator has pushed meanwhile; nothing was written: look at it '
                       '(xsisolate pool config diff FILE) and push again' % (newest, base))


def _add(xapi: Xapi, pool: str, version: int, value: str) -> None:
    try:
        xapi.call('pool.add_to_other_config', pool, key_of(version), value)
    except XapiError as error:
        if error.code != DUPLICATE:
            raise
        raise Conflict('another administrator has pushed version %d at the same time; nothing of '
                       'yours was written: look at it (xsisolate pool config diff FILE) and push '
                       'again' % version) from None


def _tidy_up(xapi: Xapi, pool: Dict[str, Any], version: int, previous: int) -> None:
    """Remove versions but the last two; one that stays does no harm."""
    for key in pool['other_config']:
        match = KEY.fullmatch(key)
        if match and int(match.group(1)) not in (version, previous):
            try:
                xapi.call('pool.remove_from_other_config', pool['ref'], key)
            except XapiError:
                pass


def _read(xapi: Xapi) -> Tuple[Dict[str, Any], Versions]:
    pool = read_pool(xapi)
    return pool, parse_stored(pool['other_config'], str(pool['uuid']), read_pool_secret())


def _unpack(packed: str) -> str:
    try:
        return unpack(packed)
    except ConfigError as error:
        raise UsageError('config: %s' % error) from None

