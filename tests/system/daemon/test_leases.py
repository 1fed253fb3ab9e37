"""Addresses that servers lease, learned by the daemon: real servers, real clients."""
import json
import os
import sys
import time
from typing import Iterator, List

import pytest
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox
from sandbox.hooks import Hooks
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm
from support.packets.built_network import GATEWAY_MAC
from support.packets.real_programs import (Dhclient, Program, addresses, dnsmasq, need, within)

CONFIG = '''
version: 1
unsealed: accept
grace: 0
networks:
  xenbr0:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "%s"}
    dhcp_servers: [10.9.0.5, "fe80::ff:fe00:aa05"]
''' % GATEWAY_MAC
SERVER_MAC = '02:00:00:00:aa:05'
FOLDER = '/run/xsisolate/leases'


class Learning:
    """A Dom0 with the daemon, and a DHCP server on the LAN."""

    def __init__(self, dom0: Sandbox, programs: List[Program], watch: Watch) -> None:
        self.dom0, self.programs, self.watch = dom0, programs, watch
        self.uplink = dom0.add_uplink('xenbr0', GatewayAddresses(
            GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64'))
        self.server = self.uplink.add_host('server', SERVER_MAC, '10.9.0.5/24', 'fd00:9::5/64')

    def serve(self, *more: str, seconds: int = 120) -> Program:
        self.programs.append(dnsmasq(
            self.server, 'dhcp-range=10.9.0.70,10.9.0.99,%d' % seconds,
            'dhcp-range=fd00:9::d:1,fd00:9::d:ff,64,%d' % seconds, *more))
        return self.programs[-1]

    def start(self, name: str, number: int, group: str = 'red', plug: bool = True,
              **policy: str) -> Vm:
        """Start a VM that owns what it is leased."""
        data = dict({'groups': group, 'vif/0/ipv4': 'dhcp', 'vif/0/ipv6': 'dhcp'}, **policy)
        vm = self.dom0.start_vm(name, mac='02:00:00:00:00:%02x' % number, plug=False, ipv4='',
                                ipv6='', policy=data)
        for key, value in (('accept_ra', 0), ('addr_gen_mode', 0)):
            vm.set_sysctl('net/ipv6/conf/default/' + key, value)
        if plug:
            vm.plug()
            vm.ip('route add fd00:9::/64 dev eth0')
        return vm

    def lease(self, vm: Vm, version: int = 4) -> str:
        """Have a VM ask for an address; return it."""
        if version == 6:
            assert within(4, lambda: 'fe80' in addresses(vm) and not addresses(vm, 'tentative'))
        client = Dhclient(vm, version)
        self.programs.append(client.program)
        return client.wait_for('BOUND' if version == 4 else 'BOUND6')


@pytest.fixture
def learning(namespaces: None, hooks: Hooks) -> Iterator[Learning]:
    """A Dom0 with the daemon, and a DHCP server on the LAN."""
    need('dnsmasq', 'dhclient')
    programs: List[Program] = []
    with Sandbox(hooks) as dom0:
        dom0.configure(CONFIG)
        dom0.add_bridge('xenbr0')
        watch = Watch(os.environ.get('HOOK_PYTHON') or sys.executable)
        try:
            yield Learning(dom0, programs, watch.start())
            watch.stop()
        finally:
            for program in programs:
                program.stop()
            watch.close()


def kept(vm: Vm) -> List[str]:
    """Return the addresses in a VIF's file."""
    path = '%s/%s.0.json' % (FOLDER, vm.uuid)
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [lease[0] for lease in json.load(file)['leases']]


@pytest.mark.parametrize('version', [4, 6])
def test_a_leased_address_is_owned(learning: Learning, version: int) -> None:
    """Two members reach each other by what they were leased; with another address neither does."""
    learning.serve()
    red, other = learning.start('red', 0x47), learning.start('other', 0x48)
    blue = learning.start('blue', 0x49, group='blue')
    found = {vm.name: learning.lease(vm, version) for vm in (red, other, blue)}
    assert kept(red) == [found['red']]
    began = time.monotonic()
    assert red.ping(found['other'], 3), learning.watch.said()
    assert other.ping(found['red'], 1)
    print('first ping after %.3f s' % (time.monotonic() - began))
    assert not red.ping(found['blue'], 0.3) and not blue.ping(found['red'], 0.3)
