"""VMs of every kind on a host, and frames that their policies refuse."""
from ipaddress import ip_address
from typing import Any, Dict, Mapping, NamedTuple

from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.vm_events import refresh
from xsisolate.openflow.ownership import RECORDED, RECORDER
from xsisolate.pipeline.refusals import BIT_WOULD_BE
from xsisolate.pipeline.tables import NETWORK

CONFIG = '''\
version: 1
unsealed: accept
groups:
  web: {rules: [tcp/443, udp/53]}
networks:
  "*":
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
FRAMES = 3          # of each kind


class Party(NamedTuple):
    """A VM's VIF, as frames name it."""

    mac: str
    ip: str
    ip6: str
    ll: str = 'fe80::1'


def record_passed(host: Sandbox, one: Vm, other: Vm, port: int) -> None:
    """Have the switch say that a permissive VIF would have refused a SYN to a port."""
    addresses = [int(ip_address(vm.address())) for vm in (one, other)]
    ofport = host.ovs.vsctl('get', 'Interface', one.netdev(), 'ofport')
    host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0', (
        'table=%d,cookie=0x%x,priority=1,in_port=%s,dl_src=%s,dl_dst=%s,reg4=0,reg5=0,reg6=0,'
        'reg7=0x%x,reg8=0,reg9=0,reg10=0,reg11=0x%x,reg12=0x%x,reg13=0x%x,reg14=0x%x,'
        'actions=drop' % (RECORDED, RECORDER, ofport, one.mac, other.mac, *addresses,
                          6 << 16 | port, NETWORK, 1 << BIT_WOULD_BE | 0x800)))


class Town:
    """VMs by name, and what they are called in frames."""

    def __init__(self, host: Sandbox) -> None:
        self.host = host
        self.vms: Dict[str, Vm] = {}
        self.policies: Dict[str, Mapping[str, str]] = {}
        host.add_bridge('xapi120', parent='xenbr0', vlan=120)
        for name, number, bridge, words in (
                ('red', 11, 'xenbr0', {'groups': 'red'}),
                ('blue', 21, 'xenbr0', {'groups': 'blue'}),
                ('web1', 51, 'xenbr0', {'groups': 'web'}),
                ('web2', 52, 'xenbr0', {'groups': 'web'}),
                ('web3', 53, 'xenbr0', {'groups': 'web', 'allow': '10.9.0.52'}),
                ('shut', 61, 'xenbr0', {'mode': 'disabled'}), ('un', 99, 'xenbr0', None),
                ('locked', 41, 'xenbr0', {'mode': 'locked'}),
                ('vred', 71, 'xapi120', {'groups': 'red'}), ('vun', 72, 'xapi120', None)):
            own = {'vif/0/ipv4': '10.9.0.%d' % number, 'vif/0/ipv6': 'fd00:9::%d' % number}
            self.policies[name] = {} if words is None else dict(own, **words)
            self.vms[name] = host.start_vm(name, bridge, ipv4='10.9.0.%d/24' % number,
                                           policy=self.policies[name] or None)

    def party(self, name: str) -> Party:
        """Return a VM's addresses."""
        number = self.vms[name].address().rpartition('.')[2]
        return Party(self.vms[name].mac, '10.9.0.' + number, 'fd00:9::' + number)

    def send(self, name: str, *some: Any, times: int = FRAMES) -> None:
        """Have a VM send frames; all have been sent, and counted, when it returns."""
        for frame in some:
            self.vms[name].send_all([bytes(frame)] * times)
        self.vms[name].call('ping', [], 0, 0, '')
        self.host.ovs.settle()

    def record_passed(self, name: str, other: str, port: int) -> None:
        """Have the switch say that a permissive VIF would have refused a SYN to a port."""
        record_passed(self.host, self.vms[name], self.vms[other], port)

    def restore(self) -> None:
        """Give the VMs the policies that they began with."""
        for name, policy in self.policies.items():
            if policy:
                self.vms[name].set_policy(policy)
                refresh(self.vms[name])

    def forget(self) -> None:
        """Have the switch forget what it has recorded."""
        for bridge in ('xenbr0', 'xenbr1'):
            self.host.ovs.ofctl('del-flows', bridge, 'cookie=0x5849535200000000/0xffffffff00000000')
