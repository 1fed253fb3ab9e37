"""Policies laid out as keys of vm-data: they read back as they are, whatever was there before."""
from typing import Dict, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.model import SOURCES, Mode, Peer, Prefix, Service, VifPolicy
from xsisolate.policy.vmdata_parser import MAX_ALLOW, ROOT
from xsisolate.policy.vmdata_writer import (as_words, lay_out, natural, parse_words, replace_policy,
                                            split_list)
from xsisolate.policy.xapi_records import XapiVif, XapiVm, read_policy

UUID = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'


def vm_with(data: Dict[str, str], count: int) -> XapiVm:
    """Return a VM with so many VIFs."""
    vifs = tuple(XapiVif('ref%d' % n, str(n), '02:00:00:00:00:0%d' % n, 'net', 'unlocked',
                         'unlocked', (), (), {}, True) for n in range(count))
    return XapiVm('vm', UUID, 'web', 'Running', 'host', '', data, vifs)


GROUPS = st.frozensets(st.from_regex('[a-z0-9][a-z0-9_.-]{0,62}', fullmatch=True), max_size=5)
IPV4 = st.integers(0x0a000000, 0x0affffff).map(lambda value: Prefix(4, value, 32))
IPV6 = st.integers(0xfd << 120, (0xfe << 120) - 1).map(lambda value: Prefix(6, value, 128))
SERVICES = st.one_of(st.none(), st.integers(1, 65535).map(lambda port: Service('tcp', port, port)))
PEERS = st.builds(Peer, st.one_of(st.none(), IPV4, IPV6), SERVICES)
MODES = st.sampled_from([mode for mode in Mode if mode is not Mode.QUARANTINED])


def maybe(strategy):
    """Return a key that may be absent."""
    return st.one_of(st.none(), strategy)


POLICIES = maybe(st.builds(
    VifPolicy, maybe(MODES), maybe(GROUPS), maybe(st.frozensets(PEERS, max_size=8)),
    maybe(st.frozensets(IPV4, max_size=5)), maybe(st.frozensets(IPV6, max_size=5)),
    sources=st.frozensets(st.sampled_from(SOURCES)))).map(
        lambda policy: policy and policy._replace(sources=frozenset(
            source for source in policy.sources if getattr(policy, source.key) is not None))).map(
                lambda policy: None if policy == VifPolicy() else policy)
KEYS = st.one_of(st.sampled_from(['mode', 'groups', 'allow', 'allow-1', 'vif/0/mode', 'vif/1/ipv4',
                                  'vif/9/allow', 'vif', 'nonsense', 'groups/x']), st.text())
OLD = st.dictionaries(KEYS.map(lambda key: ROOT + key), st.text(), max_size=5)


@given(st.lists(POLICIES, min_size=1, max_size=3), OLD)
def test_what_is_laid_out_reads_back(policies, old):
    """... and nothing that stood there before has any say."""
    wanted: Dict[str, Optional[VifPolicy]] = {str(n): one for n, one in enumerate(policies)}
    old['vm-data/other'] = 'stays'
    data = replace_policy(old, wanted)
    vm = vm_with(data, len(policies))
    assert {vif.devid: read_policy(vm, vif) for vif in vm.vifs} == wanted
    assert {key: value for key, value in data.items() if not key.startswith(ROOT)} == {
        'vm-data/other': 'stays'}
    assert all(value and len(value.encode()) <= 2048 for value in data.values())
    assert replace_policy(data, wanted) == data


@pytest.mark.parametrize('count', [0, 1, 200, MAX_ALLOW])
def test_long_lists_are_split(count):
    peers = frozenset(Peer(Prefix(6, (0xfd << 120) + n, 128), Service('tcp', 1000 + n, 2000 + n))
                      for n in range(count))
    keys = lay_out({'0': VifPolicy(allow=peers)})
    assert all(0 < len(value) <= 2048 for value in keys.values())
    vm = vm_with(replace_policy({}, {'0': VifPolicy(allow=peers)}), 1)
    policy = read_policy(vm, vm.vifs[0])
    assert policy and policy.allow == peers


@pytest.mark.parametrize('policies, keys', [
    ({'0': VifPolicy(mode=Mode.LOCKED)}, {'mode': 'locked'}),
    ({'0': VifPolicy(groups=frozenset())}, {'groups': ','}),
    ({'0': VifPolicy(groups=frozenset({'b', 'a'})), '1': VifPolicy(groups=frozenset({'a', 'b'}))},
     {'groups': 'a b'}),
    ({'0': VifPolicy(groups=frozenset({'a'})), '1': None}, {'vif/0/groups': 'a'}),
    ({'0': VifPolicy(ipv4=frozenset({Prefix(4, 0x0a000001, 32)}))}, {'vif/0/ipv4': '10.0.0.1'}),
    ({'0': VifPolicy(allow=frozenset({Peer(None, Service('tcp', 443, 443)), Peer(None)}))},
     {'allow': 'external tcp/443@external'}),
    ({'0': None}, {}), ({}, {})])
def test_where_keys_stand(policies, keys):
    assert lay_out(policies) == keys


def test_an_entry_that_fits_nowhere():
    with pytest.raises(PolicyError):
        split_list('allow', ['x' * 2049])


@pytest.mark.parametrize('words, said', [
    ({'groups': 'red,  blue\n'}, 'groups=blue,red'),
    ({'groups': '\tred\r\nblue', 'mode': ' isolated\r\n'}, 'mode=isolated groups=blue,red'),
    ({'allow': 'external;tcp/443 udp/53-53@fd00:0::7'}, 'allow=tcp/443@external,udp/53@fd00::7'),
    ({'groups': ''}, 'groups='), ({'ipv4': 'any', 'ipv6': 'any'}, 'ipv4=any ipv6=any'),
    ({'mode': 'locked', 'ipv4': '10.0.0.1/32'}, 'mode=locked ipv4=10.0.0.1'), ({}, 'none')])
def test_words(words, said):
    assert as_words(parse_words(words, '0')) == said
    assert as_words(None) == 'none'


@pytest.mark.parametrize('words', [
    {'mode': 'open'}, {'mode': ''}, {'groups': 'R'}, {'ipv4': 'fd00::1'}, {'ipv6': '10.0.0.1'},
    {'allow': '10.0.0.1/8'}, {'groups': ' '.join('g%d' % n for n in range(65))},
    {'allow': 'x' * 3000}, {'groups': '\udce4'}, {'mode': 'lo\0cked'},
    {'ipv4': '0.0.0.0/0'}, {'ipv6': '::/0'}, {'allow': 'any'},
    {'groups': 'red\xa0blue'}, {'groups': 'red\vblue'}, {'mode': 'locked\f'}])
def test_words_that_are_no_policy(words):
    with pytest.raises(PolicyError) as found:
        parse_words(words, '0')
    assert str(found.value).isprintable()


def test_devices_in_their_order():
    assert sorted(['10', '9', 'x', '0'], key=natural) == ['x', '0', '9', '10']
