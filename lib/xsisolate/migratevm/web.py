"""The two HTTP handlers of XAPI that carry a VM: GET /export and PUT /import.

Both are spoken by hand, for what they need is not what HTTP libraries do: no chunked encoding (XAPI
refuses it), no Content-Length (it is unknown), and an answer that comes before the body is sent.
An answer of 302 names the host that sees the disks; it comes before the body, too. The session goes
in a cookie: what stands in an address may be logged.
"""
import select
import socket
import ssl
from types import TracebackType
from typing import Any, Dict, Mapping, Optional, Tuple, Type
from urllib.parse import urlencode, urlsplit

from xsisolate.dom0.xapi.session import Remote, Xapi, make_context, one_line, secure_connection
from xsisolate.dom0.xapi.transport import SOCKET, LocalConnection
from xsisolate.errors import HostError

REDIRECTIONS = 3
HEAD_MAX = 65536
HEAD_S = 300.0              # a host may attach disks before it answers
ROOM_S = 300.0              # a host may be slow to take what has been sent
GOODBYE_S = 0.05
REASONS = {
    401: 'the session is not accepted: the user needs the role vm-admin or more',
    403: 'it refuses the request: a proxy in between may have changed it',
    404: 'it knows no such VM',
    500: 'XAPI failed; its /var/log/xensource.log says why',
}


class Stream:
    """A connection to one of the handlers, its answer read."""

    def __init__(self, sock: socket.socket, rest: bytes) -> None:
        self.sock = sock
        self.rest = rest            # of the body, what came along with the answer

    def __enter__(self) -> 'Stream':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def finish(self) -> None:
        """Say that nothing more will be sent, and go on listening.

        Over TLS that is its own goodbye. Its answer comes when XAPI has done all of its work, which
        the task tells better, so it is not waited for here.
        """
        try:
            # its few bytes must find room, or a compressed import waits for them for ever
            select.select([], [self.sock], [], ROOM_S)
            self.sock.settimeout(GOODBYE_S)
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
            else:
                self.sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


def request(xapi: Xapi, verb: str, path: str, query: Mapping[str, str]) -> Stream:
    """Send a request without its body, and return the stream when XAPI has agreed to it."""
    remote = xapi.remote
    for _ in range(REDIRECTIONS + 1):
        sock = _connect(remote)
        try:
            status, headers, rest = _ask(sock, xapi, verb, path, query)
            if status == 302:
                remote = _follow(xapi, remote, headers.get('location', ''))
            elif status // 100 != 2:
                raise HostError('%s %s on %s: HTTP %d: %s' % (
                    verb, path, name_of(remote), status, REASONS.get(status, 'not understood')))
            else:
                stream = Stream(sock, rest)
                sock = None
                return stream
        except (OSError, ValueError) as error:
            raise HostError('%s %s on %s: %s' % (verb, path, name_of(remote), explain(error))
                            ) from error
        finally:
            if sock is not None:
                sock.close()
    raise HostError('%s %s: sent from one host to the next, at last to %s'
                    % (verb, path, name_of(remote)))


def name_of(remote: Optional[Remote]) -> str:
    """Return what to call a host."""
    return 'localhost' if remote is None else one_line(remote.host)


def explain(error: Exception) -> str:
    """Return what the network has to say, in one line."""
    if isinstance(error, socket.timeout):
        return 'no answer'
    return one_line(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def _connect(remote: Optional[Remote]) -> Any:
    """Return a connected socket, to this host's XAPI or to one that has proven who it is."""
    connection = (LocalConnection() if remote is None
                  else secure_connection(remote, make_context(remote)))
    try:
        connection.connect()
    except (OSError, ValueError) as error:
        raise HostError('%s: %s' % (SOCKET if remote is None else name_of(remote),
                                    explain(error))) from error
    return connection.sock


def _ask(sock: socket.socket, xapi: Xapi, verb: str, path: str,
         query: Mapping[str, str]) -> Tuple[int, Dict[str, str], bytes]:
    """Send the request's head; return status, headers and what follows them."""
    sock.settimeout(HEAD_S)
    host = 'localhost' if xapi.remote is None else xapi.remote.host
    sock.sendall(('%s %s?%s HTTP/1.0\r\nHost: %s\r\nCookie: session_id=%s\r\n'
                  'User-Agent: xsisolate-migratevm\r\n\r\n' % (
                      verb, path, urlencode(sorted(query.items())), host, xapi.handle)
                  ).encode('ascii', 'replace'))
    text = b''
    while b'\r\n\r\n' not in text:
        piece = sock.recv(4096)
        if not piece or len(text) > HEAD_MAX:
            raise ValueError('hung up before it answered')
        text += piece
    head, _, rest = text.partition(b'\r\n\r\n')
    first, *lines = head.decode('latin-1').split('\r\n')
    words = first.split()
    if len(words) < 2 or not words[0].startswith('HTTP/') or not words[1].isdigit():
        raise ValueError('does not speak HTTP')
    pairs = (line.partition(':') for line in lines)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}, rest


def _follow(xapi: Xapi, remote: Optional[Remote], location: str) -> Remote:
    """Return the host that a redirection names; the session goes to no other than the pool's."""
    address = urlsplit(location).hostname or ''
    known = {str(host['address']) for host in xapi.call('host.get_all_records').values()}
    if address not in known:
        raise HostError('%s sends us to %s, which is not a host of its pool'
                        % (name_of(remote), one_line(address) or 'nowhere'))
    if remote is None:
        raise HostError('only host %s sees the disks: run migratevm there, or name it as the host'
                        % address)
    port = urlsplit('//' + remote.host).port if remote.host.count(':') == 1 else None
    return remote._replace(host='[%s]' % address if ':' in address else
                           '%s:%d' % (address, port) if port else address)
