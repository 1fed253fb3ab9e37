"""The daemon's timetable: what is asked runs soon, and nobody keeps the daemon busy."""
from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.daemon.schedule import PACE_FIRST_S, PACE_MOST_S, QUIET_S, Schedule, Task
from xsisolate.vif_id import VifId

BRIDGE, OTHER = Task('xenbr0'), Task('xenbr1')
VIF, VIF2 = Task('', VifId(1, 0)), Task('', VifId(1, 1))


@pytest.fixture
def schedule() -> Schedule:
    """An empty timetable."""
    return Schedule()


def run(schedule: Schedule, task: Task, at: float, changed: bool = False) -> float:
    """Ask for a task and run it as soon as that may be; return when that was."""
    schedule.ask(task, at)
    due = schedule.next()
    assert due is not None and schedule.take(due) == task
    schedule.end(task, due, changed)
    return due


def test_a_task_has_a_name() -> None:
    assert [str(task) for task in (BRIDGE, Task('', VifId(7, 2)))] == ['xenbr0', 'vif7.2']


def test_bridges_come_first(schedule: Schedule) -> None:
    for task in (VIF2, OTHER, VIF, BRIDGE):
        schedule.ask(task, 1.0)
    assert schedule.take(0.9) is None
    assert [schedule.take(1.0) for _ in range(5)] == [BRIDGE, OTHER, VIF, VIF2, None]
    assert schedule.take(9.0) is None and schedule.next() is None


def test_who_is_due_longest_is_next(schedule: Schedule) -> None:
    """A guest with a low number that asks all the time does not keep the others waiting."""
    schedule.ask(VIF, 2.0)
    schedule.ask(VIF2, 1.0)
    schedule.ask(BRIDGE, 3.0)
    assert schedule.take(2.5) == VIF2
    assert [schedule.take(3.5) for _ in range(3)] == [BRIDGE, VIF, None]


@pytest.mark.parametrize('asked', [(5.0, 3.0), (3.0, 5.0), (3.0, 3.0)])
@pytest.mark.parametrize('how', ['ask', 'ask_at'])
def test_the_earlier_wins(schedule: Schedule, asked: Tuple[float, float], how: str) -> None:
    for at in asked:
        getattr(schedule, how)(VIF, at)
    assert schedule.next() == 3.0
    assert schedule.take(3.0) == VIF and schedule.take(9.0) is None


def test_the_first_run_does_not_wait_and_the_next_do(schedule: Schedule) -> None:
    times = [run(schedule, VIF, 0.0) for _ in range(8)]
    pauses = [later - sooner for sooner, later in zip(times, times[1:])]
    assert times[0] == 0.0
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, PACE_MOST_S, PACE_MOST_S]
    assert run(schedule, VIF2, 0.0) == 0.0      # each has a pace of its own


def test_the_pace_recovers(schedule: Schedule) -> None:
    last = max(run(schedule, VIF, 0.0) for _ in range(8))
    late = last + 2 * PACE_MOST_S + QUIET_S
    assert run(schedule, VIF, late) == late
    assert run(schedule, VIF, late) == late + PACE_FIRST_S


def test_an_echo_does_not_count(schedule: Schedule) -> None:
    """What changes something is told of that; the look at it that finds nothing is no second."""
    now = 0.0
    for _ in range(5):
        now = run(schedule, BRIDGE, now + 1.5, changed=True)
        echo = run(schedule, BRIDGE, now + 0.1)
        assert echo <= now + PACE_FIRST_S
    first = run(schedule, BRIDGE, echo + 9, changed=True)
    second = run(schedule, BRIDGE, first, changed=True)      # somebody fights with us
    assert run(schedule, BRIDGE, second, changed=True) == second + 2 * PACE_FIRST_S


def test_a_bridge_that_is_as_it_should_be_keeps_its_pace(schedule: Schedule) -> None:
    """Hooks work on it all the time; when something is lost then, it is soon put back."""
    now = 0.0
    for _ in range(9):
        following = run(schedule, BRIDGE, now)
        assert following <= now + PACE_FIRST_S
        now = following
    fights = [run(schedule, BRIDGE, 0.0, changed=True) for _ in range(8)]
    assert fights[-1] - fights[-2] == PACE_MOST_S
    echo = run(schedule, BRIDGE, 0.0)
    assert echo == fights[-1] + PACE_MOST_S                     # the last one may go on
    look = run(schedule, BRIDGE, 0.0)
    assert run(schedule, BRIDGE, 0.0) == look + PACE_FIRST_S    # it does not


