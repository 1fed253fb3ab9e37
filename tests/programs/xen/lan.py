"""What lies beyond the host's NIC: a switch, a gateway and an outsider, as namespaces of Dom0."""
import os
from typing import Mapping

from sandbox.metadata import VifRecord
from xen.guest import GATEWAY, Done, Sender, sh

NIC = 'eth0'            # Dom0's; in a machine of the LAN the NIC has the same name
SWITCH = 'switch'
REMOTE = ('192.0.2.1', '2001:db8::1')       # behind the gateway


class Machine(Sender):
    """A machine on the LAN; it can do what the checks ask of a guest."""

    def __init__(self, name: str, mac: str, ipv4: str, ipv6: str) -> None:
        self.name, self.ipv4, self.ipv6 = name, ipv4, ipv6
        self.vif = VifRecord(0, mac, '', '', '')
        sh('ip', 'netns', 'add', name)
        sh('ip', 'link', 'add', 'to-' + name, 'type', 'veth', 'peer', 'name', NIC, 'netns', name)
        self.do('ip', 'link', 'set', NIC, 'address', mac)
        set_sysctl(name, 'net/ipv6/conf/%s/accept_dad' % NIC, 0)
        for address in (ipv4 + '/24', ipv6 + '/64'):
            self.do('ip', 'addr', 'add', address, 'dev', NIC)
        for device in ('lo', NIC):
            self.do('ip', 'link', 'set', device, 'up')

    def do(self, *argv: str, check: bool = True) -> Done:
        """Run a program on the machine."""
        return sh('ip', 'netns', 'exec', self.name, *argv, check=check)

    def send(self, frames: Mapping[str, bytes]) -> str:
        """Send whole Ethernet frames; return what came of it."""
        return self.do('frames', 'send', *[frame.hex() for frame in frames.values()]).text

    def pings(self, address: str, source: str = '') -> bool:
        """Tell whether an address answers."""
        options = ('-I', source) if source else ()
        return self.do('ping', '-c', '2', '-W', '2', *options, address, check=False).code == 0


class Lan:
    """The switch that the host's NIC leads to, and who else is on it."""

    def __init__(self, bridge: str) -> None:
        sh('ip', 'netns', 'add', SWITCH)
        sh('ip', 'link', 'add', NIC, 'type', 'veth', 'peer', 'name', 'host', 'netns', SWITCH)
        for command in ('link add lan type bridge mcast_snooping 0 stp_state 0',
                        'link set lan up'):
            sh('ip', '-n', SWITCH, *command.split())
        self.plug_in('host')
        self.gateway = Machine('gateway', '02:00:00:00:ff:fe', *GATEWAY)
        self.outsider = Machine('outsider', '02:00:00:00:ff:99', '10.99.0.99', 'fd99::99')
        for machine in (self.gateway, self.outsider):
            sh('ip', 'link', 'set', 'to-' + machine.name, 'netns', SWITCH)
            self.plug_in('to-' + machine.name)
        for setting in ('net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'):
            set_sysctl('gateway', setting, 1)
        for address in REMOTE:
            self.gateway.do('ip', 'addr', 'add', address, 'dev', 'lo')
        sh('ip', 'link', 'set', NIC, 'up')
        sh('ovs-vsctl', 'add-port', bridge, NIC)

    def plug_in(self, device: str) -> None:
        """Plug a cable's end into the switch."""
        sh('ip', '-n', SWITCH, 'link', 'set', device, 'master', 'lan')
        sh('ip', '-n', SWITCH, 'link', 'set', device, 'up')


def set_sysctl(namespace: str, name: str, value: int) -> None:
    """Set a kernel parameter of a namespace."""
    sh('ip', 'netns', 'exec', namespace, 'sh', '-c',
       'echo %d > %s' % (value, os.path.join('/proc/sys', name)))
