"""Which messages say something to a binding table; all others, and odd ones, say nothing."""
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox.dhcp import (ACK, ADVERTISE, CONFIRM, DECLINE, DECLINE6, DISCOVER,
                                           INFORM, NAK, OFFER, REBIND, RELEASE, RELEASE6, RENEW,
                                           REPLY, REQUEST, REQUEST6, SOLICIT, answer, answer6,
                                           bootp, dhcp6, duid, frame, ia_na, ip_bytes, options4,
                                           query, query6)

from xsisolate.leases.frame import find_client, format_mac, parse_frame
from xsisolate.leases.messages import LONGEST_S, Verb, parse_message
from xsisolate.policy.address import format_prefix

MAC, OTHER = '02:00:00:00:00:0b', '02:00:00:00:00:0c'
TEN = '10.9.0.10'


def parse(data):
    datagram = parse_frame(data)
    return parse_message(datagram) if datagram else None


def said(data):
    """Return what a message says, in words."""
    message = parse(data)
    if message is None:
        return None
    return (message.verb.value, *map(format_prefix, message.addresses),
            *['%s for %d' % (format_prefix(address), seconds)
              for address, seconds in message.grants])


@pytest.mark.parametrize('data, what', [
    pytest.param(query(DISCOVER, MAC), ('ask',), id='discover'),
    pytest.param(frame(
        MAC, 'ff:ff:ff:ff:ff:ff', '0.0.0.0', '255.255.255.255', (68, 67), bootp(DISCOVER, MAC),
        tag=7), ('ask',), id='discover on a VLAN'),
    pytest.param(query(REQUEST, MAC, asked=TEN), ('ask', TEN), id='request'),
    pytest.param(query(REQUEST, MAC, ciaddr=TEN, ip_src=TEN), ('ask', TEN), id='renewal'),
    pytest.param(query(RELEASE, MAC, ciaddr=TEN), ('release', TEN), id='release'),
    pytest.param(query(DECLINE, MAC, asked=TEN), ('release', TEN), id='decline'),
    pytest.param(query(INFORM, MAC, ciaddr=TEN), None, id='inform'),
    pytest.param(answer(OFFER, MAC, TEN), None, id='an offer is no lease'),
    pytest.param(answer(ACK, MAC, TEN), ('lease', TEN + ' for 600'), id='ack'),
    pytest.param(answer(ACK, MAC, TEN, giaddr='10.9.0.254'), ('lease', TEN + ' for 600'),
                 id='ack by way of a relay'),
    pytest.param(answer(ACK, MAC, TEN, seconds=0xffffffff), (
        'lease', '%s for %d' % (TEN, LONGEST_S)), id='for ever'),
    pytest.param(answer(ACK, MAC, '0.0.0.0'), None, id='ack of inform'),
    pytest.param(answer(ACK, MAC, TEN, seconds=-1), None, id='ack without a time'),
    pytest.param(answer(ACK, MAC, TEN, seconds=0), None, id='ack for no time'),
    pytest.param(answer(NAK, MAC), ('deny',), id='nak'),
    pytest.param(query6(SOLICIT, MAC), ('ask',), id='solicit'),
    pytest.param(query6(REQUEST6, MAC, options=[ia_na(('fd00::9', 0))]), ('ask', 'fd00::9'),
                 id='request6'),
    pytest.param(query6(RENEW, MAC, options=[ia_na(('fd00::9', 1), ('fd00::a', 1))]),
                 ('ask', 'fd00::9', 'fd00::a'), id='renew'),
    pytest.param(query6(REBIND, MAC), ('ask',), id='rebind'),
    pytest.param(query6(CONFIRM, MAC, options=[ia_na(('fd00::9', 1))]), ('ask', 'fd00::9'),
                 id='confirm'),
    pytest.param(query6(RELEASE6, MAC, options=[ia_na(('fd00::9', 1))]), ('release', 'fd00::9'),
                 id='release6'),
    pytest.param(query6(DECLINE6, MAC, options=[ia_na(('fd00::9', 1))]), ('release', 'fd00::9'),
                 id='decline6'),
    pytest.param(answer6(ADVERTISE, MAC, ('fd00::9', 60)), None, id='an advertisement is no lease'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60)), ('lease', 'fd00::9 for 60'), id='reply'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), ('fd00::a', 0)),
                 ('lease', 'fd00::9 for 60', 'fd00::a for 0'), id='one goes, one stays'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), status=3), None, id='no binding'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), options=[(13, b'\0\2')]), None,
                 id='a reply that reports a failure'),
    pytest.param(answer6(REPLY, MAC, options=[(13, b'\0\4')]), ('deny',), id='not on link'),
    pytest.param(answer6(REPLY, MAC), None, id='a reply without addresses'),
])
def test_what_messages_say(data, what):
    assert said(data) == what


