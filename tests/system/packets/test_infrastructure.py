"""Who may be a DHCP server or a router: as the network's configuration says, and never a VM."""
from typing import Iterator, List, Mapping

import pytest
from sandbox.dom0 import Sandbox
from support.packets.built_network import CONFIG, NO_MAC, Net, Party, network
from support.packets.frames import (IP, IPv6, advertise6, arp, discover, eth, is_at, na, ns, offer,
                                    ping, ping6, ra, rs, solicit6, tcp, udp, udp6, who_has)
from support.packets.rows import UPLINK, Case, attack, legit

Parties = Mapping[str, Party]
# red2 is red1's member; blue admits `un` by address: as a peer, not as a server or router.
POLICIES = (('red1', 11, {'groups': 'red', 'allow': 'external'}), ('red2', 12, {'groups': 'red'}),
            ('blue', 21, {'groups': 'blue', 'allow': '10.9.0.31 fd00:9::1f'}),
            ('nobody', 64, {'mode': 'isolated', 'allow': ''}), ('un', 31, None),
            ('evil', 32, None), ('locked', 41, {'mode': 'locked'}))
ISOLATED = ('red1', 'red2', 'blue', 'nobody')
VICTIMS = ('red1', 'blue')      # of which one admits `un`, the other red2
OTHERS = ('un', 'evil', 'locked', UPLINK)
SERVERS = '    dhcp_servers: [10.9.0.5, "fd00:9::5", "fe80::ff:fe00:aa05"]\n'

HOST_INTERNAL = '''
version: 1
unsealed: accept
networks:
  xenapi:
    dhcp_servers: [10.9.0.1]
'''


