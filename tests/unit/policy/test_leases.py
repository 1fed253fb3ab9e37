"""What is kept of leases: it reads back as it was, and nothing else is read at all."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.leases import (ALLOWANCE_S, CARRIED_S, KEYS, LEASES_MAX, SIZE_LIMIT, Lease,
                                     LeaseRecord, current, find_carried, format_record, must_carry,
                                     newest, parse_record)
from xsisolate.policy.model import Prefix

MAC, OTHER = '02:00:00:00:00:0b', '02:00:00:00:00:0c'
NINE = parse_prefix('10.9.0.9')
ONE = LeaseRecord(MAC, 1000, (Lease(NINE, 1_000_000, '10.9.0.2'),), 'a-vif')
TEXT = format_record(ONE)

ADDRESSES = (st.integers(0x0a000000, 0x0affffff).map(lambda value: Prefix(4, value, 32))
             | st.integers(0xfd << 120, (0xfe << 120) - 1).map(lambda value: Prefix(6, value, 128)))
LEASES = st.lists(st.builds(Lease, ADDRESSES, st.integers(0, 1 << 33), st.sampled_from(
    ['10.9.0.2', 'fe80::1', ''])), max_size=LEASES_MAX).map(lambda found: tuple(sorted(found)))
RECORDS = st.builds(LeaseRecord, st.just(MAC), st.integers(0, 1 << 43), LEASES, st.just('u'))


@given(RECORDS)
def test_a_record_reads_back(record):
    text = format_record(record)
    assert parse_record(text) == record and '\n' not in text and len(text) <= SIZE_LIMIT


@given(RECORDS, st.data())
def test_half_a_record_is_none(record, data):
    text = format_record(record)
    with pytest.raises(PolicyError) as refused:
        parse_record(text[:data.draw(st.integers(0, len(text) - 1))])
    assert str(refused.value).isprintable()


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(
    inner) | st.dictionaries(st.sampled_from(['version', 'mac', 'at', 'leases']), inner)).map(
        json.dumps))
def test_whatever_stands_there_is_read_or_refused(text):
    try:
        assert isinstance(parse_record(text), LeaseRecord)
    except PolicyError as error:
        assert str(error).isprintable()


def changed(**fields):
    return json.dumps(dict(json.loads(TEXT), **fields))


@pytest.mark.parametrize('text', [
    pytest.param(changed(version=2), id='another release'),
    pytest.param(changed(mac='02:00'), id='no MAC address'),
    pytest.param(changed(mac='01:00:5e:00:00:01'), id='a multicast MAC address'),
    pytest.param(changed(at='1'), id='no time'),
    pytest.param(changed(at=True), id='true is no time'),
    pytest.param(changed(at=-1), id='a time before time'),
    pytest.param(changed(leases=[['10.9.0.0/24', 1, '']]), id='a network'),
    pytest.param(changed(leases=[['224.0.0.1', 1, '']]), id='nobody can own it'),
    pytest.param(changed(leases=[['10.9.0.9', 1.5, '']]), id='half a second'),
    pytest.param(changed(leases=[['10.9.0.9', 1]]), id='too short'),
    pytest.param(changed(leases=[['10.9.0.9', 1, '']] * (LEASES_MAX + 1)), id='too many'),
    pytest.param(changed(more='x' * SIZE_LIMIT), id='too long'),
    pytest.param('[' * 100_000, id='too deep'),
])
def test_what_is_refused(text):
    with pytest.raises(PolicyError):
        parse_record(text)
    assert find_carried({KEYS[0]: text}, MAC) is None


def test_the_newest_counts():
    newer = ONE._replace(at=2000, leases=())
    for order in (KEYS, KEYS[::-1]):
        assert find_carried(dict(zip(order, map(format_record, (ONE, newer)))), MAC) == newer
    found = find_carried({KEYS[0]: 'cut', KEYS[1]: TEXT}, MAC)
    assert found and found.leases == (ONE.leases[0]._replace(longer=CARRIED_S),)
    assert newest([ONE, newer], MAC) == newer and newest([], MAC) is None


def test_a_copy_with_another_mac_address_has_none():
    assert find_carried({KEYS[0]: TEXT}, OTHER) is None


def test_a_lease_ends():
    assert current(ONE, 1_000_000 + ALLOWANCE_S - 1) == ONE.leases
    assert current(ONE, 1_000_000 + ALLOWANCE_S) == () == current(None, 0)


def test_what_is_carried_counts_longer_wherever_it_is_read_and_no_longer_by_being_carried_on():
    carried = find_carried({KEYS[0]: format_record(ONE, carried=True)}, MAC)
    assert current(carried, 1_000_000 + CARRIED_S - 1) and not current(
        carried, 1_000_000 + CARRIED_S)
    kept = parse_record(format_record(carried))
    assert kept == carried
    assert find_carried({KEYS[0]: format_record(kept, carried=True)}, MAC) == carried


def lease(until, address='10.9.0.9', longer=ALLOWANCE_S):
    return Lease(parse_prefix(address), until, '', longer)


@pytest.mark.parametrize('leases, carried, must', [
    pytest.param([], None, False, id='nothing'),
    pytest.param([lease(600)], None, True, id='a new one'),
    pytest.param([lease(600)], [lease(600, longer=CARRIED_S)], False, id='carried'),
    pytest.param([lease(600), lease(600, 'fd00::9')], [lease(600, longer=CARRIED_S)], True,
                 id='another one'),
    pytest.param([], [lease(600, longer=CARRIED_S)], True, id='given back'),
    pytest.param([], [lease(-4000, longer=CARRIED_S)], False, id='ended by itself'),
    pytest.param([lease(900)], [lease(300, longer=CARRIED_S)], False, id='renewed'),
    pytest.param([lease(86400)], [lease(43200, longer=CARRIED_S)], True,
                 id='renewed, and the next renewal may come too late'),
    pytest.param([lease(600)], [lease(-3300, longer=CARRIED_S)], True, id='about to run out'),
])
def test_what_is_carried_is_written_when_it_must_be(leases, carried, must):
    known = None if carried is None else LeaseRecord(MAC, 0, tuple(carried))
    assert must_carry(LeaseRecord(MAC, 1, tuple(leases)), known, 0) is must


def test_renewals_of_an_hour_lead_to_few_writes():
    """A VIF with a lease of two minutes that it renews each minute, for a day."""
    carried, writes = None, 0
    for now in range(0, 86400, 60):
        record = LeaseRecord(MAC, now, (lease(now + 120),))
        if must_carry(record, carried, now):
            carried = find_carried({KEYS[0]: format_record(record, carried=True)}, MAC)
            writes += 1
    assert writes <= 25
