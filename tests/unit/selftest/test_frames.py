"""The self-test's frames: every length and checksum as a receiver checks it."""
import pytest
from xsisolate.selftest import frames
from xsisolate.selftest.rows import MARK_PLACE, mark, marked, without_trailer

MACS = ('02:00:00:00:00:01', '02:00:00:00:00:02')
V4, V6 = ('10.9.0.1', '10.9.0.2'), ('fd00:9::1', 'fd00:9::2')
PACKETS = {
    'udp': frames.udp(*V4, 5, 53), 'udp, odd length': frames.udp(*V4, 5, 53, b'odd'),
    'udp6': frames.udp(*V6, 5, 53), 'tcp': frames.tcp(*V4, 5, 22, frames.SYN),
    'tcp6': frames.tcp(*V6, 5, 22, frames.SYN | frames.ACK), 'ping': frames.echo(*V4, False),
    'pong': frames.echo(*V4, True), 'ping6': frames.echo(*V6, False),
    'dhcp': frames.udp('0.0.0.0', '255.255.255.255', 68, 67, frames.dhcp(1, MACS[0]))}


@pytest.mark.parametrize('name', PACKETS)
def test_lengths_and_checksums(name):
    check_sums(PACKETS[name])


def check_sums(packet):
    """Check a packet as its receiver does."""
    if packet[0] >> 4 == 6:
        payload, protocol, addresses = packet[40:], packet[6], packet[8:40]
        assert int.from_bytes(packet[4:6], 'big') == len(payload)
    else:
        payload, protocol, addresses = packet[20:], packet[9], packet[12:20]
        assert int.from_bytes(packet[2:4], 'big') == len(packet)
        assert frames.checksum(packet[:20]) == 0        # over itself a checksum is 0
    pseudo = addresses + len(payload).to_bytes(4, 'big') + bytes([0, 0, 0, protocol])
    assert frames.checksum(payload if protocol == frames.ICMP else pseudo + payload) == 0
    if protocol == frames.UDP:
        assert int.from_bytes(payload[4:6], 'big') == len(payload)


def test_a_frame_begins_with_its_addresses_and_tags():
    frame = frames.framed(*MACS, PACKETS['udp'], (0, 120))
    assert frame[:12] == bytes.fromhex('020000000002' '020000000001')
    assert frame[12:22] == bytes.fromhex('81000000' '81000078' '0800')


def test_a_solicitation_goes_to_its_targets_group():
    frame = frames.solicitation(MACS[0], V6[0], 'fd00:9::ab:cdef')
    assert frame[:6].hex() == '3333ffabcdef' and frame[38:54].hex() == 'ff' '02' + '0' * 18 + (
        '01ff' 'abcdef')
    assert frame[21] == 255 and frame[54] == 135 and frame[-8:] == bytes.fromhex('0101' + '02' + (
        '0000000001'))


def test_arp():
    request = frames.arp(frames.REQUEST, MACS[0], V4[0], frames.NO_MAC, V4[1])
    assert request[:6] == b'\xff' * 6 and len(request) == frames.SHORTEST
    assert request[12:22].hex() == '0806' '0001' '0800' '0604' '0001'
    reply = frames.arp(frames.REPLY, MACS[0], V4[0], MACS[1], V4[1])
    assert reply[:6].hex() == '020000000002'


@pytest.mark.parametrize('name', ['udp', 'udp, odd length', 'udp6', 'dhcp'])
def test_a_datagram_has_its_mark_in_its_data(name):
    """The kernel's connection tracking cuts off what is behind a packet."""
    frame = marked(frames.framed(*MACS, PACKETS[name]), 7)
    header, protocol, addresses, segment = frames.split(frame)
    assert protocol == frames.UDP and segment.endswith(mark(7))
    check_sums(header + segment)
    assert frame[:14] == frames.framed(*MACS, PACKETS[name])[:14]


def test_a_datagram_without_checksum_stays_so():
    packet = PACKETS['udp']
    frame = frames.framed(*MACS, packet[:26] + b'\0\0' + packet[28:])
    assert frames.split(frames.with_more_data(frame, b'more'))[3][6:8] == b'\0\0'


@pytest.mark.parametrize('spoil', [
    lambda frame: frame[:38] + b'\xff\xff' + frame[40:],        # UDP length
    lambda frame: frame[:40] + b'\x12\x34' + frame[42:],        # UDP checksum
    lambda frame: frame[:24] + b'\x12\x34' + frame[26:],        # IP checksum
    lambda frame: frame[:14] + b'\x46' + frame[15:],            # options
    lambda frame: frame[:20] + b'\x20' + frame[21:],            # a fragment
    lambda frame: frame[:30], lambda frame: frame[:12] + b'\x81\0\0\x78' + frame[12:]])
def test_what_is_not_sound_is_not_made_so(spoil):
    frame = spoil(frames.framed(*MACS, PACKETS['udp']))
    assert frames.with_more_data(frame, b'more') is None
    assert marked(frame, 8) == frame.ljust(60, b'\0') + mark(8)


def test_sctp_is_known_without_its_trailer():
    packet = frames.ip(*V4, frames.SCTP, bytes(40))
    frame = frames.framed(*MACS, packet)
    assert without_trailer(marked(frame, 9)) == without_trailer(frame) == frame[:74]
    assert without_trailer(frames.framed(*MACS, PACKETS['udp'])) == b''


def test_marks():
    frame = frames.framed(*MACS, PACKETS['ping'])
    assert marked(frame, 7) == frame.ljust(60, b'\0') + b'XSISO00007.Z'
    assert marked(b'a' + MARK_PLACE + b'b', 8) == b'a' + mark(8) + b'b'
    assert len(mark(99999)) == len(MARK_PLACE)
