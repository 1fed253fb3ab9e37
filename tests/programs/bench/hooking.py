"""How long hooks take: by a VIF's addresses, and by what else the bridge carries."""
import os
import subprocess
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from bench.crowd import (Crowd, Resident, isolated, plug_call, refresh_call, unplug_call,
                         write_members)
from bench.measure import bare, call, count_programs, in_turns, timed
from bench.stock import StockHooks, is_locked
from bench.table import Row
from demo.scene import GATEWAY
from sandbox.hooks import Hooks
from sandbox.hookserver import hidden
from sandbox.process import LabError, run
from sandbox.dom0 import Sandbox

ADDRESSES = (1, 10, 100)
BRIDGE = 'xenbr0'
CONFIGURATION = '''\
version: 1
networks:
  %s:
    subnets: ["10.0.0.0/8", "fd00:9::/32"]
    gateways: [{mac: "%s", ipv4: "10.9.0.254", ipv6: "fd00:9::1"}]
''' % (BRIDGE, GATEWAY.mac)
FIRST = 300         # addresses of the VIFs that are measured; the crowd's come before
BARE, ONLINE, FILTER = 'interpreter', 'vif online', 'setup-vif-rules filter'
STOCK = 'stock '
ALONE = ', without server'
T = TypeVar('T')


class Point(NamedTuple):
    """What was measured in one situation; times in ms by what was done."""

    title: str
    x: int
    times: Dict[str, List[float]]

    @property
    def rows(self) -> List[Row]:
        """The same, ours and theirs side by side."""
        return [Row(label, 'ms', times, self.times.get(STOCK + label.replace(ALONE, ''), ()),
                    self.times[BARE])
                for label, times in self.times.items() if not label.startswith(STOCK)]


