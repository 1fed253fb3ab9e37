"""Flows in words: nothing is lost on the way from numbers to names."""
import glob
import os
import re
from typing import Iterator

import pytest

from xsisolate.diagnostics.flow_words import (FLAGS, STAGES, Names, decode_actions, decode_match,
                                              decode_trace, split_actions, stage)
from xsisolate.openflow.dump import parse_line
from xsisolate.openflow.flow import Flow

GOLDEN = os.path.join(os.path.dirname(__file__), os.pardir, 'planner', 'golden', '*.flows')
NAMES = Names({1: 'eth0', 11: 'vif5.0'}, {0xa000: 'xenbr0', 0xa005: 'xapi5'}, {1: 'group red'})


def golden() -> Iterator[Flow]:
    """Yield every flow of the golden files."""
    for path in sorted(glob.glob(GOLDEN)):
        with open(path) as file:
            for line in file:
                if line.startswith('cookie='):
                    yield from parse_line(' ' + re.sub(
                        r'^(cookie=\w+),(table=\d+),(priority=\d+),(.*?,)?actions=',
                        lambda found: '%s, %s, %s,%s actions=' % (
                            *found.groups()[:3], (found.group(4) or '').rstrip(',')), line))


FLOWS = list(golden())


def test_every_table_and_flag_has_one_name() -> None:
    assert sorted(STAGES) == [*range(200, 235), *range(236, 241), *range(245, 251)]
    assert sorted(FLAGS) == list(range(32))
    assert len(set(STAGES.values())) == 46 and len(set(FLAGS.values())) == 32
    assert stage(207) == '207 SOURCE' and stage(7) == '7'


def test_the_flows_of_all_scenarios_have_words() -> None:
    """No register of ours stays a number."""
    assert len(FLOWS) > 800
    left = {word for flow in FLOWS for word in decode_match(flow.match, NAMES).split()
            if re.match(r'reg\d', word)}
    assert not left
    told = ' '.join(decode_actions(flow.actions, NAMES) for flow in FLOWS)
    assert not re.findall(r'resubmit\(,2|XXREG[12]\[(?:0\.\.47|64\.\.111)?\]|REG(?:7|12|13)\[\]|'
                          r'table=2\d\d,', told.replace('clone(', 'clone(#').split('clone(#')[0])


def test_different_flows_have_different_words() -> None:
    """Words that two flows of one table have in common would hide which of both it is."""
    seen = {}
    for flow in FLOWS:
        words = flow.table, flow.priority, decode_match(flow.match, Names({}, {}, {}))
        assert seen.setdefault(words, flow.match) == flow.match, (words, flow, seen[words])


@pytest.mark.parametrize('match, words', [
    ('', 'everything'),
    ('in_port=11', 'in_port=vif5.0'), ('in_port=12', 'in_port=12'),
    ('in_port=LOCAL', 'in_port=LOCAL'),
    ('reg13=0xa005,reg15=0x4/0xc', 'network=xapi5 +MANAGED -ISOLATED'),
    ('reg13=0xa00a', 'network=VLAN 10'), ('reg13=0xafff', 'network=unknown'),
    ('reg15=0', 'no flag'),
    ('reg12=0x1', 'peers=(group red)'), ('reg12=0x2', 'peers=2'),
    ('reg10=0x200,reg11=0xb,reg8=0x200,reg9=0xc',
     'owner_mac=02:00:00:00:00:0c party_mac=02:00:00:00:00:0b'),
    ('reg10=0x200', 'reg10=0x200'),
    ('reg14=0x4,reg7=0xa09000b', 'party=10.9.0.11'),
    ('reg14=0x304,reg7=0xa090000/0xffffff00', 'party=10.9.0.0/24 owner_number=3'),
    ('reg14=0x6,reg4=0xfd000009,reg5=0', 'party=fd00:9::/64'),
    ('reg14=0x6', 'party is IPv6'),
    ('reg14=0x300/0x1f00', 'owner_number=3'), ('reg14=0x300/0xf00', 'reg14=0x300/0xf00'),
    ('reg10=0x0/0xffff,reg11=0x5e000100/0xffffff00',
     'party_mac=00:00:5e:00:01:00/ff:ff:ff:ff:ff:00'),
    ('metadata=0x1000000000000/0x1000000000000', 'destination_kept'),
    ('ip,nw_dst=10.9.0.1,reg0=0x5', 'ip nw_dst=10.9.0.1 reg0=0x5')])
def test_matches(match: str, words: str) -> None:
    assert decode_match(match, NAMES) == words


@pytest.mark.parametrize('actions, words', [
    ('drop', 'drop'), ('resubmit(,207)', 'ask 207 SOURCE'), ('output:11', 'output to vif5.0'),
    ('load:0x1->NXM_NX_REG15[16],load:0->NXM_NX_REG15[9]', 'raise FOUND, lower COMMIT'),
    ('load:0->NXM_NX_REG15[16..30]', 'lower FOUND to TRIED'),
    ('load:0x200->NXM_NX_REG8[],load:0xb->NXM_NX_REG9[]', 'owner_mac:=02:00:00:00:00:0b'),
    ('load:0->NXM_NX_REG10[],load:0x5e000101->NXM_NX_REG11[]', 'party_mac:=00:00:5e:00:01:01'),
    ('load:0x1->NXM_NX_REG12[],load:0xa000->NXM_NX_REG13[]',
     'peers:=(group red), network:=xenbr0'),
    ('load:0x4->NXM_NX_REG14[],move:NXM_OF_ARP_SPA[]->NXM_NX_REG7[]',
     'family:=IPv4, party:=arp_spa'),
    ('ct(commit,zone=NXM_NX_REG13[0..15]),resubmit(,220)',
     'ct(commit,zone=network), ask 220 PASS'),
    ('ct(table=219,zone=NXM_NX_REG13[0..15])', 'ct(table=219 REPLY,zone=network)'),
    ('note:61.62', 'note:61.62'), ('load:0x7->NXM_NX_REG3[]', 'NXM_NX_REG3[]:=0x7')])
def test_actions(actions: str, words: str) -> None:
    assert decode_actions(actions, NAMES) == words


def test_actions_are_split_outside_brackets() -> None:
    assert list(split_actions('a(b,c(d,e)),f,g()')) == ['a(b,c(d,e))', 'f', 'g()']


def test_half_a_mac_address_is_not_swallowed() -> None:
    """Nothing of ours loads one alone; a flow of another program may."""
    assert decode_actions('load:0x200->NXM_NX_REG8[],drop', NAMES) == 'owner_mac.high:=0x200, drop'
    assert decode_actions('load:0x200->NXM_NX_REG8[]', NAMES) == 'owner_mac.high:=0x200'


TRACE = '''\
Flow: icmp,in_port=11

bridge("xenbr0")
----------------
 0. in_port=11, priority 65500, cookie 0x5849534f50000a00
    load:0xa000->NXM_NX_REG13[]
    resubmit(,200)
200. ip, priority 100, cookie 0x5849534f00000000
    resubmit(,201)
    227. No match.
            drop
201. priority 0
    resubmit(,233)

Datapath actions: drop
'''


def test_a_trace() -> None:
    assert decode_trace(TRACE, NAMES) == [
        'Flow: icmp,in_port=11', 'bridge("xenbr0")', '----------------',
        ' 0, priority 65500: in_port=vif5.0', '    network:=xenbr0', '    ask 200 GUARD',
        '200 GUARD, priority 100: ip', '    ask 201 BIND', '    227 RESOLVE: No match.',
        '            drop', '201 BIND, priority 0: everything', '    ask 233 SPOOFED',
        'Datapath actions: drop']
