"""What must not get through: the attacker is root in a guest, with a friend beside it.

Each family is a function from the parties to rows. Where not said otherwise
nobody at all may see the frame, for nobody needs it.
"""
from itertools import chain
from typing import Any, Callable, Iterator, List, Mapping

from support.packets.rows import Case, attack
from support.packets.frames import (ALL, ARP, ICMP, IGMP, IP, LLC, NOBODY, SNAP, STP, UDP, Dot3,
                                    ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_Redirect,
                                    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPOption, IPv6,
                                    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Raw,
                                    advertise6, arp, behind, discover, dst_opt, eth, is_at, na, ns,
                                    offer, ping, ping6, ra, rrq, rs, sctp, sctp6, solicit6,
                                    split4, split6, tagged, tcp, tcp6, typed, udp, udp6, who_has)
from support.packets.shared_network import Who

Parties = Mapping[str, Who]
Row = Callable[..., Case]
OUTSIDE, OUTSIDE6 = '192.0.2.1', '2001:db8::1'
UNMANAGED = ('un', 'evil', 'locked', 'locked2', 'dom0', 'uplink')


def said_by_both(family: Callable[..., Iterator[Case]]) -> Callable[[Parties], Iterator[Case]]:
    """Have a managed sender of each kind say it, who may talk to `peer` and not to `other`."""
    def rows(w: Parties) -> Iterator[Case]:
        for sender, peer, other in (('red1', 'red2', 'blue1'), ('locked', 'un', 'locked2')):
            def row(what: str, *frames: Any, **more: Any) -> Case:
                return attack('%s %s' % (sender, what), sender, *frames, **more)
            yield from family(row, w, w[sender], w[peer], w[other])
    return rows


def together(*families: Callable[[Parties], Iterator[Case]]) -> Callable[[Parties], Iterator[Case]]:
    """Return one family of several."""
    return lambda w: chain.from_iterable(family(w) for family in families)


