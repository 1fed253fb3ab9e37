"""Frames, byte by byte: Ethernet, ARP, IPv4, IPv6, ICMP, neighbour discovery, UDP, TCP, DHCP."""
from ipaddress import ip_address
from struct import pack

from xsisolate.typing_compat import Iterable, Optional, Tuple

IPV4, IPV6, ARP, VLAN = 0x800, 0x86dd, 0x806, 0x8100
ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
SHORTEST, LONGEST = 60, 1514     # an Ethernet frame less its checksum
BROADCAST = 'ff:ff:ff:ff:ff:ff'
ALL_NODES_MAC, ALL_NODES = '33:33:00:00:00:01', 'ff02::1'
NO_MAC = '00:00:00:00:00:00'
SYN, ACK = 0x02, 0x10
REQUEST, REPLY = 1, 2
NEIGHBOUR_HOPS = 255
DATA = b'self-test'
SOLICITED_NODE = ip_address('ff02::1:ff00:0').packed[:13]


def raw(address: str) -> bytes:
    """Return the bytes of an IPv4 or IPv6 address."""
    return ip_address(address).packed


def mac_bytes(mac: str) -> bytes:
    """Return the bytes of a MAC address."""
    return bytes.fromhex(mac.replace(':', ''))


def ethernet(source: str, target: str, kind: int, payload: bytes,
             tags: Iterable[int] = ()) -> bytes:
    """Return a frame, with VLAN tags if there are any."""
    header = mac_bytes(target) + mac_bytes(source) + b''.join(
        pack('!HH', VLAN, tag) for tag in tags)
    return (header + pack('!H', kind) + payload).ljust(SHORTEST, b'\0')


def checksum(data: bytes) -> int:
    """Return the checksum of the internet protocols."""
    data += b'\0' * (len(data) % 2)
    total = sum(data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def arp(op: int, sender: str, sender_ip: str, target: str, target_ip: str, source: str = '',
        to: str = '') -> bytes:
    """Return an ARP packet; a request goes to all unless `to` says otherwise."""
    body = pack('!HHBBH', 1, IPV4, 6, 4, op) + mac_bytes(sender) + raw(
        sender_ip) + mac_bytes(target) + raw(target_ip)
    return ethernet(source or sender, to or (BROADCAST if op == REQUEST else target), ARP, body)


def ip(source: str, target: str, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    """Return an IPv4 or IPv6 packet, as the addresses are."""
    if ':' in source:
        return pack('!IHBB', 6 << 28, len(payload), protocol, hops) + raw(source) + raw(
            target) + payload
    header = pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), 1, 0, hops, protocol, 0)
    header += raw(source) + raw(target)
    return header[:10] + pack('!H', checksum(header)) + header[12:] + payload


def framed(source_mac: str, target_mac: str, packet: bytes, tags: Iterable[int] = ()) -> bytes:
    """Return a frame with an IP packet."""
    return ethernet(source_mac, target_mac, IPV6 if packet[0] >> 4 == 6 else IPV4, packet, tags)


