"""A day of a busy host, played in a process of its own: the recorder, a switch and a clock.

    python -m support.busy_day SECONDS      between two looks

What is printed is JSON: what is held at each hour, and what must be true of it at the end.
"""
import json
import os
import sys
import time
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from xsisolate.daemon import recorder
from xsisolate.dom0.run_files.refused import FILE
from xsisolate.paths import rooted
from xsisolate.pipeline.refusals import IDLE_S, KINDS_MAX
from xsisolate.planner.refusal_book import Book, Owner, Reading, Sum
from xsisolate.planner.refusal_record import EGRESS, Marked, Refusal, Seen

VIFS = 200
QUIET = 1               # this one is refused one thing, in the morning
SCANNERS = 10           # at a time; others come every hour
STEADY = 3              # kinds that each says again and again
DAY_S, HOUR_S = 86400, 3600
BEGIN = 1_000_000.0
RESTARTS = 6            # of the switch; and one of the recorder, at noon
REASON = 'not a peer on egress'


class Flow(NamedTuple):
    """A kind in the switch's record."""

    born: float
    last: float
    frames: int


class Switch:
    """What a switch keeps of refusals: so many kinds of each VIF, for a minute."""

    def __init__(self) -> None:
        self.process = 1
        self.flows: Dict[Refusal, Flow] = {}
        self.shares: Dict[int, int] = Counter()     # kinds by port
        # Frames of more kinds, by port and whether they have passed.
        self.marks: Dict[Tuple[int, bool], int] = Counter()

    def refuse(self, now: float, refusal: Refusal, frames: int) -> None:
        """Count frames of a kind."""
        known = self.flows.get(refusal)
        if known:
            self.flows[refusal] = Flow(known.born, now, known.frames + frames)
        elif self.shares[refusal.in_port] < KINDS_MAX:
            self.shares[refusal.in_port] += 1
            self.flows[refusal] = Flow(now, now, frames)
        else:
            self.marks[refusal.in_port, refusal.passed] += frames

    def read(self, now: float) -> Tuple[Tuple[Seen, ...], Tuple[Marked, ...]]:
        """Return what it holds."""
        return (tuple(Seen(refusal, flow.frames - 1, now - flow.born, now - flow.last)
                      for refusal, flow in self.flows.items()),
                tuple(Marked(port, 0, '', frames, 5.0, passed)
                      for (port, passed), frames in self.marks.items()))

    def forget(self, now: float) -> None:
        """Drop what nothing has met for a minute, and marks, which last ten seconds."""
        self.flows = {refusal: flow for refusal, flow in self.flows.items()
                      if now - flow.last < IDLE_S}
        self.shares = Counter(refusal.in_port for refusal in self.flows)
        self.marks.clear()

    def restart(self) -> None:
        """Begin anew."""
        self.process += 1
        self.flows.clear()
        self.shares.clear()


class Day:
    """The host: who says what, and what the recorder makes of it."""

    def __init__(self, step: float) -> None:
        self.step, self.now, self.random = step, BEGIN, Random(25)
        self.switch = Switch()
        self.ports = {number: Owner('vif%d.0' % number, '%036d' % number)
                      for number in range(1, VIFS + 1)}
        self.said = self.lines = 0
        self.recorder = self.new_recorder()

    def new_recorder(self) -> recorder.Recorder:
        """Return one that has what is in the file."""
        return recorder.Recorder(SimpleNamespace(info=self.hear, warning=self.hear))  # type: ignore

    def hear(self, *_: Any, **__: Any) -> None:
        """Count a line of syslog."""
        self.lines += 1

    def take(self, book: Book) -> Dict[Sum, int]:
        """Do what `read_now` does."""
        seen, marked = self.switch.read(self.now)
        return book.take(self.now, str(self.switch.process), [
            Reading('xenbr0', seen, marked, self.ports, {})])

    def say(self, number: int, port: int, frames: int) -> None:
        """Have a VIF say what is refused."""
        passed = number % 4 == 0        # a quarter of them are permissive
        self.switch.refuse(self.now, Refusal(
            number, 0xa000, '02:00:00:00:00:%02x' % number, '02:00:00:00:01:00',
            '10.9.0.%d' % number, '10.9.1.1', 'tcp/%d' % port, False, REASON, EGRESS, False,
            passed), frames)
        self.said += frames

    def hour(self) -> int:
        """Return which hour of the day it is."""
        return int(self.now - BEGIN) // HOUR_S

    def talk(self) -> None:
        """Have VIFs say something: always the same, and scanners always something else."""
        for number in range(2, VIFS + 1):
            for kind in range(STEADY):
                if self.random.random() < 0.5:
                    self.say(number, 1 + kind, self.random.randrange(1, 2000))
        for at in range(SCANNERS):
            number = 2 + (self.hour() * SCANNERS + at) % (VIFS - 1)
            for _ in range(self.random.choice((5, 2 * KINDS_MAX))):
                self.say(number, self.random.randrange(1024, 65536), 1)

    def play(self) -> Iterator[Dict[str, Any]]:
        """Yield at each hour what is held, and how long the looks of it took."""
        looks: List[float] = []
        restarts = {int(DAY_S / RESTARTS * (at + 0.5)) // int(self.step) for at in range(RESTARTS)}
        count = int(DAY_S / self.step)
        for at in range(count):
            self.now += self.step
            self.switch.forget(self.now)
            if at in restarts:
                self.switch.restart()
            if at == count // 2:
                self.recorder = self.new_recorder()
            if at == 0:
                self.say(QUIET, 7, 5)
            self.talk()
            began = time.perf_counter()
            self.recorder.look()
            looks.append(time.perf_counter() - began)
            if self.hour() > int(self.now - self.step - BEGIN) // HOUR_S:
                yield self.told(looks)
                looks = []

    def told(self, looks: List[float]) -> Dict[str, Any]:
        """Return what is held now."""
        book = self.recorder._book
        kept: Dict[Tuple[str, ...], int] = {}
        for row in book.rows.values():
            kept[row.keeper] = kept.get(row.keeper, 0) + 1
        return {'rows': len(book.rows), 'most': max(kept.values()), 'sums': len(book.sums),
                'file': os.path.getsize(rooted(FILE)), 'memory': memory(), 'lines': self.lines,
                'look': sorted(looks)[len(looks) // 2], 'longest': max(looks),
                'quiet': any(row.refusal.in_port == QUIET for row in book.rows.values()),
                'owners': len(kept), 'frames': sum(book.sums.values()), 'said': self.said}


def memory() -> int:
    """Return this process's resident memory in KiB."""
    with open('/proc/self/status') as status:
        return int(next(line.split()[1] for line in status if line.startswith('VmRSS:')))


def main() -> None:
    """Play the day."""
    day = Day(float(sys.argv[1]))
    recorder.read_now = day.take                # type: ignore
    recorder.monotonic = lambda: day.now        # type: ignore
    day.recorder = day.new_recorder()
    hours = list(day.play())
    day.now += DAY_S + HOUR_S           # nothing is refused for a day
    day.switch.forget(day.now)
    day.recorder.look()
    print(json.dumps({'hours': hours, 'left': len(day.recorder._book.rows),
                      'gap': day.recorder._book.gap, 'sums': len(day.recorder._book.sums)}))


if __name__ == '__main__':
    main()
