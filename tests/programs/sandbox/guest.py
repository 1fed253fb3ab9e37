"""The root user of a guest, speaking to xenstored through the domain's shared ring."""
import mmap
import os
import struct
import time
from typing import Callable

from sandbox.process import LabError
from sandbox.wire import Connection

# struct xenstore_domain_interface: two buffers, then two pairs of running indexes
BUFFER = 1024
REQUESTS, ANSWERS = 0, BUFFER
REQUEST_CONSUMED, REQUEST_PRODUCED = 2048, 2052
ANSWER_CONSUMED, ANSWER_PRODUCED = 2056, 2060

PATIENCE_S = 5
POLL_S = 0.0005


class GuestConnection(Connection):
    """A client that is domain N, with a guest's rights and no more.

    Relative paths, as guests use them, start at /local/domain/<N>.
    """

    def __init__(self, domid: int, rings: str) -> None:
        super().__init__()
        self.domid = domid
        with open('%s/%d' % (rings, domid), 'r+b') as page:
            self._page = mmap.mmap(page.fileno(), 4096)
        self._words = memoryview(self._page).cast('I')
        with open('%s/%d.port' % (rings, domid)) as port:
            self._event = struct.pack('<i', int(port.read()))
        self._events = os.open(rings + '/events', os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the ring."""
        self._words.release()
        self._page.close()
        os.close(self._events)

    def _index(self, offset: int) -> int:
        return int(self._words[offset // 4])

    def _advance(self, offset: int, count: int) -> None:
        """Move an index, then tell the other side."""
        moved = (self._index(offset) + count) & 0xffffffff
        # one store: '<I' writes byte by byte, and oxenstored may read in between
        self._words[offset // 4] = moved
        os.write(self._events, self._event)

    def _filled(self, produced: int, consumed: int) -> int:
        return (self._index(produced) - self._index(consumed)) & 0xffffffff

    def _send(self, data: bytes) -> None:
        while data:
            room = self._wait(lambda: BUFFER - self._filled(
                REQUEST_PRODUCED, REQUEST_CONSUMED))
            at = self._index(REQUEST_PRODUCED) % BUFFER
            piece = data[:min(room, BUFFER - at)]
            self._page[REQUESTS + at:REQUESTS + at + len(piece)] = piece
            self._advance(REQUEST_PRODUCED, len(piece))
            data = data[len(piece):]

    def _receive(self, length: int) -> bytes:
        data = b''
        while len(data) < length:
            there = self._wait(lambda: self._filled(ANSWER_PRODUCED, ANSWER_CONSUMED))
            at = self._index(ANSWER_CONSUMED) % BUFFER
            count = min(there, BUFFER - at, length - len(data))
            data += self._page[ANSWERS + at:ANSWERS + at + count]
            self._advance(ANSWER_CONSUMED, count)
        return data

    def _wait(self, count: Callable[[], int]) -> int:
        """Poll until `count()` is not zero; a page of memory cannot wake us."""
        deadline = time.monotonic() + PATIENCE_S
        while not count():
            if time.monotonic() > deadline:
                raise LabError('xenstored does not serve the ring of domain %d'
                               % self.domid)
            time.sleep(POLL_S)
        return count()
