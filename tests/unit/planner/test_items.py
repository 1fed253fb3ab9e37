"""Items, and the headers that record them on the switch."""
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.ofctl_text import format_add, parse_dump
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.openflow.ownership import HEADER, OWNER, REGISTRY
from xsisolate.planner.cookie import BASE, BRIDGE, Key, Kind
from xsisolate.planner.items import (FORMS, NOTE, Item, digest_flows, format_note, header_flow,
                                     is_ours, make_item, parse_record, parse_registry, reachable)

KEYS = st.builds(Key, st.sampled_from(Kind), st.integers(0, 0xfffffff))
WORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7e, blacklist_characters='|'),
                max_size=200)
PORT = Key(Kind.PORT, 0xa00)
ITEM = make_item(PORT, 'vif5.0', [make_flow(0, 1, ['in_port=7'])], [BASE, BRIDGE], '7 ')


@given(WORDS)
@example('')
@example('123456')      # exactly as long as the switch's padding asks for
@example('1234567')
def test_note_round_trip(text):
    note = format_note(text)
    assert bytes.fromhex(note.replace('.', '')).rstrip(b'\0').decode() == text
    assert (note.count('.') + 1 + 10) % 8 == 0 if note else text == ''


@pytest.mark.parametrize('text, note', [
    ('', '00.00.00.00.00.00'), ('abc', '61.62.63.00.00.00'), ('abcdef', '61.62.63.64.65.66'),
    ('abcdefg', '61.62.63.64.65.66.67' + '.00' * 7)])
def test_note(text, note):
    assert format_note(text) == note


@given(KEYS.filter(lambda key: key.kind not in FORMS), WORDS,
       st.lists(KEYS, max_size=70, unique=True), WORDS)
@example(PORT, 'tap5.0', [BASE], '7 trunk')
@example(Key(Kind.ENDPOINT, 1), 'a000 02:00:00:00:00:0b', [PORT], 'isolated u 5,7t 1,2 4.a.20.0')
@example(Key(Kind.ENDPOINT, 1), 'a000 02:00:00:00:00:0b', [], 'locked u   ')
@example(Key(Kind.NETWORK, 7), 'xapi7 -', [], '')
def test_header_round_trip(key, name, refs, facts):
    item = make_item(key, name, [make_flow(1, 2, ['ip'])], refs, facts)
    header = header_flow(item)
    assert parse_registry([header]) == {key: item._replace(flows=None)}
    dumped = ' ' + format_add(header)[len('add '):].replace(',table', ', table', 1).replace(
        ',priority', ', priority', 1).replace(',actions', ' actions')
    assert parse_dump(dumped) == {header}


@pytest.mark.parametrize('key, name, facts', [
    (PORT, 'vif5', '7 '), (PORT, 'vif5.0', '7'), (PORT, 'eth0', '7 '), (PORT, 'vif5.0', 'x '),
    (Key(Kind.ENDPOINT, 1), 'a000', 'locked u   '), (Key(Kind.NETWORK, 7), 'xapi7', ''),
    (Key(Kind.ENDPOINT, 1), 'a000 02:00:00:00:00:0b', ''),
    (Key(Kind.ENDPOINT, 1), 'a000 02:00:00:00:00:0b', 'locked u  x '),
    (Key(Kind.ENDPOINT, 1), 'a000 02:00:00:00:00:0b', 'locked u   4.a.20')])
def test_another_releases_header_is_nobodys(key, name, facts):
    assert not parse_registry([header_flow(make_item(key, name, [], [], facts))])


def test_header_belongs_to_its_item_and_no_packet_meets_it():
    header = header_flow(ITEM)
    assert (header.table, header.cookie) == (REGISTRY, PORT.cookie | HEADER)
    assert header.match == 'metadata=0x%x' % (HEADER | PORT.number)


def test_equal_items_have_equal_headers():
    assert header_flow(ITEM) == header_flow(make_item(
        PORT, 'vif5.0', [make_flow(0, 1, ['in_port=7'])], [BRIDGE, BASE], '7 '))


