"""Real programs and kernels on isolated VIFs, with rogues beside them all the time."""
import json
import sys
import time
from typing import Dict, Iterator, List, Tuple

import pytest

from sandbox.hooks import Hooks
from sandbox.host import Host
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm
from support.packets.frames import Ether, arp, na
from support.packets.real_programs import (LISTEN, SAY, Dhclient, Program, addresses, dnsmasq, need,
                                           radvd, within)
from support.packets.built_network import CONFIG, GATEWAY_MAC, Party
from xsisolate.policy.address import eui64_link_local, format_prefix

GROUPS = '''
groups:
  mdns: {rules: [udp/5353, icmp, icmp6]}
  ssh: {rules: [tcp/22, icmp, icmp6]}
'''
VIP, VIP6 = '10.9.0.80', 'fd00:9::80'
OUTSIDE, OUTSIDE6 = '192.0.2.1', '2001:db8::1'
ROGUE = b'\xfd\x00\x0b\xad'         # fd00:bad::/64


def vm_mac(number: int) -> str:
    """Return the MAC address of a VM's VIF."""
    return '02:00:00:00:00:%02x' % number


def slaac(mac: str) -> str:
    """Return the address that a guest makes of the advertised prefix."""
    return format_prefix(eui64_link_local(mac)).replace('fe80::', 'fd00:9::')


