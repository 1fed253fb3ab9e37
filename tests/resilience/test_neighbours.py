"""What the hooks depend on dies, hangs, is full or lies about the time: nothing opens.

A hook is held before one of its calls, then something happens, and it goes on. Each run
of the tests takes other calls.
"""
import glob
import os
import random
import signal
import time
from contextlib import contextmanager
from typing import Callable, Iterator, List, NamedTuple

import pytest

from sandbox.daemon import PATH
from sandbox.hooks import Call, HookRun
from sandbox.injection import list_calls, stopped_at
from sandbox.process import run, wait_until

from xsisolate.dom0.linux.netdev import is_up

from support.flooded_host import (CONFIG, RED, SUBJECT, FloodedHost, command, moved, plugged,
                                  run_here, subject)
from suite import SEED

pytestmark = pytest.mark.host(     # ovs-vswitchd dies here, and no daemon puts the flows back
    sealed=True, config=CONFIG.replace('"*":\n', '"*":\n    fail_closed: true\n'))

HOLDS = 12 if os.environ.get('KILLS') == 'all' else 2     # calls at which something dies
FAKETIME = next(iter(glob.glob('/usr/lib/*/faketime/libfaketime.so.1')), 'libfaketime.so.1')
WAITS_S = 0.15
HAS_THE_LOCK, THE_WAIT = 'posix.pwrite lock.py', 'unixctl.py'      # calls of a hook
LOCK, VIFS = '/run/xsisolate/lock/xenbr0', '/run/xsisolate/lock/all+vifs'
DONE, FAILED = 0, 1


class Death(NamedTuple):
    """Somebody who dies, and comes back."""

    name: str
    kill: Callable[[FloodedHost], None]
    revive: Callable[[FloodedHost], None]


def kill_xenstored(scene: FloodedHost) -> None:
    """Let oxenstored crash."""
    scene.host.xenstored.stop(signal.SIGKILL)


def revive_xenstored(scene: FloodedHost) -> None:
    """Start it, empty, and write what the toolstack knows."""
    scene.host.xenstored.start()
    scene.host.store.connect_again()
    for vm in scene.host.vms:
        vm.restore_nodes()


DEATHS = (Death('xenstored', kill_xenstored, revive_xenstored),
          Death('ovsdb-server', lambda scene: scene.host.ovs.kill_database(),
                lambda scene: scene.host.ovs.start_database()),
          Death('ovs-vswitchd', lambda scene: scene.host.ovs.kill_vswitchd(),
                lambda scene: scene.host.ovs.start_vswitchd()))


def holds(scene: FloodedHost, call: Call) -> List[int]:
    """Return some of the calls of a hook, after making it once in peace."""
    count = len(list_calls(scene.host.hooks, call))
    return sorted(random.Random(SEED).sample(range(1, count + 1), min(HOLDS, count)))


def one_line(result: HookRun) -> None:
    """Fail unless a hook said in lines what went wrong, if anything did."""
    assert result.code in (DONE, FAILED) and 'Traceback' not in result.stderr, result
    assert result.code == DONE or ': failed ' in result.stderr, result
    assert 'internal' not in result.stderr, result


@pytest.mark.parametrize('death', DEATHS, ids=lambda death: death.name)
def test_somebody_dies_in_mid_plug(calm: FloodedHost, death: Death) -> None:
    """The plug fails with a line, or is done; a sync after the revival puts all right."""
    vm = calm.begin(RED)
    numbers = holds(calm, calm.online(vm))
    calm.end(vm)
    codes = []
    for number in numbers:
        vm = calm.begin(RED)
        with stopped_at(calm.host.hooks, calm.online(vm), number) as running:
            death.kill(calm)
        result, = calm.host.hooks.wait(running)
        one_line(result)
        codes.append(result.code)
        death.revive(calm)
        calm.nothing_forbidden()
        calm.synced()
        calm.end(vm)
        calm.synced()
    print('%s died at %s of a plug: exit codes %s' % (death.name, numbers, codes))


