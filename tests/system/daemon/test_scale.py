"""The daemon on a full host: 250 VIFs of 250 VMs. `make measure` shows the figures."""
import os
import signal
import sys
import time
from typing import Any, Iterator, List

import pytest

from sandbox.process import wait_until
from sandbox.dom0 import Sandbox

from support.vif_crowd import FIRST, crowded, policy_of
from support.switch import our_flows, policy_flows

from sandbox.daemon import Watch


COUNT = int(os.environ.get('COUNT', '250'))
IDLE_S = 20.0
WARM_S = 6.0
FLOOD_S = 10.0
MEMORY_KIB = 40 << 10
CONFIG = '''version: 1
grace: 2
networks:
  "*":
    subnets: [10.9.0.0/16, "fd00:9::/64"]
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1"}]
'''
pytestmark = [pytest.mark.scale, pytest.mark.host(sealed=True, config=CONFIG)]


@pytest.fixture(scope='module')
def crowd(host: Sandbox) -> Iterator[List[str]]:
    """All of them, on one bridge."""
    with crowded(host, COUNT) as netdevs:
        yield netdevs


@pytest.fixture(scope='module')
def rings(host: Sandbox, crowd: List[str]) -> Iterator[List[Any]]:
    """Their guests' own ways to xenstored."""
    made = [host.store.introduce(FIRST + number) for number in range(COUNT)]
    yield made
    for number, ring in enumerate(made):
        ring.close()
        host.store.release(FIRST + number)


@pytest.fixture(scope='module')
def watching(dom0: Sandbox, crowd: List[str]) -> Iterator[Watch]:
    """One daemon for all tests: it has had time to grow."""
    watch = Watch(os.environ.get('HOOK_PYTHON') or sys.executable)
    try:
        began = time.monotonic()
        watch.start(ready=False)
        wait_until(lambda: 'READY=1' in watch.listen(), 'the daemon', 90)
        print('\n%d VIFs: all programmed %.1f s after the start' % (
            COUNT, time.monotonic() - began))
        yield watch
        watch.stop()
    finally:
        watch.close()


def settle(watch: Watch) -> None:
    """Wait until the daemon has nothing to do."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        cpu = watch.cpu()
        time.sleep(2)
        if watch.cpu() - cpu < 0.06:
            return
    raise AssertionError('it is never idle')


def report(watch: Watch, what: str, cpu: float, seconds: float) -> float:
    """Print what something has cost; return how much of a core."""
    share = (watch.cpu() - cpu) / seconds
    print('%s: %.1f %% of a core, %.1f MiB' % (what, 100 * share, watch.memory() / 1024))
    return share


def test_idle(host: Sandbox, crowd: List[str], watching: Watch) -> None:
    flows = our_flows(host)
    assert all(any(netdev in flow for flow in flows) for netdev in (crowd[0], crowd[-1]))
    settle(watching)
    cpu = watching.cpu()
    time.sleep(IDLE_S)
    share = report(watching, 'idle, %d flows' % len(flows), cpu, IDLE_S)
    assert share < 0.005 and watching.memory() < MEMORY_KIB


def test_everything_is_compared(host: Sandbox, crowd: List[str], watching: Watch,
                                command: Any) -> None:
    settle(watching)
    cpu = watching.cpu()
    watching.signal(signal.SIGHUP)
    time.sleep(8)
    print('all bridges compared: %.2f s of CPU time' % (watching.cpu() - cpu))
    for words in (('sync', '--dry-run'), ('sync',), ('release',)):
        began = time.monotonic()
        done = command(*words)
        print('xsisolate %s: %.2f s' % (' '.join(words), time.monotonic() - began))
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_wiped_bridge(host: Sandbox, crowd: List[str], watching: Watch) -> None:
    settle(watching)
    before = policy_flows(host)
    host.ovs.ofctl('del-flows', 'xenbr0')
    host.ovs.add_flow('xenbr0', 'priority=0,actions=NORMAL')
    began = time.monotonic()
    wait_until(lambda: our_flows(host), 'the flows', 30)
    print('flows back %.2f s after they were deleted' % (time.monotonic() - began))
    wait_until(lambda: policy_flows(host) == before, 'all flows', 30)


def test_a_crash(host: Sandbox, crowd: List[str], watching: Watch) -> None:
    settle(watching)
    before = policy_flows(host)
    host.ovs.kill_vswitchd()
    host.ovs.start_vswitchd()
    began = time.monotonic()
    wait_until(lambda: our_flows(host), 'the bridge to be shut', 30)
    shut = time.monotonic() - began
    wait_until(lambda: policy_flows(host) == before, 'all flows', 30)
    print('after a crash the bridge was shut after %.2f s, and had its flows after %.2f s'
          % (shut, time.monotonic() - began))


@pytest.mark.parametrize('guests', [1, 20, COUNT])
def test_guests_that_write_all_the_time(host: Sandbox, crowd: List[str], watching: Watch,
                                        rings: List[Any], guests: int) -> None:
    """Through their own rings, in turn, as fast as xenstored takes it."""
    settle(watching)
    writers = rings[:guests]
    match = 'table=234,cookie=%s/-1' % cookie_of(host, crowd[-1])
    write(writers, WARM_S)      # what is in doubt goes into quarantine meanwhile
    cpu = watching.cpu()
    count = write(writers, FLOOD_S)
    share = report(watching, '%d guests write, %d times a second' % (guests, count / FLOOD_S),
                   cpu, FLOOD_S)
    host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', match)
    deleted = time.monotonic()
    while not cookie_of(host, crowd[-1], 234) and time.monotonic() - deleted < 30:
        write(writers, 0.1)
    repaired = time.monotonic() - deleted
    print('a lost flow of a VIF is back after %.1f s' % repaired)
    for number, ring in enumerate(writers):
        ring.write('vm-data/xsisolate/groups', policy_of(number)['groups'])
    settle(watching)
    assert watching.memory() < MEMORY_KIB
    assert share < (0.3 if guests == 1 else 0.9) and repaired < 15


def write(rings: List[Any], seconds: float) -> int:
    """Let guests write for a while; return how often they did."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        rings[count % len(rings)].write('vm-data/xsisolate/groups',
                                        'group%d' % (count // len(rings) % 2))
        count += 1
    return count


def cookie_of(host: Sandbox, netdev: str, table: int = 0) -> str:
    """Return the cookie of a VIF's endpoint, empty if it has no flow in a table."""
    domid = int(netdev[3:].split('.')[0])
    cookie = '0x5849534f4%07x' % (domid << 9)
    found = [flow for flow in our_flows(host) if flow.startswith('cookie=%s,' % cookie)
             and (not table or 'table=%d,' % table in flow)]
    return cookie if found else ''
