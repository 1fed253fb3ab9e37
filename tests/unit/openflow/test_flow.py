"""Flows as values, and how ovs-ofctl prints them."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import HostError
from xsisolate.openflow.dump import parse_line
from xsisolate.openflow.flow import Flow, FlowDiff, diff_flows, make_flow, sort_match

FLOW = Flow(5, 10, 'arp,in_port=1', 'resubmit(,6)', 0x5849534f40000a00)


@pytest.mark.parametrize('line, flow', [
    (' cookie=0x5849534f40000a00, table=5, priority=10,arp,in_port=1 actions=resubmit(,6)',
     FLOW),
    (' priority=10,in_port=1,arp actions=drop', Flow(0, 10, 'arp,in_port=1', 'drop')),
    (' actions=NORMAL', Flow(0, 32768, '', 'NORMAL')),
    (' priority=0 actions=NORMAL', Flow(0, 0, '', 'NORMAL')),
    (' ip actions=drop', Flow(0, 32768, 'ip', 'drop')),
    (' cookie=0x0, table=2, ip,nw_src=10.0.0.0/8 actions=drop',
     Flow(2, 32768, 'ip,nw_src=10.0.0.0/8', 'drop')),
    (' table=234, priority=1,metadata=0x80000000 actions=note:61.00',
     Flow(234, 1, 'metadata=0x80000000', 'note:61.00')),
    (' cookie=0x1, table=3, idle_timeout=60, hard_timeout=9, priority=7,ip actions=drop',
     Flow(3, 7, 'ip', 'drop', 1)),
    (' cookie=0x1, hard_timeout=9, importance=3, priority=7,ip actions=drop',
     Flow(0, 7, 'ip', 'drop', 1)),
    (' cookie=0x1, table=3, send_flow_rem check_overlap priority=7,ip actions=drop',
     Flow(3, 7, 'ip', 'drop', 1)),
    (' cookie=0x1, table=3, reset_counts no_packet_counts no_byte_counts priority=7,ip '
     'actions=drop', Flow(3, 7, 'ip', 'drop', 1)),
    (' cookie=0x1, idle_timeout=5, send_flow_rem priority=7 actions=drop',
     Flow(0, 7, '', 'drop', 1)),
    (' cookie=0x1, send_flow_rem actions=drop', Flow(0, 32768, '', 'drop', 1)),
    (' cookie=0x1, send_flow_rem ip actions=drop', Flow(0, 32768, 'ip', 'drop', 1)),
    ('cookie=0x1, table=0, priority=1 actions=write_metadata:0x1,goto_table:2',
     Flow(0, 1, '', 'write_metadata:0x1,goto_table:2', 1)),
])
def test_parse_line(line, flow):
    assert list(parse_line(line)) == [flow]


@pytest.mark.parametrize('line', [
    '', 'NXST_FLOW reply (xid=0x4):', 'OFPST_FLOW reply (OF1.4) (xid=0x2):', '  '])
def test_headings(line):
    assert list(parse_line(line)) == []


@pytest.mark.parametrize('line', [
    ' cookie=zz, table=1, priority=1 actions=drop',
    ' table=x, priority=1 actions=drop',
    ' cookie=0x1, duration=12.3s, table=0, priority=1 actions=drop',
    ' cookie=0x1, table=0, n_packets=4, n_bytes=5, priority=1,ip actions=drop',
    ' cookie=0x1, table=0, priority=1,ip in_port=1 actions=drop',
    'ovs-ofctl: something went wrong with actions=drop',
])
def test_what_cannot_be_read_is_an_error(line):
    with pytest.raises(HostError) as refused:
        list(parse_line(line))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize('fields, actions, flow', [
    ([], [], Flow(1, 2, '', 'drop')),
    ([''], [''], Flow(1, 2, '', 'drop')),
    (['ip', '', 'dl_src=a,nw_src=b'], ['x', 'y'], Flow(1, 2, 'dl_src=a,ip,nw_src=b', 'x,y')),
])
def test_make_flow(fields, actions, flow):
    assert make_flow(1, 2, fields, *actions) == flow


def test_sort_match():
    assert sort_match('reg15=0,,in_port=3,arp') == 'arp,in_port=3,reg15=0' == sort_match(
        'arp,in_port=3,reg15=0')


def test_removals():
    other, third = FLOW._replace(table=6), FLOW._replace(match='arp,in_port=2')
    assert list(FlowDiff((FLOW,), (other, third)).removals()) == [other, third]


@pytest.mark.parametrize('was', [{'actions': 'drop'}, {'cookie': 7}])
def test_what_has_the_same_match_is_replaced(was):
    """The switch keeps its counts; it would not if it were deleted first."""
    assert not list(FlowDiff((FLOW,), (FLOW._replace(**was),)).removals())


FLOWS = st.frozensets(st.builds(
    Flow, st.integers(0, 3), st.integers(0, 3), st.sampled_from(['', 'ip', 'arp']),
    st.sampled_from(['drop', 'NORMAL']), st.integers(0, 2)))


@given(FLOWS, FLOWS)
def test_diff_turns_actual_into_desired(desired, actual):
    diff = diff_flows(desired, actual)
    assert (actual - set(diff.delete)) | set(diff.add) == desired
    assert set(diff.add).isdisjoint(actual) and set(diff.delete).isdisjoint(desired)
    assert list(diff.add) == sorted(diff.add) and list(diff.delete) == sorted(diff.delete)
    assert diff_flows(actual, actual) == FlowDiff()
