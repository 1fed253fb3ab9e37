"""The same on a VLAN network: a fake bridge, and a tagged uplink."""
from typing import Iterator

import pytest
from sandbox.dom0 import Sandbox

from support.packets import attacks, legit
from support.packets.check_rows import ATTACKS, LEGITIMATE, check, select
from support.packets.shared_network import VLAN, World

ESSENTIAL = ('dhcp', 'multicast', 'gateway', 'theft', 'services')


@pytest.fixture(scope='module')
def world(dom0: Sandbox) -> Iterator[World]:
    """A shared network on VLAN 120."""
    yield World(dom0, vlan=VLAN)


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_what_must_work_works(world: World, family: str) -> None:
    check(world, select(legit.FAMILIES, world, [family]), LEGITIMATE)


@pytest.mark.parametrize('family', ESSENTIAL)
def test_no_attack_gets_through(world: World, family: str) -> None:
    check(world, select(attacks.FAMILIES, world, [family]), ATTACKS)
