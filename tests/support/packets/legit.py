"""What must get through, and reach nobody else."""
from typing import Iterator, List, Mapping

from support.packets.attacks import OUTSIDE, OUTSIDE6
from support.packets.rows import MARK, Case, legit
from support.packets.frames import (ALL, ICMP, IP, UDP, ICMPv6EchoReply, ICMPv6EchoRequest,
                                    ICMPv6MLReport2, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment,
                                    IPv6ExtHdrHopByHop, Raw, advertise6, arp, behind, discover,
                                    dst_opt, eth, is_at, na, ns, offer, ping, ping6, ra, rrq,
                                    rrq6, rs, sctp, sctp6, solicit6, split4, split6, tcp, tcp6,
                                    udp, udp6, who_has)
from support.packets.shared_network import Who

Parties = Mapping[str, Who]
HEARD = ('uplink', 'red2', 'red3')      # what red1 says of itself
EVERYBODY = ('un', 'evil', 'locked', 'locked2', 'dom0', 'uplink')
ISOLATED = ('red1', 'red2', 'red3', 'blue1', 'blue2', 'svc1', 'svc2', 'far', 'web', 'wide',
            'nobody', 'outer', 'north', 'south', 'east', 'ward')
# Who may talk with whom about everything; to the right of the colon, where it is seen.
PAIRS = (('red1', 'red2'), ('red2', 'red1'), ('blue1', 'blue2'), ('north', 'south'),
         ('south', 'north'),
         ('blue1', 'un'), ('un', 'blue1'), ('wide', 'evil'), ('evil', 'wide'), ('wide', 'locked'),
         ('locked', 'wide'), ('locked', 'un'), ('un', 'locked'), ('un', 'evil'),
         ('red1', 'redfar'), ('redfar', 'red1'), ('blue2', 'bluefar'), ('bluefar', 'blue1'))
OVER = {'redfar', 'bluefar', 'lan', 'gw', 'outfar'}


def at(name: str) -> str:
    """Return where a party's frames are seen."""
    return 'uplink' if name in OVER else name


