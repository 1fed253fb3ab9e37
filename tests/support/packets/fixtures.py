"""Fixtures of tests that send the rows of packets; a conftest makes them known."""
from typing import Iterator

import pytest

from sandbox.dom0 import Sandbox

from support.packets.shared_network import World


@pytest.fixture(scope='module')
def world(dom0: Sandbox) -> Iterator[World]:
    """A shared network with everybody on it, untagged."""
    yield World(dom0)