@pytest.mark.parametrize('task', [BRIDGE, VIF])
@pytest.mark.parametrize('lasted, rests', [(0.01, PACE_FIRST_S), (2, 2.0), (30, PACE_MOST_S)])
def test_what_takes_long_rests_long(schedule: Schedule, task: Task, lasted: float,
                                    rests: float) -> None:
    schedule.end(task, 1.0, False, lasted)
    assert run(schedule, task, 1.0) == 1.0 + rests


def test_ask_at_does_not_wait(schedule: Schedule) -> None:
    last = max(run(schedule, VIF, 0.0) for _ in range(8))
    schedule.ask(VIF, last)
    assert schedule.next() == last + PACE_MOST_S
    schedule.ask_at(VIF, last + 0.1)
    assert schedule.take(last + 0.1) == VIF


def test_forgotten(schedule: Schedule) -> None:
    last = max(run(schedule, BRIDGE, 0.0) for _ in range(8))
    schedule.ask(BRIDGE, last)
    schedule.forget(BRIDGE)
    assert schedule.next() is None and schedule.take(99.0) is None
    assert run(schedule, BRIDGE, last) == last      # it begins anew
    schedule.forget(VIF)                            # nobody knew it


# What happens to a timetable: after so many seconds somebody asks for a task, and
# the run that follows takes so long and changes something or does not.
EVENTS = st.lists(st.tuples(st.floats(0, 6), st.sampled_from([BRIDGE, VIF, VIF2]),
                            st.floats(0, 0.5), st.booleans()), max_size=60)


@given(EVENTS)
def test_asked_is_run_in_time_and_not_too_often(events: List[Tuple[float, Task, float, bool]]
                                                ) -> None:
    """One task at a time keeps the others waiting no longer than it takes itself."""
    schedule, now, asked = Schedule(), 0.0, {}      # type: Schedule, float, Dict[Task, float]
    ended: Dict[Task, float] = {}
    busy = 0.0      # seconds for which other tasks have run, in all

    def work(until: float, lasts: float, changed: bool) -> float:
        nonlocal busy
        at = now
        while True:
            due = schedule.next()
            if due is None or max(due, at) > until:
                return max(at, until)
            at = max(due, at)
            task = schedule.take(at)
            assert task
            since = asked.pop(task)
            assert at <= since + PACE_MOST_S + busy + 1e-6
            assert at >= ended.get(task, -PACE_FIRST_S) + PACE_FIRST_S - 1e-6
            at += lasts
            busy += lasts
            schedule.end(task, at, changed)
            ended[task] = at

    for after, task, lasts, changed in events:
        now = work(now + after, lasts, changed)
        schedule.ask(task, now)
        asked.setdefault(task, now)
    work(now + 10 * PACE_MOST_S + busy, 0.0, False)
    assert not asked and schedule.next() is None


@given(st.lists(st.floats(0, 0.5), min_size=40, max_size=60))
def test_who_asks_all_the_time_gets_little(pauses: List[float]) -> None:
    schedule, now, runs = Schedule(), 0.0, 0
    for pause in pauses:
        now += pause
        schedule.ask(VIF, now)
        if schedule.take(now):
            schedule.end(VIF, now)
            runs += 1
    assert runs <= 6 + now / PACE_MOST_S


def test_what_a_guest_waits_for_comes_first() -> None:
    """Before VIFs that have been due for long; a bridge still comes before it."""
    schedule, waiting = Schedule(), Task('', VifId(9, 0))
    for number in range(3):
        schedule.ask(Task('', VifId(number, 0)), 1.0)
    schedule.ask(Task('xenbr0'), 2.0)
    schedule.end(waiting, 2.5, True)
    schedule.ask_first(waiting)
    assert schedule.take(3.0) == Task('xenbr0') and schedule.take(3.0) == waiting