class Town:
    """The machines of all tests here."""

    def __init__(self, dom0: Sandbox) -> None:
        self.dom0 = dom0
        self.vms: Dict[str, Vm] = {}
        self.programs: List[Program] = []
        dom0.configure(CONFIG + GROUPS)
        dom0.add_bridge('xenbr0')
        self.uplink = dom0.add_uplink('xenbr0', GatewayAddresses(
            GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64'))
        self.gateway = self.uplink.gateway
        self.lan = self.uplink.add_host('lan', '02:00:00:00:aa:64', '10.9.0.100/24',
                                        'fd00:9::64/64')
        self.lan.set_sysctl('net/ipv6/conf/eth0/accept_ra', 0)
        self.lan.serve()
        peers = 'external, 10.9.0.100, fd00:9::64'
        self.start('a', 11, {'groups': 'red', 'allow': peers}, vip=True)
        self.start('b', 12, {'groups': 'red', 'allow': peers}, vip=True)
        self.start('c', 13, {'groups': 'red', 'allow': peers})
        self.start('blue', 21, {'groups': 'blue', 'allow': 'external'})
        self.start('m1', 51, {'groups': 'mdns'})
        self.start('m2', 52, {'groups': 'mdns'})
        self.start('s1', 61, {'groups': 'ssh'})
        self.start('s2', 62, {'groups': 'ssh'})
        self.start('un', 31, None)
        self.start('evil', 32, None)
        self.start('locked', 41, {'mode': 'locked'})

    def start(self, name: str, number: int, policy: object, vip: bool = False, dhcp: bool = False,
              **fields: object) -> Vm:
        """Start a VM; `vip`: it may have the floating address; `dhcp`: it configures itself."""
        data = dict(policy) if policy is not None else None     # type: ignore[call-overload]
        if data is not None:
            own6 = slaac(vm_mac(number)) if dhcp else 'fd00:9::%x' % number
            data.update({'vif/0/ipv4': '10.9.0.%d' % number,
                         'vif/0/ipv6': '%s fd00:9::d:%x' % (own6, number)})
            if vip:
                data['vif/0/shared'] = '%s %s' % (VIP, VIP6)
        vm = self.dom0.start_vm(
            name, mac=vm_mac(number), policy=data, plug=False,
            ipv4='' if dhcp else '10.9.0.%d/24' % number,
            ipv6='' if dhcp else 'fd00:9::%x/64' % number, **fields)    # type: ignore[arg-type]
        if dhcp:
            for key, value in (('accept_ra', 1), ('router_solicitations', 3), ('dad_transmits', 1),
                               ('addr_gen_mode', 0)):
                vm.set_sysctl('net/ipv6/conf/default/' + key, value)
        else:       # it would prefer an address that its policy does not list
            vm.set_sysctl('net/ipv6/conf/default/accept_ra', 0)
        vm.plug()
        vm.serve(7, 22)
        self.vms[name] = vm
        return vm

    def run(self, program: Program) -> Program:
        """Remember a program that is to end with the tests."""
        self.programs.append(program)
        return program

    def party(self, name: str, ip: str, ip6: str) -> Party:
        """Return a VM as the sender of frames about an address."""
        return Party(self.vms[name].mac, ip, ip6, name, self.vms[name], 'eth0')


def dhcp_settings(network: str, prefix: str, *more: str) -> Tuple[str, ...]:
    """Return dnsmasq's settings for leases of two minutes."""
    return ('dhcp-range=%s.70,%s.79,120' % (network, network),
            'dhcp-range=%sd:1,%sd:ff,64,120' % (prefix, prefix)) + more


@pytest.fixture(scope='module')
def town(namespaces: None, hooks: Hooks) -> Iterator[Town]:
    """A gateway that is router and DHCP server, and three rogues that pretend to be."""
    need('radvd', 'dnsmasq', 'dhclient', 'iperf3')
    with Sandbox(hooks) as dom0:
        town = Town(dom0)
        try:
            town.run(radvd(town.gateway, 'fd00:9::/64'))
            town.run(dnsmasq(town.gateway, *dhcp_settings(
                '10.9.0', 'fd00:9::', *('dhcp-host=%s,10.9.0.%d,[::d:%x]' % (vm_mac(n), n, n)
                                        for n in (71, 72, 73)))))
            for name in ('c', 'locked', 'evil'):
                rogue = town.vms[name]
                rogue.set_sysctl('net/ipv6/conf/all/forwarding', 1)
                rogue.ip('addr add 10.66.0.1/24 dev eth0', 'addr add fd00:bad::1/64 dev eth0')
                town.run(radvd(rogue, 'fd00:bad::/64'))
                town.run(dnsmasq(rogue, *dhcp_settings('10.66.0', 'fd00:bad::')))
            yield town
        finally:
            for program in town.programs:
                program.stop()


# --- hosts talk -----------------------------------------------------------------------------


@pytest.mark.parametrize('version', [4, 6])
def test_everybody_who_may_talks(town: Town, version: int) -> None:
    vms, lan = town.vms, town.lan
    far = '10.9.0.100' if version == 4 else 'fd00:9::64'
    outside = OUTSIDE if version == 4 else OUTSIDE6
    for me, address in ((vms['a'], vms['b'].address(version)),
                        (vms['b'], vms['a'].address(version)),
                        (vms['a'], far), (lan, vms['a'].address(version)), (vms['a'], outside),
                        (town.gateway, vms['a'].address(version)), (vms['blue'], outside),
                        (vms['locked'], vms['un'].address(version))):
        assert me.ping(address) and me.udp(address) and me.tcp(address, size=20000), (me, address)
        assert me.ping(address, size=4000) or version == 6 or me is lan, (me, address)
    for me, name in ((vms['a'], 'blue'), (vms['blue'], 'b'), (vms['un'], 'a'), (vms['a'], 'un'),
                     (lan, 'blue'), (vms['locked'], 'a')):
        assert not me.ping(vms[name].address(version), 0.15), (me, name)
        assert not me.tcp(vms[name].address(version), timeout=0.15), (me, name)


@pytest.mark.parametrize('version', [4, 6])
def test_iperf3(town: Town, version: int) -> None:
    a, b = town.vms['a'], town.vms['b']
    server = Program(b, 'iperf3', 'iperf3', '-s', '-1', '--forceflush')
    try:
        assert within(3, lambda: 'listening' in server.output())
        code, out, err = a.run('iperf3', '-c', b.address(version), '-t', '1', '-J')
        assert code == 0, out + err
        assert json.loads(out)['end']['sum_received']['bytes'] > 1 << 20
    finally:
        server.stop()


# --- hosts configure themselves ------------------------------------------------------------------


def sniffed_rogues(victim: Vm) -> List[str]:
    """Return what a victim has seen of the rogues' offers and advertisements."""
    return [Ether(frame).summary() for frame in victim.sniffed()
            if b'\x0a\x42\x00' in frame[14:60] or ROGUE in frame]


def test_slaac_and_dhcp_amid_rogues(town: Town) -> None:
    """Router advertisement, DAD, DHCPv4 with renewal, DHCPv6, all from the uplink alone."""
    town.vms['un'].sniff()
    vm = town.start('auto', 71, {'groups': 'red', 'allow': 'external'}, dhcp=True, dad=True)
    vm.sniff()
    own = slaac(vm.mac)
    assert within(8, lambda: own in addresses(vm)), addresses(vm)
    assert within(4, lambda: not addresses(vm, 'tentative')), addresses(vm)
    town.gateway.sniff()
    clients = [Dhclient(vm, 4), Dhclient(vm, 6)]
    for client in clients:
        town.run(client.program)
    assert clients[0].wait_for('BOUND') == '10.9.0.71'
    assert clients[1].wait_for('BOUND6') == 'fd00:9::d:47'
    assert clients[0].wait_for('RENEW') == '10.9.0.71'
    asked = [Ether(frame) for frame in town.gateway.sniffed()]
    assert any(frame.dst == GATEWAY_MAC and frame['IP'].dst == '10.9.0.254' for frame in asked
               if 'UDP' in frame and frame['UDP'].dport == 67), 'no renewal by unicast'
    assert vm.ping(OUTSIDE6) and vm.tcp(OUTSIDE6)       # by the router's link-local address
    vm.ip('route add default via 10.9.0.254')
    assert vm.ping(OUTSIDE) and vm.tcp(OUTSIDE)
    # its own check for duplicates takes a second, and an address is no source before
    assert within(4, lambda: not addresses(vm, 'tentative')), addresses(vm)
    assert vm.ping('fd00:9::c', source='fd00:9::d:47') and vm.ping(town.vms['b'].address())
    # the rogues are awake: a VM without policy hears them, an isolated one never
    assert any(ROGUE in frame for frame in town.vms['un'].sniffed())
    assert not sniffed_rogues(vm)
    assert 'fd00:bad' not in addresses(vm)


def test_rogues_hear_no_request(town: Town) -> None:
    """What an isolated client asks goes to the uplink and to no VM of the host."""
    ears = [town.vms[name] for name in ('un', 'evil', 'locked', 'c', 'blue')]
    for ear in ears:
        ear.sniff()
    vm = town.start('auto2', 72, {'groups': 'blue'}, dhcp=True)
    clients = [Dhclient(vm, 4), Dhclient(vm, 6)]
    for client in clients:
        town.run(client.program)
    assert clients[0].wait_for('BOUND') == '10.9.0.72'
    assert clients[1].wait_for('BOUND6') == 'fd00:9::d:48'
    mac = bytes.fromhex(vm.mac.replace(':', ''))
    for ear in ears:
        heard = [Ether(frame) for frame in ear.sniffed(wait=0.05) if frame[6:12] == mac]
        # its group hears that it announces its addresses
        assert not [frame.summary() for frame in heard
                    if ear is not town.vms['blue'] or 'UDP' in frame], ear


def test_duplicate_address_is_found(town: Town) -> None:
    """A member that takes an address which another has, notices."""
    one, two = (town.start('dad1', 91, {'groups': 'dad'}, dad=True),
                town.start('dad2', 92, {'groups': 'dad'}, dad=True))
    assert within(4, lambda: not addresses(one, 'tentative') + addresses(two, 'tentative'))
    shared = 'fd00:9::99'
    for vm in (one, two):
        policy = {'groups': 'dad', 'vif/0/ipv6': vm.address(6), 'vif/0/shared': shared}
        vm.set_policy(policy)
        vm.fire(town.dom0.hooks.locking_changed(vm.domain, vm.vifs[0]))
    one.ip('addr add %s/64 dev eth0' % shared)
    assert within(4, lambda: shared in addresses(one) and not addresses(one, 'tentative'))
    two.ip('addr add %s/64 dev eth0' % shared)
    assert within(4, lambda: shared in addresses(two, 'dadfailed')), addresses(two)


# --- paths, groups, take-over -------------------------------------------------------------------


def test_path_mtu(town: Town) -> None:
    """Two hops behind the gateway, each with a smaller MTU than the one before."""
    hop, far = Host('hop'), Host('far')
    try:
        hop.add_device('wan1', 'wan0', '02:00:00:00:bb:01', 1400, town.gateway.pid)
        far.add_device('eth0', 'lan0', '02:00:00:00:bb:02', 1300, hop.pid)
        for host in (hop, far):
            host.set_sysctl('net/ipv4/ip_forward', 1)
            host.set_sysctl('net/ipv6/conf/all/forwarding', 1)
        town.gateway.ip('link set wan0 up', 'addr add 198.51.100.1/30 dev wan0',
                        'addr add 2001:db8:1::1/64 dev wan0',
                        'route add 203.0.113.0/24 via 198.51.100.2',
                        'route add 2001:db8:2::/64 via 2001:db8:1::2')
        hop.configure('wan1', ['198.51.100.2/30', '2001:db8:1::2/64'],
                      ['198.51.100.1', '2001:db8:1::1'])
        hop.ip('link set lan0 up', 'addr add 203.0.113.1/24 dev lan0',
               'addr add 2001:db8:2::1/64 dev lan0')
        # the server's own segment size must not give the secret away
        far.ip('link set lo mtu 1500', 'link set eth0 up', 'addr add 203.0.113.2/24 dev eth0',
               'addr add 2001:db8:2::2/64 dev eth0',
               'route add default via 203.0.113.1 advmss 1460',
               'route add default via 2001:db8:2::1 advmss 1440')
        far.serve()
        a = town.vms['a']
        for address, family in (('203.0.113.2', '-4'), ('2001:db8:2::2', '-6')):
            assert a.tcp(address, size=200000, timeout=5)
            code, out, _ = a.run('ip', family, 'route', 'get', address)
            assert code == 0 and 'mtu 1300' in out, out
    finally:
        for host in (hop, far):
            host.halt()


@pytest.mark.parametrize('group', ['224.0.0.251', 'ff02::fb'])
@pytest.mark.parametrize('sender, hearers', [
    ('m1', {'m2'}), ('s1', set()), ('a', {'b', 'c', 'auto'})])
def test_multicast_dns(town: Town, sender: str, hearers: set, group: str) -> None:
    """Members hear it if their group's rules admit udp/5353, and nobody else ever."""
    version, word = 6 if ':' in group else 4, 'who is there %d' % time.monotonic()
    me = town.vms[sender]
    ears = {name: vm for name, vm in town.vms.items() if vm is not me}
    hearers = hearers & set(ears)
    servers = {name: Program(ears[name], 'mdns', sys.executable, '-c', LISTEN, group,
                             ears[name].address(4)) for name in sorted(hearers - {'auto'})}
    try:
        for server in servers.values():
            assert within(5, lambda: 'listening' in server.output()), server.output()
        for ear in [*ears.values(), *town.uplink.hosts]:
            ear.sniff()
        code, _, err = me.run(sys.executable, '-c', SAY, group, me.address(version), word)
        assert code == 0, err
        for name, server in servers.items():
            assert within(2, lambda: 'heard ' + word in server.output()), name
        found = {ear.name for ear in [*ears.values(), *town.uplink.hosts]
                 if any(word.encode() in frame for frame in ear.sniffed(wait=0.02))}
        assert found == hearers
    finally:
        for server in servers.values():
            server.stop()


@pytest.mark.parametrize('version', [4, 6])
def test_address_take_over(town: Town, version: int) -> None:
    """Another member takes a floating address over: members and the outside follow."""
    vip, length = (VIP, 24) if version == 4 else (VIP6, 64)
    watchers = (town.vms['c'], town.lan, town.gateway)
    holder = ''
    for name in ('a', 'b', 'a'):
        if holder:
            town.vms[holder].ip('addr del %s/%d dev eth0' % (vip, length))
        town.vms[name].ip('addr add %s/%d dev eth0' % (vip, length))
        me = town.party(name, VIP, VIP6)
        hello = arp(me, 1, VIP, VIP) if version == 4 else na(me, VIP6)
        began = time.monotonic()
        silent = list(watchers)
        while silent and time.monotonic() < began + 3:
            town.vms[name].send(bytes(hello))       # as keepalived does, several times
            silent = [who for who in silent if not who.ping(vip, 0.2)]
        assert not silent, 'after 3 s %s cannot ping it' % silent
        assert time.monotonic() - began < 2 or not holder
        assert not town.vms['blue'].ping(vip, 0.1)
        holder = name
    town.vms[holder].ip('addr del %s/%d dev eth0' % (vip, length))


def test_the_rogues_have_won_nobody(town: Town) -> None:
    """After all that time."""
    for name in ('a', 'b', 'auto', 'auto2', 'blue', 'm1', 's1'):
        if name in town.vms:
            assert 'fd00:bad' not in addresses(town.vms[name]), name
