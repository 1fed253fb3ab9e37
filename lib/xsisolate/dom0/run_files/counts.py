"""How often hooks have run and the daemon has worked since boot: for `metrics` alone.

A hook adds one byte to a file, and the file's size is the count: that needs no lock, and what
fails is not the hook's business.
"""
import os

from xsisolate.paths import rooted
from xsisolate.typing_compat import Any, Dict, Iterator, Tuple

FOLDER = '/run/xsisolate/counts'
DAEMON = FOLDER + '/daemon.json'
HOOKS = ('vif', 'setup-vif-rules')
DONE, FAILED = 'done', 'failed'
VERSION = 1


def count_hook(hook: str, failed: bool) -> None:
    """Count a run of a hook."""
    try:
        os.makedirs(rooted(FOLDER), 0o755, exist_ok=True)
        number = os.open(_file(hook, FAILED if failed else DONE),
                         os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(number, b'.')
        finally:
            os.close(number)
    except OSError:
        pass


def read_hooks() -> Iterator[Tuple[str, str, int]]:
    """Yield each hook, an outcome, and how often there was that outcome."""
    for hook in HOOKS:
        for outcome in (DONE, FAILED):
            try:
                yield hook, outcome, os.stat(_file(hook, outcome)).st_size
            except OSError:
                yield hook, outcome, 0


def _file(hook: str, outcome: str) -> str:
    return rooted('%s/%s.%s' % (FOLDER, hook, outcome))


def write_daemon(counts: Dict[str, Tuple[int, float]]) -> None:
    """Write how many tasks of each kind the daemon has done, and how many seconds they took."""
    import json

    from xsisolate.dom0.linux.atomic_file import put_file
    put_file(rooted(DAEMON), json.dumps({'version': VERSION, 'tasks': counts}))


def read_daemon() -> Dict[str, Tuple[int, float]]:
    """Return what the daemon has done, nothing if that is not known."""
    import json

    from xsisolate.dom0.linux.atomic_file import read_file
    from xsisolate.errors import HostError
    try:
        content: Any = json.loads(read_file(rooted(DAEMON)) or '{}')
        tasks = content.get('tasks', {}) if content.get('version') == VERSION else {}
        return {str(kind): (int(number), float(seconds))
                for kind, (number, seconds) in tasks.items()}
    except (HostError, ValueError, TypeError, AttributeError):
        return {}
