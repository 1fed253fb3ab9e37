"""The physical network behind an uplink: a switch, a gateway, other machines."""
from typing import Collection, List, NamedTuple, Tuple

from sandbox.host import Host
from sandbox.process import ip

OUTSIDE = ('192.0.2.1', '2001:db8::1')


class GatewayAddresses(NamedTuple):
    """A router's own MAC and addresses, with their prefix length."""

    mac: str
    ipv4: str = ''
    ipv6: str = ''

    def routers(self) -> Tuple[str, ...]:
        """Return what machines name as their default routers."""
        return tuple(address.split('/')[0] for address in (self.ipv4, self.ipv6)
                     if address)


class Uplink:
    """Dom0's physical NIC `device`, its cable, and the LAN at the other end."""

    def __init__(self, device: str, gateway: GatewayAddresses,
                 outside: Collection[str] = OUTSIDE) -> None:
        self.device = device
        self.addresses = gateway
        self.hosts: List[Host] = []
        self._switch = Host('switch')
        self._switch.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
        self._switch.ip('link add lan type bridge mcast_snooping 0 stp_state 0',
                        'link set lan up')
        self._switch.add_device('uplink', device, '02:00:00:00:ff:01')
        self.plug_in('uplink')
        ip(['link set %s up' % device])
        self.gateway = self.add_host('gateway', *gateway, routers=())
        self._become_router(outside)

    @property
    def switch_pid(self) -> int:
        """The process whose network namespace is the LAN's switch."""
        return self._switch.pid

    def plug_in(self, port: str) -> None:
        """Connect a device that is in the switch's namespace."""
        self._switch.ip('link set %s master lan' % port, 'link set %s up' % port)

    def _become_router(self, outside: Collection[str]) -> None:
        """Let the gateway forward, and speak for addresses outside."""
        self.gateway.set_sysctl('net/ipv4/ip_forward', 1)
        self.gateway.set_sysctl('net/ipv6/conf/all/forwarding', 1)
        self.gateway.ip(*('addr add %s dev lo' % address for address in outside))
        self.gateway.serve()

    def add_host(self, name: str, mac: str, ipv4: str = '', ipv6: str = '',
                 routers: Collection[str] = ('default',)) -> Host:
        """Add a machine to the LAN; by default it routes through the gateway."""
        host = Host(name)
        port = 'port%d' % len(self.hosts)
        host.add_device('eth0', port, mac, far_pid=self._switch.pid)
        self.hosts.append(host)
        self.plug_in(port)
        if tuple(routers) == ('default',):
            routers = self.addresses.routers()
        host.configure('eth0', [a for a in (ipv4, ipv6) if a], routers)
        return host

    def machines(self) -> List[Host]:
        """Return everything that runs on the physical network."""
        return self.hosts + [self._switch]
