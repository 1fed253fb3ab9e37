"""Real DHCP servers that are not the gateway, and their clients on isolated VIFs."""
from typing import Iterator, List

import pytest
from sandbox.dom0 import Sandbox
from sandbox.hooks import Hooks
from sandbox.uplink import GatewayAddresses
from support.packets.built_network import CONFIG, GATEWAY_MAC
from support.packets.frames import Ether
from support.packets.real_programs import (Dhclient, Program, addresses, dnsmasq, kea, need,
                                           radvd, within)

SERVER_MAC = '02:00:00:00:aa:05'
SERVERS = '    dhcp_servers: [10.9.0.5, "fe80::ff:fe00:aa05"]\n'
CLIENT_MAC = '02:00:00:00:00:47'


@pytest.fixture
def programs() -> Iterator[List[Program]]:
    """Programs that end with the test."""
    need('dnsmasq', 'dhclient')
    found: List[Program] = []
    yield found
    for program in found:
        program.stop()


def test_a_server_beside_the_gateway(namespaces: None, hooks: Hooks,
                                     programs: List[Program]) -> None:
    """An isolated client is bound, renews by unicast and releases."""
    with Sandbox(hooks) as dom0:
        dom0.configure(CONFIG.rstrip() + '\n' + SERVERS)
        dom0.add_bridge('xenbr0')
        uplink = dom0.add_uplink('xenbr0', GatewayAddresses(
            GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64'))
        server = uplink.add_host('server', SERVER_MAC, '10.9.0.5/24', 'fd00:9::5/64')
        vm = dom0.start_vm('client', mac=CLIENT_MAC, plug=False, ipv4='', ipv6='', policy={
            'groups': 'red', 'vif/0/ipv4': '10.9.0.71', 'vif/0/ipv6': 'fd00:9::d:47'})
        for key, value in (('accept_ra', 0), ('addr_gen_mode', 0)):
            vm.set_sysctl('net/ipv6/conf/default/' + key, value)
        vm.plug()
        log = dnsmasq(server, 'dhcp-range=10.9.0.70,10.9.0.79,120',
                      'dhcp-range=fd00:9::d:1,fd00:9::d:ff,64,120',
                      'dhcp-host=%s,10.9.0.71,[::d:47]' % CLIENT_MAC)
        programs.append(log)
        assert within(4, lambda: 'fe80' in addresses(vm) and not addresses(vm, 'tentative'))
        server.sniff()
        clients = [Dhclient(vm, 4), Dhclient(vm, 6)]
        programs.extend(client.program for client in clients)
        assert clients[0].wait_for('BOUND') == '10.9.0.71'
        assert clients[1].wait_for('BOUND6') == 'fd00:9::d:47'
        assert clients[0].wait_for('RENEW') == '10.9.0.71'
        asked = [Ether(frame) for frame in server.sniffed()]
        assert any(frame.dst == SERVER_MAC and frame['IP'].dst == '10.9.0.5' for frame in asked
                   if 'UDP' in frame and frame['UDP'].dport == 67), 'no renewal by unicast'
        clients[0].program.stop()
        code, _, err = vm.run('/bin/sh', '-c', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin dhclient -4 -r '
                              '-sf /bin/true -lf %s -pf %s eth0' % (
                                  clients[0].leases, clients[0].leases + '.pid'))
        assert code == 0, err
        assert within(4, lambda: 'DHCPRELEASE' in log.output()), log.output()
        # it serves DHCP, and nothing else
        assert not vm.ping('10.9.0.5', 0.2) and not server.ping('10.9.0.71', 0.2)
        assert not vm.ping('fe80::ff:fe00:aa05%eth0', 0.2)


def test_kea_beside_the_gateway(namespaces: None, hooks: Hooks, programs: List[Program]) -> None:
    """The same from another DHCP server, which listens by a raw socket."""
    with Sandbox(hooks) as dom0:
        dom0.configure(CONFIG.rstrip() + '\n' + SERVERS)
        dom0.add_bridge('xenbr0')
        uplink = dom0.add_uplink('xenbr0', GatewayAddresses(
            GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64'))
        server = uplink.add_host('server', SERVER_MAC, '10.9.0.5/24', 'fd00:9::5/64')
        vm = dom0.start_vm('client', mac=CLIENT_MAC, ipv4='', ipv6='', policy={
            'groups': 'red', 'vif/0/ipv4': '10.9.0.71'})
        log = kea(server, CLIENT_MAC, '10.9.0.71')
        programs.append(log)
        assert within(8, lambda: 'DHCP4_STARTED' in log.output()), log.output()
        client = Dhclient(vm, 4)
        programs.append(client.program)
        assert client.wait_for('BOUND') == '10.9.0.71'
        assert client.wait_for('RENEW') == '10.9.0.71'
        assert not vm.ping('10.9.0.5', 0.2) and not server.ping('10.9.0.71', 0.2)


PRIVATE = '''
version: 1
unsealed: accept
networks:
  xapi9:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''


@pytest.mark.parametrize('mode', ['locked', 'isolated'])
def test_a_router_vm_on_a_private_network(namespaces: None, hooks: Hooks,
                                          programs: List[Program], mode: str) -> None:
    """It gives leases and prefixes and forwards; a rogue beside it, with the same, does not."""
    need('radvd')
    with Sandbox(hooks) as dom0:
        dom0.configure(PRIVATE)
        dom0.add_bridge('xapi9')
        rt = dom0.start_vm('rt', bridge='xapi9', mac='02:00:00:00:00:fe', ipv4='10.9.0.254/24',
                           ipv6='fd00:9::fe/64', policy={
                               'mode': mode, 'vif/0/roles': 'gateway dhcp router',
                               'vif/0/ipv4': '10.9.0.254', 'vif/0/ipv6': 'fd00:9::fe'})
        rogue = dom0.start_vm('rogue', bridge='xapi9', ipv4='10.66.0.1/24', ipv6='fd00:bad::1/64')
        for host, net4, net6 in ((rt, '10.9.0', 'fd00:9::'), (rogue, '10.66.0', 'fd00:bad::')):
            host.set_sysctl('net/ipv4/ip_forward', 1)
            host.set_sysctl('net/ipv6/conf/all/forwarding', 1)
            host.ip('addr add 192.0.2.1/32 dev lo', 'addr add 2001:db8::1/128 dev lo',
                    'link set lo up')
            programs.append(radvd(host, net6 + '/64'))
            programs.append(dnsmasq(
                host, 'dhcp-range=%s.70,%s.79,120' % (net4, net4),
                'dhcp-range=%sd:1,%sd:ff,64,120' % (net6, net6),
                'dhcp-host=%s,%s.71,[::d:47]' % (CLIENT_MAC, net4)))
        blue = dom0.start_vm('blue', bridge='xapi9', mac='02:00:00:00:00:15', ipv4='10.9.0.21/24',
                             policy={'groups': 'blue', 'allow': 'external',
                                     'vif/0/ipv4': '10.9.0.21'})
        slaac = 'fd00:9::ff:fe00:47'
        vm = dom0.start_vm('client', bridge='xapi9', mac=CLIENT_MAC, plug=False, ipv4='', ipv6='',
                           policy={'groups': 'red', 'allow': 'external', 'vif/0/ipv4': '10.9.0.71',
                                   'vif/0/ipv6': '%s fd00:9::d:47' % slaac})
        for key, value in (('accept_ra', 1), ('router_solicitations', 3), ('addr_gen_mode', 0)):
            vm.set_sysctl('net/ipv6/conf/default/' + key, value)
        vm.plug()
        assert within(8, lambda: slaac in addresses(vm) and not addresses(vm, 'tentative')), (
            addresses(vm))
        clients = [Dhclient(vm, 4), Dhclient(vm, 6)]
        programs.extend(client.program for client in clients)
        assert clients[0].wait_for('BOUND') == '10.9.0.71'
        assert clients[1].wait_for('BOUND6') == 'fd00:9::d:47'
        assert clients[0].wait_for('RENEW') == '10.9.0.71'
        for host in (vm, blue):
            host.ip('route add default via 10.9.0.254')
            assert host.ping('192.0.2.1') and host.ping('192.0.2.1', size=4000)
        assert vm.ping('2001:db8::1')       # by the advertised router
        # no way from one group to the other, neither directly nor by way of the router
        assert not vm.ping('10.9.0.21', 0.2)
        vm.ip('route add 10.9.0.21/32 via 10.9.0.254')
        assert not vm.ping('10.9.0.21', 0.3) and not blue.ping('10.9.0.71', 0.3)
        assert 'fd00:bad' not in addresses(vm)
        if mode == 'locked':
            assert vm.ping('10.9.0.254')
        else:       # its policy names nobody: it serves, and says nothing else
            assert not vm.ping('10.9.0.254', 0.2)
