"""Who is in which group, by what XAPI says; and how a follower's view comes to that."""
from typing import Any, Dict, List

import pytest

from xsisolate.policy.leases import CARRIED_S, KEYS, Lease, LeaseRecord, format_record
from xsisolate.policy.model import (HOLDERS, LEASED4, Config, Group, Mode, Prefix, RemoteMember,
                                    VifPolicy)
from xsisolate.policy.pool_members import find_members
from xsisolate.policy.seal import make_seal
from xsisolate.policy.vmdata_writer import replace_policy
from xsisolate.policy.xapi_records import NOBODY, identify, make_vif, make_vm
from xsisolate.pool.view import PoolView

UUIDS = ['0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c7%d' % n for n in range(3)]
NET: Dict[str, Any] = {'uuid': 'ffe24553-2b0d-5aad-bae5-38fc1b86fa68', 'bridge': 'xapi3',
                       'default_locking_mode': 'unlocked'}
HERE, THERE, ELSEWHERE = 'here', 'there', 'elsewhere'
RED = VifPolicy(groups=frozenset({'red'}))


def vm_record(number: int = 0, **fields: Any) -> Dict[str, Any]:
    """Return a record of class VM: running elsewhere, in the group red."""
    return dict({'uuid': UUIDS[number], 'name_label': 'web', 'power_state': 'Running',
                 'resident_on': THERE, 'scheduled_to_be_resident_on': NOBODY,
                 'xenstore_data': replace_policy({}, {'0': RED}), 'is_a_template': False,
                 'is_a_snapshot': False, 'is_control_domain': False}, **fields)


def vif_record(number: int = 0, policy: Any = RED, **fields: Any) -> Dict[str, Any]:
    """Return a record of class VIF, sealed with a policy."""
    record = dict({'VM': 'vm%d' % number, 'network': 'net', 'device': '0',
                   'MAC': '02:00:00:00:00:1%d' % number, 'locking_mode': 'network_default',
                   'ipv4_allowed': [], 'ipv6_allowed': [], 'other_config': {},
                   'currently_attached': True}, **fields)
    if policy and 'other_config' not in fields:
        vm, vif = make_vm('vm', vm_record(number)), make_vif('vif', record, NET)
        record['other_config'] = {'xsisolate-seal': make_seal(identify(vm, vif), policy)}
    return record


def event(kind: str, ref: str, snapshot: Any = None, operation: str = 'add') -> Dict[str, Any]:
    """Return an event as XAPI tells it."""
    return {'class': kind, 'ref': ref, 'operation': operation, 'id': '1', 'timestamp': '0.',
            **({} if snapshot is None else {'snapshot': snapshot})}


def view_of(vm: Any, vif: Any) -> PoolView:
    """Return the view of a pool with one VM."""
    view = PoolView()
    assert view.take([event('vm', 'vm0', vm), event('vif', 'vif0', vif),
                      event('network', 'net', NET), event('host', HERE, {'uuid': 'H'})])
    return view


def macs(view: PoolView, config: Config = Config(), here: str = HERE) -> List[str]:   # noqa: B008
    """Return the MAC addresses of red's members."""
    return [member.mac for member in find_members(view.places(), config, here).get('red', ())]


