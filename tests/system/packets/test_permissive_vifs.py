"""Permissive VIFs of each kind: XAPI's lock stays, roles and shared addresses go on, it ends."""
import sys
import time
from typing import Iterator, List

import pytest
from sandbox.dom0 import Sandbox
from support.command import xsisolate
from support.packets.built_network import CONFIG, Net, Party, network, row
from support.packets.frames import (Frame, arp, discover, is_at, na, offer, ping, ping6, tagged,
                                    udp, who_has)
from xsisolate.dom0.ovs.ofctl import dump_record
from xsisolate.openflow.ownership import RECORDED
from xsisolate.planner.refusal_record import Refusal, parse_seen

ENFORCED = CONFIG
PERMISSIVE = CONFIG.replace('version: 1\n', 'version: 1\npermissive: true\n')
NO = {'permissive': 'no'}       # unsealed: accept believes that
VIRTUAL, VIP, VIP6 = '00:00:5e:00:01:05', '10.9.0.80', 'fd00:9::50'
STREAM = '''
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(1)
lost = sent = 0
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    sent += 1
    one.sendto(b'%d' % sent, (sys.argv[1], 7))
    try:
        while int(one.recv(64)) != sent:
            pass
    except OSError:
        lost += 1
print(lost, sent)
'''


@pytest.fixture
def net(dom0: Sandbox) -> Iterator[Net]:
    with network(dom0, PERMISSIVE) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0')
        yield net


def recorded(net: Net, source: Party) -> List[Refusal]:
    net.dom0.ovs.settle()
    return [seen.refusal for seen in parse_seen(dump_record('xenbr0', RECORDED))
            if seen.refusal.source_mac == source.mac]


def test_xapis_lock_is_never_loosened(net: Net) -> None:
    """What XAPI refuses does not pass; what it admits passes, whatever the policy says."""
    a = net.vm('a', 11, {'groups': 'red'}, locking_mode='locked',
               ipv4_allowed=('10.9.0.11', '10.9.0.111'), ipv6_allowed=('fd00:9::b',))
    un = net.vm('un', 31)
    net.prime()
    as_second, as_third = a._replace(ip='10.9.0.111'), a._replace(ip='10.9.0.112')
    net.check(
        row(a, ping(a, un), 'un'), row(a, ping6(a, un), 'un'), row(un, ping(un, a), 'a'),
        row(a, ping(as_second, un), 'un'), row(a, is_at(as_second, un), 'un'),
        row(a, ping(as_third, un)), row(a, is_at(as_third, un)),
        row(a, ping(a._replace(mac='02:00:00:00:00:77'), un)), row(a, offer(a, un, un)),
        row(a, na(a, un.ip6, un)))
    assert {(one.reason, one.passed) for one in recorded(net, a) if one.source == as_second.ip} >= {
        ('spoofed IP', True)}
    assert {(one.reason, one.passed) for one in recorded(net, a) if one.source == as_third.ip} >= {
        ('spoofed IP', False)}
    net.vms['a'].set_locking('disabled')
    net.check(row(a, ping(a, un)), row(un, ping(un, a)))


def test_nobody_is_taken_for_it(net: Net) -> None:
    """A stranger may use its MAC address as without xsisolate; no enforced policy admits him so."""
    a = net.vm('a', 11, {'groups': 'red'})
    b = net.vm('b', 12, {'groups': 'red', **NO})
    un, other = net.vm('un', 31), net.vm('other', 13, {'groups': 'red'})
    net.prime()
    rows = [row(a, ping(a, b), 'b'), row(b, ping(b, a), 'a')]
    for stranger in (un, other):
        as_a = stranger._replace(mac=a.mac, ip=a.ip, ip6=a.ip6)
        rows += [row(stranger, ping(as_a, b)), row(stranger, is_at(as_a, b)),
                 row(stranger, ping6(as_a, b))]
    net.check(*rows, row(un, ping(un._replace(mac=a.mac), other), 'other'))


def test_a_conflict_and_a_mistake_would_quarantine_it(net: Net) -> None:
    net.vm('a', 11, {'groups': 'red'})
    un = net.vm('un', 31)
    c = net.vm('c', 13, {'groups': 'red', 'vif/0/ipv4': '10.9.0.11'})
    d = net.vm('d', 14, {'groups': 'red!'})
    net.prime()
    net.check(row(c, ping(c, un), 'un'), row(d, ping(d, un), 'un'), row(un, ping(un, d), 'd'))
    found = {vif['vm']: vif for vif in xsisolate('status', '--json').json['vifs']}
    would = {name: found[net.vms[name].uuid]['would_be'] for name in ('a', 'c', 'd')}
    assert not would['a'] and found[net.vms['a'].uuid]['permissive']
    assert would['c'].startswith('quarantined: ') and '10.9.0.11' in would['c']
    assert would['d'].startswith('quarantined: ') and 'groups' in would['d']