@pytest.mark.parametrize('death', DEATHS, ids=lambda death: death.name)
def test_somebody_dies_in_mid_unplug(calm: FloodedHost, death: Death) -> None:
    """An unplug always succeeds, xenopsd would wait for minutes; the rest is sync's."""
    vm = plugged(calm)
    vm.cut(0)
    numbers = holds(calm, calm.remove(vm))
    calm.end(vm)
    for number in numbers[::2]:
        vm = plugged(calm)
        vm.cut(0)
        with stopped_at(calm.host.hooks, calm.remove(vm), number) as running:
            death.kill(calm)
        result, = calm.host.hooks.wait(running)
        one_line(result._replace(code=0) if death.name == 'xenstored' else result)
        death.revive(calm)
        calm.nothing_forbidden()
        calm.synced()
        calm.end(vm)


# --- hanging, full, late -----------------------------------------------------------------------


def test_the_switch_hangs_while_a_move_is_cut_short(calm: FloodedHost) -> None:
    """The port's number in the database is that of the bridge that it has left."""
    call = moved(calm)
    names = list_calls(calm.host.hooks, call)
    sends = [number for number, name in enumerate(names, 1)
             if name.startswith('socket.sendall jsonrpc')]
    assert sends, names
    calm.nothing_forbidden()
    calm.town.done('subject', RED._replace(bridge='xenbr1'))
    assert calm.host.ovs.vswitchd
    pid = calm.host.ovs.vswitchd.pid
    for number in sends:
        if calm.town.rights('subject').bridge == 'xenbr1':      # home, where others live
            run_here(moved(calm))
            calm.town.done('subject', RED)
        call = moved(calm)
        device, here = subject(calm).netdev(), subject(calm).vifs[0].bridge
        before = calm.host.ovs.ofport(device)
        calm.host.ovs.vsctl('add-port', here, 'taken', '--', 'set', 'Interface', 'taken',
                            'type=internal', 'ofport_request=%d' % before)
        with stopped_at(calm.host.hooks, call, number) as running:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(WAITS_S)         # it waits for the switch
            running.end()
            calm.host.hooks.wait(running)
            again = calm.host.hooks.start(call)
            time.sleep(WAITS_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        result, = calm.host.hooks.wait(again)
        assert result.code == DONE and calm.host.ovs.ofport(device) != before, result
        calm.nothing_forbidden()
        calm.as_desired()
        calm.nothing_forbidden()
        calm.town.done('subject', RED._replace(bridge=here))
        calm.host.ovs.vsctl('del-port', 'taken')


def test_a_lock_that_is_held(calm: FloodedHost) -> None:
    """A hook that hangs holds its bridge's lock: others wait, and go on when it is dead."""
    calm.synced()
    vm = calm.begin(RED)
    call = calm.refresh(calm.town.residents['red1'].vm)
    with stopped_at(calm.host.hooks, call, HAS_THE_LOCK) as hanging:
        running = calm.host.hooks.start(calm.online(vm))
        wait_until(lambda: running.has_open(LOCK), 'the other hook to want the lock')
        assert not running.is_done()
        calm.nothing_forbidden()
        hanging.end()
    result, = calm.host.hooks.wait(running)
    assert result.code == DONE, result
    calm.host.hooks.wait(hanging)
    calm.as_desired()
    calm.nothing_forbidden()


# --- what happens while a plug waits for verdicts, without the bridge's lock ---------------------


@pytest.mark.parametrize('again', [False, True], ids=['gone', 'another number'])
def test_somebody_takes_the_port_away(calm: FloodedHost, again: bool) -> None:
    """The link stays down: nobody has made flows for the port that there is, if there is one."""
    vm = calm.begin(RED)
    device = vm.netdev()
    with stopped_at(calm.host.hooks, calm.online(vm), THE_WAIT) as running:
        before = calm.host.ovs.ofport(device)
        calm.host.ovs.vsctl('del-port', device)
        if again:
            calm.host.ovs.vsctl('add-port', 'xenbr0', 'taken', '--', 'set', 'Interface', 'taken',
                                'type=internal', 'ofport_request=%d' % before)
            calm.host.ovs.vsctl('add-port', 'xenbr0', device)
        calm.nothing_forbidden()
    result, = calm.host.hooks.wait(running)
    calm.host.ovs.vsctl('--if-exists', 'del-port', 'taken')
    assert result.code == FAILED and 'another program took %s off' % device in result.stderr, result
    assert not is_up(device)
    calm.nothing_forbidden()
    calm.synced()


@pytest.mark.parametrize('what', ['move', 'unplug', 'plug'])
def test_another_hook_of_the_vif_waits(calm: FloodedHost, what: str) -> None:
    """Neither sets up what the other has set down, and the one that came last has the last word."""
    vm = calm.begin(RED)
    with stopped_at(calm.host.hooks, calm.online(vm), THE_WAIT) as running:
        call = {'move': lambda: moved(calm), 'unplug': lambda: calm.remove(vm),
                'plug': lambda: calm.online(vm)}[what]()
        other = calm.host.hooks.start(call)
        wait_until(lambda: other.has_open(VIFS), 'the other hook to want the lock')
        time.sleep(WAITS_S)
        assert not other.is_done()
        calm.nothing_forbidden()
    for result in calm.host.hooks.wait(running, other):
        assert result.code == DONE, result
    here = 'xenbr1' if what == 'move' else 'xenbr0'
    assert is_up(vm.netdev()) is (what != 'unplug')
    assert [bridge for bridge in ('xenbr0', 'xenbr1') if vm.netdev()
            in calm.host.ovs.vsctl('list-ports', bridge).split()] == [here] * (what != 'unplug')
    calm.as_desired()
    calm.nothing_forbidden()
    if what != 'unplug':
        calm.town.done('subject', RED._replace(bridge=here))
    calm.nothing_forbidden()


@contextmanager
def full_run() -> Iterator[None]:
    """Let /run have no byte and no inode left."""
    run(['mount', '-o', 'remount,size=4k,nr_inodes=1', '/run/xsisolate'])
    try:
        yield
    finally:
        run(['mount', '-o', 'remount,size=1m,nr_inodes=1000', '/run/xsisolate'])


@pytest.fixture
def small_run() -> Iterator[None]:
    """A /run/xsisolate of its own, with the locks that there are."""
    run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'reliability-test', '/run/xsisolate'])
    os.makedirs('/run/xsisolate/lock')
    yield
    run(['umount', '--lazy', '/run/xsisolate'])


