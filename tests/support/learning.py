"""A Dom0 with the daemon, VMs whose addresses are leased, and DHCP servers, real and scripted."""
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from sandbox.daemon import PATH, Watch
from sandbox.dom0 import Sandbox
from sandbox.hooks import REPOSITORY
from sandbox.host import Host
from sandbox.process import LabError, wait_until
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm

from support.packets.built_network import GATEWAY_MAC
from sandbox.dhcp import ACK, REQUEST, answer, query
from support.packets.real_programs import Dhclient, Program, addresses, dnsmasq, within
from support.packets.shared_network import add_tagging_switch

CONFIG = '''
version: 1
unsealed: accept
grace: 0
networks:
  %%s:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "%s"}
    dhcp_servers: [10.9.0.5, "fe80::ff:fe00:aa05"]
''' % GATEWAY_MAC
SERVER, SERVER_MAC = '10.9.0.5', '02:00:00:00:aa:05'
RANGES = ('dhcp-range=10.9.0.70,10.9.0.99,255.255.255.0', 'dhcp-range=fd00:9::d:1,fd00:9::d:ff,64')
LEASES = '/run/xsisolate/leases'
LEARNED_S = 5.0
TRIES, TRY_S = 10, 2.0       # a client asks again when nothing comes of it


class Learning:
    """A Dom0 with the daemon, a LAN with a server, and another machine there."""

    def __init__(self, dom0: Sandbox, watch: Watch, vlan: int = 0) -> None:
        self.dom0, self.watch, self.vlan = dom0, watch, vlan
        self.programs: List[Program] = []
        self.bridge = 'xapi1' if vlan else 'xenbr0'
        dom0.add_bridge('xenbr0')
        if vlan:
            dom0.add_bridge('xapi1', parent='xenbr0', vlan=vlan)
        dom0.configure(CONFIG % self.bridge)
        gateway = GatewayAddresses(GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64')
        self.uplink = dom0.add_uplink(add_tagging_switch(dom0) if vlan else 'xenbr0', gateway)
        if vlan:
            dom0.ovs.vsctl('set', 'Port', 'eth0', 'tag=%d' % vlan)
            dom0.uplinks[self.bridge] = self.uplink
        self.server = self.uplink.add_host('server', SERVER_MAC, '10.9.0.5/24', 'fd00:9::5/64')
        self.other = self.uplink.add_host('lan', '02:00:00:00:aa:06', '10.9.0.6/24', 'fd00:9::6/64')

    def serve(self, *more: str, seconds: int = 120) -> Program:
        """Have the server serve DHCP of both versions."""
        self.programs.append(dnsmasq(
            self.server, *['%s,%d' % (one, seconds) for one in RANGES], *more))
        return self.programs[-1]

    def relay(self) -> None:
        """Have the server relay DHCP of both versions, to one that is not on the LAN."""
        behind = Host('behind')
        self.uplink.hosts.append(behind)
        behind.add_device('eth0', 'eth1', '02:00:00:00:bb:01', far_pid=self.server.pid)
        behind.configure('eth0', ['10.10.0.1/24', 'fd00:a::1/64'], ['10.10.0.2', 'fd00:a::2'])
        self.server.configure('eth1', ['10.10.0.2/24', 'fd00:a::2/64'])
        self.programs.append(dnsmasq(behind, *RANGES))
        self.programs.append(dnsmasq(self.server, 'interface=eth1', 'dhcp-relay=10.9.0.5,10.10.0.1',
                                     'dhcp-relay=fd00:9::5,fd00:a::1'))

    def start(self, name: str, number: int, policy: Optional[Dict[str, str]] = None,
              plug: bool = True, sysctls: Any = (('accept_ra', 0), ('addr_gen_mode', 0)),
              **more: Any) -> Vm:
        """Start a VM; unless it has another policy it owns what it is leased."""
        data = {'groups': 'red', 'vif/0/ipv4': 'dhcp', 'vif/0/ipv6': 'dhcp'}
        vm = self.dom0.start_vm(name, bridge=self.bridge, mac='02:00:00:00:00:%02x' % number,
                                plug=False, ipv4='', ipv6='',
                                policy=data if policy is None else policy, **more)
        for key, value in sysctls:
            vm.set_sysctl('net/ipv6/conf/default/' + key, value)
        if plug:
            vm.plug()
            vm.ip('route add fd00:9::/64 dev eth0')
        return vm

    def start_daemon(self) -> None:
        """Start the daemon again that was stopped."""
        self.watch.heard = []
        self.watch.start()

    def lease(self, vm: Vm, version: int = 4) -> str:
        """Have a VM's client ask for an address; return it."""
        return self.client(vm, version).wait_for('BOUND' if version == 4 else 'BOUND6')

    def client(self, vm: Vm, version: int = 4) -> Dhclient:
        """Start a VM's client."""
        if version == 6:
            assert within(4, lambda: 'fe80' in addresses(vm) and not addresses(vm, 'tentative'))
        client = Dhclient(vm, version)
        self.programs.append(client.program)
        return client

    def exchange(self, vm: Vm, address: str, xid: int = 77, seconds: int = 600,
                 server: Optional[Host] = None, **more: Any) -> None:
        """Have a VM ask for an address, and a machine on the LAN lease it."""
        vm.send(query(REQUEST, vm.mac, asked=address, xid=xid))
        time.sleep(0.02)        # or the switch's threads may turn them round
        (server or self.server).send(answer(ACK, vm.mac, address, xid=xid, seconds=seconds, **more))

    def grant(self, vm: Vm, address: str, **more: Any) -> None:
        """Have an address leased, and wait until it is learned and owned."""
        self.exchange_until(lambda: owned(vm) == [address], vm, address, **more)

    def exchange_until(self, done: Callable[[], bool], vm: Vm, address: str, **more: Any) -> int:
        """Have a VM ask for an address, again and again, until it is so; return how often."""
        for number in range(TRIES):
            self.exchange(vm, address, **more)
            if within(TRY_S, done):
                return number + 1
        raise AssertionError('asked %d times for %s; it owns %s; kept: %s; the daemon said:\n%s' % (
            TRIES, address, owned(vm), kept(vm), self.watch.said()))

    def wait_owned(self, vm: Vm, *wanted: str, seconds: float = LEARNED_S) -> None:
        """Wait until these addresses, and no others, are a VIF's own by leases."""
        try:
            wait_until(lambda: owned(vm) == sorted(wanted), 'owning %s' % (wanted,), seconds)
        except LabError as error:
            raise AssertionError('%s: it owns %s; kept: %s; the daemon said:\n%s' % (
                error, owned(vm), kept(vm), self.watch.said())) from None


def xsisolate(*args: str) -> 'subprocess.CompletedProcess[str]':
    """Run `xsisolate ...` as an admin does."""
    return subprocess.run(
        [os.environ.get('HOOK_PYTHON') or sys.executable, '-m', 'xsisolate', *args],
        env={'PATH': PATH, 'LC_ALL': 'C', 'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}, cwd='/',
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
        timeout=60)


def status_of(vm: Vm) -> Dict[str, Any]:
    """Return what `xsisolate status` says of a VM's first VIF."""
    done = xsisolate('status', '--json')
    found = [vif for vif in json.loads(done.stdout)['vifs'] if vif['vif'] == vm.netdev()]
    assert found, done
    return dict(found[0])


def owned(vm: Vm) -> List[str]:
    """Return the leased addresses that the switch has for a VIF, as its header says."""
    from xsisolate.dataplane.switch_state import read_registry
    from xsisolate.planner.cookie import Kind
    from xsisolate.planner.item_facts import parse_facts
    from xsisolate.policy.address import format_prefix
    return sorted(format_prefix(address) for item in read_registry('xenbr0').values()
                  if item.key.kind is Kind.ENDPOINT and item.name.endswith(vm.mac)
                  for address in parse_facts(item).leased)


def lease_path(vm: Vm) -> str:
    """Return where a VIF's leases are kept."""
    return '%s/%s.0.json' % (LEASES, vm.uuid)


def kept(vm: Vm) -> List[str]:
    """Return the addresses in a VIF's file."""
    try:
        with open(lease_path(vm)) as file:
            return sorted(lease[0] for lease in json.load(file)['leases'])
    except (FileNotFoundError, ValueError):
        return []
