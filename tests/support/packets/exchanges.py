"""What parties say to each other: rows for a Net, whatever it is made of."""
from typing import Iterator, List

from support.packets.rows import Case, attack
from support.packets.frames import (ALL, IP, NOBODY, UDP, IPv6, advertise6, arp, discover, eth,
                                    is_at, na, ns, offer, ping, ping6, ra, rs, tagged, udp, udp6,
                                    who_has)
from support.packets.built_network import Party, Row, row


def friends(a: Party, b: Party, at: str = '') -> List[Row]:
    """Return what two members say to each other; `at` is where b hears it."""
    at = at or b.name
    return [row(a, ping(a, b), at), row(a, ping6(a, b), at), row(a, who_has(a, b), at),
            row(a, ns(a, b.ip6), at), row(a, udp(a, b), at)]


def strangers(a: Party, b: Party) -> List[Row]:
    """Return what nobody hears: a speaks to b, or as b, and one of the two is isolated."""
    return [row(a, ping(a, b)), row(a, ping6(a, b)), row(a, who_has(a, b)), row(a, ns(a, b.ip6)),
            row(a, udp(a, b)), row(a, arp(a, 2, a.ip, b.ip, b)), row(a, na(a, a.ip6, b))]


def forgeries(a: Party, b: Party, victim: Party) -> List[Row]:
    """Return what nobody hears: a managed VIF poses as another to a member of its group."""
    return [row(a, eth(b, victim) / ping(a, victim).payload),
            row(a, eth(a, victim) / ping(b, victim).payload),
            row(a, arp(a, 2, b.ip, victim.ip, victim)), row(a, na(a, b.ip6, victim)),
            row(a, tagged(ping(a, victim), 0)), row(a, tagged(ping(a, victim), 120))]


def to_gateway(a: Party, gw: Party, at: str) -> List[Row]:
    """Return what goes out of the uplink and nowhere else."""
    return [row(a, ping(a, gw), at), row(a, ping6(a, gw), at), row(a, who_has(a, gw), at),
            row(a, discover(a), at)]


def from_gateway(gw: Party, a: Party, vlan: int = 0) -> List[Row]:
    """Return what a gateway sends to a VIF that may leave."""
    frames = [ping(gw, a), ping6(gw, a), who_has(gw, a), offer(gw, a, a)]
    return [row(gw, tagged(frame, vlan) if vlan else frame, a.name) for frame in frames]


def forged(me: Party, peer: Party, other: Party, gw: Party) -> Iterator[Case]:
    """Yield what a managed VIF cannot say to its peer: it poses as another, or as more."""
    def no(what: str, *frames: object) -> Case:
        return attack('%s %s' % (me.name, what), me.name, *frames)
    for whose, who in (('a stranger', other), ('the peer', peer), ('the gateway', gw),
                       ('nobody', NOBODY)):
        yield no('with the MAC of ' + whose, eth(who, peer) / ping(me, peer)[IP], eth(
            who, peer) / ping6(me, peer)[IPv6], eth(who, ALL) / who_has(me, peer).payload)
    for whose, who in (('a stranger', other), ('the peer', peer), ('the gateway', gw)):
        yield no('with the addresses of ' + whose, udp(me, peer, src=who.ip), udp6(
            me, peer, src=who.ip6), udp6(me, peer, src=who.ll))
        # who may leave is asked about the receiver only, and no receiver here asks back
        yield no('outside with the address of ' + whose, udp(
            me, gw, src=who.ip, dst='192.0.2.1'), udp6(me, gw, src=who.ip6, dst='2001:db8::1'))
        yield no('as %s, MAC and address' % whose, ping(who, peer), ping6(who, peer), is_at(
            who, peer), na(who, who.ip6, peer), arp(who, 1, who.ip, who.ip))
        yield no('answers for ' + whose, is_at(me, peer, who.ip), is_at(
            me, peer, who.ip, who.mac), na(me, who.ip6, peer), na(me, me.ip6, peer, tll=who.mac))
        yield no('announces ' + whose, arp(me, 1, who.ip, who.ip), arp(me, 2, who.ip, who.ip), na(
            me, who.ip6), ns(me, who.ip6, ip='::', sll=False))
        yield no('asks as ' + whose, arp(me, 1, who.ip, peer.ip), ns(me, peer.ip6, ip=who.ip6),
                 ns(me, peer.ip6, sll=who.mac), rs(me, ip=who.ll))
    yield no('as a router', ra(me), ra(me, peer), ra(me, peer, ip=gw.ll))
    yield no('as a DHCP server', offer(me, peer), offer(me, peer, peer, ip_dst=peer.ip),
             advertise6(me, peer))
    yield no('with tags', tagged(ping(me, peer), 0), tagged(ping(me, peer), 120), tagged(
        discover(me), 120))
    yield no('aloud with a foreign address', eth(me, ALL) / IP(
        src=other.ip, dst='255.255.255.255') / UDP())


def stolen(owner: Party, victim: Party, *thieves: str) -> Iterator[Case]:
    """Yield what thieves without a policy cannot say with the MAC address of a managed VIF."""
    for thief in thieves:
        yield attack('%s with the MAC of %s' % (thief, owner.name), thief, ping(owner, victim),
                     ping6(owner, victim), is_at(owner, victim), na(owner, owner.ip6, victim))
        yield attack('%s with the MAC of %s aloud' % (thief, owner.name), thief, arp(
            owner, 1, owner.ip, owner.ip), who_has(owner, victim), ns(owner, victim.ip6), discover(
                owner), eth(owner, ALL) / IP(src=owner.ip, dst='255.255.255.255') / UDP())
