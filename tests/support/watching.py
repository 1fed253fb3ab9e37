"""The daemon beside a test, and what it has kept of refusals."""
from contextlib import contextmanager
from typing import Iterator

from sandbox.daemon import Watch
from sandbox.ovs import Ovs
from sandbox.process import wait_until
from sandbox.pythons import for_hooks

from support.command import xsisolate
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


def restart_switch(ovs: Ovs) -> None:
    """Have ovs-vswitchd crash and be started again; return when `refused` says so."""
    ovs.kill_vswitchd()
    ovs.start_vswitchd()
    wait_until(lambda: 'ovs-vswitchd was started again' in xsisolate('refused').out,
               'the daemon to see it', 30)


def has_kept(word: str) -> bool:
    """Tell whether the daemon has kept something."""
    try:
        with open(FILE, encoding='utf-8') as file:
            return word in file.read()
    except FileNotFoundError:
        return False