def talk(w: Parties) -> Iterator[Case]:
    """Everything that peers say to each other."""
    for sender, target in PAIRS:
        a, b = w[sender], w[target]
        for what, frame in (
                ('ping', ping(a, b)), ('ping6', ping6(a, b)), ('UDP', udp(a, b)),
                ('UDP6', udp6(a, b)), ('TCP', tcp(a, b, 4000, 80)), ('TCP6', tcp6(a, b, 4000, 80)),
                ('ARP reply', is_at(a, b)), ('unicast ARP', arp(a, 1, a.ip, b.ip, b)),
                ('NS', ns(a, b.ip6, b)), ('NS without SLLA', ns(a, b.ip6, b, sll=False)),
                ('NA', na(a, a.ip6, b)), ('NA without TLLA', na(a, a.ip6, b, tll=False))):
            yield legit('%s to %s: %s' % (sender, target, what), sender, at(target), frame)
    a, b = w['red1'], w['red2']
    for proto in (4, 41, 47, 50, 51, 132, 89, 112, 136):
        yield legit('protocol %d' % proto, 'red1', 'red2', eth(a, b) / IP(
            src=a.ip, dst=b.ip, proto=proto) / Raw(bytes(30)))
    for proto in (4, 41, 47, 50, 132, 89, 112, 135, 139):
        yield legit('protocol %d over IPv6' % proto, 'red1', 'red2', eth(a, b) / IPv6(
            src=a.ip6, dst=b.ip6, nh=proto) / Raw(bytes(30)))
    yield legit('AH over IPv6', 'red1', 'red2', eth(a, b) / IPv6(src=a.ip6, dst=b.ip6, nh=51) / Raw(
        b'\x11\x04' + bytes(22) + bytes(UDP()/b'word')))
    for kind, code in ((3, 4), (3, 1), (11, 0), (12, 0), (0, 0), (8, 0), (13, 0)):
        yield legit('ICMP %d/%d' % (kind, code), 'red1', 'red2', eth(a, b) / IP(
            src=a.ip, dst=b.ip) / ICMP(type=kind, code=code) / Raw(bytes(28)))
    for kind in (1, 2, 3, 4, 128, 129):
        yield legit('ICMPv6 %d' % kind, 'red1', 'red2', eth(a, b) / IPv6(
            src=a.ip6, dst=b.ip6, nh=58) / Raw(bytes([kind, 0]) + bytes(46)))
    for n, fragment in enumerate(split4(ping(a, b) / bytes(3000), 1400)):
        yield legit('ping in fragments, %d' % n, 'red1', 'red2', fragment)
    for n, fragment in enumerate(split4(udp(a, b) / bytes(3000), 1400)):
        yield legit('UDP in fragments, %d' % n, 'red1', 'red2', fragment)
    for n, fragment in enumerate(split6(udp6(a, b) / bytes(3000), 1400)):
        yield legit('UDP6 in fragments, %d' % n, 'red1', 'red2', fragment)
    yield legit('UDP6 in an atomic fragment', 'red1', 'red2', behind(udp6(a, b),
                                                                   IPv6ExtHdrFragment(m=0)))
    yield legit('UDP6 behind options', 'red1', 'red2', behind(udp6(a, b), dst_opt()), behind(
        udp6(a, b), IPv6ExtHdrHopByHop()))
    yield legit('link-local', 'red1', 'red2', eth(a, b) / IPv6(src=a.ll, dst=b.ll)
                / ICMPv6EchoRequest())
    yield legit('1500 bytes', 'red1', 'red2', eth(a, b) / IP(src=a.ip, dst=b.ip) / UDP(
        chksum=0) / (MARK + bytes(1500 - 28 - len(MARK))))
    yield legit('1500 bytes to a remote member', 'red1', 'uplink', eth(a, w['redfar']) / IP(
        src=a.ip, dst=w['redfar'].ip) / UDP(chksum=0) / (MARK + bytes(1500 - 28 - len(MARK))))
    yield legit('an allowed address beyond the uplink', 'wide', 'uplink', tcp(
        w['wide'], w['lan'], 4000, 80))
    yield legit('an answer from an allowed address', 'lan', 'wide', tcp(
        w['lan'], w['wide'], 80, 4003, 'SA'), steps=[('wide', tcp(w['wide'], w['lan'], 4003, 80))])
    yield legit('a member outside of the pool', 'outer', 'uplink', ping(w['outer'], w['outfar']))
    yield legit('from a member outside of the pool', 'outfar', 'outer', ping(
        w['outfar'], w['outer']))


def resolution(w: Parties) -> Iterator[Case]:
    """Addresses are resolved, probed and announced; nobody else hears of it."""
    a = w['red1']
    for sender, target in (('red1', 'red2'), ('red1', 'redfar'), ('red1', 'gw'), ('blue1', 'blue2'),
                           ('north', 'south'), ('svc1', 'svc2'), ('far', 'gw'), ('nobody', 'gw'),
                           ('un', 'blue1'), ('evil', 'wide'), ('gw', 'red1'), ('gw', 'nobody'),
                           ('redfar', 'red1')):
        yield legit('%s asks for %s' % (sender, target), sender, at(target), who_has(
            w[sender], w[target]))
        yield legit('%s solicits %s' % (sender, target), sender, at(target), ns(
            w[sender], w[target].ip6))
        if sender not in ('un', 'evil'):
            yield legit('%s solicits %s by link-local' % (sender, target), sender, at(target), ns(
                w[sender], w[target].ip6, ip=w[sender].ll))
            yield legit('%s solicits link-local %s' % (sender, target), sender, at(target), ns(
                w[sender], w[target].ll))
    yield legit('a stranger of the uplink is asked for aloud', 'wide', EVERYBODY, who_has(
        w['wide'], w['lan']))
    yield legit('an unmanaged peer is asked for aloud', 'blue1', EVERYBODY, who_has(
        w['blue1'], w['un']), ns(w['blue1'], w['un'].ip6))
    yield legit('a silent member is asked for', 'red1', 'red3', ns(a, w['red3'].ip6))
    yield legit('a silent member is sent to', 'red1', 'red3', ping6(a, w['red3']))
    yield legit('a silent member wakes up', 'red1', 'red3', who_has(a, w['red3']))
    yield legit('gratuitous ARP', 'red1', HEARD, arp(a, 1, a.ip, a.ip), arp(a, 2, a.ip, a.ip))
    yield legit('ARP probe', 'red1', HEARD, arp(a, 1, '0.0.0.0', a.ip))
    yield legit('unsolicited advertisement', 'red1', HEARD, na(a, a.ip6), na(a, a.ip6, tll=False),
                na(a, a.ll, ip=a.ll))
    yield legit('duplicate address detection', 'red1', HEARD, ns(a, a.ip6, ip='::', sll=False),
                ns(a, a.ll, ip='::', sll=False))
    l = w['locked']
    elsewhere = tuple(name for name in EVERYBODY if name != 'locked')
    yield legit('locked announces itself', 'locked', elsewhere, arp(l, 1, l.ip, l.ip), arp(
        l, 1, '0.0.0.0', l.ip), na(l, l.ip6), ns(l, l.ip6, ip='::', sll=False), ns(
            l, l.ll, ip='::', sll=False))
    yield legit('locked asks', 'locked', elsewhere, who_has(l, w['un']), ns(l, w['un'].ip6))


