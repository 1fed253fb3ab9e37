"""A VIF that is the network's gateway, DHCP server or router; nobody else is, and it is no more."""
import json
from typing import Dict, Iterator, List, Mapping, Tuple

import pytest
from sandbox.dom0 import Sandbox
from support.packets.attacks import OUTSIDE, OUTSIDE6
from support.packets.rows import UPLINK, Case, attack, legit
from support.packets.frames import (ICMP, IP, UDP, ICMPv6PacketTooBig, IPv6, advertise6, arp,
                                    discover, eth, is_at, na, ns, offer, ping, ping6, ra, rs,
                                    solicit6, tagged, tcp, udp, udp6, who_has)
from support.packets.built_network import Net, Party, network
from support.packets.shared_network import FOLDER

Parties = Mapping[str, Party]
PRIVATE = '''
version: 1
unsealed: accept
networks:
  '*':
    subnets: [10.9.0.0/24, "fd00:9::/64"]
%s'''
NAMED = '''    gateways: [{vm: %s, devid: 0, ipv4: 10.9.0.254, ipv6: "fd00:9::fe"}]
    dhcp_servers: [{vm: %s, devid: 0}]
'''
POLICIES = (('red1', 11, {'groups': 'red', 'allow': 'external'}), ('red2', 12, {'groups': 'red'}),
            ('blue', 21, {'groups': 'blue', 'allow': 'external'}),
            ('nobody', 64, {'mode': 'isolated', 'allow': ''}), ('un', 31, None),
            ('evil', 32, None), ('locked', 41, {'mode': 'locked'}))
ISOLATED = ('red1', 'red2', 'blue', 'nobody')
LEAVING = ('red1', 'blue')
OPEN = ('un', 'evil', 'locked')
POSERS = ('un', 'evil', 'locked', 'red2')
ALL_ROLES = 'gateway, dhcp, router'


def build(net: Net, *bridge: str) -> Parties:
    """Start the clients of a network."""
    for name, number, policy in POLICIES:
        net.vm(name, number, policy, *bridge)
    return net.parties


# --- what a holder may do ------------------------------------------------------------------------


def served(w: Parties, at: str, isolated: bool, hears: Tuple[str, ...] = OPEN) -> Iterator[Case]:
    """Yield what the holder of all roles, seen at `at`, and its clients say to each other."""
    rt = w['rt']
    up = (UPLINK,) if at == UPLINK else (at, *[UPLINK] * (UPLINK in hears))
    for client in ISOLATED:
        me = w[client]
        yield legit('%s looks for the holder' % client, client, at, who_has(me, rt), arp(
            me, 1, me.ip, rt.ip, rt), ns(me, rt.ip6), ns(me, rt.ll, ip=me.ll), ns(
                me, rt.ll, rt, ip=me.ll), is_at(me, rt), na(me, me.ip6, rt, ip_dst=rt.ll))
        yield legit('the holder looks for %s' % client, 'rt', client, who_has(rt, me), arp(
            rt, 1, rt.ip, me.ip, me), ns(rt, me.ip6), ns(rt, me.ll, ip=rt.ll), is_at(rt, me), na(
                rt, rt.ip6, me), na(rt, rt.ll, me, ip=rt.ll))
        yield legit('%s asks for DHCP and a router' % client, client, up, discover(me), solicit6(
            me), rs(me), rs(me, ip='::'))
        yield legit('%s renews' % client, client, at, udp(me, rt, 68, 67), udp6(me, rt, 546, 547))
        yield legit('%s is answered' % client, 'rt', client, offer(
            rt, me, me, ip_dst=me.ip), offer(rt, me, me), advertise6(rt, me), ra(rt, me))
    aloud = ISOLATED + tuple(name for name in hears if name != at)
    yield legit('the holder answers aloud', 'rt', aloud, offer(rt, w['red1']), ra(rt))
    for client in LEAVING:
        me = w[client]
        yield legit('%s to the outside' % client, client, at, udp(me, rt, dst=OUTSIDE), udp6(
            me, rt, dst=OUTSIDE6))
        yield legit('the outside to %s' % client, 'rt', client, udp(rt, me, src=OUTSIDE), udp6(
            rt, me, src=OUTSIDE6))
        yield legit('%s and too big packets' % client, 'rt', client, eth(rt, me) / IP(
            src=rt.ip, dst=me.ip) / ICMP(type=3, code=4, nexthopmtu=1400) / IP(
                src=me.ip, dst=OUTSIDE) / UDP(), eth(rt, me) / IPv6(src=rt.ip6, dst=me.ip6)
            / ICMPv6PacketTooBig(mtu=1400) / IPv6(src=me.ip6, dst=OUTSIDE6) / UDP())
        if not isolated:
            yield legit('%s to the holder itself' % client, client, at, ping(me, rt), ping6(
                me, rt), udp(me, rt, 4000, 53))
            yield legit('the holder itself to %s' % client, 'rt', client, ping(rt, me), ping6(
                rt, me), tcp(rt, me, 53, 4000))
    for name in ('un', 'locked'):
        me = w[name]
        yield legit('%s to the outside' % name, name, at, udp(me, rt, dst=OUTSIDE), udp6(
            me, rt, dst=OUTSIDE6))
        yield legit('the outside to %s' % name, 'rt', name, udp(rt, me, src=OUTSIDE), udp6(
            rt, me, src=OUTSIDE6))
        yield legit('%s asks for DHCP' % name, name, tuple({*hears, at} - {name}), discover(
            me), rs(me))


