"""VIFs on the move: a VM arrives from another host, or from this one, or changes its bridge.

The VIF of an arriving VM is plugged while its guest still runs on the source, beyond the
uplink. Until the guest speaks here, both places are its own; from then on only this one.
"""
import sys
import time
from typing import Iterator, List, Mapping, NamedTuple, Tuple


from sandbox.vm import GuestAddresses, Vm
from support.packets.rows import UPLINK, Case, attack, legit
from support.packets.exchanges import (forged, forgeries, friends, from_gateway, stolen, strangers,
                                       to_gateway)
from support.packets.frames import (ALL, IP, UDP, IPv6, arp, discover, eth, is_at, na, ns, offer,
                                    ping, ping6, ra, tagged, tcp, udp, udp6, who_has)
from support.packets.built_network import Net, Party, row

RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
OPEN = {'groups': 'red', 'allow': 'external'}
FAMILY = 'migration'
Parties = Mapping[str, Party]
LOCALS = ('b', 'c', 'un', 'locked')

# Numbered datagrams to an echo server, and how many of them came back.
RUNNING = '''
import socket, sys, time
talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talk.settimeout(0.01)
answered, count = set(), int(sys.argv[2])
for number in range(count + 50):
    if number < count:
        talk.sendto(b'%d' % number, (sys.argv[1], 7))
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        try:
            answered.add(talk.recv(99))
        except socket.timeout:
            pass
print(count - len(answered))
'''


class Arrival(NamedTuple):
    """A VM between two hosts."""

    source: Party       # its NIC beyond the uplink
    outgoing: Vm        # stands for the VM on the other host
    incoming: Vm        # plugged here


def arrive(net: Net, hvm: bool = False) -> Arrival:
    """Build the network: `a` arrives, `source` is the same VM beyond the uplink."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.join_group('red', net.lan('far', 101), 'xenbr0')
    net.lan('lan', 100)
    # a hub: Dom0 sees all that is said out there, whomever the switch believes it is for
    net.uplinks[0]._switch.ip('link set lan type bridge ageing_time 0')
    for name, number, policy in (('b', 12, RED), ('c', 21, BLUE), ('un', 31, None),
                                 ('locked', 41, {'mode': 'locked'})):
        net.vm(name, number, policy)
    source = net.lan('source', 11, mac='02:00:00:00:00:0b')
    net.vm('stopped', 11, OPEN, mac=source.mac, address=False, hvm=hvm)
    del net.parties['stopped']
    outgoing = net.vms['stopped']
    outgoing.unplug()
    net.prime()
    incoming = net.dom0.migrate_in(outgoing, plug=False)
    incoming.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)    # it does not run yet
    incoming.plug()
    assert incoming.uuid.endswith('000000000001')
    net.vms['a'] = incoming
    net.nic('a', incoming, 11, 'eth0', source.mac)
    if hvm:
        net.nic('emu', incoming, 11, 'emu0', source.mac)
        net.twins.update(a='emu', emu='a')
    net.prime(*LOCALS, 'gw', 'far', 'lan', 'source')
    return Arrival(source, outgoing, incoming)


# --- tables ---------------------------------------------------------------------------------


def for_the_guest(w: Parties, here: Tuple[str, ...], there: Tuple[str, ...] = ()) -> Iterator[Case]:
    """Yield who reaches the guest: locals `here` and, until it has spoken, `there`."""
    a = w['a']
    for name in ('b', 'far', 'gw'):
        me = w[name]
        to = here + there if name == 'b' else here
        yield legit('%s to the guest' % name, name, to, ping(me, a), ping6(me, a), udp(me, a), tcp(
            me, a, 4000, 22))
        yield legit('%s resolves the guest' % name, name, to, who_has(me, a), ns(me, a.ip6), arp(
            me, 1, me.ip, a.ip, a), ns(me, a.ip6, a))
        yield legit('%s answers the guest' % name, name, to, is_at(me, a), na(me, me.ip6, a))
    yield legit('DHCP answers the guest', 'gw', here, offer(w['gw'], a, a, ip_dst=a.ip))


def not_for_the_guest(w: Parties) -> Iterator[Case]:
    """Yield who does not reach the guest, on this host or on the other."""
    a = w['a']
    for name in ('c', 'un', 'locked', 'lan'):
        me = w[name]
        yield attack('%s to the guest' % name, name, ping(me, a), ping6(me, a), udp(me, a), tcp(
            me, a, 4000, 22))
        yield attack('%s resolves the guest' % name, name, who_has(me, a), ns(me, a.ip6), ns(
            me, a.ip6, a), arp(me, 1, me.ip, a.ip, a))
        yield attack('%s answers the guest' % name, name, is_at(me, a), na(me, me.ip6, a), is_at(
            me, a, w['b'].ip), na(me, w['b'].ip6, a))
        yield attack('%s speaks to the guest as a member' % name, name, eth(me, a) / ping(
            w['b'], a)[IP], eth(me, a) / ping6(w['b'], a)[IPv6], ping(w['b'], a))
    yield attack('un offers the guest DHCP and routes', 'un', offer(w['un'], a, a, ip_dst=a.ip),
                 ra(w['un'], a))


def by_the_source(w: Parties) -> Iterator[Case]:
    """Yield what the guest says where it still runs: its group hears it."""
    me, b = w['source'], w['b']
    yield legit('the source to a member', 'source', 'b', ping(me, b), ping6(me, b), udp(me, b), tcp(
        me, b, 4000, 22), is_at(me, b), na(me, me.ip6, b))
    yield legit('the source resolves a member', 'source', 'b', who_has(me, b), ns(me, b.ip6), ns(
        me, b.ip6, b), ns(me, b.ip6, ip=me.ll))
    # unmanaged VIFs hear whom they always hear
    yield legit('the source to the unmanaged', 'source', 'un', ping(me, w['un']))


def as_the_source(w: Parties) -> Iterator[Case]:
    """Yield what even the guest's own MAC address does not make pass from outside."""
    b, c, a, gw = w['b'], w['c'], w['a'], w['gw']
    for sender in ('source', 'lan'):
        def no(what: str, *frames: object, **more: object) -> Case:
            return attack('%s with the MAC of the guest %s' % (sender, what), sender, *frames,
                          **more)
        yield no('to a stranger', ping(a, c), ping6(a, c), udp(a, c), who_has(a, c), ns(a, c.ip6),
                 is_at(a, c), na(a, a.ip6, c))
        for whose, who in (('a member', b), ('a stranger', c), ('the gateway', gw),
                           ('the unmanaged', w['un'])):
            yield no('and an address of ' + whose, udp(a, b, src=who.ip), udp6(a, b, src=who.ip6),
                     is_at(a, b, who.ip), na(a, who.ip6, b), na(a, a.ip6, b, ip=who.ip6))
        yield no('and an address outside', udp(a, b, src='192.0.2.1'), udp6(
            a, b, src='2001:db8::1'))
        yield no('as a router', ra(a, b), eth(a, b) / ra(a)[IPv6])
        yield no('with a tag', *(tagged(ping(a, b), *vids) for vids in ((120,), (120, 121))),
                 may=('un.120', 'locked.120', 'un.120.121', 'locked.120.121'))


