"""A policy counts only with its seal: whatever the guest does to vm-data, nothing passes.

The seals are those of tests/programs/sandbox/seals.py, which shares no line with the product.
"""
import time
import uuid as uuids
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import pytest

from sandbox import seals
from sandbox.dom0 import SEAL, Sandbox
from sandbox.uplink import OUTSIDE
from sandbox.vm import Vm

from support.reachability import arrives, can_talk, is_cut_off, is_lost, say, speech
from support.switch import ports
from support.vm_events import refresh
from support.guarded_host import (CHANGED, CONFIG, MISSING, PORTABLE_CHANGED, RED, SECOND,
                                  UNREADABLE, UNSEALED, VERSION, Around, check_mode,
                                  check_quarantine, give_seal, give_vm_data, guest_changes, is_fine,
                                  own, passed, shown_error, start_vm, the_seal)

pytestmark = pytest.mark.host(sealed=True, config=CONFIG % 0)

POLICY = own(11, dict(RED, mode='isolated'))


@pytest.fixture(scope='module')
def tenant(host: Sandbox, around: Around) -> Vm:
    """A sealed VM, for tests that put right what they spoil."""
    return start_vm(host, 11, POLICY, mac='02:00:00:00:ab:cd')      # letters have a case


@pytest.fixture(scope='module')
def staying(around: Around, tenant: Vm) -> Sequence[Vm]:
    """The tenant stays, too."""
    return around.bystander, around.friend, tenant


def repair(vm: Vm) -> None:
    """Bring back the tenant's vm-data, its own as after a start, and its VIF."""
    give_vm_data(vm, POLICY)
    vm.set_vif(mac=vm.mac.lower(), other_config={SEAL: seals.seal(vm.uuid, vm.vifs[0], POLICY)})


# --- what fits -------------------------------------------------------------------------------


def test_a_sealed_policy_is_applied(around: Around, tenant: Vm) -> None:
    check_mode(tenant, tenant.runs[-1], 'isolated')
    assert 'groups=red ' in tenant.runs[-1].stderr
    assert is_fine(tenant, around)
    assert is_cut_off(tenant, around.bystander.address(), around.bystander.address(6))
    assert is_cut_off(around.bystander, tenant.address(), tenant.address(6))


def test_the_frames_that_quarantine_stops_pass_without(around: Around, start: Any) -> None:
    """The control of `passed`: on an open VIF it sees every direction and every neighbour."""
    vm, left, arrived = start(13), [], set()
    deadline = time.monotonic() + 5     # the wires to the gateway may only just have been laid
    while '00005e000101' not in arrived and time.monotonic() < deadline:
        seen = passed(vm, around)
        left = [frame[5:] for frame in seen if frame.startswith('left ')]
        arrived = {frame[20:32] for frame in seen if frame.startswith('arrived ')}
    assert {frame[:12] for frame in left} >= {'ff' * 6, around.bystander.mac.replace(':', ''),
                                              '00005e000101'}
    assert arrived >= {around.bystander.mac.replace(':', ''), '00005e000101'}


Spoil = Callable[[Vm], None]


def guest_writes(key: str, value: str) -> Spoil:
    return lambda vm: vm.xenstore.write('vm-data/xsisolate/' + key, value)


def guest_removes(*keys: str) -> Spoil:
    def remove(vm: Vm) -> None:
        for key in keys:
            vm.xenstore.rm('vm-data/xsisolate' + key)
    return remove


def seal_becomes(change: Callable[[str], Optional[str]]) -> Spoil:
    return lambda vm: give_seal(vm, change(the_seal(vm)))


def sealed_for(uuid: str = '', **fields: Any) -> Spoil:
    """Let the VIF carry a seal of the same policy, but made for another VIF."""
    def seal(vm: Vm) -> None:
        vif = vm.vifs[0]._replace(**fields)
        policy = {key.replace('vif/0/', 'vif/%d/' % vif.devid): POLICY[key] for key in POLICY}
        give_seal(vm, seals.seal(uuid or vm.uuid, vif, policy))
    return seal