@said_by_both
def forged_macs(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """The Ethernet source is somebody else."""
    yield row('foreign MAC', eth(other, peer) / ping(me, peer)[IP])
    yield row('MAC of nobody', eth(NOBODY, peer) / ping(me, peer)[IP])
    yield row('MAC of the gateway', eth(w['gw'], peer) / ping(me, peer)[IP])
    yield row('MAC of the peer', eth(peer, peer) / ping(me, peer)[IP])
    yield row('multicast MAC as source', eth('03:00:00:00:00:01', peer) / ping(me, peer)[IP])
    yield row('broadcast MAC as source', eth(ALL, peer) / ping(me, peer)[IP])
    yield row('MAC of zeros', eth('00:00:00:00:00:00', peer) / ping(me, peer)[IP])


@said_by_both
def forged_addresses(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """The IP source is somebody else."""
    for what, ip, ip6 in (
            ('of a peer', peer.ip, peer.ip6), ('of a stranger', other.ip, other.ip6),
            ('of nobody inside', '10.9.0.200', 'fd00:9::200'),
            ('of the gateway', w['gw'].ip, w['gw'].ip6), ('outside', OUTSIDE, OUTSIDE6),
            ('unspecified', '0.0.0.0', '::'), ('loopback', '127.0.0.1', '::1'),
            ('broadcast, multicast', '255.255.255.255', 'ff02::1'),
            ('of a remote member', w['redfar'].ip, w['redfar'].ip6),
            ('link-local', '169.254.1.1', 'fe80::1')):
        yield row('IPv4 ' + what, udp(me, peer, src=ip))
        yield row('IPv6 ' + what, udp6(me, peer, src=ip6))
    yield row('IPv6 link-local of the peer', udp6(me, peer, src=peer.ll))
    yield row('foreign MAC aloud', eth(other, ALL) / IP(
        src=me.ip, dst='255.255.255.255') / UDP())
    yield row('foreign IPv4 aloud', udp(me, peer, src=other.ip, dst='10.9.0.255'),
              eth(me, ALL) / IP(src=other.ip, dst='255.255.255.255') / UDP())


@said_by_both
def forged_arp(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """ARP claims what is somebody else's."""
    yield row('ARP request, foreign sender IP', arp(me, 1, other.ip, peer.ip))
    yield row('ARP request, foreign sender MAC', arp(me, 1, me.ip, peer.ip, sha=other.mac))
    yield row('ARP request, foreign Ethernet MAC',
              eth(other, ALL) / ARP(op=1, hwsrc=me.mac, psrc=me.ip, pdst=peer.ip))
    yield row('ARP reply, foreign sender IP', is_at(me, peer, other.ip))
    yield row('ARP reply, the gateway', is_at(me, peer, w['gw'].ip))
    yield row('ARP reply, the peer itself', is_at(me, peer, peer.ip))
    yield row('ARP reply, foreign sender MAC', is_at(me, peer, sha=other.mac))
    yield row('ARP reply, sender 0.0.0.0', is_at(me, peer, '0.0.0.0'))
    yield row('ARP reply aloud, foreign', arp(me, 2, other.ip, other.ip))
    yield row('gratuitous ARP, foreign', arp(me, 1, other.ip, other.ip))
    yield row('gratuitous ARP, gateway', arp(me, 1, w['gw'].ip, w['gw'].ip))
    yield row('gratuitous ARP, target of zeros', arp(me, 1, other.ip, '0.0.0.0'))
    yield row('ARP probe for a stranger', arp(me, 1, '0.0.0.0', other.ip))
    yield row('ARP probe for a peer', arp(me, 1, '0.0.0.0', peer.ip))
    yield row('ARP probe for the gateway', arp(me, 1, '0.0.0.0', w['gw'].ip))
    yield row('ARP of everybody', arp(me, 1, '255.255.255.255', peer.ip))


@said_by_both
def odd_arp(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """ARP of kinds that nobody needs."""
    for op in (0, 3, 4, 8, 9, 256):
        yield row('ARP operation %d' % op, arp(me, op, me.ip, peer.ip))
    yield row('RARP', eth(me, ALL, type=0x8035) / ARP(op=3, hwsrc=me.mac, hwdst=me.mac))
    yield row('RARP reply', eth(me, ALL, type=0x8035) / ARP(op=4, hwsrc=me.mac, psrc=other.ip))
    yield row('ARP, 8-byte MACs', eth(me, ALL, type=0x806) / Raw(
        bytes.fromhex('0001080008040001') + bytes(24)))
    yield row('ARP, other hardware', eth(me, ALL) / ARP(hwtype=6, op=1, hwsrc=me.mac,
                                                        psrc=other.ip, pdst=peer.ip))
    yield row('ARP, other protocol', eth(me, ALL) / ARP(ptype=0x86dd, op=1, hwsrc=me.mac,
                                                        psrc=other.ip, pdst=peer.ip))
    yield row('ARP cut short', eth(me, ALL, type=0x806) / Raw(
        bytes(ARP(op=1, hwsrc=me.mac, psrc=other.ip, pdst=peer.ip))[:20]), quiet=True)


@said_by_both
def dhcp_exemption(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """What a client without an address may say is no way around that."""
    yield row('0.0.0.0 to a server that is named', discover(me, dst='10.9.0.254', mac=w['gw']))
    yield row('DHCP of another IP', discover(me, ip=other.ip))
    yield row('0.0.0.0 to another port', eth(me, ALL) / IP(
        src='0.0.0.0', dst='255.255.255.255') / UDP(sport=68, dport=69))
    yield row('0.0.0.0 from another port', eth(me, ALL) / IP(
        src='0.0.0.0', dst='255.255.255.255') / UDP(sport=69, dport=67))
    yield row('DHCP with a foreign MAC', eth(other, ALL) / discover(me)[IP])
    yield row('DHCP in a fragment', split4(discover(me), 64))


@said_by_both
def solicitations(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Forged neighbour solicitations."""
    for aloud, dst in (('', peer), (' aloud', None)):
        to = {'dst': dst} if dst else {}
        yield row('NS%s, foreign source' % aloud, ns(me, peer.ip6, ip=other.ip6, **to))
        yield row('NS%s, foreign link-local' % aloud, ns(me, peer.ip6, ip=other.ll, **to))
        yield row('NS%s, foreign SLLA' % aloud, ns(me, peer.ip6, sll=other.mac, **to))
        yield row('NS%s, hop limit 254' % aloud, ns(me, peer.ip6, hlim=254, **to))
        yield row('NS%s, hop limit 0' % aloud, ns(me, peer.ip6, hlim=0, **to))
        yield row('NS%s, code 1' % aloud, ns(me, peer.ip6, code=1, **to))
        yield row('NS%s, two SLLAs' % aloud, ns(me, peer.ip6, **to) / ICMPv6NDOptSrcLLAddr(
            lladdr=other.mac))
        yield row('NS%s, two SLLAs, first foreign' % aloud, ns(
            me, peer.ip6, sll=other.mac, **to) / ICMPv6NDOptSrcLLAddr(lladdr=me.mac))


@said_by_both
def advertisements(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Forged neighbour advertisements."""
    for aloud, dst in (('', peer), (' aloud', None)):
        to = {'dst': dst} if dst else {}
        yield row('NA%s, foreign target' % aloud, na(me, other.ip6, **to))
        yield row('NA%s, target is the gateway' % aloud, na(me, w['gw'].ip6, **to))
        yield row('NA%s, target is the gateway link-local' % aloud, na(me, w['gw'].ll, **to))
        yield row('NA%s, foreign source' % aloud, na(me, me.ip6, ip=other.ip6, **to))
        yield row('NA%s, source and target foreign' % aloud, na(me, other.ip6, ip=other.ip6,
                                                                **to))
        yield row('NA%s, unspecified source' % aloud, na(me, me.ip6, ip='::', **to))
        yield row('NA%s, foreign TLLA' % aloud, na(me, me.ip6, tll=other.mac, **to))
        yield row('NA%s, foreign target, no TLLA' % aloud, na(me, other.ip6, tll=False, **to))
        yield row('NA%s, hop limit 64' % aloud, na(me, me.ip6, hlim=64, **to))
        yield row('NA%s, code 3' % aloud, na(me, me.ip6, code=3, **to))
        yield row('NA%s, two TLLAs' % aloud, na(me, me.ip6, **to) / ICMPv6NDOptDstLLAddr(
            lladdr=other.mac))
        yield row('NA%s, target ::' % aloud, na(me, '::', **to))


@said_by_both
def routers(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """A guest plays the router."""
    for aloud, dst in (('', peer), (' aloud', None)):
        to = {'dst': dst} if dst else {}
        yield row('RA%s' % aloud, ra(me, **to))
        yield row('RA%s, as the gateway' % aloud, ra(me, ip=w['gw'].ll, **to))
        yield row('RA%s, hop limit, code' % aloud, ra(me, code=1, **to))
        yield row('redirect%s' % aloud, eth(me, dst or '33:33:00:00:00:01') / IPv6(
            src=me.ll, dst=dst.ip6 if dst else 'ff02::1', hlim=255) / ICMPv6ND_Redirect(
                tgt=me.ll, dst=OUTSIDE6))


@said_by_both
def odd_solicitations(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Detection of duplicates, and solicitations of routers, for others."""
    yield row('DAD for a stranger', ns(me, other.ip6, ip='::', sll=False))
    yield row('DAD for a peer', ns(me, peer.ip6, ip='::', sll=False))
    yield row('DAD with SLLA', ns(me, me.ip6, ip='::'))
    yield row('NS with foreign MAC', eth(other, peer) / ns(me, peer.ip6, peer)[IPv6])
    yield row('RS, foreign source', rs(me, ip=other.ll))
    yield row('RS, hop limit 1', eth(me, '33:33:00:00:00:02') / IPv6(
        src=me.ll, dst='ff02::2', hlim=1) / rs(me)[IPv6].payload)
    yield row('RS, code 1', rs(me, code=1))
    yield row('RS from :: to all nodes', rs(me, ip='::', dst='ff02::1'))
    yield row('RS from :: to a peer', eth(me, peer) / IPv6(src='::', dst=peer.ip6, hlim=255)
              / rs(me)[IPv6].payload)


@said_by_both
def icmp6_types(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Types of ICMPv6 that no guest needs."""
    for kind in (137, 138, 139, 140, 141, 142, 144, 145, 147, 148, 151, 152, 153, 155, 200,
                 255, 0, 5, 100, 127):
        yield row('ICMPv6 type %d' % kind, eth(me, peer) / IPv6(
            src=me.ip6, dst=peer.ip6, hlim=255, nh=58) / Raw(bytes([kind, 0]) + bytes(30)))


def limits(w: Parties) -> Iterator[Case]:
    """What passes although it is odd, for the switch cannot see it; no receiver falls for it.

    RFC 4861 tells receivers to discard a message whose option has no length, and
    an Ethernet link-layer option of another length than 1 is malformed to them.
    """
    red1, red2 = w['red1'], w['red2']
    for what, option in (('of length 0', b'\x01\x00' + b'\x02' * 6),
                         ('longer than the message', b'\x01\x09' + b'\x02' * 6),
                         ('of length 2', b'\x01\x02' + b'\x02' * 14),
                         ('of the other kind', b'\x02\x01' + b'\x02' * 6)):
        yield attack('NS with an option ' + what, 'red1', ns(red1, red2.ip6, red2, sll=False)
                     / Raw(option), may='red2')
    yield attack('NA with a source option', 'red1', na(red1, red1.ip6, red2, tll=False)
                 / Raw(b'\x01\x01' + b'\x02' * 6), may='red2')
    yield attack('DHCP offer in unicast fragments', 'red1', split4(offer(
        red1, red2, red2, ip_dst=red2.ip), 64), may='red2')
    yield attack('RS with a foreign option', 'red1', rs(red1) / Raw(b'\x01\x01' + b'\x02' * 6),
                 may='uplink')


@said_by_both
def hidden(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """What must not be sent, behind extension headers and in fragments."""
    for name, frame in (('RA', ra(me, peer)), ('RA aloud', ra(me)),
                        ('NA', na(me, other.ip6, peer)), ('NA aloud', na(me, other.ip6)),
                        ('NS', ns(me, peer.ip6, peer, sll=other.mac)),
                        ('MLD query', eth(me, '33:33:00:00:00:01') / IPv6(
                            src=me.ll, dst='ff02::1', hlim=1, nh=58) / Raw(
                                bytes([130, 0]) + bytes(22)))):
        yield row('%s behind hop-by-hop' % name, behind(frame, IPv6ExtHdrHopByHop()))
        yield row('%s behind destination options' % name, behind(frame, dst_opt()))
        yield row('%s behind routing' % name, behind(frame, IPv6ExtHdrRouting(type=4,
                                                                             segleft=0)))
        yield row('%s behind ten headers' % name, behind(frame, *[dst_opt()] * 10))
        yield row('%s in an atomic fragment' % name, behind(frame, IPv6ExtHdrFragment(m=0)))
        yield row('%s behind options and an atomic fragment' % name, behind(
            frame, dst_opt(), IPv6ExtHdrFragment(m=0), dst_opt()))
        yield row('%s in fragments' % name, split6(frame, 16), may=()
                  if name.endswith('aloud') or name == 'MLD query' else
                  (peer.name,))     # the first must not arrive, and that is the next row
        yield row('%s in a first fragment' % name, split6(frame, 16)[0])
        yield row('%s in one fragment with more to come' % name, behind(
            frame, IPv6ExtHdrFragment(m=1)))
        yield row('%s in a fragment, its header in the next' % name,
                  split6(frame, 16, dst_opt(30))[0])
        yield row('%s, headers cut off by the fragment' % name, split6(frame, 8,
                                                                     dst_opt(62))[0])


@said_by_both
def malformed(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Headers that do not fit their packet."""
    yield row('options longer than the packet', eth(me, peer) / IPv6(
        src=me.ip6, dst=peer.ip6, nh=60, plen=8) / Raw(b'\x3a\x08' + bytes(6)))
    yield row('chain ends in the middle of a header', eth(me, peer) / IPv6(
        src=me.ip6, dst=peer.ip6, nh=60, plen=1) / Raw(b'\x3a'))
    # the kernel's datapath reads addresses of a packet that was cut off; user space does not
    yield row('payload longer than the frame', eth(me, peer) / IPv6(
        src=me.ip6, dst=peer.ip6, nh=17, plen=9000) / UDP(), may=(peer.name,))
    yield row('IPv6 cut short', bytes(udp6(me, peer))[:40], quiet=True)
    yield row('IPv4 cut short', bytes(udp(me, peer))[:30], quiet=True)
    yield row('IPv4 longer than the frame', udp(me, peer, len=9000), may=(peer.name,))
    yield row('IPv4 longer than the frame, foreign', udp(me, peer, len=9000, src=other.ip))
    yield row('payload longer than the frame, foreign', eth(me, peer) / IPv6(
        src=other.ip6, dst=peer.ip6, nh=17, plen=9000) / UDP())
    yield row('IPv4 header longer than the frame', eth(me, peer) / Raw(
        b'\x4f' + bytes(IP(src=me.ip, dst=peer.ip, len=24))[1:] + b'xxxx'))
    yield row('IPv4 header of 16 bytes', eth(me, peer) / Raw(
        b'\x44' + bytes(IP(src=me.ip, dst=peer.ip))[1:20] + b'1234'))


@said_by_both
def fragments(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Fragments of what must not be sent whole."""
    yield row('fragments from a foreign IP', split4(udp(me, peer, src=other.ip), 8))
    yield row('later fragment alone, foreign', split4(udp(me, peer, src=other.ip), 8)[-1])
    yield row('later IPv6 fragment alone, foreign', split6(udp6(
        me, peer, src=other.ip6), 8)[-1])
    yield row('fragments aloud', split4(eth(me, ALL) / IP(
        src=me.ip, dst='255.255.255.255') / UDP() / b'something', 8))
    yield row('IPv6 fragments aloud', split6(eth(me, '33:33:00:00:00:01') / IPv6(
        src=me.ip6, dst='ff02::1') / UDP() / b'something', 8))
    yield row('IPv4 in an IPv6 frame', eth(me, peer, type=0x86dd) / Raw(
        bytes(udp(me, peer)[IP])))
    yield row('IPv6 in an IPv4 frame', eth(me, peer, type=0x800) / Raw(
        bytes(udp6(me, peer)[IPv6])))


@said_by_both
def dhcp_servers(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """A guest plays the DHCP server, or asks as somebody else."""
    yield row('DHCP offer', offer(me, peer, peer, ip_dst=peer.ip))
    yield row('DHCP offer aloud', offer(me, peer))
    yield row('DHCP offer as the gateway', offer(w['gw'], peer), eth(me, ALL) / offer(
        w['gw'], peer)[IP])
    yield row('DHCP offer from another port', offer(me, peer, peer, ip_dst=peer.ip, sport=4000))
    yield row('DHCP relay to a server', udp(me, peer, 67, 67))
    yield row('from port 67 to any', udp(me, peer, 67, 4000))
    yield row('DHCPv6 advertise', advertise6(me, peer), advertise6(me, peer, ip=me.ip6))
    yield row('DHCPv6 advertise aloud', advertise6(me, peer, mac='33:33:00:00:00:01',
                                                    ip_dst='ff02::1'))
    yield row('DHCPv6 from 547 to any', udp6(me, peer, 547, 4000))
    yield row('DHCPv6 relay', udp6(me, peer, 547, 547))
    yield row('DHCPv6 to the client port', udp6(me, peer, 4000, 546))
    yield row('DHCPv6 from ::', solicit6(me, ip='::'))
    yield row('DHCPv6 from a foreign link-local', solicit6(me, ip=peer.ll))


def rogues(w: Parties) -> Iterator[Case]:
    """Unmanaged servers and routers, and who may hear a client."""
    red1, un = w['red1'], w['un']
    yield attack('discover is for the uplink only', 'red1', discover(red1), seen_by='uplink')
    yield attack('solicit is for the uplink only', 'red1', solicit6(red1), seen_by='uplink')
    for victim in ('red1', 'blue1', 'svc1'):
        to = w[victim]
        yield attack('un offers DHCP to ' + victim, 'un', offer(un, to, to, ip_dst=to.ip),
                     offer(w['gw'], to, to))
        yield attack('un advertises DHCPv6 to ' + victim, 'un', advertise6(un, to),
                     advertise6(un, to, ip=un.ip6, ip_dst=to.ip6))
        yield attack('un advertises routes to ' + victim, 'un', ra(un, to), ra(un, to, ip=un.ip6))
        yield attack('un redirects ' + victim, 'un', eth(un, to) / IPv6(
            src=un.ip6, dst=to.ip6, hlim=255) / ICMPv6ND_Redirect(tgt=un.ll, dst=OUTSIDE6),
            eth(un, to) / IP(src=un.ip, dst=to.ip) / ICMP(type=5, code=1, gw=un.ip)
            / IP(src=to.ip, dst=OUTSIDE) / UDP())
    yield attack('un offers DHCP aloud', 'un', offer(un, red1), seen_by=('evil', 'locked',
                 'locked2', 'dom0', 'uplink'))
    yield attack('un advertises routes aloud', 'un', ra(un), seen_by=(
        'evil', 'locked', 'locked2', 'dom0', 'uplink'))


def dhcp_queries(w: Parties) -> Iterator[Case]:
    """Queries to whom a client must not ask, and past the gateway."""
    red1, un = w['red1'], w['un']
    yield attack('DHCP query to an unmanaged neighbour', 'red1', udp(red1, un, 68, 67),
                 may='uplink')
    yield attack('DHCP query to a locked neighbour', 'red1', udp(red1, w['locked'], 68, 67))
    yield attack('DHCP query to a stranger', 'red1', udp(red1, w['blue1'], 68, 67))
    yield attack('DHCPv6 query to an unmanaged neighbour', 'red1', udp6(red1, un, 546, 547),
                 may='uplink')
    yield attack('DHCPv6 query to a stranger', 'red1', udp6(red1, w['blue1'], 546, 547))
    yield attack('DHCP query leaves through the gateway', 'red2', udp(
        w['red2'], w['gw'], 68, 67, dst=OUTSIDE))
    yield attack('DHCPv6 query leaves through the gateway', 'red2', udp6(
        w['red2'], w['gw'], 546, 547, dst=OUTSIDE6))
    yield attack('neighbour solicitation leaves through the gateway', 'red2', ns(
        w['red2'], w['gw'].ip6, w['gw'], ip_dst=OUTSIDE6))
    yield attack('solicitation of myself leaves through the gateway', 'red2', ns(
        w['red2'], w['red2'].ip6, w['gw'], ip_dst=OUTSIDE6))
    yield attack('solicitation of a link-local leaves through the gateway', 'red2', ns(
        w['red2'], 'fe80::1', w['gw'], ip_dst=OUTSIDE6))
    yield attack('solicitation aloud leaves through the gateway', 'red2', ns(
        w['red2'], w['gw'].ip6, ip_dst=OUTSIDE6))
    yield attack('advertisement leaves through the gateway', 'red2', na(
        w['red2'], w['red2'].ip6, w['gw'], ip_dst=OUTSIDE6))


@said_by_both
def queriers(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """A guest plays the querier, or joins as somebody else."""
    for version, data in ((1, bytes([130, 0]) + bytes(22)), (2, bytes([130, 0]) + bytes(26))):
        yield row('MLDv%d query' % version, eth(me, '33:33:00:00:00:01') / IPv6(
            src=me.ll, dst='ff02::1', hlim=1, nh=58) / Raw(data))
    yield row('MLD query from ::', eth(me, '33:33:00:00:00:01') / IPv6(
        src='::', dst='ff02::1', hlim=1, nh=58) / Raw(bytes([130, 0]) + bytes(22)))
    yield row('MLD report from :: to a peer', eth(me, peer) / IPv6(
        src='::', dst=peer.ip6, hlim=1) / ICMPv6MLReport2())
    yield row('MLD report from a foreign link-local', eth(me, '33:33:00:00:00:16') / IPv6(
        src=peer.ll, dst='ff02::16', hlim=1) / ICMPv6MLReport2())
    yield row('IGMP query', eth(me, '01:00:5e:00:00:01') / IP(
        src=me.ip, dst='224.0.0.1', ttl=1) / IGMP(type=0x11))
    yield row('IGMP query to a peer', eth(me, peer) / IP(
        src=me.ip, dst=peer.ip, ttl=1) / IGMP(type=0x11))
    yield row('IGMP query from 0.0.0.0', eth(me, '01:00:5e:00:00:01') / IP(
        src='0.0.0.0', dst='224.0.0.1', ttl=1) / IGMP(type=0x11))
    yield row('IGMPv2 report from a foreign IP', eth(me, '01:00:5e:01:02:03') / IP(
        src=peer.ip, dst='239.1.2.3', ttl=1) / IGMP(type=0x16, gaddr='239.1.2.3'))
    yield row('IPv4 router advertisement', eth(me, '01:00:5e:00:00:01') / IP(
        src=me.ip, dst='224.0.0.1', ttl=1) / ICMP(type=9), eth(me, peer) / IP(
            src=me.ip, dst=peer.ip) / ICMP(type=9))
    yield row('IPv4 redirect', eth(me, peer) / IP(src=me.ip, dst=peer.ip) / ICMP(
        type=5, code=1, gw=me.ip) / IP(src=peer.ip, dst=OUTSIDE) / UDP())


def groups(w: Parties) -> Iterator[Case]:
    """Broadcast and multicast are for the group, and for multicast addresses."""
    me, peer = w['red1'], w['red2']

    def row(what: str, *frames: Any, **more: Any) -> Case:
        return attack('red1 ' + what, 'red1', *frames, **more)
    group = ('red2', 'red3')        # its members may hear it
    yield row('broadcast', eth(me, ALL) / IP(src=me.ip, dst='255.255.255.255') / UDP(dport=9),
              eth(me, ALL) / IP(src=me.ip, dst='10.9.0.255') / ICMP(), may=group)
    yield row('broadcast with a unicast IP', eth(me, ALL) / ping(me, peer)[IP],
              eth(me, ALL) / ping(me, w['blue1'])[IP], may=group)
    yield row('multicast with a unicast IP', eth(me, '01:00:5e:01:02:03') / ping(me, peer)[IP],
              may=group)
    yield row('multicast', eth(me, '01:00:5e:00:00:fb') / IP(
        src=me.ip, dst='224.0.0.251', ttl=255) / UDP(sport=5353, dport=5353), may=group)
    yield row('IPv6 multicast', eth(me, '33:33:00:00:00:fb') / IPv6(
        src=me.ll, dst='ff02::fb', hlim=255) / UDP(sport=5353, dport=5353), may=group)
    yield row('ping to all nodes', eth(me, '33:33:00:00:00:01') / IPv6(
        src=me.ll, dst='ff02::1') / ICMPv6EchoRequest(), may=group)
    yield row('multicast IP to a peer', eth(me, peer) / IP(src=me.ip, dst='224.0.0.251') / UDP(),
              eth(me, peer) / IP(src=me.ip, dst='255.255.255.255') / UDP(),
              eth(me, peer) / IPv6(src=me.ip6, dst='ff02::fb') / UDP())
    yield row('multicast IP to a stranger', eth(me, w['un']) / IP(
        src=me.ip, dst='224.0.0.251') / UDP(), eth(me, w['blue1']) / IPv6(
            src=me.ip6, dst='ff02::fb') / UDP())
    yield row('VRRP', eth(me, '01:00:5e:00:00:12') / IP(
        src=me.ip, dst='224.0.0.18', ttl=255, proto=112) / Raw(bytes(20)), may=group)


def unknown(w: Parties) -> Iterator[Case]:
    """Unicast that nobody knows, and questions for strangers."""
    me, peer = w['red1'], w['red2']

    def row(what: str, *frames: Any, **more: Any) -> Case:
        return attack('red1 ' + what, 'red1', *frames, **more)
    yield row('unknown unicast', eth(me, NOBODY) / ping(me, w['un'])[IP])
    yield row('unknown unicast with a peer as target', eth(me, NOBODY) / ping(me, peer)[IP],
              eth(me, NOBODY) / ping6(me, peer)[IPv6])
    yield row('who-has a stranger', *(who_has(me, w[name]) for name in (
        'blue1', 'un', 'locked', 'svc1', 'quar', 'off', 'lan', 'bluefar')))
    yield row('who-has nobody', arp(me, 1, me.ip, '10.9.0.200'), arp(me, 1, me.ip, OUTSIDE))
    yield row('NS of a stranger', *(ns(me, w[name].ip6) for name in (
        'blue1', 'un', 'locked', 'svc1', 'quar', 'lan', 'bluefar')))
    yield row('NS of a stranger link-local', ns(me, w['blue1'].ll), ns(me, w['locked'].ll))


def floods(w: Parties) -> Iterator[Case]:
    """In the other direction: what others flood."""
    for sender in ('un', 'evil', 'locked', 'lan', 'gw'):
        who = w[sender]
        resolver = sender == 'gw'
        others = tuple(name for name in UNMANAGED if name != sender and not (
            name == 'uplink' and sender in ('lan', 'gw')))
        yield attack(sender + ' floods', sender, eth(who, ALL) / IP(
            src=who.ip, dst='255.255.255.255') / UDP(dport=9), eth(who, '01:00:5e:00:00:fb')
            / IP(src=who.ip, dst='224.0.0.251') / UDP(), seen_by=others)
        yield attack(sender + ' floods IPv6', sender, eth(who, '33:33:00:00:00:01') / IPv6(
            src=who.ip6, dst='ff02::1') / ICMPv6EchoRequest(), seen_by=others)
        yield attack(sender + ' sends to nobody', sender, eth(who, NOBODY) / ping(who, w['un'])[IP],
                     may=others)
        yield attack(sender + ' asks for a stranger', sender, who_has(who, w['red2']),
                     who_has(who, w['svc1']), ns(who, w['red2'].ip6), ns(who, w['svc1'].ip6),
                     ns(who, w['red2'].ll), may=('red2', 'svc1') if resolver else ())
        yield attack(sender + ' claims an address aloud', sender, arp(
            who, 1, w['red1'].ip, w['red1'].ip), arp(who, 2, w['red1'].ip, w['red1'].ip))
        if sender not in ('gw',):
            yield attack(sender + ' announces a forged member', sender, na(
                who, w['red1'].ip6, ip=w['red1'].ip6), may=others)


@said_by_both
def tags(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """VLAN tags."""
    good = ping(me, peer)
    for vid in (0, 1, 120, 121, 4095):
        yield row('tag %d' % vid, tagged(good, vid))
        yield row('tag %d aloud' % vid, tagged(discover(me), vid), tagged(who_has(me, peer),
                                                                          vid))
    yield row('priority tag 7', tagged(good, 0, prio=7))
    yield row('two tags', tagged(good, 0, 120), tagged(good, 120, 120), tagged(good, 1, 1))
    yield row('802.1ad tag', tagged(good, 0, kind=0x88a8), tagged(good, 120, kind=0x88a8),
              tagged(good, 120, 0, kind=0x88a8))
    yield row('0x9100 tag', tagged(good, 120, kind=0x9100), tagged(good, 0, kind=0x9200))


@said_by_both
def control_frames(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Frames for bridges and their neighbours."""
    for last in range(0, 16):
        yield row('01:80:c2:00:00:%02x' % last, eth(me, '01:80:c2:00:00:%02x' % last)
                  / ping(me, peer)[IP], typed(me, '01:80:c2:00:00:%02x' % last, 0x88cc))
    yield row('STP', Dot3(src=me.mac, dst='01:80:c2:00:00:00') / LLC() / STP())
    yield row('GVRP, GMRP', Dot3(src=me.mac, dst='01:80:c2:00:00:21') / LLC() / Raw(bytes(30)),
              Dot3(src=me.mac, dst='01:80:c2:00:00:20') / LLC() / Raw(bytes(30)))
    yield row('CDP, VTP', *(Dot3(src=me.mac, dst='01:00:0c:cc:cc:cc') / LLC() / SNAP(
        OUI=0xc, code=code) / Raw(bytes(30)) for code in (0x2000, 0x2003, 0x2004)))
    yield row('PVST', Dot3(src=me.mac, dst='01:00:0c:cc:cc:cd') / LLC() / SNAP(
        OUI=0xc, code=0x10b) / Raw(bytes(40)))
    yield row('802.3 to a peer', Dot3(src=me.mac, dst=peer.mac) / LLC() / Raw(bytes(40)))


@said_by_both
def odd_types(row: Row, w: Parties, me: Who, peer: Who, other: Who) -> Iterator[Case]:
    """Odd ethertypes, tunnels, odd sizes."""
    good = ping(me, peer)
    for kind in (0x88cc, 0x8809, 0x888e, 0x8847, 0x8848, 0x8863, 0x8864, 0x8035, 0x809b,
                 0x8137, 0x88b5, 0x88b7, 0x88e5, 0x88f7, 0x8906, 0x8914, 0x894f, 0x22f3, 0x0842,
                 0x9000, 0x6558, 0x0600, 0xffff, 0x8902, 0x88e7, 0x8100, 0x88a8):
        yield row('ethertype %#06x' % kind, typed(me, peer, kind, bytes(40)), typed(
            me, ALL, kind, bytes(40)))
    yield row('MPLS with IP', typed(me, peer, 0x8847, b'\0\x01\x01\x40' + bytes(good[IP])))
    yield row('PPPoE with IP', typed(me, peer, 0x8864, b'\x11\0\0\x01\0\x20\0\x21'
                                     + bytes(good[IP])))
    yield row('LLC/SNAP with a foreign IP', Dot3(src=me.mac, dst=peer.mac) / LLC() / SNAP(
        OUI=0, code=0x800) / Raw(bytes(IP(src=w['gw'].ip, dst=peer.ip) / UDP())))
    yield row('LLC/SNAP with a forged ARP', Dot3(src=me.mac, dst=ALL) / LLC() / SNAP(
        OUI=0, code=0x806) / Raw(bytes(ARP(op=2, hwsrc=me.mac, psrc=w['gw'].ip))))
    yield row('only a header', bytes(eth(me, peer, type=0x800)) + b'\x45', quiet=True)


def strange_protocols(w: Parties) -> Iterator[Case]:
    """IP protocols to a stranger; tags and ethertypes of unmanaged machines."""
    me, stranger = w['red1'], w['blue1']
    for proto in (4, 41, 47, 50, 51, 132, 89, 112, 2, 255):
        yield attack('protocol %d to a stranger' % proto, 'red1', eth(me, stranger) / IP(
            src=me.ip, dst=stranger.ip, proto=proto) / Raw(bytes(30)), eth(me, stranger) / IPv6(
                src=me.ip6, dst=stranger.ip6, nh=proto) / Raw(bytes(30)))
    yield attack('a frame for a stranger inside of GRE', 'red1', eth(me, stranger) / IP(
        src=me.ip, dst=stranger.ip, proto=47) / Raw(b'\0\0\x65\x58' + bytes(ping(me, stranger))))
    for sender in ('un', 'lan'):
        who = w[sender]
        for kind in (0x88cc, 0x88b5, 0x8847, 0x8864, 0x8035, 0x8863):
            yield attack('%s sends ethertype %#06x' % (sender, kind), sender, typed(
                who, w['red1'], kind, bytes(40)), typed(who, w['svc1'], kind, bytes(40)))
        for vid in (0, 120, 121):
            yield attack('%s sends tag %d' % (sender, vid), sender, tagged(ping(who, w['red1']),
                         vid), tagged(ping6(who, w['red1']), vid), may=(
                             'un', 'evil', 'locked', 'locked2', 'dom0', 'uplink'))
    # what may see it depends on what floods; isolated VIFs never do
    yield attack('un sends two tags', 'un', tagged(ping(w['un'], w['red1']), 0, 0), tagged(
        ping(w['un'], w['blue1']), 0, 120), may=('evil', 'locked', 'locked2', 'dom0', 'uplink'))


GROUPS = (('red1', 'red2', 'redfar'), ('blue1', 'blue2', 'bluefar'))
ISOLATED = ('red1', 'red2', 'red3', 'blue1', 'blue2', 'svc1', 'svc2', 'far', 'web', 'wide',
            'nobody', 'outer', 'north', 'south', 'east', 'ward')
# Of those who may talk, beyond the groups.
FRIENDS = {frozenset(pair) for pair in (
    ('red1', 'red2'), ('red1', 'red3'), ('red2', 'red3'), ('blue1', 'blue2'), ('svc1', 'svc2'),
    ('north', 'south'), ('blue1', 'un'), ('wide', 'evil'), ('wide', 'locked'), ('wide', 'locked2'),
    ('red1', 'redfar'), ('red2', 'redfar'), ('red3', 'redfar'),
    ('blue1', 'bluefar'), ('blue2', 'bluefar'), ('outer', 'outfar'),
    ('red1', 'gw'), ('blue2', 'gw'), ('wide', 'lan'), ('wide', 'redfar'), ('wide', 'bluefar'),
    ('wide', 'outfar'), ('web', 'gw'))}


def isolation(w: Parties) -> Iterator[Case]:
    """Everybody talks to everybody whom policy does not grant, in both directions."""
    everybody = ('red1', 'red3', 'blue1', 'svc1', 'far', 'wide', 'nobody', 'outer', 'north', 'east',
                 'un', 'locked', 'quar', 'off', 'lan', 'redfar', 'bluefar', 'gw')
    for sender in everybody:
        for target in everybody:
            if sender == target or frozenset((sender, target)) in FRIENDS:
                continue
            if not {sender, target} & set(ISOLATED + ('quar', 'off')):
                continue
            if sender == 'red3':        # is to keep silent
                continue
            me, you = w[sender], w[target]
            if 'gw' in (sender, target) and not {sender, target} & {'quar', 'off'}:
                yield attack('%s to %s' % (sender, target), sender, ping(me, you), ping6(me, you),
                             udp(me, you), udp6(me, you), tcp(me, you, 4000, 22))
                continue        # a gateway may be resolved, and resolve
            aloud = [who_has(me, you), ns(me, you.ip6)] if target in ISOLATED else []
            yield attack('%s to %s' % (sender, target), sender, ping(me, you), udp6(me, you),
                         tcp(me, you, 4000, 22), is_at(me, you), na(me, me.ip6, you),
                         ns(me, you.ip6, you), aloud)
    for sender in ('quar', 'off'):
        me = w[sender]
        yield attack(sender + ' says anything at all', sender, discover(me), solicit6(me), rs(me),
                     rs(me, ip='::'), arp(me, 1, me.ip, me.ip), arp(me, 1, '0.0.0.0', me.ip),
                     ns(me, me.ip6, ip='::', sll=False), na(me, me.ip6), ping(me, w['un']),
                     ping(me, w['gw']), eth(me, ALL) / IP(src=me.ip, dst='255.255.255.255') / UDP(),
                     typed(me, ALL, 0x8035, bytes(28)), eth(me, '33:33:00:00:00:16') / IPv6(
                         src='::', dst='ff02::16', hlim=1) / ICMPv6MLReport2(),
                     typed(me, '01:80:c2:00:00:0e', 0x88cc), tagged(discover(me), 120))
        yield attack(sender + ' says it with a MAC address of its own making', sender,
                     eth(NOBODY, w['un']) / ping(me, w['un'])[IP],
                     eth(NOBODY, w['gw']) / udp(me, w['gw'], dst=OUTSIDE)[IP],
                     eth(NOBODY, ALL) / IP(src=me.ip, dst='255.255.255.255') / UDP(),
                     eth(NOBODY, w['un']) / ping6(me, w['un'])[IPv6])
    for victim in ('quar', 'off'):
        you = w[victim]
        for sender in ('un', 'lan', 'gw', 'red1', 'locked'):
            me = w[sender]
            yield attack('%s answers %s' % (sender, victim), sender, offer(me, you, you) if sender
                         in ('lan', 'gw') else ping(me, you), eth(me, you) / ra(me)[IPv6],
                         eth(me, you) / Raw(bytes(60)), tagged(ping(me, you), 120), may=UNMANAGED
                         if sender not in ('red1', 'locked') else ())
    # a right MAC address with a wrong IP address, and the reverse
    red1, red2, blue1, gw, un = (w[name] for name in ('red1', 'red2', 'blue1', 'gw', 'un'))

    def row(what: str, *frames: Any, **more: Any) -> Case:
        return attack(what, 'red1', *frames, **more)
    yield row('MAC of a peer, IP of a stranger', eth(red1, red2) / ping(red1, blue1)[IP],
              eth(red1, red2) / ping6(red1, blue1)[IPv6])
    yield row('MAC of a stranger, IP of a peer', *(eth(red1, w[name]) / ping(red1, red2)[IP]
              for name in ('blue1', 'un', 'locked', 'svc1', 'quar', 'off', 'lan', 'bluefar')))
    yield row('MAC of a stranger, IPv6 of a peer', *(eth(red1, w[name]) / ping6(red1, red2)[IPv6]
              for name in ('blue1', 'un', 'locked', 'svc1', 'quar', 'off', 'lan', 'bluefar')))
    yield row('MAC of a stranger, IP outside', *(eth(red1, w[name]) / udp(red1, un, dst=OUTSIDE)[IP]
              for name in ('blue1', 'un', 'locked', 'svc1', 'quar', 'lan', 'redfar')))
    yield row('MAC of a peer, IP outside', eth(red1, red2) / udp(red1, un, dst=OUTSIDE)[IP])
    yield row('MAC of a peer, IP of another peer', eth(red1, red2) / ping(red1, w['red3'])[IP], eth(
        red1, red2) / ping6(red1, w['red3'])[IPv6], eth(red1, w['red3']) / ping(red1, red2)[IP])
    wide, first, second = w['wide'], w['locked'], w['locked2']
    yield attack('MAC of an allowed VIF, IP of another', 'wide', eth(wide, first) / ping(
        wide, second)[IP], eth(wide, first) / ping6(wide, second)[IPv6], eth(wide, first) / ping(
            wide, w['evil'])[IP], eth(wide, w['evil']) / ping6(wide, first)[IPv6])
    yield row('MAC of a remote member, IP of another', eth(red1, w['redfar']) / ping(
        red1, red2)[IP],
              eth(red1, w['redfar']) / ping(red1, w['bluefar'])[IP])
    yield row('MAC of a stranger, IP of a remote member', eth(red1, w['lan']) / ping(
        red1, w['redfar'])[IP], eth(red1, w['un']) / ping(red1, w['redfar'])[IP])
    yield row('unicast ARP for a stranger', *(arp(red1, 1, red1.ip, w[name].ip, red2)
              for name in ('blue1', 'un', 'lan')), arp(red1, 1, red1.ip, red2.ip, blue1))
    yield row('unicast NS for a stranger', ns(red1, blue1.ip6, blue1), ns(red1, red2.ip6, blue1))


def gateway(w: Parties) -> Iterator[Case]:
    """Through the gateway and back; and who plays the gateway."""
    red1, red2, blue1, blue2, gw, un, lan, far = (w[name] for name in (
        'red1', 'red2', 'blue1', 'blue2', 'gw', 'un', 'lan', 'far'))

    def row(what: str, sender: str, *frames: Any, **more: Any) -> Case:
        return attack(what, sender, *frames, **more)
    for name in ('blue1', 'blue2', 'un', 'locked', 'quar', 'bluefar', 'lan', 'svc1'):
        yield row('to %s by way of the gateway' % name, 'red1', eth(red1, gw) / ping(
            red1, w[name])[IP], eth(red1, gw) / ping6(red1, w[name])[IPv6])
        if name != 'quar':
            yield row('from %s by way of the gateway' % name, 'gw', eth(gw, red1) / ping(
                w[name], red1)[IP], eth(gw, red1) / ping6(w[name], red1)[IPv6])
    yield row('external is not granted', 'red2', udp(red2, gw, dst=OUTSIDE), udp6(
        red2, gw, dst=OUTSIDE6), ping(red2, gw), ping6(red2, gw))
    yield row('external is not granted, inbound', 'gw', udp(gw, red2, src=OUTSIDE), udp6(
        gw, red2, src=OUTSIDE6), ping(gw, red2))
    yield row('nobody hears nobody', 'gw', udp(gw, w['nobody'], src=OUTSIDE), ping(gw, w['nobody']))
    yield row('one address outside is not another', 'far', udp(far, gw, dst='192.0.2.2'),
              udp(far, gw, dst='198.51.100.1'), udp6(far, gw, dst='2001:db8::2'))
    yield row('one address outside is not another, inbound', 'gw', udp(gw, far, src='192.0.2.2'),
              udp6(gw, far, src='2001:db8::2'))
    yield row('addresses that are never outside', 'red1', *(udp(red1, gw, dst=ip) for ip in (
        '10.9.0.255', '10.9.0.0', '127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255',
        '169.254.169.254', '240.0.0.1', '10.9.0.200')))
    yield row('another service of the metadata address', 'far', udp(far, gw, dst='169.254.169.254'),
              eth(far, gw) / IP(src=far.ip, dst='169.254.169.253') / tcp(
                  far, gw, 4000, 80)[IP].payload)
    yield row('IPv6 addresses that are never outside', 'red1', *(udp6(red1, gw, dst=ip) for ip in (
        '::', '::1', 'ff02::1', 'ff0e::1', 'fe80::1', '::ffff:10.9.0.21', 'fd00:9::200')))
    yield row('never outside, inbound', 'gw', *(udp(gw, red1, src=ip) for ip in (
        '10.9.0.200', '127.0.0.1', '224.0.0.1', '0.0.0.0', '169.254.1.1', '255.255.255.255')),
        *(udp6(gw, red1, src=ip) for ip in ('::', '::1', 'ff02::1', 'fe80::99', 'fd00:9::200')))
    yield row('external by another router', 'lan', udp(lan, red1, src=OUTSIDE), udp6(
        lan, red1, src=OUTSIDE6))
    yield row('external by a neighbour', 'un', udp(un, red1, src=OUTSIDE), udp6(
        un, red1, src=OUTSIDE6))
    for sender in ('un', 'lan'):
        me = w[sender]
        yield row('%s answers as the gateway' % sender, sender, is_at(me, red1, gw.ip), na(
            me, gw.ip6, red1, ip=gw.ip6), na(me, gw.ll, red1, ip=gw.ll), is_at(
                me, red1, gw.ip, gw.mac), udp(me, red1, src=gw.ip), udp6(me, red1, src=gw.ip6))
        yield row('%s answers as the gateway with a forged target' % sender, sender, na(
            me, gw.ip6, red1), na(me, me.ip6, red1, ip=gw.ip6))
    mac_only = [eth(gw, red1) / frame for frame in (
        udp(red2, red1)[IP], udp6(red2, red1)[IPv6], udp(un, red1, src=OUTSIDE)[IP], udp6(
            un, red1, src=OUTSIDE6)[IPv6], udp(gw, red1)[IP])]
    yield row('un takes the MAC of the gateway', 'un', *mac_only)
    yield row('un takes the MAC of the gateway to resolve', 'un', eth(gw, red1) / ARP(
        op=2, hwsrc=un.mac, psrc=red2.ip, pdst=red1.ip), eth(gw, red1) / ARP(
            op=2, hwsrc=un.mac, psrc=gw.ip, pdst=red1.ip), eth(gw, red1) / na(
                un, red2.ip6, red1, ip=gw.ll)[IPv6], eth(gw, red1) / ns(
                    un, red1.ip6, red1, ip='fe80::77')[IPv6])
    yield row('the gateway claims a member by ARP', 'gw', is_at(gw, red1, red2.ip), arp(
        gw, 1, red2.ip, red1.ip, red1), is_at(gw, red1, w['redfar'].ip))
    yield row('the gateway claims a member by ND', 'gw', na(gw, red2.ip6, red1, ip=gw.ll), na(
        gw, red2.ip6, red1, ip=red2.ip6), ns(gw, red1.ip6, red1, ip=red2.ip6))
    yield row('external service only', 'web', tcp(w['web'], gw, 4000, 80), udp(
        w['web'], gw, 4000, 123, dst=OUTSIDE), ping(w['web'], gw), udp(
            w['web'], gw, 4000, 443, dst=OUTSIDE))
    yield row('external service only, inbound', 'gw', *(
        eth(gw, w['web']) / frame for frame in (
            tcp(gw, w['web'], 443, 4000)[IP], tcp(gw, w['web'], 4000, 22)[IP],
            udp(gw, w['web'], 53, 4321, src=OUTSIDE)[IP], ping(gw, w['web'])[IP])))
    for name, loose in (('loose', b'\x83'), ('strict', b'\x89')):
        yield row('%s source route to a stranger' % name, 'red2', eth(red2, gw) / IP(
            src=red2.ip, dst=gw.ip, options=[IPOption(loose + b'\x07\x04\x0a\x09\x00\x15')])
            / UDP())
    yield row('routing header to a stranger', 'red2', eth(red2, gw) / IPv6(
        src=red2.ip6, dst=gw.ip6) / IPv6ExtHdrRouting(addresses=[blue1.ip6]) / UDP())


def theft(w: Parties) -> Iterator[Case]:
    """Somebody who has no policy speaks with a member's MAC or IP address."""
    red1, red2 = w['red1'], w['red2']
    for sender in ('un', 'evil', 'lan', 'gw'):
        me = w[sender]
        outside = sender in ('lan', 'gw')

        def row(what: str, *frames: Any, **more: Any) -> Case:
            return attack('%s %s' % (sender, what), sender, *frames, **more)
        for victim in ('red2', 'locked', 'svc1', 'off', 'quar'):
            you = w[victim]
            if victim in ('off', 'quar') and outside:
                continue        # they have not spoken here, so they may live elsewhere
            yield row('takes the MAC of ' + victim, eth(you, red1) / ping(you, red1)[IP], eth(
                you, w['locked2']) / ping(you, w['locked2'])[IP])
            yield row('floods with the MAC of ' + victim, eth(you, ALL) / IP(
                src=you.ip, dst='255.255.255.255') / UDP(), arp(you, 1, you.ip, you.ip),
                eth(you, NOBODY) / ping(you, red1)[IP])
        if sender != 'gw':      # which may have forwarded it
            yield row('takes the IP of a member', eth(me, red1) / ping(red2, red1)[IP], eth(
                me, red1) / ping6(red2, red1)[IPv6])
            yield row('takes the IP of a remote member', eth(me, red1) / ping(
                w['redfar'], red1)[IP], eth(me, red1) / ping6(w['redfar'], red1)[IPv6])
            yield row('takes an allowed address that is another VIF\'s', eth(me, w['wide']) / ping(
                w['locked'], w['wide'])[IP], eth(me, w['wide']) / ping6(
                    w['locked'], w['wide'])[IPv6])
        yield row('answers for a member', is_at(me, red1, red2.ip), is_at(
            me, red1, red2.ip, red2.mac), na(me, red2.ip6, red1, ip=red2.ip6), na(
                me, red2.ip6, red1))
        yield row('answers for a remote member', is_at(me, red1, w['redfar'].ip), na(
            me, w['redfar'].ip6, red1, ip=w['redfar'].ip6))
        yield row('takes a member link-local', eth(me, red1) / IPv6(
            src=red2.ll, dst=red1.ll) / ICMPv6EchoRequest())
    for sender in ('un', 'evil'):
        far = w['redfar']
        yield attack('%s takes MAC and IP of a remote member' % sender, sender, ping(far, red1),
                     ping6(far, red1), is_at(far, red1), na(far, far.ip6, red1))
    yield attack('blue takes MAC and IP of a member', 'blue1', ping(red2, red1), is_at(red2, red1))
    yield attack('locked takes MAC and IP of a member', 'locked', ping(red2, red1), is_at(
        red2, red1))


def services(w: Parties) -> Iterator[Case]:
    """Rules of a group and of an allow list: what is not named does not pass."""
    a, b = w['svc1'], w['svc2']

    def row(what: str, *frames: Any, **more: Any) -> Case:
        return attack('svc1 ' + what, 'svc1', *frames, **more)
    for port in (1, 21, 23, 80, 7999, 8004, 65535):
        yield row('tcp/%d' % port, tcp(a, b, 4000, port), tcp6(a, b, 4000, port), tcp(
            a, b, 4000, port, 'A'))
    for port in (1, 52, 54, 22, 5999, 6011, 65535):
        yield row('udp/%d' % port, udp(a, b, 4000, port), udp6(a, b, 4000, port))
    yield row('SYN out of a server port', tcp(a, b, 22, 4000), tcp6(a, b, 22, 4000), tcp(
        a, b, 8001, 4000), tcp(a, b, 22, 4000, 'SF'), tcp(a, b, 22, 4000, 'SP'))
    yield row('no flags, FIN, Xmas', tcp(a, b, 22, 4000, ''), tcp(a, b, 22, 4000, 'F'), tcp(
        a, b, 22, 4000, 'FPU'))
    yield row('UDP out of a server port, unasked', udp(a, b, 53, 4000), udp6(a, b, 53, 4000), udp(
        a, b, 6005, 4001))
    yield row('UDP reply for another port', udp(a, b, 53, 4003), steps=[('svc2', udp(
        b, a, 4002, 53))])
    yield row('UDP reply after my own request', udp(a, b, 4005, 4006), udp(a, b, 53, 4005),
              steps=[('svc1', udp(a, b, 4005, 53))])
    yield row('fragments', split4(udp(a, b, 4000, 53) / bytes(100), 32), split6(
        udp6(a, b, 4000, 53) / bytes(100), 32))
    yield row('TCP in a tiny fragment', split4(tcp(a, b, 4000, 22) / bytes(60), 8))
    yield row('later fragments alone', split4(udp(a, b, 4000, 53) / bytes(100), 32)[1:], split6(
        udp6(a, b, 4000, 53) / bytes(100), 32)[1:])
    for proto in (4, 41, 47, 51, 88, 90, 132, 33, 136, 255):
        yield row('protocol %d' % proto, eth(a, b) / IP(src=a.ip, dst=b.ip, proto=proto) / Raw(
            bytes(30)), eth(a, b) / IPv6(src=a.ip6, dst=b.ip6, nh=proto) / Raw(bytes(30)))
    yield row('SCTP', sctp(a, b, 4000, 3867), sctp6(a, b, 4000, 3869), sctp(a, b, 3868, 4000),
              sctp6(a, b, 3868, 4000))
    yield row('TFTP data unasked', udp(a, b, 50001, 4030), udp6(a, b, 50001, 4030), udp(
        a, b, 69, 4030))
    yield row('TFTP data for another port', udp(a, b, 50001, 4032), steps=[('svc2', rrq(
        b, a, 4031))])
    yield row('TFTP data after my own request', udp(a, b, 50001, 4033), steps=[('svc1', rrq(
        a, b, 4033))])
    yield row('port hidden behind options', behind(udp6(a, b, 4000, 80), dst_opt()), behind(
        udp6(a, b, 4000, 80), IPv6ExtHdrHopByHop()))
    yield attack('wide web only', 'wide', tcp(w['wide'], w['lan'], 4000, 22), udp(
        w['wide'], w['lan'], 4000, 80), ping(w['wide'], w['lan'], type=13), ping(
            w['wide'], w['lan'], type=30))
    yield attack('wide web only, inbound', 'lan', tcp(w['lan'], w['wide'], 4000, 22), tcp(
        w['lan'], w['wide'], 80, 4007), udp(w['lan'], w['wide'], 4000, 80), ping(
            w['lan'], w['wide'], type=13), eth(w['lan'], w['wide']) / IPv6(
                src=w['lan'].ip6, dst=w['wide'].ip6, nh=58) / Raw(b'\x8b\0\0\0' + bytes(20)))


FAMILIES: Mapping[str, Callable[[Parties], Iterator[Case]]] = {
    'identity': together(forged_macs, forged_addresses, forged_arp, odd_arp, dhcp_exemption),
    'neighbours': together(solicitations, advertisements, routers, odd_solicitations, icmp6_types),
    'headers': together(hidden, malformed, fragments),
    'dhcp': together(dhcp_servers, rogues, dhcp_queries),
    'multicast': together(queriers, groups, unknown, floods),
    'ethertypes': together(tags, control_frames, odd_types, strange_protocols),
    'isolation': isolation,
    'gateway': gateway,
    'theft': theft,
    'services': services,
    'limits': limits}


def rows(w: Parties) -> List[Case]:
    """Return all rows, named by their family."""
    return [case._replace(id='%s: %s' % (family, case.id))
            for family, table in FAMILIES.items() for case in table(w) if case.frames]
