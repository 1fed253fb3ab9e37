"""Nothing forbidden gets through, and everything else does."""
import pytest

from support.packets import attacks, each_vif, legit
from support.packets.check_rows import ATTACKS, LEGITIMATE, check, select
from support.packets.shared_network import World


LEGIT = {**legit.FAMILIES, **each_vif.LEGIT}
EVIL = {**attacks.FAMILIES, **each_vif.ATTACKS}


@pytest.mark.parametrize('family', LEGIT)
def test_what_must_work_works(world: World, family: str) -> None:
    check(world, select(LEGIT, world, [family]), LEGITIMATE)


@pytest.mark.parametrize('family', EVIL)
def test_no_attack_gets_through(world: World, family: str) -> None:
    check(world, select(EVIL, world, [family]), ATTACKS)


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_it_still_works_after_the_attacks(world: World, family: str) -> None:
    world.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    world.dom0.ovs.settle()     # what the switch has made of what it knew
    check(world, select(legit.FAMILIES, world, [family]), LEGITIMATE)