def test_what_it_says_aloud_reaches_enforced_members(net: Net) -> None:
    """Floods leave these out; the group's multicast does not. All others hear the flood."""
    a, b = net.vm('a', 11, {'groups': 'red'}), net.vm('b', 12, {'groups': 'red', **NO})
    c = net.vm('c', 13, {'groups': 'red'})
    net.vm('x', 21, {'groups': 'blue', **NO})
    net.vm('un', 31)
    net.prime()

    def mdns(sender: Party) -> Frame:
        return udp(sender, sender._replace(mac='01:00:5e:00:00:fb', ip='224.0.0.251'), 5353, 5353)
    net.check(row(a, mdns(a), 'b', 'c', 'un', 'eth0'), row(b, mdns(b), 'a', 'c'),
              row(a, arp(a, 1, a.ip, a.ip), 'b', 'c', 'un', 'eth0'),
              row(a, who_has(a, b), 'b', 'c', 'un', 'eth0'),
              row(b, who_has(b, a), 'a'), row(b, who_has(b, c), 'c'))


def test_an_address_that_it_shares_with_an_enforced_vif(net: Net) -> None:
    """Whoever asks finds the one that has it now, permissive or not, and it can be taken over."""
    shared = {'groups': 'red', 'allow': '10.9.0.31', 'vif/0/mac': VIRTUAL}
    a = net.vm('a', 11, shared, also=(VIP, VIP6))
    b = net.vm('b', 12, {**shared, **NO}, also=(VIP, VIP6))
    un, c = net.vm('un', 31), net.vm('c', 13, {'groups': 'red', **NO})
    net.prime()
    virtual = un._replace(mac=VIRTUAL, ip=VIP, ip6=VIP6)
    for has, other in ((a, 'b'), (b, 'a')):
        speaks = has._replace(mac=VIRTUAL, ip=VIP, ip6=VIP6)
        said = arp(speaks, 1, VIP, VIP)
        assert {other, 'eth0'} <= net.heard([row(has, said)])[0]
        assert {'a', 'b'} <= net.heard([row(un, who_has(un, virtual))])[0]
        net.check(row(c, udp(c, virtual), has.name))
        assert has.name in net.heard([row(un, udp(un, virtual))])[0]


def test_enforcing_it_loses_no_packet_of_what_is_admitted(net: Net) -> None:
    a, b, un = net.vm('a', 11, {'groups': 'red'}), net.vm('b', 12, {'groups': 'red'}), net.vm(
        'un', 31)
    net.prime()
    net.check(row(a, ping(a, un), 'un'), row(un, ping(un, b), 'b'))
    net.vms['b'].serve()
    assert net.vms['a'].udp(b.ip)
    net.vms['a'].post('run', (sys.executable, '-c', STREAM, b.ip, '8'), 60.0)
    for config in (ENFORCED, PERMISSIVE) * 3 + (ENFORCED,):
        net.dom0.configure(config)
        net.refresh()
        time.sleep(0.2)
    code, out, err = net.vms['a'].answer()
    lost, sent = map(int, out.split())
    assert not code and not lost and sent > 1000, out + err
    net.check(row(a, ping(a, un)), row(un, ping(un, b)), row(a, ping(a, b), 'b'))
    xsisolate('sync', '--dry-run')      # what hooks came to is what a fresh plan says


def test_a_dhcp_server_that_is_permissive_serves_enforced_clients(net: Net) -> None:
    server = net.vm('server', 9, {'mode': 'isolated', 'allow': '', 'vif/0/roles': 'dhcp'})
    client = net.vm('client', 12, {'groups': 'red', **NO})
    net.vm('x', 21, {'groups': 'blue'})
    net.prime()
    net.check(row(server, offer(server, client), 'client', 'x', 'eth0'),
              row(server, offer(server, client, client, ip_dst=client.ip), 'client'),
              row(client, discover(client), 'server', 'eth0'))


def test_a_trunk_vif(net: Net) -> None:
    """The switch lets its VLANs' tags in and no others, policy or not."""
    a, un = net.vm('a', 11, {'groups': 'red'}, trunks=(120, 121)), net.vm('un', 31)
    net.prime()
    net.check(row(a, tagged(ping(a, un), 120), 'un.120', 'eth0.120'),
              row(a, tagged(ping(a, un), 122)))
    assert {(one.reason, one.network & 0xfff, one.passed) for one in recorded(net, a)} >= {
        ('not a peer on egress', 120, True)}


def test_what_has_passed_is_not_counted_as_dropped(net: Net) -> None:
    a, un = net.vm('a', 11, {'groups': 'red'}), net.vm('un', 31)
    net.prime()
    net.check(row(a, ping(a._replace(mac='02:00:00:00:00:77'), un), 'un'),
              row(un, ping(un, a), 'a'))
    assert {(one.reason, one.passed) for one in recorded(net, un)} == {
        ('not a peer on ingress', True)}
    found, = [vif for vif in xsisolate('status', '--json').json['vifs'] if vif['permissive']]
    assert (found['spoofed'], found['isolated']) == (0, 0), found


def test_a_judged_frame_does_not_reach_who_holds_roles(net: Net) -> None:
    """It is the frame that passes which an enforced holder hears, or does not."""
    server = net.vm('server', 9, {'mode': 'isolated', 'allow': '', 'vif/0/roles': 'dhcp', **NO})
    a, un = net.vm('a', 11, {'groups': 'red'}), net.vm('un', 31)
    net.prime()
    net.check(*[row(party, frame, *{'a', 'un', 'eth0', *more} - {party.name})
                for party in (a, un) for frame, more in (
                    (na(party, party.ip6), ()), (arp(party, 1, party.ip, party.ip), ()),
                    (discover(party), ('server',)))])
    assert server
