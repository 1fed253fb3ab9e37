"""Frames that a guest's root makes by hand, without scapy: Dom0 has none."""
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Dict

from xen.guest import Sender

ALL = 'ff:ff:ff:ff:ff:ff'
ALL_NODES = '33:33:00:00:00:01'
NOBODY = '02:00:00:00:99:99'
VLAN = 120
UDP, ICMP6 = 17, 58


def attacks(by: Sender, on: Sender, posing_as: Sender) -> Dict[str, bytes]:
    """Return what a guest may not send to another, by the word that each frame carries.

    `posing_as` is a member of the victim's group.
    """
    return {
        'TRUENAME': udp4(by.vif.mac, on.vif.mac, by.ipv4, on.ipv4, 'TRUENAME'),
        'TRUENAM6': udp6(by.vif.mac, on.vif.mac, by.ipv6, on.ipv6, 'TRUENAM6'),
        'FAKEMAC4': udp4(posing_as.vif.mac, on.vif.mac, posing_as.ipv4, on.ipv4, 'FAKEMAC4'),
        'FAKEMAC6': udp6(posing_as.vif.mac, on.vif.mac, posing_as.ipv6, on.ipv6, 'FAKEMAC6'),
        'FAKEIPV4': udp4(by.vif.mac, on.vif.mac, posing_as.ipv4, on.ipv4, 'FAKEIPV4'),
        'FAKEIPV6': udp6(by.vif.mac, on.vif.mac, posing_as.ipv6, on.ipv6, 'FAKEIPV6'),
        'ARPCLAIM': arp(by.vif.mac, on.vif.mac, posing_as.ipv4, on.ipv4, 'ARPCLAIM'),
        'ARPSHOUT': arp(by.vif.mac, ALL, posing_as.ipv4, on.ipv4, 'ARPSHOUT'),
        'ROUTERAD': router_advertisement(by.vif.mac, 'ROUTERAD'),
        'DHCPLIES': udp4(by.vif.mac, ALL, by.ipv4, '255.255.255.255', 'DHCPLIES', 67, 68),
        'TAGGEDIN': tagged(udp4(by.vif.mac, on.vif.mac, by.ipv4, on.ipv4, 'TAGGEDIN')),
        'TAGGED00': tagged(udp4(posing_as.vif.mac, ALL, by.ipv4, on.ipv4, 'TAGGED00'), 0),
        'SHOUTING': udp4(by.vif.mac, ALL, by.ipv4, '255.255.255.255', 'SHOUTING'),
        'FLOODING': ethernet(by.vif.mac, NOBODY, 0x88b5, b'FLOODING' * 6),
        'STRANGER': ethernet(by.vif.mac, on.vif.mac, 0x88b5, b'STRANGER' * 6),
    }


def spoofs(by: Sender, on: Sender, posing_as: Sender) -> Dict[str, bytes]:
    """Return what even a member of the victim's group may not send."""
    found = attacks(by, on, posing_as)
    return {word: found[word] for word in (
        'FAKEMAC4', 'FAKEMAC6', 'FAKEIPV4', 'FAKEIPV6', 'ARPCLAIM', 'ARPSHOUT', 'ROUTERAD',
        'DHCPLIES', 'TAGGEDIN')}


def octets(mac: str) -> bytes:
    """Return a MAC address as it is sent."""
    return bytes.fromhex(mac.replace(':', ''))


def ethernet(src: str, dst: str, kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    return (octets(dst) + octets(src) + struct.pack('!H', kind) + payload).ljust(60, b'\0')


def tagged(frame: bytes, vlan: int = VLAN) -> bytes:
    """Return a frame with a VLAN's tag."""
    return frame[:12] + struct.pack('!HH', 0x8100, vlan) + frame[12:]


def udp4(src: str, dst: str, source: str, target: str, word: str, sport: int = 4444,
         dport: int = 4444) -> bytes:
    """Return a datagram over IPv4; it needs no checksum of its own."""
    datagram = struct.pack('!HHHH', sport, dport, 8 + len(word), 0) + word.encode()
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(datagram), 0, 0, 64, UDP, 0)
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    head = head[:10] + struct.pack('!H', checksum(head + addresses)) + addresses
    return ethernet(src, dst, 0x0800, head + datagram)


def udp6(src: str, dst: str, source: str, target: str, word: str) -> bytes:
    """Return a datagram over IPv6."""
    datagram = struct.pack('!HHHH', 4444, 4444, 8 + len(word), 0) + word.encode()
    return ethernet(src, dst, 0x86dd, ipv6(source, target, UDP, 6, datagram))


def router_advertisement(src: str, word: str) -> bytes:
    """Return what only a router may say, to all; the word stands where an option would."""
    said = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)
    said += b'\xfd\x02' + word.encode() + bytes(6)
    return ethernet(src, ALL_NODES, 0x86dd, ipv6('fe80::1', 'ff02::1', ICMP6, 2, said))


def ipv6(source: str, target: str, protocol: int, at: int, text: bytes) -> bytes:
    """Return a packet; `at` is where in its text the checksum belongs."""
    addresses = IPv6Address(source).packed + IPv6Address(target).packed
    sum16 = checksum(addresses + struct.pack('!II', len(text), protocol) + text)
    text = text[:at] + struct.pack('!H', sum16) + text[at + 2:]
    return struct.pack('!IHBB', 6 << 28, len(text), protocol, 255) + addresses + text


def arp(src: str, dst: str, source: str, target: str, word: str) -> bytes:
    """Return the claim that an IPv4 address is at a MAC address."""
    return ethernet(src, dst, 0x0806, struct.pack('!HHBBH', 1, 0x0800, 6, 4, 2) + octets(src)
                    + IPv4Address(source).packed + octets(dst) + IPv4Address(target).packed
                    + word.encode())


def checksum(text: bytes) -> int:
    """Return the internet's checksum."""
    text += b'\0' * (len(text) % 2)
    total: int = sum(struct.unpack('!%dH' % (len(text) // 2), text))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
