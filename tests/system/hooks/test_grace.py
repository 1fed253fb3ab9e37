"""Grace: a running VIF keeps its sealed policy while vm-data and seal do not fit, and no longer.

vm-data and seal are two writes of an admin's; a hook may look between them.
"""
import fcntl
import time
from contextlib import contextmanager
from typing import Any, Iterator, List

import pytest

from sandbox import seals
from sandbox.hooks import Call, HookRun, Running
from sandbox.process import wait_until
from sandbox.dom0 import SEAL, Sandbox
from sandbox.toolstack import backend
from sandbox.vm import Vm, policy_keys

from support.reachability import can_talk, is_cut_off
from support.vm_events import fire_online, refresh
from support.hook_log import lines
from support.switch import our_flows, policy_flows, ports
from support.guarded_host import (CHANGED, CONFIG, LONG_S, MISSING, RED, SHORT_S, UNSEALED, Around,
                                  check_mode, check_quarantine, give_seal, guest_changes, is_fine,
                                  own, passed, shown_error, the_seal, wait_for)

pytestmark = pytest.mark.host(sealed=True, config=CONFIG % LONG_S)

GRACE_S = SHORT_S       # where it is to end
AT_ONCE_S = 5           # for a hook that does not wait, on a busy machine
LOST_S = 0.24           # one echo request; the next one would be sent after 0.25 s
BLUE = {'groups': 'blue'}


def filter_call(vm: Vm) -> Call:
    """Return xenopsd's call of setup-vif-rules for a running VIF."""
    return vm.dom0.hooks.locking_changed(vm.domain, vm.vifs[0])[0]


def begin(vm: Vm, *calls: Call) -> List[Running]:
    """Start hooks, one call of setup-vif-rules unless told; return when all are in doubt."""
    running = [vm.dom0.hooks.start(call) for call in calls or [filter_call(vm)]]
    for one in running:
        wait_until(lambda: 'in doubt' in one.said_so_far(), 'a hook in doubt')
    return running


def conclude(vm: Vm, running: Running, seconds: float = AT_ONCE_S) -> HookRun:
    """Wait for a hook and for the switch."""
    result = wait_for(running, seconds)
    vm.dom0.ovs.settle()
    return result


# --- grace and its end -----------------------------------------------------------------------


def test_a_running_vif_loses_nothing_until_its_grace_is_over(host: Sandbox, around: Around,
                                                             start: Any, short: None) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    before = policy_flows(host)
    guest_changes(vm)
    hook, = begin(vm)
    pings, deadline = 0, time.monotonic() + GRACE_S * 0.7
    while time.monotonic() < deadline:
        assert vm.ping(around.friend.address(), LOST_S) and not hook.is_done()
        pings += 1
    assert pings > 3 and policy_flows(host) == before and not shown_error(vm)
    assert is_cut_off(vm, around.bystander.address())
    result = conclude(vm, hook)
    assert result.seconds >= GRACE_S
    check_quarantine(vm, around, result, CHANGED, doubt=True)
    doubt = lines(result)[0]
    assert 'seconds=%d ' % GRACE_S in doubt and CHANGED in doubt and vm.netdev() in doubt
    again = refresh(vm)     # what is in quarantine has no grace
    assert again.seconds < AT_ONCE_S
    check_quarantine(vm, around, again, CHANGED)


@pytest.mark.parametrize('doubt, reason', [
    (lambda vm: give_seal(vm, None), UNSEALED), (lambda vm: vm.set_vm_data({}), MISSING),
    (lambda vm: vm.xenstore.write('vm-data/xsisolate/groups', '!'), 'groups')],
    ids=['unsealed', 'missing', 'unreadable'])
def test_whatever_does_not_fit_has_grace(around: Around, start: Any, doubt: Any,
                                         reason: str) -> None:
    vm = start(13, RED)
    doubt(vm)
    hook, = begin(vm)
    assert can_talk(vm, around.friend.address())
    vm.set_policy(own(13, RED))
    result = conclude(vm, hook)
    assert result.code == 0 and len(lines(result)) == 2 and ' mode=isolated ' in result.stderr
    assert reason in lines(result)[0]


@pytest.mark.parametrize('seal_first', [False, True])
def test_an_admins_two_writes_are_one_change(around: Around, start: Any,
                                             seal_first: bool) -> None:
    """The hook that looked between them applies what they say together, and at once."""
    vm, blue = start(13, RED), start(14, BLUE)
    policy = own(13, BLUE)
    other_config = {SEAL: seals.seal(vm.uuid, vm.vifs[0], policy)}
    writes = [lambda: vm.set_vm_data(policy_keys(policy)),
              lambda: vm.set_vif(other_config=other_config)]
    first, second = reversed(writes) if seal_first else writes
    first()
    hook, = begin(vm)
    assert can_talk(vm, around.friend.address()) and is_cut_off(vm, blue.address())
    second()
    result = conclude(vm, hook)
    assert result.code == 0 and 'groups=blue ' in result.stderr and not shown_error(vm)
    assert can_talk(vm, blue.address()) and is_cut_off(vm, around.friend.address())


