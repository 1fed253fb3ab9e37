"""The corpus with all VIFs permissive: every frame arrives as at a plain switch, and is judged.

What would be refused leaves a record with its reason, what would not leaves none.
"""
from contextlib import contextmanager
from typing import Iterator, List, Mapping, Sequence

import pytest

from support.command import xsisolate
from support.packets import attacks, each_vif, legit
from support.packets.check_rows import select
from support.packets.radio import Sightings
from support.packets.recorded import FAMILIES, check_attacks, check_legitimate
from support.packets.rows import Case
from support.packets.shared_network import World

pytestmark = [pytest.mark.any_python, pytest.mark.host(permissive=True)]
EVIL = {**attacks.FAMILIES, **each_vif.ATTACKS}
ALL = {**legit.FAMILIES, **each_vif.LEGIT, **EVIL}
SLOW_STEP_S = 0.05
AGAIN_MAX = 40
ROUNDS = 3


def sightings(world: World, cases: Sequence[Case]) -> Sightings:
    """Send rows to a switch that has forgotten where everybody is, and has been told anew."""
    world.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    world.dom0.ovs.settle()
    world.prime()
    world.radio.repeats.clear()
    return world.radio.run(cases, step_s=SLOW_STEP_S)


def differences(cases: Sequence[Case], plain: Sightings, ours: Sightings) -> List[str]:
    return ['%s: %s has seen frames %s, %s at a plain switch' % (
        case.id, place, sorted(ours[case.id].get(place, ())) or 'none',
        sorted(plain[case.id].get(place, ())) or 'none')
        for case in cases for place in sorted(plain[case.id].keys() | ours[case.id].keys())
        if ours[case.id].get(place) != plain[case.id].get(place)]


@pytest.fixture(scope='module')
def rows(world: World) -> Mapping[str, Sequence[Case]]:
    return {family: select(ALL, world, [family]) for family in ALL}


@contextmanager
def plain_switch(world: World) -> Iterator[None]:
    """Have a switch without a flow of ours."""
    world.dom0.ovs.ofctl('del-flows', 'xenbr0')
    world.dom0.ovs.ofctl('add-flow', 'xenbr0', 'priority=0,actions=NORMAL')
    try:
        yield
    finally:
        xsisolate('sync')


@pytest.fixture(scope='module')
def plain(world: World, rows: Mapping[str, Sequence[Case]]) -> Mapping[str, Sightings]:
    """What is seen where at a plain switch."""
    with plain_switch(world):
        return {family: sightings(world, rows[family]) for family in rows}


@pytest.mark.parametrize('family', ALL)
def test_frames_pass_as_at_a_plain_switch(world: World, family: str,
                                          rows: Mapping[str, Sequence[Case]],
                                          plain: Mapping[str, Sightings]) -> None:
    """Where a frame goes depends on what the switch has learned from those before it.

    Some of these are answers, which may come before the next frame or behind it, and kernels speak
    of their own accord. So the frames of rows that went another way go again, each by itself, and
    one that always goes another way is wrong.
    """
    wrong = differences(rows[family], plain[family], sightings(world, rows[family]))
    assert not world.radio.repeats
    again = [case._replace(frames=(frame,)) for case in rows[family] for frame in case.frames
             if any(line.startswith(case.id + ': ') for line in wrong)]
    assert len(again) <= AGAIN_MAX, '\n'.join(wrong)
    for _ in range(ROUNDS):
        with plain_switch(world):
            before = [sightings(world, [case]) for case in again]
        told = [differences([case], one, sightings(world, [case]))
                for case, one in zip(again, before)]
        again = [case for case, lines in zip(again, told) if lines]
        wrong = [line for lines in told for line in lines]
    assert not again, '\n'.join(wrong)


@pytest.mark.parametrize('family', FAMILIES)
def test_every_attack_is_recorded_with_its_reason(world: World, family: str) -> None:
    check_attacks(world, family, judged_only=True)


@pytest.mark.parametrize('family', legit.FAMILIES)
def test_what_would_arrive_is_not_recorded(world: World, family: str) -> None:
    check_legitimate(world, family)
