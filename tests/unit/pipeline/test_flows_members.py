"""Services as matches: exactly the ports, both directions, both families."""
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.flow_matches import parse_match
from xsisolate.pipeline.peer_sets import allow_flows, port_matches, rule_flows
from xsisolate.pipeline.tables import (CONTROL, EXTERNAL, INGRESS_SIDE, PLAIN, REPLY_ONLY, REQUEST,
                                       RESOLVING, SPREADING, TRACK_TFTP)
from xsisolate.pipeline.terms import flags, raised
from xsisolate.policy.model import Service
from xsisolate.policy.service import parse_rule, parse_service
from xsisolate.policy.vmdata_parser import parse_peer

PORTS = range(0x10000)
CONTROLLED, RESOLVED = flags(CONTROL), flags(CONTROL, RESOLVING)
ERROR = flags(CONTROL, off=[RESOLVING])
SENDS, HEARS = flags(off=[INGRESS_SIDE, SPREADING]), flags(INGRESS_SIDE, off=[SPREADING])


def covered(match):
    value, mask = parse_match('tp_dst=' + match)['tp_dst'] if match else (0, 0)
    mask &= 0xffff
    return {port for port in PORTS if port & mask == value}


@settings(deadline=None, max_examples=25)
@given(st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted))
@example([0, 65535])
@example([1, 65535])
@example([0, 0])
@example([1, 65534])
@example([32767, 32768])
def test_port_matches_cover_exactly_the_range(ports):
    first, last = ports
    matches = list(port_matches(first, last))
    found = [covered(match) for match in matches]
    assert set().union(*found) == set(range(first, last + 1))
    assert sum(map(len, found)) == last + 1 - first      # and none of them twice
    assert len(matches) <= 30


@pytest.mark.parametrize('first, last, matches', [
    (22, 22, ['22']), (0, 65535, ['']), (8000, 8003, ['0x1f40/0xfffc']),
    (0, 1, ['0x0/0xfffe']), (1, 3, ['1', '0x2/0xfffe'])])
def test_port_matches(first, last, matches):
    assert list(port_matches(first, last)) == matches


def shown(flows):
    """Return flows without the set's number: (priority, match, actions)."""
    return {(flow.priority, ','.join(field for field in flow.match.split(',')
                                     if not field.startswith('reg12')), flow.actions)
            for flow in flows}


@pytest.mark.parametrize('service, flows', [
    ('icmp', {(30, 'icmp', raised(PLAIN))}),
    ('icmp6', {(30, 'icmp6', raised(PLAIN))}),
    ('tcp', {(30, 'tcp', raised(PLAIN)), (30, 'tcp6', raised(PLAIN))}),
    ('udp', {(30, 'udp', raised(PLAIN)), (30, 'udp6', raised(PLAIN))}),
    ('icmp/8', {(30, 'icmp,icmp_type=8', raised(PLAIN)), (30, 'icmp,icmp_type=0', raised(PLAIN))}),
    ('icmp/30', {(30, 'icmp,icmp_type=30', raised(PLAIN))}),
    ('icmp6/128', {(30, 'icmp6,icmp_type=128', raised(PLAIN)),
                   (30, 'icmp6,icmp_type=129', raised(PLAIN))}),
    ('esp', {(30, 'ip,nw_proto=50', raised(PLAIN)), (30, 'ipv6,nw_proto=50', raised(PLAIN))}),
    ('ip/89', {(30, 'ip,nw_proto=89', raised(PLAIN)), (30, 'ipv6,nw_proto=89', raised(PLAIN))}),
    ('ah', {(30, 'ip,nw_proto=51', raised(PLAIN))}),
    ('sctp', {(30, 'sctp', raised(PLAIN)), (30, 'sctp6', raised(PLAIN))}),
])
def test_rules(service, flows):
    assert shown(rule_flows(1, [parse_service(service)])) == flows | {
        (30, CONTROLLED, raised(PLAIN))}


def both(request, reply, *protocols):
    """Return what may begin and what only answers, in each family."""
    return {row for protocol in protocols for row in (
        (20, in_order(request % protocol), raised(REQUEST)),
        (10, in_order(reply % protocol), raised(REPLY_ONLY)))}


def in_order(match):
    """Return a match with its fields sorted."""
    return ','.join(sorted(match.split(',')))