def infrastructure(w: Parties) -> Iterator[Case]:
    """DHCP, router discovery, multicast listeners."""
    a, gw, lan, l = w['red1'], w['gw'], w['lan'], w['locked']
    elsewhere = tuple(name for name in EVERYBODY if name != 'locked')
    plugged = ISOLATED + tuple(name for name in EVERYBODY if name != 'uplink')
    yield legit('DHCP discover', 'red1', 'uplink', discover(a))
    yield legit('DHCP request aloud with an address', 'red1', 'uplink', discover(a, ip=a.ip))
    yield legit('DHCP renewal', 'red1', 'uplink', udp(a, gw, 68, 67), udp(a, lan, 68, 67))
    yield legit('DHCP offer', 'lan', 'red1', offer(lan, a, a, ip_dst=a.ip))
    yield legit('DHCP offer aloud', 'lan', plugged, offer(lan, a))
    yield legit('DHCP answer of a gateway', 'gw', 'nobody', offer(gw, w['nobody'], w['nobody'],
                                                              ip_dst=w['nobody'].ip))
    yield legit('DHCPv6 solicit', 'red1', 'uplink', solicit6(a))
    yield legit('DHCPv6 advertise', 'lan', 'red1', advertise6(lan, a), advertise6(
        lan, a, ip=lan.ip6))
    yield legit('router solicitation', 'red1', 'uplink', rs(a), rs(a, ip='::'))
    yield legit('router advertisement', 'gw', plugged, ra(gw))
    yield legit('router advertisement to one', 'gw', 'red1', ra(gw, a))
    yield legit('MLD report', 'red1', 'uplink', eth(a, '33:33:00:00:00:16') / IPv6(
        src=a.ll, dst='ff02::16', hlim=1) / ICMPv6MLReport2(), eth(a, '33:33:00:00:00:16') / IPv6(
            src='::', dst='ff02::16', hlim=1) / ICMPv6MLReport2())
    for what, frame in (
            ('mDNS', eth(a, '01:00:5e:00:00:fb') / IP(src=a.ip, dst='224.0.0.251', ttl=255) / UDP(
                sport=5353, dport=5353)),
            ('IPv6 mDNS', eth(a, '33:33:00:00:00:fb') / IPv6(src=a.ll, dst='ff02::fb', hlim=255)
             / UDP(sport=5353, dport=5353)),
            ('broadcast', eth(a, ALL) / IP(src=a.ip, dst='255.255.255.255') / UDP(dport=9)),
            ('VRRP', eth(a, '01:00:5e:00:00:12') / IP(
                src=a.ip, dst='224.0.0.18', ttl=255, proto=112) / Raw(bytes(20)))):
        yield legit('%s within the group' % what, 'red1', ('red2', 'red3'), frame)
    yield legit('locked: DHCP', 'locked', elsewhere, discover(l), solicit6(l), rs(l), rs(
        l, ip='::'))
    yield legit('locked: MLD report', 'locked', elsewhere, eth(l, '33:33:00:00:00:16') / IPv6(
        src=l.ll, dst='ff02::16', hlim=1) / ICMPv6MLReport2())
    yield legit('locked: IGMPv3 report', 'locked', elsewhere, eth(l, '01:00:5e:00:00:16') / IP(
        src=l.ip, dst='224.0.0.22', ttl=1, proto=2) / Raw(b'\x22\0' + bytes(14)))
    yield legit('locked: broadcast', 'locked', elsewhere, eth(l, ALL) / IP(
        src=l.ip, dst='255.255.255.255') / UDP(dport=9))
    yield legit('locked: mDNS', 'locked', elsewhere, eth(l, '01:00:5e:00:00:fb') / IP(
        src=l.ip, dst='224.0.0.251') / UDP(sport=5353, dport=5353))


