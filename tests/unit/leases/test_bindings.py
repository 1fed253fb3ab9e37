"""One VIF's bindings: rows of RFC 7513, and any exchange compared with a model of it."""
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox.dhcp import (ACK, DECLINE, DISCOVER, NAK, RELEASE, REPLY, REQUEST,
                                           SOLICIT, answer, answer6, query, query6)

from xsisolate.leases.bindings import EXCHANGE_S, EXCHANGES_MAX, Bindings, expire, hear
from xsisolate.leases.frame import parse_frame
from xsisolate.leases.messages import Grant, Message, Verb, parse_message
from xsisolate.policy.address import format_prefix, parse_prefix
from xsisolate.policy.leases import ALLOWANCE_S, LEASES_MAX
from xsisolate.policy.model import Prefix

MAC = '02:00:00:00:00:0b'
TEN, TWENTY = '10.9.0.10', '10.9.0.20'


NOTHING = Bindings()


def play(*messages, refuse=lambda address: '', known=NOTHING):
    """Return a VIF's leased addresses after messages, (seconds, frame) each."""
    for now, data in messages:
        known = hear(known, parse_message(parse_frame(data)), now, refuse).bindings
    return known


def owns(known, now):
    return sorted(format_prefix(address) for address in expire(known, now).leases)


REQUESTED, ACKED = (1, query(REQUEST, MAC, asked=TEN)), (2, answer(ACK, MAC, TEN))
BOUND = (REQUESTED, ACKED)


@pytest.mark.parametrize('messages, now, own', [
    pytest.param(BOUND, 3, [TEN], id='bound'),
    pytest.param([(0, query(DISCOVER, MAC)), ACKED], 3, [TEN], id='the request was not seen'),
    pytest.param([ACKED], 3, [], id='nobody has asked'),
    pytest.param([(1, query(REQUEST, MAC, xid=2)), ACKED], 3, [], id='another exchange'),
    pytest.param([(1, query6(SOLICIT, MAC, xid=1)), ACKED], 3, [], id='another version'),
    pytest.param([REQUESTED, (1 + EXCHANGE_S, answer(ACK, MAC, TEN))], 200, [], id='too late'),
    pytest.param([REQUESTED, ACKED, (3, answer(ACK, MAC, TWENTY))], 4, [TEN],
                 id='the second answer to one question'),
    pytest.param(BOUND, 601 + ALLOWANCE_S, [TEN], id='to the end'),
    pytest.param(BOUND, 602 + ALLOWANCE_S, [], id='ended'),
    pytest.param([*BOUND, (300, query(REQUEST, MAC, ciaddr=TEN, xid=7)),
                  (301, answer(ACK, MAC, TEN, xid=7))], 800, [TEN], id='renewed'),
    pytest.param([*BOUND, (300, answer(ACK, MAC, TEN))], 800, [], id='renewed unasked'),
    pytest.param([*BOUND, (3, query(RELEASE, MAC, ciaddr=TEN))], 4, [], id='released'),
    pytest.param([*BOUND, (3, query(RELEASE, MAC, ciaddr=TWENTY))], 4, [TEN],
                 id="another's is released"),
    pytest.param([*BOUND, (3, query(DECLINE, MAC, asked=TEN))], 4, [], id='declined'),
    pytest.param([*BOUND, (3, query(REQUEST, MAC, asked=TEN, xid=3)),
                  (4, answer(NAK, MAC, xid=3))], 5, [], id='denied'),
    pytest.param([*BOUND, (4, answer(NAK, MAC, xid=3))], 5, [TEN], id='denied unasked'),
    pytest.param([*BOUND, (3, query(REQUEST, MAC, asked=TWENTY, xid=3)),
                  (4, answer(NAK, MAC, xid=3))], 5, [TEN], id='another one is denied'),
    pytest.param([*BOUND, (3, query(DISCOVER, MAC, xid=9)), (4, answer(ACK, MAC, TWENTY, xid=9))],
                 5, [TEN, TWENTY], id='two leases'),
    pytest.param([(1, query6(SOLICIT, MAC)), (2, answer6(REPLY, MAC, ('fd00::9', 60)))], 3,
                 ['fd00::9'], id='IPv6'),
    pytest.param([(1, query6(SOLICIT, MAC)), (2, answer6(REPLY, MAC, ('fd00::9', 60),
                                                         client=b'other'))], 3, [],
                 id="another's DUID"),
    pytest.param([(1, query6(SOLICIT, MAC)), (2, answer6(REPLY, MAC, ('fd00::9', 60))),
                  (3, query6(SOLICIT, MAC)), (4, answer6(REPLY, MAC, ('fd00::9', 0)))], 5, [],
                 id='taken back'),
    pytest.param([(100, query(REQUEST, MAC)), (2, answer(ACK, MAC, TEN))], 3, [],
                 id='the clock was set back: nothing is learned'),
])
def test_rows(messages, now, own):
    assert owns(play(*messages), now) == own


