"""This host's xsisolate.yaml, kept as the pool's configuration in XAPI says.

The newest version that is signed and valid here is written, whole or not at all. One that is not
leaves the file as it is. A host's own file stays if it says local: true. Without XAPI nothing
happens. See docs/adr/0019.
"""
from hashlib import sha256
from typing import Dict, Mapping, Optional, Tuple

from xsisolate.config.load import config_file
from xsisolate.config.pool_check import check_for_pool, says_local
from xsisolate.config.stored import KEY, Stored, Versions, parse_stored
from xsisolate.dom0.linux.atomic_file import put_file, read_file
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.run_files.pool_configuration import (Taken, note_asked, read_taken,
                                                         write_taken)
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.dom0.xapi.pool_secret import read_pool_secret
from xsisolate.errors import ConfigError, HostError

VERSIONS_MAX = 8            # whose mistakes are remembered
PREVIOUS = '.previous'      # behind the file's name: what it said before


class TakeOver:
    """Compares the file with XAPI, and says once what is not as it should be."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._said = ''
        self._mistakes: Dict[str, str] = {}         # of versions, by digest
        self._local: Tuple[str, bool] = ('', False)     # a file's digest, and what it says

    def keep(self, pool: str, other_config: Mapping[str, str]) -> bool:
        """Have the file be what XAPI says; return whether it has changed."""
        if not pool:
            return False            # XAPI has not told of the pool: nothing is known
        before = read_taken()
        if before and before.pool != pool:
            before = None           # the host has come from another pool
        if before is None and not any(KEY.fullmatch(key) for key in other_config):
            return self._note(False, None)
        try:
            return self._note(*self._take(pool, other_config, before or Taken(pool)))
        except HostError as error:
            return self._note(False, (before or Taken(pool))._replace(error=str(error)))

    def _note(self, changed: bool, now: Optional[Taken]) -> bool:
        """Note what this host has; a full disk must not keep groups from being followed."""
        error = now.error if now else ''
        try:
            write_taken(now)
            note_asked()
        except HostError as failure:
            error = error or str(failure)
        if error and error != self._said:
            self._log.warning('configuration', version=now and now.wanted, error=error,
                              reason='xsisolate.yaml stays as it is')
        self._said = error
        return changed

    def _take(self, pool: str, other_config: Mapping[str, str],
              before: Taken) -> Tuple[bool, Taken]:
        versions = parse_stored(other_config, pool, read_pool_secret())
        text = read_file(config_file())
        local = text is not None and self._is_local(text)
        newest = versions.newest
        now = before._replace(local=local, wanted=newest.version if newest else 0,
                              wanted_digest=newest.digest if newest else '', error='')
        if local:
            return False, now._replace(taken=0, digest='')
        chosen, error = self._choose(versions, before)
        if chosen is None:
            return False, now._replace(error=error)
        now = now._replace(taken=chosen.version, digest=chosen.digest, error=error)
        if text == chosen.text:
            return False, now
        if text is not None:
            put_file(config_file() + PREVIOUS, text, inside=True)
        put_file(config_file(), chosen.text, inside=True)
        self._log.info('configuration', version=chosen.version, digest=chosen.digest[:12],
                       reason='the pool\'s, from XAPI; what was there is in xsisolate.yaml'
                       + PREVIOUS)
        return True, now

    def _choose(self, versions: Versions, before: Taken) -> Tuple[Optional[Stored], str]:
        """Return the version to have, and what is wrong with newer ones."""
        errors = ['version %d in XAPI does not count: %s' % item
                  for item in sorted(versions.refused.items(), reverse=True)]
        for stored in versions.found:
            if stored.version < before.taken:
                return None, '; '.join([
                    'XAPI has version %d and this host has taken version %d before: keys of '
                    'pool.other_config were removed or put back; push the configuration again'
                    % (stored.version, before.taken)] + errors)
            mistake = self._judge(stored)
            if not mistake:
                return stored, '; '.join(errors)
            errors.insert(0, 'version %d is not valid on this host: %s' % (stored.version, mistake))
        return None, '; '.join(errors) or (
            'the pool\'s configuration is gone from XAPI; version %d stays here: push it again'
            % before.taken)

    def _judge(self, stored: Stored) -> str:
        """Return the first mistake in a version, '' if there is none."""
        networks = read_networks()
        key = '%s %r' % (stored.digest, networks)
        if key not in self._mistakes:
            try:
                errors = check_for_pool(stored.text, 'version %d' % stored.version,
                                        networks).errors
                mistake = 'line %d: %s' % errors[0] if errors else ''
            except ConfigError as error:
                mistake = str(error)
            if len(self._mistakes) > VERSIONS_MAX:
                self._mistakes.clear()
            self._mistakes[key] = mistake
        return self._mistakes[key]

    def _is_local(self, text: str) -> bool:
        digest = sha256(text.encode('utf-8', 'replace')).hexdigest()
        if self._local[0] != digest:
            self._local = digest, says_local(text, config_file())
        return self._local[1]
