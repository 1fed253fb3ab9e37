"""A Dom0 with sealed VMs, and the daemon: started as systemd does, ended with SIGTERM.

No test here calls a hook for a change; those of hooks are in tests/system/hooks.
"""
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from sandbox.daemon import PATH, Watch
from sandbox.hooks import REPOSITORY, Hooks
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.guarded_host import LONG_S, Around
from support.learning import Learning
from support.packets.real_programs import need
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


@pytest.fixture
def configure(host: Sandbox, config: str, start: Any,
              command: Any) -> Iterator[Callable[[str], None]]:
    """Change the configuration for one test; the daemon has gone when it is changed back."""
    yield host.configure
    host.configure(config.replace('grace: %d' % LONG_S, 'grace: 0'))    # sync is to wait for nobody
    command('sync')
    host.configure(config)


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


@pytest.fixture
def learning(namespaces: None, hooks: Hooks, request: Any) -> Iterator[Learning]:
    """A Dom0 with the daemon, and a DHCP server on the LAN."""
    need('dnsmasq', 'dhclient')
    with Sandbox(hooks) as dom0:
        watch = Watch(os.environ.get('HOOK_PYTHON') or sys.executable)
        learning = Learning(dom0, watch, getattr(request, 'param', 0))
        try:
            watch.start()
            yield learning
            watch.stop()
        finally:
            for program in learning.programs:
                program.stop()
            watch.close()