def test_what_is_refused_is_not_bound_and_said():
    known = play(REQUESTED)
    heard = hear(known, parse_message(parse_frame(ACKED[1])), 2, lambda address: 'it is red1\'s')
    assert not heard.bindings.leases and heard.refused == {parse_prefix(TEN): 'it is red1\'s'}


def test_what_is_refused_at_a_renewal_ends():
    assert not play(REQUESTED, (3, answer(ACK, MAC, TEN)), known=play(*BOUND),
                    refuse=lambda address: 'fixed elsewhere').leases


def test_a_vif_fills_nothing_but_its_own_few_places():
    flood = [(1, query(DISCOVER, MAC, xid=xid)) for xid in range(100, 150)]
    known = play(*flood)
    assert len(known.exchanges) == EXCHANGES_MAX
    many = [one for number in range(40) for one in (
        (1, query(REQUEST, MAC, xid=number)),
        (1, answer(ACK, MAC, '10.9.1.%d' % number, xid=number, seconds=600 + number)))]
    known = play(*many)
    assert owns(known, 2) == sorted('10.9.1.%d' % number for number in range(40 - LEASES_MAX, 40))


# --- any exchange --------------------------------------------------------------------------

ADDRESSES = [Prefix(4, 0x0a090000 + number, 32) for number in range(4)]
TAKEN = ADDRESSES[3]
MESSAGES = st.builds(
    Message, st.sampled_from(Verb), st.just(MAC), st.sampled_from([b'1', b'2', b'3']),
    st.lists(st.sampled_from(ADDRESSES), max_size=2).map(tuple),
    st.lists(st.builds(Grant, st.sampled_from(ADDRESSES), st.sampled_from([0, 1, 50, 300])),
             max_size=3).map(tuple))


class Model:
    """RFC 7513 in twenty lines: when each exchange began, and when each lease ends."""

    def __init__(self):
        self.asked, self.ends = {}, {}

    def hear(self, now, message):
        key, asked = message.exchange, self.asked
        if message.verb is Verb.ASK:
            asked[key] = now, message.addresses
        elif message.verb is Verb.RELEASE:
            for address in message.addresses:
                self.ends.pop(address, None)
        elif key in asked and now - asked[key][0] < EXCHANGE_S:
            for address in asked.pop(key)[1] if message.verb is Verb.DENY else ():
                self.ends.pop(address, None)
            for address, seconds in message.grants if message.verb is Verb.LEASE else ():
                asked.pop(key, None)
                self.ends.pop(address, None)
                if seconds and address != TAKEN:
                    self.ends[address] = now + seconds
            asked.pop(key, None)

    def own(self, now):
        return {address for address, end in self.ends.items() if now < end + ALLOWANCE_S}


@given(st.lists(st.tuples(st.integers(0, 100), MESSAGES), max_size=30))
def test_any_exchange_is_as_the_model_has_it(steps):
    model, known, now = Model(), Bindings(), 1000
    for pause, message in steps:
        now += pause
        model.hear(now, message)
        known = hear(known, message, now, lambda address: 'taken' * (address == TAKEN)).bindings
        assert set(expire(known, now).leases) == model.own(now)
        assert len(known.exchanges) <= EXCHANGES_MAX and TAKEN not in known.leases
