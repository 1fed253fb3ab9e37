"""What a guest says on the network through its own kernel: ping, UDP, TCP."""
import os
import select
import socket
import struct
import time
from typing import Dict, Iterator, Sequence, Set, Tuple

Target = Tuple[socket.AddressFamily, Tuple[object, ...]]

ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
ICMP = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
# What is lost is sent again, as a real client would. A neighbour that has just
# been found silent makes the kernel refuse the next packet out of hand.
RETRY_S = 0.25
ECHO = struct.Struct('!BBHHH')      # type, code, checksum, identifier, sequence


def resolve(address: str, port: int = 0) -> Target:
    """Return family and socket address of a numeric address, `fe80::1%eth0` included."""
    found = socket.getaddrinfo(address, port, flags=socket.AI_NUMERICHOST,
                               type=socket.SOCK_DGRAM)[0]
    return found[0], found[4]


def ping(addresses: Sequence[str], timeout: float, size: int, source: str) -> Set[str]:
    """Ping all addresses at once until they answer or time is up; return who did."""
    deadline = time.monotonic() + timeout
    token = os.urandom(8)
    payload = token + bytes(max(size - len(token), 0))
    sockets = {family: open_ping_socket(family, source)
               for family in {resolve(address)[0] for address in addresses}}
    answered: Set[int] = set()
    try:
        while len(answered) < len(addresses) and time.monotonic() < deadline:
            for sequence in set(range(len(addresses))) - answered:
                family, target = resolve(addresses[sequence])
                send_echo(sockets[family], target, sequence, payload)
            collect(list(sockets.values()), token, len(addresses), answered,
                    min(deadline, time.monotonic() + RETRY_S))
    finally:
        for used in sockets.values():
            used.close()
    return {addresses[sequence] for sequence in answered}


def open_ping_socket(family: socket.AddressFamily, source: str) -> socket.socket:
    """Open a raw ICMP socket."""
    opened = socket.socket(family, socket.SOCK_RAW, ICMP[family])
    if source:
        opened.bind(resolve(source)[1])
    return opened


def send_echo(raw: socket.socket, target: Tuple[object, ...], sequence: int,
              payload: bytes) -> None:
    """Send an echo request; that there is no way to send it is silence as well."""
    family = socket.AddressFamily(raw.family)
    header = (ECHO_REQUEST[family], 0, 0, os.getpid() & 0xffff, sequence)
    packet = ECHO.pack(*header) + payload
    if family == socket.AF_INET:        # for IPv6 the kernel fills in the checksum
        packet = ECHO.pack(*header[:2], checksum(packet), *header[3:]) + payload
    try:
        raw.sendto(packet, target)
    except OSError:
        pass


def checksum(data: bytes) -> int:
    """Return the Internet checksum."""
    words = struct.unpack('!%dH' % ((len(data) + 1) // 2), data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return int(~total & 0xffff)


def collect(sockets: Sequence[socket.socket], token: bytes, expected: int,
            answered: Set[int], deadline: float) -> None:
    """Note the sequence numbers of the echo replies that carry our token."""
    while len(answered) < expected and time.monotonic() < deadline:
        ready = select.select(sockets, [], [], max(deadline - time.monotonic(), 0))[0]
        for one in ready:
            packet = one.recv(65536)
            if one.family == socket.AF_INET:
                packet = packet[(packet[0] & 15) * 4:]
            kind, _, _, _, sequence = ECHO.unpack(packet[:8])
            if kind == ECHO_REPLY[one.family] and packet[8:16] == token:
                answered.add(sequence)


def attempts(timeout: float) -> Iterator[float]:
    """Yield how long to wait, once a retry, until the time is up."""
    deadline = time.monotonic() + timeout
    left = timeout
    while left > 0:
        started = time.monotonic()
        yield min(left, RETRY_S)
        # an error comes at once, and the next one would as well
        time.sleep(max(0.0, min(RETRY_S / 10 - (time.monotonic() - started), left)))
        left = deadline - time.monotonic()


def udp(address: str, port: int, timeout: float, size: int, source: str) -> bool:
    """Tell whether a UDP echo server there answers a datagram."""
    datagram = os.urandom(8) + bytes(max(size - 8, 0))
    for wait in attempts(timeout):
        try:
            with connect(socket.SOCK_DGRAM, address, port, source, wait) as client:
                client.send(datagram)
                return client.recv(65536) == datagram
        except ConnectionRefusedError:
            return False        # there is a machine, but no server
        except OSError:
            continue
    return False


def connect(kind: socket.SocketKind, address: str, port: int, source: str,
            wait: float) -> socket.socket:
    """Return a socket connected to an address, from a source address if one is given."""
    family, target = resolve(address, port)
    client = socket.socket(family, kind)
    client.settimeout(wait)
    try:
        if source:
            client.bind(resolve(source)[1])
        client.connect(target)
    except OSError:
        client.close()
        raise
    return client


class Conversations:
    """The TCP connections that a guest has open, by number."""

    def __init__(self) -> None:
        self._open: Dict[int, socket.socket] = {}

    def open(self, address: str, port: int, timeout: float, source: str) -> int:
        """Connect; return the connection's number, 0 when nobody answers."""
        for wait in attempts(timeout):
            try:
                client = connect(socket.SOCK_STREAM, address, port, source, wait)
            except ConnectionRefusedError:
                return 0
            except OSError:
                continue
            self._open[len(self._open) + 1] = client
            return len(self._open)
        return 0

    def say(self, number: int, timeout: float, size: int) -> bool:
        """Tell whether the echo server still answers on a connection."""
        client, word, heard = self._open[number], os.urandom(size), b''
        client.settimeout(timeout)
        try:
            client.sendall(word)
            while len(heard) < size:
                piece = client.recv(65536)
                if not piece:
                    return False
                heard += piece
        except OSError:
            return False
        return heard == word


def udp_server(port: int) -> socket.socket:
    """Open a UDP socket for IPv4 and IPv6 that knows which address was spoken to."""
    server = bind_both(socket.SOCK_DGRAM, port)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return server


def udp_answer(server: socket.socket) -> None:
    """Send one datagram back, from the very address that it was sent to."""
    datagram, notes, _, client = server.recvmsg(65536, socket.CMSG_SPACE(20))
    try:
        server.sendmsg([datagram], notes, 0, client)
    except OSError:
        pass        # the way back is closed: that is for the client to notice


def tcp_server(port: int) -> socket.socket:
    """Open a listening TCP socket for IPv4 and IPv6."""
    server = bind_both(socket.SOCK_STREAM, port)
    server.listen(32)
    return server


def bind_both(kind: socket.SocketKind, port: int) -> socket.socket:
    """Open a server socket for both IP versions."""
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('::', port))
    return server