SAME_MEANING: Dict[str, Spoil] = {
    'a seal in capitals': seal_becomes(str.upper),
    'a MAC in capitals': lambda vm: vm.set_vif(mac=vm.mac.upper()),
    'other separators': guest_writes('groups', ' red\nred, '),
    'a mode with a newline': guest_writes('mode', 'isolated\n'),
    'a mode with a tab and CR LF': guest_writes('mode', '\tisolated\r\n'),
    'tabs and CR LF around groups': guest_writes('groups', '\tred\r\n'),
    'CR LF behind an address': guest_writes('vif/0/ipv4', '10.9.0.11\r\n'),
    'a seal with white space': seal_becomes(' \t{}\r\n'.format),
    'an address with its length': guest_writes('vif/0/ipv4', '10.9.0.11/32'),
    'a long IPv6 address': guest_writes('vif/0/ipv6', 'FD00:9:0:0::0011'),
    'an entry twice': guest_writes('allow-1', 'external'),
    'a key of another device': guest_writes('vif/1/groups', 'blue'),
    'a key beside ours': lambda vm: vm.xenstore.write('vm-data/other', 'x'),
    'a key of the VIF that says the same': guest_writes('vif/0/groups', 'red')}


@pytest.mark.parametrize('kind', sorted(SAME_MEANING))
def test_what_means_the_same_fits(tenant: Vm, kind: str) -> None:
    SAME_MEANING[kind](tenant)
    try:
        check_mode(tenant, refresh(tenant), 'isolated')
    finally:
        repair(tenant)


# --- what does not fit -----------------------------------------------------------------------

SPOILED: Dict[str, Any] = {
    'unsealed': (seal_becomes(lambda seal: None), UNSEALED, 'xsisolate seal'),
    'mode': (guest_writes('mode', 'unlocked'), CHANGED),
    'groups': (guest_writes('groups', 'red, blue'), CHANGED),
    'a list made empty': (guest_writes('groups', ''), CHANGED),
    'allow': (guest_writes('allow', 'external, 10.9.0.99'), CHANGED),
    'ipv4': (guest_writes('vif/0/ipv4', '10.9.0.99'), CHANGED),
    'ipv6': (guest_writes('vif/0/ipv6', 'fd00:9::11, fd00:9::99'), CHANGED),
    'a mode of the VIF': (guest_writes('vif/0/mode', 'locked'), CHANGED),
    'groups of the VIF': (guest_writes('vif/0/groups', 'blue'), CHANGED),
    'all of it missing': (guest_removes(''), MISSING, 'xsisolate set'),
    'vm-data missing': (lambda vm: vm.xenstore.rm('vm-data'), MISSING),
    'mode missing': (guest_removes('/mode'), CHANGED),
    'groups missing': (guest_removes('/groups'), CHANGED),
    'addresses missing': (guest_removes('/vif'), CHANGED),
    'no policy': (guest_writes('mode', 'open'), 'mode', 'open'),
    'a no-break space': (guest_writes('groups', 'red\xa0'), 'groups', 'printable ASCII'),
    'a vertical tab': (guest_writes('mode', 'isolated\v'), 'mode', 'printable ASCII'),
    'white space inside an address': (guest_writes('vif/0/ipv4', '10.9.0. 11'), 'vif/0/ipv4'),
    'every address': (guest_writes('vif/0/ipv4', '0.0.0.0/0'), 'vif/0/ipv4', 'the word any'),
    "a copy's": (sealed_for(uuid=str(uuids.uuid4())), 'clone, restore, import'),
    'no text': (guest_writes('allow', 'r\xff\x1b[2J\x00'), 'allow'),
    'a seal cut off': (seal_becomes(lambda seal: seal[:-1]), UNREADABLE),
    'a seal of garbage': (seal_becomes(lambda seal: 'x\x1b[2J\n"\xff;--'), UNREADABLE),
    'an empty seal': (seal_becomes(lambda seal: ''), UNREADABLE),
    'a huge seal': (seal_becomes(lambda seal: '1:' + 'a' * 100000), UNREADABLE),
    'another version': (seal_becomes(lambda seal: '3' + seal[1:]), VERSION),
    'portable in name': (seal_becomes(lambda seal: '2' + seal[1:]), PORTABLE_CHANGED),
    "another policy's, portable": (seal_becomes(lambda seal: seals.portable_seal(
        0, {'groups': 'blue'})), PORTABLE_CHANGED),
    "another device's, portable": (seal_becomes(lambda seal: seals.portable_seal(
        1, {'groups': 'red'})), PORTABLE_CHANGED),
    "another VM's": (sealed_for(uuid=str(uuids.uuid4())), CHANGED),
    "another device's": (sealed_for(devid=1), CHANGED),
    "another MAC's": (sealed_for(mac='02:00:00:00:99:99'), CHANGED)}


