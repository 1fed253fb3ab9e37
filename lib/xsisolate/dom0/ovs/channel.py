"""A conversation in OpenFlow with one bridge, over the socket that ovs-ofctl uses."""
import os
from struct import Struct
from time import monotonic

from xsisolate.dom0.linux.unix_socket import connect
from xsisolate.dom0.ovs.rundir import find_file
from xsisolate.errors import HostError
from xsisolate.quick_imports import AF_UNIX, SOCK_STREAM, SocketTimeout, socket
from xsisolate.typing_compat import (TYPE_CHECKING, Iterable, Iterator, List, NamedTuple, Optional,
                                     Tuple, Type)

if TYPE_CHECKING:
    from types import TracebackType

OPENFLOW10, OPENFLOW14 = 1, 5
NAMES = {OPENFLOW10: 'OpenFlow10', OPENFLOW14: 'OpenFlow14'}
HEADER = Struct('!BBHI')                # version, type, length, xid
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY = 0, 1, 2, 3
VERSIONS = Struct('!HHI')               # hello's list of versions: type 1, length, bitmap
MULTIPART = Struct('!HH')               # type, flags
MULTIPART_MORE = 1
WIRE_ERROR = Struct('!HH')              # type, code
HELLO_FAILED = 0
ERRORS = {1: 'BAD_REQUEST', 2: 'BAD_ACTION', 3: 'BAD_INSTRUCTION', 4: 'BAD_MATCH',
          5: 'FLOW_MOD_FAILED', 7: 'PORT_MOD_FAILED', 17: 'BUNDLE_FAILED'}
TABLE_FULL = (5, 1)
BUNDLE_CONTROL, BUNDLE_ADD = 33, 34
BARRIER, BARRIER_REPLY = 20, 21
BUNDLE = Struct('!IHH')                 # id; type or padding; flags
OPEN, COMMIT = 0, 4
ATOMIC_AND_ORDERED = 3
FLOW_MOD = 14
TIMEOUT_S = 20.0
PIECE = 1 << 18


class Refused(HostError):
    """The switch says no to a message."""

    def __init__(self, bridge: str, kind: int, code: int, index: int) -> None:
        why = 'TABLE_FULL' if (kind, code) == TABLE_FULL else 'code %d' % code
        super().__init__('bridge %s: ovs-vswitchd refuses: %s, %s'
                         % (bridge, ERRORS.get(kind, 'error %d' % kind), why))
        self.index = index      # of the change that it refuses, if that is one of a bundle's


class Shape(NamedTuple):
    """How a version writes questions with long answers."""

    request: int
    reply: int
    head: Struct


SHAPES = {OPENFLOW10: Shape(16, 17, Struct('!HH')), OPENFLOW14: Shape(18, 19, Struct('!HH4x'))}


