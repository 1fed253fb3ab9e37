"""Many events at once, twice, in the wrong order, and numbers that come back."""
import random
from typing import List

import pytest

from sandbox.hooks import Call
from sandbox.process import ip
from sandbox.vm import Vm

from support.flooded_host import BLUE, RED, FloodedHost, run_here
from suite import SEED
from support.flooded_vms import LOCKED, Rights

pytestmark = pytest.mark.host(sealed=True)

CROWD = 25              # VMs; each is plugged and unplugged twice: 100 hooks, half of them at once
DONE = 0


def crowd(scene: FloodedHost, first: int) -> List[Vm]:
    """Begin many VMs of all kinds, cabled, and no hook has run."""
    vms = []
    for number in range(first, first + CROWD):
        rights = (RED, BLUE, Rights(LOCKED))[number % 3]
        vms.append(scene.begin(rights, number, 'crowd%d' % number, shout=False))
    scene.town.shout()
    return vms


def all_done(scene: FloodedHost, calls: List[Call]) -> None:
    """Make all calls at once, and fail unless each ends well."""
    results = scene.host.hooks.run(*calls, timeout=120)
    for result in results:
        assert result.code == DONE and 'Traceback' not in result.stderr, result
    if len(calls) > 4:
        print('%d hooks at once: %.1f s' % (len(calls), max(one.seconds for one in results)))


def test_a_hundred_plugs_and_unplugs(calm: FloodedHost) -> None:
    """25 plugs at once, then 25 unplugs and 25 more plugs at once, then 25 unplugs."""
    first, second = crowd(calm, 100), crowd(calm, 100 + CROWD)
    all_done(calm, [calm.online(vm) for vm in first])
    calm.nothing_forbidden()
    calm.as_desired()
    for vm in first:
        vm.cut(0)
    calls = [calm.remove(vm) for vm in first] + [calm.online(vm) for vm in second]
    random.Random(SEED).shuffle(calls)
    all_done(calm, calls)
    calm.nothing_forbidden()
    calm.as_desired()
    for vm in second:
        vm.cut(0)
    all_done(calm, [calm.remove(vm) for vm in second])
    calm.nothing_forbidden()
    calm.as_desired()
    calm.end(*first, *second)
    print('%d hooks in three storms, %d frames in all' % (4 * CROWD, calm.town.frames))


@pytest.mark.parametrize('taps_first', (True, False))
def test_vif_and_tap_of_a_nic_at_once(calm: FloodedHost, taps_first: bool) -> None:
    """Both come, both are refreshed and both go at the same time."""
    vm = calm.begin(RED, hvm=True)
    hooks = calm.host.hooks
    calls = [hooks.udev_tap('add', vm.domid, 0), calm.online(vm)]
    all_done(calm, calls if taps_first else calls[::-1])
    calm.as_desired()
    calm.all_talk()
    calm.regroup(vm, 13, BLUE)
    all_done(calm, hooks.locking_changed(vm.domain, vm.vifs[0]))
    calm.nothing_forbidden()
    calm.town.done(vm.name, BLUE)
    calm.as_desired()
    vm.cut(0)
    all_done(calm, [hooks.udev_tap('remove', vm.domid, 0), calm.remove(vm)])
    calm.nothing_forbidden()
    calm.as_desired()


def test_the_same_event_again_and_again(calm: FloodedHost) -> None:
    """Four times at once, and once more."""
    vm = calm.begin(RED)
    for call in (calm.online(vm), calm.refresh(vm)):
        all_done(calm, [call] * 4)
        all_done(calm, [call])
        calm.as_desired()
    calm.all_talk()
    vm.cut(0)
    all_done(calm, [calm.remove(vm)] * 4)
    all_done(calm, [calm.remove(vm)])
    calm.nothing_forbidden()
    calm.as_desired()


ORDERS = ('remove online', 'offline online', 'online offline remove unbind',
          'unbind add online bind', 'remove remove online add', 'move online', 'change online')


@pytest.mark.parametrize('actions', ORDERS)
def test_events_out_of_order(calm: FloodedHost, actions: str) -> None:
    """udev's workers run in parallel: what happened first may be told last."""
    vm = calm.begin(RED)
    for action in actions.split():
        result, = calm.host.hooks.run(calm.host.hooks.udev_vif(action, vm.domid, 0))
        assert result.code == DONE, result
        calm.nothing_forbidden()
        calm.as_desired()


def test_a_plug_that_comes_too_late(calm: FloodedHost) -> None:
    """The netdev has gone before its `online` is handled: an error, and nothing is left."""
    vm = calm.begin(RED)
    vm.cut(0)
    result, = calm.host.hooks.run(calm.online(vm))
    assert result.code == 1 and ': failed ' in result.stderr, result
    calm.as_desired()
    all_done(calm, [calm.remove(vm)])
    calm.as_desired()


def test_a_domid_comes_back(calm: FloodedHost) -> None:
    """A domain crashed and no hook ran; the next with its number is somebody else."""
    vm = calm.begin(RED)
    run_here(calm.online(vm))
    calm.nothing_forbidden()
    domid, left = vm.domid, dict(calm.town.residents)
    calm.town.leave(vm.name)
    vm.crash()
    calm.nothing_forbidden(left)
    calm.host.reuse_domid(domid)
    other = calm.begin(BLUE, 14, 'other')
    assert other.domid == domid
    all_done(calm, [calm.online(other)])
    calm.nothing_forbidden()
    calm.as_desired()
    calm.all_talk()


def test_an_ofport_comes_back(calm: FloodedHost) -> None:
    """A port's number is given to the next VM while its flows are still there."""
    vm = calm.begin(RED)
    run_here(calm.online(vm))
    calm.nothing_forbidden()
    number, left = calm.host.ovs.ofport(vm.netdev()), dict(calm.town.residents)
    calm.town.leave(vm.name)
    device = vm.netdev()
    vm.crash()
    calm.nothing_forbidden(left)
    calm.host.ovs.vsctl('del-port', device)         # and no hook ran
    other = calm.begin(BLUE, 14, 'other')
    calm.host.ovs.vsctl('add-port', 'xenbr1', other.netdev(), '--', 'set', 'Interface',
                        other.netdev(), 'ofport_request=%d' % number)
    ip(['link set %s down' % other.netdev()])
    all_done(calm, [calm.online(other)])
    assert calm.host.ovs.ofport(other.netdev()) == number
    calm.nothing_forbidden()
    calm.as_desired()
    calm.all_talk()