def outside(w: Parties) -> Iterator[Case]:
    """Through the gateway and back."""
    a, far, web, gw = w['red1'], w['far'], w['web'], w['gw']
    yield legit('external', 'red1', 'uplink', udp(a, gw, dst=OUTSIDE), udp6(a, gw, dst=OUTSIDE6))
    yield legit('from external', 'gw', 'red1', udp(gw, a, src=OUTSIDE), udp6(gw, a, src=OUTSIDE6))
    yield legit('the gateway itself', 'red1', 'uplink', ping(a, gw), ping6(a, gw))
    yield legit('the gateway answers', 'gw', 'red1', ping(gw, a), ping6(gw, a))
    yield legit('one address outside', 'far', 'uplink', udp(far, gw, dst=OUTSIDE), udp6(
        far, gw, dst=OUTSIDE6))
    yield legit('from one address outside', 'gw', 'far', udp(gw, far, src=OUTSIDE), udp6(
        gw, far, src=OUTSIDE6))
    yield legit('the metadata service by its address', 'far', 'uplink', eth(far, gw) / IP(
        src=far.ip, dst='169.254.169.254') / tcp(far, gw, 4000, 80)[IP].payload)
    yield legit('the metadata service answers', 'gw', 'far', eth(gw, far) / IP(
        src='169.254.169.254', dst=far.ip) / tcp(gw, far, 80, 4003, 'SA')[IP].payload, steps=[
            ('far', tcp(far, gw, 4003, 80, dst='169.254.169.254'))])
    yield legit('a service outside', 'web', 'uplink', *(eth(web, gw) / IP(src=web.ip, dst=OUTSIDE)
                / frame[IP].payload for frame in (tcp(web, gw, 4000, 443), udp(web, gw, 4000, 53))))
    yield legit('a service outside answers', 'gw', 'web', eth(gw, web) / IP(
        src=OUTSIDE, dst=web.ip) / tcp(gw, web, 443, 4003, 'SA')[IP].payload, steps=[
            ('web', tcp(web, gw, 4003, 443, dst=OUTSIDE))])
    yield legit('DNS outside answers', 'gw', 'web', udp(gw, web, 53, 4009, src=OUTSIDE), steps=[
        ('web', udp(web, gw, 4009, 53, dst=OUTSIDE))])
    yield legit('the gateway forwards between members', 'gw', 'red1', eth(gw, a) / ping(
        w['red2'], a)[IP], eth(gw, a) / ping6(w['red2'], a)[IPv6])
    yield legit('to a member by way of the gateway', 'red1', 'uplink', eth(a, gw) / ping(
        a, w['red2'])[IP])
    for name in ('red1', 'far', 'web'):
        you = w[name]
        yield legit('the gateway says too big to ' + name, 'gw', name, eth(gw, you) / IP(
            src=gw.ip, dst=you.ip) / ICMP(type=3, code=4, nexthopmtu=1400) / IP(
                src=you.ip, dst=OUTSIDE) / UDP(), eth(gw, you) / IPv6(src=gw.ip6, dst=you.ip6)
            / ICMPv6PacketTooBig(mtu=1400) / IPv6(src=you.ip6, dst=OUTSIDE6) / UDP())
    yield legit('a router outside says too big', 'gw', 'red1', eth(gw, a) / IP(
        src='203.0.113.9', dst=a.ip) / ICMP(type=3, code=4, nexthopmtu=1400) / IP(
            src=a.ip, dst=OUTSIDE) / UDP())
    yield legit('ND with the gateway by link-local', 'red1', 'uplink', ns(a, gw.ll, gw, ip=a.ll),
                na(a, a.ip6, gw, ip_dst=gw.ll), na(a, a.ll, gw, ip=a.ll, ip_dst=gw.ll))
    yield legit('ND by the link-local gateway', 'gw', 'red1', ns(gw, a.ip6, a, ip=gw.ll), na(
        gw, gw.ll, a, ip=gw.ll), na(gw, gw.ip6, a, ip=gw.ll), ns(gw, a.ip6, ip=gw.ll))


