"""Other networks than one bridge and one NIC: each keeps its VIFs apart, and carries them."""
import time
from typing import Any, Dict, Iterator, List

import pytest

from sandbox.process import ip, wait_until
from support.packets.rows import MARK, UPLINK, Case, attack, legit
from support.packets.exchanges import forgeries, friends, from_gateway, strangers, to_gateway
from support.packets.frames import (ALL, IGMP, IP, IPOption, IPv6, IPv6ExtHdrDestOpt, arp, discover,
                                    eth, ns, offer, ping, ping6, ra, tagged, udp, udp6, who_has)
from support.packets.built_network import Net, Party, Row, row

RED = {'groups': 'red'}
OPEN = {'groups': 'red', 'allow': 'external'}


# --- VLANs -----------------------------------------------------------------------------------


def test_vlan_networks(net: Net) -> None:
    """Two fake bridges and the untagged network, one trunk as uplink."""
    net.bridge('xenbr0')
    for vlan in (120, 121):
        net.bridge('xapi%d' % vlan, parent='xenbr0', vlan=vlan)
    net.uplink('xenbr0')
    a, b, un = (net.vm('a', 11, OPEN, 'xapi120'), net.vm('b', 12, RED, 'xapi120'),
                net.vm('un', 31, None, 'xapi120'))
    other, plain = net.vm('other', 13, RED, 'xapi121'), net.vm('plain', 14, RED, 'xenbr0')
    gw, lan = net.parties['gw'], net.lan('lan', 100)
    for again in (False, True):
        if again:
            net.refresh()
        net.prime()
        net.send(gw, tagged(arp(gw, 1, gw.ip, gw.ip), 120))
        net.check(
            *friends(a, b), *friends(b, a), *strangers(a, un), *strangers(un, a),
            *strangers(a, other), *strangers(other, a), *strangers(plain, a),
            *forgeries(a, un, b), *to_gateway(a, gw, 'eth0.120'), *from_gateway(gw, a, 120),
            # the same frame in another VLAN, or in none, is for nobody
            row(gw, ping(gw, a)), row(gw, tagged(ping(gw, a), 120, 121)),
            *strangers(lan, a), row(lan, tagged(ping(lan, a), 120)),
            row(lan, tagged(ping(a, b), 120)),                  # who has spoken lives here
            row(un, ping(un, lan), 'eth0.120') if again else row(un, ping(un, a)))


def test_equal_mac_and_address_on_two_vlans(net: Net) -> None:
    net.bridge('xenbr0')
    for vlan in (120, 121):
        net.bridge('xapi%d' % vlan, parent='xenbr0', vlan=vlan)
    net.uplink('xenbr0')
    mac = '02:00:00:00:00:0b'
    a, b = net.vm('a', 11, OPEN, 'xapi120', mac), net.vm('b', 12, RED, 'xapi120')
    a2, b2 = net.vm('a2', 11, OPEN, 'xapi121', mac), net.vm('b2', 12, RED, 'xapi121', b.mac)
    c2, gw = net.vm('c2', 13, RED, 'xapi121'), net.parties['gw']
    for again in (False, True):
        if again:
            net.vms.pop('a').shutdown()
            del net.parties['a']
        net.prime(*(name for name in net.parties))
        net.check(*friends(a2, b2), *friends(b2, a2), *friends(c2, a2),
                  *forgeries(a2, c2, b2), *from_gateway(gw, a2, 121),
                  *to_gateway(a2, gw, 'eth0.121'),
                  *([] if again else friends(a, b) + friends(b, a) + strangers(b, c2)
                    + from_gateway(gw, a, 120)))


