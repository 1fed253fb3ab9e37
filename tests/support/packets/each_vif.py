"""What each VIF has flows of its own for, tried on every one of them.

The other tables let a few do everything; here everybody does a little, and a few
what nobody does there. test_mutants.py takes each flow away and wants it missed.
"""
from typing import Any, Callable, Iterable, Iterator, Mapping

from support.packets import connections
from support.packets.attacks import ISOLATED, OUTSIDE, OUTSIDE6, Parties
from support.packets.rows import Case, attack, legit
from support.packets.frames import (ALL, IP, UDP, ICMPv6EchoRequest, IPv6, Raw, advertise6,
                                    arp, discover, eth, na, ns, ping, ping6, ra, split6, tcp6, udp,
                                    udp6)

LOCKED = ('locked', 'locked2')
UNBOUND = ('un', 'evil', *LOCKED, 'dom0')       # hear what floods
# Not red3, which is to keep silent.
SPEAKING = tuple(name for name in ISOLATED + LOCKED if name != 'red3')


def mdns(src: Any) -> Any:
    """Return a multicast that is for the sender's groups at most."""
    return eth(src, '01:00:5e:00:00:fb') / IP(src=src.ip, dst='224.0.0.251', ttl=255) / UDP(
        sport=5353, dport=5353)


def mld1(src: Any, kind: int, ip: str = '') -> Any:
    """Return a report or a farewell of MLD's first version."""
    return eth(src, '33:33:00:00:00:05') / IPv6(src=ip or src.ll, dst='ff02::5', hlim=1, nh=58) / (
        Raw(bytes([kind, 0]) + bytes(22)))


def speech(w: Parties, names: Iterable[str] = SPEAKING) -> Iterator[Case]:
    """Everybody resolves somebody, by each of its addresses, and is resolved."""
    for name in names:
        me, you = w[name], w['un' if name in LOCKED else 'gw']
        place = 'un' if name in LOCKED else 'uplink'
        for what, frame in (
                ('ARP', arp(me, 1, me.ip, you.ip, you)), ('NS', ns(me, you.ip6, you)),
                ('NS without SLLA', ns(me, you.ip6, you, sll=False)),
                ('NS by link-local', ns(me, you.ip6, you, ip=me.ll)),
                ('NA', na(me, me.ip6, you)), ('NA without TLLA', na(me, me.ip6, you, tll=False)),
                ('NA of link-local', na(me, me.ll, you, ip=me.ll))):
            yield legit('%s: %s' % (name, what), name, place, frame)
        yield legit('%s: IP' % name, name, place, ping(me, you) if name in LOCKED else discover(me))
        if name in LOCKED:
            yield legit('%s is spoken to' % name, 'un', name, ping(you, me), ping6(you, me))
        yield legit('%s is resolved' % name, 'gw', name, arp(w['gw'], 1, w['gw'].ip, me.ip, me),
                    ns(w['gw'], me.ip6, me))


