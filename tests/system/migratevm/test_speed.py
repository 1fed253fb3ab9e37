"""A big disk costs no memory, and hardly more time than to copy from one socket to the other."""
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

from sandbox.hooks import REPOSITORY
from support.vm_mover import PYTHON, environment

HERE = Path(__file__).parent
GIB = 1 << 30
VIRTUAL = 200 * GIB
PIECES = int(os.environ.get('MIGRATEVM_MIB', '1200'))      # that are not zeros
MEMORY_KIB = 64 << 10
SHARE = 0.8
ROUNDS = 3


class Host(NamedTuple):
    """A pool in a process of its own."""

    process: 'subprocess.Popen[str]'
    facts: Dict[str, Any]

    def arrived(self) -> List[List[int]]:
        """Return how many pieces each disk of each VM has."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write('?\n')
        self.process.stdin.flush()
        found: List[List[int]] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def host(*words: str) -> Iterator[Host]:
    """Start a pool."""
    program = os.path.join(REPOSITORY, 'tests', 'support', 'one_pool.py')
    process = subprocess.Popen([sys.executable, program, *words],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8')
    assert process.stdin and process.stdout
    try:
        yield Host(process, json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


COPY = '''
import socket, ssl, sys
def connect(address, head):
    context = ssl._create_unverified_context()
    host, port = address.split(':')
    client = context.wrap_socket(socket.create_connection((host, int(port))))
    client.sendall(head.encode())
    return client
def skip(client):
    text = b''
    while b'\\r\\n\\r\\n' not in text:
        text += client.recv(4096)
    return text.partition(b'\\r\\n\\r\\n')[2]
source, destination = connect(*sys.argv[1:3]), connect(*sys.argv[3:5])
skip(destination)
rest = skip(source)
destination.sendall(rest)
total = len(rest)
buffer = memoryview(bytearray(262144))
try:
    while True:
        size = source.recv_into(buffer)
        if not size:
            break
        destination.sendall(buffer[:size])
        total += size
except ssl.SSLError:
    pass
print(total)
'''


def plain_copy(source: Host, destination: Host) -> float:
    """Copy the same stream between the same hosts with the least that it takes; return MiB/s."""
    heads = ['GET /export?ref=%s&session_id=%s HTTP/1.0\r\n\r\n'
             % (source.facts['vm'], source.facts['session']),
             'PUT /import?sr_id=%s&session_id=%s HTTP/1.0\r\n\r\n'
             % (destination.facts['sr'], destination.facts['session'])]
    began = time.monotonic()
    done = subprocess.run([PYTHON, '-c', COPY, source.facts['address'], heads[0],
                           destination.facts['address'], heads[1]], stdout=subprocess.PIPE,
                          check=True, timeout=300, env=environment())
    return int(done.stdout) / (time.monotonic() - began) / (1 << 20)


class Watched:
    """The mover, and the most memory that it has had."""

    def __init__(self, source: Host, destination: Host, *words: str) -> None:
        began = time.monotonic()
        process = subprocess.Popen(
            [PYTHON, '-m', 'xsisolate.migratevm', '-sh', source.facts['address'], '-dh',
             destination.facts['address'], '-sv', 'big', '--fingerprint',
             source.facts['fingerprint'], '--fingerprint', destination.facts['fingerprint'],
             '--method', 'stream', '--json', *words], env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, encoding='utf-8')
        self.peak_kib = 0
        watcher = threading.Thread(target=self._watch, args=(process.pid,))
        watcher.start()
        out = process.communicate(timeout=300)[0]
        self.seconds = time.monotonic() - began
        watcher.join()
        assert process.returncode == 0, out
        self.done = json.loads(out.splitlines()[-1])

    def _watch(self, pid: int) -> None:
        try:
            while True:
                text = Path('/proc/%d/status' % pid).read_text()
                match = re.search(r'VmHWM:\s*(\d+) kB', text)
                if not match:
                    return      # it is a zombie
                self.peak_kib = max(self.peak_kib, int(match.group(1)))
                time.sleep(0.05)
        except OSError:
            pass

    @property
    def speed(self) -> float:
        """MiB/s, from the start of the process to its end."""
        return float(self.done['bytes']) / self.seconds / (1 << 20)


def test_constant_memory_and_the_speed_of_a_plain_copy() -> None:
    """A disk of 200 GiB, sparse; the copy is over TLS, too, and of the same bytes.

    The mover's time includes its start, all checks and what comes after. Others have the machine,
    too: the best of a few pairs counts.
    """
    pairs = []
    with host('alpha', '21', str(VIRTUAL), str(PIECES)) as source, host('beta', '22') as target:
        for number in range(ROUNDS):
            copied = plain_copy(source, target)
            ran = Watched(source, target, '--copy', '--name', 'copy %d' % number)
            assert ran.done['bytes'] > PIECES << 20
            assert ran.peak_kib < MEMORY_KIB, '%d KiB' % ran.peak_kib
            pairs.append((ran.speed / copied, ran.speed, copied, ran.peak_kib))
            if pairs[-1][0] >= SHARE:
                break
        assert {tuple(disks) for disks in target.arrived()} == {(PIECES + 1,)}
    print('share %.2f: %d MiB/s, plain copy %d MiB/s, %d KiB' % max(pairs))
    assert max(pairs)[0] >= SHARE, pairs


def test_the_plain_copy_is_no_straw_man() -> None:
    """It moves the same stream between the same hosts; without that the comparison is nothing."""
    with host('alpha', '23', str(4 * GIB), '20') as source, host('beta', '24') as target:
        assert plain_copy(source, target) > 1
        assert target.arrived() == [[21]]