GOOD = options4([(53, bytes([ACK])), (54, ip_bytes('10.9.0.5')), (51, struct.pack('!I', 60))])


def ack(raw, **more):
    return answer(ACK, MAC, TEN, raw=raw, **more)


@pytest.mark.parametrize('data', [
    pytest.param(query(DISCOVER, OTHER, src=MAC), id="another's chaddr"),
    pytest.param(query(DISCOVER, MAC, op=2), id='an answer by a client'),
    pytest.param(answer(ACK, MAC, TEN, op=1), id='a question by a server'),
    pytest.param(answer(ACK, MAC, TEN, htype=6), id='another hardware'),
    pytest.param(answer(ACK, MAC, TEN, hlen=16), id='a longer hardware address'),
    pytest.param(answer(ACK, MAC, TEN, cookie=b'\0' * 4), id='BOOTP without a cookie'),
    pytest.param(ack(b'\xff'), id='BOOTP without a type'),
    pytest.param(ack(GOOD[:-1]), id='the last option is cut off'),
    pytest.param(ack(GOOD + b'\x0c'), id='an option without a length'),
    pytest.param(ack(GOOD + b'\x0c\xff'), id='an option longer than the packet'),
    pytest.param(ack(GOOD + GOOD), id='every option twice'),
    pytest.param(ack(GOOD + options4([(51, struct.pack('!I', 61))])), id='two lease times'),
    pytest.param(ack(GOOD + options4([(53, bytes([NAK]))])), id='ack and nak'),
    pytest.param(ack(options4([(53, bytes([ACK])), (51, b'\1')])), id='a short lease time'),
    pytest.param(ack(options4([(53, b'\5\5'), (51, bytes(4))])), id='a long type'),
    pytest.param(ack(GOOD + options4([(52, b'\1')]) + b'\xff', file=options4(
        [(53, bytes([NAK]))])), id='a second type in an overloaded field'),
    pytest.param(ack(GOOD + options4([(52, b'\1')]) + b'\xff', file=b'\x0c\xff'),
                 id='an overloaded field that is cut off'),
    pytest.param(ack(GOOD + options4([(52, b'\1')]) + b'\xff', file=options4([(52, b'\2')])),
                 id='an overloaded field that overloads'),
    pytest.param(ack(GOOD + options4([(52, b'')])), id='an overload that says nothing'),
    pytest.param(answer(ACK, MAC, TEN, ports=(67, 67)), id='to a relay'),
    pytest.param(answer(ACK, MAC, TEN, ports=(68, 67)), id='from a client'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), client=b'\1'), id='a short DUID'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), client=b'\1' * 131), id='a long DUID'),
    pytest.param(answer6(REPLY, MAC, ('fd00::9', 60), options=[(1, duid(OTHER))]), id='two DUIDs'),
    pytest.param(answer6(REPLY, MAC, options=[(3, bytes(11))]), id='a short IA_NA'),
    pytest.param(answer6(REPLY, MAC, options=[(3, bytes(12) + b'\0\5\0\x18')]),
                 id='an address that is cut off'),
    pytest.param(answer6(REPLY, MAC, options=[(3, bytes(12) + b'\0\5\0\4abcd')]),
                 id='a short address'),
    pytest.param(answer6(REPLY, MAC, options=[(25, bytes(12))]), id='a prefix'),
    pytest.param(frame(MAC, OTHER, 'fe80::1', 'fe80::2', (547, 546), b'\x0d' + bytes(33)),
                 id='a relayed reply'),
    pytest.param(frame(MAC, OTHER, 'fe80::1', 'fe80::2', (547, 546), b''), id='nothing'),
    pytest.param(frame(MAC, OTHER, '10.9.0.1', TEN, (67, 68), b''), id='nothing by IPv4'),
    pytest.param(frame(MAC, OTHER, 'fe80::1', 'fe80::2', (67, 68), bootp(ACK, MAC, yiaddr=TEN)),
                 id='DHCP for IPv4 by IPv6'),
    pytest.param(frame(MAC, OTHER, '10.9.0.1', TEN, (547, 546), dhcp6(REPLY, duid(MAC))),
                 id='DHCP for IPv6 by IPv4'),
])
def test_what_says_nothing(data):
    assert parse(data) is None


