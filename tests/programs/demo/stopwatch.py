"""How long each hook took, what ran it, and what it complained of."""
import subprocess
from statistics import median
from typing import Dict, List, NamedTuple

from sandbox.hooks import HOOK_TIMEOUT_S, Call, HookRun, Hooks

CALLS = {
    ('vif', 'online'): 'VIF plugged (vif online)',
    ('vif', 'remove'): 'VIF unplugged (vif remove)',
    ('setup-vif-rules', 'classic'): 'VIF refreshed (setup-vif-rules filter)',
}
UNMANAGED = ', no policy yet'
# Words of the hooks' log lines that have no place here.
COMPLAINTS = (': quarantined ', ': failed ', 'Traceback')


class Timing(NamedTuple):
    """Wall-clock milliseconds of one kind of call, from the start of the process."""

    label: str
    calls: int
    least: float
    median: float
    most: float


class TimedHooks(Hooks):
    """Hooks that remember how it went; `remark` is added to what was called."""

    def __init__(self, interpreter: str) -> None:
        super().__init__(interpreter)
        self.remark = ''
        self.seconds: Dict[str, List[float]] = {}
        self.complaints: List[str] = []

    def run(self, *calls: Call, timeout: float = HOOK_TIMEOUT_S) -> List[HookRun]:
        """Make the calls and note their times."""
        runs = super().run(*calls, timeout=timeout)
        for call, run in zip(calls, runs):
            label = CALLS[call.hook, call.args[0]] + self.remark
            self.seconds.setdefault(label, []).append(run.seconds)
            self.complaints += [line for line in run.stderr.splitlines()
                                if any(word in line for word in COMPLAINTS)]
        return runs

    def timings(self) -> List[Timing]:
        """Return a line for each kind of call, in the order of their first calls."""
        return [Timing(label, len(seconds), 1000 * min(seconds), 1000 * median(seconds),
                       1000 * max(seconds)) for label, seconds in self.seconds.items()]


def version_of(interpreter: str) -> str:
    """Return what an interpreter calls itself, such as `Python 3.6.15`."""
    done = subprocess.run([interpreter, '-V'], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, encoding='utf-8', check=True)
    return done.stdout.strip()
