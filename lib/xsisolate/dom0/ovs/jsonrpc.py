"""JSON-RPC over a unix socket, as Open vSwitch's daemons speak it; RFC 7047's `transact`."""
import json
import os
from codecs import utf_8_decode
from time import monotonic

from xsisolate.dom0.linux.unix_socket import connect
from xsisolate.dom0.ovs.json_end import ObjectEnd
from xsisolate.dom0.ovs.ovsdb_operations import Operation, Result
from xsisolate.errors import HostError
from xsisolate.quick_imports import AF_UNIX, MSG_PEEK, SOCK_STREAM, SocketTimeout, socket
from xsisolate.typing_compat import (TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence,
                                     Type, TypeVar)

if TYPE_CHECKING:
    from types import TracebackType

REPLY_MAX = 64 << 20
PIECE = 1 << 18
POKE_S, POKE_MOST_S = 0.001, 0.05     # from one poke to the next: each time twice as long
COMPLAINT_SHOWN = 400     # characters
CONFLICTS = ('timed out', 'constraint violation')

AnyConnection = TypeVar('AnyConnection', bound='JsonRpc')


class Conflict(HostError):
    """The database changed between our look and our change."""


class JsonRpc:
    """A connection to a daemon; every call ends within `timeout` seconds."""

    def __init__(self, path: str, peer: str, timeout: float) -> None:
        self.timeout = timeout
        self._peer = peer
        self._last_id = 0
        self._received = bytearray()
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        try:
            connect(self._socket, path, timeout)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise HostError('%s cannot be reached at %s: %s'
                            % (peer, path, _reason(error))) from error

    def __enter__(self: AnyConnection) -> AnyConnection:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, method: str, params: Sequence[Any], timeout: Optional[float] = None,
             poke: Optional[Callable[[], None]] = None) -> Dict[str, Any]:
        """Return the answer to a call, whatever it says; `poke` again and again until it comes."""
        self._last_id += 1
        deadline = monotonic() + (self.timeout if timeout is None else timeout)
        try:
            self._send({'method': method, 'id': self._last_id, 'params': list(params)}, deadline)
            pause = POKE_S
            while poke and monotonic() < deadline:
                poke()
                if self._is_answered(pause):
                    break
                pause = min(2 * pause, POKE_MOST_S)
            while True:
                message = self._receive(deadline)
                if message.get('method') == 'echo':
                    self._send({'id': message.get('id'), 'error': None,
                                'result': message.get('params')}, deadline)
                elif message.get('id') == self._last_id:
                    return message
        except SocketTimeout as error:
            raise HostError('%s does not answer in time' % self._peer) from error
        except OSError as error:
            raise HostError('%s hung up: %s' % (self._peer, _reason(error))) from error

    def _is_answered(self, pause: float) -> bool:
        """Tell whether something has come, or comes in a moment."""
        self._socket.settimeout(pause)
        try:
            self._socket.recv(1, MSG_PEEK)
        except SocketTimeout:
            return False
        return True

    def _send(self, message: Dict[str, Any], deadline: float) -> None:
        """Write one message."""
        self._set_timeout(deadline)
        self._socket.sendall(json.dumps(message).encode('ascii'))

    def _receive(self, deadline: float) -> Dict[str, Any]:
        """Read one message: nothing separates them but the end of a JSON object.

        A short one is parsed on trial. A long one's end is looked for first, or each of its
        pieces would cost as much as all before it.
        """
        end, seen = ObjectEnd(), 0
        while True:
            is_whole = len(self._received) <= PIECE
            if not is_whole:
                is_whole = end.is_in(bytes(self._received[seen:]))
                seen = len(self._received)
            message = self._take() if is_whole else None
            if message is not None:
                return message
            if len(self._received) > REPLY_MAX:
                raise HostError('%s sent a message of more than %d bytes'
                                % (self._peer, REPLY_MAX))
            self._set_timeout(deadline)
            piece = self._socket.recv(PIECE)
            if not piece:
                raise HostError('%s hung up in mid-call' % self._peer)
            self._received += piece

    def _take(self) -> Optional[Dict[str, Any]]:
        """Return the message with which what was received begins, None if it is not whole."""
        try:
            text, length = utf_8_decode(self._received, 'strict', False)
            text = text.lstrip()
            message, size = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return None         # the rest is still on its way
        self._received = bytearray(text[size:].encode('utf-8') + self._received[length:])
        return dict(message)

    def _set_timeout(self, deadline: float) -> None:
        """Let the next call on the socket take what is left of the time."""
        left = deadline - monotonic()
        if left <= 0:
            raise SocketTimeout
        self._socket.settimeout(left)


class Connection(JsonRpc):
    """A connection to a database."""

    def __init__(self, path: str, database: str, timeout: float) -> None:
        super().__init__(path, 'ovsdb-server', timeout)
        self._database = database

    def transact(self, operations: Sequence[Operation],
                 timeout: Optional[float] = None) -> List[Result]:
        """Do all operations or none; return what became of each.

        Raises Conflict if a `wait` operation's condition does not hold or a name
        is taken, HostError if ovsdb-server refuses, hangs up or does not answer.
        """
        return _results(self.call('transact', [self._database, *operations], timeout))


def _results(message: Dict[str, Any]) -> List[Result]:
    """Return a reply's results; raise what ovsdb-server complains of."""
    if message.get('error'):
        raise HostError('ovsdb-server refuses: ' + _line(message['error']))
    results: List[Result] = message['result']
    for result in results:      # after the one that failed they are null
        if 'error' in result:
            kind = Conflict if result['error'] in CONFLICTS else HostError
            raise kind('ovsdb-server refuses: ' + _line(result))
    return results


def _line(complaint: Any) -> str:
    """Return ovsdb-server's complaint as one bounded line."""
    if isinstance(complaint, dict):
        complaint = '%s: %s' % (complaint.get('error'), complaint.get('details'))
    return ' '.join(str(complaint).split())[:COMPLAINT_SHOWN]


def _reason(error: Exception) -> str:
    """Say in words what the system call complained of."""
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code else str(error) or 'no answer in time'
