"""Fixtures of the packet tests."""
import sys
from typing import Iterator

import pytest
from lab.hooks import Hooks
from lab.sandbox import Sandbox

from net.world import World


@pytest.fixture(scope='module')
def hooks() -> Hooks:
    """The hooks by the interpreter of the tests, which has PyYAML."""
    return Hooks(sys.executable)


@pytest.fixture(scope='module')
def world(dom0: Sandbox) -> Iterator[World]:
    """A shared network with everybody on it, untagged."""
    yield World(dom0)