@pytest.mark.parametrize('kind', sorted(SPOILED))
def test_what_does_not_fit_passes_nothing_until_it_fits(around: Around, tenant: Vm,
                                                        kind: str) -> None:
    spoil, *words = SPOILED[kind]
    spoil(tenant)
    try:
        check_quarantine(tenant, around, refresh(tenant), *words)
    finally:
        repair(tenant)
        result = refresh(tenant)
    check_mode(tenant, result, 'isolated')
    assert can_talk(tenant, around.friend.address())


def test_a_portable_seal_counts_for_its_policy_alone(around: Around, tenant: Vm) -> None:
    try:
        give_seal(tenant, seals.portable_seal(0, POLICY))
        check_mode(tenant, refresh(tenant), 'isolated')
        assert is_fine(tenant, around)
        tenant.set_vif(mac=tenant.mac.upper())
        check_mode(tenant, refresh(tenant), 'isolated')
        guest_changes(tenant)
        check_quarantine(tenant, around, refresh(tenant), PORTABLE_CHANGED)
    finally:
        repair(tenant)
        refresh(tenant)
    assert is_fine(tenant, around)


def test_a_vif_that_comes_with_another_policy_is_on_its_bridge_all_the_same(
        host: Sandbox, around: Around, start: Any) -> None:
    """The VM boots; so does one that comes with two NICs in one, and both pass nothing."""
    vm = start(13, RED, plug=False, hvm=True)
    give_seal(vm, '1:' + '0' * 64)
    for result in vm.plug():
        assert result.code == 0 and ' mode=quarantined ' in result.stderr
    assert passed(vm, around) == []
    assert is_lost(vm, around.bystander, speech(vm), 'emu0')
    assert is_lost(around.bystander, vm, speech(around.bystander), at='emu0')
    assert CHANGED in shown_error(vm) and CHANGED in shown_error(vm, kind='tap')
    vm.set_policy(own(13, RED))
    for result in vm.fire(host.hooks.locking_changed(vm.domain, vm.vifs[0])):
        assert ' mode=isolated ' in result.stderr
    assert not shown_error(vm) and not shown_error(vm, kind='tap')
    assert can_talk(vm, around.friend.address())


# --- what happens to VMs ---------------------------------------------------------------------


@pytest.mark.parametrize('mac', ['', '02:00:00:00:77:77'])
def test_a_clone_is_not_sealed(host: Sandbox, around: Around, start: Any, mac: str) -> None:
    """Not even one that has kept the MAC address of a VM that is gone."""
    vm = start(13, RED, mac=mac)
    data, other_config = host.toolstack.vm_data(vm.domain), vm.vifs[0].other_config
    if mac:
        vm.shutdown()
    clone = start(14, plug=False, vm_data=data, mac=mac)
    clone.set_vif(other_config=other_config)
    check_quarantine(clone, around, clone.plug()[0], CHANGED, clone.uuid)
    clone.set_policy(own(14, RED))
    check_mode(clone, refresh(clone), 'isolated')
    assert is_fine(clone, around)


