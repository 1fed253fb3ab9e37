"""A Dom0 with sealed VMs, and the daemon: started as systemd does, ended with SIGTERM.

No test here calls a hook for a change; those of hooks are in tests/system/hooks.
"""
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from sandbox import seals
from sandbox.daemon import PATH, Watch
from sandbox.hooks import REPOSITORY
from sandbox.dom0 import Sandbox, Sealer
from sandbox.vm import Vm

from support.guarded_host import CONFIG, LONG_S, SHORT_S, Around, settle_in, starting
from support.shouting import Shouting


@pytest.fixture
def new_watch(dom0: Sandbox) -> Iterator[Callable[[], Watch]]:
    """Make daemons that are not started yet; those that run at the end must end well."""
    made: List[Watch] = []

    def make(python: str = '') -> Watch:
        made.append(Watch(python or os.environ.get('HOOK_PYTHON') or sys.executable))
        return made[-1]

    try:
        yield make
        for one in made:
            if one.process:
                one.stop()
    finally:
        for one in made:
            one.close()


@pytest.fixture
def watch(new_watch: Callable[[], Watch], start: Any) -> Watch:
    """The daemon, ready; it goes before the VMs of the test."""
    return new_watch().start()


@pytest.fixture(scope='module')
def sealer() -> Sealer:
    """Policies are sealed as docs/seal.md says."""
    return seals.seal


@pytest.fixture(scope='module')
def config() -> str:
    """The configuration that each test of a module begins with."""
    return CONFIG % LONG_S


@pytest.fixture(scope='module')
def host(dom0: Sandbox, config: str) -> Sandbox:
    """The sandbox with two bridges and a configuration."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.configure(config)
    return dom0


@pytest.fixture(scope='module')
def around(host: Sandbox) -> Around:
    """The neighbours that stay for the whole module."""
    return settle_in(host)


@pytest.fixture
def start(host: Sandbox, around: Around) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, and leave nothing behind."""
    with starting(host, around) as start:
        yield start


@pytest.fixture
def configure(host: Sandbox, config: str, start: Any,
              command: Any) -> Iterator[Callable[[str], None]]:
    """Change the configuration for one test; the daemon has gone when it is changed back."""
    yield host.configure
    host.configure(config.replace('grace: %d' % LONG_S, 'grace: 0'))    # sync is to wait for nobody
    command('sync')
    host.configure(config)


@pytest.fixture
def short(configure: Callable[[str], None]) -> None:
    """A grace that a test can wait for."""
    configure(CONFIG % SHORT_S)


@pytest.fixture(scope='module')
def command(host: Sandbox) -> 'Callable[..., subprocess.CompletedProcess[str]]':
    """Run `xsisolate ...` as an admin does."""
    def run(*args: str) -> 'subprocess.CompletedProcess[str]':
        environ: Dict[str, str] = {'PATH': PATH, 'LC_ALL': 'C',
                                   'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}
        return subprocess.run([str(host.hooks.interpreter), '-m', 'xsisolate'] + list(args),
                              env=environ, cwd='/', stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
                              timeout=60)
    return run


@pytest.fixture
def settled(command: Any) -> Callable[[], None]:
    """Check that nothing is left to do: `sync --dry-run` finds no difference, in a few seconds."""
    def check() -> None:
        deadline = time.monotonic() + 8
        done = command('sync', '--dry-run')
        while done.returncode and time.monotonic() < deadline:
            time.sleep(0.1)
            done = command('sync', '--dry-run')
        assert done.returncode == 0, done.stdout + done.stderr
    return check


@pytest.fixture
def shout(around: Around) -> Iterator[Callable[..., Shouting]]:
    """Have a stranger and managed VMs shout at each other."""
    begun: List[Shouting] = []

    def begin(*vms: Vm) -> Shouting:
        begun.append(Shouting(around.bystander, vms))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()
