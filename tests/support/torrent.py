"""One guest that sends the same few frames as fast as it can, until it is stopped."""
import os
import signal
import socket
import struct
import time
from types import TracebackType
from typing import List, Optional, Sequence, Type

from sandbox.agent import close_all_but
from sandbox.enter import CLONE_NEWNET, check
from sandbox.host import Host
from sandbox.process import LIBC, die_with_parent

COUNT = struct.Struct('=Qd')        # frames sent, in so many seconds
LONGEST_S = 60.0
VOLLEY = 64                         # frames between two looks at the clock
LIMITLESS = 1e9


class Torrent:
    """A machine's flood; `rate` is what it sent a second, known when it has been stopped."""

    def __init__(self, host: Host, frames: Sequence[bytes], limit: float = LIMITLESS) -> None:
        self._count, theirs = os.pipe()
        self.rate = 0.0
        self._pid = os.fork()
        if self._pid == 0:
            try:
                die_with_parent()
                close_all_but(2, theirs)
                _send(host.pid, (list(frames) * VOLLEY)[:VOLLEY], limit, theirs)
            finally:
                os._exit(0)
        os.close(theirs)

    def __enter__(self) -> 'Torrent':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            said = os.read(self._count, COUNT.size)
            os.waitpid(self._pid, 0)
            os.close(self._count)
            self._pid = 0
            sent, seconds = COUNT.unpack(said)
            self.rate = sent / seconds


def _send(pid: int, volley: List[bytes], limit: float, pipe: int) -> None:
    ended: List[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    with open('/proc/%d/ns/net' % pid) as namespace:
        check(LIBC.setns(namespace.fileno(), CLONE_NEWNET), 'setns')
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(('eth0', 0))
        began, sent, lasted = time.monotonic(), 0, 0.0
        while not ended and lasted < LONGEST_S:
            for frame in volley if sent < limit * lasted else ():
                wire.send(frame)
            sent += len(volley) if sent < limit * lasted else 0
            lasted = time.monotonic() - began
            if sent > limit * lasted:
                time.sleep(0.001)
        os.write(pipe, COUNT.pack(sent, lasted))
        while not ended:
            signal.pause()
