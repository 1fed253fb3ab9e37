"""A machine on the network: a namespace with an agent in it, and how tests speak to it."""
import os
import signal
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Collection, Iterable, List, Optional, Sequence, Set, Tuple

from sandbox.agent import live
from sandbox.process import LabError, ip

ANSWER_TIMEOUT_S = 60
ECHO_PORT = 7
# Long enough for a busy machine; where silence is expected, tests say how long.
REPLY_TIMEOUT_S = 1.0


class Host:
    """A machine with a kernel, addresses and voice of its own; not yet a VM."""

    def __init__(self, name: str, dad: bool = False) -> None:
        self.name = name
        self._pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                live(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.call('prepare', dad)

    def __repr__(self) -> str:
        return '<%s %s>' % (type(self).__name__, self.name)

    def halt(self) -> None:
        """End the agent; its namespace and the devices in it go with it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._pipe.close()
            self.pid = 0

    def post(self, command: str, *args: object) -> None:
        """Begin a command; `answer` ends it. Several hosts can be busy at once."""
        try:
            self._pipe.send((command, args))
        except (OSError, ValueError) as error:
            raise LabError('%s is not running' % self.name) from error

    def answer(self) -> Any:
        """Wait for the command begun last and return what it returned."""
        return take_answer(self._pipe, self.name, ANSWER_TIMEOUT_S)

    def call(self, command: str, *args: object) -> Any:
        """Run a command of the agent and return what it returned."""
        self.post(command, *args)
        return self.answer()

    def add_device(self, device: str, far_end: str, mac: str, mtu: int = 1500,
                   far_pid: Optional[int] = None) -> None:
        """Give the machine a device whose cable ends as `far_end` in Dom0, or elsewhere."""
        place = 'netns %d ' % far_pid if far_pid else ''
        ip(['link add name %s mtu %d %stype veth peer name %s address %s mtu %d netns %d'
            % (far_end, mtu, place, device, mac, mtu, self.pid)])
        self.call('tune', device)

    def configure(self, device: str, addresses: Collection[str] = (),
                  gateways: Collection[str] = ()) -> None:
        """Set a device up with addresses like 10.0.0.1/24 and default routes."""
        lines = ['link set %s up' % device]
        lines += ['addr add %s dev %s' % (address, device) for address in addresses]
        lines += ['route add default via %s dev %s' % (gateway, device)
                  for gateway in gateways]
        self.call('ip', lines)

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8) in the machine: 'addr add 10.0.0.9/24 dev eth0', ..."""
        self.call('ip', lines)

    def set_sysctl(self, name: str, value: int) -> None:
        """Set a kernel parameter, named as below /proc/sys."""
        self.call('set_sysctl', name, value)

    def run(self, *argv: str, timeout: float = 30) -> Tuple[int, str, str]:
        """Run any program in the machine; return exit code, stdout and stderr."""
        code, out, err = self.call('run', argv, timeout)
        return code, out, err

    def flush_neighbours(self) -> None:
        """Forget every MAC that ARP and neighbour discovery have found."""
        self.ip('neigh flush all nud permanent nud noarp nud reachable nud stale '
                'nud delay nud probe nud failed nud incomplete')

    def ping(self, address: str, timeout: float = REPLY_TIMEOUT_S, size: int = 32,
             source: str = '') -> bool:
        """Tell whether an IPv4 or IPv6 address answers an echo request in time."""
        return bool(self.ping_all([address], timeout, size, source))

    def ping_all(self, addresses: Sequence[str], timeout: float = REPLY_TIMEOUT_S,
                 size: int = 32, source: str = '') -> Set[str]:
        """Ping all addresses at once; return those that answered."""
        return set(self.call('ping', list(addresses), timeout, size, source))

    def serve(self, *ports: int) -> None:
        """Run UDP and TCP echo servers on these ports, or on port 7."""
        for port in ports or (ECHO_PORT,):
            self.call('serve_udp', port)
            self.call('serve_tcp', port)

    def udp(self, address: str, port: int = ECHO_PORT, timeout: float = REPLY_TIMEOUT_S,
            size: int = 32, source: str = '') -> bool:
        """Tell whether the UDP echo server there answers."""
        return bool(self.call('udp', address, port, timeout, size, source))

    def tcp(self, address: str, port: int = ECHO_PORT, timeout: float = REPLY_TIMEOUT_S,
            size: int = 32, source: str = '') -> bool:
        """Tell whether the TCP echo server there can be connected to, and answers."""
        number = self.tcp_open(address, port, timeout, source)
        return bool(number) and self.tcp_say(number, timeout, size)

    def tcp_open(self, address: str, port: int = ECHO_PORT,
                 timeout: float = REPLY_TIMEOUT_S, source: str = '') -> int:
        """Open a TCP connection that stays; return its number, 0 if it fails."""
        return int(self.call('tcp_open', address, port, timeout, source))

    def tcp_say(self, number: int, timeout: float = REPLY_TIMEOUT_S,
                size: int = 32) -> bool:
        """Tell whether a word on an open TCP connection is still answered."""
        return bool(self.call('tcp_say', number, timeout, size))

    def send(self, frame: bytes, device: str = 'eth0') -> None:
        """Send an Ethernet frame as it stands, forged or not."""
        self.call('send', device, bytes(frame))

    def send_all(self, frames: Iterable[bytes], device: str = 'eth0') -> None:
        """Send Ethernet frames as they stand, one after the other."""
        self.call('send', device, *map(bytes, frames))

    def sniff(self, device: str = 'eth0') -> None:
        """Begin to collect the frames that arrive at a device, whoever they are for."""
        self.call('sniff', device)

    def sniffed(self, device: str = 'eth0', until: Optional[bytes] = None,
                wait: float = 0.3) -> List[bytes]:
        """Stop collecting and return the frames; wait for late ones, or until one frame."""
        return list(self.call('sniffed', device, until, wait))


def take_answer(pipe: 'Connection', name: str, timeout: float) -> Any:
    """Wait for what the process at the other end of a pipe has made of a command."""
    if not pipe.poll(timeout):
        raise LabError('%s does not answer' % name)
    try:
        fine, value = pipe.recv()
    except (EOFError, OSError) as error:
        raise LabError('%s died' % name) from error
    if not fine:
        raise LabError('%s: %s' % (name, value))
    return value
