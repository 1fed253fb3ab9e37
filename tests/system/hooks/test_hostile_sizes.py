"""Whatever its vm-data holds, a guest costs its hooks no more than a small policy does.

Each kind of tree has a VM of its own, so that the runs to compare take turns.
"""
import subprocess
import sys
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import pytest

from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.hook_log import lines
from support.vm_events import refresh

pytestmark = pytest.mark.host(sealed=True)

CONFIG = '''\
version: 1
grace: 0
networks:
  xenbr0:
    subnets: [10.9.0.0/24]
'''
SMALL = {'groups': 'red', 'vif/0/ipv4': '10.9.0.11'}
ROUNDS = 7
MORE_S, MORE_OF_ALL = 0.1, 0.5     # the larger counts: the machine may be busy
MORE_KIB = 8 << 10
NODES = 8192            # the quota of a domain
VALUE = 2048            # and of a value
LONGEST_NAME = 970      # so that Dom0's path is still a path

# Its own parent is small: a child of pytest would inherit pytest's peak of memory.
STOPWATCH = '''\
import os, sys, time
began = time.monotonic()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], {}), 0)
print(time.monotonic() - began, usage.ru_maxrss, status)
'''

Tree = Iterator[Tuple[str, str]]


class Cost(NamedTuple):
    """What a run of a hook took, or the least and the median of several."""

    seconds: float
    kib: int
    median: float = 0


def many(where: str, count: int = NODES, value: str = '') -> Callable[[], Tree]:
    """Return a tree of nodes that differ by number."""
    return lambda: ((where % number, value) for number in range(count))


def padded(entries: List[str], name: str) -> Dict[str, str]:
    """Return a list over as many keys as there may be, each filled up with separators."""
    share = -(-len(entries) // 65)
    parts = [','.join(entries[n * share:(n + 1) * share]) for n in range(65)]
    return {name + ('-%d' % n if n else ''): part.ljust(VALUE, ',')
            for n, part in enumerate(parts)}


def largest() -> Tree:
    """Return the largest policy that is one: all of it is read, and then it has no seal."""
    keys: Dict[str, str] = {}
    for folder in ('', 'vif/0/'):
        keys.update(padded(['g%d' % n for n in range(64)], folder + 'groups'))
        keys.update(padded(['tcp/%d@10.%d.%d.0/24' % (n, n >> 8, n & 255) for n in range(1024)],
                           folder + 'allow'))
    keys.update(padded(['10.9.0.%d' % n for n in range(256)], 'vif/0/ipv4'))
    keys.update(padded(['fd00:9::%x' % n for n in range(256)], 'vif/0/ipv6'))
    return iter(keys.items())


def crowded() -> Tree:
    """Return lists of far too many entries."""
    for folder in ('', 'vif/0/'):
        for name in ('groups', 'allow'):
            for key in padded([], folder + name):
                yield key, 'y,' * (VALUE // 2)


def deep() -> Tree:
    """Return paths that go down as far as paths may."""
    for number in range(NODES // 480):
        yield 'vif/0/%d%s' % (number, '/a' * 480), ''


def binary() -> Tree:
    """Return known keys whose values are no text."""
    for folder in ('', 'vif/0/'):
        for key in padded([], folder + 'allow'):
            yield key, '\x80\x01\x7f\xff\x1b[2J' * 180


TREES: Mapping[str, Callable[[], Tree]] = {
    'unknown keys': many('x%d'), 'numbered keys': many('allow-%d'),
    'unknown keys of the VIF': many('vif/0/x%d'), 'other VIFs': many('vif/1%d'),
    'unknown keys with values': many('x%d', 512, 'y' * VALUE),
    'a directory of 8 MB': many('%04d' + 'x' * LONGEST_NAME, 8000),
    'a directory of 8 MB of the VIF': many('vif/0/%04d' + 'x' * LONGEST_NAME, 8000),
    'nearly 1 MB, few names': many('%04d' + 'x' * LONGEST_NAME, 512),
    'the largest policy': largest, 'crowded lists': crowded, 'deep': deep, 'binary': binary}


@pytest.fixture(scope='module')
def vms(dom0: Sandbox) -> Mapping[str, Vm]:
    """A VM with a small policy that is sealed, and one for each tree."""
    dom0.add_bridge('xenbr0')
    dom0.configure(CONFIG)
    started = {'small': dom0.start_vm('small', ipv4='10.9.0.11/24', policy=SMALL)}
    for kind, tree in TREES.items():
        vm = started[kind] = dom0.start_vm('hostile')
        folder = '/local/domain/%d/vm-data/xsisolate/' % vm.domid
        # What Dom0 writes into the guest's folder is the guest's; its ring is slower.
        for path, value in tree():
            dom0.store.write(folder + path, value)
    return started


def measure(vm: Vm) -> Cost:
    """Run a VIF's `setup-vif-rules ... filter` and say what it took."""
    call = vm.dom0.hooks.locking_changed(vm.domain, vm.vifs[0])[0]
    argv = [*vm.dom0.hooks.start_of(call.hook), *call.args]
    said = subprocess.run([sys.executable, '-c', STOPWATCH, *argv], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True, encoding='utf-8')
    assert 'Traceback' not in said.stderr
    seconds, kib, status = said.stdout.split()
    assert status == '0', said
    return Cost(float(seconds), int(kib))


@pytest.fixture(scope='module')
def costs(vms: Mapping[str, Vm]) -> Mapping[str, Cost]:
    """The least that runs took which took turns: a busy machine can only add to it."""
    runs: Dict[str, List[Cost]] = {kind: [] for kind in vms}
    for _ in range(ROUNDS):
        for kind, vm in vms.items():
            runs[kind].append(measure(vm))
    found = {kind: Cost(min(run.seconds for run in taken), min(run.kib for run in taken),
                        median(run.seconds for run in taken)) for kind, taken in runs.items()}
    for kind, cost in found.items():
        print('%-32s %6.1f ms, median %6.1f ms, %6.1f MiB' % (
            kind, cost.seconds * 1000, cost.median * 1000, cost.kib / 1024))
    return found


@pytest.mark.parametrize('kind', TREES)
def test_a_hostile_tree_costs_no_more_than_a_small_policy(
        costs: Mapping[str, Cost], vms: Mapping[str, Vm], kind: str) -> None:
    small, cost = costs['small'], costs[kind]
    assert cost.seconds - small.seconds < max(MORE_S, MORE_OF_ALL * small.seconds), costs
    assert cost.kib - small.kib < MORE_KIB, costs


@pytest.mark.parametrize('kind', TREES)
def test_a_hostile_tree_is_quarantined_in_one_short_line(vms: Mapping[str, Vm],
                                                         kind: str) -> None:
    said: Any = lines(refresh(vms[kind]))
    if kind == 'other VIFs':
        assert ' mode=unlocked ' in said[0]     # no key of this VIF's: no policy
        return
    assert ' mode=quarantined ' in said[0] and len(said) == 2
    assert said[1].isprintable() and len(said[1]) < 1000