# --- what it may not, and who is not it ------------------------------------------------------


def overreach(w: Parties) -> Iterator[Case]:
    """Yield what a holder that is a VIF with a policy tries beside its roles."""
    rt, stranger = w['rt'], '10.9.0.99'
    for client in ISOLATED:
        me = w[client]
        if client not in LEAVING:
            yield attack('from outside to %s' % client, 'rt', udp(rt, me, src=OUTSIDE), udp6(
                rt, me, src=OUTSIDE6), ping(rt, me), tcp(rt, me, 80, 4000))
        yield attack('redirects to %s' % client, 'rt', eth(rt, me) / IP(
            src=rt.ip, dst=me.ip) / ICMP(type=5, gw=rt.ip))
    for client in (*LEAVING, 'un', 'locked'):
        me = w[client]
        others = [w[name] for name in ('red1', 'red2', 'blue', 'un', 'locked') if name != client]
        # no hairpin: it forwards for addresses outside, and for none inside
        yield attack('hairpin to %s' % client, 'rt', *(udp(rt, me, src=one.ip) for one in others
                                                       if one.name != 'un'), *(
            udp6(rt, me, src=one.ip6) for one in others if one.name != 'un'), udp(
                rt, me, src=stranger), udp6(rt, me, src='fe80::99'), udp(rt, me, src='169.254.9.9'))
        yield attack('lies to %s' % client, 'rt', *(is_at(rt, me, one.ip) for one in others), *(
            na(rt, one.ip6, me) for one in others), is_at(rt, me, OUTSIDE), na(rt, OUTSIDE6, me),
            ns(rt, me.ip6, me, ip=OUTSIDE6), is_at(w['red2'], me), eth(w['red2'], me) / ping(
                rt, me)[IP], tagged(ping(rt, me), 120))
    yield attack('aloud from outside', 'rt', eth(rt, 'ff:ff:ff:ff:ff:ff') / IP(
        src=OUTSIDE, dst='255.255.255.255') / UDP(), eth(rt, '01:00:5e:00:00:fb') / IP(
            src=OUTSIDE, dst='224.0.0.251') / UDP(sport=5353, dport=5353))


def hairpin(w: Parties) -> Iterator[Case]:
    """Yield how groups try to meet by way of the holder."""
    rt = w['rt']
    for client, other in (('red1', 'blue'), ('blue', 'red1'), ('red1', 'nobody'), ('red2', 'blue')):
        me, you = w[client], w[other]
        yield attack('%s to %s by the gateway' % (client, other), client,
                     udp(me, rt, dst=you.ip), udp6(me, rt, dst=you.ip6))
    for client in ('red2', 'nobody'):
        me = w[client]
        yield attack('%s to the outside' % client, client, udp(me, rt, dst=OUTSIDE), udp6(
            me, rt, dst=OUTSIDE6), ping(me, rt), udp(me, rt, 67, 67), udp(me, rt, 68, 53))


