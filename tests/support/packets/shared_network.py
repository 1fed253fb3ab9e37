"""The shared network that the corpus is played on: who is there, and what policy says."""
import json
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from sandbox.packets import disable_offloads
from sandbox.process import LabError, ip
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm
from xsisolate.policy.address import eui64_link_local, format_prefix

from support.packets.rows import DOM0, UPLINK
from support.packets.radio import Radio, Station

GATEWAY_MAC = '00:00:5e:00:01:01'
FOLDER = '/run/xsisolate/groups'
VLAN = 120

CONFIG = '''
version: 1
unsealed: accept
permissive: %(permissive)s
networks:
  %(bridge)s:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: "fd00:9::1"%(mac)s}
%(more)s
groups:
  svc:
    rules: [tcp/22, udp/53, tcp/8000-8003, udp/6000-6010, icmp, icmp6,
            sctp/3868, ip/50, ip/89, tftp]
  outer:
    addresses: [10.9.0.103]
  north: {reach: [south, east]}
  south: {reach: [north]}
  east: {reach: []}
'''


class Who(NamedTuple):
    """A party of the corpus and its addresses."""

    name: str
    number: int
    mac: str

    @property
    def ip(self) -> str:
        """Its IPv4 address."""
        return '10.9.0.%d' % self.number

    @property
    def ip6(self) -> str:
        """Its IPv6 address."""
        return 'fd00:9::1' if self.name == 'gw' else 'fd00:9::%x' % self.number

    @property
    def ll(self) -> str:
        """Its IPv6 link-local address."""
        return format_prefix(eui64_link_local(self.mac))


# name, last byte of the address, policy: None is unmanaged
POLICIES: Tuple[Tuple[str, int, Optional[Mapping[str, str]]], ...] = (
    ('red1', 11, {'groups': 'red', 'allow': 'external'}),
    ('red2', 12, {'groups': 'red'}),
    ('red3', 13, {'groups': 'red'}),            # never speaks
    ('blue1', 21, {'groups': 'blue', 'allow': '10.9.0.31, fd00:9::1f'}),
    ('blue2', 22, {'groups': 'blue', 'allow': 'external'}),
    ('un', 31, None),
    ('evil', 32, None),
    ('locked', 41, {'mode': 'locked'}),
    ('locked2', 42, {'mode': 'locked'}),
    ('svc1', 51, {'groups': 'svc'}),
    ('svc2', 52, {'groups': 'svc'}),
    ('far', 61, {'mode': 'isolated', 'allow': '192.0.2.1 2001:db8::1 tcp/80@169.254.169.254'}),
    ('web', 62, {'mode': 'isolated', 'allow': 'tcp/443@external udp/53@external'}),
    ('wide', 63, {'mode': 'isolated', 'allow': '10.9.0.32/28 fd00:9::20/124 tcp/80@10.9.0.96/28 '
                    'icmp/8@10.9.0.96/28 icmp6/128@fd00:9::60/124'}),
    ('nobody', 64, {'mode': 'isolated', 'allow': ''}),
    ('outer', 65, {'groups': 'outer'}),
    ('north', 66, {'groups': 'north'}),
    ('south', 67, {'groups': 'south'}),
    ('east', 68, {'groups': 'east'}),
    # begins outward, but for SSH and pings; asks `un`, and `evil` asks it
    ('ward', 60, {'mode': 'isolated', 'allow': 'out:external in:tcp/22@external '
                  'in:icmp/8@external out:10.9.0.31 out:fd00:9::1f in:10.9.0.32 in:fd00:9::20'}),
    ('quar', 71, {'mode': 'bogus'}),
    ('off', 72, {'mode': 'disabled'}),
)

# Those who are only there if they are asked for: all others would hear of their roles.
VIRTUAL = '00:00:5e:00:01:07'
SPECIAL: Tuple[Tuple[str, int, Optional[Mapping[str, str]]], ...] = (
    ('carp', 73, {'groups': 'carp', 'vif/0/mac': VIRTUAL}),
    ('carp2', 74, {'groups': 'carp'}),
    ('rtr', 75, {'mode': 'locked', 'vif/0/roles': 'router'}),
)

LAN = (('lan', 100), ('redfar', 101), ('bluefar', 102), ('outfar', 103))
REMOTE = {'red': 'redfar', 'blue': 'bluefar'}


def vm_mac(number: int) -> str:
    """Return the MAC address of a VM's VIF."""
    return '02:00:00:00:00:%02x' % number


def add_tagging_switch(dom0: Sandbox) -> str:
    """Add a physical switch: Dom0's cable on a trunk, the LAN on an access port."""
    ip(['link add nic0 type veth peer name trunk0'])
    for device in ('nic0', 'trunk0'):
        disable_offloads(device)
    dom0.ovs.add_bridge('switch')
    dom0.add_port('switch', 'trunk0')
    dom0.add_port('xenbr0', 'nic0')
    return 'switch'


