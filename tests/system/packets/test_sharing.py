"""Addresses that members of one group take over from each other, and who else wants them."""
import json
import os
from typing import Iterator, Mapping, Sequence

import pytest

from support.packets.rows import UPLINK, Case, attack, legit
from support.packets.frames import (IP, IPv6, arp, eth, is_at, na, ns, ping, ping6, udp, udp6,
                                    who_has)
from support.packets.built_network import FOLDER, NO_MAC, Net, Party
from xsisolate.pipeline.peer_lookup import OWNERS_MAX
from xsisolate.policy.model import HOLDERS

pytestmark = pytest.mark.host(config=NO_MAC)     # any address could be an outside one

RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
OWNER = {'groups': 'red', 'allow': '10.9.0.70 fd00:9::46'}      # and the watcher
FAMILY = 'shared address'
# Of two owners, and of four.
PAIR, FOUR = ('10.9.0.80', 'fd00:9::50'), ('10.9.0.81', 'fd00:9::51')
OWNERS = {PAIR: ('v1', 'v2'), FOUR: ('v1', 'v2', 'v3', 'v4')}
GROUP = ('v1', 'v2', 'v3', 'v4', 'r')
Parties = Mapping[str, Party]


def taken_over(w: Parties) -> Iterator[Case]:
    """Yield how each owner uses an address, and is found by it."""
    for (ip, ip6), owners in OWNERS.items():
        for name in owners:
            me = w[name]
            for listener in ('r',) if me.name == 'v1' else ('watcher',):
                you = w[listener]
                yield legit('%s as %s to %s' % (name, ip, listener), name, listener, udp(
                    me, you, src=ip), udp6(me, you, src=ip6), is_at(me, you, ip), na(me, ip6, you),
                    na(me, ip6, you, ip=ip6), arp(me, 1, ip, you.ip, you), ns(
                        me, you.ip6, you, ip=ip6))
                yield legit('%s to %s as %s' % (listener, name, ip), listener, name, udp(
                    you, me, dst=ip), udp6(you, me, dst=ip6), arp(you, 1, you.ip, ip, me), ns(
                        you, ip6, me))
            yield legit('%s announces %s' % (name, ip), name, (UPLINK, *(
                other for other in GROUP if other != name)), arp(me, 1, ip, ip), arp(
                    me, 2, ip, ip), na(me, ip6), arp(me, 1, '0.0.0.0', ip), ns(
                        me, ip6, ip='::', sll=False))
        for listener in ('r', 'watcher'):
            you = w[listener]
            yield legit('%s asks who has %s' % (listener, ip), listener, owners, arp(
                you, 1, you.ip, ip), ns(you, ip6))


def claimed(w: Parties) -> Iterator[Case]:
    """Yield the claims of those who are no owners, to somebody who would believe them."""
    for (ip, ip6), owners in OWNERS.items():
        # the watcher admits the address whoever has it: only the MAC address is wrong
        for name in ('r', 'v3', 'c', 'un', 'lan', 'gw'):
            if name in owners:
                continue
            me = w[name]
            for listener in ('watcher', 'v1'):
                if name == listener:
                    continue
                you = w[listener]
                yield attack('%s answers for %s to %s' % (name, ip, listener), name, is_at(
                    me, you, ip), na(me, ip6, you), na(me, ip6, you, ip=ip6), is_at(
                        me, you, ip, w['v1'].mac), na(me, ip6, you, tll=w['v1'].mac), arp(
                            me, 1, ip, you.ip, you), ns(me, you.ip6, you, ip=ip6))
                if name != 'gw':        # which may have forwarded it
                    yield attack('%s as %s to %s' % (name, ip, listener), name, udp(
                        me, you, src=ip), udp6(me, you, src=ip6))
                if name != 'lan':       # which may have forged any MAC address
                    yield attack('%s with the MAC of an owner as %s to %s' % (name, ip, listener),
                                 name, udp(w['v1'], you, src=ip), udp6(w['v2'], you, src=ip6),
                                 is_at(w['v1'], you, ip), na(w['v2'], ip6, you))
            yield attack('%s asks as %s' % (name, ip), name, *(
                arp(me, 1, ip, w[you].ip) for you in ('watcher', 'v1') if you != name))
            if name != 'gw':
                yield attack('%s announces %s' % (name, ip), name, arp(me, 1, ip, ip), arp(
                    me, 2, ip, ip))


