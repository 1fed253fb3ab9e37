"""Frames nobody has thought of: legal ones between parties, with one or two things changed.

A frame is described by a Sketch, which prints as the Python that builds it again,
so that a failure can be replayed and shrunk, one change less at a time.
"""
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

from hypothesis import strategies as st

from support.packets.frames import (ALL, ARP, ICMP, IP, NOBODY, TCP, UDP, Ether, ICMPv6EchoRequest,
                                    ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_Redirect,
                                    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig,
                                    IPOption, IPv6, Raw, advertise6, arp, discover, eth, is_at, na,
                                    ns, offer, ping, ping6, ra, rs, solicit6, split4, split6, tcp,
                                    tcp6, udp, udp6, who_has)
from support.packets.oracle import IPV6, PARTIES, Oracle
from support.packets.shared_network import Who

Change = Tuple[str, Any]


class Sketch(NamedTuple):
    """Where a frame leaves from, what it was when it was legal, and what is changed."""

    sender: str         # the port that it really comes from
    kind: str
    src: str
    dst: str
    changes: Tuple[Change, ...] = ()

    def __repr__(self) -> str:
        return 'Sketch(%s)' % ', '.join(map(repr, self))


KINDS: Mapping[str, Callable[[Who, Who], Any]] = {
    'ARP request': who_has, 'ARP reply': is_at,
    'ARP to one': lambda a, b: arp(a, 1, a.ip, b.ip, b),
    'ARP probe': lambda a, b: arp(a, 1, '0.0.0.0', a.ip),
    'gratuitous ARP': lambda a, b: arp(a, 1, a.ip, a.ip),
    'gratuitous reply': lambda a, b: arp(a, 2, a.ip, a.ip),
    'NS': lambda a, b: ns(a, b.ip6), 'NS to one': lambda a, b: ns(a, b.ip6, b),
    'NS of link-local': lambda a, b: ns(a, b.ll, ip=a.ll),
    'NA': lambda a, b: na(a, a.ip6, b), 'NA aloud': lambda a, b: na(a, a.ip6),
    'NA of link-local': lambda a, b: na(a, a.ll, b, ip=a.ll),
    'DAD': lambda a, b: ns(a, a.ip6, ip='::', sll=False),
    'RS': lambda a, b: rs(a), 'RS unnamed': lambda a, b: rs(a, ip='::'),
    'RA': lambda a, b: ra(a), 'RA to one': lambda a, b: ra(a, b),
    'redirect': lambda a, b: eth(a, b) / IPv6(src=a.ll, dst=b.ip6, hlim=255) / ICMPv6ND_Redirect(
        tgt=a.ll, dst='2001:db8::1'),
    'ping': ping, 'ping6': ping6, 'UDP': udp, 'UDP6': udp6,
    'DNS': lambda a, b: udp(a, b, 4000, 53), 'DNS answer': lambda a, b: udp(a, b, 53, 4000),
    'DNS6': lambda a, b: udp6(a, b, 4000, 53), 'DNS6 answer': lambda a, b: udp6(a, b, 53, 4000),
    # what nobody has asked for, whatever was said before
    'unasked': lambda a, b: udp(a, b, 53, 4007), 'unasked6': lambda a, b: udp6(a, b, 53, 4007),
    'unasked range': lambda a, b: udp(a, b, 6005, 4007),
    'relay': lambda a, b: udp(a, b, 67, 67), 'from 67': lambda a, b: udp(a, b, 67, 4000),
    'SYN': lambda a, b: tcp(a, b, 4000, 22), 'SYN6': lambda a, b: tcp6(a, b, 4000, 22),
    'ACK': lambda a, b: tcp(a, b, 4000, 22, 'PA'), 'RST6': lambda a, b: tcp6(a, b, 80, 4000, 'R'),
    'SYN ACK': lambda a, b: tcp(a, b, 22, 4000, 'SA'), 'web': lambda a, b: tcp(a, b, 4000, 80),
    'link-local ping': lambda a, b: eth(a, b) / IPv6(src=a.ll, dst=b.ll) / ICMPv6EchoRequest(),
    'ICMP error': lambda a, b: eth(a, b) / IP(src=a.ip, dst=b.ip) / ICMP(type=3, code=4)
    / IP(src=b.ip, dst=a.ip) / UDP(),
    'ICMPv6 error': lambda a, b: eth(a, b) / IPv6(src=a.ip6, dst=b.ip6) / ICMPv6PacketTooBig()
    / IPv6(src=b.ip6, dst=a.ip6) / UDP(),
    'outside': lambda a, b: udp(a, b, dst='192.0.2.1'),
    'outside6': lambda a, b: udp6(a, b, dst='2001:db8::1'),
    'from outside': lambda a, b: tcp(a, b, 443, 4000, 'SA').__class__(bytes(
        eth(a, b) / IP(src='192.0.2.1', dst=b.ip) / TCP(sport=443, dport=4000, flags='SA'))),
    'from outside6': lambda a, b: udp6(a, b, src='2001:db8::1'),
    'discover': lambda a, b: discover(a), 'renewal': lambda a, b: udp(a, b, 68, 67),
    'offer': lambda a, b: offer(a, b), 'offer to one': lambda a, b: offer(a, b, b, ip_dst=b.ip),
    'solicit6': lambda a, b: solicit6(a), 'advertise6': advertise6,
    'renewal6': lambda a, b: udp6(a, b, 546, 547),
    'mDNS': lambda a, b: eth(a, '01:00:5e:00:00:fb') / IP(src=a.ip, dst='224.0.0.251', ttl=255)
    / UDP(sport=5353, dport=5353),
    'mDNS6': lambda a, b: eth(a, '33:33:00:00:00:fb') / IPv6(src=a.ll, dst='ff02::fb', hlim=255)
    / UDP(sport=5353, dport=5353),
    'broadcast': lambda a, b: eth(a, ALL) / IP(src=a.ip, dst='255.255.255.255') / UDP(dport=9),
    'MLD report': lambda a, b: eth(a, '33:33:00:00:00:16') / IPv6(
        src=a.ll, dst='ff02::16', hlim=1) / ICMPv6MLReport2(),
    'IGMP report': lambda a, b: eth(a, '01:00:5e:00:00:16') / IP(
        src=a.ip, dst='224.0.0.22', ttl=1, proto=2) / Raw(b'\x22\0' + bytes(14)),
    'first fragment': lambda a, b: split4(udp(a, b) / bytes(60))[0],
    'later fragment': lambda a, b: split4(udp(a, b) / bytes(60))[1],
    'first fragment6': lambda a, b: split6(udp6(a, b) / bytes(60))[0],
    'later fragment6': lambda a, b: split6(udp6(a, b) / bytes(60))[1],
}