def posers(w: Parties, names: Tuple[str, ...] = POSERS, hears: Tuple[str, ...] = OPEN,
           up: str = '') -> Iterator[Case]:
    """Yield VIFs that pose as the holder, in each of its roles."""
    rt = w['rt']
    for name in names:
        me = w[name]
        managed = name in ('locked', 'red2')
        heard = () if managed else tuple(other for other in hears if other not in (name, up))
        for client in LEAVING:
            you = w[client]
            yield attack('%s poses as the holder to %s' % (name, client), name, *(
                offer(me, you, you, ip=ip) for ip in (me.ip, rt.ip)), advertise6(me, you), offer(
                    rt, you, you), advertise6(rt, you), ra(me, you), ra(rt, you), ra(
                        me, you, ip=rt.ll), is_at(me, you, rt.ip), na(me, rt.ip6, you), na(
                            me, rt.ll, you, ip=rt.ll), ns(me, you.ip6, you, ip=rt.ll), is_at(
                                rt, you), na(rt, rt.ip6, you), udp(me, you, src=OUTSIDE), udp6(
                                    me, you, src=OUTSIDE6), udp(rt, you, src=OUTSIDE), udp(
                                        rt, you), udp(me, you, src=rt.ip))
        yield attack('%s poses aloud' % name, name, offer(me, w['red1']), ra(me),
                     offer(me, w['red1'], ip=rt.ip), ra(me, ip=rt.ll), seen_by=heard)
        yield attack('%s poses aloud with its MAC address' % name, name, offer(
            rt, w['red1']), ra(rt))


# --- the layouts -----------------------------------------------------------------------------


def holder_policy(mode: str) -> Dict[str, str]:
    """Return the sealed policy of a holder."""
    return {'mode': mode, 'vif/0/roles': ALL_ROLES}


@pytest.mark.parametrize('mode', ['locked', 'isolated'])
def test_router_vm_on_a_private_network(dom0: Sandbox, mode: str) -> None:
    """Two groups behind a router VM, and no uplink."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xapi9')
        net.vm('rt', 254, holder_policy(mode))
        w = build(net)
        for again in (False, True):
            if again:
                net.refresh()
            net.prime()
            hears = OPEN
            net.play('roles', [*overreach(w), *hairpin(w), *posers(
                w, hears=(*OPEN, *['rt'] * (mode == 'locked')))],
                served(w, 'rt', mode == 'isolated', hears))


@pytest.mark.parametrize('mode', ['locked', 'isolated'])
def test_router_vm_beside_an_uplink(dom0: Sandbox, mode: str) -> None:
    """The holder is a VIF, and whoever is beyond the uplink is none."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        net.lan('lan', 100)
        net.vm('rt', 254, holder_policy(mode))
        w = build(net, 'xenbr0')
        net.bridge('xapi120', parent='xenbr0', vlan=120)
        for name, number, policy in (('far', 33, None), ('farlocked', 43, {'mode': 'locked'})):
            net.vm(name, number, policy, 'xapi120')
        net.prime()
        hears = (*OPEN, UPLINK)
        flooded = (*hears, *['rt'] * (mode == 'locked'))
        net.play('roles', [*overreach(w), *hairpin(w), *posers(w, hears=flooded),
                           *outsiders(w, flooded), *other_vlan(w)],
                 served(w, 'rt', mode == 'isolated', hears))


def other_vlan(w: Parties) -> Iterator[Case]:
    """Yield machines of another VLAN that pose as the holder: there at most they are heard."""
    rt, me = w['rt'], w['red1']
    for name in ('far', 'farlocked'):
        one = w[name]
        frames = (offer(one, me, me, ip=rt.ip), offer(rt, me, me), offer(rt, me), ra(rt), ra(
            one, me, ip=rt.ll), is_at(rt, me), udp(rt, me, src=OUTSIDE), udp(one, me, src=OUTSIDE))
        there = ('farlocked', *(place + '.120' for place in ('eth0', *OPEN, 'rt'))
                 ) if name == 'far' else ()
        yield attack('%s poses as the holder from another VLAN' % name, name, *frames, *(
            tagged(frame, 0) for frame in frames), may=there)


def outsiders(w: Parties, hears: Tuple[str, ...]) -> Iterator[Case]:
    """Yield a machine beyond the uplink that poses as a holder, by its address alone."""
    me, rt = w['lan'], w['rt']
    for client in LEAVING:
        you = w[client]
        yield attack('lan poses as the holder to %s' % client, 'lan', offer(me, you, you), offer(
            me, you, you, ip=rt.ip), advertise6(me, you), ra(me, you), ra(me, you, ip=rt.ll), is_at(
                me, you, rt.ip), na(me, rt.ip6, you), na(me, rt.ll, you, ip=rt.ll), udp(
                    me, you, src=OUTSIDE), udp6(me, you, src=OUTSIDE6), udp(me, you, src=rt.ip))
    yield attack('lan poses aloud', 'lan', offer(me, w['red1']), ra(me), ra(me, ip=rt.ll),
                 seen_by=tuple(name for name in hears if name != UPLINK))