def theft_on_this_host(w: Parties) -> Iterator[Case]:
    """Yield what nobody here may say, spoken or not: the guest's MAC address is taken."""
    a = w['a']
    for sender in ('un', 'locked', 'c', 'b'):
        for name in ('b', 'un', 'gw'):
            if name != sender:
                yield attack('%s with the MAC of the guest to %s' % (sender, name), sender, ping(
                    a, w[name]), ping6(a, w[name]), is_at(a, w[name]), na(a, a.ip6, w[name]))
        yield attack('%s with the MAC of the guest aloud' % sender, sender, arp(
            a, 1, a.ip, a.ip), arp(a, 2, a.ip, a.ip), na(a, a.ip6), discover(a), eth(a, ALL) / IP(
                src=a.ip, dst='255.255.255.255') / UDP(), who_has(a, w['b']), ping(a, a))
        me = w[sender]
        if sender != 'b':
            yield attack('%s with the address of the guest' % sender, sender, eth(
                me, w['b']) / ping(a, w['b'])[IP], eth(me, w['b']) / ping6(a, w['b'])[IPv6], is_at(
                    me, w['b'], a.ip), na(me, a.ip6, w['b']), arp(me, 1, a.ip, w['b'].ip))


def theft_beyond_the_uplink(w: Parties) -> Iterator[Case]:
    """Yield what nobody outside may say any more: who has spoken lives here."""
    a = w['a']
    for sender in ('source', 'lan', 'gw'):
        for name in ('b', 'c', 'un'):
            yield attack('%s with the MAC of the guest to %s' % (sender, name), sender, ping(
                a, w[name]), ping6(a, w[name]), is_at(a, w[name]), na(a, a.ip6, w[name]), ns(
                    a, w[name].ip6))
        yield attack('%s with the MAC of the guest aloud' % sender, sender, arp(
            a, 1, a.ip, a.ip), na(a, a.ip6), eth(a, ALL) / IP(
                src=a.ip, dst='255.255.255.255') / UDP(), ping(a, a))


