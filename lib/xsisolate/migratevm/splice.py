"""From one socket to the other, in constant memory: a piece is sent before the next is read."""
import select
import socket
import ssl
import time
from typing import Callable

from xsisolate.errors import HostError
from xsisolate.migratevm.web import Stream, explain
from xsisolate.migratevm.xva import Follower

PIECE = 128 << 10
BEAT_S = 0.5                # so often a socket that does not move lets us look around
SOURCE, DESTINATION = 'source', 'destination'

Beat = Callable[[int], None]        # told how many bytes have been moved


class SideFailed(HostError):
    """One side has hung up, or does not move: its task knows why."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__('%s: %s' % (side, why))
        self.side = side


class Splice:
    """One stream from a source to a destination."""

    def __init__(self, source: Stream, destination: Stream, beat: Beat, stall_s: float) -> None:
        self._source, self._destination = source.sock, destination.sock
        self._rest = source.rest
        self._beat, self._stall_s = beat, stall_s
        self.follower = Follower()
        self.moved = 0
        self._over = False
        self._next = self._since = time.monotonic()

    def run(self) -> None:
        """Move everything; raise SideFailed if one side does not go along."""
        self._source.setblocking(False)
        self._destination.settimeout(BEAT_S)
        buffer = memoryview(bytearray(PIECE))
        self._pass_on(memoryview(self._rest))
        while not self._over:
            self._pass_on(buffer[:self._fill(buffer)])

    def _fill(self, buffer: memoryview) -> int:
        """Return how many bytes have come: all that are there now, not one record of TLS."""
        size = 0
        while size < PIECE:
            try:
                got = self._source.recv_into(buffer[size:])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if size:
                    break
                if not select.select([self._source], [], [], BEAT_S)[0]:
                    self._wait(SOURCE)
                continue
            except OSError as error:
                if not is_plain_end(error):
                    raise SideFailed(SOURCE, 'the stream broke off: %s' % explain(error)) from error
                got = 0
            if not got:
                self._over = True
                break
            size += got
        return size

    def _pass_on(self, piece: memoryview) -> None:
        """Send a piece."""
        self.follower.feed(piece)
        left = piece
        while left:
            try:
                sent = self._destination.send(left)
            except socket.timeout:
                self._wait(DESTINATION)
                continue
            except OSError as error:
                raise SideFailed(DESTINATION, 'takes no more: %s' % explain(error)) from error
            left = left[sent:]
        self.moved += len(piece)
        self._since = time.monotonic()
        if self._since >= self._next:
            self._look_around(self._since)

    def _wait(self, side: str) -> None:
        """Look around while a side does not move; not for ever."""
        now = time.monotonic()
        if now - self._since > self._stall_s:
            raise SideFailed(side, 'has not moved for %d s (--stall says how long to wait)'
                             % self._stall_s)
        self._look_around(now)

    def _look_around(self, now: float) -> None:
        self._next = now + BEAT_S
        self._beat(self.moved)


def is_plain_end(error: OSError) -> bool:
    """Tell whether TLS only misses a goodbye; whether all has come the XVA itself tells.

    Python hides that of old releases of OpenSSL, and not of new ones.
    """
    return isinstance(error, ssl.SSLError) and 'eof' in str(error).lower()
