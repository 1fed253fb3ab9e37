"""Who makes a VIF permissive: an admin, by the seal or the configuration, and never its guest."""
from typing import Any

import pytest

from support.guarded_host import CONFIG, RED, Around
from support.hook_log import lines
from support.reachability import can_talk, is_cut_off
from support.vm_events import refresh

NOBODY = CONFIG % 1
EVERYBODY = NOBODY.replace('version: 1\n', 'version: 1\npermissive: true\n')
pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True, config=EVERYBODY)]

ENFORCED = {**RED, 'permissive': 'no'}
JUDGED = {**RED, 'permissive': 'yes'}


def test_a_network_makes_it_so(configure: Any, around: Around, start: Any) -> None:
    vm = start(13, RED)
    assert ' mode=isolated ' in vm.runs[0].stderr and 'permissive=yes' in vm.runs[0].stderr
    assert can_talk(vm, around.bystander.address()) and can_talk(vm, around.friend.address())
    configure(NOBODY)
    assert 'permissive' not in refresh(vm).stderr
    assert is_cut_off(vm, around.bystander.address()) and can_talk(vm, around.friend.address())


def test_a_sealed_policy_makes_it_so_or_not(configure: Any, around: Around, start: Any) -> None:
    enforced = start(13, ENFORCED)
    assert is_cut_off(enforced, around.bystander.address())
    configure(NOBODY)
    judged = start(14, JUDGED)
    assert can_talk(judged, around.bystander.address())
    assert 'permissive=yes' in judged.runs[0].stderr


@pytest.mark.parametrize('change', [
    lambda vm: vm.xenstore.write('vm-data/xsisolate/permissive', 'yes'),
    lambda vm: vm.xenstore.rm('vm-data/xsisolate/permissive'),
    lambda vm: vm.xenstore.write('vm-data/xsisolate/permissive', 'perhaps'),
    lambda vm: vm.xenstore.write('vm-data/xsisolate/groups', '!')],
    ids=['yes', 'removed', 'unreadable', 'another key unreadable'])
def test_a_guest_that_is_enforced_does_not_change_that(around: Around, start: Any,
                                                       change: Any) -> None:
    """The network is permissive, and its vm-data do not fit: the seal says that it is enforced."""
    vm = start(13, ENFORCED)
    change(vm)
    result = refresh(vm)
    assert ' mode=quarantined ' in result.stderr, result.stderr
    assert is_cut_off(vm, around.bystander.address())


def test_a_guest_does_not_make_itself_so(configure: Any, around: Around, start: Any) -> None:
    configure(NOBODY)
    vm = start(13, RED)
    vm.xenstore.write('vm-data/xsisolate/permissive', 'yes')
    assert ' mode=quarantined ' in refresh(vm).stderr
    configure(NOBODY + 'unsealed: accept\n')
    assert ' mode=isolated ' in refresh(vm).stderr      # what it writes counts, but for that key
    assert is_cut_off(vm, around.bystander.address()) and can_talk(vm, around.friend.address())


def test_a_guest_that_is_permissive_keeps_what_it_is_given(around: Around, start: Any) -> None:
    """A policy that nobody sealed would be quarantined; XAPI's locking mode is what counts."""
    vm = start(13, RED)
    vm.xenstore.write('vm-data/xsisolate/groups', 'blue')
    result = refresh(vm)
    assert ' mode=unlocked ' in result.stderr
    assert any('would be' in line and 'quarantined' in line for line in lines(result))
    assert can_talk(vm, around.bystander.address())
    vm.set_locking('locked', ('10.9.0.13',), ('fd00:9::d',))
    assert can_talk(vm, around.bystander.address())
    vm.ip('addr add 10.9.0.98/24 dev eth0')
    assert not vm.ping(around.bystander.address(), 0.5, source='10.9.0.98')