class World:
    """A bridge, an uplink, VMs of every kind; `vlan`: on a fake bridge with that tag."""

    def __init__(self, dom0: Sandbox, vlan: int = 0, gateway_mac: bool = True, more: str = '',
                 names: Optional[Sequence[str]] = None,
                 permissive: Union[bool, Sequence[str]] = False) -> None:
        self.dom0 = dom0
        self.vlan = vlan
        self.gateway_mac = gateway_mac
        self.bridge = 'xapi1' if vlan else 'xenbr0'
        # Where some are permissive, all others say that they are not.
        self.enforced = [] if isinstance(permissive, bool) else [
            name for name, _, policy in POLICIES + SPECIAL
            if policy is not None and name not in permissive]
        self.who: Dict[str, Who] = {}
        self.vms: Dict[str, Vm] = {}
        dom0.add_bridge('xenbr0')
        if vlan:
            dom0.add_bridge(self.bridge, parent='xenbr0', vlan=vlan)
        dom0.configure(CONFIG % {'bridge': self.bridge, 'more': more, 'permissive': str(
            bool(permissive)).lower(), 'mac': (
            ', mac: "%s"' % GATEWAY_MAC if gateway_mac else '')})
        self._start_lan()
        self._write_members()
        there = POLICIES if names is None else tuple(
            one for one in POLICIES + SPECIAL if one[0] in names)
        self.who.update((name, Who(name, number, vm_mac(number)))
                        for name, number, _ in POLICIES + SPECIAL)
        for name, number, policy in there:
            self._start(name, number, policy)
        self.radio = Radio(dom0, self._stations(), self.uplink._switch, self._own_devices(),
                           vlan)

    def prime(self) -> None:
        """Let everybody but the silent say a word, so that the switch knows where they are."""
        for name, vm in self.vms.items():
            if name not in ('red3', 'quar', 'off'):
                vm.post('ping', ['10.9.0.254'], 0.02, 32, '')
        for name, vm in self.vms.items():
            if name not in ('red3', 'quar', 'off'):
                vm.answer()
        for host in self.uplink.hosts:
            host.ping('10.9.0.31', 0.02)
        self.dom0.ovs.drain()

    def _start_lan(self) -> None:
        self.uplink = uplink = self.dom0.add_uplink(
            add_tagging_switch(self.dom0) if self.vlan else 'xenbr0',
            GatewayAddresses(GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64'))
        for kind in ('ip', 'ip6', 'arp'):       # would cut our marks off
            try:
                uplink._switch.set_sysctl('net/bridge/bridge-nf-call-%stables' % kind, 0)
            except LabError:
                break           # this kernel has no netfilter for bridges
        self.who['gw'] = Who('gw', 254, GATEWAY_MAC)
        for name, number in LAN:
            mac = '02:00:00:00:aa:%02x' % number
            uplink.add_host(name, mac, '10.9.0.%d/24' % number, 'fd00:9::%x/64' % number)
            self.who[name] = Who(name, number, mac)
        if self.vlan:
            self.dom0.ovs.vsctl('set', 'Port', 'eth0', 'tag=%d' % self.vlan)
            self.dom0.uplinks[self.bridge] = uplink

    def _write_members(self) -> None:
        os.makedirs(FOLDER, exist_ok=True)
        for group, name in REMOTE.items():
            who = self.who[name]
            with open('%s/%s.json' % (FOLDER, group), 'w') as file:
                json.dump({'version': 1, 'members': [{
                    'network': self.dom0.network_uuid(self.bridge), 'mac': who.mac,
                    'addresses': [who.ip, who.ip6, who.ll]}]}, file)

    def _start(self, name: str, number: int, policy: Optional[Mapping[str, str]]) -> None:
        data = dict(policy) if policy is not None else None
        if data is not None:
            data.update({'permissive': 'no'} if name in self.enforced else {})
            data.update({'vif/0/ipv4': '10.9.0.%d' % number, 'vif/0/ipv6': 'fd00:9::%x' % number})
        silent = name == 'red3'     # a guest that boots and says nothing
        vm = self.dom0.start_vm(name, bridge=self.bridge, ipv4='10.9.0.%d/24' % number,
                                ipv6='' if silent else 'fd00:9::%x/64' % number, policy=data,
                                mac=vm_mac(number), plug=False)
        if silent:
            vm.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
        vm.plug()
        self.vms[name] = vm

    def _stations(self) -> List[Station]:
        vms = [Station(name, vm, 'eth0', 'xenbr0', vm.netdev()) for name, vm in self.vms.items()]
        hosts = {host.name: host for host in self.uplink.hosts}
        hosts['gw'] = hosts['gateway']
        cable = 'nic0' if self.vlan else 'eth0'
        return vms + [Station(name, hosts[name], 'eth0', 'xenbr0', cable)
                      for name in ['gw'] + [name for name, _ in LAN]]

    def _own_devices(self) -> List[Tuple[str, str]]:
        wire = [(UPLINK, 'trunk0')] if self.vlan else []
        return wire + [(DOM0, name) for name in sorted({'xenbr0', self.bridge})]