def test_trunk_vif(net: Net) -> None:
    """A VIF with trunks uses its own tags and no others."""
    net.bridge('xenbr0')
    net.bridge('xapi120', parent='xenbr0', vlan=120)
    net.uplink('xenbr0')
    t = net.vm('t', 11, OPEN, 'xenbr0', trunks=(120, 121))
    u = net.vm('u', 12, RED, 'xenbr0', trunks=(120, 122))
    a, plain = net.vm('a', 13, RED, 'xapi120'), net.vm('plain', 14, RED, 'xenbr0')
    un, gw = net.vm('un', 31, None, 'xapi120'), net.parties['gw']
    net.prime()
    for trunk, vlan in ((t, 120), (t, 121), (u, 120), (u, 122)):
        net.send(trunk, tagged(arp(trunk, 1, trunk.ip, trunk.ip), vlan))
    time.sleep(0.05)
    hello = ping(t, a)
    net.check(
        row(t, tagged(hello, 120), 'a'), row(t, tagged(ping(t, u), 120), 'u.120'),
        row(a, ping(a, t), 't.120'), row(a, who_has(a, t), 't.120'),
        row(t, tagged(who_has(t, a), 120), 'a'), row(t, tagged(ns(t, u.ip6), 120), 'u.120'),
        row(t, tagged(ping(t, gw), 121), 'eth0.121'), row(gw, tagged(ping(gw, t), 121), 't.121'),
        row(t, tagged(hello, 120, prio=5), 'a'),
        # no tag, a foreign tag, a priority tag, two tags, another kind of tag
        row(t, hello), row(t, ping(t, plain)), row(t, tagged(ping(t, plain), 0)),
        row(t, tagged(ping(t, u), 122)), row(u, tagged(ping(u, t), 121)),
        row(t, tagged(hello, 120, 121)), row(t, tagged(hello, 0, 120)),
        row(t, tagged(hello, 121, 120)), row(t, tagged(hello, 4095)), row(t, tagged(hello, 0)),
        row(t, tagged(hello, 120, kind=0x88a8), 'a'),               # as 0x8100, see below
        row(t, tagged(hello, 120, 120, kind=0x88a8)), row(t, tagged(ping(t, u), 122, kind=0x88a8)),
        row(t, tagged(ping(t, un), 120)), row(un, ping(un, t)), row(un, tagged(ping(un, t), 120)),
        row(gw, tagged(ping(gw, t), 122)), row(gw, tagged(ping(gw, t), 120, 121)), row(
            gw, ping(gw, t)), row(plain, ping(plain, t)), row(plain, tagged(ping(plain, t), 120)))
    net.refresh()
    net.check(row(t, tagged(hello, 120), 'a'), row(t, tagged(ping(t, u), 122)))
    switch, device = net.wires['eth0']
    switch.sniff(device)
    net.send(t, tagged(ping(t, gw), 121, kind=0x88a8, prio=5))
    left, = [frame for frame in switch.sniffed(device) if frame[:12] == bytes(ping(t, gw))[:12]]
    assert left[12:16] == b'\x81\x00\xa0\x79'     # never a tag of the provider's, priority kept


# --- several bridges, several VIFs, several netdevs ----------------------------------------------


def test_several_bridges(net: Net) -> None:
    net.bridge('xenbr0')
    net.bridge('xenbr1')
    net.uplink('xenbr0')
    a, b, un = net.vm('a', 11, OPEN, 'xenbr0'), net.vm('b', 12, RED, 'xenbr0'), net.vm(
        'un', 31, None, 'xenbr1')
    a1, b1, gw = net.vm('a1', 11, RED, 'xenbr1', a.mac), net.vm('b1', 12, RED, 'xenbr1'), (
        net.parties['gw'])
    net.prime()
    net.check(*friends(a, b), *friends(b1, a1), *strangers(un, a1), *strangers(a, un),
              *to_gateway(a, gw, 'eth0'), row(a1, ping(a1, gw)))
    net.refresh()
    net.check(*friends(a, b), *friends(b1, a1), *strangers(un, a1))


# --- uplinks -----------------------------------------------------------------------------------


def bonded(net: Net, mode: str) -> None:
    """Put a bond of two cables on the bridge."""
    net.bridge('xenbr0')
    uplink = net.uplink('xenbr0', 'p0', put=False)
    net.second_cable(uplink, 'p1')
    net.dom0.ovs.vsctl('add-bond', 'xenbr0', 'bond0', 'p0', 'p1', 'bond_mode=' + mode)
    wait_until(lambda: active(net), 'an active member of the bond')


def active(net: Net) -> str:
    """Return which member of the bond is active."""
    mac = net.dom0.ovs.vsctl('get', 'Port', 'bond0', 'bond_active_slave').strip('"[]')
    return next((name for name in ('p0', 'p1') if mac and mac == net.dom0.ovs.vsctl(
        'get', 'Interface', name, 'mac_in_use').strip('"')), '')


