"""Pings that a machine sends while something happens, and how many of them were in vain."""
import os
import sys
import time
from contextlib import contextmanager
from typing import Iterator, List

from sandbox.hooks import REPOSITORY
from sandbox.host import Host
from sandbox.process import LabError

STOP = '/run/stop-pinging'
PINGING = '''
import os, sys, time
sys.path.insert(0, %r)
from sandbox import traffic
pause = 1 / float(sys.argv[2])
family, target = traffic.resolve(sys.argv[1])
raw, token, answered, sent = traffic.open_ping_socket(family, ''), os.urandom(8), set(), 0
while not os.path.exists(%r) and sent < 30000:
    traffic.send_echo(raw, target, sent, token)
    sent += 1
    next_time = time.monotonic() + pause
    traffic.collect([raw], token, sent, answered, next_time)
    time.sleep(max(next_time - time.monotonic(), 0))
traffic.collect([raw], token, sent, answered, time.monotonic() + 1)
print(sent, *sorted(set(range(sent)) - answered))
''' % (os.path.join(REPOSITORY, 'tests', 'programs'), STOP)


class Pings:
    """What came of them, once it is over."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost: List[int] = []       # by number


@contextmanager
def pinging(sender: Host, address: str, rate: int = 250, after: float = 0.05) -> Iterator[Pings]:
    """Ping so often a second, and a while after the end."""
    pings = Pings()
    sender.post('run', (sys.executable, '-c', PINGING, address, str(rate)), 60)
    try:
        time.sleep(0.3)         # until it has begun
        yield pings
        time.sleep(after)
    finally:
        with open(STOP, 'w'):
            pass
        code, out, err = sender.answer()
        os.unlink(STOP)
    if code:
        raise LabError(err)
    pings.sent, *pings.lost = [int(word) for word in out.split()]
