"""The words that matches and actions are made of."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.flow_matches import parse_match
from support.bridge_strategies import ANY_PREFIXES
from support.bridge_scenarios import SCENARIOS, flows_of
from xsisolate.pipeline import tables
from xsisolate.pipeline.terms import (address_match, cleared, destination_match, flags, load_mac,
                                      mac_match, number, raised, source_match)
from xsisolate.planner.shared_items import base_flows
from xsisolate.policy.address import parse_prefix

FLAG_NAMES = [name for name, value in vars(tables).items()
              if name.isupper() and type(value) is int and value < 32
              and name != 'PRIORITY_DELIVER']


@pytest.mark.parametrize('on, off, match', [
    ((), (), 'reg15=0/0x0'), ((0,), (), 'reg15=0x1/0x1'), ((), (3,), 'reg15=0/0x8'),
    ((1, 4), (0,), 'reg15=0x12/0x13'), ((28,), (), 'reg15=0x10000000/0x10000000')])
def test_flags(on, off, match):
    assert flags(*on, off=off) == match


def test_flags_are_different_bits():
    values = [getattr(tables, name) for name in FLAG_NAMES]
    assert len(values) == len(set(values)) and len(values) > 20


def test_answers_are_one_range_that_holds_no_other_flag():
    first, last = tables.ANSWERS
    answers = {getattr(tables, name) for name in FLAG_NAMES if first <= getattr(
        tables, name) <= last}
    assert answers == set(range(first, last + 1))
    assert tables.CHECKED not in answers and tables.INGRESS_SIDE not in answers


def test_actions():
    assert raised(3, 5) == 'load:0x1->NXM_NX_REG15[3],load:0x1->NXM_NX_REG15[5]'
    assert cleared(16, 28) == 'load:0->NXM_NX_REG15[16..28]'


@pytest.mark.parametrize('value, text', [(0, '0'), (1, '0x1'), (0xafff, '0xafff')])
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize('mac, fields, action', [
    ('00:16:3e:01:02:03', ('reg8=0x16', 'reg9=0x3e010203'),
     'load:0x16->NXM_NX_REG8[],load:0x3e010203->NXM_NX_REG9[]'),
    ('02:00:00:00:00:00', ('reg8=0x200', 'reg9=0'),
     'load:0x200->NXM_NX_REG8[],load:0->NXM_NX_REG9[]')])
def test_mac(mac, fields, action):
    assert mac_match(8, mac) == fields and load_mac(8, mac) == action


def registers(prefix_value, version):
    words = {'reg14': version}
    for reg in (7, 6, 5, 4)[:1 if version == 4 else 4]:
        words['reg%d' % reg] = prefix_value & 0xffffffff
        prefix_value >>= 32
    return words


@given(ANY_PREFIXES, st.integers(0, (1 << 128) - 1))
def test_address_match_is_the_prefix_and_nothing_else(prefix, other):
    width = 32 if prefix.version == 4 else 128
    host = (1 << width - prefix.length) - 1
    for value in (prefix.value, prefix.value | host, prefix.value | other & host,
                  other & (1 << width) - 1, prefix.value ^ 1 << width - 1):
        inside = value & ~host == prefix.value
        packet = registers(value, prefix.version)
        fields = parse_match(','.join(address_match(prefix)))
        matched = all(packet[name] & mask == number & mask
                      for name, (number, mask) in fields.items())
        assert matched == inside
        assert fields['reg14'][0] == prefix.version


@pytest.mark.parametrize('text, match', [
    ('10.0.0.1', 'nw_src=10.0.0.1'), ('10.0.0.0/8', 'nw_src=10.0.0.0/8'),
    ('fd00::1', 'ipv6_src=fd00::1'), ('fd00::/64', 'ipv6_src=fd00::/64'),
    ('0.0.0.0/0', ''), ('::/0', '')])
def test_source_and_destination_match(text, match):
    assert source_match(parse_prefix(text)) == match
    assert destination_match(parse_prefix(text)) == match.replace('src', 'dst')


def test_every_jump_leads_to_a_table_with_a_default():
    """A packet that no flow matches is dropped; a stage says so rather than leave it open."""
    flows = list(base_flows())
    defaults = {flow.table for flow in flows if flow.match == ''}
    asked = {tables.PARTY, tables.RESOLVE, tables.CLASSIFY, tables.PEERS, tables.MEMBER,
             tables.REMOTE, tables.RULES,      # they answer by flags; no flow means no
             tables.ARRIVED, tables.RESUMED}
    for scenario in SCENARIOS.values():
        for flow in flows_of(scenario.plan()):
            for table in map(int, re.findall(r'resubmit\(,(\d+)\)', flow.actions)):
                assert table in defaults | asked | {0, tables.SETTLE, tables.SPREAD}, flow


def test_whatever_looks_into_neighbour_discovery_names_its_code():
    """Only what refuses every code does not, and it does not look at the target."""
    for scenario in SCENARIOS.values():
        for flow in flows_of(scenario.plan()):
            fields = flow.match.split(',')
            if {'icmp_type=135', 'icmp_type=136'} & set(fields) or 'nd_' in flow.match:
                assert 'icmp_code=0' in fields or (
                    'nd_' not in flow.match
                    and flow.actions == 'resubmit(,%d)' % tables.ISOLATED_DROP), flow


def test_only_table_0_has_priorities_that_compete_with_others():
    for scenario in SCENARIOS.values():
        for flow in flows_of(scenario.plan()):
            assert flow.table >= 200 or flow.priority in (
                tables.PRIORITY_PORT, tables.PRIORITY_PORT - 1, tables.PRIORITY_ENTRY,
                tables.PRIORITY_DELIVER)
            assert not re.search(r'reg[0-3]=', flow.match)
            assert not re.search(r'(_REG[0-3]|XXREG0)\[', flow.actions)