class Channel:
    """A connection to a bridge; all that is done with it ends within `timeout` seconds."""

    def __init__(self, bridge: str, version: int, timeout: float) -> None:
        self._bridge, self._version = bridge, version
        self._timeout, self._deadline = timeout, monotonic() + timeout
        self._received = bytearray()
        self._last_xid = self._first_change = 0
        self._unsent: List[bytes] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        path = find_file(bridge + '.mgmt')
        try:
            connect(self._socket, path, timeout)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise HostError('bridge %s: ovs-vswitchd cannot be reached at %s: %s'
                            % (bridge, path, _reason(error))) from error
        # It goes out with what is said next: each time that ovs-vswitchd is spoken to it looks at
        # all its ports.
        self._add((HELLO, VERSIONS.pack(1, VERSIONS.size, 1 << self._version)))

    def __enter__(self) -> 'Channel':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, messages: Iterable[Tuple[int, bytes]]) -> None:
        """Send messages: (type, body)."""
        for message in messages:
            self._add(message)
        data, self._unsent = b''.join(self._unsent), []
        self._write(data)

    def _add(self, message: Tuple[int, bytes]) -> None:
        kind, body = message
        self._last_xid += 1
        self._unsent += HEADER.pack(self._version, kind, HEADER.size + len(body),
                                    self._last_xid), body

    def ask(self, kind: int, *bodies: bytes) -> Iterator[bytes]:
        """Ask questions of one kind, all together, now; return the parts of the answers."""
        shape = SHAPES[self._version]
        self.send([(shape.request, shape.head.pack(kind, 0) + body) for body in bodies])
        return self._answers(shape) if bodies else iter(())

    def _answers(self, shape: Shape) -> Iterator[bytes]:
        for answer, xid, text in self._messages():
            if answer == shape.reply:
                yield text[shape.head.size:]
                if xid == self._last_xid and not MULTIPART.unpack_from(text)[1] & MULTIPART_MORE:
                    return

    def change(self, changes: Iterable[bytes]) -> None:
        """Change flows in one bundle: all of it happens, or none."""
        self._send_bundle(changes)
        for answer, xid, _ in self._messages():
            if answer == BUNDLE_CONTROL and xid == self._last_xid:
                return

    def change_and_ask(self, changes: Iterable[bytes], kind: int,
                       *bodies: bytes) -> Iterator[bytes]:
        """Change flows, and yield the answers to questions about what they are then."""
        self._send_bundle(changes)
        yield from self.ask(kind, *bodies)

    def _send_bundle(self, changes: Iterable[bytes]) -> None:
        """Send a bundle; when its last message goes out, the switch has taken all others.

        A message that it refuses is not part of the bundle, and it would commit the rest.
        """
        self._first_change = first = self._last_xid + 2
        self.send([(BUNDLE_CONTROL, BUNDLE.pack(1, OPEN, ATOMIC_AND_ORDERED))])
        self.send((BUNDLE_ADD, BUNDLE.pack(1, 0, ATOMIC_AND_ORDERED) + HEADER.pack(
            self._version, FLOW_MOD, HEADER.size + len(change), xid) + change)
            for xid, change in enumerate(changes, first))
        self.send([(BARRIER, b'')])
        for answer, xid, _ in self._messages():
            if answer == BARRIER_REPLY and xid == self._last_xid:
                break
        self.send([(BUNDLE_CONTROL, BUNDLE.pack(1, COMMIT, ATOMIC_AND_ORDERED))])

    def _messages(self) -> Iterator[Tuple[int, int, bytes]]:
        """Yield (type, xid, body) of what the switch says; raise what it complains of."""
        while True:
            while len(self._received) < HEADER.size:
                self._read()
            _, kind, length, xid = HEADER.unpack_from(self._received)
            while len(self._received) < length:
                self._read()
            body = bytes(self._received[HEADER.size:length])
            del self._received[:max(length, HEADER.size)]
            if kind == ECHO_REQUEST:
                self._write(HEADER.pack(self._version, ECHO_REPLY, HEADER.size + len(body), xid)
                            + body)
            elif kind == ERROR:
                self._complain(body, xid)
            else:
                yield kind, xid, body

    def _complain(self, body: bytes, xid: int) -> None:
        kind, code = WIRE_ERROR.unpack_from(body)
        if kind == HELLO_FAILED:
            raise HostError('bridge %s does not speak %s: add it to the bridge\'s protocols'
                            % (self._bridge, NAMES[self._version]))
        raise Refused(self._bridge, kind, code, xid - self._first_change)

    def _write(self, data: bytes) -> None:
        try:
            self._set_timeout()
            self._socket.sendall(data)
        except OSError as error:
            raise self._failure(error) from error

    def _read(self) -> None:
        try:
            self._set_timeout()
            piece = self._socket.recv(PIECE)
        except OSError as error:
            raise self._failure(error) from error
        if not piece:
            raise HostError('bridge %s: ovs-vswitchd hung up' % self._bridge)
        self._received += piece

    def _failure(self, error: OSError) -> HostError:
        if isinstance(error, SocketTimeout):
            return HostError('bridge %s: ovs-vswitchd gives no answer within %g s'
                             % (self._bridge, self._timeout))
        return HostError('bridge %s: ovs-vswitchd hung up: %s' % (self._bridge, _reason(error)))

    def _set_timeout(self) -> None:
        """Let the next call on the socket take what is left of the time."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise SocketTimeout
        self._socket.settimeout(left)


def _reason(error: Exception) -> str:
    """Say in words what the system call complained of."""
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code else str(error) or 'no answer in time'
