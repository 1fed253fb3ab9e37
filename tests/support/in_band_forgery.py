"""A guest that forges a manager's or controller's frames, and what of it others hear.

The frames are those that Open vSwitch's in-band control lets pass from any port to any other.
"""
from typing import Dict, Iterator, List, Sequence

from sandbox.flood import Flood, Shout
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.packets.frames import ALL, ARP, IP, TCP, Ether, IPv6

REMOTE, REMOTE6, PORT = '10.9.0.200', 'fd00:9::200', 6640
SERVER = 7                  # Host.serve
RATE = 2000                 # frames a second
CONNECT = '''
import socket, sys
talk = socket.socket()
talk.settimeout(1)
talk.bind((sys.argv[1], int(sys.argv[2])))
talk.connect((sys.argv[3], int(sys.argv[4])))
talk.send(b'word')
print(talk.recv(100).decode())
'''


def hidden_flows(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return the flows that Open vSwitch has for controllers and managers."""
    return [line for line in host.ovs.appctl('bridge/dump-flows', bridge).splitlines()
            if 'priority=18000' in line]


def forged(attacker: Vm, victims: Sequence[Vm]) -> Iterator[Shout]:
    """Yield frames in the remote's name: TCP from it and to it, ARP, to each and to all."""
    for name, mac, address, address6 in [
            (vm.name, vm.mac, vm.address(), vm.address(6)) for vm in victims] + [
            ('all', ALL, '10.9.0.255', 'ff02::1')]:
        ether = Ether(src=attacker.mac, dst=mac)
        frames = {
            'from it': ether / IP(src=REMOTE, dst=address) / TCP(sport=PORT, dport=4000),
            'to it': ether / IP(src=attacker.address(), dst=REMOTE) / TCP(sport=4000, dport=PORT),
            'from it, IPv6': ether / IPv6(src=REMOTE6, dst=address6) / TCP(sport=PORT, dport=4000),
            'request': ether / ARP(op=1, hwsrc=attacker.mac, psrc=REMOTE, pdst=address),
            'reply': ether / ARP(op=2, hwsrc=attacker.mac, psrc=address, hwdst=mac, pdst=REMOTE)}
        for kind, frame in frames.items():
            yield Shout(kind, name, bytes(frame))


class Forging:
    """Guests that forge at each other all the time; `stop` tells what was heard."""

    def __init__(self, *vms: Vm) -> None:
        self._flood = Flood(RATE)
        self.seconds = 0.0      # between the first and the last that were heard at the last look
        for vm in vms:
            others = [other for other in vms if other is not vm]
            self._flood.set(vm.name, vm.pid, 'eth0', list(forged(vm, others)))

    def look(self) -> Dict[str, int]:
        """Return how many forged frames were heard since the last look, by their kind."""
        found: Dict[str, int] = {}
        report = self._flood.report()
        self.seconds = max((one.last for one in report.values()), default=0) - min(
            (one.first for one in report.values()), default=0)
        for echo, times in report.items():
            found[echo.kind] = found.get(echo.kind, 0) + times.number
        assert sum(self._flood.sent.values()) > 50, self._flood.sent
        return found

    def stop(self) -> Dict[str, int]:
        """The same, and end it."""
        try:
            return self.look()
        finally:
            self.kill()

    def kill(self) -> None:
        """End it if it still goes on."""
        self._flood.stop()


def connects(attacker: Vm, victim: Vm) -> bool:
    """Tell whether an attacker gets a TCP connection to a victim's server in the remote's name."""
    attacker.ip('addr add %s/32 dev eth0' % REMOTE,
                'neigh replace %s lladdr %s dev eth0' % (victim.address(), victim.mac))
    try:
        attacker.send(bytes(Ether(src=attacker.mac, dst=victim.mac) / ARP(
            op=1, hwsrc=attacker.mac, psrc=REMOTE, pdst=victim.address())))
        code, out, _ = attacker.run('python3', '-c', CONNECT, REMOTE, str(PORT),
                                    victim.address(), str(SERVER))
        return not code and 'word' in out
    finally:
        attacker.ip('addr del %s/32 dev eth0' % REMOTE,
                    'neigh del %s dev eth0' % victim.address())
        victim.flush_neighbours()
