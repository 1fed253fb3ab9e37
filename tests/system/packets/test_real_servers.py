"""Real DHCP servers that are not the gateway, and their clients on isolated VIFs."""
from typing import Iterator, List

import pytest
from sandbox.hooks import Hooks
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from support.packets.frames import Ether
from support.packets.real_programs import Dhclient, Program, addresses, dnsmasq, need, within
from support.packets.built_network import CONFIG, GATEWAY_MAC

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
