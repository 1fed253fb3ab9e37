"""MAC addresses that a VIF uses beside its own, as CARP and VRRP do: whose they are, and where."""
import json
import os
import time
from typing import Dict, Iterator, Mapping, Tuple

import pytest
from sandbox.dom0 import Sandbox
from support.command import xsisolate
from support.packets.attacks import OUTSIDE, OUTSIDE6
from support.packets.built_network import Net, Party, network
from support.packets.frames import (IP, arp, eth, is_at, na, ns, ping, udp, udp6,
                                    who_has)
from support.packets.rows import UPLINK, Case, attack, legit
from support.packets.shared_network import FOLDER
from xsisolate.pipeline.tables import PLACE
from xsisolate.policy.model import HOLDERS

Parties = Mapping[str, Party]
FAMILY = 'additional MAC'
CONFIG = '''
version: 1
unsealed: accept
networks:
  '*':
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
SINGLE, WORD = '00:00:5e:00:01:05', 'vrrp'
VIRTUAL, VIRTUAL6 = '00:00:5e:00:01:05', '00:00:5e:00:02:05'
VIP, VIP6 = '10.9.0.1', 'fd00:9::1'
# Open vSwitch counts packets late, and learns from them once more: from the one before, too.
LATE_S, PATIENCE_S, AGREED = 0.4, 10, 4
CLIENTS = (('r', 13, {'groups': 'red'}), ('c', 21, {'groups': 'blue'}),
           ('un', 31, None), ('locked', 41, {'mode': 'locked'}))


def build(net: Net, *holders: str, entry: str = SINGLE, **policy: str) -> Parties:
    """Start a network's holders of the address, and what else is on it."""
    for number, name in enumerate(holders, 11):
        net.vm(name, number, {'groups': 'red', 'vif/0/mac': entry, **policy}, also=(VIP, VIP6))
    for name, number, other in CLIENTS:
        net.vm(name, number, other)
    return net.parties


def as_virtual(party: Party, mac: str = VIRTUAL) -> Party:
    """Return a party as it is when it has the virtual address: with the shared addresses."""
    return party._replace(mac=mac, ip=VIP, ip6=VIP6)


def says(me: Party, you: Party, at: str, mac: str = VIRTUAL) -> Iterator[Case]:
    """Yield what the holder of a virtual MAC address says to a peer, by it or about it."""
    virtual, by_it = as_virtual(me, mac), me._replace(mac=mac)
    yield legit('%s as %s to %s' % (me.name, mac, you.name), me.name, at, udp(virtual, you), udp6(
        virtual, you), udp(by_it, you), udp6(by_it, you), udp(me, you, src=VIP))
    yield legit('%s answers for it' % me.name, me.name, at, is_at(virtual, you), na(
        virtual, VIP6, you), arp(virtual, 1, VIP, you.ip, you), ns(virtual, you.ip6, you))
    # CARP's answers come from the machine's own address, and name the virtual one
    yield legit('%s answers for it, from its own' % me.name, me.name, at, is_at(
        me, you, VIP, mac), na(me, VIP6, you, tll=mac), is_at(virtual, you, VIP, me.mac))


def told(me: Party, you: str, places: Tuple[str, ...], mac: str = VIRTUAL) -> Case:
    """Return what is sent to a virtual MAC address, and who gets it."""
    virtual = Party(mac, VIP, VIP6)
    return legit('%s to %s, which %s has' % (me.name, mac, you), me.name, places, udp(
        me, virtual), udp6(me, virtual), is_at(me, virtual), ping(me, virtual), arp(
            me, 1, me.ip, VIP, virtual), ns(me, VIP6, virtual))


def take_over(net: Net, name: str) -> None:
    """Let a holder use the address until all that the one before has said is counted."""
    me, agreed, deadline = net.parties[name], 0, time.monotonic() + PATIENCE_S
    place = 'NXM_NX_REG15[6]' if name == 'far' else 'load:0x%x->NXM_OF_ETH_DST[]' % int(
        me.mac.replace(':', ''), 16)
    while agreed < AGREED:
        net.send(me, bytes(arp(as_virtual(me), 1, VIP, VIP)))
        time.sleep(LATE_S)
        flows = [flow for flow in net.dom0.ovs.dump_flows('xenbr0')
                 if 'table=%d,' % PLACE in flow and VIRTUAL in flow]
        agreed = agreed + 1 if any(place in flow for flow in flows) else 0
        assert time.monotonic() < deadline, flows


def posed(w: Parties, names: Tuple[str, ...], mac: str = VIRTUAL) -> Iterator[Case]:
    """Yield how others pose as the virtual address, to the whole network."""
    for name in names:
        me = w[name]
        for listener in ('r', 'c', 'locked', 'un'):
            if listener == name:
                continue
            you, virtual = w[listener], as_virtual(me, mac)
            own = me._replace(mac=mac)
            yield attack('%s as %s to %s' % (name, mac, listener), name, udp(virtual, you), udp6(
                virtual, you), udp(own, you), is_at(virtual, you), na(virtual, VIP6, you), is_at(
                    own, you), ns(own, you.ip6, you))
            if name != 'un':        # which may say what it likes under its own address
                yield attack('%s says that %s is it, to %s' % (name, mac, listener), name, is_at(
                    me, you, me.ip, mac), na(me, me.ip6, you, tll=mac), ns(
                        me, you.ip6, you, sll=mac))
        yield attack('%s announces %s' % (name, mac), name, arp(
            as_virtual(me, mac), 1, VIP, VIP), arp(me._replace(mac=mac), 1, me.ip, me.ip), na(
                as_virtual(me, mac), VIP6), eth(mac, '01:00:5e:00:00:12') / IP(
                    src=me.ip, dst='224.0.0.18', proto=112, ttl=255) / b'@MARK@MARK@!')


def overreach(w: Parties, name: str, other: str, mac: str = VIRTUAL) -> Iterator[Case]:
    """Yield what a holder tries by the virtual address that it may not by its own."""
    me, sibling = w[name]._replace(mac=mac), w[other]
    for listener in ('r', 'c', 'un', 'locked'):
        you = w[listener]
        yield attack('%s as %s with another\'s address to %s' % (name, mac, listener), name, *(
            frame for one in (sibling, w['r'], w['un'], w['c']) if one.name != listener
            for frame in (udp(me, you, src=one.ip), udp6(me, you, src=one.ip6), is_at(
                me, you, one.ip), na(me, one.ip6, you), is_at(me, you, one.ip, sibling.mac))),
            udp(me, you, src=OUTSIDE), is_at(me, you, me.ip, sibling.mac), eth(
                sibling, you) / udp(me, you)[IP])
    yield attack('%s as %s to a stranger' % (name, mac), name, udp(me, w['c']), udp6(
        me, w['c']), is_at(me, w['c']), arp(me, 1, me.ip, w['c'].ip), ping(me, w['c']))


def strangers(w: Parties, mac: str = VIRTUAL) -> Iterator[Case]:
    """Yield how those whom no holder admits send to the virtual address."""
    for name in ('c', 'un', 'locked'):
        yield attack('%s to %s' % (name, mac), name, *told(w[name], 'nobody', (), mac).frames)


@pytest.mark.parametrize('entry', [SINGLE, WORD])
def test_two_holders_of_one_host(dom0: Sandbox, entry: str) -> None:
    """The one that spoke by it last is sent what is for it; nobody else may speak by it."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        lan = net.lan('lan', 100)
        w = build(net, 'h1', 'h2', entry=entry)
        net.prime()
        both = 'h1', 'h2'
        stopped = [*posed(w, ('r', 'c', 'un', 'locked')), *overreach(w, 'h1', 'h2'),
                   *overreach(w, 'h2', 'h1')]
        if entry == SINGLE:         # a range may be in use by the LAN's own routers
            stopped += [attack('lan: ' + case.id, 'lan', *case.frames) for case in posed(
                {**w, 'un': lan._replace(name='un')}, ('un',))]
        net.play(FAMILY, (), [told(w['r'], 'nobody yet', both)])
        net.play(FAMILY, stopped)
        for name, other in (('h1', 'h2'), ('h2', 'h1'), ('h1', 'h2')):
            take_over(net, name)
            net.play(FAMILY, (), says(w[name], w['r'], 'r'))
            net.play(FAMILY, strangers(w), [told(w['r'], name, (name,))])
            net.play(FAMILY, (), [legit('%s takes over' % name, name, (UPLINK, other, 'r'), arp(
                as_virtual(w[name]), 1, VIP, VIP), arp(as_virtual(w[name]), 2, VIP, VIP), na(
                    as_virtual(w[name]), VIP6))])
            net.play(FAMILY, (), [told(w['r'], name, (name,)), legit(
                'r asks for the shared address', 'r', ('h1', 'h2'), who_has(
                    w['r'], as_virtual(w['h1'])), ns(w['r'], VIP6))])
        xsisolate('sync', '--dry-run')      # what the switch has learned is no difference
        assert 'also as       %s\n' % entry in xsisolate('status', 'h1').out
        assert 'h1 (%s) may also use MAC address %s' % (net.vms['h1'].netdev(), entry) in xsisolate(
            'explain', 'h1', 'r').out
        net.refresh()
        net.play(FAMILY, posed(w, ('r', 'un')), [told(w['r'], 'h1', ('h1',))])
        net.vms.pop('h1').shutdown()
        del net.parties['h1']
        net.play(FAMILY, posed(w, ('r', 'un')), [told(w['r'], 'h2', ('h2',)), *says(
            w['h2'], w['r'], 'r')])


def test_requests_stay_aloud(dom0: Sandbox) -> None:
    """A device of its own has the virtual address, and hears a request only as it was sent."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        w = build(net, 'h1')
        net.prime()
        net.vms['h1'].sniff('eth0')
        net.send(w['r'], bytes(who_has(w['r'], as_virtual(w['h1']))))
        net.send(w['r'], bytes(udp(w['r'], Party(VIRTUAL, VIP, VIP6))))
        heard = net.vms['h1'].sniffed('eth0', wait=0.2)
        assert [frame[:6].hex(':') for frame in heard if frame[6:12] == bytes.fromhex(
            w['r'].mac.replace(':', ''))] == ['ff:ff:ff:ff:ff:ff', VIRTUAL]


def give(net: Net, party: Party, **facts: object) -> None:
    """Make a machine beyond the uplink the other holder, on another host."""
    member: Dict[str, object] = {
        'network': net.dom0.network_uuid('xenbr0'), 'mac': party.mac, 'macs': [SINGLE],
        'addresses': [party.ip, party.ip6, party.ll, VIP, VIP6], 'shared': [VIP, VIP6], **facts}
    os.makedirs(FOLDER, exist_ok=True)
    for group in ('red', HOLDERS):
        with open('%s/%s.json' % (FOLDER, group), 'w') as file:
            json.dump({'version': 1, 'members': [member]}, file)


@pytest.mark.parametrize('here', [1, 0], ids=['one here', 'none here'])
def test_holders_on_two_hosts(dom0: Sandbox, here: int) -> None:
    """The uplink is believed about it as long as a VIF of the pool has it there, and no VIF is."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        far = net.lan('far', 12)
        net.uplinks[0]._switch.ip('link set lan type bridge ageing_time 0')     # a hub
        give(net, far)
        w = build(net, *['h1'] * here)
        net.prime()
        stopped = list(posed(w, ('r', 'c', 'un', 'locked')))
        net.play(FAMILY, stopped, [told(w['r'], 'nobody yet', ('h1', UPLINK) if here
                                        else (UPLINK,))])
        for _ in range(2):
            if here:        # else there is no choice, and nothing is learned
                take_over(net, 'far')
            net.play(FAMILY, (), says(w['far'], w['r'], 'r'))
            net.play(FAMILY, posed(w, ('r', 'un')), [told(w['r'], 'far', (UPLINK,)), legit(
                'r asks for the shared address', 'r', ('h1', UPLINK) if here else (UPLINK,),
                who_has(w['r'], as_virtual(w['far'])), ns(w['r'], VIP6))])
            net.play(FAMILY, [attack('the far one as %s to a stranger' % VIRTUAL, 'far', *(
                frame for case in says(w['far'], w['c'], 'c') for frame in case.frames))])
            if here:
                take_over(net, 'h1')
                net.play(FAMILY, (), says(w['h1'], w['r'], 'r'))
                net.play(FAMILY, posed(w, ('r', 'un')), [told(w['r'], 'h1', ('h1',))])
                net.play(FAMILY, (), [attack(
                    'c asks for the shared address', 'c', who_has(w['c'], as_virtual(far)), ns(
                        w['c'], VIP6))])
        os.unlink('%s/red.json' % FOLDER)


def test_routers_on_two_hosts(dom0: Sandbox) -> None:
    """A pair that is the gateway: clients leave by the virtual address, wherever it is."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        far = net.lan('far', 12)
        give(net, far, roles=['gateway'])
        os.unlink('%s/red.json' % FOLDER)
        w = build(net, 'h1', mode='locked', groups='routers', **{'vif/0/roles': 'gateway'})
        net.vm('leaver', 51, {'groups': 'red', 'allow': 'external'})
        net.prime()
        me, by = w['leaver'], Party(VIRTUAL, VIP, VIP6)
        for name, place in (('far', UPLINK), ('h1', 'h1'), ('far', UPLINK)):
            one = as_virtual(w[name])
            take_over(net, name)
            net.play(FAMILY, (), [
                legit('%s takes over' % name, name, 'leaver', is_at(one, me), na(one, VIP6, me),
                      udp(one, me, src=OUTSIDE), udp6(one, me, src=OUTSIDE6), is_at(
                          w[name], me, VIP, VIRTUAL))])
            net.play(FAMILY, [attack('in by %s' % name, name, udp(one, w['r'], src=OUTSIDE), udp(
                one, me, src=w['c'].ip), udp6(one, me, src=w['c'].ip6))], [
                legit('out by %s' % name, 'leaver', place, udp(me, by, dst=OUTSIDE), udp6(
                    me, by, dst=OUTSIDE6), ping(me, by)),
                legit('looks for it', 'leaver', ('h1', UPLINK), who_has(me, by), ns(me, VIP6))])
        net.play(FAMILY, [*posed(w, ('r', 'c', 'un', 'locked')), attack(
            'without leave', 'r', udp(w['r'], by, dst=OUTSIDE), udp6(w['r'], by, dst=OUTSIDE6))])


def test_who_may_not_list_it(dom0: Sandbox) -> None:
    """A newcomer of another group is quarantined; so is one whose own address it is."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        w = build(net, 'h1')
        net.vm('thief', 61, {'groups': 'blue', 'vif/0/mac': SINGLE})
        net.vm('born', 62, {'groups': 'red'}, mac=VIRTUAL)
        net.vm('greedy', 63, {'groups': 'blue', 'vif/0/mac': w['h1'].mac})
        net.vm('mute', 64, mac=VIRTUAL)
        net.prime('h1', 'r')
        for name in ('thief', 'born', 'greedy'):
            assert 'is already that of vif' in net.dom0.ovs.vsctl(
                'get', 'Interface', net.vms[name].netdev(), 'external_ids:xsisolate-error')
        assert 'belongs on this network to vif' in net.dom0.ovs.vsctl(
            'get', 'Interface', net.vms['mute'].netdev(), 'external_ids:xsisolate-error')
        net.play(FAMILY, [attack('%s says anything' % name, name, udp(w[name], w['r']), is_at(
            w[name], w['r']), udp(w[name], w['un'])) for name in (
                'thief', 'born', 'greedy', 'mute')], says(w['h1'], w['r'], 'r'))


def test_another_network_knows_nothing_of_it(dom0: Sandbox) -> None:
    """In another VLAN the same address is free, and there the holder has no power."""
    with network(dom0, CONFIG) as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        w = build(net, 'h1')
        net.bridge('xapi7', parent='xenbr0', vlan=7)
        net.vm('other', 71, mac=VIRTUAL, bridge='xapi7')
        net.vm('near', 72, bridge='xapi7')
        net.prime()
        net.play(FAMILY, posed(w, ('un',)), [
            *says(w['h1'], w['r'], 'r'), legit('the other\'s own', 'other', 'near', udp(
                w['other'], w['near'])), legit('to the other', 'near', 'other', udp(
                    w['near'], w['other'])), told(w['r'], 'h1', ('h1',))])