def test_vif_and_tap_wait_at_the_same_time(host: Sandbox, around: Around, start: Any,
                                           configure: Any) -> None:
    vm = start(13, RED, hvm=True)
    calls = host.hooks.locking_changed(vm.domain, vm.vifs[0])
    assert len(calls) == 2
    guest_changes(vm)
    hooks = begin(vm, *calls)
    assert can_talk(vm, around.friend.address())
    vm.set_policy(own(13, RED))
    for hook in hooks:
        assert ' mode=isolated ' in conclude(vm, hook).stderr
    assert can_talk(vm, around.friend.address())
    configure(CONFIG % GRACE_S)
    give_seal(vm, None)
    for hook in begin(vm, *calls):
        result = conclude(vm, hook)
        assert result.code == 0 and ' mode=quarantined ' in result.stderr
        assert GRACE_S <= result.seconds < GRACE_S + AT_ONCE_S
    assert passed(vm, around) == []
    assert UNSEALED in shown_error(vm) and UNSEALED in shown_error(vm, kind='tap')


def test_a_hook_killed_while_it_waits_leaves_the_sealed_policy(host: Sandbox, around: Around,
                                                               start: Any) -> None:
    vm = start(13, RED)
    before = policy_flows(host)
    guest_changes(vm)
    hook, = begin(vm)
    hook.end()
    assert wait_for(hook).code == -9
    assert policy_flows(host) == before and can_talk(vm, around.friend.address())
    assert is_cut_off(vm, around.bystander.address())
    hook, = begin(vm)       # nor does the dead one keep the next from waiting
    vm.set_policy(own(13, BLUE))
    assert 'groups=blue ' in conclude(vm, hook).stderr
    assert is_cut_off(vm, around.friend.address())


@pytest.mark.parametrize('kind', ['setup-vif-rules', 'vif'])
def test_an_unplug_ends_the_wait(host: Sandbox, around: Around, start: Any, kind: str) -> None:
    """udev says online again when a Windows driver takes the VIF over."""
    vm = start(13, RED)
    guest_changes(vm)
    hook, = begin(vm, filter_call(vm) if kind != 'vif' else host.hooks.udev_vif(
        'online', vm.domid, 0))
    vm.unplug()
    result = conclude(vm, hook)
    said = lines(result)
    assert result.code == 1 and len(said) == 2 and ' failed vif=' + vm.netdev() in said[1], said
    assert vm.netdev() not in ports(host)
    assert not any(vm.netdev() in flow or vm.mac in flow for flow in our_flows(host))
    assert host.store.get(backend(vm.domid, 0)) is None, 'nothing is left for a later plug'


def test_a_crash_ends_the_wait(host: Sandbox, around: Around, start: Any, short: None) -> None:
    """The netdev is gone, the port is not: at the end nothing opens."""
    vm = start(13, RED)
    guest_changes(vm)
    hook, = begin(vm)
    vm.cut(0)
    result = conclude(vm, hook)
    assert result.code == 1 and vm.netdev() + ' was unplugged' in lines(result)[1]
    vm.fire([host.hooks.udev_vif('remove', vm.domid, 0)])
    assert vm.netdev() not in ports(host)


@contextmanager
def at_the_lock(vm: Vm) -> Iterator[Running]:
    """Hold a hook up where it has found vm-data and seal to fit, and waits for its bridge."""
    path = '/run/xsisolate/lock/xenbr0'
    with open(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hook = vm.dom0.hooks.start(filter_call(vm))
        wait_until(lambda: hook.has_open(path), 'a hook at the lock')
        yield hook


def test_what_a_hook_has_seen_to_fit_is_good_enough(around: Around, start: Any) -> None:
    """An admin's next write may have begun when it is the hook's turn."""
    vm = start(13, RED)
    with at_the_lock(vm) as hook:
        guest_changes(vm)
    check_mode(vm, conclude(vm, hook), 'isolated')
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())


CHANGES: List[Any] = [
    {'locking_mode': 'disabled'}, {'locking_mode': 'locked', 'ipv4_allowed': ('10.9.0.14',)},
    {'other_config': {}}]


@pytest.mark.parametrize('fields', CHANGES, ids=['disabled', 'other addresses', 'no seal'])
def test_what_a_hook_has_seen_is_no_good_when_xapi_has_changed_the_vif(
        around: Around, start: Any, fields: Any) -> None:
    """Another hook may have obeyed by now; this one must not undo it."""
    vm = start(13, RED)
    with at_the_lock(vm) as hook:
        guest_changes(vm)
        vm.set_vif(**fields)
    check_quarantine(vm, around, conclude(vm, hook), 'xsisolate-seal')


