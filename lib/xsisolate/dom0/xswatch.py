"""Watches on xenstore nodes: a connection that tells what was written below a path.

Its guests write what they like as often as they like, so events are only
collected as tokens here: what changed is read by whoever reconciles.
"""
from _socket import AF_UNIX, SOCK_STREAM, socket
from typing import Dict, Iterator, Optional, Set, Tuple

from xsisolate.dom0.unixsocket import connect
from xsisolate.dom0.xenstore import HEADER, find_socket

WATCH, UNWATCH, WATCH_EVENT = 4, 5, 15
CONNECT_TIMEOUT_S = 1.0
PIECE = 1 << 16
EVENTS_AT_ONCE = 64         # pieces read in a row: a guest that floods must not keep us here


class XenstoreWatches:
    """A connection on which paths are watched; each path has a token of ours."""

    def __init__(self) -> None:
        self._socket: Optional[socket] = None
        self._received = b''
        self._paths: Dict[str, str] = {}        # by token

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is no connection."""
        return self._socket.fileno() if self._socket else -1

    def connect(self) -> bool:
        """Connect and watch all paths anew; False if there is no xenstored."""
        self.close()
        fresh = socket(AF_UNIX, SOCK_STREAM)
        try:
            connect(fresh, find_socket(), CONNECT_TIMEOUT_S)
        except (OSError, ValueError):
            fresh.close()
            return False
        self._socket = fresh
        for token, path in self._paths.items():
            self._send(WATCH, path, token)
        return self._socket is not None

    def close(self) -> None:
        """Hang up; the paths are remembered."""
        if self._socket:
            self._socket.close()
        self._socket, self._received = None, b''

    def watch_only(self, paths: Dict[str, str]) -> None:
        """Watch these paths, given by their tokens, and no others."""
        for token in self._paths.keys() - paths.keys():
            self._send(UNWATCH, self._paths[token], token)
        for token in paths.keys() - self._paths.keys():
            self._send(WATCH, paths[token], token)
        self._paths = dict(paths)

    def read(self) -> Set[str]:
        """Return the tokens of paths below which something was written."""
        tokens: Set[str] = set()
        try:
            for _ in range(EVENTS_AT_ONCE):
                if not self._socket:
                    break
                self._socket.setblocking(False)
                piece = self._socket.recv(PIECE)
                if not piece:
                    self.close()
                    break
                self._received += piece
                tokens.update(token for kind, token in self._messages() if kind == WATCH_EVENT)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        return tokens & self._paths.keys()

    def _messages(self) -> Iterator[Tuple[int, str]]:
        """Yield kind and token of the whole messages among what has been received."""
        data, start = self._received, 0
        while len(data) >= start + HEADER.size:
            kind, _, _, length = HEADER.unpack_from(data, start)
            end = start + HEADER.size + length
            if len(data) < end:
                break
            words = data[start + HEADER.size:end].split(b'\0')
            yield kind, words[1].decode('ascii', 'replace') if len(words) > 1 else ''
            start = end
        self._received = data[start:]

    def _send(self, kind: int, path: str, token: str) -> None:
        if not self._socket:
            return
        payload = ('%s\0%s\0' % (path, token)).encode('ascii')
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.sendall(HEADER.pack(kind, 0, 0, len(payload)) + payload)
        except OSError:
            self.close()
