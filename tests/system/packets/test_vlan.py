"""The same on a VLAN network: a fake bridge, and a tagged uplink."""

import pytest

from support.packets import attacks, legit
from support.packets.check_rows import ATTACKS, LEGITIMATE, check, select
from support.packets.shared_network import VLAN, World

pytestmark = pytest.mark.host(vlan=VLAN)

ESSENTIAL = ('dhcp', 'multicast', 'gateway', 'theft', 'services')


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_what_must_work_works(world: World, family: str) -> None:
    check(world, select(legit.FAMILIES, world, [family]), LEGITIMATE)


@pytest.mark.parametrize('family', ESSENTIAL)
def test_no_attack_gets_through(world: World, family: str) -> None:
    check(world, select(attacks.FAMILIES, world, [family]), ATTACKS)
