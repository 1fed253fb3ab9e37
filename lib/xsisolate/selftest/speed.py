"""What the policies cost: a managed pair beside an unmanaged pair, with the kernel's own stack."""
from contextlib import closing
from select import select
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket
from statistics import median
from time import monotonic
from typing import Dict, List, NamedTuple, Tuple

from xsisolate.dom0.linux.process import run
from xsisolate.selftest.parties import EVERYBODY, MANAGED_PAIR, UNMANAGED_PAIR, Party
from xsisolate.selftest.scene import Scene
from xsisolate.selftest.station import GUEST

PORT = 7
PIECE = bytes(1 << 16)
WORD = b'there and back'
ANSWER_S = 0.2         # of a word
PATIENCE_S = 10.0      # of a connection: its first packets may be sent again
USER_SPACE = 'netdev'       # a datapath that completes no checksums for a guest's kernel


class Speed(NamedTuple):
    """What two machines measure between them."""

    throughput: float       # megabits a second, TCP
    latency: float          # microseconds, there and back, UDP


def measure(scene: Scene, datapath: str, seconds: float, rounds: int) -> Dict[str, Speed]:
    """Return the speed of both pairs, `managed` and `unmanaged`, measured in turns.

    Where nothing arrives a speed is 0.
    """
    pairs = {'managed': MANAGED_PAIR, 'unmanaged': UNMANAGED_PAIR}
    for names in pairs.values():
        for name in names:
            _give_address(scene, EVERYBODY[name], datapath)
    found: Dict[str, List[Speed]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (source, target) in pairs.items():
            ends = EVERYBODY[source], EVERYBODY[target]
            found[name].append(Speed(_stream(scene, *ends, seconds),
                                     _exchange(scene, *ends, seconds)))
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
            made[-1].settimeout(PATIENCE_S)
    return made[0], made[1]


def _stream(scene: Scene, source: Party, target: Party, seconds: float) -> float:
    """Return how many megabits a second arrive over TCP."""
    client, listener = _sockets(scene, source, target, SOCK_STREAM)
    with closing(client), closing(listener):
        listener.bind((target.ipv4, PORT))
        listener.listen(1)
        try:
            client.connect((target.ipv4, PORT))
            server, _ = listener.accept()
        except OSError:
            return 0.0
        with closing(server):
            return _push(client, server, seconds)


def _push(client: socket, server: socket, seconds: float) -> float:
    client.setblocking(False)
    server.setblocking(False)
    room, received, began = bytearray(len(PIECE) * 4), 0, monotonic()
    while monotonic() < began + seconds:
        readable, writable, _ = select([server], [client], [], PATIENCE_S)
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
        began = monotonic()
        while monotonic() < began + seconds:
            said = monotonic()
            if _is_answered(client, server):
                taken.append(monotonic() - said)
    return median(taken) * 1e6 if taken else 0.0


def _is_answered(client: socket, server: socket) -> bool:
    """Say a word, and tell whether it came back; on a busy host one may get lost."""
    for one in (client, server):
        one.settimeout(ANSWER_S)
    try:
        client.send(WORD)
        word, sender = server.recvfrom(len(WORD))
        server.sendto(word, sender)
        return client.recv(len(WORD)) == WORD
    except OSError:
        return False
