"""A broken xsisolate.yaml: who runs keeps what it has, whoever is plugged meanwhile is shut."""
import os
import signal
import time
from typing import Any, Callable

import pytest

from sandbox.process import wait_until
from sandbox.dom0 import Sandbox

from support.reachability import can_talk, is_cut_off
from support.switch import policy_flows
from support.vm_events import refresh
from support.guarded_host import CONFIG, GUARDED, RED, Around, is_fine, shown_error

from sandbox.daemon import Watch
from support.guarded_host import LONG_S

pytestmark = GUARDED
BROKEN = 'version: 7\n'
COMPILED = '/run/xsisolate/config.json'
KNOWN = 'the last valid configuration stays in force'
UNKNOWN = 'the last valid configuration is not known'


@pytest.fixture(params=[True, False], ids=['known', 'unknown'])
def broken(host: Sandbox, around: Around, start: Any, configure: Any,
           request: pytest.FixtureRequest) -> Callable[[], str]:
    """Break the file, before the daemon starts; return what that says of the last valid one."""
    def do() -> str:
        configure(BROKEN)
        if request.param:
            return KNOWN
        os.unlink(COMPILED)         # as after an upgrade, which reads no copy of another release
        return UNKNOWN
    return do


def test_a_daemon_that_starts_takes_nothing_from_anybody(
        host: Sandbox, around: Around, start: Any, configure: Any, broken: Callable[[], str],
        new_watch: Callable[[], Watch], settled: Any) -> None:
    """Managed, unmanaged, or on a bridge that carries nothing of ours: all go on talking."""
    vm, free = start(13, RED), start(15)
    far, other = start(16, bridge='xenbr1'), start(17, bridge='xenbr1')
    refresh(vm)
    assert is_fine(vm, around) and can_talk(free, around.bystander.address())
    before = policy_flows(host), policy_flows(host, 'xenbr1')
    words = broken()
    watch = new_watch().start()
    watch.wait_for('configuration', words, 'version')
    for _ in range(2):
        time.sleep(1.2)
        watch.signal(signal.SIGHUP)
    time.sleep(0.5)
    assert (policy_flows(host), policy_flows(host, 'xenbr1')) == before
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    assert can_talk(free, around.bystander.address()) and can_talk(far, other.address())
    assert len(watch.lines('configuration', words)) == 1 and not watch.lines('quarantined')
    configure(CONFIG % LONG_S)
    settled()


def test_what_hooks_touch_meanwhile_is_shut(host: Sandbox, around: Around, start: Any,
                                            configure: Any, watch: Watch, settled: Any) -> None:
    """The daemon leaves it shut until the file is mended; the others' gateway stays."""
    vm = start(13, RED)
    settled()
    assert can_talk(around.friend, '10.9.0.254')
    before = policy_flows(host)
    configure(BROKEN)
    refresh(vm)
    late = start(14, RED)
    assert 'xsisolate.yaml' in shown_error(vm) and 'xsisolate.yaml' in shown_error(late)
    watch.wait_for('configuration', KNOWN)
    watch.signal(signal.SIGHUP)
    time.sleep(1.5)
    for one in (vm, late):
        assert 'xsisolate.yaml' in shown_error(one)
        assert is_cut_off(one, around.friend.address(), around.bystander.address())
    assert can_talk(around.friend, '10.9.0.254')
    configure(CONFIG % LONG_S)
    wait_until(lambda: can_talk(late, vm.address()), 'the mended file', 8)
    late.shutdown()
    wait_until(lambda: policy_flows(host) == before, 'what it was', 8)
    settled()


def test_what_is_lost_meanwhile(host: Sandbox, around: Around, start: Any, configure: Any,
                                broken: Callable[[], str], new_watch: Callable[[], Watch],
                                settled: Any) -> None:
    """By the last valid file flows come back; if nobody knows that, VIFs are shut."""
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    words = broken()
    watch = new_watch().start()
    watch.wait_for('configuration', words)
    host.ovs.ofctl('del-flows', 'xenbr0')
    host.ovs.add_flow('xenbr0', 'priority=0,actions=NORMAL')
    if words is KNOWN:
        wait_until(lambda: policy_flows(host) == before, 'the flows', 8)
        assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    else:
        watch.wait_for('quarantined', vm.netdev())
        assert is_cut_off(vm, around.friend.address(), around.bystander.address())
    configure(CONFIG % LONG_S)
    wait_until(lambda: policy_flows(host) == before, 'the mended file', 8)
    settled()
