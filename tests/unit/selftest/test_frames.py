"""The self-test's frames: every length and checksum as a receiver checks it."""
import pytest
from xsisolate.selftest import frames
from xsisolate.selftest.rows import MARK_PLACE, mark, marked

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
    packet = PACKETS[name]
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


def test_marks():
    frame = frames.framed(*MACS, PACKETS['ping'])
    assert marked(frame, 7) == frame.ljust(60, b'\0') + b'XSISO00007.Z'
    assert marked(b'a' + MARK_PLACE + b'b', 8) == b'a' + mark(8) + b'b'
    assert len(mark(99999)) == len(MARK_PLACE)