def revert(vm: Vm, data: Mapping[str, str], other_config: Mapping[str, str]) -> Vm:
    """Start a VM as an older snapshot has it: XAPI makes the VIF anew, with its MAC."""
    vm.shutdown()
    vm.set_vif(uuid=str(uuids.uuid4()), other_config=other_config)
    reverted = vm.dom0.start_domain(vm.name, vm.uuid, data)
    vm.hand_over(reverted)
    reverted.plug()
    return reverted


def test_a_reverted_snapshot_has_its_older_policy(host: Sandbox, around: Around,
                                                  start: Any) -> None:
    vm = start(13, RED)
    data, other_config = host.toolstack.vm_data(vm.domain), vm.vifs[0].other_config
    vm.set_policy(own(13, {'groups': 'blue'}))
    assert 'groups=blue ' in refresh(vm).stderr and is_cut_off(vm, around.friend.address())
    reverted = revert(vm, data, other_config)
    assert 'groups=red ' in reverted.runs[0].stderr and is_fine(reverted, around)


def test_a_guest_cannot_go_back_to_a_policy_that_was_sealed_once(around: Around,
                                                                 start: Any) -> None:
    vm = start(13, RED)
    vm.set_vif(other_config={SEAL: seals.seal(vm.uuid, vm.vifs[0], own(13, {'groups': 'blue'}))})
    give_vm_data(vm, own(13, {'groups': 'blue'}))
    assert 'groups=blue ' in refresh(vm).stderr
    vm.xenstore.write('vm-data/xsisolate/groups', 'red')
    vm.xenstore.write('vm-data/xsisolate/allow', 'external')
    check_quarantine(vm, around, refresh(vm), CHANGED)


def test_a_reboot_keeps_the_seal_and_what_the_guest_wrote(around: Around, start: Any) -> None:
    vm = start(13, RED).reboot()
    check_mode(vm, vm.runs[0], 'isolated')
    assert is_fine(vm, around)
    vm.xenstore.write('vm-data/xsisolate/allow', 'external, 10.9.0.99')
    assert is_cut_off(vm, around.bystander.address()), 'no hook has run'
    vm = vm.reboot()
    check_quarantine(vm, around, vm.runs[0], CHANGED)


def test_a_migration_keeps_the_seal(host: Sandbox, around: Around, start: Any) -> None:
    """Onto the same host: under a temporary uuid first, which no seal was made for."""
    vm = start(13, RED)
    incoming = host.migrate_in(vm)
    assert incoming.uuid != vm.uuid
    check_mode(incoming, incoming.runs[0], 'isolated')
    check_mode(incoming, refresh(incoming), 'isolated')
    check_mode(vm, refresh(vm), 'isolated')
    assert can_talk(vm, around.friend.address())
    vm.depart()
    incoming.arrive()
    assert is_fine(incoming, around)
    check_mode(incoming, refresh(incoming), 'isolated')
    assert is_fine(incoming, around)
    incoming.xenstore.write('vm-data/xsisolate/allow', 'external, 10.9.0.99')
    check_quarantine(incoming, around, refresh(incoming), CHANGED)


def test_a_group_named_after_the_vm_survives_the_migration(host: Sandbox, around: Around,
                                                           start: Any) -> None:
    """xenopsd writes the temporary uuid over the VM's own wherever it finds it."""
    vm, friend = start(13, RED), start(14, RED)
    group = 'only-' + vm.uuid
    for number, one in ((13, vm), (14, friend)):
        one.set_policy(own(number, {'groups': group}))
        assert 'groups=%s ' % group in refresh(one).stderr
    incoming = host.migrate_in(vm)
    assert incoming.uuid in host.toolstack.vm_data(incoming.domain)['xsisolate/groups']
    check_mode(incoming, incoming.runs[0], 'isolated')
    vm.depart()
    incoming.arrive()
    check_mode(incoming, refresh(incoming), 'isolated')
    assert can_talk(incoming, friend.address()) and can_talk(friend, incoming.address(6))