def by_the_guest(w: Parties, sender: str = 'a') -> Iterator[Case]:
    """Yield what the guest may say here."""
    a = w['a']
    for name, where in (('b', 'b'), ('far', UPLINK), ('gw', UPLINK)):
        you = w[name]
        yield legit('the guest to ' + name, sender, where, ping(a, you), ping6(a, you), udp(a, you),
                    is_at(a, you), na(a, a.ip6, you), who_has(a, you), ns(a, you.ip6))
    yield legit('the guest announces itself', sender, ('b', UPLINK), arp(a, 1, a.ip, a.ip), na(
        a, a.ip6))
    yield legit('the guest asks for DHCP', sender, UPLINK, discover(a))


def forbidden_to_the_guest(w: Parties, sender: str = 'a') -> Iterator[Case]:
    """Yield whom the guest does not reach here."""
    a = w['a']
    for name in ('c', 'un', 'locked', 'lan'):
        you = w[name]
        yield attack('the guest to ' + name, sender, ping(a, you), ping6(a, you), udp(
            a, you), who_has(a, you), ns(a, you.ip6), is_at(a, you), na(a, a.ip6, you))
    yield attack('the guest to a stranger behind a member', sender, eth(a, w['b']) / ping(
        a, w['c'])[IP], eth(a, w['c']) / ping(a, w['b'])[IP], eth(a, w['gw']) / ping(
            a, w['c'])[IP])


def invalid(w: Parties, sender: str = 'a') -> List[Case]:
    """Return what no guest may say: none of it proves that it runs here."""
    return [case._replace(sender=sender) for case in forged(w['a'], w['b'], w['c'], w['gw'])]


def after_it_spoke(net: Net, here: str) -> None:
    """Check this host where the guest runs, by its NIC `here`, and its theft from anywhere."""
    w = net.parties
    net.play(FAMILY, [*not_for_the_guest(w), *theft_on_this_host(w), *theft_beyond_the_uplink(w),
                      *forbidden_to_the_guest(w, here)],
             [*for_the_guest(w, (here,)), *by_the_guest(w, here)])


# --- onto this host -------------------------------------------------------------------------


def test_arrival_from_another_host(net: Net) -> None:
    """Phase by phase: silent, first valid frame, renamed, refreshed."""
    arrival = arrive(net)
    w = net.parties
    a = w['a']
    net.play(FAMILY, [*not_for_the_guest(w), *as_the_source(w), *theft_on_this_host(w)],
             [*for_the_guest(w, ('a',), (UPLINK,)), *by_the_source(w)])
    # each a first frame that is not valid: after all of them the source is still heard
    net.play(FAMILY, invalid(w), [*for_the_guest(w, ('a',), (UPLINK,)), *by_the_source(w)])
    net.check(row(a, arp(a, 1, a.ip, a.ip), 'b', 'eth0'))
    after_it_spoke(net, 'a')
    arrival.outgoing.depart()
    arrival.incoming.arrive()
    assert not arrival.incoming.uuid.endswith('000000000001')
    net.play(FAMILY, theft_beyond_the_uplink(w), [*for_the_guest(w, ('a',)), *by_the_guest(w)])
    net.refresh('a')
    after_it_spoke(net, 'a')
    net.play(FAMILY, [*as_the_source(w), *invalid(w)])
    net.refresh()
    net.check(*friends(net.parties['b'], a))


def test_arrival_with_an_emulated_nic(net: Net) -> None:
    """The guest may go on by its tap; a first frame for a stranger is a first frame, too."""
    arrival = arrive(net, hvm=True)
    w = net.parties
    a, b, c = (w[name] for name in 'abc')
    net.play(FAMILY, [*invalid(w), *invalid(w, 'emu'), *theft_on_this_host(w)], [
        *by_the_source(w), *for_the_guest(w, ('a', 'emu'), (UPLINK,))])
    net.check(row(w['emu'], ping(a, c)))
    net.play(FAMILY, [*theft_beyond_the_uplink(w), *invalid(w)], [
        *for_the_guest(w, ('emu',)), *by_the_guest(w, 'emu')])
    net.check(row(b, ping(b, a), 'emu'))
    net.check(row(a, discover(a), 'eth0'))          # its drivers have come up
    arrival.outgoing.depart()
    arrival.incoming.arrive()
    net.refresh('a')
    after_it_spoke(net, 'a')