def outside(net: Net, rows: List[Row]) -> None:
    """Check that frames leave by one member of the bond, and reach nobody on the host."""
    for one, heard in zip(rows, net.heard(rows)):
        assert len(heard) == 1 and heard <= {'p0', 'p1'}, (one.frame.hex(), heard)


@pytest.mark.parametrize('mode', ['active-backup', 'balance-slb'])
def test_bond_as_uplink(net: Net, mode: str) -> None:
    bonded(net, mode)
    a, b, un, gw = net.vm('a', 11, OPEN), net.vm('b', 12, RED), net.vm('un', 31), net.parties['gw']
    net.prime()
    net.check(*friends(a, b), *strangers(a, un), *strangers(un, a), *from_gateway(gw, a))
    outside(net, to_gateway(a, gw, ''))
    flush(net)
    outside(net, [row(a, ping(a, gw))])
    flush(net)
    outside(net, [row(a, ping6(a, gw))])
    assert net.vms['a'].ping('192.0.2.1') and net.vms['a'].tcp('2001:db8::1')
    before = active(net)
    wire = net.wires.pop(before)
    wire[0].ip('link set %s down' % wire[1])
    wait_until(lambda: active(net) not in ('', before), 'the other member')
    flush(net)
    outside(net, to_gateway(a, gw, '')[:3])     # broadcasts wait for the refresh
    assert net.vms['a'].ping('192.0.2.1') and net.vms['a'].tcp('2001:db8::1')
    net.check(*friends(a, b), *strangers(a, un), *strangers(un, a), *from_gateway(gw, a))
    net.refresh('a')
    outside(net, to_gateway(a, gw, ''))
    wire[0].ip('link set %s up' % wire[1])
    net.wires[before] = wire
    net.refresh('a')
    outside(net, to_gateway(a, gw, ''))
    assert net.vms['a'].ping('192.0.2.1')


def flush(net: Net) -> None:
    """Let the switch forget where everybody is, and what it has made of that."""
    net.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    net.dom0.ovs.settle()


def test_flows_in_use_survive_a_flush_on_a_bond(net: Net) -> None:
    bonded(net, 'balance-slb')
    a, gw = net.vm('a', 11, OPEN), net.parties['gw']
    net.vm('un', 31)
    net.prime()
    outside(net, [row(a, ping(a, gw))])
    time.sleep(1.1)
    net.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    time.sleep(0.6)
    outside(net, [row(a, ping(a, gw))])


def test_patch_port_as_second_uplink(net: Net) -> None:
    """A patch leads to another bridge of the host: that is outside, too."""
    net.bridge('xenbr0')
    net.bridge('xenbr1')
    net.uplink('xenbr0')
    for here, there in (('xenbr0', 'xenbr1'), ('xenbr1', 'xenbr0')):
        net.dom0.ovs.vsctl('add-port', here, 'to-' + there, '--', 'set', 'Interface',
                           'to-' + there, 'type=patch', 'options:peer=to-' + here)
    second_uplink(net, net.vm('beyond', 33, None, 'xenbr1'), 'beyond')


def test_tunnel_port_as_second_uplink(net: Net) -> None:
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.dom0.ovs.vsctl('add-port', 'xenbr0', 'tun0', '--', 'set', 'Interface', 'tun0',
                       'type=vxlan', 'options:remote_ip=192.0.2.77', 'options:key=7')
    second_uplink(net, None, '')


def second_uplink(net: Net, beyond: object, at: str) -> None:
    """Isolation holds with two uplinks; what is known to be outside leaves."""
    more = [at] if at else []
    a, b, un, gw = (net.vm('a', 11, OPEN, 'xenbr0'), net.vm('b', 12, RED, 'xenbr0'),
                    net.vm('un', 31, None, 'xenbr0'), net.parties['gw'])
    rows = [*friends(a, b), *friends(b, a), *strangers(a, un), *strangers(un, a),
            *forgeries(a, un, b), *from_gateway(gw, a), row(a, ping(a, gw), 'eth0'),
            row(a, who_has(a, gw), 'eth0'), row(a, discover(a), 'eth0', *more),
            row(un, ping(un, gw), 'eth0')]
    if isinstance(beyond, Party):
        rows += strangers(beyond, a) + strangers(a, beyond) + [
            row(un, ping(un, beyond), beyond.name), row(beyond, ping(beyond, un), 'un')]
    for again in (False, True):
        if again:
            net.refresh()
        net.prime()
        net.check(*rows)