def test_a_migration_does_not_launder_what_the_guest_wrote(host: Sandbox, around: Around,
                                                           start: Any) -> None:
    vm = start(13, RED)
    vm.xenstore.write('vm-data/xsisolate/mode', 'unlocked')
    incoming = host.migrate_in(vm)
    assert ' mode=quarantined ' in incoming.runs[0].stderr
    vm.depart()
    incoming.arrive()
    check_quarantine(incoming, around, refresh(incoming), CHANGED)


def test_a_move_keeps_the_seal(host: Sandbox, around: Around, start: Any) -> None:
    vm, there = start(13, RED), start(14, RED, bridge='xenbr1')
    neighbour = start(15, bridge='xenbr1')
    result = vm.move('xenbr1')[0]
    check_mode(vm, result, 'isolated')
    assert can_talk(vm, there.address()) and is_cut_off(vm, neighbour.address())
    assert vm.netdev() not in ports(host)
    vm.xenstore.write('vm-data/xsisolate/groups', 'blue')
    check_quarantine(vm, around, vm.move('xenbr0')[0], CHANGED)


def test_each_vif_has_a_seal_of_its_own(host: Sandbox, around: Around, start: Any) -> None:
    policy = own(13, dict(RED, **{'vif/1/ipv4': SECOND, 'vif/1/groups': 'blue'}))
    vm, blue = start(13, policy, plug=False), start(14, {'groups': 'blue'})
    host.add_vif(vm, policy=policy)
    right = the_seal(vm, 1)
    speech_to_blue = say(vm.vifs[1].mac, SECOND, blue.mac, blue.address())
    give_seal(vm, the_seal(vm), 1)          # the first one's
    first, second = vm.plug()
    check_mode(vm, first, 'isolated')
    check_quarantine(vm, around, second, CHANGED, 'device 1', devid=1)
    assert is_fine(vm, around) and is_lost(vm, blue, speech_to_blue, 'eth1')
    give_seal(vm, right, 1)
    check_mode(vm, refresh(vm, 1), 'isolated', 1)
    assert arrives(vm, blue, speech_to_blue, 'eth1')
    vm.xenstore.write('vm-data/xsisolate/vif/1/groups', 'blue, red')
    check_mode(vm, refresh(vm), 'isolated')
    check_quarantine(vm, around, refresh(vm, 1), CHANGED, 'device 1', devid=1)
    assert is_fine(vm, around) and is_lost(vm, blue, speech_to_blue, 'eth1')


# --- what the configuration says -------------------------------------------------------------


def warnings(result: Any) -> List[str]:
    """Return the lines that say that vm-data is trusted."""
    return [line for line in result.stderr.splitlines() if 'unsealed: accept' in line]


def test_unsealed_accept_looks_at_no_seal(around: Around, start: Any, configure: Any) -> None:
    configure(CONFIG % 10 + 'unsealed: accept\n')
    vm = start(13, {'groups': 'red'}, plug=False)
    give_seal(vm, None)
    results = vm.plug()
    for seal in (None, 'garbage', '1:' + '0' * 64, '2:' + '0' * 64):
        give_seal(vm, seal)
        results.append(refresh(vm))
    for result in results:
        check_mode(vm, result, 'isolated')
        assert len(warnings(result)) == 1, result.stderr
    assert can_talk(vm, around.friend.address())
    vm.xenstore.write('vm-data/xsisolate/allow', around.bystander.address())
    check_mode(vm, refresh(vm), 'isolated')
    assert can_talk(vm, around.bystander.address()), 'every guest chooses its own policy'
    vm.xenstore.rm('vm-data/xsisolate')
    check_mode(vm, refresh(vm), 'unlocked')


def test_unsealed_accept_has_no_grace(around: Around, start: Any, configure: Any) -> None:
    """Without a seal there is nothing that could fit in a moment."""
    configure(CONFIG % 60 + 'unsealed: accept\n')
    vm = start(13, RED)
    vm.xenstore.write('vm-data/xsisolate/groups', 'no group!')
    check_quarantine(vm, around, refresh(vm), 'is not a group name')
    vm.xenstore.write('vm-data/xsisolate/groups', 'red')
    check_mode(vm, refresh(vm), 'isolated')