def test_holder_on_another_host(dom0: Sandbox) -> None:
    """What the pool says of a holder elsewhere: it alone, beyond the uplink, and no VIF here."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        net.lan('lan', 100)
        net.give_roles('xenbr0', 'gateway dhcp router', net.lan('rt', 254))
        w = build(net)
        net.prime()
        hears = (*OPEN, UPLINK)
        net.play('roles', [*hairpin(w), *posers(w, hears=hears), *outsiders(w, hears)],
                 served(w, UPLINK, False, hears))


@pytest.mark.parametrize('roles', ['dhcp', 'router', 'gateway'])
@pytest.mark.parametrize('here', [True, False], ids=['here', 'elsewhere'])
def test_one_role_is_no_other(dom0: Sandbox, roles: str, here: bool) -> None:
    """Who holds one role may not do what belongs to the others."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        if here:
            rt = net.vm('rt', 254, {'mode': 'locked', 'vif/0/roles': roles})
            net.vm('rt2', 253, {'mode': 'locked', 'vif/0/roles': ALL_ROLES})
        else:
            rt, other = net.lan('rt', 254), net.lan('rt2', 253)
            net.give_roles('xenbr0', ALL_ROLES.replace(',', ''), other)
            path = FOLDER + '/_roles.json'
            with open(path) as file:
                said = json.load(file)
            said['members'].append({**said['members'][0], 'mac': rt.mac, 'roles': [roles],
                                    'addresses': [rt.ip, rt.ip6, rt.ll]})
            with open(path, 'w') as file:
                json.dump(said, file)
        w = build(net)
        net.prime()
        me = w['red1']
        said_by = {'dhcp': [offer(rt, me, me), offer(rt, me, me, ip_dst=me.ip), advertise6(rt, me)],
                   'router': [ra(rt, me)],
                   'gateway': [udp(rt, me, src=OUTSIDE), udp6(rt, me, src=OUTSIDE6)]}
        net.play('roles', [attack('%s, which holds %s' % (role, roles), 'rt', frames)
                           for role, frames in said_by.items() if role != roles],
                 [legit('%s by who holds it' % roles, 'rt', 'red1', said_by[roles])])


def test_named_in_the_configuration(dom0: Sandbox) -> None:
    """A VM is named, by its uuid; it needs no policy of its own, and its addresses are given."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xapi9')
        rt = net.vm('rt', 254, None, plug=False)
        uuid = net.vms['rt'].uuid
        dom0.configure(PRIVATE % NAMED % (uuid, uuid))
        net.vms['rt'].plug()
        w = build(net)
        net.prime()
        assert w['rt'] == rt
        net.play('roles', [*overreach(w), *hairpin(w), *posers(w, hears=(*OPEN, 'rt'))],
                 served(w, 'rt', False))


def test_two_routers_are_one_role(dom0: Sandbox) -> None:
    """Primary and backup share the address that is everybody's gateway."""
    shared = {'mode': 'locked', 'groups': 'routers', 'vif/0/shared': '10.9.0.1 fd00:9::1'}
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xapi9')
        for name, number in (('rt', 254), ('rt2', 253)):
            net.vm(name, number, {**shared, 'vif/0/roles': ALL_ROLES, 'mode': 'isolated'})
        w = build(net)
        net.prime()
        vip: List[Case] = []
        for name in ('rt', 'rt2'):
            one = w[name]
            as_vip = one._replace(ip='10.9.0.1', ip6='fd00:9::1')
            for client in LEAVING:
                me = w[client]
                vip += [
                    legit('%s looks for the shared address' % client, client, ('rt', 'rt2'),
                          who_has(me, as_vip), ns(me, as_vip.ip6)),
                    legit('%s has the shared address for %s' % (name, client), name, client, is_at(
                        as_vip, me), na(as_vip, as_vip.ip6, me), udp(one, me, src=OUTSIDE)),
                    legit('%s leaves by %s' % (client, name), client, name, udp(
                        me, one, dst=OUTSIDE), udp6(me, one, dst=OUTSIDE6))]
            vip.append(legit('%s takes over' % name, name, tuple({'rt', 'rt2'} - {name}), arp(
                one, 1, '10.9.0.1', '10.9.0.1'), na(as_vip, as_vip.ip6)))
        net.play('roles', [*overreach(w), *hairpin(w), *posers(w)], vip)