def build(net: Net) -> Parties:
    """Build the network: `server` is named in one of the configurations, `lan` in none."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.lan('server', 5)
    net.lan('lan', 100)
    for name, number, policy in POLICIES:
        net.vm(name, number, policy)
    net.prime()
    return net.parties


def others(*but: str) -> List[str]:
    """Return who hears what floods, less the sender."""
    return [name for name in OTHERS if name not in but]


# --- DHCP -----------------------------------------------------------------------------------


def answered(w: Parties, *servers: str) -> Iterator[Case]:
    """Yield the answers of servers that may give them."""
    for name in servers:
        me = w[name]
        for client in ISOLATED + ('locked',):
            you = w[client]
            yield legit('%s answers %s' % (name, client), name, client, offer(
                me, you, you, ip_dst=you.ip), offer(me, you, you), advertise6(
                    me, you, ip=me.ip6), advertise6(me, you, ip=me.ip6, ip_dst=you.ip6))
        yield legit('%s answers aloud' % name, name, ISOLATED + ('un', 'evil', 'locked'), offer(
            me, w['red1']))


def asked(w: Parties, named: bool) -> Iterator[Case]:
    """Yield the questions of clients: isolated ones ask the uplink only."""
    blue, un = w['blue'], w['un']
    # a peer within the network's subnets might be a server, unless others are named
    yield legit('blue asks its peer', 'blue', 'un' if named else UPLINK, udp(
        blue, un, 68, 67), udp6(blue, un, 546, 547))
    for client in ISOLATED:
        me = w[client]
        yield legit('%s looks for a server' % client, client, UPLINK, discover(me), solicit6(me))
        yield legit('%s renews' % client, client, UPLINK, udp(me, w['server'], 68, 67), udp6(
            me, w['server'], 546, 547), udp6(me, w['server'], 546, 547, src=me.ll))
        yield legit('%s renews by way of a router' % client, client, UPLINK, udp(
            me, w['gw'], 68, 67, dst=w['server'].ip))
    yield legit('locked looks for a server', 'locked', tuple(others('locked')), discover(
        w['locked']), solicit6(w['locked']))


def rogue_servers(w: Parties, *outsiders: str) -> Iterator[Case]:
    """Yield the answers of those who are no servers: of `outsiders`, and of any VM."""
    server = w['server']
    for name in outsiders + ('un', 'evil', 'locked', 'red2'):
        me = w[name]
        managed = name in ('locked', 'red2')
        as_server = [] if name in outsiders else [(server.ip, server.ip6), (w['gw'].ip,
                                                                             w['gw'].ip6)]
        for client in VICTIMS:
            you = w[client]
            yield attack('%s answers %s' % (name, client), name, offer(
                me, you, you, ip_dst=you.ip), offer(me, you, you), advertise6(me, you), advertise6(
                    me, you, ip=me.ip6), advertise6(me, you, ip=me.ip6, ip_dst=you.ip6))
            for ip, ip6 in as_server:
                yield attack('%s answers %s as %s' % (name, client, ip), name, offer(
                    me, you, you, ip=ip, ip_dst=you.ip), advertise6(me, you, ip=ip6), eth(
                        server, you) / offer(me, you, you, ip=ip, ip_dst=you.ip)[IP], eth(
                            server, you) / advertise6(me, you, ip=ip6)[IPv6])
        heard = () if managed else tuple(others(name, *[UPLINK] * (name in outsiders)))
        yield attack('%s answers aloud' % name, name, offer(me, w['red1']), *(
            offer(me, w['red1'], ip=ip) for ip, _ in as_server), seen_by=heard)


def rogue_questions(w: Parties) -> Iterator[Case]:
    """Yield questions to those who are no servers, and what is no question."""
    server, red2 = w['server'], w['red2']
    for client in ('red2', 'nobody'):
        me = w[client]
        for name in ('lan', 'gw', 'un', 'locked', 'blue'):
            yield attack('%s renews with %s' % (client, name), client, udp(
                me, w[name], 68, 67), udp6(me, w[name], 546, 547))
        yield attack('%s speaks to the server' % client, client, udp(me, server), udp(
            me, server, 67, 67), udp(me, server, 68, 69), udp6(me, server), udp6(
                me, server, 547, 547), udp(me, server, 53, 67))
        yield attack('%s renews outside' % client, client, udp(
            me, w['gw'], 68, 67, dst='192.0.2.1'), udp6(me, w['gw'], 546, 547, dst='2001:db8::1'))
        yield attack('%s renews with an address not its own' % client, client, udp(
            me, server, 68, 67, src=w['red1'].ip), udp6(me, server, 546, 547, src=w['red1'].ip6))
    # to the server's address at a neighbour's MAC address: never to the neighbour
    yield attack('red2 renews with the server at un', 'red2', eth(red2, w['un']) / udp(
        red2, server, 68, 67)[IP], eth(red2, w['un']) / udp6(red2, server, 546, 547)[IPv6],
        seen_by=UPLINK)
    yield attack('red2 renews with the server at locked', 'red2', eth(red2, w['locked']) / udp(
        red2, server, 68, 67)[IP], eth(red2, w['blue']) / udp(red2, server, 68, 67)[IP])


def finding(w: Parties, name: str, client: str) -> Iterator[Case]:
    """Yield how a client and a server beyond the uplink find each other's MAC address."""
    me, you = w[client], w[name]
    yield legit('%s looks for %s' % (client, name), client, UPLINK, who_has(me, you), arp(
        me, 1, me.ip, you.ip, you), *(ns(me, target, ip=ip) for target in (you.ip6, you.ll)
                                      for ip in (me.ip6, me.ll)), ns(me, you.ll, you, ip=me.ll))
    yield legit('%s answers %s' % (client, name), client, UPLINK, is_at(me, you), na(
        me, me.ip6, you, ip_dst=you.ll), na(me, me.ll, you, ip=me.ll, ip_dst=you.ll))
    yield legit('%s looks for %s' % (name, client), name, client, who_has(you, me), arp(
        you, 1, you.ip, me.ip, me), *(ns(you, target, ip=ip) for target in (me.ip6, me.ll)
                                      for ip in (you.ip6, you.ll)), ns(you, me.ll, me, ip=you.ll))
    yield legit('%s answers %s' % (name, client), name, client, is_at(you, me), na(
        you, you.ip6, me), na(you, you.ll, me, ip=you.ll), na(you, you.ip6, me, ip=you.ll))