def test_quarantine_warns_of_no_acceptance(start: Any) -> None:
    assert not warnings(start(13, RED).runs[0])


def test_without_policy_and_seal_xapi_and_the_network_decide(
        around: Around, start: Any, config: str, configure: Any) -> None:
    vm = start(13)
    forged = say(vm.mac, '10.9.0.66', around.bystander.mac, around.bystander.address())
    check_mode(vm, vm.runs[0], 'unlocked')
    assert can_talk(vm, around.bystander.address()) and arrives(vm, around.bystander, forged)
    check_mode(vm, vm.set_locking('locked', ('10.9.0.13',), ('fd00:9::13',))[0], 'locked')
    assert can_talk(vm, around.bystander.address()) and is_lost(vm, around.bystander, forged)
    check_mode(vm, vm.set_locking('disabled')[0], 'disabled')
    assert passed(vm, around) == []
    check_mode(vm, vm.set_locking('unlocked')[0], 'unlocked')
    configure(config + '    default: disabled\n')
    check_mode(vm, refresh(vm), 'disabled')
    give_seal(vm, '1:' + '0' * 64)      # the guest may have removed a policy
    check_quarantine(vm, around, refresh(vm), MISSING)


@pytest.mark.parametrize('plugged', [False, True])
def test_where_isolated_is_the_default_nobody_reaches_a_vif_without_policy(
        around: Around, tenant: Vm, start: Any, config: str, configure: Any,
        plugged: bool) -> None:
    if not plugged:
        configure(config + '    default: isolated\n')
    vm = start(13)
    if plugged:
        assert can_talk(vm, around.bystander.address())
        configure(config + '    default: isolated\n')
        refresh(vm)
    assert ' mode=isolated ' in vm.runs[-1].stderr and not shown_error(vm)
    assert passed(vm, around) == []
    for one in (around.bystander, around.friend, around.gateway, tenant):
        assert is_cut_off(one, vm.address(), vm.address(6))
    assert is_cut_off(vm, around.bystander.address(), around.friend.address(6), '10.9.0.254',
                      OUTSIDE[0])
    assert is_fine(tenant, around), 'who has a policy has that'
    vm.set_policy(own(13, RED))
    check_mode(vm, refresh(vm), 'isolated')
    assert is_fine(vm, around)


ROSTER = 'groups:\n  red: {vms: [%s]}\n'


def test_a_roster_counts_at_once_and_for_sealed_policies(
        around: Around, start: Any, configure: Any) -> None:
    vm = start(13, RED, plug=False)
    others = [around.friend.uuid, str(uuids.uuid4())]
    configure(CONFIG % 60 + ROSTER % ', '.join(others))
    check_quarantine(vm, around, vm.plug()[0], 'red', vm.uuid, 'groups.red.vms')
    configure(CONFIG % 60 + ROSTER % ', '.join(others + [vm.uuid.upper()]))
    check_mode(vm, refresh(vm), 'isolated')
    assert is_fine(vm, around)
    configure(CONFIG % 60 + ROSTER % ', '.join(others))
    check_quarantine(vm, around, refresh(vm), 'groups.red.vms')
    configure(CONFIG % 60 + ROSTER % ', '.join(others + [vm.uuid]))
    check_mode(vm, refresh(vm), 'isolated')
    configure(CONFIG % 60 + ROSTER % '')        # a list that became empty means nobody
    check_quarantine(vm, around, refresh(vm), 'groups.red.vms')


def test_a_roster_knows_a_migrating_vm(host: Sandbox, around: Around, start: Any,
                                       configure: Any) -> None:
    vm = start(13, RED)
    configure(CONFIG % 60 + ROSTER % ', '.join([vm.uuid, around.friend.uuid]))
    incoming = host.migrate_in(vm)
    check_mode(incoming, incoming.runs[0], 'isolated')
    vm.depart()
    incoming.arrive()
    assert is_fine(incoming, around)