def more(w: Parties) -> Iterator[Case]:
    """What is missing elsewhere: multicast of each group, MLDv1, IPv6 services, ICMP errors."""
    red1, gw, lan, web, svc1, svc2 = (w[name] for name in (
        'red1', 'gw', 'lan', 'web', 'svc1', 'svc2'))
    for name, other in (('blue1', 'blue2'), ('north', 'south'), ('south', 'north')):
        yield legit('mDNS of %s' % name, name, other, mdns(w[name]))
    yield legit('svc1 announces itself', 'svc1', ('uplink', 'svc2'), na(svc1, svc1.ip6))
    yield legit('MLDv1', 'red1', 'uplink', mld1(red1, 131), mld1(red1, 132), mld1(red1, 131, '::'))
    locked, hearers = w['locked'], ('uplink', *(name for name in UNBOUND if name != 'locked'))
    for what, to, kind in (('report', 22, 0x22), ('leave', 2, 0x17)):
        yield legit('locked: IGMP %s' % what, 'locked', hearers, eth(
            locked, '01:00:5e:00:00:%02x' % to) / IP(
                src=locked.ip, dst='224.0.0.%d' % to, ttl=1, proto=2) / Raw(
                    bytes([kind, 0]) + bytes(14)))
    yield legit('DHCPv6 renewal', 'red2', 'uplink', udp6(w['red2'], gw, 546, 547))
    yield legit('DHCPv6 advertise aloud', 'lan', ISOLATED + UNBOUND, advertise6(
        lan, red1, mac='33:33:00:00:00:01', ip_dst='ff02::1'))
    far = w['bluefar']
    yield legit('link-local of a remote member', 'blue2', 'uplink', eth(w['blue2'], far) / IPv6(
        src=w['blue2'].ll, dst=far.ll) / ICMPv6EchoRequest())
    far = w['redfar']
    yield legit('to a remote member by way of the gateway', 'red1', 'uplink', eth(red1, gw) / ping(
        red1, far)[IP], eth(red1, gw) / ping6(red1, far)[IPv6])
    yield legit('from a remote member by way of the gateway', 'gw', 'red1', eth(gw, red1) / ping(
        far, red1)[IP], eth(gw, red1) / ping6(far, red1)[IPv6])
    yield legit('services outside, IPv6', 'web', 'uplink', *(
        eth(web, gw) / IPv6(src=web.ip6, dst=OUTSIDE6) / frame[IPv6].payload for frame in (
            tcp6(web, gw, 4000, 443), udp6(web, gw, 4000, 53))))
    yield legit('a service outside answers, IPv6', 'gw', 'web', eth(gw, web) / IPv6(
        src=OUTSIDE6, dst=web.ip6) / tcp6(gw, web, 443, 4003, 'SA')[IPv6].payload, steps=[
            ('web', tcp6(web, gw, 4003, 443, dst=OUTSIDE6))])
    yield legit('DNS outside answers, IPv6', 'gw', 'web', udp6(gw, web, 53, 4009, src=OUTSIDE6),
                steps=[('web', udp6(web, gw, 4009, 53, dst=OUTSIDE6))])
    yield legit('udp/6008', 'svc1', 'svc2', udp(svc1, svc2, 4000, 6008), udp6(
        svc1, svc2, 4000, 6008))
    yield legit('udp/6008 answers', 'svc2', 'svc1', udp(svc2, svc1, 6008, 4011), udp6(
        svc2, svc1, 6008, 4011), steps=[('svc1', udp(svc1, svc2, 4011, 6008)), (
            'svc1', udp6(svc1, svc2, 4011, 6008))])


def singled_out(w: Parties) -> Iterator[Case]:
    """Everybody is the victim of a neighbour; what nobody tries elsewhere."""
    un, gw, lan, red1, red2, blue1, blue2, far = (w[name] for name in (
        'un', 'gw', 'lan', 'red1', 'red2', 'blue1', 'blue2', 'far'))
    for name in ISOLATED + LOCKED:
        you = w[name]
        yield attack('evil takes the MAC of ' + name, 'evil', eth(you, un) / ping(you, un)[IP])
        if name not in LOCKED:
            sender = 'evil' if name == 'blue1' else 'un'
            yield attack('%s to %s' % (sender, name), sender, ping(w[sender], you), ping6(
                w[sender], you))
    for to in (w['locked'], w['evil'], ALL):
        yield attack('un takes the MAC of the gateway, to %s' % getattr(to, 'name', 'all'), 'un',
                     eth(gw, to) / ping(un, w['locked'])[IP])
    yield attack('lan advertises routes', 'lan', ra(lan, red1), ra(lan, red1, ip=lan.ip6))
    yield attack('lan advertises routes aloud', 'lan', ra(lan), seen_by=UNBOUND)
    yield attack('ping6 in a first fragment', 'red1', split6(ping6(red1, red2) / bytes(100), 64)[0])
    yield attack('honest ND in a first fragment', 'red1', split6(na(
        red1, red1.ip6, red2), 16)[0], split6(ns(red1, red2.ip6, red2), 16)[0])
    yield attack('mDNS is not in the rules', 'svc1', mdns(w['svc1']))
    yield attack('MAC of a peer, address that is allowed', 'blue1', eth(blue1, blue2) / ping(
        blue1, un)[IP], eth(blue1, blue2) / ping6(blue1, un)[IPv6])
    for name in LOCKED:
        yield attack('allowed address outside, MAC of ' + name, 'far', eth(far, w[name]) / udp(
            far, gw, dst=OUTSIDE)[IP], eth(far, w[name]) / udp6(far, gw, dst=OUTSIDE6)[IPv6])


Table = Callable[[Parties], Iterator[Case]]
LEGIT: Mapping[str, Table] = {'speech': speech, 'more': more, **connections.LEGIT}
ATTACKS: Mapping[str, Table] = {'singled out': singled_out, **connections.ATTACKS}