@pytest.mark.parametrize('other', [
    make_item(PORT, 'vif5.0', [make_flow(0, 1, ['in_port=8'])], [BASE, BRIDGE], '7 '),
    make_item(PORT, 'vif5.1', [make_flow(0, 1, ['in_port=7'])], [BASE, BRIDGE], '7 '),
    make_item(PORT, 'vif5.0', [make_flow(0, 1, ['in_port=7'])], [BASE], '7 '),
    make_item(PORT, 'vif5.0', [make_flow(0, 1, ['in_port=7'])], [BASE, BRIDGE], '8 '),
])
def test_what_changes_a_header(other):
    assert header_flow(other) != header_flow(ITEM)


def forged(text, **changes):
    return header_flow(ITEM)._replace(actions=NOTE + format_note(text), **changes)


@pytest.mark.parametrize('flow', [
    forged('vif5.0'), forged('a|b'), forged('a|b|c|d|e'), forged('a|xyz|c|d'), forged(''),
    forged('a|70000000|c|d'), forged('a|b|c|d', cookie=OWNER | HEADER | 7 << 28),
    header_flow(ITEM)._replace(actions='drop'),
    header_flow(ITEM)._replace(actions='note:zz'),
    header_flow(ITEM)._replace(table=REGISTRY - 1),
    header_flow(ITEM)._replace(cookie=PORT.cookie),
    header_flow(ITEM)._replace(cookie=HEADER | PORT.number),
    Flow(0, 1, '', 'NORMAL'),
])
def test_what_is_no_header_is_nobodys(flow):
    assert parse_registry([flow]) == {}


@pytest.mark.parametrize('note', [b'', b'vif5.0', b'a|xyz|c|d', b'a|70000000|c|d', b'\xff|b|c|d'])
def test_a_record_keeps_what_is_no_header_apart(note):
    stray = Flow(REGISTRY, 2, 'ip', 'drop', OWNER | HEADER)
    cookie = PORT.cookie | HEADER
    good = bytes.fromhex(header_flow(ITEM).actions[len(NOTE):].replace('.', ''))
    record = parse_record([(ITEM.key.cookie | HEADER, good), (cookie, note)], [stray])
    assert record.items == {ITEM.key: ITEM._replace(flows=None)}
    other, = record.strays - {stray}
    assert (other.table, other.cookie) == (REGISTRY, cookie) and other.match == 'metadata=0x%x' % (
        cookie & 0xffffffff)


@given(st.binary(max_size=60))
def test_any_note_is_read_or_ignored(data):
    note = NOTE + '.'.join('%02x' % byte for byte in data)
    parse_registry([header_flow(ITEM)._replace(actions=note)])


@pytest.mark.parametrize('cookie, ours', [
    (OWNER, True), (OWNER | 0xffffffff, True), (0, False), (1, False), (OWNER >> 32, False),
    (OWNER ^ 1 << 32, False), (0xffffffffffffffff, False)])
def test_is_ours(cookie, ours):
    assert is_ours(Flow(0, 0, '', 'drop', cookie)) is ours


def test_digest_depends_on_the_flows_and_not_on_their_order_or_cookie():
    one, two = make_flow(0, 1, ['ip']), make_flow(0, 1, ['arp'])
    assert digest_flows([one, two]) == digest_flows([two, one])
    assert digest_flows([one]) == digest_flows([one._replace(cookie=5)])
    different = [[], [one], [two], [one, two], [one._replace(priority=2)],
                 [one._replace(table=1)], [one._replace(actions='NORMAL')]]
    assert len({digest_flows(flows) for flows in different}) == len(different)


def chain(*links):
    return {key: Item(key, '', tuple(refs)) for key, refs in links}


A, B, C, D = (Key(Kind.PEERS, number) for number in range(4))


@pytest.mark.parametrize('items, roots, reached', [
    (chain(), [], set()), (chain(), [A], set()), (chain((A, [])), [], set()),
    (chain((A, [B]), (B, [C]), (C, []), (D, [])), [A], {A, B, C}),
    (chain((A, [B]), (B, [A])), [A], {A, B}),
    (chain((A, [A])), [A], {A}),
    (chain((A, [B])), [A], {A}),
    (chain((A, []), (B, []), (C, [D]), (D, [])), [A, C], {A, C, D}),
])
def test_reachable(items, roots, reached):
    assert reachable(items, roots) == reached