# Names of fields: the layer, the field, the pool of values.
FIELDS: Mapping[str, Tuple[Any, str, str]] = {
    'eth.src': (Ether, 'src', 'mac'), 'eth.dst': (Ether, 'dst', 'mac'),
    'eth.type': (Ether, 'type', 'ethertype'),
    'arp.op': (ARP, 'op', 'op'), 'arp.sha': (ARP, 'hwsrc', 'mac'), 'arp.tha': (ARP, 'hwdst', 'mac'),
    'arp.spa': (ARP, 'psrc', 'ip'), 'arp.tpa': (ARP, 'pdst', 'ip'),
    'arp.hardware': (ARP, 'hwtype', 'ethertype'), 'arp.protocol': (ARP, 'ptype', 'ethertype'),
    'arp.hlen': (ARP, 'hwlen', 'small'), 'arp.plen': (ARP, 'plen', 'small'),
    'ip.src': (IP, 'src', 'ip'), 'ip.dst': (IP, 'dst', 'ip'), 'ip.ttl': (IP, 'ttl', 'ttl'),
    'ip.proto': (IP, 'proto', 'proto'), 'ip.frag': (IP, 'frag', 'small'),
    'ip.flags': (IP, 'flags', 'flags'), 'ip.len': (IP, 'len', 'length'),
    'ip.ihl': (IP, 'ihl', 'small'), 'ip.version': (IP, 'version', 'small'),
    'ip.options': (IP, 'options', 'options'),
    'ip6.src': (IPv6, 'src', 'ip6'), 'ip6.dst': (IPv6, 'dst', 'ip6'),
    'ip6.hlim': (IPv6, 'hlim', 'ttl'), 'ip6.nh': (IPv6, 'nh', 'proto'),
    'ip6.plen': (IPv6, 'plen', 'length'), 'ip6.version': (IPv6, 'version', 'small'),
    'udp.sport': (UDP, 'sport', 'port'), 'udp.dport': (UDP, 'dport', 'port'),
    'tcp.sport': (TCP, 'sport', 'port'), 'tcp.dport': (TCP, 'dport', 'port'),
    'tcp.flags': (TCP, 'flags', 'tcp'),
    'icmp.type': (ICMP, 'type', 'icmp'), 'icmp.code': (ICMP, 'code', 'small'),
    'ns.target': (ICMPv6ND_NS, 'tgt', 'ip6'), 'na.target': (ICMPv6ND_NA, 'tgt', 'ip6'),
    'ns.code': (ICMPv6ND_NS, 'code', 'small'), 'na.code': (ICMPv6ND_NA, 'code', 'small'),
    'sll': (ICMPv6NDOptSrcLLAddr, 'lladdr', 'mac'), 'tll': (ICMPv6NDOptDstLLAddr, 'lladdr', 'mac'),
}
# What is done to the bytes, in this order, when the fields are what they are.
BYTES = ('icmp6.type', 'icmp6.code', 'append', 'headers', 'tags', 'cut')
HEADERS = {'hop': (0, b'\0' * 6), 'destination': (60, b'\x01\x04' + b'\0' * 4),
           'routing': (43, b'\x04\0' + b'\0' * 4), 'atomic': (44, b'\0\0\0\0\x12\x67'),
           'more': (44, b'\0\x01\0\0\x12\x67'), 'later': (44, b'\0\x10\0\0\x12\x67'),
           'AH': (51, b'\0\0' + b'\0' * 20), 'endless': (60, None)}