@pytest.mark.parametrize('rule, flows', [
    ('tcp/22', both('%s,tp_dst=22', '%s,tp_src=22', 'tcp', 'tcp6')),
    ('udp/53', both('tp_dst=53,%s', 'tp_src=53,%s', 'udp', 'udp6')),
    ('sctp/9', both('%s,tp_dst=9', '%s,tp_src=9', 'sctp', 'sctp6')),
    ('out:tcp/22', both(SENDS + ',%s,tp_dst=22', HEARS + ',%s,tp_src=22', 'tcp', 'tcp6')),
    ('in:tcp/22', both(HEARS + ',%s,tp_dst=22', SENDS + ',%s,tp_src=22', 'tcp', 'tcp6')),
    ('out:tcp', both(SENDS + ',%s', HEARS + ',%s', 'tcp', 'tcp6')),
    ('in:icmp/8', both('%s,icmp_type=8,' + HEARS, '%s,icmp_type=0,' + SENDS, 'icmp')),
    ('out:icmp6', both('%s,' + SENDS, '%s,' + HEARS, 'icmp6')),
    ('out:esp', both('%s,nw_proto=50,' + SENDS, '%s,nw_proto=50,' + HEARS, 'ip', 'ipv6')),
    ('in:everything', both('%s,' + HEARS, '%s,' + SENDS, 'ip', 'ipv6')),
    ('tftp', {(22, 'tp_dst=69,udp', raised(TRACK_TFTP, REQUEST)),
              (12, 'udp', raised(TRACK_TFTP, REPLY_ONLY)),
              (22, 'tp_dst=69,udp6', raised(TRACK_TFTP, REQUEST)),
              (12, 'udp6', raised(TRACK_TFTP, REPLY_ONLY))}),
    ('out:tftp', {(22, SENDS + ',tp_dst=69,udp', raised(TRACK_TFTP, REQUEST)),
                  (12, 'udp', raised(TRACK_TFTP, REPLY_ONLY)),
                  (22, SENDS + ',tp_dst=69,udp6', raised(TRACK_TFTP, REQUEST)),
                  (12, 'udp6', raised(TRACK_TFTP, REPLY_ONLY))}),
])
def test_rules_that_are_followed(rule, flows):
    """Who may begin is looked at; what comes back, and each ICMP error, must belong to it."""
    assert shown(rule_flows(1, [parse_rule(rule)])) == flows | {
        (30, RESOLVED, raised(PLAIN)), (25, ERROR, raised(REPLY_ONLY))}


def test_errors_pass_where_a_rule_is_not_followed():
    found = shown(rule_flows(1, [parse_rule('out:tcp/22'), parse_rule('icmp')]))
    assert (30, CONTROLLED, raised(PLAIN)) in found
    assert not [row for row in found if row[0] == 25]


def test_no_rules_mean_everything_and_empty_rules_nothing_but_control():
    assert shown(rule_flows(1, None)) == {(30, '', raised(PLAIN))}
    assert shown(rule_flows(1, [])) == {(30, CONTROLLED, raised(PLAIN))}


HOST4, HOST6 = 'reg14=0x4,reg7=0xa000001', 'reg14=0x6,reg4=0xfd000000,reg5=0,reg6=0,reg7=0x1'


@pytest.mark.parametrize('peer, matches', [
    ('10.0.0.1', {HOST4}),
    ('external', {flags(EXTERNAL)}),
    ('0.0.0.0/0', {'reg14=0x4'}),
    ('::/0', {'reg14=0x6'}),
    ('10.0.0.0/9', {'reg14=0x4,reg7=0xa000000/0xff800000'}),
    ('tcp/22@10.0.0.1', {HOST4 + ',' + RESOLVED, HOST4 + ',' + ERROR, HOST4 + ',tcp,tp_dst=22',
                         HOST4 + ',tcp,tp_src=22'}),
    ('out:10.0.0.1', {HOST4 + ',' + RESOLVED, HOST4 + ',' + ERROR, HOST4 + ',ip,' + SENDS,
                      HOST4 + ',ip,' + HEARS}),
    ('in:tcp/22@fd00::1', {HOST6 + ',' + RESOLVED, HOST6 + ',' + ERROR,
                           HOST6 + ',tcp6,tp_dst=22,' + HEARS,
                           HOST6 + ',tcp6,tp_src=22,' + SENDS}),
    ('out:external', {flags(EXTERNAL, CONTROL, RESOLVING),
                      flags(EXTERNAL, CONTROL, off=[RESOLVING])}
     | {protocol + ',' + side for protocol in ('ip', 'ipv6') for side in (
         flags(EXTERNAL, off=[INGRESS_SIDE, SPREADING]),
         flags(EXTERNAL, INGRESS_SIDE, off=[SPREADING]))}),
    ('udp@fd00::1', {HOST6 + ',' + CONTROLLED, HOST6 + ',udp6'}),
    ('icmp@10.0.0.1', {HOST4 + ',' + CONTROLLED, HOST4 + ',icmp'}),
    ('udp/53@external', {flags(EXTERNAL, CONTROL, RESOLVING),
                         flags(EXTERNAL, CONTROL, off=[RESOLVING])} | {
        '%s,%s,%s=53' % (flags(EXTERNAL), protocol, port)
        for protocol in ('udp', 'udp6') for port in ('tp_src', 'tp_dst')}),
])
def test_allow(peer, matches):
    found = {match for _, match, _ in shown(allow_flows(1, [parse_peer(peer)]))}
    assert found == set(map(in_order, matches))


def test_empty_allow_list_allows_nobody():
    assert list(allow_flows(1, [])) == []


def test_a_port_that_is_every_port_needs_no_connection():
    assert shown(rule_flows(1, [Service('udp', 0, 65535)])) == shown(
        rule_flows(1, [parse_service('udp')]))