# --- where there is none ---------------------------------------------------------------------


def at_once(result: HookRun) -> HookRun:
    """Return a hook's run that did not wait."""
    assert result.seconds < AT_ONCE_S and 'in doubt' not in result.stderr, result
    return result


def test_no_grace_is_no_grace(around: Around, start: Any, configure: Any) -> None:
    configure(CONFIG % 0)
    vm = start(13, RED)
    guest_changes(vm)
    check_quarantine(vm, around, at_once(refresh(vm)), CHANGED)


def test_a_fresh_vif_has_no_grace(around: Around, start: Any) -> None:
    vm = start(13, RED, plug=False)
    right = the_seal(vm)
    give_seal(vm, None)
    check_quarantine(vm, around, at_once(vm.plug()[0]), UNSEALED)
    give_seal(vm, right)
    check_mode(vm, at_once(refresh(vm)), 'isolated')
    guest_changes(vm)
    vm = vm.reboot()
    check_quarantine(vm, around, at_once(vm.runs[0]), CHANGED)


def test_a_vif_that_moves_has_no_grace_on_the_other_bridge(host: Sandbox, around: Around,
                                                           start: Any) -> None:
    vm, there = start(13, RED), start(14, RED, bridge='xenbr1')
    guest_changes(vm)
    result = at_once(vm.move('xenbr1')[0])
    assert result.code == 0 and ' mode=quarantined ' in result.stderr
    assert vm.netdev() not in ports(host) and is_cut_off(vm, there.address())
    check_quarantine(vm, around, at_once(vm.move('xenbr0')[0]), CHANGED)


@pytest.mark.parametrize('policy', [None, {'mode': 'unlocked'}])
def test_an_unlocked_vif_has_no_grace(around: Around, start: Any, policy: Any) -> None:
    """The switch carries nothing that would prove what it may do."""
    vm = start(13, policy)
    check_mode(vm, vm.runs[0], 'unlocked')
    vm.xenstore.write('vm-data/xsisolate/mode', 'locked')
    check_quarantine(vm, around, at_once(refresh(vm)), CHANGED if policy else UNSEALED)


STRICTER = [('disabled', ()), ('locked', ('10.9.0.14',)), ('locked', ())]


@pytest.mark.parametrize('mode, addresses', STRICTER)
def test_a_stricter_locking_mode_does_not_wait(around: Around, start: Any, mode: str,
                                               addresses: Any) -> None:
    vm = start(13, RED)
    guest_changes(vm)
    check_quarantine(vm, around, at_once(vm.set_locking(mode, addresses)[0]), CHANGED)


def test_a_stricter_locking_mode_ends_the_grace_of_others(around: Around, start: Any) -> None:
    vm = start(13, RED)
    guest_changes(vm)
    waiting, = begin(vm)
    assert can_talk(vm, around.friend.address())
    check_quarantine(vm, around, at_once(vm.set_locking('disabled')[0]), CHANGED)
    assert ' mode=quarantined ' in conclude(vm, waiting).stderr
    vm.set_policy(own(13, RED))
    check_mode(vm, at_once(refresh(vm)), 'disabled')
    assert passed(vm, around) == []


def test_a_locking_mode_that_allows_what_runs_leaves_the_grace(around: Around,
                                                               start: Any) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    guest_changes(vm)
    vm.set_vif(locking_mode='locked', ipv4_allowed=('10.9.0.12/30',), ipv6_allowed=('fd00:9::13',))
    hook, = begin(vm)
    assert can_talk(vm, around.friend.address())
    vm.set_policy(own(13, RED))
    assert ' mode=isolated ' in conclude(vm, hook).stderr


def test_a_broken_configuration_does_not_wait(around: Around, start: Any, configure: Any) -> None:
    vm = start(13, RED)
    guest_changes(vm)
    configure('version: 7\n')
    check_quarantine(vm, around, at_once(refresh(vm)), 'version')


def test_who_has_grace_is_seen_by_no_event_of_others(host: Sandbox, around: Around,
                                                     start: Any) -> None:
    """A neighbour that comes and goes meanwhile changes nothing for the VIF in doubt."""
    vm = start(13, RED)
    guest_changes(vm)
    hook, = begin(vm)
    other = start(14, RED)
    assert can_talk(vm, other.address()) and can_talk(vm, around.friend.address())
    assert fire_online(other).code == 0
    other.shutdown()
    assert can_talk(vm, around.friend.address()) and not hook.is_done()
    vm.set_policy(own(13, RED))
    assert ' mode=isolated ' in conclude(vm, hook).stderr