@pytest.mark.parametrize('vm, vif, config, member', [
    ({}, {}, {}, True),
    ({'resident_on': HERE}, {}, {}, False),
    ({'resident_on': NOBODY, 'power_state': 'Halted'}, {}, {}, False),
    ({'resident_on': NOBODY, 'power_state': 'Halted', 'scheduled_to_be_resident_on': THERE},
     {'currently_attached': False}, {}, True),                              # it starts over there
    ({'resident_on': NOBODY, 'power_state': 'Halted', 'scheduled_to_be_resident_on': HERE}, {}, {},
     False),
    ({'resident_on': HERE, 'scheduled_to_be_resident_on': THERE}, {}, {}, True),    # it leaves
    ({'resident_on': THERE, 'scheduled_to_be_resident_on': HERE}, {}, {}, True),    # it comes
    ({'resident_on': THERE, 'scheduled_to_be_resident_on': ELSEWHERE}, {}, {}, True),
    ({}, {'currently_attached': False}, {}, False),
    ({'is_a_snapshot': True}, {}, {}, False), ({'is_a_template': True}, {}, {}, False),
    ({}, {'other_config': {}}, {}, False),
    ({}, {'other_config': {'xsisolate-seal': 'x'}}, {}, False),
    ({}, {'other_config': {}}, {'accept_unsealed': True}, True),
    ({}, {'MAC': '02:00:00:00:00:99', 'other_config': vif_record()['other_config']}, {}, False),
    ({'xenstore_data': replace_policy({}, {'0': VifPolicy(groups=frozenset({'red', 'blue'}))})},
     {}, {}, False),
    ({'xenstore_data': {'vm-data/xsisolate/nonsense': 'x'}}, {}, {}, False),
    ({'xenstore_data': {}}, {}, {}, False),
    ({}, {'locking_mode': 'disabled'}, {}, False),
    ({}, {'locking_mode': 'locked', 'ipv4_allowed': ['nonsense']}, {}, False),
    ({}, {}, {'groups': {'red': Group(vms=frozenset())}}, False),
    ({}, {}, {'groups': {'red': Group(vms=frozenset({UUIDS[0]}))}}, True)])
def test_who_is_a_member(vm: Any, vif: Any, config: Any, member: bool) -> None:
    view = view_of(vm_record(**vm), vif_record(**vif))
    assert macs(view, Config(**config)) == (['02:00:00:00:00:10'] if member else [])


def test_a_vm_wide_lock_is_no_group() -> None:
    """A locked VIF admits everybody: no group makes it a member."""
    policy = RED._replace(mode=Mode.LOCKED)
    view = view_of(vm_record(xenstore_data=replace_policy({}, {'0': policy})),
                   vif_record(policy=policy))
    assert macs(view) == []


def test_a_migration_writes_another_uuid() -> None:
    """A group that is named after the VM reads as it was written."""
    group = 'g-' + UUIDS[0]
    policy = VifPolicy(groups=frozenset({group}))
    temporary = UUIDS[0][:-12] + '000000000001'
    view = view_of(vm_record(xenstore_data={'vm-data/xsisolate/groups': 'g-' + temporary}),
                   vif_record(policy=policy))
    assert list(find_members(view.places(), Config(), HERE)) == [group]


def test_members_in_an_order_of_their_own() -> None:
    one, other = PoolView(), PoolView()
    events = [event('network', 'net', NET)] + [
        event(kind, kind + str(n), make(n)) for n in range(3)
        for kind, make in (('vm', vm_record), ('vif', vif_record))]
    one.take(events)
    other.take(reversed(events))
    assert find_members(one.places(), Config(), HERE) == find_members(other.places(), Config(),
                                                                      HERE)
    assert len(macs(one)) == 3


# --- events ----------------------------------------------------------------------------------


def test_events_that_matter() -> None:
    view = view_of(vm_record(), vif_record())
    quiet = [event('vm', 'vm0', vm_record(name_label='web', memory_target='7'), 'mod'),
             event('vm', 'vm0', vm_record(xenstore_data=dict(
                 vm_record()['xenstore_data'], **{'vm-data/other': 'x' * 1000})), 'mod'),
             event('vif', 'vif0', dict(vif_record(), qos_algorithm_type='x'), 'mod'),
             event('task', 't', {'uuid': 'x'}), event('vif', 'unknown', None, 'del')]
    assert not view.take(quiet) and macs(view)
    assert view.take([event('VM', 'vm0', vm_record(resident_on=HERE), 'mod')]) and not macs(view)
    assert view.take([event('VM', 'vm0', vm_record(), 'mod')]) and macs(view)
    assert view.take([event('vm', 'vm0', None, 'del')]) and not macs(view)     # its VIF is left
    assert view.take([event('vif', 'vif0', None, 'del')])


