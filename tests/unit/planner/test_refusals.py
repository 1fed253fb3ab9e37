"""The record of refusals: lines of a dump become kinds, and what is kept of them is bounded."""
import json

import pytest

from xsisolate.errors import HostError
from xsisolate.pipeline.refusals import Reason
from xsisolate.planner.refusal_book import (ALL_ROWS_MAX, KEEP_S, ROWS_MAX, Book, Owner, Reading,
                                            Sum, parse_book)
from xsisolate.planner.refusal_record import (EGRESS, INGRESS, WORDS, Marked, Refusal, Seen,
                                              parse_marked, parse_seen)

RED, BLUE = Owner('vif1.0', 'r' * 36), Owner('vif2.0', 'b' * 36)
PORTS, MACS = {1: RED, 2: BLUE}, {(0xa000, 'red'): RED, (0xa000, 'blue'): BLUE}
DUMP = (' cookie=0x5849535250000200, duration=12.5s, table=248, n_packets=4, n_bytes=9, '
        'idle_timeout=60, %spriority=1,reg4=%s,reg5=0,reg6=0,reg7=%s,reg8=%s,reg9=0,reg10=0,'
        'reg11=%s,reg12=%s,reg13=0xa000,reg14=%s,in_port=1,dl_src=02:00:00:00:00:0b,'
        'dl_dst=02:00:00:00:00:0c actions=drop')


def line(source=0, target=0, what=0, facts=0, high=0, idle='idle_age=3, '):
    return DUMP % (idle, *map(hex, (high, source, high, target, what, facts)))


def parsed(*args, **more):
    seen, = parse_seen('NXST_FLOW reply (xid=0x4):\n' + line(*args, **more))
    return seen.refusal


@pytest.mark.parametrize('what, facts, service, answer', [
    (0x601bb, 0x800, 'tcp/443', False), (0x1110035, 0x800, 'udp/53', True),
    (0x10008, 0x800, 'icmp/8', False), (0x3a0087, 0x86dd, 'icmp6/135', False),
    (0x320000, 0x800, 'esp', False), (0x590000, 0x86dd, 'ip/89', False),
    (0x840f1c, 0x800, 'sctp/3868', False), (1, 0x806, 'arp', False), (0, 0x88cc, '0x88cc', False),
    (120, Reason.VLAN << 24 | 0x800, 'VLAN 120', False)])
def test_service(what, facts, service, answer):
    found = parsed(what=what, facts=facts)
    assert (found.service, found.answer) == (service, answer)


@pytest.mark.parametrize('facts, reason, side', [
    (0, 'not a peer on egress', EGRESS), (1 << 17, 'not a peer on ingress', INGRESS),
    (1 << 16, "another's address", EGRESS), (1 << 16 | 1 << 17, "another's address", INGRESS),
    (Reason.UNASKED << 24 | 1 << 21, 'answer to nothing asked', INGRESS),
    (Reason.UNASKED << 24, 'answer to nothing asked', EGRESS),
    (1 << 18, 'service not allowed on egress', EGRESS),
    # the sender's service was not in one of its sets, but in another; the receiver knows no peer
    (1 << 18 | 1 << 17, 'not a peer on ingress', INGRESS),
    (1 << 19 | 1 << 17, 'service not allowed on ingress', INGRESS),
    (Reason.DHCP << 24, 'DHCP server', EGRESS), (Reason.DHCP << 24 | 1 << 21, 'DHCP server',
                                                 INGRESS),
    (Reason.CLOSED << 24, 'receiver is closed', INGRESS), (99 << 24, 'reason 99', EGRESS)])
def test_reason(facts, reason, side):
    found = parsed(what=0x601bb, facts=facts | 0x800)
    assert (found.reason, found.side) == (reason, side)


@pytest.mark.parametrize('facts, passed', [(0, False), (1 << 22, True), (1 << 21, False),
                                           (Reason.ADDRESS << 24 | 1 << 22, True)])
def test_what_would_be_refused_has_passed(facts, passed):
    """The reason is the same, and the kind is another."""
    found, enforced = parsed(facts=facts | 0x800), parsed(facts=facts & ~(1 << 22) | 0x800)
    assert found.passed is passed and found._replace(passed=False) == enforced


@pytest.mark.parametrize('what, facts, word', [
    (1, 0x806, 'ARP or ND claim'), (0x3a0088, 0x86dd, 'ARP or ND claim'),
    (0x3a0080, 0x86dd, 'spoofed IP'), (0x600016, 0x800, 'spoofed IP')])