def test_run_is_full(calm: FloodedHost, small_run: None) -> None:
    """Hooks that cannot lock fail closed; an unplug waits for better times."""
    vm = plugged(calm)
    run(['find', '/run/xsisolate', '-mindepth', '1', '-delete'])
    with full_run():
        refreshed, = calm.host.hooks.run(calm.refresh(vm))
        one_line(refreshed)
        calm.nothing_forbidden()
        other = calm.begin(RED, 14, 'other')
        result, = calm.host.hooks.run(calm.online(other))
        one_line(result)
        assert (refreshed.code, result.code) == (FAILED, FAILED)
        assert command('sync').code == FAILED
        calm.nothing_forbidden()
    calm.synced()
    for call in (calm.refresh(vm), calm.online(other)):
        assert calm.host.hooks.run(call)[0].code == DONE
    calm.as_desired()


@pytest.mark.parametrize('jump', ('-3650d', '+3650d'))
def test_the_clock_jumps(calm: FloodedHost, jump: str) -> None:
    """While a hook runs, and between the configuration's compilation and its use."""
    clock = '/run/faketime'
    fake = {'LD_PRELOAD': FAKETIME, 'DONT_FAKE_MONOTONIC': '1', 'FAKETIME_NO_CACHE': '1',
            'FAKETIME_TIMESTAMP_FILE': clock, 'PATH': PATH}

    def set_clock(offset: str) -> None:
        with open(clock, 'w') as file:
            file.write(offset + '\n')

    set_clock('+0d')
    assert run(['env', *('%s=%s' % item for item in fake.items()), 'date', '+%Y']) == run(
        ['date', '+%Y'])
    vm = calm.begin(RED)
    call = calm.online(vm)
    call = call._replace(environment=dict(call.environment, **fake))
    for number in random.Random(SEED).sample(range(20, 200), 2):
        set_clock('+0d')
        with stopped_at(calm.host.hooks, call, number) as running:
            set_clock(jump)
        result, = calm.host.hooks.wait(running)
        assert result.code == DONE and 'quarantined' not in result.stderr, result
        calm.as_desired()
    text = calm.host_config()
    calm.host.configure(text + '# written when the clock was wrong\n')
    os.utime('/etc/xsisolate/xsisolate.yaml', (0, 0))
    calm.regroup(vm, SUBJECT, RED)
    result, = calm.host.hooks.run(calm.refresh(vm))
    assert result.code == DONE and 'mode=isolated' in result.stderr, result
    calm.host.configure(text)