def patched(data, at, value):
    return data[:at] + value + data[at + len(value):]


@pytest.mark.parametrize('data', [
    pytest.param(patched(answer(ACK, MAC, TEN), 20, b'\x20\0'), id='the first fragment'),
    pytest.param(patched(answer(ACK, MAC, TEN), 20, b'\0\x10'), id='a later fragment'),
    pytest.param(patched(answer(ACK, MAC, TEN), 14, b'\x4f'), id='a header of options'),
    pytest.param(patched(answer(ACK, MAC, TEN), 14, b'\x44'), id='a short header'),
    pytest.param(patched(answer(ACK, MAC, TEN), 16, b'\xff\xff'), id='longer than it is'),
    pytest.param(patched(answer(ACK, MAC, TEN), 38, b'\xff\xff'), id='UDP longer than it is'),
    pytest.param(patched(answer(ACK, MAC, TEN), 38, b'\0\7'), id='UDP shorter than its head'),
    pytest.param(patched(answer(ACK, MAC, TEN), 23, b'\6'), id='TCP'),
    pytest.param(patched(answer6(REPLY, MAC, ('fd00::9', 9)), 20, b'\0'), id='extension headers'),
    pytest.param(answer(ACK, MAC, TEN)[:200], id='as much of it as a switch has sent'),
    pytest.param(b'\0' * 60, id='no IP'),
])
def test_what_is_no_whole_datagram(data):
    assert parse(data) is None


def test_an_overloaded_field_counts():
    data = ack(options4([(53, bytes([ACK])), (52, b'\3')]) + b'\xff', sname=options4(
        [(51, struct.pack('!I', 60))]), file=options4([(54, ip_bytes('10.9.0.6'))]))
    assert said(data) == ('lease', TEN + ' for 60') and parse(data).server == '10.9.0.6'


def test_a_giant_packet_is_read():
    filler = [(12, b'x' * 255)] * 30
    assert said(answer(ACK, MAC, TEN, options=filler)) == ('lease', TEN + ' for 600')


SAMPLES = [query(REQUEST, MAC, asked=TEN), answer(ACK, MAC, TEN), query6(RENEW, MAC, options=[
    ia_na(('fd00::9', 1))]), answer6(REPLY, MAC, ('fd00::9', 60))]


@given(st.sampled_from(SAMPLES), st.data())
def test_no_bytes_do_any_harm(sample, data):
    """Whatever is turned over in a message, it says something or nothing, and that is all."""
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sample) - 1))
        sample = sample[:at] + data.draw(st.binary(max_size=3)) + sample[at + 1:]
    message = parse(sample[:data.draw(st.integers(0, len(sample)))])
    assert message is None or message.verb in Verb


@given(st.binary(max_size=400))
def test_noise_says_nothing(noise):
    assert parse(noise) is None


@pytest.mark.parametrize('data', [
    query(DISCOVER, MAC), query6(SOLICIT, MAC), answer(ACK, MAC, TEN),
    answer(ACK, MAC, TEN, dst='ff:ff:ff:ff:ff:ff', ip_dst='255.255.255.255'),
    answer6(REPLY, MAC, ('fd00::9', 60)),
    frame(MAC, 'ff:ff:ff:ff:ff:ff', '0.0.0.0', '255.255.255.255', (68, 67), bootp(DISCOVER, MAC),
          tag=7),
    frame(OTHER, 'ff:ff:ff:ff:ff:ff', TEN, '255.255.255.255', (67, 68), bootp(
        NAK, MAC), tag=7)])
def test_the_client_is_found_at_a_glance(data):
    said = parse(data)
    mac, transaction = find_client(data, said.verb in (Verb.ASK, Verb.RELEASE))
    assert format_mac(mac) == MAC == said.mac
    assert transaction == said.exchange[:len(transaction)] and len(transaction) > 3


def test_a_question_is_its_senders_whatever_it_says():
    for data in (answer(ACK, OTHER, TEN, src=MAC), query(DISCOVER, OTHER, src=MAC), frame(
            MAC, OTHER, 'fe80::1', 'fe80::2', (546, 547), b'')):
        assert format_mac(find_client(data, True)[0]) == MAC


@given(st.binary(max_size=100))
def test_a_glance_at_noise(noise):
    for asks in (False, True):
        assert max(map(len, find_client(noise, asks))) <= 6
