"""The daemon beside a test, and what it has kept of refusals."""
from contextlib import contextmanager
from typing import Iterator

from sandbox.daemon import Watch
from sandbox.pythons import for_hooks

from xsisolate.dom0.run_files.refused import FILE


@contextmanager
def watching() -> Iterator[Watch]:
    """Have the daemon run."""
    found = Watch(for_hooks())
    try:
        yield found.start()
        found.stop()
    finally:
        found.close()


def has_kept(word: str) -> bool:
    """Tell whether the daemon has kept something."""
    try:
        with open(FILE, encoding='utf-8') as file:
            return word in file.read()
    except FileNotFoundError:
        return False