@pytest.mark.parametrize('device', ['xenbr0', 'dom0port'])
def test_dom0_port_with_address(net: Net, device: str) -> None:
    """Dom0 is an unmanaged peer: who does not admit it does not hear it."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    d = net.dom0_nic('xenbr0', device, 90)
    a, un = net.vm('a', 11, RED), net.vm('un', 31)
    f = net.vm('f', 13, {'mode': 'isolated', 'allow': '10.9.0.90'})
    net.prime()
    rows = [*strangers(d, a), *strangers(a, d), row(d, ping(d, f), 'f'), row(f, ping(f, d), device),
            row(d, who_has(d, f), 'f'), row(d, arp(d, 2, d.ip, f.ip, f), 'f'),
            row(d, ping(d, un), 'un'), row(un, ping(un, d), device),
            row(d, eth(a, f) / ping(d, f).payload),         # a managed VIF's MAC address
            row(d, ping6(d, f)), row(un, ping(un, f))]
    net.check(*rows)
    assert net.vms['f'].ping('10.9.0.90') and not net.vms['a'].ping('10.9.0.90', 0.3)
    net.refresh()
    net.check(*rows)


# --- what the switch has learned, and forgets ----------------------------------------------------


def test_flows_in_use_survive_a_flush(net: Net) -> None:
    """The switch's cache is translated anew, without learning anything: nothing may flood."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    a, b, gw = net.vm('a', 11, OPEN), net.vm('b', 12, RED), net.parties['gw']
    net.vm('un', 31)
    net.prime()
    rows = [row(a, ping(a, b), 'b'), row(a, ping(a, gw), 'eth0'), row(a, ping6(a, gw), 'eth0')]
    net.check(*rows)
    time.sleep(1.1)     # the packets have been counted
    net.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    time.sleep(0.6)     # the cache has been looked through
    net.check(*rows)


@pytest.mark.parametrize('policy', [RED, {'mode': 'disabled'}, {'mode': 'nonsense'}])
def test_what_a_vif_was_learned_to_be_is_forgotten(net: Net, policy: Dict[str, str]) -> None:
    """An unlocked VIF that has used other MAC addresses and joined groups becomes isolated."""
    net.bridge('xenbr0', 'mcast_snooping_enable=true')
    net.uplink('xenbr0')
    a, un = net.vm('a', 11, {'mode': 'unlocked'}), net.vm('un', 31)
    other = '02:00:00:00:77:77'
    net.prime()
    net.send(a, bytes(arp(other, 1, '10.9.0.77', '10.9.0.77')))
    for _ in range(2):
        net.send(a, bytes(eth(a, '01:00:5e:01:01:01') / IP(src=a.ip, dst='239.1.1.1', ttl=1,
                 options=IPOption(b'\x94\x04\x00\x00')) / IGMP(type=0x16, gaddr='239.1.1.1')))
    stray = eth(un, other) / udp(un, a).payload
    cast = eth(un, '01:00:5e:01:01:01') / udp(un, a, dst='239.1.1.1').payload
    net.check(row(un, stray, 'a'))
    assert '239.1.1.1' in net.dom0.ovs.appctl('mdb/show', 'xenbr0')
    net.vms['a'].set_policy(dict(policy, **{'vif/0/ipv4': a.ip}))
    net.refresh('a')
    assert all('a' not in heard for heard in net.heard([row(un, stray), row(un, cast)]))


# --- settings of the bridge ----------------------------------------------------------------------


