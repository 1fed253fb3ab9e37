"""xenstored, over its unix socket: xs_wire.h in Python.

A client of our own because `xen.lowlevel.xs` knows no deadline and a process
for each key costs more than the whole conversation. Much of what is read here
belongs to a guest, which may change or remove it between two requests and may
make it large: a node that is gone is None, one that is too much is `TooLarge`.
"""
import os
from struct import Struct
from time import monotonic

from xsisolate.dom0.linux.unix_socket import connect
from xsisolate.errors import HostError, UnknownVif
from xsisolate.quick_imports import AF_UNIX, SOCK_STREAM, SocketTimeout, socket
from xsisolate.typing_compat import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple, Type

if TYPE_CHECKING:
    from types import TracebackType

SOCKETS = ('/run/xenstored/socket', '/var/run/xenstored/socket')
HEADER = Struct('=IIII')        # type, req_id, tx_id, length
PAYLOAD_MAX = 4096              # xs_wire.h
# oxenstored does not keep to it for directories, and a guest may own 8192 nodes
# with names of 1000 bytes. DIRECTORY_PART it does not know (4.17: ENOSYS).
REPLY_MAX = 1 << 20
NAMES_MAX = 512         # children of a node, unless the caller knows better
DIRECTORY, READ, WRITE, RM, ERROR = 1, 2, 11, 13, 16
# Requests that are sent before their replies are read. Both directions' kernel
# buffers must hold a batch, or client and server wait for each other.
BATCH = 32


class TooLarge(HostError):
    """A node has more children, or a directory more text, than we want to read."""


class XenstoreRefused(HostError):
    """xenstored understood the request and said no: EACCES, EQUOTA, EINVAL..."""


