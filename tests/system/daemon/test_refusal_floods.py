"""A guest floods with what is forbidden: what that costs, and what it does to others.

`make measure` has a million frames of each kind, and shows the figures.
"""
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import pytest
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox

from support.command import connected
from support.forbidden_flood import (ENFORCED, KINDS, PERMISSIVE, PLAIN, UNRECORDED, Cost,
                                     FloodScene)
from xsisolate.diagnostics.refused import RefusedReader
from xsisolate.openflow.ownership import MARKED, RECORDED
from xsisolate.pipeline.refusals import KINDS_MAX
from xsisolate.planner.refusal_book import ROWS_MAX

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]
Costs = Dict[Tuple[str, str], Cost]
COUNTS = [(50_000, (ENFORCED, PERMISSIVE)), pytest.param(
    1_000_000, (UNRECORDED, ENFORCED, PERMISSIVE), marks=pytest.mark.scale)]
MEMORY_KIB = 2048       # the whole record of one more sender is less
OTHERS = 100            # frames that kernels say of themselves meanwhile
STRAY = 0.01            # of the pings: what any busy machine may lose


def ports(scene: FloodScene, name: str) -> List[str]:
    """Return which services of a VM were refused, or would be."""
    with connected() as dom0:
        rows = RefusedReader(dom0).read(name).rows
    return [one.row.refusal.service for one in rows
            if one.row.sender and one.row.sender.vif == scene.vms[name].netdev()]


def flood_in_turns(scene: FloodScene, watch: Watch, count: int,
                   hows: Sequence[str]) -> Iterator[Tuple[str, str, Cost]]:
    """Yield what each kind of frame comes to, at a plain switch, and by either policy.

    Another VIF is refused something before each flood and after it; both are there at the end.
    """
    with scene.held(PLAIN):
        for kind in KINDS:
            yield kind, PLAIN, scene.flood(kind, count, watch)
    watch.start()
    for at, how in enumerate(hows):
        with scene.held(how):
            for number, kind in enumerate(KINDS):
                port = 2000 + 100 * at + 10 * number
                scene.say('quiet', port)
                yield kind, how, scene.flood(kind, count, watch)
                scene.say('quiet', port + 1)
                assert how == UNRECORDED or {
                    'tcp/%d' % port, 'tcp/%d' % (port + 1)} <= set(ports(scene, 'quiet'))
                assert len(scene.recorded(RECORDED)) <= KINDS_MAX
                assert len(scene.recorded(MARKED)) <= 2


@pytest.mark.parametrize('count, hows', COUNTS)
def test_a_flood_of_what_is_forbidden(host: Sandbox, new_watch: Callable[[], Watch],
                                      count: int, hows: Sequence[str]) -> None:
    scene, costs = FloodScene(host), {}     # type: Tuple[FloodScene, Costs]
    for kind, how, cost in flood_in_turns(scene, new_watch(), count, hows):
        costs[how, kind] = cost
        print('%-18s %-10s %s' % (kind, how, cost.told()))
    for (how, kind), cost in costs.items():
        most = max(costs[PLAIN, kind].lost, STRAY * cost.pings)
        assert cost.lost <= most, (how, kind, cost)
        assert cost.arrived > count / 10 and abs(cost.grown) < MEMORY_KIB, (how, kind, cost)
        answered = 2 * cost.pings
        assert cost.passed <= OTHERS if how in (ENFORCED, UNRECORDED) else (
            cost.passed >= cost.arrived - answered - OTHERS), (how, kind, cost)
    assert len(ports(scene, 'evil')) <= ROWS_MAX + 2 * KINDS_MAX
    scene.end()