def test_secure_fail_mode(net: Net) -> None:
    """Without a NORMAL flow isolated VIFs have their peers, and others nothing."""
    net.bridge('xenbr0', 'fail_mode=secure')
    net.uplink('xenbr0')
    a, b, un, gw = net.vm('a', 11, OPEN), net.vm('b', 12, RED), net.vm('un', 31), net.parties['gw']
    un2 = net.vm('un2', 32)
    net.prime()
    rows = [*friends(a, b), *to_gateway(a, gw, 'eth0'), *from_gateway(gw, a)[:3],
            *strangers(a, un), *strangers(un, a), *forgeries(a, un, b)]
    net.check(*rows, row(un, ping(un, un2)))
    net.dom0.ovs.add_flow('xenbr0', 'priority=0,actions=NORMAL')
    net.refresh()
    net.prime()
    net.check(*rows, row(un, ping(un, un2), 'un2'), *from_gateway(gw, a))


def test_jumbo_frames(net: Net) -> None:
    """Frames of 9000 bytes are judged as short ones, and arrive whole."""
    net.bridge('xenbr0')
    uplink = net.uplink('xenbr0')
    uplink._switch.ip('link set uplink mtu 9000', 'link set lan mtu 9000',
                      'link set port0 mtu 9000')
    uplink.gateway.ip('link set eth0 mtu 9000')
    ip(['link set eth0 mtu 9000'])
    a, b, c, un = (net.vm(name, number, policy, mtu=9000) for name, number, policy in (
        ('a', 11, OPEN), ('b', 12, RED), ('c', 21, {'groups': 'blue'}), ('un', 31, None)))
    short, gw = net.vm('short', 13, RED), net.parties['gw']
    net.prime()
    net.play('jumbo', jumbo_attacks(a, b, c, un, gw), jumbo_talk(a, b, gw))
    net.refresh()
    net.play('jumbo', (), [*jumbo_talk(a, b, gw), legit('to a small MTU', 'a', 'short', ping(
        a, short))])
    assert net.vms['a'].ping(b.ip, size=8000) and net.vms['a'].ping(gw.ip6, size=8000)


def jumbo(packet: Any) -> Any:
    """Return a packet of 9000 bytes, less the mark that makes it known."""
    return packet / (MARK + bytes(9000 - len(packet.payload) - len(MARK)))


def jumbo_talk(a: Party, b: Party, gw: Party) -> Iterator[Case]:
    """Yield what arrives whole."""
    for one, other, at in ((a, b, 'b'), (b, a, 'a'), (a, gw, UPLINK), (gw, a, 'a')):
        yield legit('%s to %s' % (one.name, other.name), one.name, at, jumbo(udp(
            one, other)), jumbo(udp6(one, other)), jumbo(ping(one, other)), jumbo(ping6(
                one, other)))
    yield legit('a outside', 'a', UPLINK, jumbo(udp(a, gw, dst='192.0.2.1')), jumbo(udp6(
        a, gw, dst='2001:db8::1')))
    yield legit('a to its group', 'a', 'b', jumbo(eth(a, ALL) / udp(
        a, b, dst='255.255.255.255')[IP]))


def jumbo_attacks(a: Party, b: Party, c: Party, un: Party, gw: Party) -> Iterator[Case]:
    """Yield what arrives no more than if it were short."""
    for one, other in ((a, c), (c, a), (a, un), (un, a), (b, gw), (gw, b)):
        yield attack('%s to %s' % (one.name, other.name), one.name, jumbo(udp(
            one, other)), jumbo(udp6(one, other)), jumbo(ping(one, other)))
    yield attack('a as others', 'a', *(jumbo(frame) for who in (b, c, gw) for frame in (
        eth(who, b) / udp(a, b)[IP], udp(a, b, src=who.ip), udp6(a, b, src=who.ip6))))
    yield attack('a outside as others', 'a', *(jumbo(frame) for who in (b, c) for frame in (
        udp(a, gw, src=who.ip, dst='192.0.2.1'), udp6(a, gw, src=who.ip6, dst='2001:db8::1'))))
    yield attack('un as others', 'un', *(jumbo(frame) for who in (b, c, gw) for frame in (
        eth(who, a) / udp(b, a)[IP], udp(un, a, src=who.ip), udp6(un, a, src=who.ip6))))
    yield attack('a as a server', 'a', jumbo(offer(a, b, b, ip_dst=b.ip)), jumbo(ra(a, b)), jumbo(
        eth(a, b) / IPv6(src=a.ll, dst=b.ll) / IPv6ExtHdrDestOpt() / ra(a, b)[IPv6].payload))
