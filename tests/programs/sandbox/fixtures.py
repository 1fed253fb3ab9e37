"""Fixtures for every test that needs a Dom0; tests/conftest.py makes them known.

A test module that wants its Dom0 otherwise says so by a mark, `pytestmark =
pytest.mark.host(sealed=True)`, or defines a fixture `hooks`, `hotplug` or `served` of its own, with
module scope.
"""
import os
import sys
from contextlib import ExitStack
from typing import Any, Iterator, Optional

import pytest

from sandbox import seals
from sandbox.enter import enter
from sandbox.hooks import Hooks
from sandbox.hookserver import HookServer
from sandbox.hotplug import Hotplug, UdevHotplug
from sandbox.dom0 import Sandbox, Sealer

WANTED = {'sealed', 'config', 'names', 'vlan', 'permissive'}


def wanted(request: pytest.FixtureRequest, name: str, default: Any) -> Any:
    """Return what the mark `host` of a module says of its Dom0."""
    mark = request.node.get_closest_marker('host')
    assert not mark or set(mark.kwargs) <= WANTED, mark
    return mark.kwargs.get(name, default) if mark else default


@pytest.fixture(scope='session')
def namespaces() -> None:
    """Put the whole test session into namespaces of its own."""
    enter()


@pytest.fixture(scope='module')
def hooks() -> Hooks:
    """The repository's hooks, started as udev does, but by $HOOK_PYTHON or this Python.

    Their first line names the system's Python, which may lack PyYAML.
    """
    return Hooks(os.environ.get('HOOK_PYTHON') or sys.executable)


@pytest.fixture(scope='module')
def hotplug() -> Hotplug:
    """VIFs come and go through the product's hooks."""
    return UdevHotplug()


@pytest.fixture(scope='module')
def sealer(request: pytest.FixtureRequest) -> Optional[Sealer]:
    """Policies are sealed as docs/seal.md says, where the mark has `sealed`."""
    return seals.seal if wanted(request, 'sealed', False) else None


@pytest.fixture(scope='module')
def served() -> bool:
    """With HOOK_SERVER=1 hooks find their server, as on a host; else they work by themselves."""
    return os.environ.get('HOOK_SERVER') == '1'


@pytest.fixture(scope='module')
def dom0(request: pytest.FixtureRequest, namespaces: None, hooks: Hooks, hotplug: Hotplug,
         sealer: Optional[Sealer], served: bool) -> Iterator[Sandbox]:
    """A sandbox for all tests of a module; with KEEP_OVS=1 a failure keeps its logs."""
    failed_before = request.session.testsfailed
    with Sandbox(hooks, hotplug, sealer) as sandbox, ExitStack() as stack:
        if served:
            stack.enter_context(HookServer(hooks))
        yield sandbox
        if request.session.testsfailed > failed_before:
            sandbox.keep_logs()
