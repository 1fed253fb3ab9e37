"""A real ovs-vswitchd with ports that exist in its memory only."""
import pytest

from support.dummy_switch import Switch


@pytest.fixture(scope='module')
def switch(namespaces):
    """A switch for all tests of a module."""
    with Switch() as running:
        yield running


@pytest.fixture
def bridge(switch):
    """An empty bridge."""
    name = switch.add_bridge()
    yield name
    switch.vsctl('del-br', name)