def test_a_claim_is_not_a_source(what, facts, word):
    assert parsed(what=what, facts=facts | Reason.ADDRESS << 24).reason == word


def test_every_reason_has_a_word():
    assert set(WORDS) == set(Reason) - {Reason.POLICY} and len(set(WORDS.values())) == len(WORDS)


def test_addresses_and_times():
    found = parsed(0xa09000b, 0xa09000c, 0x601bb, 0x800)
    assert (found.source, found.target, found.network) == ('10.9.0.11', '10.9.0.12', 0xa000)
    assert parsed(0xb, 0xc, 0x601bb, 0x86dd, 0xfd000009).source == 'fd00:9::b'
    assert parsed(facts=0x806).source == ''
    seen, = parse_seen(line(facts=0x800))
    assert (seen.packets, seen.age, seen.idle) == (4, 12.5, 3.0)
    assert list(parse_seen(line(facts=0x800).replace('0x58495352', '0x5849534f'))) == []


@pytest.mark.parametrize('match, found', [
    ('in_port=7', Marked(7, 0, '', 9, 2.0)),
    ('reg13=0xa078,reg15=0/0x4,dl_dst=02:00:00:00:00:0c',
     Marked(0, 0xa078, '02:00:00:00:00:0c', 9, 2.0)),
    ('metadata=0/0x8000000000000,in_port=7', Marked(7, 0, '', 9, 2.0)),
    ('metadata=0x8000000000000/0x8000000000000,in_port=7', Marked(7, 0, '', 9, 2.0, True))])
def test_marks(match, found):
    text = (' cookie=0x5849535200000000, duration=2.0s, table=245, n_packets=9, n_bytes=1, '
            'hard_timeout=10, idle_age=1, priority=1,%s actions=drop' % match)
    assert list(parse_marked(text)) == [found] and list(parse_seen(text)) == []


# --- the book ----------------------------------------------------------------------------------


def refusal(number=1, sender=1, target='blue', side=EGRESS, reason='not a peer on egress'):
    return Refusal(sender, 0xa000, 'red', target, '10.9.0.11', '10.9.0.%d' % number, 'tcp/22',
                   False, reason, side, False)


def reading(*seen, marked=()):
    return [Reading('xenbr0', tuple(seen), tuple(marked), PORTS, MACS)]


def test_counts_grow_by_what_is_new():
    book, one = Book(), refusal()
    assert book.take(100, '7', reading(Seen(one, 4, 10, 1))) == {
        Sum(RED, one.reason): 5}
    assert book.take(110, '7', reading(Seen(one, 4, 20, 11))) == {}
    assert book.take(120, '7', reading(Seen(one, 6, 30, 2))) == {Sum(RED, one.reason): 2}
    # it was forgotten, and has come again
    assert book.take(130, '7', reading()) == {}
    assert book.take(200, '7', reading(Seen(one, 1, 5, 0))) == {Sum(RED, one.reason): 2}
    row, = book.rows.values()
    assert (row.frames, row.first, row.last) == (9, 90, 200)
    assert book.sums == {Sum(RED, one.reason): 9} and book.gap is None


def test_a_bridge_that_could_not_be_read_is_not_counted_twice():
    book, one = Book(), refusal()
    book.take(100, '7', reading(Seen(one, 4, 10, 1)))
    assert book.take(110, '7', [], partial=True) == {}
    assert book.take(120, '7', reading(Seen(one, 5, 30, 1))) == {Sum(RED, one.reason): 1}


def test_a_restart_of_the_switch_is_told():
    book, one = Book(), refusal()
    book.take(100, '7', reading(Seen(one, 4, 10, 1)))
    book.take(130, '8', reading(Seen(one, 0, 1, 1)))
    assert book.gap == (100, 130) and book.rows['xenbr0', one].frames == 6


def test_a_restart_of_the_switch_begins_other_flows():
    """Also where one begins within a moment of its forerunner, and has counted more."""
    book, one = Book(), refusal()
    book.take(100, '7', reading(Seen(one, 4, 1, 1)))
    assert book.take(101, '8', reading(Seen(one, 6, 1, 1))) == {Sum(RED, one.reason): 7}


