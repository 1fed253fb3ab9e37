"""Times of programs, taken in turns, so that what disturbs one disturbs all."""
import os
import subprocess
import time
from typing import Callable, Collection, Dict, List, Mapping, Sequence

from sandbox.hooks import Call, Hooks
from sandbox.process import LabError

SELDOM = 3      # what takes seconds is done in every third round


def timed(argv: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a program that must succeed; return the milliseconds it took."""
    began = time.perf_counter()
    done = subprocess.run(argv, env=dict(environment), cwd='/', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise LabError('%s: exit %d: %s' % (' '.join(argv), done.returncode,
                                            done.stdout.decode('utf-8', 'replace')))
    return took


def call(hooks: Hooks, one: Call) -> float:
    """Make a call of a hook; return the milliseconds it took."""
    return timed(hooks.start_of(one.hook) + list(one.args), one.environment)


def in_turns(rounds: int, works: Mapping[str, Callable[[], float]],
             seldom: Collection[str] = ()) -> Dict[str, List[float]]:
    """Do each work once a round; a first round warms caches and does not count."""
    times: Dict[str, List[float]] = {label: [] for label in works}
    for number in range(rounds + 1):
        for label, work in works.items():
            if label in seldom and number and number % SELDOM != 1:
                continue
            took = work()
            if number:
                times[label].append(took)
    return times


def bare(interpreter: str) -> Callable[[], float]:
    """Return the work of starting the interpreter alone."""
    return lambda: timed([interpreter, '-c', 'pass'], {})


def count_programs(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Return how many programs a program has started."""
    return sum(' = 0' in line for line in trace(argv, environment, 'execve')) - 1     # itself


def trace(argv: Sequence[str], environment: Mapping[str, str], calls: str) -> List[str]:
    """Return what strace says of a program's calls, and of those that it starts."""
    log = '/run/bench-strace'
    timed(['strace', '-f', '-qq', '-s', '200', '-e', 'trace=' + calls, '-o', log] + list(argv),
          dict(environment, PATH='/usr/bin:/bin:/usr/sbin:/sbin'))
    with open(log) as file:
        lines = file.readlines()
    os.unlink(log)
    return lines