EVERYBODY = tuple(PARTIES)


def macs() -> Tuple[str, ...]:
    """Return MAC addresses worth trying."""
    return tuple(mac for party in PARTIES.values() for mac in sorted(party.macs)) + (
        NOBODY, ALL, '00:00:00:00:00:00', '01:00:5e:00:00:01', '33:33:00:00:00:01',
        '33:33:ff:00:00:0c', '01:80:c2:00:00:00', '01:80:c2:00:00:0e', '03:00:00:00:00:01')


POOLS: Mapping[str, Sequence[Any]] = {
    'mac': macs(),
    'ip': tuple(party.who.ip for party in PARTIES.values()) + (
        '0.0.0.0', '255.255.255.255', '10.9.0.255', '10.9.0.200', '224.0.0.251', '224.0.0.22',
        '127.0.0.1', '192.0.2.1', '169.254.1.1', '240.0.0.1'),
    'ip6': tuple(address for party in PARTIES.values() for address in (party.who.ip6, party.who.ll))
    + ('::', '::1', 'ff02::1', 'ff02::2', 'ff02::16', 'ff02::1:ff00:c', 'fe80::77', 'fd00:9::200',
       '2001:db8::1', '::ffff:10.9.0.21'),
    'ethertype': (0x800, 0x86dd, 0x806, 0x8035, 0x88cc, 0x8847, 0x8864, 0x8100, 0x88a8, 40, 0, 1,
                  6),
    'op': (0, 1, 2, 3, 4, 8, 256), 'ttl': (0, 1, 64, 254, 255),
    'proto': (0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 112, 255),
    'small': (0, 1, 2, 3, 4, 5, 6, 8, 15), 'flags': ('MF', 'DF', 'evil'),
    'length': (0, 8, 20, 24, 27, 28, 40, 2000),
    'options': (b'\x83\x07\x04\x0a\x09\x00\x15', b'\x94\x04\0\0', b'\x01' * 40),
    'port': (0, 22, 53, 67, 68, 80, 443, 546, 547, 4000, 4001, 5353, 6000, 6011, 8003, 8004),
    'tcp': ('', 'S', 'A', 'SA', 'R', 'F', 'FPU'),
    'icmp': (0, 3, 5, 8, 9, 10, 11, 12, 13, 40),
    'icmp6.type': (1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 139, 143, 151,
                   200),
    'icmp6.code': (1, 255),
    'append': (b'\x01\x01\x02\x00\x00\x00\x00\x15', b'\x02\x01\x02\x00\x00\x00\x00\x15',
               b'\x01\x00' + b'\x02' * 6, b'\x0e\x01' + bytes(6), b'\x05\x01\0\0\0\0\x05\xdc'),
    'headers': tuple((name,) for name in HEADERS) + (
        ('hop', 'destination'), ('destination', 'atomic', 'destination'), ('destination',) * 10,
        ('hop', 'more'), ('later', 'destination'), ('atomic', 'hop')),
    'tags': (((0x8100, 0),), ((0x8100, 120),), ((0x8100, 1),), ((0x8100, 4095),), ((0x88a8, 0),),
             ((0x88a8, 120),), ((0x8100, 0), (0x8100, 0)), ((0x8100, 0), (0x8100, 120)),
             ((0x9100, 0),), ((0x8100, 0xe000),)),
    'cut': (14, 15, 20, 33, 34, 38, 42, 53, 54, 58, 62, 70),
}


