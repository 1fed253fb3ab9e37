"""Packets that were dropped, from the switch's dump to numbers by VIF."""
import pytest

from support.ofctl_text import format_add
from xsisolate.openflow.flow import Flow
from xsisolate.openflow.ownership import HEADER, HEADER_MASK, OWNER_MASK
from xsisolate.pipeline.decision import isolation_count_flows
from xsisolate.pipeline.port_security import spoof_count_flow
from xsisolate.pipeline.tables import SPOOFED
from xsisolate.planner.cookie import Key, Kind, port_id
from xsisolate.planner.drop_counts import KINDS, Counted, Drops, count_drops, parse_counts
from xsisolate.planner.items import header_flow, make_item
from xsisolate.vif_id import VifId

MAC = '02:00:00:00:00:0b'
VIF, TAP, TWIN = (Key(Kind.PORT, port_id(VifId(*port[:2]), port[2])) for port in (
    (5, 0, False), (5, 0, True), (9, 0, False)))
ENDPOINT, OTHER = Key(Kind.ENDPOINT, 1), Key(Kind.ENDPOINT, 2)
UNITED = ' '.join(('cookie=0x5849534f50000a00, duration=12.345s, table=233, n_packets=7,',
                   'n_bytes=294, idle_age=3, hard_age=12, priority=10,in_port=3 actions=drop'))


@pytest.mark.parametrize('line, found', [
    ('OFPST_FLOW reply (OF1.4) (xid=0x2):', []), ('', []),
    (' cookie=0x5849534f50000a00, table=233, priority=10,in_port=3 actions=drop', []),
    (UNITED, [Counted(Flow(233, 10, 'in_port=3', 'drop', 0x5849534f50000a00), 7)]),
    (' cookie=0x1, duration=0s, table=0, n_packets=0, n_bytes=0, actions=drop',
     [Counted(Flow(0, 32768, '', 'drop', 1), 0)]),
    (' cookie=0x1, duration=5.5s, table=5, n_packets=18446744073709551615, n_bytes=2, '
     'reset_counts priority=7,ip actions=output:3', [
         Counted(Flow(5, 7, 'ip', 'output:3', 1), 2 ** 64 - 1)])])
def test_parse(line, found):
    assert list(parse_counts('OFPST_FLOW reply (OF1.4) (xid=0x2):\n' + line)) == found


def dumped(*items):
    """Return the dump of (key, refs, spoofed or isolated packets) with their headers."""
    lines = []
    for key, refs, packets in items:
        port = key.kind is Kind.PORT
        name = {VIF: 'vif5.0', TAP: 'tap5.0', TWIN: 'vif9.0'}.get(key, 'a000 ' + MAC)
        flows = [spoof_count_flow(key.id)] if port else isolation_count_flows(0xa000, MAC)
        item = make_item(key, name, flows, refs, '7 ' if port else 'isolated u 7  ')
        lines += [line(flow, packets) for flow in sorted(item.flows)]
        lines.append(line(header_flow(item), 0))
    return '\n'.join(lines)


def line(flow, packets):
    head, match = format_add(flow)[len('add '):].split(',priority', 1)
    cookie, table = head.split(',')
    return ' %s, duration=3.2s, %s, n_packets=%d, n_bytes=60, priority%s' % (
        cookie, table, packets, match.replace(',actions', ' actions'))


@pytest.mark.parametrize('items, drops', [
    ([], {}),
    ([(VIF, [ENDPOINT], 3), (ENDPOINT, [], 20)], {(5, 0): Drops(3, 40)}),
    # vif and tap are one VIF with one endpoint
    ([(VIF, [ENDPOINT], 3), (TAP, [ENDPOINT], 4), (ENDPOINT, [], 20)], {(5, 0): Drops(7, 40)}),
    # a trunk VIF has several
    ([(VIF, [ENDPOINT, OTHER], 3), (ENDPOINT, [], 20), (OTHER, [], 1)], {(5, 0): Drops(3, 42)}),
    ([(VIF, [ENDPOINT], 3), (TWIN, [ENDPOINT], 4), (ENDPOINT, [], 20)],
     {(5, 0): Drops(3, 40), (9, 0): Drops(4, 40)}),
    # refused over a conflict, and an endpoint that is nobody's
    ([(VIF, [], 3), (OTHER, [], 9)], {(5, 0): Drops(3, 0)}),
    ([(OTHER, [], 9)], {})])
def test_count(items, drops):
    assert count_drops(parse_counts(dumped(*items))) == drops


def test_a_port_without_header_is_nobodys():
    text = '\n'.join(row for row in dumped((VIF, [ENDPOINT], 3)).splitlines() if 'note' not in row)
    assert 'table=%d' % SPOOFED in text and count_drops(parse_counts(text)) == {}


@pytest.mark.parametrize('kind', Kind)
@pytest.mark.parametrize('header', [0, HEADER])
def test_the_mask_selects_ports_and_endpoints(kind, header):
    cookie, mask = KINDS
    selected = (Key(kind, 0xfffffff).cookie | header) & mask == cookie
    assert selected is (kind in (Kind.PORT, Kind.ENDPOINT))
    assert mask & OWNER_MASK == OWNER_MASK and not mask & HEADER_MASK & HEADER