def services(w: Parties) -> Iterator[Case]:
    """What a group's rules and an allow list's ports name."""
    a, b = w['svc1'], w['svc2']
    for port in (22, 8000, 8001, 8003):
        yield legit('tcp/%d' % port, 'svc1', 'svc2', tcp(a, b, 4000, port), tcp6(a, b, 4000, port))
        yield legit('tcp/%d answers' % port, 'svc2', 'svc1', tcp(b, a, port, 4001, 'SA'), tcp6(
            b, a, port, 4001, 'SA'), tcp(b, a, port, 4002, 'RA'), steps=[
                ('svc1', tcp(a, b, 4001, port)), ('svc1', tcp6(a, b, 4001, port)), (
                    'svc1', tcp(a, b, 4002, port))])
    for port in (53, 6000, 6005, 6010):
        yield legit('udp/%d' % port, 'svc1', 'svc2', udp(a, b, 4000, port), udp6(a, b, 4000, port))
        yield legit('udp/%d answers' % port, 'svc2', 'svc1', udp(b, a, port, 4010), steps=[
            ('svc1', udp(a, b, 4010, port))])
        yield legit('udp6/%d answers' % port, 'svc2', 'svc1', udp6(b, a, port, 4010), steps=[
            ('svc1', udp6(a, b, 4010, port))])
    yield legit('icmp', 'svc1', 'svc2', ping(a, b), ping6(a, b))
    yield legit('protocols by number', 'svc1', 'svc2', *(
        frame for number in (50, 89) for frame in (
            eth(a, b) / IP(src=a.ip, dst=b.ip, proto=number) / Raw(bytes(30)),
            eth(a, b) / IPv6(src=a.ip6, dst=b.ip6, nh=number) / Raw(bytes(30)))))
    yield legit('sctp/3868', 'svc1', 'svc2', sctp(a, b, 4000, 3868), sctp6(a, b, 4000, 3868))
    yield legit('asks for a file', 'svc1', 'svc2', rrq(a, b, 4040))
    asks = ('svc1', rrq(a, b, 4041))
    data, ack = udp(b, a, 50001, 4041), udp(a, b, 4041, 50001)
    yield legit('a file\'s data', 'svc2', 'svc1', data, steps=[asks])
    yield legit('data are acknowledged', 'svc1', 'svc2', ack, steps=[asks, ('svc2', data)])
    yield legit('more data', 'svc2', 'svc1', data, steps=[asks, ('svc2', data), ('svc1', ack)])
    asks6 = ('svc1', rrq6(a, b, 4042))
    data6, ack6 = udp6(b, a, 50001, 4042), udp6(a, b, 4042, 50001)
    yield legit('a file\'s data, IPv6', 'svc2', 'svc1', data6, steps=[asks6])
    yield legit('more data, IPv6', 'svc2', 'svc1', data6, steps=[
        asks6, ('svc2', data6), ('svc1', ack6)])
    wide, lan = w['wide'], w['lan']
    yield legit('icmp/8', 'wide', 'uplink', ping(wide, lan), ping6(wide, lan), split4(
        ping(wide, lan) / bytes(100), 32))
    yield legit('icmp/8 is answered', 'lan', 'wide', ping(lan, wide, type=0), ping(lan, wide), eth(
        lan, wide) / IPv6(src=lan.ip6, dst=wide.ip6) / ICMPv6EchoReply(data=b'ping'))
    yield legit('who is pinged is found', 'lan', 'wide', ns(lan, wide.ip6, wide), na(
        lan, lan.ip6, wide))
    yield legit('errors', 'svc1', 'svc2', eth(a, b) / IP(src=a.ip, dst=b.ip) / ICMP(
        type=3, code=3) / IP(src=b.ip, dst=a.ip) / UDP())


FAMILIES = {'talk': talk, 'resolution': resolution, 'infrastructure': infrastructure,
            'outside': outside, 'services': services}


def rows(w: Parties) -> List[Case]:
    """Return all rows, named by their family."""
    return [case._replace(id='legit %s: %s' % (family, case.id))
            for family, table in FAMILIES.items() for case in table(w)]
