"""The daemon as a service: what it tells systemd, and what it costs when nothing happens."""
import signal
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from sandbox.process import wait_until
from sandbox.pythons import by_name
from sandbox.dom0 import Sandbox

from support.vif_crowd import crowded
from support.switch import our_flows, policy_flows
from support.guarded_host import GUARDED, RED, Around

from sandbox.daemon import Watch

pytestmark = GUARDED

PORTS = 40
BEAT_S = 0.6
PYTHONS = by_name()


def test_it_is_ready_when_every_bridge_is_as_it_should_be(
        host: Sandbox, around: Around, start: Any, new_watch: Callable[[], Watch]) -> None:
    start(13, RED)
    before = policy_flows(host)
    host.ovs.ofctl('del-flows', 'xenbr0')
    host.ovs.add_flow('xenbr0', 'priority=0,actions=NORMAL')
    assert not our_flows(host)
    watch = new_watch().start()
    assert policy_flows(host) == before and watch.heard == ['READY=1']
    assert watch.lines('reconciled bridge=xenbr0')


def test_it_is_not_ready_while_it_cannot_look(host: Sandbox, around: Around, start: Any,
                                              new_watch: Callable[[], Watch]) -> None:
    host.ovs.kill_vswitchd()
    try:
        watch = new_watch().start(ready=False)
        watch.wait_for('failed', 'task=xenbr0')
        time.sleep(1.5)         # longer than any look at files
        assert not watch.listen()
    finally:
        host.ovs.start_vswitchd()
    wait_until(lambda: watch.listen() == ['READY=1'], 'READY')


def test_it_beats_at_a_third_of_the_time(host: Sandbox, around: Around, start: Any,
                                         new_watch: Callable[[], Watch]) -> None:
    watch = new_watch().start(WATCHDOG_USEC=str(int(BEAT_S * 1e6)))
    del watch.listen()[:]
    began = time.monotonic()
    time.sleep(BEAT_S * 5)
    beats, seconds = watch.listen().count('WATCHDOG=1'), time.monotonic() - began
    print('%d beats in %.1f s' % (beats, seconds))
    assert seconds / BEAT_S * 1.5 <= beats <= seconds / BEAT_S * 3 + 2
    assert set(watch.heard) == {'WATCHDOG=1'}
    watch.signal(signal.SIGSTOP)        # as if it hung: systemd hears nothing
    time.sleep(0.1)
    del watch.listen()[:]
    time.sleep(BEAT_S)
    assert not watch.listen()
    watch.signal(signal.SIGCONT)


@pytest.mark.parametrize('environ', [
    {}, {'WATCHDOG_USEC': '600000', 'WATCHDOG_PID': '1'}, {'WATCHDOG_USEC': 'soon'},
    {'WATCHDOG_USEC': '0'}], ids=['none', 'not ours', 'no number', 'off'])
def test_nobody_asked_for_beats(host: Sandbox, around: Around, start: Any, environ: Dict[str, str],
                                new_watch: Callable[[], Watch]) -> None:
    watch = new_watch().start(**environ)
    time.sleep(0.5)
    assert watch.listen() == ['READY=1']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon(host: Sandbox, around: Around, start: Any, number: int,
                      new_watch: Callable[[], Watch]) -> None:
    watch = new_watch().start()
    flows = policy_flows(host)
    began = time.monotonic()
    watch.signal(number)
    assert watch.process and watch.process.wait(5) == 0
    assert time.monotonic() - began < 2.5 and watch.listen()[-1] == 'STOPPING=1'
    assert policy_flows(host) == flows
    watch.stop()


def test_nobody_listens(host: Sandbox, around: Around, start: Any,
                        new_watch: Callable[[], Watch]) -> None:
    """A NOTIFY_SOCKET that is gone is no reason to die."""
    watch = new_watch().start(ready=False, NOTIFY_SOCKET='/run/nobody',
                              WATCHDOG_USEC='300000')
    watch.wait_for('watching')
    time.sleep(0.5)
    watch.signal(signal.SIGTERM)
    assert watch.process and watch.process.wait(5) == 0 and 'Traceback' not in watch.said()
    watch.process = None


# --- what it costs -------------------------------------------------------------------------


@pytest.fixture(scope='module')
def crowd(host: Sandbox, around: Around) -> Iterator[List[str]]:
    """Forty VIFs without guests; see test_scale.py for more."""
    with crowded(host, PORTS) as netdevs:
        yield netdevs


IDLE_S = 3.0


@pytest.mark.parametrize('name', sorted(PYTHONS))
def test_it_costs_next_to_nothing(host: Sandbox, around: Around, crowd: List[str], name: str,
                                  new_watch: Callable[..., Watch]) -> None:
    began = time.monotonic()
    watch = new_watch(PYTHONS[name]).start()
    ready = time.monotonic() - began
    assert all(any(netdev in flow for flow in policy_flows(host)) for netdev in crowd)
    while True:     # the first windows may hold the end of the start, or a stall of the machine
        cpu, wakes = watch.cpu(), watch.wakes()
        time.sleep(IDLE_S)
        used, woken = watch.cpu() - cpu, watch.wakes() - wakes
        print('\nPython %s, %d VIFs: ready after %.1f s, %.1f MiB, %.3f s of CPU time, '
              'woken %d times in %.0f s'
              % (name, PORTS + 2, ready, watch.memory() / 1024, used, woken, IDLE_S))
        # 0.2 % and 2 wakes a second, on a machine that slept long ten times as much for the same
        # calls: the threads, which wake together, then take the interpreter from each other.
        if used < 0.05 * IDLE_S and woken < 20 * IDLE_S:
            break
        assert time.monotonic() - began < 60, watch.said()
    assert watch.memory() < 40 << 10
    assert not watch.lines('quarantined') and not watch.lines('failed'), watch.said()
