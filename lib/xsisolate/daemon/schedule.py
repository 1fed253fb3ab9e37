"""What the daemon has to do, and when: a pure timetable.

Times are seconds of a monotonic clock that the caller reads. A task that is
asked for often (a guest rewrites its vm-data all day) waits longer each time. So does the
task of a bridge that is changed back each time. A long task then rests as long as it took.
"""
from typing import Dict, NamedTuple, Optional

from xsisolate.vif_id import VifId

PACE_FIRST_S = 0.25         # between two runs of the same task, doubled each time ...
PACE_MOST_S = 5.0           # ... up to this
QUIET_S = 0.5               # if it runs again that soon after it might have, it runs often


class Task(NamedTuple):
    """Something to bring up to date: a bridge, or one VIF of it."""

    bridge: str = ''
    vif: VifId = VifId(0, 0)    # if there is no bridge

    def __str__(self) -> str:
        return self.bridge or self.vif.vif


class Pace(NamedTuple):
    """How fast a task may follow itself."""

    ended: float                # when it last ended
    pause: float                # how long it has to wait after that ...
    rest: float                 # ... and this long at least: half a core for it at most
    changed: bool               # it did something: we shall be told of that, too


class Schedule:
    """Tasks and the time at which each is due."""

    def __init__(self) -> None:
        self._due: Dict[Task, float] = {}
        self._paces: Dict[Task, Pace] = {}

    def ask(self, task: Task, at: float) -> None:
        """Have a task run at that time, later if it has to wait, earlier if it is due already."""
        pace = self._paces.get(task)
        if pace:
            at = max(at, pace.ended + max(pace.pause, pace.rest))
        self._due[task] = min(at, self._due.get(task, at))

    def ask_at(self, task: Task, at: float) -> None:
        """Have a task run at that time, however often it has run."""
        self._due[task] = min(at, self._due.get(task, at))

    def ask_first(self, task: Task) -> None:
        """Have a task run before all others of its kind: a guest waits for it."""
        self._due[task] = 0.0

    def ask_at_once(self, task: Task, now: float) -> None:
        """Have a task run now, and the next time as if it had never run."""
        self.forget(task)
        self._due[task] = now

    def take(self, now: float) -> Optional[Task]:
        """Return a task that is due, which then is no longer scheduled; None if there is none.

        Bridges come first, then the task that has been due longest. Tasks are returned one at a
        time, so a bridge's repair waits for one guest's task at most.
        """
        due = [(not task.bridge, at, task) for task, at in self._due.items() if at <= now]
        if not due:
            return None
        task = min(due)[2]
        del self._due[task]
        return task

    def end(self, task: Task, now: float, changed: bool = False, lasted: float = 0.0) -> None:
        """Note that a task has run: it waits before it runs again, longer if it runs often.

        A task's own change triggers an event. The run that follows and finds nothing to do is an
        echo, and does not count. A bridge check that finds nothing does not count either, because
        no guest can trigger one.
        """
        before, pause = self._paces.get(task), PACE_FIRST_S
        if before and now - before.ended < 2 * max(before.pause, before.rest) + QUIET_S:
            if not changed and before.changed:
                pause = before.pause
            elif changed or not task.bridge:
                pause = min(before.pause * 2, PACE_MOST_S)
        self._paces[task] = Pace(now, pause, min(lasted, PACE_MOST_S), changed)

    def forget(self, task: Task) -> None:
        """Strike off a task for what no longer exists."""
        self._due.pop(task, None)
        self._paces.pop(task, None)

    def next(self) -> Optional[float]:
        """Return when the next task is due, None if there is none."""
        return min(self._due.values(), default=None)