def test_this_host() -> None:
    view = view_of(vm_record(), vif_record())
    assert view.find_host('h') == HERE and view.find_host('x') == ''


ADDRESS = Prefix(4, 0x0a09000b, 32)
OWN, SHARES = RED._replace(ipv4=frozenset({ADDRESS})), RED._replace(shared=frozenset({ADDRESS}))


def claimants(*pairs: Any, before: Any = ()) -> Dict[str, bool]:
    """Return of red's members elsewhere whether the address is theirs, by MAC address.

    `pairs`: where a VM runs, and its policy; `before`: the numbers of those known before.
    """
    view = PoolView()
    view.take([event('network', 'net', NET), event('host', HERE, {'uuid': 'H'})])
    for number, (host, policy) in enumerate(pairs):
        vm = vm_record(number, resident_on=host, xenstore_data=replace_policy({}, {'0': policy}))
        made = make_vm('vm', vm), make_vif('vif', vif_record(number, None), NET)
        view.take([event('vm', 'vm%d' % number, vm), event('vif', 'vif%d' % number, vif_record(
            number, other_config={'xsisolate-seal': make_seal(identify(*made), policy)}))])
    known = {'red': tuple(RemoteMember(NET['uuid'], '02:00:00:00:00:1%d' % number,
                                       frozenset({ADDRESS})) for number in before)}
    found = find_members(view.places(), Config(), HERE, known).get('red', ())
    return {member.mac[-1]: ADDRESS in member.addresses for member in found}


@pytest.mark.parametrize('pairs, before, expected', [
    ([(THERE, OWN), (ELSEWHERE, OWN)], [], {'0': True, '1': False}),
    ([(THERE, OWN), (ELSEWHERE, OWN)], [1], {'0': False, '1': True}),   # who was there first
    ([(HERE, OWN), (THERE, OWN)], [], {'1': False}),                    # a clone of what runs here
    ([(THERE, OWN), (HERE, OWN)], [], {'0': False}),                    # whichever MAC is lower
    ([(HERE, OWN), (THERE, OWN)], [1], {'1': True}),                    # a clone that came here
    ([(THERE, SHARES), (ELSEWHERE, SHARES)], [], {'0': True, '1': True}),
    ([(HERE, SHARES), (THERE, SHARES)], [], {'1': True}),
    ([(THERE, OWN), (ELSEWHERE, SHARES)], [], {'0': True, '1': False}),
    ([(THERE, SHARES), (ELSEWHERE, OWN)], [1], {'0': False, '1': True})])
def test_an_address_that_is_not_shared_has_one_owner(pairs: Any, before: Any,
                                                     expected: Dict[str, bool]) -> None:
    """Else a host would take a clone for the one, and the hosts of both would refuse theirs."""
    assert claimants(*pairs, before=before) == expected


@pytest.mark.parametrize('mode', [Mode.LOCKED, Mode.ISOLATED])
def test_holders_of_roles_are_a_group_of_their_own(mode: Mode) -> None:
    policy = VifPolicy(mode, frozenset({'red'}), ipv4=frozenset({ADDRESS}),
                       roles=frozenset({'dhcp'}))
    view = view_of(vm_record(xenstore_data=replace_policy({}, {'0': policy})),
                   vif_record(policy=policy))
    found = find_members(view.places(), Config(), HERE)
    holder, = found[HOLDERS]
    assert holder.roles == {'dhcp'} and holder.addresses == {ADDRESS}
    assert ('red' in found) is (mode is Mode.ISOLATED)
    assert find_members(view.places(), Config(), THERE) == {}


