"""Fixtures of tests that send the rows of packets; a conftest makes them known."""
from typing import Iterator

import pytest

from sandbox.dom0 import Sandbox
from sandbox.fixtures import wanted

from support.packets.built_network import CONFIG, Net, network
from support.packets.shared_network import World


@pytest.fixture(scope='module')
def world(request: pytest.FixtureRequest, dom0: Sandbox) -> World:
    """A shared network with everybody on it, or with `names`; untagged, or on a `vlan`.

    With `permissive` all policies are judged and none is enforced, or those of some.
    """
    return World(dom0, names=wanted(request, 'names', None), vlan=wanted(request, 'vlan', 0),
                 permissive=wanted(request, 'permissive', False))


@pytest.fixture
def net(request: pytest.FixtureRequest, dom0: Sandbox) -> Iterator[Net]:
    """A network of the test's own."""
    with network(dom0, wanted(request, 'config', CONFIG)) as net:
        yield net
