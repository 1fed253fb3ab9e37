"""Permissive VIFs on a VLAN: what would be refused is recorded, and what would not is not."""
import pytest

from support.packets import legit
from support.packets.recorded import FAMILIES, check_attacks, check_legitimate
from support.packets.shared_network import VLAN, World

pytestmark = [pytest.mark.any_python, pytest.mark.host(permissive=True, vlan=VLAN)]


@pytest.fixture(scope='module', autouse=True)
def primed(world: World) -> None:
    world.prime()


@pytest.mark.parametrize('family', FAMILIES)
def test_every_attack_is_recorded_with_its_reason(world: World, family: str) -> None:
    check_attacks(world, family, judged_only=True)


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_what_would_arrive_is_not_recorded(world: World, family: str) -> None:
    check_legitimate(world, family)
