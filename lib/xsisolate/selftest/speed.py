"""What the policies cost: a managed pair beside an unmanaged pair, with the kernel's own stack."""
from contextlib import closing
from select import select
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket
from statistics import median
from time import monotonic
from typing import Dict, List, NamedTuple, Tuple

from xsisolate.dom0.linux.process import run
from xsisolate.errors import HostError
from xsisolate.selftest.parties import EVERYBODY, MANAGED_PAIR, UNMANAGED_PAIR, Party
from xsisolate.selftest.scene import Scene
from xsisolate.selftest.station import GUEST

PORT = 7
PIECE = bytes(1 << 16)
ANSWER_S = 2.0
USER_SPACE = 'netdev'       # a datapath that completes no checksums for a guest's kernel


class Speed(NamedTuple):
    """What two machines measure between them."""

    throughput: float       # megabits a second, TCP
    latency: float          # microseconds, there and back, UDP


def measure(scene: Scene, datapath: str, seconds: float, rounds: int) -> Dict[str, Speed]:
    """Return the speed of both pairs, `managed` and `unmanaged`, measured in turns."""
    pairs = {'managed': MANAGED_PAIR, 'unmanaged': UNMANAGED_PAIR}
    for names in pairs.values():
        for name in names:
            _give_address(scene, EVERYBODY[name], datapath)
    found: Dict[str, List[Speed]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (source, target) in pairs.items():
            ends = EVERYBODY[source], EVERYBODY[target]
            try:
                found[name].append(Speed(_stream(scene, *ends, seconds),
                                         _exchange(scene, *ends, seconds)))
            except OSError as error:
                raise HostError('%s to %s, %s: no connection: %s'
                                % (source, target, name, error)) from error
    return {name: Speed(median(one.throughput for one in speeds),
                        median(one.latency for one in speeds))
            for name, speeds in found.items()}


def _give_address(scene: Scene, party: Party, datapath: str) -> None:
    with scene.stations[party.name].namespace.entered():
        run(['ip', 'addr', 'add', party.ipv4 + '/24', 'dev', GUEST])
        run(['ip', 'link', 'set', 'dev', GUEST, 'arp', 'on'])
        if datapath == USER_SPACE:
            run(['ethtool', '-K', GUEST, 'tx', 'off'])


def _sockets(scene: Scene, source: Party, target: Party, kind: int) -> Tuple[socket, socket]:
    """Return a socket of each, made where they are."""
    made = []
    for party in (source, target):
        with scene.stations[party.name].namespace.entered():
            made.append(socket(AF_INET, kind))
            made[-1].settimeout(ANSWER_S)
    return made[0], made[1]


def _stream(scene: Scene, source: Party, target: Party, seconds: float) -> float:
    """Return how many megabits a second arrive over TCP."""
    client, listener = _sockets(scene, source, target, SOCK_STREAM)
    with closing(client), closing(listener):
        listener.bind((target.ipv4, PORT))
        listener.listen(1)
        client.connect((target.ipv4, PORT))
        server, _ = listener.accept()
        with closing(server):
            return _push(client, server, seconds)


def _push(client: socket, server: socket, seconds: float) -> float:
    client.setblocking(False)
    server.setblocking(False)
    room, received, began = bytearray(len(PIECE) * 4), 0, monotonic()
    while monotonic() < began + seconds:
        readable, writable, _ = select([server], [client], [], ANSWER_S)
        if readable:
            received += server.recv_into(room)
        if writable:
            client.send(PIECE)
    return received * 8 / (monotonic() - began) / 1e6


def _exchange(scene: Scene, source: Party, target: Party, seconds: float) -> float:
    """Return how many microseconds a word takes there and back, in the middle of many."""
    client, server = _sockets(scene, source, target, SOCK_DGRAM)
    taken: List[float] = []
    with closing(client), closing(server):
        server.bind((target.ipv4, PORT))
        client.connect((target.ipv4, PORT))
        end = monotonic() + seconds
        while monotonic() < end:
            began = monotonic()
            client.send(b'there')
            word, sender = server.recvfrom(64)
            server.sendto(word, sender)
            client.recv(64)
            taken.append(monotonic() - began)
    return median(taken) * 1e6
