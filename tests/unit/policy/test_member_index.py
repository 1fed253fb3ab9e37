"""The index says at every moment what is found when the whole pool is looked at anew."""
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsisolate.policy.member_index import MemberIndex, merge
from xsisolate.policy.model import Config, Group, VifPolicy
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.pool_members import Members, PoolVif, find_members
from xsisolate.policy.seal import make_seal
from xsisolate.policy.vmdata_writer import replace_policy
from xsisolate.policy.xapi_records import NOBODY, identify, make_vif, make_vm

NETS = [{'uuid': '0000000%d-2b0d-5aad-bae5-38fc1b86fa68' % at, 'bridge': 'xapi%d' % at,
         'default_locking_mode': 'unlocked'} for at in range(2)]
HOSTS = ['here', 'there', 'elsewhere', NOBODY]
ADDRESSES = [parse_prefix('10.9.0.%d' % at) for at in range(1, 5)]


def place(number: int, host: str, bound: str, groups: Tuple[str, ...], own: Tuple[int, ...],
          shared: Tuple[int, ...], net: int, mac: int, sealed: bool, roles: bool) -> PoolVif:
    """Return a VIF of a VM; some have MAC addresses of others."""
    policy = VifPolicy(
        groups=frozenset(groups), ipv4=frozenset(ADDRESSES[at] for at in own),
        shared=frozenset(ADDRESSES[at] for at in shared if at in own) or None,
        roles=frozenset(('dhcp',)) if roles else None)
    record = {'uuid': '0d9b3f4e-8a4f-2c61-1c5b-%012d' % number, 'name_label': 'vm',
              'is_a_template': False, 'is_a_snapshot': False,
              'power_state': 'Running', 'resident_on': host, 'scheduled_to_be_resident_on': bound,
              'xenstore_data': replace_policy({}, {'0': policy})}
    fields: Dict[str, Any] = {
        'device': '0', 'MAC': '02:00:00:00:00:%02d' % mac, 'locking_mode': 'network_default',
        'ipv4_allowed': [], 'ipv6_allowed': [], 'currently_attached': True, 'other_config': {}}
    vm = make_vm('vm%d' % number, record)
    if sealed:
        seal = make_seal(identify(vm, make_vif('vif', fields, NETS[net])), policy)
        fields['other_config'] = {'xsisolate-seal': seal}
    return PoolVif(vm, make_vif('vif%d' % number, fields, NETS[net]), NETS[net]['bridge'])


some = st.lists(st.integers(0, 3), max_size=3).map(lambda found: tuple(sorted(set(found))))
places = st.builds(
    lambda number, other, **more: place(number, mac=other if more.pop('twin') else number, **more),
    st.integers(0, 5), st.integers(0, 5), twin=st.sampled_from([False] * 5 + [True]),
    host=st.sampled_from(HOSTS), bound=st.sampled_from([NOBODY] * 3 + HOSTS[:3]),
    groups=st.sampled_from([('red',), ('blue',), ('red', 'blue'), ('green',), ()]), own=some,
    shared=some, net=st.integers(0, 1), sealed=st.sampled_from([True] * 5 + [False]),
    roles=st.sampled_from([False] * 5 + [True]))
steps = st.lists(st.lists(st.one_of(places, st.integers(0, 5)), max_size=3), max_size=8)
configs = st.sampled_from([Config(), Config(accept_unsealed=True),
                           Config(groups={'red': Group(vms=frozenset())})])


@settings(max_examples=400)
@given(steps, configs, steps)
def test_it_is_what_the_whole_pool_says(batches: List[List[Any]], config: Config,
                                        earlier: List[List[Any]]) -> None:
    """Also after a start, when what a follower before this one knew is in the files."""
    before: Members = find_members(
        [one for batch in earlier for one in batch if isinstance(one, PoolVif)], Config(), 'here')
    index, present = MemberIndex(config, 'here', before), dict()    # type: ignore[var-annotated]
    told, whole = merge(before, {}), before
    for batch in batches + [[]]:
        for one in batch:
            ref = one.vif.ref if isinstance(one, PoolVif) else 'vif%d' % one
            found: Optional[PoolVif] = one if isinstance(one, PoolVif) else None
            present.pop(ref, None)
            if found:
                present[ref] = found
            index.put(ref, found)
        told = merge(told, index.settle())
        whole = find_members(present.values(), config, 'here', whole)
        assert told == whole


def test_a_change_touches_its_groups_alone() -> None:
    index = MemberIndex(Config(), 'here', {})
    for number, group in enumerate(('red', 'red', 'blue')):
        index.put('vif%d' % number, place(number, 'there', NOBODY, (group,), (number,), (), 0,
                                          number, True, False))
    assert set(index.settle()) == {'red', 'blue'} and index.settle() == {}
    index.put('vif2', place(2, 'elsewhere', NOBODY, ('blue',), (2,), (), 0, 2, True, False))
    assert index.settle() == {}         # from one host to another: nothing has changed here
    index.put('vif2', place(2, 'here', NOBODY, ('blue',), (2,), (), 0, 2, True, False))
    assert index.settle() == {'blue': ()}
    index.put('vif1', None)
    assert {group: len(found) for group, found in index.settle().items()} == {'red': 1}


@pytest.mark.parametrize('gone', [True, False])
def test_an_address_that_is_free_again_is_the_others(gone: bool) -> None:
    index = MemberIndex(Config(), 'here', {})
    index.put('vif0', place(0, 'there', NOBODY, ('red',), (1,), (), 0, 0, True, False))
    index.settle()
    index.put('vif1', place(1, 'there', NOBODY, ('blue',), (1,), (), 0, 1, True, False))
    late, = index.settle()['blue']
    assert ADDRESSES[1] not in late.addresses
    index.put('vif0', None if gone else place(0, 'there', NOBODY, ('red',), (2,), (), 0, 0, True,
                                              False))
    mine, = index.settle()['blue']
    assert ADDRESSES[1] in mine.addresses


def test_who_had_an_address_before_a_restart_keeps_it() -> None:
    """The one whose MAC address comes later; without the files the other would have it."""
    both = [place(number, 'there', NOBODY, ('red',), (1,), (), 0, number, True, False)
            for number in (0, 1)]
    before = find_members(both[1:], Config(), 'here')
    for known, owner in ((before, 1), ({}, 0)):
        index = MemberIndex(Config(), 'here', known)
        for one in both:
            index.put(one.vif.ref, one)
        found = {member.mac[-1]: ADDRESSES[1] in member.addresses
                 for member in index.settle()['red']}
        assert found == {str(owner): True, str(1 - owner): False}
        assert index.vifs == 2


@pytest.mark.parametrize('numbers', [(0, 1), (1, 0)])
def test_two_vifs_with_one_mac_address_have_one_order(numbers: Tuple[int, int]) -> None:
    """Whichever came first: a file that changes for nothing wakes every bridge with the group."""
    twins = [place(number, 'there', NOBODY, ('red',), (0,), (0,), 0, 1, True, number == 0)
             for number in numbers]
    index = MemberIndex(Config(), 'here', {})
    for twin in twins:
        index.put(twin.vif.ref, twin)
    red = index.settle()['red']
    assert [member.roles for member in red] == [frozenset(), frozenset(['dhcp'])]
    assert merge({}, {'red': red})['red'] == find_members(twins, Config(), 'here')['red']
