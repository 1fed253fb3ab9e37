"""Short words for frames, by the names of who sends them and whom they are for."""
import logging
import socket
import warnings
from typing import Any, List

logging.getLogger('scapy').setLevel(logging.ERROR)
warnings.filterwarnings('ignore', module='scapy')

# Also what only the tables use: they need no other place to import from.
from scapy.contrib.igmp import IGMP  # noqa: E402,F401
from scapy.layers.dhcp import BOOTP, DHCP  # noqa: E402
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Solicit  # noqa: E402
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption  # noqa: E402,F401
from scapy.layers.inet6 import (  # noqa: E402,F401
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1Q, Dot3, Ether  # noqa: E402,F401
from scapy.layers.sctp import SCTP, SCTPChunkInit  # noqa: E402
from scapy.packet import Raw  # noqa: E402
from scapy.utils6 import in6_getnsma, in6_getnsmac  # noqa: E402

# A question for the time of day holds the time of day, unless it is told otherwise.
for _field in ICMP.fields_desc:
    if _field.name in ('ts_ori', 'ts_rx', 'ts_tx'):
        _field.fld.default = 0

ALL = 'ff:ff:ff:ff:ff:ff'
NOBODY = '02:00:00:00:99:99'
Frame = Any


def eth(src: Any, dst: Any, **more: Any) -> Frame:
    """Return an Ethernet header between two parties, or addresses."""
    return Ether(src=getattr(src, 'mac', src), dst=getattr(dst, 'mac', dst), **more)


def ping(src: Any, dst: Any, **more: Any) -> Frame:
    """Return an IPv4 echo request."""
    return eth(src, dst) / IP(src=src.ip, dst=dst.ip) / ICMP(**more) / b'ping'


def ping6(src: Any, dst: Any) -> Frame:
    """Return an IPv6 echo request."""
    return eth(src, dst) / IPv6(src=src.ip6, dst=dst.ip6) / ICMPv6EchoRequest(data=b'ping')


def udp(sender: Any, to: Any, sport: int = 4000, dport: int = 4000, **ip: Any) -> Frame:
    """Return an IPv4 datagram; `ip` are more fields of the IP header."""
    return eth(sender, to) / IP(**{'src': sender.ip, 'dst': to.ip, **ip}) / UDP(
        sport=sport, dport=dport) / b'word'


def udp6(sender: Any, to: Any, sport: int = 4000, dport: int = 4000, **ip: Any) -> Frame:
    """Return an IPv6 datagram."""
    return eth(sender, to) / IPv6(**{'src': sender.ip6, 'dst': to.ip6, **ip}) / UDP(
        sport=sport, dport=dport) / b'word'


def tcp(sender: Any, to: Any, sport: int, dport: int, flags: str = 'S', **ip: Any) -> Frame:
    """Return a TCP segment; `ip` are more fields of the IP header."""
    return eth(sender, to) / IP(**{'src': sender.ip, 'dst': to.ip, **ip}) / segment(
        sport, dport, flags)


def tcp6(sender: Any, to: Any, sport: int, dport: int, flags: str = 'S', **ip: Any) -> Frame:
    """Return a TCP segment over IPv6."""
    return eth(sender, to) / IPv6(**{'src': sender.ip6, 'dst': to.ip6, **ip}) / segment(
        sport, dport, flags)


def segment(sport: int, dport: int, flags: str) -> Frame:
    """Return a segment of a connection in which nobody has sent data yet; its end begins none."""
    return TCP(sport=sport, dport=dport, flags=flags, seq=0 if 'S' in flags or flags == 'RA' else 1,
               ack=int('A' in flags))


def sctp(src: Any, dst: Any, sport: int, dport: int) -> Frame:
    """Return what opens an association of SCTP."""
    return eth(src, dst) / IP(src=src.ip, dst=dst.ip) / SCTP(
        sport=sport, dport=dport) / SCTPChunkInit(init_tag=1)


def sctp6(src: Any, dst: Any, sport: int, dport: int) -> Frame:
    """Return what opens an association of SCTP over IPv6."""
    return eth(src, dst) / IPv6(src=src.ip6, dst=dst.ip6) / SCTP(
        sport=sport, dport=dport) / SCTPChunkInit(init_tag=1)


def rrq(src: Any, dst: Any, sport: int) -> Frame:
    """Return TFTP's request for a file."""
    return eth(src, dst) / IP(src=src.ip, dst=dst.ip) / UDP(sport=sport, dport=69) / Raw(
        b'\0\1file\0octet\0')


def rrq6(src: Any, dst: Any, sport: int) -> Frame:
    """Return TFTP's request for a file over IPv6."""
    return eth(src, dst) / IPv6(src=src.ip6, dst=dst.ip6) / UDP(sport=sport, dport=69) / Raw(
        b'\0\1file\0octet\0')


def arp(src: Any, op: int, spa: str, tpa: str, dst: Any = ALL, sha: str = '',
        tha: str = '00:00:00:00:00:00') -> Frame:
    """Return an ARP packet."""
    mac = getattr(src, 'mac', src)
    return eth(mac, dst) / ARP(op=op, hwsrc=sha or mac, psrc=spa, hwdst=tha, pdst=tpa)


def who_has(src: Any, dst: Any) -> Frame:
    """Return an ARP request aloud."""
    return arp(src, 1, src.ip, dst.ip)


def is_at(src: Any, dst: Any, spa: str = '', sha: str = '') -> Frame:
    """Return an ARP reply."""
    return arp(src, 2, spa or src.ip, dst.ip, dst, sha, dst.mac)


def ns(src: Any, target: str, dst: Any = None, ip: str = '', ip_dst: str = '', sll: Any = True,
       hlim: int = 255, **more: Any) -> Frame:
    """Return a neighbour solicitation: aloud, or to one party; sll: True, False or a MAC."""
    group = socket.inet_ntop(socket.AF_INET6, in6_getnsma(socket.inet_pton(socket.AF_INET6,
                                                                           target)))
    mac = getattr(dst, 'mac', dst) or in6_getnsmac(socket.inet_pton(socket.AF_INET6, group))
    frame = eth(src, mac) / IPv6(src=ip or src.ip6, dst=ip_dst or (target if dst else group),
                                 hlim=hlim) / ICMPv6ND_NS(tgt=target, **more)
    if sll:
        frame /= ICMPv6NDOptSrcLLAddr(lladdr=src.mac if sll is True else sll)
    return frame


def na(src: Any, target: str, dst: Any = None, ip: str = '', tll: Any = True, hlim: int = 255,
       ip_dst: str = '', **more: Any) -> Frame:
    """Return a neighbour advertisement: aloud, or to one party."""
    frame = eth(src, dst or '33:33:00:00:00:01') / IPv6(
        src=ip or src.ip6, dst=ip_dst or (dst.ip6 if dst else 'ff02::1'), hlim=hlim) / ICMPv6ND_NA(
            tgt=target, R=0, S=int(bool(dst)), O=1, **more)
    if tll:
        frame /= ICMPv6NDOptDstLLAddr(lladdr=src.mac if tll is True else tll)
    return frame


def ra(src: Any, dst: Any = None, ip: str = '', **more: Any) -> Frame:
    """Return a router advertisement."""
    return eth(src, dst or '33:33:00:00:00:01') / IPv6(
        src=ip or src.ll, dst=dst.ll if dst else 'ff02::1', hlim=255) / ICMPv6ND_RA(**more) / (
            ICMPv6NDOptPrefixInfo(prefix='fd00:bad::', prefixlen=64))


def rs(src: Any, ip: str = '', dst: str = 'ff02::2', **more: Any) -> Frame:
    """Return a router solicitation."""
    return eth(src, '33:33:00:00:00:02') / IPv6(src=ip or src.ll, dst=dst, hlim=255) / (
        ICMPv6ND_RS(**more))


def discover(src: Any, ip: str = '0.0.0.0', dst: str = '255.255.255.255', mac: Any = ALL) -> Frame:
    """Return a DHCPv4 discover."""
    return eth(src, mac) / IP(src=ip, dst=dst) / UDP(sport=68, dport=67) / BOOTP(
        chaddr=bytes.fromhex(src.mac.replace(':', ''))) / DHCP(
            options=[('message-type', 'discover'), 'end'])


def offer(src: Any, dst: Any, mac: Any = ALL, ip: str = '', ip_dst: str = '255.255.255.255',
          sport: int = 67) -> Frame:
    """Return a DHCPv4 offer."""
    return eth(src, mac) / IP(src=ip or src.ip, dst=ip_dst) / UDP(sport=sport, dport=68) / BOOTP(
        op=2, yiaddr=dst.ip, chaddr=bytes.fromhex(dst.mac.replace(':', ''))) / DHCP(
            options=[('message-type', 'offer'), ('router', src.ip), 'end'])


def solicit6(src: Any, ip: str = '', dst: str = 'ff02::1:2',
             mac: Any = '33:33:00:01:00:02') -> Frame:
    """Return a DHCPv6 solicit."""
    return eth(src, mac) / IPv6(src=ip or src.ll, dst=dst) / UDP(sport=546, dport=547) / (
        DHCP6_Solicit(trid=7))


def advertise6(src: Any, dst: Any, ip: str = '', mac: Any = None, ip_dst: str = '') -> Frame:
    """Return a DHCPv6 advertise."""
    return eth(src, mac or dst) / IPv6(src=ip or src.ll, dst=ip_dst or dst.ll) / UDP(
        sport=547, dport=546) / DHCP6_Advertise(trid=7)


def split4(packet: Frame, size: int = 24, **more: Any) -> List[Frame]:
    """Return an IPv4 packet in fragments."""
    header, data = packet[IP], bytes(packet[IP].payload)
    size -= size % 8
    out = []
    for at in range(0, len(data), size):
        last = at + size >= len(data)
        out.append(Ether(src=packet.src, dst=packet.dst) / IP(
            src=header.src, dst=header.dst, proto=header.proto, id=4711, frag=at // 8,
            flags='' if last else 'MF', **more) / data[at:at + size])
    return out


def split6(packet: Frame, size: int = 24, extra: Any = None) -> List[Frame]:
    """Return an IPv6 packet in fragments, `extra` headers inside of the fragmentable part."""
    header = packet[IPv6]
    bytes(packet)       # fills checksums in
    kind = IPv6(bytes(header)).nh
    data = bytes(IPv6(bytes(header)).payload)
    if extra is not None:
        inner = extra.copy()
        inner.nh = kind
        data, kind = bytes(inner) + data, extra_number(extra)
    size -= size % 8
    out = []
    for at in range(0, len(data), size):
        last = at + size >= len(data)
        out.append(Ether(src=packet.src, dst=packet.dst) / IPv6(
            src=header.src, dst=header.dst, hlim=header.hlim, nh=44) / IPv6ExtHdrFragment(
                nh=kind, id=4711, offset=at // 8, m=int(not last)) / Raw(data[at:at + size]))
    return out


def extra_number(header: Any) -> int:
    """Return the protocol number of an extension header."""
    return {IPv6ExtHdrHopByHop: 0, IPv6ExtHdrRouting: 43, IPv6ExtHdrDestOpt: 60}[type(header)]


def behind(packet: Frame, *headers: Any) -> Frame:
    """Return an IPv6 packet with extension headers before its payload."""
    whole = Ether(bytes(packet))
    payload, base = whole[IPv6].payload, whole[IPv6].copy()
    kind = base.nh
    base.remove_payload()
    base.plen = None
    chain = [header.copy() for header in headers]
    numbers = [44 if isinstance(header, IPv6ExtHdrFragment) else extra_number(header)
               for header in chain] + [kind]
    base.nh = numbers[0]
    frame = eth(whole.src, whole.dst) / base
    for header, following in zip(chain, numbers[1:]):
        header.nh = following
        frame /= header
    return frame / Raw(bytes(payload))


def dst_opt(size: int = 4) -> Any:
    """Return a destination options header with padding of `size` bytes."""
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=b'\0' * size)])


def tagged(frame: Frame, *vids: int, kind: int = 0x8100, prio: int = 0) -> bytes:
    """Return a frame with VLAN tags, the outer one of `kind`."""
    raw, tags = bytes(frame), b''
    for at, vid in enumerate(vids):
        tpid = kind if at == 0 else 0x8100
        tags += tpid.to_bytes(2, 'big') + (prio << 13 | vid).to_bytes(2, 'big')
    return raw[:12] + tags + raw[12:]


def typed(src: Any, dst: Any, kind: int, data: bytes = b'odd') -> Frame:
    """Return a frame of any ethertype."""
    return eth(src, dst, type=kind) / Raw(data)