def found(w: Parties, name: str) -> Iterator[Case]:
    """Yield the finding of a named server by all clients."""
    for client in ISOLATED:
        yield from finding(w, name, client)


def lost(w: Parties, name: str) -> Iterator[Case]:
    """Yield the same of a stranger, which nobody finds."""
    for client in ('red2', 'nobody'):
        aloud = bytes(ns(w[client], w[name].ll))[:6]    # perhaps the router's: the uplink hears it
        for case in finding(w, name, client):
            yield attack(case.id, case.sender, *(
                frame for frame in case.frames if frame[:6] != aloud))


def beyond_dhcp(w: Parties) -> Iterator[Case]:
    """Yield what a named server and a client say to each other that is not DHCP."""
    server = w['server']
    for client in ('red2', 'nobody'):
        me = w[client]
        yield attack('%s says more to the server' % client, client, ping(me, server), ping6(
            me, server), tcp(me, server, 4000, 67), udp(me, server, 68, 4000))
        yield attack('the server says more to %s' % client, 'server', ping(server, me), ping6(
            server, me), tcp(server, me, 67, 4000), udp(server, me, 67, 4000), udp6(
                server, me, 547, 4000), ra(server, me))
        # as the server, or in its name: from this host, and from another address out there
        for name in ('un', 'evil', 'locked', 'red2' if client != 'red2' else 'red1'):
            thief = w[name]
            yield attack('%s is the server to %s' % (name, client), name, is_at(
                thief, me, server.ip), arp(thief, 1, server.ip, me.ip, me), na(
                    thief, server.ip6, me, ip=server.ip6), na(thief, server.ll, me, ip=server.ll),
                ns(thief, me.ip6, me, ip=server.ll), na(thief, server.ll, me), is_at(
                    server, me), na(server, server.ll, me, ip=server.ll))
        yield attack('lan is the server to %s, and more' % client, 'lan', na(
            w['lan'], server.ll, me), na(w['lan'], w['gw'].ip6, me, ip=server.ll), is_at(
                w['lan'], me, w['red1'].ip), na(w['lan'], w['red1'].ip6, me, ip=server.ip6))
    # the server's address at a neighbour's MAC address: never to the neighbour
    red2 = w['red2']
    yield attack('red2 answers the server at un', 'red2', arp(
        red2, 2, red2.ip, server.ip, w['un']), na(red2, red2.ip6, w['un'], ip_dst=server.ll),
        seen_by=UPLINK)
    yield attack('red2 answers the server at its neighbours', 'red2', *(arp(
        red2, 2, red2.ip, server.ip, w[name]) for name in ('locked', 'blue')), na(
            red2, red2.ip6, w['locked'], ip_dst=server.ll))


@pytest.mark.parametrize('named', [True, False], ids=['named', 'any'])
def test_dhcp_servers(dom0: Sandbox, named: bool) -> None:
    """Those that the network names, or else any beyond the uplink."""
    config = CONFIG.rstrip() + '\n' + SERVERS if named else CONFIG
    with network(dom0, config) as net:
        w = build(net)
        outsiders = ('lan', 'gw')
        net.play('DHCP servers', [*rogue_servers(w, *outsiders if named else ()),
                                  *(rogue_questions(w) if named else ()), *lost(w, 'lan'),
                                  *(beyond_dhcp(w) if named else lost(w, 'server'))],
                 [*answered(w, 'server', *() if named else outsiders), *asked(w, named),
                  *(found(w, 'server') if named else ())])


