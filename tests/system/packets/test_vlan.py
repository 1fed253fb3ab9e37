"""The same on a VLAN network: a fake bridge, and a tagged uplink."""

import pytest

from support.packets import attacks, connections, legit
from support.packets.check_rows import ATTACKS, LEGITIMATE, check, select
from support.packets.shared_network import VLAN, World

pytestmark = pytest.mark.host(vlan=VLAN)

ESSENTIAL = ('dhcp', 'multicast', 'gateway', 'theft', 'services', 'connections')
LEGIT = {**legit.FAMILIES, **connections.LEGIT}
EVIL = {**attacks.FAMILIES, **connections.ATTACKS}


@pytest.mark.parametrize('family', LEGIT)
def test_what_must_work_works(world: World, family: str) -> None:
    check(world, select(LEGIT, world, [family]), LEGITIMATE)


@pytest.mark.parametrize('family', ESSENTIAL)
def test_no_attack_gets_through(world: World, family: str) -> None:
    check(world, select(EVIL, world, [family]), ATTACKS)
