"""The demo's machines, and what the admin wrote about each of them."""
from typing import Dict, Mapping, NamedTuple, Optional, Tuple

from sandbox.host import Host
from sandbox.dom0 import Sandbox
from sandbox.uplink import OUTSIDE, GatewayAddresses
from sandbox.vm import Vm

BRIDGE = 'xenbr0'
SUBNETS = ('10.9.0.0/24', 'fd00:9::/64')
PRIVATE_BRIDGE, PRIVATE_SUBNETS = 'xapi9', ('10.9.1.0/24', 'fd00:9:1::/64')
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
CONFIGURATION = '''\
version: 1
grace: 1
networks:
  %s:
    subnets: ["%s", "%s"]
    gateways: [{mac: "%s", ipv4: "%s", ipv6: "%s"}]
  %s:
    subnets: ["%s", "%s"]
''' % (BRIDGE, *SUBNETS, GATEWAY.mac, *GATEWAY.routers(), PRIVATE_BRIDGE, *PRIVATE_SUBNETS)


class Machine(NamedTuple):
    """Who takes part: its addresses and its policy; None for whoever has none."""

    name: str
    ipv4: str
    ipv6: str
    policy: Optional[Mapping[str, str]] = None

    def address(self, version: int) -> str:
        """Return the IPv4 or IPv6 address."""
        return self.ipv4 if version == 4 else self.ipv6


def vm(name: str, number: int, subnets: Tuple[str, str] = SUBNETS, **policy: str) -> Machine:
    """Return a VM whose addresses end in `number`; a managed one names them as its own."""
    ipv4, ipv6 = (subnet.split('/')[0] for subnet in subnets)
    ipv4, ipv6 = ipv4[:-1] + str(number), ipv6 + str(number)
    if policy:
        policy.update({'vif/0/ipv4': ipv4, 'vif/0/ipv6': ipv6})
    return Machine(name, ipv4, ipv6, policy or None)


VMS = (
    vm('red1', 11, groups='red', allow='external'),
    vm('red2', 12, groups='red'),
    vm('red3', 13, groups='red'),
    vm('blue1', 21, groups='blue', allow='10.9.0.51 fd00:9::51'),
    vm('blue2', 22, groups='blue', allow='out:udp/7@10.9.0.51 out:udp/7@fd00:9::51'),
    vm('blue3', 23, groups='blue'),
    vm('locked', 41, mode='locked'),
    vm('free', 51),
)
OTHERS = (
    Machine('gateway', GATEWAY.routers()[0], GATEWAY.routers()[1]),
    Machine('outside', OUTSIDE[0], OUTSIDE[1]),       # a host on the internet, behind the gateway
)
MACHINES: Tuple[Machine, ...] = VMS + OTHERS
BY_NAME = {machine.name: machine for machine in MACHINES}


class Place(NamedTuple):
    """A network: all that is on it, or behind its gateway."""

    machines: Tuple[Machine, ...]
    subnets: Tuple[str, str]
    gateway: Tuple[str, ...]        # its addresses
    router: str                     # the machine that has them, and is the outside, too


LAN = Place(MACHINES, SUBNETS, GATEWAY.routers(), 'gateway')
PRIVATE = Place((
    vm('router', 254, PRIVATE_SUBNETS, **{'mode': 'locked', 'vif/0/roles': 'gateway'}),
    vm('red4', 14, PRIVATE_SUBNETS, groups='red', allow='external'),
    vm('red5', 15, PRIVATE_SUBNETS, groups='red'),
    vm('blue4', 24, PRIVATE_SUBNETS, groups='blue', allow='external'),
    Machine('outside', *OUTSIDE)), PRIVATE_SUBNETS, ('10.9.1.254', 'fd00:9:1::254'), 'router')


class Scene:
    """The machines, running."""

    def __init__(self, dom0: Sandbox) -> None:
        self.dom0 = dom0
        self.vms: Dict[str, Vm] = {}
        dom0.add_bridge(BRIDGE)
        dom0.configure(CONFIGURATION)
        self.gateway: Host = dom0.add_uplink(BRIDGE, GATEWAY).gateway

    def start(self) -> None:
        """Start all VMs, none of them with a policy yet."""
        for machine in VMS:
            self.vms[machine.name] = self.dom0.start_vm(
                machine.name, ipv4=machine.ipv4 + '/24', ipv6=machine.ipv6 + '/64')
            self.vms[machine.name].serve()

    def apply_policies(self) -> None:
        """Write the policies to vm-data, as an admin would, and restart the VMs."""
        for machine in VMS:
            self.vms[machine.name].set_policy(machine.policy or {})
            self.restart(machine.name)
        self.forget_attacks()

    def restart(self, name: str) -> Vm:
        """Restart a VM: the hooks run as its VIF leaves, and as the next one comes."""
        following = self.vms[name].reboot()
        following.serve()
        self.vms[name] = following
        return following

    def start_again(self, crashed: Vm) -> Vm:
        """Start a VM that crashed, with what xenstore still says of it."""
        vm_data = self.dom0.toolstack.vm_data(crashed.domain)
        following = self.dom0.start_domain(crashed.name, crashed.uuid, vm_data)
        crashed.hand_over(following)
        following.plug()
        following.serve()
        self.vms[crashed.name] = following
        return following

    def forget_attacks(self) -> None:
        """Let switch and gateway forget what they learned from forged frames."""
        self.dom0.ovs.appctl('fdb/flush', BRIDGE)
        self.gateway.flush_neighbours()

    def hosts(self) -> Dict[str, Host]:
        """Return where each machine runs; outside addresses are the gateway's own."""
        hosts: Dict[str, Host] = dict(self.vms)
        return {**hosts, 'gateway': self.gateway, 'outside': self.gateway}