def confused(w: Parties) -> Iterator[Case]:
    """Yield an owner's use of the address with what is only the other owner's."""
    for (ip, ip6), owners in OWNERS.items():
        for name, other in zip(owners, owners[1:] + owners[:1]):
            me, sibling, you = w[name], w[other], w['r']
            yield attack('%s as %s with the MAC of %s' % (name, ip, other), name, udp(
                sibling, you, src=ip), udp6(sibling, you, src=ip6), is_at(sibling, you, ip), is_at(
                    me, you, ip, sibling.mac), na(me, ip6, you, tll=sibling.mac), eth(
                        sibling, you) / is_at(me, you, ip).payload, arp(sibling, 1, ip, ip), ns(
                            me, you.ip6, you, ip=ip6, sll=sibling.mac))
            yield attack('%s with the own address of %s' % (name, other), name, udp(
                me, you, src=sibling.ip), udp6(me, you, src=sibling.ip6), is_at(
                    me, you, sibling.ip), na(me, sibling.ip6, you), na(
                        me, sibling.ip6, you, ip=ip6))
        for name in ('r', 'watcher'):
            me = w[name]
            yield attack('%s to %s where it is not' % (name, ip), name, *(
                eth(me, w[place]) / frame for place in ('c', 'un', 'locked', 'lan')
                for frame in (udp(me, w['v1'], dst=ip)[IP], udp6(me, w['v1'], dst=ip6)[IPv6])))
    # owners of the one are not owners of the other
    yield attack('to an owner of another address', 'r', *(
        frame for name in ('v3', 'v4') for frame in (
            udp(w['r'], w[name], dst=PAIR[0]), udp6(w['r'], w[name], dst=PAIR[1]))))


def strangers_want_it(w: Parties) -> Iterator[Case]:
    """Yield how those whom no owner admits look for the address."""
    for (ip, ip6), owners in OWNERS.items():
        for name in ('c', 'un', 'locked', 'lan'):
            me = w[name]
            yield attack('%s asks who has %s' % (name, ip), name, arp(me, 1, me.ip, ip), ns(
                me, ip6), *(arp(me, 1, me.ip, ip, w[you]) for you in owners))
            yield attack('%s to %s' % (name, ip), name, *(
                frame for you in owners for frame in (udp(me, w[you], dst=ip), udp6(
                    me, w[you], dst=ip6))))
    thief = w['thief']
    yield attack('a stranger that lists the address says anything at all', 'thief', arp(
        thief, 1, PAIR[0], PAIR[0]), is_at(thief, w['r'], PAIR[0]), ping(thief, w['c']), who_has(
            thief, w['c']), udp(thief, w['r'], src=PAIR[0]), ping6(thief, w['c']))


def test_addresses_that_are_taken_over(net: Net) -> None:
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.lan('lan', 100)
    for number, name in enumerate(GROUP, 11):
        also = [' '.join(text) for text in zip(*(
            address for address, owners in OWNERS.items() if name in owners))] or ['', '']
        net.vm(name, number, OWNER if name != 'r' else RED, also=(also[0], also[1]))
    net.vm('watcher', 70, {'mode': 'isolated', 'allow':
                           'external 10.9.0.80/28 fd00:9::50/124 10.9.0.8/29 fd00:9::8/125'})
    net.vm('c', 21, BLUE)
    net.vm('thief', 22, BLUE, also=PAIR)
    net.vm('locked', 41, {'mode': 'locked'})
    net.vm('un', 31)
    net.prime()
    w = net.parties
    stopped = [*claimed(w), *confused(w), *strangers_want_it(w)]
    net.play(FAMILY, stopped, taken_over(w))
    net.refresh()
    net.vms.pop('v1').shutdown()        # the others keep what they have
    del net.parties['v1']
    net.play(FAMILY, (), legit_without_first(w))


def legit_without_first(w: Parties) -> Iterator[Case]:
    """Yield how the address is used when its first owner has gone."""
    me, you = w['v2'], w['r']
    for ip, ip6 in OWNERS:
        yield legit('v2 as %s when v1 has gone' % ip, 'v2', 'r', udp(me, you, src=ip), udp6(
            me, you, src=ip6), is_at(me, you, ip), na(me, ip6, you))
        yield legit('r asks who has %s when v1 has gone' % ip, 'r', tuple(
            name for name in OWNERS[ip, ip6] if name != 'v1'), arp(you, 1, you.ip, ip), ns(
                you, ip6))