def build(sketch: Sketch) -> bytes:
    """Return the frame."""
    frame = KINDS[sketch.kind](PARTIES[sketch.src].who, PARTIES[sketch.dst].who)
    for name, value in sketch.changes:
        if name in FIELDS and frame.haslayer(FIELDS[name][0]):
            frame[FIELDS[name][0]].setfieldval(
                FIELDS[name][1], [IPOption(value)] if name == 'ip.options' else value)
    raw = bytes(frame)
    for name in BYTES:
        for change, value in sketch.changes:
            if change == name:
                raw = _change_bytes(raw, name, value)
    return raw


def _change_bytes(raw: bytes, name: str, value: Any) -> bytes:
    if name == 'tags':
        return raw[:12] + b''.join(kind.to_bytes(2, 'big') + tag.to_bytes(2, 'big')
                                   for kind, tag in value) + raw[12:]
    if name == 'cut':
        return raw[:value]
    if len(raw) < 58 or raw[12:14] != IPV6.to_bytes(2, 'big'):
        return raw
    if name in ('icmp6.type', 'icmp6.code'):
        at = 54 if name == 'icmp6.type' else 55
        return raw[:at] + bytes([value]) + raw[at + 1:] if raw[20] == 58 else raw
    if name == 'append':
        return _resized(raw[:54], raw[54:] + value) if raw[20] == 58 else raw
    return _with_headers(raw, value)


def _with_headers(raw: bytes, names: Sequence[str]) -> bytes:
    following, data = raw[20], raw[54:]
    for name in reversed(names):
        number, body = HEADERS[name]
        if body is None:        # says that it is longer than the packet
            data = bytes([following, 200]) + bytes(6) + data
        else:
            size = 4 if number == 51 else 0
            data = bytes([following, size]) + body + data
        following = number
    return _resized(raw[:20] + bytes([following]) + raw[21:54], data)


def _resized(header: bytes, data: bytes) -> bytes:
    return header[:18] + len(data).to_bytes(2, 'big') + header[20:] + data


def changeable(kind: str) -> Tuple[str, ...]:
    """Return what of a kind of frame can be changed."""
    frame = KINDS[kind](PARTIES['red1'].who, PARTIES['red2'].who)
    fields = [name for name, (layer, _, _) in FIELDS.items() if frame.haslayer(layer)]
    more = ['tags', 'cut']
    if frame.haslayer(IPv6):
        more += ['headers'] + ['icmp6.type', 'icmp6.code', 'append'] * (
            bytes(frame)[20:21] == b'\x3a')
    return tuple(fields + more)


CHANGEABLE = {kind: changeable(kind) for kind in KINDS}


def pool(name: str) -> Sequence[Any]:
    """Return values worth trying."""
    return POOLS[FIELDS[name][2]] if name in FIELDS else POOLS[name]


def friends(present: Sequence[str]) -> Dict[str, Tuple[str, ...]]:
    """Return with whom each has something to say."""
    oracle = Oracle(set(present))
    return {src: tuple(dst for dst in present if dst != src and any(
        oracle.rule(src, build(Sketch(src, kind, src, dst))).must for kind in ('SYN', 'web', 'NA')))
        for src in present}


@st.composite
def sketches(draw: Any, present: Sequence[str], peers: Mapping[str, Sequence[str]]) -> Sketch:
    """Draw a frame between two who are there, mostly peers, mostly out of the port of the first."""
    src = draw(st.sampled_from(present))
    dst = draw(st.sampled_from((tuple(peers[src]) * len(present) + tuple(present))[:2 * len(
        present)] if draw(st.booleans()) else tuple(present)))
    kind = draw(st.sampled_from(tuple(KINDS)))
    number = draw(st.sampled_from((0, 1, 1, 1, 2, 2)))
    names = draw(st.lists(st.sampled_from(CHANGEABLE[kind]), min_size=number, max_size=number,
                          unique=True))
    changes = tuple((name, draw(st.sampled_from(pool(name)))) for name in names)
    sender = draw(st.sampled_from((src,) * 5 + (draw(st.sampled_from(present)),)))
    return Sketch(sender, kind, src, dst, changes)


def fewer(sketch: Sketch) -> Iterator[Sketch]:
    """Yield the sketches that are one change simpler."""
    for at in range(len(sketch.changes)):
        yield sketch._replace(changes=sketch.changes[:at] + sketch.changes[at + 1:])
    if sketch.sender != sketch.src:
        yield sketch._replace(sender=sketch.src)
