"""A bridge that follows IGMP and MLD: who may join, and what a join shows to whom."""
from typing import Any, Iterable, Iterator, Mapping

import pytest

from support.packets.rows import UPLINK, Case, attack, legit
from support.packets.exchanges import forgeries, friends, from_gateway, strangers, to_gateway
from support.packets.frames import (IGMP, IP, UDP, ICMPv6MLReport2, IPOption, IPv6, Raw, eth, udp,
                                    udp6)
from support.packets.built_network import Net, Party

RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
OPEN = {'groups': 'red', 'allow': 'external'}
FAMILY = 'snooping'
GROUP, GROUP_MAC = '239.1.1.1', '01:00:5e:01:01:01'
GROUP6, GROUP6_MAC = 'ff05::101', '33:33:00:00:01:01'
ALERT = IPOption(b'\x94\x04\x00\x00')
Parties = Mapping[str, Party]


def cast(me: Party, group: str = GROUP) -> Any:
    """Return an IPv4 multicast."""
    return eth(me, GROUP_MAC) / IP(src=me.ip, dst=group) / UDP(dport=9) / b'word'


def cast6(me: Party) -> Any:
    """Return an IPv6 multicast."""
    return eth(me, GROUP6_MAC) / IPv6(src=me.ip6, dst=GROUP6) / UDP(dport=9) / b'word'


def report(me: Party, kind: int = 0x16) -> Any:
    """Return an IGMP report (or leave) for the group."""
    return eth(me, GROUP_MAC) / IP(src=me.ip, dst=GROUP, ttl=1, options=ALERT) / IGMP(
        type=kind, gaddr=GROUP)


def report3(me: Party) -> Any:
    """Return an IGMPv3 report: any source of the group, please."""
    return eth(me, '01:00:5e:00:00:16') / IP(
        src=me.ip, dst='224.0.0.22', ttl=1, options=ALERT, proto=2) / Raw(
            bytes.fromhex('2200e9fa0000000104000000ef010101'))


def query(me: Party) -> Any:
    """Return a general IGMP query, which makes the sender's port a router's."""
    return eth(me, '01:00:5e:00:00:01') / IP(
        src=me.ip, dst='224.0.0.1', ttl=1, options=ALERT) / IGMP(type=0x11, mrcode=100)


def report6(me: Party) -> Any:
    """Return an MLDv2 report for the IPv6 group."""
    record = b'\x04\0\0\x01' + bytes.fromhex('ff050000000000000000000000000101')
    return eth(me, '33:33:00:00:00:16') / IPv6(src=me.ll, dst='ff02::16', hlim=1) / (
        ICMPv6MLReport2(records_number=1)) / Raw(record)


def query6(me: Party) -> Any:
    """Return a general MLD query."""
    return eth(me, '33:33:00:00:00:01') / IPv6(src=me.ll, dst='ff02::1', hlim=1, nh=58) / Raw(
        bytes([130, 0]) + bytes(22))


def joined_by_the_managed(w: Parties) -> Iterator[Case]:
    """Yield what would make the switch send multicast to a managed VIF, or believe it a router."""
    for name in ('a', 'c', 'locked'):
        me = w[name]
        yield attack('%s joins by IGMP' % name, name, report(me), report(me, 0x12), report3(me),
                     report(me, 0x17))
        yield attack('%s queries' % name, name, query(me), query6(me))
    for name in ('a', 'c'):
        yield attack('%s joins by MLD' % name, name, report6(w[name]), seen_by=UPLINK)


def multicast_after_that(w: Parties, everybody: Iterable[str]) -> Iterator[Case]:
    """Yield who hears multicast: isolated VIFs that of their group's members, and no other's."""
    a, c, un = w['a'], w['c'], w['un']
    for sender in ('un', 'locked', 'gw'):
        me = w[sender]
        yield attack('%s to the group' % sender, sender, cast(me), cast6(me), eth(
            me, '01:00:5e:00:00:fb') / IP(src=me.ip, dst='224.0.0.251') / UDP(dport=5353), eth(
                me, '33:33:00:00:00:fb') / IPv6(src=me.ip6, dst='ff02::fb') / UDP(dport=5353),
            may=tuple(name for name in everybody if name != sender))
        yield attack('%s with the MAC of a member to the group' % sender, sender, eth(
            a, GROUP_MAC) / cast(me)[IP], eth(a, GROUP6_MAC) / cast6(me)[IPv6])
    yield attack('a stranger to the group', 'c', cast(c), cast6(c))
    yield attack('a member to a stranger by a group MAC', 'a', eth(a, GROUP_MAC) / udp(
        a, c)[IP], eth(a, GROUP_MAC) / udp(a, un)[IP], eth(a, GROUP6_MAC) / udp6(
            a, c)[IPv6], may='b')


def carried(w: Parties) -> Iterator[Case]:
    """Yield multicast that arrives: within a group, and among the unmanaged who have joined."""
    a, un = w['a'], w['un']
    yield legit('a member to the group', 'a', 'b', cast(a), cast6(a), eth(
        a, '01:00:5e:00:00:fb') / udp(a, un, 5353, 5353, dst='224.0.0.251')[IP], eth(
            a, '33:33:00:00:00:fb') / udp6(a, un, 5353, 5353, dst='ff02::fb')[IPv6])


@pytest.mark.parametrize('mld', ['true', 'false'])
@pytest.mark.parametrize('unregistered', ['flooded', 'dropped'])
def test_multicast_snooping(net: Net, unregistered: str, mld: str) -> None:
    """As XAPI sets it: what nobody has joined is flooded, or not even that.

    XCP-ng sets `enable-ipv6-mcast-snooping=false`; an Open vSwitch that knows it ignores MLD then.
    """
    net.bridge('xenbr0', 'mcast_snooping_enable=true',
               'other_config:mcast-snooping-disable-flood-unregistered=%s' % (
                   'true' if unregistered == 'dropped' else 'false'),
               'other_config:enable-ipv6-mcast-snooping=' + mld)
    net.uplink('xenbr0')
    a, b, un, gw = net.vm('a', 11, OPEN), net.vm('b', 12, RED), net.vm('un', 31), net.parties['gw']
    net.vm('c', 21, BLUE)
    net.vm('un2', 32)
    net.vm('un3', 33)
    net.vm('locked', 41, {'mode': 'locked'})
    net.prime()
    w = net.parties
    open_ = ('un', 'un2', 'un3', 'locked', UPLINK)
    rows = [*friends(a, b), *friends(b, a), *to_gateway(a, gw, 'eth0'), *from_gateway(gw, a),
            *strangers(a, un), *strangers(un, a), *forgeries(a, un, b)]
    net.check(*rows)
    net.play(FAMILY, [*joined_by_the_managed(w), *multicast_after_that(w, open_)], carried(w))
    assert GROUP not in members(net)
    # an unmanaged VM joins, another says that it is the router
    for _ in range(2):
        net.send(w['un2'], bytes(report(w['un2'])))
        net.send(w['un2'], bytes(report6(w['un2'])))
        net.send(w['un3'], bytes(query(w['un3'])))
    assert GROUP in members(net) and (GROUP6 in members(net) or mld == 'false')
    net.play(FAMILY, [*multicast_after_that(w, open_), *joined_by_the_managed(w)], [
        *carried(w), legit('un to those who have joined', 'un', ('un2', 'un3'), cast(un),
                           may=UPLINK)])
    net.refresh()
    net.check(*rows)


def members(net: Net) -> str:
    """Return who has joined which group, as the switch knows it."""
    return net.dom0.ovs.appctl('mdb/show', 'xenbr0')
