"""How long hooks take: by a VIF's addresses, and by what else the bridge carries."""
import os
import subprocess
from typing import Dict, List, NamedTuple, Optional, Sequence

from bench.crowd import (Crowd, Resident, isolated, plug_call, refresh_call, unplug_call,
                         write_members)
from bench.measure import Series, bare, call, count_programs, in_turns, timed
from lab.hooks import Hooks
from lab.process import run
from lab.sandbox import Sandbox

ADDRESSES = (1, 10, 100)
BRIDGE = 'xenbr0'
FIRST = 300         # addresses of the VIFs that are measured; the crowd's come before


class StockHooks(Hooks):
    """The stock scripts, from a folder that is no part of the project."""

    def path(self, hook: str) -> str:
        """Return a script's path; the vif script is vif-real there."""
        return os.path.join(self.folder, 'vif-real' if hook == 'vif' else hook)


class Point(NamedTuple):
    """What was measured in one situation; series by what was done."""

    title: str
    x: int
    series: Dict[str, Series]


class Stage:
    """A bridge, and the hooks that are measured on it."""

    def __init__(self, dom0: Sandbox, hooks: Hooks, stock: Optional[Hooks], rounds: int) -> None:
        self.dom0, self.hooks, self.stock, self.rounds = dom0, hooks, stock, rounds
        self.crowd = Crowd(dom0, BRIDGE)

    def by_addresses(self) -> List[Point]:
        """Measure VIFs with 1+1, 10+10, 100+100 addresses on an otherwise empty bridge."""
        return [self._point('%d+%d addresses' % (count, count), count, count)
                for count in ADDRESSES]

    def by_bridge(self, steps: Sequence[int], members: int) -> List[Point]:
        """Measure a VIF with 1+1 addresses among so many others and their group's members."""
        found = []
        for others in steps:
            missing = others - len(self.crowd.residents)
            if missing > 0:
                self.populate(missing, members * others // (steps[-1] or 1))
            found.append(self._point('%d other VIFs, %d members elsewhere' % (
                others, members * others // (steps[-1] or 1)), others, 1))
        return found

    def populate(self, count: int, members: int) -> None:
        """Put VIFs on the bridge in one go, write members of their group, program all."""
        first = len(self.crowd.residents)
        added = self.crowd.add([isolated(number) for number in range(first, first + count)])
        self.crowd.attach(added)
        write_members(self.dom0, BRIDGE, 'red', members)
        self.sync()

    def sync(self) -> float:
        """Run `xsisolate sync`; return the milliseconds it took."""
        interpreter = str(self.hooks.interpreter)
        library = os.path.join(os.path.dirname(self.hooks.folder), 'lib')
        return timed([interpreter, '-m', 'xsisolate', 'sync'],
                     {'PYTHONPATH': library, 'LC_ALL': 'C'})

    def _point(self, title: str, x: int, count: int) -> Point:
        plugged, guest = self.crowd.add([isolated(FIRST, count), isolated(FIRST + 1, count)], count)
        call(self.hooks, plug_call(self.hooks, guest))
        works = {'bare interpreter': bare(str(self.hooks.interpreter)),
                 'vif online': lambda: self._plug(self.hooks, plugged),
                 'setup-vif-rules filter': lambda: call(
                     self.hooks, refresh_call(self.hooks, guest)),
                 'ovs-vsctl add-port alone': lambda: self._add_port(plugged)}
        if self.stock:
            other, = self.crowd.add([isolated(FIRST + 2, count)], count)
            stock = self.stock
            works['stock vif online'] = lambda: self._plug(stock, other)
            works['stock setup-vif-rules filter'] = lambda: self._refresh(stock, other)
        series = in_turns(self.rounds, works)
        for one in self.crowd.residents[-(3 if self.stock else 2):]:
            call(self.hooks, unplug_call(self.hooks, one))
        self.crowd.remove(self.crowd.residents[-(3 if self.stock else 2):])
        return Point(title, x, series)

    def _plug(self, hooks: Hooks, one: Resident) -> float:
        took = call(hooks, plug_call(hooks, one))
        call(hooks, unplug_call(hooks, one))
        return took

    def _refresh(self, hooks: Hooks, one: Resident) -> float:
        call(hooks, plug_call(hooks, one))
        took = call(hooks, refresh_call(hooks, one))
        call(hooks, unplug_call(hooks, one))
        return took

    def _add_port(self, one: Resident) -> float:
        """Return what Open vSwitch itself takes for a port, without anything of ours."""
        took = timed(['ovs-vsctl', 'add-port', BRIDGE, one.device], os.environ)
        run(['ovs-vsctl', 'del-port', one.device])
        return took

    def programs(self) -> Dict[str, int]:
        """Return how many programs each hook starts."""
        one, = self.crowd.add([isolated(FIRST)])
        counts = {}
        for label, step in (('vif online', plug_call(self.hooks, one)),
                            ('setup-vif-rules filter', refresh_call(self.hooks, one)),
                            ('vif remove', unplug_call(self.hooks, one))):
            counts[label] = count_programs(self.hooks.start_of(step.hook) + list(step.args),
                                           step.environment)
        self.crowd.remove([one])
        return counts

    def at_once(self, hooks: Hooks, count: int) -> float:
        """Return the milliseconds in which that many VIFs are plugged at the same time."""
        residents = self.crowd.add([isolated(FIRST + number) for number in range(count)])
        calls = [plug_call(hooks, one) for one in residents]
        began = os.times().elapsed
        running = [subprocess.Popen(hooks.start_of(one.hook) + list(one.args), cwd='/',
                                    env=dict(one.environment), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                   for one in calls]
        codes = [process.wait() for process in running]
        took = (os.times().elapsed - began) * 1000
        assert not any(codes), codes
        for one in residents:
            call(hooks, unplug_call(hooks, one))
        self.crowd.remove(residents)
        return took

    def flows(self) -> int:
        """Return how many flows of ours the bridge carries."""
        dump = self.dom0.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', 'dump-flows', BRIDGE,
                                   'cookie=0x5849534f00000000/0xffffffff00000000')
        return sum('actions=' in line for line in dump.splitlines())
