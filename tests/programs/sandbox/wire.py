"""xenstore's wire protocol, the same on Dom0's unix socket and on a guest's ring."""
import struct
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional

HEADER = struct.Struct('<IIII')     # operation, request, transaction, length
DIRECTORY, READ, GET_PERMS = 1, 2, 3
TRANSACTION_START, TRANSACTION_END, INTRODUCE, RELEASE = 6, 7, 8, 9
WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR = 11, 12, 13, 14, 15, 16


class XenstoreError(OSError):
    """xenstored refused; its text is xenstored's word, such as EACCES or ENOENT."""


class Connection:
    """One client of xenstored; who it is depends on the transport below."""

    def __init__(self) -> None:
        self._transaction = 0

    def _send(self, data: bytes) -> None:
        raise NotImplementedError

    def _receive(self, length: int) -> bytes:
        raise NotImplementedError

    def request(self, operation: int, *words: str, raw: str = '') -> bytes:
        """Send NUL-ended words and `raw` behind them; return the answer's payload."""
        payload = b''.join(word.encode() + b'\0' for word in words) + raw.encode()
        self._send(HEADER.pack(operation, 1, self._transaction, len(payload)) + payload)
        while True:
            kind, _, _, length = HEADER.unpack(self._receive(HEADER.size))
            answer = self._receive(length)
            if kind == ERROR:
                raise XenstoreError(answer.rstrip(b'\0').decode())
            if kind != WATCH_EVENT:
                return answer

    def read(self, path: str) -> str:
        """Return a node's value."""
        return self.request(READ, path).decode()

    def get(self, path: str) -> Optional[str]:
        """Return a node's value, None when there is no such node."""
        try:
            return self.read(path)
        except XenstoreError as error:
            if str(error) == 'ENOENT':
                return None
            raise

    def write(self, path: str, value: str) -> None:
        """Write a node; a new one inherits its parent's permissions."""
        self.request(WRITE, path, raw=value)

    def write_all(self, folder: str, values: Dict[str, str]) -> None:
        """Write several nodes below a folder."""
        for key, value in values.items():
            self.write('%s/%s' % (folder, key), value)

    def rm(self, path: str) -> None:
        """Remove a node with all below it; a missing one is fine."""
        try:
            self.request(RM, path)
        except XenstoreError as error:
            if str(error) != 'ENOENT':
                raise

    def ls(self, path: str) -> List[str]:
        """Return the names of a node's children, sorted."""
        names = self.request(DIRECTORY, path).decode().split('\0')
        return sorted(name for name in names if name)

    def tree(self, path: str) -> Dict[str, str]:
        """Return every node below a path that holds a value, by relative name."""
        found = {}
        for name in self.ls(path):
            child = '%s/%s' % (path, name)
            value = self.read(child)
            if value:
                found[name] = value
            found.update({'%s/%s' % (name, key): deeper
                          for key, deeper in self.tree(child).items()})
        return found

    def perms(self, path: str) -> List[str]:
        """Return a node's permissions, owner first: ['n0', 'r7']."""
        return self.request(GET_PERMS, path).decode().rstrip('\0').split('\0')

    def set_perms(self, path: str, *perms: str) -> None:
        """Set a node's permissions, owner first."""
        self.request(SET_PERMS, path, *perms)

    def make(self, path: str, *perms: str) -> None:
        """Write an empty node and set its permissions."""
        self.write(path, '')
        self.set_perms(path, *perms)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do what the block does all at once, or not at all."""
        self._transaction = int(self.request(TRANSACTION_START, '').rstrip(b'\0'))
        try:
            yield
        except BaseException:
            self._end_transaction('F')
            raise
        self._end_transaction('T')

    def _end_transaction(self, verdict: str) -> None:
        try:
            self.request(TRANSACTION_END, verdict)
        finally:
            self._transaction = 0
