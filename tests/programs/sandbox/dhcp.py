"""DHCP messages as bytes, also odd ones: what clients and servers say, and what attackers would."""
import socket
import struct
from typing import Any, Sequence, Tuple

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
SOLICIT, ADVERTISE, REQUEST6, CONFIRM, RENEW, REBIND, REPLY, RELEASE6, DECLINE6 = range(1, 10)
COOKIE = b'\x63\x82\x53\x63'
BROADCAST = 'ff:ff:ff:ff:ff:ff'
Options = Sequence[Tuple[int, bytes]]


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as bytes."""
    return bytes.fromhex(mac.replace(':', ''))


def ip_bytes(text: str) -> bytes:
    """Return an IP address as bytes."""
    return socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack('!%dH' % ((len(data) + 1) // 2), data + b'\0' * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def frame(src: str, dst: str, ip_src: str, ip_dst: str, ports: Tuple[int, int], payload: bytes,
          tag: int = 0) -> bytes:
    """Return an Ethernet frame with a UDP datagram."""
    udp = struct.pack('!HHHH', *ports, 8 + len(payload), 0) + payload
    source, target = ip_bytes(ip_src), ip_bytes(ip_dst)
    six = len(source) == 16
    pseudo = source + target + (struct.pack('!IHBB', len(udp), 0, 0, 17) if six
                                else struct.pack('!BBH', 0, 17, len(udp)))
    udp = udp[:6] + struct.pack('!H', _checksum(pseudo + udp) or 0xffff) + udp[8:]
    if six:
        packet = struct.pack('!IHBB', 6 << 28, len(udp), 17, 64) + source + target
    else:
        packet = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + source + target
        packet = packet[:10] + struct.pack('!H', _checksum(packet)) + packet[12:]
    vlan = struct.pack('!HH', 0x8100, tag) if tag else b''
    return (mac_bytes(dst) + mac_bytes(src) + vlan + (b'\x86\xdd' if six else b'\x08\x00')
            + packet + udp)


def options4(options: Options) -> bytes:
    """Return options with their codes and lengths."""
    return b''.join(bytes([code, len(value)]) + value for code, value in options)


def bootp(kind: int, mac: str, xid: int = 1, ciaddr: str = '0.0.0.0', yiaddr: str = '0.0.0.0',
          giaddr: str = '0.0.0.0', options: Options = (), sname: bytes = b'', file: bytes = b'',
          **odd: Any) -> bytes:
    """Return a DHCP message; `odd`: op, htype, hlen, cookie, raw (options as they are)."""
    op = odd.get('op', 2 if kind in (OFFER, ACK, NAK) else 1)
    head = struct.pack('!BBBBIHH', op, odd.get('htype', 1), odd.get('hlen', 6), 0, xid, 0, 0)
    raw = odd.get('raw', options4([(53, bytes([kind])), *options]) + b'\xff')
    cookie: bytes = odd.get('cookie', COOKIE)
    return b''.join([head, ip_bytes(ciaddr), ip_bytes(yiaddr), bytes(4), ip_bytes(giaddr),
                     mac_bytes(mac).ljust(16, b'\0'), sname.ljust(64, b'\0'),
                     file.ljust(128, b'\0'), cookie, raw])


def query(kind: int, mac: str, src: str = '', ip_src: str = '0.0.0.0', **more: Any) -> bytes:
    """Return what a client says."""
    asked = more.pop('asked', '')
    options = [*more.pop('options', ()), *([(50, ip_bytes(asked))] if asked else [])]
    dst, ip_dst = more.pop('dst', BROADCAST), more.pop('ip_dst', '255.255.255.255')
    return frame(src or mac, dst, ip_src, ip_dst, (68, 67),
                 bootp(kind, mac, options=options, **more))


def answer(kind: int, mac: str, yiaddr: str = '0.0.0.0', server: str = '10.9.0.5',
           seconds: int = 600, src: str = '02:00:00:00:aa:05', dst: str = '', **more: Any) -> bytes:
    """Return what a server says to a client."""
    lease = [(51, struct.pack('!I', seconds))] if kind in (OFFER, ACK) and seconds >= 0 else []
    options = [(54, ip_bytes(server)), *lease, *more.pop('options', ())]
    ip_src, ip_dst = more.pop('ip_src', server), more.pop('ip_dst', yiaddr)
    return frame(src, dst or mac, ip_src, ip_dst, more.pop('ports', (67, 68)),
                 bootp(kind, mac, yiaddr=yiaddr, options=options, **more))


def options6(options: Options) -> bytes:
    """Return options with their codes and lengths."""
    return b''.join(struct.pack('!HH', code, len(value)) + value for code, value in options)


def duid(mac: str) -> bytes:
    """Return a client's DUID-LL."""
    return b'\0\3\0\1' + mac_bytes(mac)


def ia_na(*addresses: Tuple[str, int], status: int = 0, iaid: int = 1) -> Tuple[int, bytes]:
    """Return an IA_NA with addresses and their valid lifetimes."""
    inner = [(5, ip_bytes(address) + struct.pack('!II', valid, valid))
             for address, valid in addresses]
    if status:
        inner.append((13, struct.pack('!H', status)))
    return 3, struct.pack('!III', iaid, 0, 0) + options6(inner)


def dhcp6(kind: int, client: bytes, xid: int = 1, options: Options = ()) -> bytes:
    """Return a DHCPv6 message."""
    return struct.pack('!I', kind << 24 | xid) + options6([(1, client), *options])


def query6(kind: int, mac: str, ll: str = 'fe80::1', xid: int = 1, options: Options = (),
           client: bytes = b'') -> bytes:
    """Return what a client says."""
    return frame(mac, '33:33:00:01:00:02', ll, 'ff02::1:2', (546, 547),
                 dhcp6(kind, client or duid(mac), xid, options))


def answer6(kind: int, mac: str, *addresses: Tuple[str, int], ll: str = 'fe80::1', xid: int = 1,
            server: str = 'fe80::ff:fe00:aa05', src: str = '02:00:00:00:aa:05',
            options: Options = (), client: bytes = b'', status: int = 0) -> bytes:
    """Return what a server says to a client."""
    return frame(src, mac, server, ll, (547, 546), dhcp6(kind, client or duid(mac), xid, [
        (2, duid(src)), *([ia_na(*addresses, status=status)] if addresses else []), *options]))