@pytest.mark.parametrize('mode', [Mode.LOCKED, Mode.ISOLATED])
def test_additional_mac_addresses_are_told_all_hosts(mode: Mode) -> None:
    policy = VifPolicy(mode, frozenset({'red'}), ipv4=frozenset({ADDRESS}), mac=frozenset({'vrrp'}))
    view = view_of(vm_record(xenstore_data=replace_policy({}, {'0': policy})),
                   vif_record(policy=policy))
    found = find_members(view.places(), Config(), HERE)
    assert found[HOLDERS][0].macs == {'vrrp'} and not found[HOLDERS][0].roles
    assert ('red' in found) is (mode is Mode.ISOLATED)


def test_roles_without_a_seal_are_nobodys() -> None:
    policy = VifPolicy(Mode.LOCKED, ipv4=frozenset({ADDRESS}), roles=frozenset({'dhcp'}))
    view = view_of(vm_record(xenstore_data=replace_policy({}, {'0': policy})),
                   vif_record(other_config={}))
    assert find_members(view.places(), Config(), HERE) == {}


def test_members_tell_which_addresses_they_share() -> None:
    view = view_of(vm_record(xenstore_data=replace_policy({}, {'0': SHARES})),
                   vif_record(policy=SHARES))
    member, = find_members(view.places(), Config(), HERE)['red']
    assert member.addresses == member.shared == {ADDRESS}


# --- what VIFs are leased ------------------------------------------------------------------------

LEASED = VifPolicy(groups=frozenset({'red'}), ipv4=frozenset(), sources=frozenset([LEASED4]))
FIXED = VifPolicy(groups=frozenset({'red'}), ipv4=frozenset({ADDRESS}))


def with_lease(number: int, until: int = 1000) -> Dict[str, Any]:
    """Return the records of a VM whose VIF carries a lease."""
    vif = vif_record(number, LEASED)
    vif['other_config'] = dict(vif['other_config'], **{KEYS[0]: format_record(LeaseRecord(
        vif['MAC'], 1, (Lease(ADDRESS, until, ''),)))})
    return {'vm': vm_record(number, xenstore_data=replace_policy({}, {'0': LEASED})), 'vif': vif}


def with_fixed(number: int) -> Dict[str, Any]:
    """Return the records of a VM with the same address, fixed."""
    return {'vm': vm_record(number, xenstore_data=replace_policy({}, {'0': FIXED})),
            'vif': vif_record(number, FIXED)}


def members_of(*machines: Dict[str, Any], now: float = 0.0) -> List[Any]:
    """Return red's members that own the address, and whether by a lease."""
    view = PoolView()
    view.take([event('network', 'net', NET), event('host', HERE, {'uuid': 'H'})])
    for number, machine in enumerate(machines):
        view.take([event('vm', 'vm%d' % number, machine['vm']),
                   event('vif', 'vif%d' % number, dict(machine['vif'], VM='vm%d' % number))])
    found = find_members(view.places(), Config(), HERE, None, now).get('red', ())
    return [(member.mac[-1], ADDRESS in member.leased) for member in found
            if ADDRESS in member.addresses]


def test_a_lease_that_a_vif_carries_is_a_members_address():
    assert members_of(with_lease(0)) == [('0', True)]
    assert members_of(with_lease(0), now=1000 + CARRIED_S) == []


def test_a_fixed_address_wins_over_a_lease_across_hosts():
    assert members_of(with_lease(0), with_fixed(1)) == [('1', False)]
    assert members_of(with_fixed(0), with_lease(1)) == [('0', False)]


def test_a_lease_without_the_word_in_a_sealed_policy_is_none():
    """Of whoever may write other_config, or of a policy that was changed since."""
    found = with_lease(0)
    found['vm'] = vm_record(0)
    found['vif']['other_config']['xsisolate-seal'] = vif_record(0)['other_config']['xsisolate-seal']
    assert members_of(found) == []