def test_dom0_serves_its_own_network(dom0: Sandbox) -> None:
    """XAPI's internal management network has no uplink: there Dom0 is beyond it."""
    with network(dom0, HOST_INTERNAL) as net:
        net.bridge('xenapi')
        host = net.dom0_nic('xenapi', 'xenapi', 1)
        me, blue = net.vm('red1', 11, {'groups': 'red'}), net.vm('blue', 21, {'groups': 'blue'})
        un, locked = net.vm('un', 31, None), net.vm('locked', 41, {'mode': 'locked'})
        net.prime()
        dom0_hears, everybody = 'xenapi', ('red1', 'blue', 'un', 'locked')
        net.play('DHCP servers', [
            attack('Dom0 says more', 'xenapi', ping(host, me), udp(host, me), tcp(
                host, me, 22, 4000)),
            attack('more to Dom0', 'red1', ping(me, host), udp(me, host, 67, 67), tcp(
                me, host, 4000, 22)),
            *(attack('%s answers' % thief.name, thief.name, offer(thief, me, me, ip_dst=me.ip),
                     offer(thief, me, me, ip=host.ip), is_at(thief, me, host.ip), offer(
                         host, me, me)) for thief in (un, locked, blue))],
            [legit('looks for a server', 'red1', dom0_hears, discover(me), who_has(me, host), udp(
                me, host, 68, 67), is_at(me, host)),
             legit('Dom0 answers', 'xenapi', 'red1', offer(host, me, me, ip_dst=me.ip), who_has(
                 host, me), is_at(host, me)),
             legit('Dom0 answers aloud', 'xenapi', everybody, offer(host, me)),
             legit('locked looks for a server', 'locked', (dom0_hears, 'un'), discover(locked)),
             legit('Dom0 answers locked', 'xenapi', 'locked', offer(host, locked, locked))])


# --- routers --------------------------------------------------------------------------------


def advertised(w: Parties, *routers: str) -> Iterator[Case]:
    """Yield the advertisements of routers that are some."""
    for name in routers:
        me = w[name]
        yield legit('%s advertises' % name, name, ISOLATED + ('un', 'evil', 'locked'), ra(me), ra(
            me, ip='fe80::1'))
        for client in ISOLATED + ('locked',):
            yield legit('%s advertises to %s' % (name, client), name, client, ra(me, w[client]))
    for client in ISOLATED:
        yield legit('%s solicits' % client, client, UPLINK, rs(w[client]), rs(w[client], ip='::'))


def rogue_routers(w: Parties, *outsiders: str) -> Iterator[Case]:
    """Yield the advertisements of `outsiders` that are no routers, and of VMs."""
    gw = w['gw']
    for name in outsiders + ('un', 'evil', 'locked', 'red2'):
        me = w[name]
        managed = name in ('locked', 'red2')
        as_router = (me.ll, me.ip6, gw.ll)
        for client in VICTIMS:
            yield attack('%s advertises to %s' % (name, client), name, *(
                ra(me, w[client], ip=ip) for ip in as_router), eth(me, w[client]) / ra(me)[IPv6])
        heard = () if managed else tuple(others(name, *[UPLINK] * (name in outsiders)))
        yield attack('%s advertises' % name, name, *(ra(me, ip=ip) for ip in as_router),
                     seen_by=heard)


def posing_routers(w: Parties, known: bool) -> Iterator[Case]:
    """Yield VMs that advertise with the gateway's MAC address; when it is known, nobody hears."""
    gw = w['gw']
    for name in ('un', 'evil', 'locked', 'red2'):
        for client in VICTIMS:
            yield attack('%s advertises as the gateway to %s' % (name, client), name, ra(
                gw, w[client]), ra(gw, w[client], ip=w[name].ip6))
        heard = () if known or name in ('locked', 'red2') else tuple(others(name))
        yield attack('%s advertises as the gateway' % name, name, ra(gw), seen_by=heard)


@pytest.mark.parametrize('known', [True, False], ids=['known', 'any'])
def test_routers(dom0: Sandbox, known: bool) -> None:
    """The gateway, if its MAC address is configured, or else any beyond the uplink."""
    with network(dom0, CONFIG if known else NO_MAC) as net:
        w = build(net)
        routers = ('gw',) if known else ('gw', 'lan')
        net.play('routers', [*rogue_routers(w, *['lan'] * known), *posing_routers(w, known)],
                 advertised(w, *routers))
