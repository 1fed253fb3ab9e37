"""The corpus once more, for its record: each attack of a managed VIF leaves one, with its reason.

What arrives leaves none.
"""
import pytest

from support.packets import legit
from support.packets.recorded import FAMILIES, check_attacks, check_legitimate
from support.packets.shared_network import World

pytestmark = pytest.mark.any_python


@pytest.fixture(scope='module', autouse=True)
def primed(world: World) -> None:
    world.prime()


@pytest.mark.parametrize('family', FAMILIES)
def test_every_attack_is_recorded_with_its_reason(world: World, family: str) -> None:
    check_attacks(world, family)


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_what_arrives_is_not_recorded(world: World, family: str) -> None:
    check_legitimate(world, family)
