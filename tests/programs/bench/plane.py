"""What isolation costs the packets: two members of a group, and the same without policies.

What a direction costs on top: two VIFs of which one begins, so that the switch follows connections.
"""
import json
import struct
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Tuple

from bench.crowd import write_members
from bench.table import Row
from sandbox.process import LabError
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

ROUND_TRIPS = '''
import socket, sys, time
talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talk.connect((sys.argv[1], 7)); talk.settimeout(2)
times = []
for number in range(int(sys.argv[2])):
    began = time.perf_counter(); talk.send(b'x' * 22); talk.recv(64)
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2] * 1e6)
'''
CONNECTIONS = '''
import socket, sys, time
times = []
for number in range(int(sys.argv[2])):      # a SYN that the server's queue drops costs a second
    began = time.perf_counter()
    one = socket.create_connection((sys.argv[1], 7), 3)
    times.append(time.perf_counter() - began); one.close()
print(1 / sorted(times)[len(times) // 2])
'''
TRIES = 20


class Pair(NamedTuple):
    """Two VMs that talk."""

    client: Vm
    server: Vm


def measure_plane(pairs: Dict[str, Pair], rounds: int,
                  seconds: int) -> Tuple[List[Row], List[Row]]:
    """Measure the pairs `plain`, `ours` and `followed` in turns; return ours, and the last's."""
    for pair in pairs.values():
        for vm in pair:
            vm.serve(7)
        pair.server.run('sh', '-c', 'iperf3 -s >/dev/null 2>&1 &')     # ends with the sandbox
        pair.client.ping(pair.server.address())
    works: Dict[str, Callable[[Pair], float]] = {
        'TCP throughput|Gbit/s': lambda pair: _tcp(pair, seconds),
        '64-byte frames|1000/s': lambda pair: _frames(pair, seconds),
        'round trip|us': lambda pair: _python(pair, ROUND_TRIPS, '400'),
        'new TCP connections|1/s': _connect_both_ways}
    ours, followed = [], []
    for label, work in works.items():
        taken: Dict[str, List[float]] = {name: [] for name in pairs}
        for _ in range(rounds):
            for name, pair in pairs.items():
                taken[name].append(work(pair))
        title, unit = label.split('|')
        ours.append(Row(title, unit, taken['ours'], taken['plain']))
        followed.append(Row(title, unit, taken['followed'], taken['ours']))
    return ours, followed


def _iperf(pair: Pair, *options: str) -> Dict[str, Dict[str, float]]:
    for _ in range(TRIES):      # until the server listens, or is done with the one before
        time.sleep(0.1)
        code, out, err = pair.client.run('iperf3', '-c', pair.server.address(), '-J',
                                         '--connect-timeout', '1000', *options)
        end: Dict[str, Dict[str, float]] = json.loads(out or '{}').get('end')
        if not code and end:
            return end
    raise LabError('iperf3: %s' % (err or out)[-200:])


def _tcp(pair: Pair, seconds: int) -> float:
    return _iperf(pair, '-t', str(seconds))['sum_received']['bits_per_second'] / 1e9


def _frames(pair: Pair, seconds: int) -> float:
    """Return how many of the smallest frames arrive in a second."""
    end = _iperf(pair, '-t', str(seconds), '-u', '-b', '0', '-l', '18')['sum']
    return end['packets'] * (1 - end['lost_percent'] / 100) / end['seconds'] / 1000


def _connect_both_ways(pair: Pair) -> float:
    """Return how many connections are made in a second, from either to the other.

    The user-space datapath looks at its ports one after the other: when the server's comes after
    the client's, the answer is found in the same round, and a connection takes half the time.
    """
    ways = [_python(way, CONNECTIONS, '500') for way in (pair, Pair(pair.server, pair.client))]
    return 2 / sum(1 / rate for rate in ways)


def _python(pair: Pair, program: str, argument: str) -> float:
    code, out, err = pair.client.run(sys.executable, '-c', program, pair.server.address(), argument)
    if code:
        raise LabError(err)
    return float(out)


def count_megaflows(dom0: Sandbox, bridge: str, sender: Vm, count: int) -> int:
    """Return how many entries the datapath needs for what one VM sends to so many members."""
    write_members(dom0, bridge, 'red', count)
    sender.fire(dom0.hooks.locking_changed(sender.domain, sender.vifs[0]))
    dom0.ovs.appctl('dpctl/del-flows')
    for first in range(0, count, 10):       # no faster than the switch can look each up
        sender.send_all([_datagram(sender, number) for number in range(first, first + 10)])
        time.sleep(0.01)
    dump = dom0.ovs.appctl('dpctl/dump-flows')
    return sum('02:00:01:' in line for line in dump.splitlines())


def _datagram(sender: Vm, number: int) -> bytes:
    """Return a UDP datagram to the numberth member of `write_members`."""
    target = bytes((10, 100 + number // 40000, number // 200 % 200, 1 + number % 200))
    mac = bytes((2, 0, 1, number >> 16, number >> 8 & 255, number & 255))
    source = bytes(int(part) for part in sender.address().split('.'))
    header = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 46, 0, 0, 64, 17, 0, source, target)
    total = sum(struct.unpack('!10H', header))
    total = (total & 0xffff) + (total >> 16)
    header = header[:10] + struct.pack('!H', ~(total + (total >> 16)) & 0xffff) + header[12:]
    own = bytes.fromhex(sender.mac.replace(':', ''))
    return mac + own + b'\x08\x00' + header + struct.pack('!4H', 4711, 4712, 26, 0) + bytes(18)