class Stage:
    """A bridge, and the hooks that are measured on it."""

    def __init__(self, dom0: Sandbox, hooks: Hooks, stock: Optional[StockHooks],
                 rounds: int) -> None:
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
        library = os.path.join(os.path.dirname(self.hooks.folder), 'lib')
        return timed([str(self.hooks.interpreter), '-m', 'xsisolate', 'sync'],
                     {'PYTHONPATH': library, 'LC_ALL': 'C'})

    def syncs(self, rounds: int) -> List[Row]:
        """Measure syncs of the bridge as it is: from nothing, and with nothing to do."""
        def from_nothing() -> float:
            self.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', BRIDGE,
                                'cookie=0x5849534f00000000/0xffffffff00000000')
            return self.sync()

        times = in_turns(rounds, {BARE: self._bare(), 'xsisolate sync, from nothing': from_nothing,
                                  'xsisolate sync, with nothing to do': self.sync})
        return [Row(label, 'ms', taken, (), times[BARE]) for label, taken in times.items()]

    def _bare(self) -> Callable[[], float]:
        return bare(str(self.hooks.interpreter))

    def _point(self, title: str, x: int, count: int) -> Point:
        plugged, guest = self.crowd.add([isolated(FIRST, count), isolated(FIRST + 1, count)])
        works = self.works(plugged, guest)
        theirs: List[Resident] = []
        if self.stock:
            theirs = self._stock_residents(FIRST + 2, 2, count)
            works.update(self._stock_works(self.stock, theirs, count))
        times = in_turns(self.rounds, works, [
            label for label in works if label.startswith(STOCK) and count == ADDRESSES[-1]])
        call(self.hooks, unplug_call(self.hooks, guest))
        self.crowd.remove([plugged, guest] + theirs)
        if self.stock:      # which forget the flows of a port that has gone
            self.dom0.ovs.ofctl('del-flows', BRIDGE, 'cookie=1/-1')
        return Point(title, x, times)

    def works(self, plugged: Resident, guest: Resident) -> Dict[str, Callable[[], float]]:
        """Return what is measured: with a VIF that comes and goes, and one that stays."""
        def refresh() -> float:
            return call(self.hooks, refresh_call(self.hooks, guest))

        call(self.hooks, plug_call(self.hooks, guest))
        return {BARE: self._bare(), ONLINE: lambda: self._plug(plugged), FILTER: refresh,
                ONLINE + ALONE: lambda: alone(lambda: self._plug(plugged)),
                FILTER + ALONE: lambda: alone(refresh),
                'ovs-vsctl add-port alone': lambda: self._add_port(plugged)}

    def _plug(self, one: Resident) -> float:
        took = call(self.hooks, plug_call(self.hooks, one))
        call(self.hooks, unplug_call(self.hooks, one))
        calm()
        return took

    def _add_port(self, one: Resident) -> float:
        """Return what Open vSwitch itself takes for a port, without anything of ours."""
        took = timed(['ovs-vsctl', 'add-port', BRIDGE, one.device], os.environ)
        run(['ovs-vsctl', 'del-port', one.device])
        calm()
        return took

    # --- the stock scripts ---

    def _stock_residents(self, first: int, number: int, count: int = 1) -> List[Resident]:
        assert self.stock
        return self.crowd.add([isolated(first + at, count) for at in range(number)],
                              self.stock.path('setup-vif-rules'))

    def _stock_works(self, stock: StockHooks, residents: Sequence[Resident],
                     count: int) -> Dict[str, Callable[[], float]]:
        plugged, guest = residents

        def locked(one: Resident, took: float) -> float:
            if not self._is_locked(one, count):
                raise LabError('the stock scripts have not locked %s: it has not the %d+%d '
                               'addresses\' flows' % (one.device, count, count))
            return took

        def online() -> float:
            took = locked(plugged, call(stock, plug_call(stock, plugged)))
            call(stock, unplug_call(stock, plugged))
            calm()
            return took

        call(stock, plug_call(stock, guest))
        return {STOCK + ONLINE: online, STOCK + FILTER: lambda: locked(
            guest, call(stock, refresh_call(stock, guest)))}

    def _is_locked(self, one: Resident, count: int = 1) -> bool:
        return is_locked(self.dom0.ovs, BRIDGE, one.device, count, count)

    # --- programs started, plugs at once ---

    def programs(self) -> List[Row]:
        """Count the programs that each hook starts."""
        ours = alone(lambda: self._programs(self.hooks, *self.crowd.add([isolated(FIRST)])))
        theirs = self._programs(self.stock, *self._stock_residents(FIRST, 1)) \
            if self.stock else {}
        return [Row(label + ' starts', 'execs', [count], [theirs[label]] if theirs else ())
                for label, count in ours.items()]

    def _programs(self, hooks: Hooks, one: Resident) -> Dict[str, int]:
        counts = {label: count_programs(hooks.start_of(step.hook) + list(step.args),
                                        step.environment)
                  for label, step in ((ONLINE, plug_call(hooks, one)),
                                      (FILTER, refresh_call(hooks, one)),
                                      ('vif remove', unplug_call(hooks, one)))}
        self.crowd.remove([one])
        return counts

    def at_once(self, count: int, rounds: int) -> Tuple[List[Row], str]:
        """Plug many VIFs at the same time, each time on a bridge that is new and empty.

        The host has no others: ovs-vswitchd listens to each netdev that there is. What comes of
        it is ms for each plug that succeeded; and words about those that did not.
        """
        self.crowd.remove(self.crowd.residents)
        ours: Dict[str, List[float]] = {'': [], ALONE: []}
        theirs: List[float] = []
        interpreter: List[float] = []
        fine = 0
        for _ in range(rounds):
            interpreter.append(self._bare()())
            ours[''].append(self._all_at_once(count))
            ours[ALONE].append(alone(lambda: self._all_at_once(count)))
            if self.stock:
                took, plugged = self._at_once(self.stock, self._stock_residents(FIRST, count))
                theirs.append(took / max(plugged, 1))
                fine += plugged
        words = 'of %d plugs by the stock scripts %d succeeded, with all flows' % (
            count * rounds, fine) if self.stock else ''
        return [Row('%d plugs at once, for each that succeeds%s' % (count, how), 'ms', times,
                    theirs, interpreter) for how, times in ours.items()], words

    def _all_at_once(self, count: int) -> float:
        """Return the milliseconds for each of our plugs, of which none may fail."""
        took, plugged = self._at_once(self.hooks, self.crowd.add(
            [isolated(FIRST + number) for number in range(count)]))
        if plugged != count:
            raise LabError('%d of %d plugs succeeded' % (plugged, count))
        return took / count

    def _at_once(self, hooks: Hooks, residents: List[Resident]) -> Tuple[float, int]:
        """Return the milliseconds until all plugs have ended, and how many succeeded."""
        self.dom0.ovs.vsctl('--if-exists', 'del-br', BRIDGE)
        self.dom0.add_bridge(BRIDGE)
        calls = [plug_call(hooks, one) for one in residents]
        began = time.perf_counter()
        running = [subprocess.Popen(hooks.start_of(one.hook) + list(one.args), cwd='/',
                                    env=dict(one.environment), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                   for one in calls]
        codes = [process.wait() for process in running]
        took = (time.perf_counter() - began) * 1000
        fine = sum(not code and (hooks is self.hooks or self._is_locked(one))
                   for code, one in zip(codes, residents))
        self.dom0.ovs.vsctl('del-br', BRIDGE)
        self.crowd.remove(residents)
        return took, fine

    def flows(self) -> int:
        """Return how many flows of ours the bridge carries."""
        dump = self.dom0.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', 'dump-flows', BRIDGE,
                                   'cookie=0x5849534f00000000/0xffffffff00000000')
        return sum('actions=' in line for line in dump.splitlines())


def alone(work: Callable[[], T]) -> T:
    """Do something while the hooks do not find their server."""
    with hidden():
        return work()


def calm() -> None:
    """Wait until ovs-vswitchd has done with what was unplugged, and answers again.

    With hundreds of ports that takes it a while, which is not what is measured next.
    """
    run(['ovs-vsctl', '--timeout=30', 'set', 'Open_vSwitch', '.', 'external_ids:bench=calm'])
    run(['ovs-appctl', 'version'])
