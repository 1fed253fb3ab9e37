"""The process that lives in a guest's network namespace and does there what it is told.

One process a guest, forked and not executed: it costs milliseconds, and each
command only a message on a pipe.
"""
import os
import selectors
import signal
import socket
import subprocess
import time
import traceback
from multiprocessing.connection import Connection
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

from sandbox import packets, traffic
from sandbox.enter import CLONE_NEWNET, check
from sandbox.process import LIBC, die_with_parent, ip, set_sysctl

# A kernel asks for a neighbour's MAC once a second. With that a ping could fail
# for no better reason than that an earlier one, just before, was in vain.
NEIGHBOUR_RETRY_MS = 100


class Agent:
    """Carries out commands; the public methods are what a guest can be told to do."""

    def __init__(self, pipe: 'Connection') -> None:
        self._pipe = pipe
        self._selector = selectors.DefaultSelector()
        self._sniffers: Dict[str, packets.Sniffer] = {}
        self._senders: Dict[str, socket.socket] = {}
        self._conversations = traffic.Conversations()
        self._watch(pipe, self._obey)

    def serve(self) -> None:
        """Serve the pipe and the echo servers until the pipe is closed."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _watch(self, source: object, react: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, react)     # type: ignore

    def _obey(self) -> None:
        """Carry out one command; EOFError when the sandbox is gone ends the process."""
        name, args = self._pipe.recv()
        try:
            self._pipe.send((True, getattr(self, name)(*args)))
        except Exception:
            self._pipe.send((False, traceback.format_exc()))

    def prepare(self, dad: bool) -> None:
        """Set the namespace's kernel parameters before it gets a device."""
        ip(['link set lo up'])
        default6 = 'net/ipv6/conf/default/'
        if not dad:     # duplicate address detection holds an address back for 1 s
            set_sysctl(default6 + 'accept_dad', 0)
        set_sysctl(default6 + 'router_solicitations', 0)

    def set_sysctl(self, name: str, value: int) -> None:
        """Set a kernel parameter of the guest."""
        set_sysctl(name, value)

    def tune(self, device: str) -> None:
        """Make a new device fit for tests."""
        packets.disable_offloads(device)
        for version in ('ipv4', 'ipv6'):
            set_sysctl('net/%s/neigh/%s/retrans_time_ms' % (version, device),
                       NEIGHBOUR_RETRY_MS)

    def ip(self, lines: Sequence[str]) -> None:
        """Run lines of ip(8) in the guest."""
        ip(lines)

    def run(self, argv: Sequence[str], timeout: float) -> Tuple[int, str, str]:
        """Run any program in the guest; return exit code, stdout and stderr."""
        done = subprocess.run(argv, timeout=timeout, encoding='utf-8',
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        return done.returncode, done.stdout, done.stderr

    def ping(self, addresses: Sequence[str], timeout: float, size: int,
             source: str) -> Set[str]:
        """See traffic.ping."""
        return traffic.ping(addresses, timeout, size, source)

    def udp(self, address: str, port: int, timeout: float, size: int,
            source: str) -> bool:
        """See traffic.udp."""
        return traffic.udp(address, port, timeout, size, source)

    def tcp_open(self, address: str, port: int, timeout: float, source: str) -> int:
        """See traffic.Conversations.open."""
        return self._conversations.open(address, port, timeout, source)

    def tcp_say(self, number: int, timeout: float, size: int) -> bool:
        """See traffic.Conversations.say."""
        return self._conversations.say(number, timeout, size)

    def serve_udp(self, port: int) -> None:
        """Answer every datagram to the port with itself."""
        server = traffic.udp_server(port)
        self._watch(server, lambda: traffic.udp_answer(server))

    def serve_tcp(self, port: int) -> None:
        """Answer everything on connections to the port with itself."""
        server = traffic.tcp_server(port)
        self._watch(server, lambda: self._accept(server))

    def _accept(self, server: socket.socket) -> None:
        client = server.accept()[0]
        self._watch(client, lambda: self._echo(client))

    def _echo(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
            client.sendall(data)
        except OSError:
            data = b''
        if not data:
            self._selector.unregister(client)
            client.close()

    def send(self, device: str, *frames: bytes) -> None:
        """Send frames as they stand; the socket stays open, for to close one takes 15 ms."""
        for frame in frames:
            try:
                self._sender(device).send(frame)
            except OSError:         # the device has gone, and perhaps come back
                self._senders.pop(device).close()
                self._sender(device).send(frame)

    def pace(self, device: str, gap: float, *frames: bytes) -> None:
        """Send frames with a pause of some seconds behind each."""
        for frame in frames:
            self.send(device, frame)
            time.sleep(gap)

    def _sender(self, device: str) -> socket.socket:
        if device not in self._senders:
            self._senders[device] = packets.open_sender(device)
        return self._senders[device]

    def sniff(self, device: str) -> None:
        """Begin to collect what arrives at a device."""
        self._sniffers[device] = packets.Sniffer(device)

    def sniffed(self, device: str, until: Optional[bytes], wait: float) -> List[bytes]:
        """Stop collecting; see packets.Sniffer.stop."""
        return self._sniffers.pop(device).stop(until, wait)


def live(pipe: 'Connection') -> None:
    """Be an agent in a network namespace of its own, until the sandbox is gone."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # a Ctrl-C is for the sandbox
    close_all_but(2, pipe.fileno())
    check(LIBC.unshare(CLONE_NEWNET), 'unshare')
    try:
        Agent(pipe).serve()
    except (EOFError, OSError):
        pass


def close_all_but(*keep: int) -> None:
    """Close what the fork inherited: sockets of the test, pipes of other agents."""
    for fd in (int(name) for name in os.listdir('/proc/self/fd')):
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass        # the descriptor that listed the folder