class Xenstore:
    """A connection to xenstored; every call ends within `timeout` seconds."""

    def __init__(self, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._last_id = 0
        self._socket = _connect(timeout)

    def __enter__(self) -> 'Xenstore':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def read(self, path: str) -> Optional[bytes]:
        """Return a node's value; None if there is no such node."""
        return self._ask(READ, [path])[0]

    def read_text(self, path: str) -> Optional[str]:
        """Return a node's value as text; bytes that are no UTF-8 become U+FFFD."""
        value = self.read(path)
        return None if value is None else value.decode('utf-8', 'replace')

    def directory(self, path: str, limit: int = NAMES_MAX) -> Optional[List[str]]:
        """Return the names of a node's children; None if there is no such node."""
        return self.directories([path], limit)[0]

    def directories(self, paths: Sequence[str],
                    limit: int = NAMES_MAX) -> List[Optional[List[str]]]:
        """Return the same of several nodes, in one conversation."""
        return [None if names is None else _split(path, names, limit)
                for path, names in zip(paths, self._ask(DIRECTORY, paths))]

    def read_named(self, path: str, names: Sequence[str]) -> Dict[str, bytes]:
        """Return the values of those of a node's children that are there, by name."""
        return self.read_folders([(path, names)])[0]

    def read_folders(self, wanted: Sequence[Tuple[str, Sequence[str]]]) -> List[Dict[str, bytes]]:
        """Return the same of several nodes, each with names, in one conversation."""
        values = iter(self._ask(READ, ['%s/%s' % (path, name)
                                       for path, names in wanted for name in names]))
        return [{name: value for name, value in zip(names, values) if value is not None}
                for _, names in wanted]

    def read_children(self, path: str, limit: int = NAMES_MAX) -> Dict[str, bytes]:
        """Return the values of a node's children by name; none if there is no such node."""
        return self.read_named(path, self.directory(path, limit) or [])

    def write(self, path: str, text: str) -> None:
        """Set a node's value, creating the node and its parents."""
        self._ask(WRITE, [path], text.encode('utf-8'))

    def remove(self, path: str) -> None:
        """Remove a node with all below it; one that is missing is fine."""
        self._ask(RM, [path])

    def _ask(self, kind: int, paths: Sequence[str],
             value: Optional[bytes] = None) -> List[Optional[bytes]]:
        """Return the reply to one kind of request for each path; None where ENOENT."""
        deadline = monotonic() + self._timeout
        replies: List[Optional[bytes]] = []
        try:
            for start in range(0, len(paths), BATCH):
                replies += self._batch(kind, paths[start:start + BATCH], value, deadline)
        except SocketTimeout as error:
            raise HostError('xenstored does not answer within %g s' % self._timeout) from error
        except OSError as error:
            raise HostError('xenstored hung up: %s' % _reason(error)) from error
        return replies

    def _batch(self, kind: int, paths: Sequence[str], value: Optional[bytes],
               deadline: float) -> List[Optional[bytes]]:
        """Send the requests together, then collect the replies."""
        first = self._last_id + 1
        self._last_id += len(paths)
        self._left(deadline)
        self._socket.sendall(b''.join(_request(kind, first + n, path, value)
                                      for n, path in enumerate(paths)))
        replies: Dict[int, Tuple[int, bytes]] = {}
        while len(replies) < len(paths):
            reply_kind, request_id, _, length = HEADER.unpack(self._receive(HEADER.size, deadline))
            if not first <= request_id <= self._last_id:
                raise HostError('xenstored sent an answer that belongs to no request')
            if length > REPLY_MAX:
                self._renew()
                raise TooLarge('xenstore %.80s: a reply of %d bytes, more than %d'
                               % (paths[request_id - first], length, REPLY_MAX))
            replies[request_id] = reply_kind, self._receive(length, deadline)
        return [_value(path, *replies[first + n]) for n, path in enumerate(paths)]

    def _receive(self, size: int, deadline: float) -> bytes:
        """Read exactly `size` bytes."""
        data = bytearray(size)
        room = memoryview(data)
        while room:
            self._left(deadline)
            count = self._socket.recv_into(room)
            if not count:
                raise HostError('xenstored hung up in mid-call')
            room = room[count:]
        return bytes(data)

    def _renew(self) -> None:
        """Hang up on a reply that is too large: oxenstored takes long to send it to its end."""
        self._socket.close()
        self._socket = _connect(self._timeout)

    def _left(self, deadline: float) -> None:
        """Let the next call on the socket take what is left of the time."""
        left = deadline - monotonic()
        if left <= 0:
            raise SocketTimeout
        self._socket.settimeout(left)


class NoXenstore(Xenstore):
    """Stands for a xenstored that does not run: every question to it raises UnknownVif."""

    def __init__(self) -> None:
        """Connect to nothing."""

    def close(self) -> None:
        """Hang up."""

    def _ask(self, kind: int, paths: Sequence[str],
             value: Optional[bytes] = None) -> List[Optional[bytes]]:
        raise UnknownVif('xenstored does not run on this host')


def _split(path: str, names: bytes, limit: int) -> List[str]:
    """Return the names in a directory's reply, if they are not too many."""
    count = names.count(b'\0')
    if count > limit:
        raise TooLarge('xenstore %s: %d children, more than %d' % (path, count, limit))
    return [name.decode('utf-8', 'replace') for name in names.split(b'\0') if name]


def _request(kind: int, request_id: int, path: str, value: Optional[bytes]) -> bytes:
    """Return a request as it goes over the wire."""
    payload = path.encode('utf-8', 'replace') + b'\0' + (value or b'')
    if len(payload) > PAYLOAD_MAX:
        raise TooLarge('xenstore %.80s: %d bytes, more than a message holds' % (path, len(payload)))
    return HEADER.pack(kind, request_id, 0, len(payload)) + payload


def _value(path: str, kind: int, payload: bytes) -> Optional[bytes]:
    """Return a reply's value; None where ENOENT; raise what xenstored complains of."""
    if kind != ERROR:
        return payload
    word = payload.rstrip(b'\0').decode('ascii', 'replace')
    if word == 'ENOENT':
        return None
    kind_of_error = TooLarge if word == 'E2BIG' else XenstoreRefused
    raise kind_of_error('xenstore %.80s: %s' % (path, word))


def _connect(timeout: float) -> socket:
    """Return a connection to xenstored."""
    path = find_socket()
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connect(connection, path, timeout)
    except (OSError, ValueError) as error:
        connection.close()
        raise HostError('xenstored cannot be reached at %s: %s' % (path, _reason(error))) from error
    return connection


def find_socket() -> str:
    """Return where xenstored listens, or would."""
    named = os.environ.get('XENSTORED_PATH')
    paths = (named,) if named else SOCKETS
    return next((path for path in paths if os.path.exists(path)), paths[0])


def _reason(error: Exception) -> str:
    """Say in words what the system call complained of."""
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code else str(error) or 'no answer in time'
