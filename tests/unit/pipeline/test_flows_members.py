"""Services as matches: exactly the ports, both directions, both families."""
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.flow_matches import parse_match
from xsisolate.pipeline.peer_sets import allow_flows, port_matches, rule_flows
from xsisolate.pipeline.tables import CONTROL, EXTERNAL, PLAIN, REPLY_ONLY, REQUEST, TRACK_TFTP
from xsisolate.pipeline.terms import flags, raised
from xsisolate.policy.model import Service
from xsisolate.policy.service import parse_service
from xsisolate.policy.vmdata_parser import parse_peer

PORTS = range(0x10000)
CONTROLLED = flags(CONTROL)


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
    ('tcp/22', {(30, 'tcp,tp_dst=22', raised(PLAIN)),
                (30, 'tcp,tcp_flags=+ack,tp_src=22', raised(PLAIN)),
                (30, 'tcp6,tp_dst=22', raised(PLAIN)),
                (30, 'tcp6,tcp_flags=+ack,tp_src=22', raised(PLAIN))}),
    ('udp/53', {(20, 'tp_dst=53,udp', raised(REQUEST)), (10, 'tp_src=53,udp', raised(REPLY_ONLY)),
                (20, 'tp_dst=53,udp6', raised(REQUEST)),
                (10, 'tp_src=53,udp6', raised(REPLY_ONLY))}),
    ('icmp/8', {(30, 'icmp,icmp_type=8', raised(PLAIN)), (30, 'icmp,icmp_type=0', raised(PLAIN))}),
    ('icmp/30', {(30, 'icmp,icmp_type=30', raised(PLAIN))}),
    ('icmp6/128', {(30, 'icmp6,icmp_type=128', raised(PLAIN)),
                   (30, 'icmp6,icmp_type=129', raised(PLAIN))}),
    ('esp', {(30, 'ip,nw_proto=50', raised(PLAIN)), (30, 'ipv6,nw_proto=50', raised(PLAIN))}),
    ('ip/89', {(30, 'ip,nw_proto=89', raised(PLAIN)), (30, 'ipv6,nw_proto=89', raised(PLAIN))}),
    ('ah', {(30, 'ip,nw_proto=51', raised(PLAIN))}),
    ('sctp', {(30, 'sctp', raised(PLAIN)), (30, 'sctp6', raised(PLAIN))}),
    ('sctp/9', {(20, 'sctp,tp_dst=9', raised(REQUEST)), (10, 'sctp,tp_src=9', raised(REPLY_ONLY)),
                (20, 'sctp6,tp_dst=9', raised(REQUEST)),
                (10, 'sctp6,tp_src=9', raised(REPLY_ONLY))}),
    ('tftp', {(20, 'tp_dst=69,udp', raised(TRACK_TFTP, REQUEST)),
              (5, 'udp', raised(TRACK_TFTP, REPLY_ONLY)),
              (20, 'tp_dst=69,udp6', raised(TRACK_TFTP, REQUEST)),
              (5, 'udp6', raised(TRACK_TFTP, REPLY_ONLY))}),
])
def test_rules(service, flows):
    assert shown(rule_flows(1, [parse_service(service)])) == flows | {
        (30, CONTROLLED, raised(PLAIN))}


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
    ('tcp/22@10.0.0.1', {HOST4 + ',' + CONTROLLED, HOST4 + ',tcp,tp_dst=22',
                         HOST4 + ',tcp,tcp_flags=+ack,tp_src=22'}),
    ('udp@fd00::1', {HOST6 + ',' + CONTROLLED, HOST6 + ',udp6'}),
    ('icmp@10.0.0.1', {HOST4 + ',' + CONTROLLED, HOST4 + ',icmp'}),
    ('udp/53@external', {flags(EXTERNAL, CONTROL)} | {
        '%s,%s,%s=53' % (flags(EXTERNAL), protocol, port)
        for protocol in ('udp', 'udp6') for port in ('tp_src', 'tp_dst')}),
])
def test_allow(peer, matches):
    found = {match for _, match, _ in shown(allow_flows(1, [parse_peer(peer)]))}
    assert found == {','.join(sorted(match.split(','))) for match in matches}


def test_empty_allow_list_allows_nobody():
    assert list(allow_flows(1, [])) == []


def test_a_port_that_is_every_port_needs_no_connection():
    assert shown(rule_flows(1, [Service('udp', 0, 65535)])) == shown(
        rule_flows(1, [parse_service('udp')]))
