"""Guests that shout at each other all the time, and hear what they must not, or what they may."""
import subprocess
import sys
from typing import Any, List, NamedTuple

from lab.enter import CLONE_NEWNET, check
from lab.host import Host
from lab.process import LIBC, die_with_parent

from evidence import say

SHOUT_S = 0.002         # between two rounds of frames
SHOUTED = b'forbidden'

# A process of its own in a guest's network namespace: shouts until its stdin is
# closed, then prints when (monotonic clock) it heard what it must not hear.
SHOUTER = '''
import select, socket, sys, time
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind(("eth0", 3))
raw.setblocking(False)
frames = [bytes.fromhex(word) for word in sys.argv[3].split(",")]
pause, others = float(sys.argv[1]), [bytes.fromhex(word) for word in sys.argv[2].split(",")]
heard, following, sent = [], 0.0, 0
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    ready = select.select([sys.stdin, raw], [], [], max(0, following - time.monotonic()))[0]
    now = time.monotonic()
    if sys.stdin in ready:
        break
    if raw in ready:
        for _ in range(100):
            try:
                frame, address = raw.recvfrom(2048)
            except OSError:
                break
            if address[2] != 4 and sys.argv[4].encode() in frame and frame[6:12] in others:
                heard.append(now)
    if now >= following:
        following = now + pause
        for frame in frames:
            try:
                raw.send(frame); sent += 1
            except OSError:
                pass
print(sent, *("%.4f" % at for at in heard))
'''


class Heard(NamedTuple):
    """What came of the shouting."""

    sent: int
    at: List[float]         # when something forbidden arrived


class Shouter:
    """A guest that shouts at others, to them and to all, and listens for their shouts."""

    def __init__(self, host: Host, mac: str, address: str, others: List[Any],
                 word: bytes = SHOUTED) -> None:
        frames = [say(mac, address, word=word)]
        frames += [say(mac, address, its_mac, its_address, word)
                   for its_mac, its_address in others]

        def move() -> None:
            die_with_parent()
            with open('/proc/%d/ns/net' % host.pid) as namespace:
                check(LIBC.setns(namespace.fileno(), CLONE_NEWNET), 'setns')

        self._process = subprocess.Popen(
            [sys.executable, '-c', SHOUTER, str(SHOUT_S),
             ','.join(its_mac.replace(':', '') for its_mac, _ in others),
             ','.join(frame.hex() for frame in frames), word.decode()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=move)
        assert self._process.stdout
        assert self._process.stdout.readline() == b'ready\n'

    def stop(self) -> Heard:
        """Have it stop, and tell."""
        out, _ = self._process.communicate(timeout=10)
        sent, *at = out.decode().split()
        return Heard(int(sent), [float(word) for word in at])

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
