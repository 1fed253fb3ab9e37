"""Measure hooks, and what they ask Open vSwitch, on bridges with few VIFs and with many.

    python -m bench.bridge ROUNDS DATAPATH...

Each bridge has a sandbox of its own; they take turns, so that what disturbs one disturbs all.
The datapath is netdev, or system: the kernel's, which needs its module openvswitch.
"""
import sys
import time
from multiprocessing import Pipe, Process
from statistics import median
from typing import TYPE_CHECKING, Callable, Dict, List, Sequence

from bench.crowd import isolated
from bench.hooking import BRIDGE, CONFIGURATION, FIRST, Stage
from bench.table import Row, Section, text_of
from demo.scene import GATEWAY
from sandbox.hooks import Hooks
from sandbox.hookserver import HookServer
from sandbox.process import die_with_parent
from sandbox.dom0 import Sandbox
from sandbox.seals import seal
from xsisolate.dom0.ovs.flow_table import read_items, read_notes
from xsisolate.dom0.ovs.ovsdb import Ovsdb

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STEPS = ((0, 0), (50, 2000), (200, 8000))       # VIFs, members elsewhere
QUESTIONS = 20                                  # in each round; their median counts
NO_ITEM = 1                                     # a cookie that no flow has


def main(argv: Sequence[str]) -> int:
    """Measure some datapaths, and print what each step takes in times of the empty bridge."""
    if len(argv) < 3 or not argv[1].isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    places = [Place(datapath, *step) for datapath in argv[2:] for step in STEPS]
    for number in range(int(argv[1]) + 1):
        print('round %d of %s' % (number, argv[1]), file=sys.stderr, flush=True)
        for place in places:
            place.play()
    for at, place in enumerate(places):
        print(text_of(Section(place.title, place.rows(places[at - at % len(STEPS)]), 'empty',
                              'ours/empty')), flush=True)
    return 0


class Place:
    """A bridge in a process of its own; its first round warms caches and does not count."""

    def __init__(self, datapath: str, others: int, members: int) -> None:
        self.title = '%s: %d VIFs, %d members' % (datapath, others, members)
        self._rounds: List[Dict[str, float]] = []
        self._pipe, end = Pipe()
        Process(target=live, args=(end, datapath, others, members), daemon=True).start()
        self._pipe.recv()

    def play(self) -> None:
        """Measure everything once."""
        self._pipe.send(None)
        self._rounds.append(self._pipe.recv())

    def rows(self, empty: 'Place') -> List[Row]:
        """Return what was measured, beside the empty bridge's."""
        return [Row(label, 'ms', self._times(label), empty._times(label))
                for label in self._rounds[0]]

    def _times(self, label: str) -> List[float]:
        return [found[label] for found in self._rounds[1:]]


def live(pipe: 'Connection', datapath: str, others: int, members: int) -> None:
    """Make a bridge, then do everything once whenever somebody asks, until nobody is left."""
    die_with_parent()
    hooks = Hooks(sys.executable)
    with Sandbox(hooks, sealer=seal, datapath=datapath) as dom0, HookServer(hooks):
        dom0.add_bridge(BRIDGE)
        dom0.configure(CONFIGURATION)
        dom0.add_uplink(BRIDGE, GATEWAY)
        stage = Stage(dom0, hooks, None, 0)
        if others:
            stage.populate(others, members)
        works = stage.works(*stage.crowd.add([isolated(FIRST), isolated(FIRST + 1)]))
        works.update(questions())
        pipe.send(None)
        while True:
            pipe.recv()
            pipe.send({label: work() for label, work in works.items()})


def questions() -> Dict[str, Callable[[], float]]:
    """Return what a hook asks Open vSwitch, a parsed answer included."""
    ovsdb = Ovsdb()
    return {
        'ovs-vswitchd: a flow that is not there': lambda: took(
            lambda: read_items(BRIDGE, [NO_ITEM])),
        'ovs-vswitchd: all headers': lambda: took(lambda: read_notes(BRIDGE)),
        'ovsdb-server: one bridge': lambda: took(lambda: ovsdb.find_parent(BRIDGE)),
        'ovsdb-server: all ports': lambda: took(lambda: ovsdb.read_bridges_for(()))}


def took(ask: Callable[[], object]) -> float:
    """Return the milliseconds that a question takes."""
    times = []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


if __name__ == '__main__':
    sys.exit(main(sys.argv))
