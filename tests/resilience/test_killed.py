"""Hooks that are killed at any of their calls to the world: nothing opens, nothing is left.

`make test` walks through some of the calls of each hook, others in each run; `make test-kills`
through all of them (KILLS=all).
"""
from typing import Callable, List, NamedTuple, Sequence

import pytest

from sandbox.hooks import Call
from sandbox.injection import killed_at, list_calls

from support.flooded_host import BLUE, RED, SUBJECT, FloodedHost, moved, plugged, subject
from support.kills import chosen

pytestmark = pytest.mark.host(sealed=True)

KILLED = -9
FLOOD_S = 0.02


class Scenario(NamedTuple):
    """A hook's call, with the scene set for it anew each time."""

    name: str
    prepare: Callable[[FloodedHost], Call]
    settle: Callable[[FloodedHost], None]         # what the toolstack would do after a failure
    others: Sequence[str] = ()              # whose hooks mend the bridge that a VIF has left


def coming(scene: FloodedHost) -> Call:
    """Begin a VM."""
    return scene.online(scene.begin(RED))


def gone(scene: FloodedHost) -> None:
    """End it."""
    scene.end(subject(scene))


def regrouped(scene: FloodedHost) -> Call:
    """Move a VM to the other group."""
    vm = subject(scene) if 'subject' in scene.town.residents else plugged(scene)
    scene.regroup(vm, SUBJECT, BLUE if scene.town.rights('subject') == RED else RED)
    return scene.refresh(vm)


def leaving(scene: FloodedHost) -> Call:
    """Unplug a VM: its netdev has gone."""
    vm = plugged(scene)
    vm.cut(0)
    return scene.remove(vm)


def changed(scene: FloodedHost) -> None:
    """End a change of rights: what was meant last is in force."""
    vm = subject(scene)
    now = vm.vifs[0]
    last = RED if 'red' in scene.host.toolstack.vm_data(vm.domain)['xsisolate/groups'] else BLUE
    scene.nothing_forbidden()
    scene.town.done('subject', last._replace(bridge=now.bridge))


SCENARIOS = (Scenario('plug', coming, gone), Scenario('refresh', regrouped, changed),
             Scenario('unplug', leaving, gone), Scenario('move', moved, changed, ('red1',)))


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Each scenario."""
    found: Scenario = request.param
    return found


def calls_of(scene: FloodedHost, scenario: Scenario) -> List[str]:
    """Return the calls of a hook that nobody kills: of two runs, of which the longer has waited."""
    runs = []
    for _ in range(2):
        runs.append(list_calls(scene.host.hooks, scenario.prepare(scene)))
        scene.as_desired()
        scenario.settle(scene)
    return min(runs, key=len)


def test_killed_at_any_call(calm: FloodedHost, scenario: Scenario) -> None:
    """A flood of forbidden frames runs; one sync, or the same hook again, puts all right."""
    names = calls_of(calm, scenario)
    numbers, killed = chosen(len(names)), 0
    for number in numbers:
        call = scenario.prepare(calm)
        run = killed_at(calm.host.hooks, call, number)
        assert run.code in (0, KILLED), run
        killed += run.code == KILLED
        calm.nothing_forbidden(after=names[number - 1])
        if number % 2:
            calm.synced()
        else:
            others = [calm.refresh(calm.town.residents[name].vm) for name in scenario.others]
            for again in calm.host.hooks.run_each(call, *others):
                assert again.code == 0, (names[number - 1], again)
            calm.as_desired()
        calm.nothing_forbidden(after='%s, mended by %s' % (
            names[number - 1], 'sync' if number % 2 else 'the hook'))
        scenario.settle(calm)
    print('%s: %d calls to the world, killed at %d of them; %d frames in all'
          % (scenario.name, len(names), killed, calm.town.frames))
    assert killed >= len(numbers) * 0.9      # the length of some loops varies still