@pytest.mark.parametrize('here', [1, 0], ids=['one here', 'both elsewhere'])
def test_two_routers_on_two_hosts(dom0: Sandbox, here: int) -> None:
    """The shared address is asked for at both, and both have it."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        shared = ('10.9.0.1', 'fd00:9::1')
        if here:
            net.vm('rt', 254, {'mode': 'locked', 'groups': 'routers', 'vif/0/roles': ALL_ROLES},
                   also=shared)
        names = ['rt2'] if here else ['rt', 'rt2']
        there = [net.lan(name, 254 if name == 'rt' else 253) for name in names]
        net.give_roles('xenbr0', ALL_ROLES.replace(',', ''), *there, shared=shared)
        w = build(net)
        net.prime()
        places = {name: UPLINK if name in names else name for name in ('rt', 'rt2')}
        vip: List[Case] = []
        for name, place in places.items():
            one = w[name]
            as_vip = one._replace(ip=shared[0], ip6=shared[1])
            for client in LEAVING:
                me = w[client]
                vip += [
                    legit('%s looks for the shared address' % client, client, tuple(
                        set(places.values())), who_has(me, as_vip), ns(me, as_vip.ip6)),
                    legit('%s has the shared address for %s' % (name, client), name, client, is_at(
                        as_vip, me), na(as_vip, as_vip.ip6, me), ping(as_vip, me), udp(
                            one, me, src=OUTSIDE)),
                    legit('%s leaves by %s' % (client, name), client, place, udp(
                        me, one, dst=OUTSIDE), ping(me, as_vip), udp6(me, one, dst=OUTSIDE6))]
        thieves = [attack('%s has the shared address' % name, name, is_at(
            w[name], w['red1'], shared[0]), na(w[name], shared[1], w['red1']))
            for name in POSERS]
        net.play('roles', [*posers(w, hears=(*OPEN, UPLINK, *['rt'] * here)), *thieves], vip)


# --- a holder on the move ----------------------------------------------------------------------


def test_holder_moves(dom0: Sandbox) -> None:
    """It arrives: both places are its own until it speaks here; it leaves: there at once."""
    with network(dom0, PRIVATE % '') as net:
        net.bridge('xenbr0')
        net.uplink('xenbr0', gateway=False)
        net.lan('lan', 100)
        source = net.lan('source', 254, mac='02:00:00:00:00:fe')
        net.uplinks[0]._switch.ip('link set lan type bridge ageing_time 0')     # a hub
        net.give_roles('xenbr0', 'gateway dhcp router', source)
        net.vm('stopped', 254, holder_policy('locked'), mac=source.mac, address=False)
        del net.parties['stopped']
        outgoing = net.vms['stopped']
        outgoing.unplug()
        w = build(net)
        net.prime()
        there = {**w, 'rt': source}
        from_there = [case._replace(sender='source') if case.sender == 'rt' else case
                      for case in served(there, UPLINK, False, (*OPEN, UPLINK))]
        net.play('roles', posers(there, hears=(*OPEN, UPLINK)), from_there)
        incoming = net.dom0.migrate_in(outgoing, plug=False)
        incoming.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)    # it does not run yet
        incoming.plug()
        net.vms['rt'] = incoming
        rt = net.nic('rt', incoming, 254, 'eth0', source.mac)
        both = [case for case in from_there if case.sender == 'source'
                or UPLINK in case.seen_by and len(case.seen_by) == 1]
        net.play('roles', [case for case in posers(there, hears=(*OPEN, UPLINK, 'rt'))
                           if 'aloud' not in case.id],
                 [case._replace(seen_by=(*case.seen_by, 'rt')) if UPLINK in case.seen_by else
                  case._replace(may=('rt',)) for case in both])
        net.send(rt, bytes(arp(rt, 1, rt.ip, rt.ip)))
        net.prime(*[name for name in net.parties if name != 'source'])
        net.play('roles', [*overreach(w), *hairpin(w), *posers(w, hears=(*OPEN, UPLINK, 'rt')), *(
            attack('the source: ' + case.id, 'source', *case.frames) for case in from_there
            if case.sender == 'source')], served(w, 'rt', False, (*OPEN, UPLINK)))
        incoming.unplug()
        del net.parties['rt'], net.vms['rt']
        net.prime('source')
        net.play('roles', posers(there, hears=(*OPEN, UPLINK)), from_there)
