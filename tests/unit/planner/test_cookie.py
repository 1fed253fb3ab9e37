"""The cookie's layout: what is ours, and whose it is."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.openflow.ownership import HEADER, HEADER_MASK, OWNER, OWNER_MASK
from xsisolate.planner.cookie import BASE, BRIDGE, Key, Kind, parse_key, port_id
from xsisolate.vif_id import VifId

KEYS = st.builds(Key, st.sampled_from(Kind), st.integers(0, 0xfffffff))


@pytest.mark.parametrize('key, cookie', [
    (BASE, 0x5849534f00000000),
    (BRIDGE, 0x5849534f10000000),
    (Key(Kind.NETWORK, 0xfff), 0x5849534f20000fff),
    (Key(Kind.ENDPOINT, 1), 0x5849534f40000001),
    (Key(Kind.PORT, port_id(VifId(5, 1), False)), 0x5849534f50000a02),
    (Key(Kind.PORT, port_id(VifId(5, 1), True)), 0x5849534f50000a03),
    (Key(Kind.PEERS, 0xfffffff), 0x5849534f3fffffff),
    (Key(Kind.SPREAD, 7), 0x5849534f60000007),
])
def test_layout(key, cookie):
    assert key.cookie == cookie


def test_owner_is_in_ascii():
    assert (OWNER >> 32).to_bytes(4, 'big') == b'XISO'


@given(KEYS)
def test_key_round_trip(key):
    assert parse_key(key.number) == key
    assert parse_key(key.cookie & ~OWNER_MASK) == key
    assert key.cookie & OWNER_MASK == OWNER


@given(KEYS)
def test_headers_cookie_is_the_items_and_one_bit(key):
    header = key.cookie | HEADER
    assert not key.cookie & HEADER
    assert header & HEADER_MASK == OWNER | HEADER
    assert parse_key(header & ~HEADER & 0xffffffff) == key


@given(KEYS, KEYS)
def test_different_keys_have_different_cookies(one, other):
    assert (one == other) == (one.cookie == other.cookie)


@pytest.mark.parametrize('kind', [7])
def test_unknown_kind(kind):
    with pytest.raises(ValueError):
        parse_key(kind << 28)


@given(st.tuples(st.builds(VifId, st.integers(0, 0x7fef), st.integers(0, 255)), st.booleans()),
       st.tuples(st.builds(VifId, st.integers(0, 0x7fef), st.integers(0, 255)), st.booleans()))
def test_port_ids(one, other):
    assert (one == other) == (port_id(*one) == port_id(*other))
    assert 0 <= port_id(*one) < 1 << 28