def test_whose_it_is():
    book = Book()
    book.take(9, '7', reading(
        Seen(refusal(1, side=INGRESS, reason='not a peer on ingress'), 0, 1, 1),
        Seen(refusal(2, sender=9, side=INGRESS), 0, 1, 1), Seen(refusal(3, target='un'), 0, 1, 1),
        marked=[Marked(1, 0, '', 7, 1), Marked(0, 0xa000, 'blue', 8, 1)]))
    one, two, three = book.rows.values()
    assert (one.owner, one.keeper[1:]) == (BLUE, RED)       # who sends fills his own share
    assert (two.owner, two.sender, two.keeper[1:]) == (BLUE, None, BLUE)
    assert (three.owner, three.receiver) == (RED, None)
    assert book.sums[Sum(RED, '')] == 7 and book.sums[Sum(BLUE, '')] == 8


def test_what_has_passed_is_counted_by_itself():
    book, one = Book(), refusal()
    assert book.take(9, '7', reading(Seen(one, 4, 1, 1), Seen(one._replace(passed=True), 6, 1, 1))
                     ) == {Sum(RED, one.reason): 5, Sum(RED, one.reason, True): 7}
    assert sorted(row.frames for row in book.rows.values()) == [5, 7]
    again = parse_book(json.loads(json.dumps(book.describe())))
    assert again.sums == book.sums and again.rows == book.rows


def test_what_has_passed_beyond_the_record_is_counted_by_itself():
    book = Book()
    marks = [Marked(1, 0, '', 7, 1), Marked(1, 0, '', 8, 1, True)]
    assert book.take(9, '7', reading(marked=marks)) == {Sum(RED, ''): 7, Sum(RED, '', True): 8}
    assert book.take(19, '7', reading(marked=[
        marks[0]._replace(packets=9, age=11), marks[1]._replace(age=11)])) == {Sum(RED, ''): 2}


def test_a_share_is_bounded_and_pushes_nobody_out():
    book, quiet = Book(), refusal(401, sender=2, target='red')
    book.take(1, '7', reading(Seen(quiet, 0, 1, 1)))
    for number in range(1, 400):
        book.take(10.0 * number, '7', reading(Seen(refusal(number), 0, 1, 0)))
    assert ('xenbr0', quiet) in book.rows and ('xenbr0', refusal(399)) in book.rows
    assert len(book.rows) == ROWS_MAX + 1
    assert book.sums[Sum(RED, refusal().reason)] == 399


def test_the_whole_is_bounded():
    book, owners = Book(), {port: Owner('vif%d.0' % port, 'vm') for port in range(1, 400)}
    small = refusal(1, sender=399)
    seen = [Seen(refusal(number, sender=port), 0, 1, 1)
            for port in range(1, 399) for number in range(ROWS_MAX)] + [Seen(small, 0, 1, 1)]
    book.take(10, '7', [Reading('xenbr0', tuple(seen), (), owners, {})])
    assert len(book.rows) <= ALL_ROWS_MAX and ('xenbr0', small) in book.rows
    assert len(json.dumps(book.describe())) < 6 << 20       # what is read of a file is 8 MiB


def test_a_busy_day_takes_no_more_room():
    """A day of a scanned host, a look a minute: what is kept at its end is what was at noon."""
    book, sizes = Book(), []
    for minute in range(1440):
        book.take(60.0 * minute, '7', reading(*(
            Seen(refusal(minute * 32 + number), 0, 1, 1) for number in range(32))))
        if minute in (720, 1439):
            sizes.append(len(json.dumps(book.describe())))
    assert sizes[1] < sizes[0] * 1.1
    book.take(60.0 * 1440 + 2 * KEEP_S, '7', reading())
    assert not book.rows and book.sums


def test_json():
    book = Book()
    book.take(100, '7', reading(Seen(refusal(), 4, 10, 1), marked=[Marked(1, 0, '', 7, 1)]))
    again = parse_book(json.loads(json.dumps(book.describe())))
    assert json.loads(json.dumps(again.describe())) == json.loads(json.dumps(book.describe()))
    assert again.take(110, '7', reading(Seen(refusal(), 5, 20, 1))) == {
        Sum(RED, refusal().reason): 1}


@pytest.mark.parametrize('content', [
    None, [], {}, {'version': 1}, {'version': 2}, {'version': 2, 'since': 'x'},
    {'version': 2, 'since': 1, 'read': 1, 'gap': [1], 'switch': '', 'rows': [], 'sums': [],
     'flows': []},
    {'version': 2, 'since': 1, 'read': 1, 'gap': None, 'switch': '', 'rows': [[1]], 'sums': [],
     'flows': []}])
def test_what_is_not_a_book(content):
    with pytest.raises(HostError, match='the record of refusals'):
        parse_book(content)
