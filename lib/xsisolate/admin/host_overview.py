"""What a host says of itself in one piece: the plugin's answer to `overview`, both ends.

As with all answers of plugins, what is there beyond what is known here is passed over: the pool's
hosts may have another release.
"""
from typing import Any, Dict, Mapping, NamedTuple, Tuple

# The plugin's functions.
OVERVIEW, DOCTOR, MATRIX, SYNC, REFUSED = 'overview', 'doctor', 'matrix', 'sync', 'refused'
TEXTS_MAX = 100             # warnings taken over from a host
TEXT_MAX = 1000             # characters of each


class HostOverview(NamedTuple):
    """A host's xsisolate: which release, whether it works, what it does."""

    version: str
    active: bool                    # xenopsd calls our hooks
    daemon: str                     # what systemd says: active, inactive, ...
    digest: str                     # SHA-256 of xsisolate.yaml; '': there is none
    source: str                     # of xsisolate.yaml: file, local, or `pool 7`, the version
    wanted: str                     # digest of the pool's configuration in XAPI; '': none there
    modes: Mapping[str, int]        # number of VIFs by mode
    unsealed: int                   # VIFs whose seal does not fit
    permissive: int                 # VIFs that no policy holds: theirs are judged only
    would_be: int                   # those of them that would be quarantined or disabled
    error: str                      # the last error of a VIF, or of the follower of XAPI
    warnings: Tuple[str, ...]       # what concerns more than one VIF
    code: int                       # exit code of `xsisolate status` there

    @property
    def quarantined(self) -> int:
        """The number of VIFs in quarantine."""
        return self.modes.get('quarantined', 0)

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return dict(self._asdict(), modes=dict(self.modes), warnings=list(self.warnings))


def parse_overview(reply: Any) -> HostOverview:
    """Return what a host's plugin has answered; raise ValueError if it cannot be read."""
    try:
        found = HostOverview(**{name: reply[name] for name in HostOverview._fields})
        texts = (found.version, found.daemon, found.digest, found.source, found.wanted,
                 found.error)
        numbers = (found.unsealed, found.permissive, found.would_be, found.code,
                   *found.modes.values())
        if not all(isinstance(text, str) for text in (*texts, *found.modes, *found.warnings)):
            raise ValueError('a text is not a string')
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError('a number is not one: %.80r' % (numbers,))
        if not isinstance(found.active, bool):
            raise ValueError('active is neither true nor false: %.40r' % (found.active,))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None
    return found._replace(modes=dict(found.modes), error=found.error[:TEXT_MAX],
                          warnings=tuple(text[:TEXT_MAX] for text in found.warnings[:TEXTS_MAX]))
