"""Watches on xenstore nodes: a connection that tells what was written below a path.

Guests write what they like as often as they like, so events are only collected as tokens
here. The reconciling code reads what changed. A thread takes events at once, because
oxenstored punishes a slow watcher: when a few hundred events are untaken, it stops reading
from every client that writes to a watched path, xenopsd included. oxenstored 4.17 never
reads from such a socket again.
"""
import os
from socket import AF_UNIX, SHUT_RDWR, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct
from threading import Lock, Thread
from typing import Dict, Iterator, Optional, Set, Tuple

from xsisolate.dom0.linux.unix_socket import connect
from xsisolate.dom0.xen.xenstore import HEADER, find_socket

WATCH, UNWATCH, WATCH_EVENT = 4, 5, 15
CONNECT_TIMEOUT_S = 1.0
TIMEVAL = Struct('@ll')
PIECE = 1 << 16


class XenstoreWatches:
    """A connection on which paths are watched; each path has a token of ours."""

    def __init__(self) -> None:
        self._ear: Optional[Ear] = None
        self._paths: Dict[str, str] = {}        # by token

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is no connection."""
        return self._ear.fileno() if self._ear else -1

    def connect(self) -> bool:
        """Connect and watch all paths anew; False if there is no xenstored."""
        self.close()
        fresh = socket(AF_UNIX, SOCK_STREAM)
        try:
            connect(fresh, find_socket(), CONNECT_TIMEOUT_S)
            fresh.settimeout(None)
            fresh.setsockopt(SOL_SOCKET, SO_SNDTIMEO, TIMEVAL.pack(int(CONNECT_TIMEOUT_S), 0))
        except (OSError, ValueError):
            fresh.close()
            return False
        self._ear = Ear(fresh)
        for token, path in self._paths.items():
            self._send(WATCH, path, token)
        return self._ear is not None

    def close(self) -> None:
        """Hang up; the paths are remembered."""
        if self._ear:
            self._ear.close()
        self._ear = None

    def watch_only(self, paths: Dict[str, str]) -> None:
        """Watch these paths, given by their tokens, and no others."""
        for token in self._paths.keys() - paths.keys():
            self._send(UNWATCH, self._paths[token], token)
        for token in paths.keys() - self._paths.keys():
            self._send(WATCH, paths[token], token)
        self._paths = dict(paths)

    def read(self) -> Set[str]:
        """Return the tokens of paths below which something was written."""
        if not self._ear:
            return set()
        tokens, alive = self._ear.take()
        if not alive:
            self.close()
        return tokens & self._paths.keys()

    def _send(self, kind: int, path: str, token: str) -> None:
        if not self._ear:
            return
        payload = ('%s\0%s\0' % (path, token)).encode('ascii')
        try:
            self._ear.socket.sendall(HEADER.pack(kind, 0, 0, len(payload)) + payload)
        except OSError:
            self.close()


class Ear:
    """The thread that listens to a connection, and what it has heard."""

    def __init__(self, connection: socket) -> None:
        self.socket = connection
        self._lock = Lock()
        self._tokens: Set[str] = set()
        self._alive = True
        self._waker, self._wake = os.pipe()     # holds a byte while there is something to take
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to take."""
        return self._waker

    def take(self) -> Tuple[Set[str], bool]:
        """Return the tokens heard since the last time, and whether the connection is alive."""
        with self._lock:
            tokens, self._tokens = self._tokens, set()
            if tokens:
                os.read(self._waker, 1)
            return tokens, self._alive

    def close(self) -> None:
        """Hang up, and let the thread end."""
        try:
            self.socket.shutdown(SHUT_RDWR)
        except OSError:
            pass        # the other end has hung up
        self._thread.join()
        self.socket.close()
        os.close(self._waker)
        os.close(self._wake)

    def _listen(self) -> None:
        received = b''
        while True:
            try:
                piece = self.socket.recv(PIECE)
            except OSError:
                piece = b''
            if not piece:
                break
            received += piece
            messages = list(_messages(received))
            if messages:
                received = received[messages[-1][2]:]
            self._heard({token for kind, token, _ in messages if kind == WATCH_EVENT})
        with self._lock:
            self._alive = False
        self._heard({''})       # not a token of any watch: it only wakes

    def _heard(self, tokens: Set[str]) -> None:
        with self._lock:
            if tokens and not self._tokens:
                os.write(self._wake, b'.')
            self._tokens |= tokens


def _messages(data: bytes) -> Iterator[Tuple[int, str, int]]:
    """Yield kind and token of the whole messages in some data, and where each ends."""
    start = 0
    while len(data) >= start + HEADER.size:
        kind, _, _, length = HEADER.unpack_from(data, start)
        end = start + HEADER.size + length
        if len(data) < end:
            return
        words = data[start + HEADER.size:end].split(b'\0')
        yield kind, words[1].decode('ascii', 'replace') if len(words) > 1 else '', end
        start = end
