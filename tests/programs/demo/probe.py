"""Run inside a machine: ping all targets at once, then try UDP with all of them.

    probe.py '{"targets": [...], "sources": {"4": "", "6": ""}, "timeout": 1.5}'

prints {"ping": [answering targets], "udp": [answering targets]}.
"""
import json
import os
import select
import socket
import sys
import time
from typing import Dict, List, Mapping, Sequence, Set

from sandbox.host import ECHO_PORT
from sandbox.traffic import RETRY_S, connect, ping


def version_of(address: str) -> str:
    """Return '4' or '6'."""
    return '6' if ':' in address else '4'


def ping_all(targets: Sequence[str], sources: Mapping[str, str], timeout: float) -> Set[str]:
    """Return who answers an echo request sent from this machine's source addresses."""
    found: Set[str] = set()
    for version, source in sorted(sources.items()):
        mine = [address for address in targets if version_of(address) == version]
        found |= ping(mine, timeout, 32, source)
    return found


def udp_all(targets: Sequence[str], sources: Mapping[str, str], timeout: float) -> Set[str]:
    """Return whose UDP echo server answers."""
    found: Set[str] = set()
    clients: Dict[socket.socket, str] = {}
    for address in targets:
        client = connect(socket.SOCK_DGRAM, address, ECHO_PORT,
                         sources[version_of(address)], 0)
        clients[client] = address
    deadline = time.monotonic() + timeout
    while len(found) < len(targets) and time.monotonic() < deadline:
        word = os.urandom(16)
        for client in clients:
            say(client, word)
        found |= {clients[client] for client in hear(list(clients), word)}
    for client in clients:
        client.close()
    return found


def say(client: socket.socket, word: bytes) -> None:
    """Send a datagram; that there is no way to send it is silence as well."""
    try:
        client.send(word)
    except OSError:
        pass


def hear(clients: Sequence[socket.socket], word: bytes) -> List[socket.socket]:
    """Return on which sockets the word comes back within the time for one try."""
    heard: List[socket.socket] = []
    until = time.monotonic() + RETRY_S
    while time.monotonic() < until and len(heard) < len(clients):
        silent = [client for client in clients if client not in heard]
        for client in select.select(silent, [], [], max(0, until - time.monotonic()))[0]:
            try:
                if client.recv(65536) == word:
                    heard.append(client)
            except OSError:
                pass        # an ICMP error: nobody there
    return heard


if __name__ == '__main__':
    task = json.loads(sys.argv[1])
    print(json.dumps({
        'ping': sorted(ping_all(task['targets'], task['sources'], task['timeout'])),
        'udp': sorted(udp_all(task['targets'], task['sources'], task['timeout']))}))