def test_a_guest_that_arrives_and_says_nothing(net: Net) -> None:
    """When the migration is over the VIF lives here, spoken or not."""
    arrival = arrive(net)
    w = net.parties
    arrival.outgoing.depart()
    arrival.incoming.arrive()
    net.play(FAMILY, theft_on_this_host(w), [*for_the_guest(w, ('a',), (UPLINK,)),
                                             *by_the_source(w)])
    net.refresh('a')
    net.play(FAMILY, [*theft_on_this_host(w), *theft_beyond_the_uplink(w)],
             for_the_guest(w, ('a',)))


def test_no_packet_is_lost_between_members(net: Net) -> None:
    """Two guests talk all the time, while one of them arrives, speaks and is renamed."""
    arrival = arrive(net)
    source, guest, b = arrival.source.host, arrival.incoming, net.vms['b']
    assert source is not None
    source.serve()
    assert b.udp(arrival.source.ip)
    b.post('run', (sys.executable, '-c', RUNNING, arrival.source.ip, '250'), 30.0)
    guest.serve()
    time.sleep(0.3)
    guest.ip('addr add %s/24 dev eth0' % arrival.source.ip)     # its pause takes no time
    time.sleep(0.2)
    source.ip('link set eth0 down')
    arrival.outgoing.depart()
    arrival.incoming.arrive()
    net.refresh('a')
    code, out, err = b.answer()
    assert (code, out.strip()) == (0, '0'), out + err
    a = net.parties['a']
    net.check(*friends(net.parties['b'], a), *strangers(net.parties['c'], a))


# --- within this host -----------------------------------------------------------------------


def test_migration_within_the_host(net: Net) -> None:
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    old, b, un, gw = (net.vm('old', 11, OPEN, address=False), net.vm('b', 12, RED),
                      net.vm('un', 31), net.parties['gw'])
    net.prime()
    vm = net.vms.pop('old')
    net.check(*friends(old, b), *friends(b, old))
    incoming = net.dom0.migrate_in(vm, plug=False)
    incoming.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
    incoming.add_vif(incoming.vifs[0], GuestAddresses())
    incoming.plug()
    net.vms['new'] = incoming
    new = net.nic('new', incoming, 11, 'eth0', old.mac)
    net.check(*friends(old, b), *strangers(old, un), row(b, ping(b, old), 'old'),
              row(gw, ping(gw, old), 'old'))
    net.prime('new')
    assert 'new' in net.heard([row(b, ping(b, new))])[0]
    net.play(FAMILY, [*forged(new, b, un, gw), *forged(old, b, un, gw), *stolen(new, b, 'un')])
    vm.depart()
    del net.parties['old']
    incoming.arrive()
    rows = [*friends(new, b), *friends(b, new), *strangers(un, new), *strangers(new, un),
            *from_gateway(gw, new), *to_gateway(new, gw, 'eth0')]
    net.check(*rows)
    net.play(FAMILY, [*forged(new, b, un, gw), *stolen(new, b, 'un', 'gw')])
    net.prime('new')        # the physical switch has believed the thief
    net.refresh()
    net.check(*rows)


def test_vif_moves_to_another_bridge(net: Net) -> None:
    """With its tap; nothing of it stays behind."""
    net.bridge('xenbr0')
    net.bridge('xenbr1')
    net.uplink('xenbr0')
    h, b, un = net.vm('h', 11, OPEN, 'xenbr0', hvm=True, address=False), net.vm(
        'b', 12, RED, 'xenbr0'), net.vm('un', 31, None, 'xenbr0')
    b1, un1 = net.vm('b1', 13, RED, 'xenbr1'), net.vm('un1', 32, None, 'xenbr1')
    vm, gw = net.vms['h'], net.parties['gw']
    emu = net.nic('emu', vm, 11, 'emu0', h.mac)
    net.twins.update(h='emu', emu='h')
    net.prime()
    net.check(*friends(h, b), *friends(emu, b), *strangers(h, un))
    vm.move('xenbr1')
    net.prime()
    for nic in (h, emu):
        net.check(*friends(nic, b1), *strangers(nic, un1), *strangers(un1, nic), row(
            nic, ping(nic, b)), row(nic, ping(nic, gw)), *forgeries(nic, un1, b1))
        net.play('moves', [*forged(nic, b1, un1, gw), *stolen(nic, b1, 'un1')])
    vm.move('xenbr0')
    net.prime()
    net.check(*friends(h, b), *strangers(h, un), *strangers(un, h), *to_gateway(h, gw, 'eth0'),
              row(h, ping(h, b1)))