MANY, MANY6 = '10.9.0.200', 'fd00:9::c8'


def test_as_many_as_can_share_an_address_and_one_more(net: Net) -> None:
    """The last owner is found as the first is; who comes later lacks that address and no other."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    names = ['n%d' % number for number in range(OWNERS_MAX + 1)]
    for number, name in enumerate(names, 11):
        net.vm(name, number, RED, also=(MANY, MANY6))
    net.vm('r', 60, RED)
    net.prime()
    w, late = net.parties, names[-1]
    net.play(FAMILY, late_claims(w, late, names[:-1]), many_owners(w, names[:-1], late))
    vif = net.vms[late]
    assert 'waits for shared %s %s' % (MANY, MANY6) in net.dom0.ovs.vsctl(
        'get', 'Interface', vif.netdev(), 'external_ids:xsisolate-error')
    net.vms.pop('n3').shutdown()
    del net.parties['n3']
    rest = [name for name in names if name != 'n3']
    net.play(FAMILY, (), many_owners(w, rest))
    assert 'xsisolate-error' not in net.dom0.ovs.vsctl(
        'get', 'Interface', vif.netdev(), 'external_ids')


def many_owners(w: Parties, owners: Sequence[str], late: str = '') -> Iterator[Case]:
    """Yield how each of many uses the address, and how it is asked for."""
    you = w['r']
    for name in owners:
        me = w[name]
        yield legit('%s as %s' % (name, MANY), name, 'r', udp(me, you, src=MANY), udp6(
            me, you, src=MANY6), is_at(me, you, MANY), na(me, MANY6, you))
        yield legit('%s is told as %s' % (name, MANY), 'r', name, udp(you, me, dst=MANY), udp6(
            you, me, dst=MANY6))
    yield legit('r asks who has %s' % MANY, 'r', tuple(owners), arp(you, 1, you.ip, MANY), ns(
        you, MANY6))
    if late:
        yield legit('%s keeps its own' % late, late, 'r', udp(w[late], you), udp6(w[late], you),
                    is_at(w[late], you))
        yield legit('%s is told' % late, 'r', late, udp(you, w[late]), udp6(you, w[late]))


def late_claims(w: Parties, late: str, owners: Sequence[str]) -> Iterator[Case]:
    """Yield what a VIF does with an address that it waits for."""
    me, you = w[late], w['r']
    yield attack('%s as %s' % (late, MANY), late, udp(me, you, src=MANY), udp6(
        me, you, src=MANY6), is_at(me, you, MANY), na(me, MANY6, you), arp(me, 1, MANY, MANY))
    yield attack('%s is told as %s' % (late, MANY), 'r', udp(you, me, dst=MANY), udp6(
        you, me, dst=MANY6))
    yield attack('%s as %s with an owner\'s MAC' % (late, MANY), late, udp(
        w[owners[-1]], you, src=MANY), is_at(w[owners[-1]], you, MANY))


# --- on several hosts ------------------------------------------------------------------------


def tell(net: Net, *parties: Party) -> None:
    """Write what the pool says of VIFs of other hosts that share an address in the group red."""
    os.makedirs(FOLDER, exist_ok=True)
    members = [{'network': net.dom0.network_uuid('xenbr0'), 'mac': party.mac, 'shared': PAIR,
                'addresses': [party.ip, party.ip6, party.ll, *PAIR]} for party in parties]
    for group in ('red', HOLDERS):
        with open('%s/%s.json' % (FOLDER, group), 'w') as file:
            json.dump({'version': 1, 'members': members}, file)


def held_by(w: Parties, name: str, places: Sequence[str]) -> Iterator[Case]:
    """Yield how one VIF uses the address wherever it is, and how members of the group find it."""
    (ip, ip6), me, you = PAIR, w[name], w['r']
    where = name if name in ('v1', 'v2') else UPLINK
    yield legit('%s as %s' % (name, ip), name, 'r', udp(me, you, src=ip), udp6(
        me, you, src=ip6), is_at(me, you, ip), na(me, ip6, you), arp(me, 1, ip, you.ip, you), ns(
            me, you.ip6, you, ip=ip6))
    yield legit('r to %s as %s' % (name, ip), 'r', where, udp(you, me, dst=ip), udp6(
        you, me, dst=ip6), arp(you, 1, you.ip, ip, me), ns(you, ip6, me))
    yield legit('r asks who has %s' % ip, 'r', tuple(places), arp(you, 1, you.ip, ip), ns(
        you, ip6))


def taken_from(w: Parties, holders: Sequence[str]) -> Iterator[Case]:
    """Yield how all others want the address, and what its holders may not."""
    (ip, ip6), you = PAIR, w['r']
    for name in ('lan', 'c', 'un', 'locked', 'r2'):
        me = w[name]
        yield attack('%s as %s' % (name, ip), name, udp(me, you, src=ip), udp6(me, you, src=ip6),
                     is_at(me, you, ip), na(me, ip6, you), arp(me, 1, ip, you.ip, you), ns(
                         me, you.ip6, you, ip=ip6))
        for holder in holders if name != 'lan' else ():     # beyond the uplink all can be forged
            yield attack('%s as %s by the MAC address of %s' % (name, ip, holder), name, udp(
                w[holder], you, src=ip), udp6(w[holder], you, src=ip6), is_at(w[holder], you, ip),
                na(w[holder], ip6, you))
    for name in ('c',):
        yield attack('%s to %s' % (name, ip), name, *(frame for holder in holders for frame in (
            udp(w[name], w[holder], dst=ip), udp6(w[name], w[holder], dst=ip6))), arp(
                w[name], 1, w[name].ip, ip), ns(w[name], ip6))
    for holder in holders:
        for other in holders:
            if other != holder:
                yield attack('%s by the own address of %s' % (holder, other), holder, udp(
                    w[holder], you, src=w[other].ip), udp6(w[holder], you, src=w[other].ip6), is_at(
                        w[holder], you, w[other].ip))
        yield attack('%s to a stranger as %s' % (holder, ip), holder, udp(
            w[holder], w['c'], src=ip), udp6(w[holder], w['c'], src=ip6), is_at(
                w[holder], w['c'], ip))
    yield attack('to a member that does not have it', 'r', udp(you, w['r2'], dst=ip), udp6(
        you, w['r2'], dst=ip6), udp(you, w['lan'], dst=ip), udp6(you, w['lan'], dst=ip6))


def hears_request(net: Net, name: str) -> bool:
    """Tell whether a VIF of another host is asked by broadcast, whichever had it last."""
    host = net.parties[name].host
    assert host
    host.sniff('eth0')
    net.send(net.parties['r'], bytes(arp(net.parties['r'], 1, net.parties['r'].ip, PAIR[0])))
    return any(frame[:6] == b'\xff' * 6 and frame[6:12].hex(':') == net.parties['r'].mac
               for frame in host.sniffed('eth0', wait=0.2))


@pytest.mark.parametrize('here', [2, 1, 0], ids=['two here', 'one here', 'none here'])
def test_an_address_that_moves_between_hosts(net: Net, here: int) -> None:
    """Members follow it to whichever VIF has it, in both directions, and no other VIF takes it."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.uplinks[0]._switch.ip('link set lan type bridge ageing_time 0')     # a hub
    net.lan('lan', 100)
    far = [net.lan(name, number) for number, name in enumerate(('far1', 'far2'), 101)]
    tell(net, *far)
    for number in range(here):
        net.vm('v%d' % (number + 1), 11 + number, RED, also=PAIR)
    net.vm('r', 15, RED)
    net.vm('r2', 16, RED)
    net.vm('c', 21, BLUE)
    net.vm('locked', 41, {'mode': 'locked'})
    net.vm('un', 31)
    net.prime()
    w = net.parties
    holders = ['v%d' % (number + 1) for number in range(here)] + ['far1', 'far2']
    for name in holders[:here]:
        assert 'xsisolate-error' not in net.dom0.ovs.vsctl(
            'get', 'Interface', net.vms[name].netdev(), 'external_ids')
    places = holders[:here] + [UPLINK]
    for name in (*holders, *reversed(holders)):
        net.play(FAMILY, taken_from(w, holders), held_by(w, name, places))
    assert hears_request(net, 'far1') and hears_request(net, 'far2')
    tell(net, far[1])           # the first has gone, or does not list it any more
    net.refresh()
    holders.remove('far1')
    net.play(FAMILY, [*taken_from(w, holders), attack('one that has gone', 'far1', udp(
        far[0], w['r'], src=PAIR[0]), udp6(far[0], w['r'], src=PAIR[1]), is_at(
            far[0], w['r'], PAIR[0]))], held_by(w, 'far2', places))
    os.unlink('%s/red.json' % FOLDER)
    os.unlink('%s/%s.json' % (FOLDER, HOLDERS))
