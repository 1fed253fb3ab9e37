"""Which version of the pool's configuration this host has taken over: it outlives a reboot.

Beside it, below /run, is whether XAPI has been asked since boot: until then hooks wait a moment.
"""
import json

from xsisolate.dom0.linux.atomic_file import put_file, read_file
from xsisolate.paths import POOL_ASKED, POOL_CONFIGURATION, rooted
from xsisolate.typing_compat import NamedTuple, Optional

VERSION = 1


class Taken(NamedTuple):
    """What became of the pool's configuration on this host."""

    pool: str = ''              # the pool's uuid
    taken: int = 0              # the version that xsisolate.yaml has; 0: none
    digest: str = ''            # of its text, SHA-256
    wanted: int = 0             # the version that XAPI has
    wanted_digest: str = ''
    error: str = ''             # why what XAPI has was not taken, or counts not
    local: bool = False         # the host's own file says local: true


def read_taken() -> Optional[Taken]:
    """Return what became of the pool's configuration here; None if there never was one."""
    try:
        content = json.loads(read_file(rooted(POOL_CONFIGURATION)) or 'null')
        if not isinstance(content, dict) or content.pop('version') != VERSION:
            return None
        taken = Taken(**content)
        fine = all(type(value) is type(default) for value, default in zip(taken, Taken()))
        return taken if fine else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def write_taken(taken: Optional[Taken]) -> None:
    """Note it; None: this pool has no configuration of its own."""
    text = None if taken is None else json.dumps(dict(taken._asdict(), version=VERSION),
                                                 sort_keys=True) + '\n'
    put_file(rooted(POOL_CONFIGURATION), text, inside=True)


def note_asked() -> None:
    """Note that XAPI was asked since boot, and that this host has what XAPI had."""
    put_file(rooted(POOL_ASKED), '')
