"""What this host knows of the pool, and how old that is: written by the daemon's child.

XAPI confirms the state every few seconds, for ever. Only the file's mtime moves then: it holds
seconds since boot, which no change of the host's clock makes wrong, and 0 for never.
"""
import json
import os
from time import monotonic
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from xsisolate.dom0.linux.atomic_file import put_file
from xsisolate.errors import HostError
from xsisolate.paths import rooted

FILE = '/run/xsisolate/pool.json'
VERSION = 1


class PoolState(NamedTuple):
    """When XAPI last confirmed what the group files say; times are seconds since boot."""

    connected: bool
    synced: Optional[float] = None      # None: never since boot
    host: str = ''                      # this host's uuid
    vifs: int = 0                       # in the pool
    groups: int = 0                     # with members elsewhere
    error: str = ''                     # why XAPI is away, or what it answers
    untold: Mapping[str, List[str]] = {}    # what networkd does not know of bridges: keys
    refused: str = ''                   # why

    def age(self, now: Optional[float] = None) -> Optional[float]:
        """Return how many seconds ago XAPI confirmed the state, None if never.

        A follower that was killed does not say so: its state just grows old.
        """
        return None if self.synced is None else max((monotonic() if now is None else now)
                                                    - self.synced, 0.0)

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        age = self.age()
        return {'connected': self.connected, 'age': None if age is None else round(age, 1),
                'host': self.host or None, 'vifs': self.vifs, 'groups': self.groups,
                'error': self.error or None}


def path() -> str:
    """Return where the state is kept."""
    return rooted(FILE)


def write_state(state: PoolState) -> None:
    """Write the state; of one that was only confirmed, nothing but when."""
    content = dict(state._asdict(), version=VERSION)
    synced = content.pop('synced') or 0.0
    if not put_file(path(), json.dumps(content), mtime=synced):
        try:
            os.utime(path(), (synced, synced))
        except OSError as error:
            raise HostError('%s: its time cannot be set: %s' % (path(), error.strerror)) from error


def read_state() -> Optional[PoolState]:
    """Return the state; None if no daemon follows XAPI here, or the file cannot be read."""
    try:
        with open(path(), encoding='utf-8') as file:
            content = json.load(file)
            synced = os.fstat(file.fileno()).st_mtime
        if content.pop('version') != VERSION:
            return None
        return PoolState(synced=synced or None, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