def _summed(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    """Return a segment with its checksum, which is over the addresses as well, at a place."""
    pseudo = raw(source) + raw(target) + pack('!IxxxB' if ':' in source else '!xBH', *(
        (len(segment), protocol) if ':' in source else (protocol, len(segment))))
    return segment[:at] + pack('!H', checksum(pseudo + segment) or 0xffff) + segment[at + 2:]


def udp(source: str, target: str, source_port: int, target_port: int,
        data: bytes = DATA) -> bytes:
    """Return a UDP datagram in its IP packet."""
    segment = pack('!HHHH', source_port, target_port, 8 + len(data), 0) + data
    return ip(source, target, UDP, _summed(source, target, UDP, segment, 6))


def tcp(source: str, target: str, source_port: int, target_port: int, flags: int) -> bytes:
    """Return a TCP segment without data in its IP packet."""
    segment = pack('!HHIIBBHHH', source_port, target_port, 1, 1 if flags & ACK else 0, 5 << 4,
                   flags, 1024, 0, 0)
    return ip(source, target, TCP, _summed(source, target, TCP, segment, 16))


def echo(source: str, target: str, reply: bool) -> bytes:
    """Return a ping, or its answer."""
    if ':' in source:
        return icmp6(source, target, 129 if reply else 128, pack('!HH', 1, 1) + DATA, 64)
    body = pack('!BBHHH', 0 if reply else 8, 0, 0, 1, 1) + DATA
    return ip(source, target, ICMP, body[:2] + pack('!H', checksum(body)) + body[4:])


def icmp6(source: str, target: str, kind: int, body: bytes, hops: int = NEIGHBOUR_HOPS) -> bytes:
    """Return an ICMPv6 message in its packet."""
    return ip(source, target, ICMP6, _summed(
        source, target, ICMP6, pack('!BBH', kind, 0, 0) + body, 2), hops)


def option(kind: int, mac: str) -> bytes:
    """Return neighbour discovery's option with a link-layer address: 1 source, 2 target."""
    return pack('!BB', kind, 1) + mac_bytes(mac)


def solicitation(mac: str, source: str, wanted: str) -> bytes:
    """Return a neighbour solicitation to all who may have the address."""
    low = raw(wanted)[-3:]
    group = str(ip_address(SOLICITED_NODE + low))
    return framed(mac, '33:33:ff:%02x:%02x:%02x' % tuple(low), icmp6(
        source, group, 135, bytes(4) + raw(wanted) + option(1, mac)))


def advertisement(mac: str, source: str, to_mac: str, to: str, claimed: str) -> bytes:
    """Return a neighbour advertisement: the claimed address is at this MAC address."""
    return framed(mac, to_mac, icmp6(source, to, 136, pack('!I', 0x60000000) + raw(
        claimed) + option(2, mac)))


def router_advertisement(mac: str, source: str, to_mac: str = ALL_NODES_MAC,
                         to: str = ALL_NODES) -> bytes:
    """Return a router advertisement."""
    return framed(mac, to_mac, icmp6(source, to, 134, pack(
        '!BBHII', 64, 0, 1800, 0, 0) + option(1, mac)))


def dhcp(op: int, client_mac: str, offered: str = '0.0.0.0', server: str = '0.0.0.0') -> bytes:
    """Return a DHCP message: 1 a client's discover, 2 a server's offer."""
    return pack('!BBBBIHH', op, 1, 6, 0, 0x5e1f, 0, 0) + raw('0.0.0.0') + raw(offered) + raw(
        server) + raw('0.0.0.0') + mac_bytes(client_mac).ljust(16 + 64 + 128, b'\0') + (
            b'\x63\x82\x53\x63' + bytes([53, 1, op, 255]))


# --- frames that others have built ----------------------------------------------------------------


def split(frame: bytes) -> Optional[Tuple[bytes, int, bytes, bytes]]:
    """Return an IP packet's header, protocol, both addresses, and what it carries.

    None unless it is untagged, plain and whole: no options, no fragment, lengths that fit.
    """
    kind, packet = int.from_bytes(frame[12:14], 'big'), frame[14:]
    if kind == IPV4 and len(packet) >= 20:
        total = int.from_bytes(packet[2:4], 'big')
        if packet[0] == 0x45 and not int.from_bytes(packet[6:8], 'big') & 0x3fff and (
                20 <= total <= len(packet) and not checksum(packet[:20])):
            return packet[:20], packet[9], packet[12:20], packet[20:total]
    if kind == IPV6 and len(packet) >= 40:
        length = int.from_bytes(packet[4:6], 'big')
        if packet[0] >> 4 == 6 and length <= len(packet) - 40:
            return packet[:40], packet[6], packet[8:40], packet[40:40 + length]
    return None


def with_more_data(frame: bytes, data: bytes) -> Optional[bytes]:
    """Return a frame whose UDP datagram has more data; None if it has no sound datagram."""
    parts = split(frame)
    if parts is None or parts[1] != UDP or len(parts[3]) < 8:
        return None
    header, _, addresses, segment = parts
    summed, longer = segment[6:8] != b'\0\0', len(segment) + len(data)
    sound = int.from_bytes(segment[4:6], 'big') == len(segment) and (
        not checksum(_pseudo(addresses, len(segment)) + segment) if summed else len(header) == 20)
    if not sound or len(header) + longer + 14 > LONGEST:
        return None
    segment = segment[:4] + pack('!HH', longer, 0) + segment[8:] + data
    if summed:
        total = checksum(_pseudo(addresses, longer) + segment) or 0xffff
        segment = segment[:6] + pack('!H', total) + segment[8:]
    if len(header) == 40:
        header = header[:4] + pack('!H', longer) + header[6:]
    else:
        header = header[:2] + pack('!H', 20 + longer) + header[4:10] + b'\0\0' + header[12:]
        header = header[:10] + pack('!H', checksum(header)) + header[12:]
    return (frame[:14] + header + segment).ljust(SHORTEST, b'\0')


def _pseudo(addresses: bytes, length: int) -> bytes:
    """Return what a UDP checksum is over besides the datagram."""
    return addresses + pack('!IxxxB', length, UDP)
