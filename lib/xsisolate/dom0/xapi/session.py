"""XAPI, through the official XenAPI module: on this host's unix socket, or elsewhere over TLS.

Only commands, the plugin and the daemon's child import this; hooks never do. Every call ends
within a deadline, and every failure is one kind of error with XAPI's own code in it. A session that
XAPI has forgotten is an error, too: the follower of events must then begin again.
"""
import http.client
import os
import re
import socket
import ssl
import xmlrpc.client
from types import TracebackType
from typing import Any, NamedTuple, Optional, Sequence, Tuple, Type

from xsisolate.dom0.xapi.json_rpc import call_json
from xsisolate.dom0.xapi.transport import (SOCKET, TIMEOUT_S, LocalConnection, PinnedConnection,
                                           Transport)
from xsisolate.errors import HostError, UsageError

ORIGINATOR = 'xsisolate'
API_VERSION = '1.0'
REDIRECTIONS = 2            # a master that has just changed may send us on once more
FINGERPRINT = re.compile('[0-9a-f]{64}')
HTTPS_PORT = 443

# What XAPI's error codes mean to an admin, and what to do.
ADVICE = {
    'SESSION_AUTHENTICATION_FAILED': 'user name or password is wrong',
    'RBAC_PERMISSION_DENIED': 'the user\'s role does not allow it',
    'HOST_IS_SLAVE': 'the host is not the pool\'s master',
    'UUID_INVALID': 'XAPI no longer has this object',
    'HANDLE_INVALID': 'XAPI no longer has this object',
    'SESSION_INVALID': 'XAPI has forgotten the session: it was restarted, or the session is old',
    'XENAPI_MISSING_PLUGIN': 'xsisolate is not installed on that host',
    'UNKNOWN_XENAPI_PLUGIN_FUNCTION': 'that host has an older xsisolate: upgrade it',
    'HOST_OFFLINE': 'the host is down',
    'HOST_NOT_LIVE': 'the host is down',
}


class XapiError(HostError):
    """XAPI refused a call, or did not answer."""

    def __init__(self, method: str, details: Sequence[str]) -> None:
        self.code, self.params = (details[0] if details else ''), list(details[1:])
        words = [str(word) for word in details if word]
        advice = ADVICE.get(self.code)
        super().__init__('XAPI %s: %s%s' % (method, one_line(' '.join(words)),
                                           ' (%s)' % advice if advice else ''))


class ConnectionLost(XapiError):
    """XAPI could not be reached, or has hung up: what it was asked to do may be done or not."""

    def __init__(self, method: str, why: object) -> None:
        super().__init__(method, ['no connection: %s' % (why,)])
        self.code = 'CONNECTION'


class Remote(NamedTuple):
    """The host to connect to over TLS, and how it proves its identity."""

    host: str
    user: str = 'root'
    password: str = ''
    ca: Optional[str] = None            # a file of certificates
    fingerprints: Tuple[str, ...] = ()  # SHA-256 of the server's certificate, hex
    insecure: bool = False


class Xapi:
    """A session; it is logged out when its context ends."""

    def __init__(self, session: Any, remote: Optional[Remote] = None,
                 timeout: float = TIMEOUT_S) -> None:
        self._session = session
        self._timeout = timeout
        self.remote = remote        # the host that answered, the master; None: this host

    @property
    def handle(self) -> str:
        """The session's reference: a secret like a password."""
        return str(self._session.handle)

    def __enter__(self) -> 'Xapi':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.logout()

    def logout(self) -> None:
        """End the session; that XAPI is gone already is fine."""
        try:
            if self._session.handle:
                self._session.xenapi.session.logout()
        except Exception:       # noqa: B902 - the work is done, or its own error is on its way
            pass
        self._session('close')()

    def call(self, method: str, *args: Any) -> Any:
        """Return the result of a call like `VM.get_record`; raise XapiError.

        Not by way of session.xenapi: that logs in again by itself, and a follower of events must
        not miss that XAPI was restarted.
        """
        reply = _transport(method, getattr(self._session, method), self._session.handle, *args,
                           timeout=self._timeout)
        return _parse(method, reply)

    def call_json(self, method: str, *args: Any) -> Any:
        """Do what `call` does, in JSON and on this host only; raise NoJson where that is unknown.
        """
        reply = _transport(method, call_json, method, [self._session.handle, *args],
                           self._timeout, timeout=self._timeout)
        return _parse(method, reply)

    def beside(self, timeout: float) -> 'Xapi':
        """Return the same session for another thread, its calls with a deadline of their own.

        It is logged out with this one, and never by itself.
        """
        twin = _over_tls(self.remote, timeout) if self.remote else _local(timeout)
        twin._session = self._session.handle
        return Xapi(twin, self.remote, timeout)


def connect(remote: Optional[Remote] = None, timeout: float = TIMEOUT_S) -> Xapi:
    """Return a session: root's on this host, or the one that `remote` describes.

    To connect and log in may take `timeout` seconds, each.
    """
    if remote is None:
        return _login(_local(timeout), 'root', '', None, timeout)
    for _ in range(REDIRECTIONS + 1):
        try:
            return _login(_over_tls(remote, timeout), remote.user, remote.password, remote,
                          timeout)
        except ConnectionLost as error:
            raise HostError('%s: %s' % (remote.host, error)) from error
        except XapiError as error:
            if error.code != 'HOST_IS_SLAVE' or not error.params:
                raise
            _, port = _split_port(remote.host)      # a pool's hosts have one port in common
            remote = remote._replace(host='%s:%d' % (_bracketed(error.params[0]), port))
    raise HostError('XAPI on %s: each host names another as the master (HOST_IS_SLAVE)'
                    % remote.host)


def check_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 hex digits."""
    digits = text.lower().replace(':', '').strip()
    if not FINGERPRINT.fullmatch(digits):
        raise UsageError('not a SHA-256 fingerprint: %.80r (openssl x509 -noout -fingerprint '
                         '-sha256 -in /etc/xensource/xapi-ssl.pem prints it)' % text)
    return digits


def one_line(text: str, limit: int = 400) -> str:
    """Return text that others have chosen as one line of printable ASCII."""
    return ascii(text[:limit])[1:-1]


def _login(session: Any, user: str, password: str, remote: Optional[Remote],
           timeout: float) -> Xapi:
    """Return a session that is logged in."""
    xenapi, method = _module(), 'session.login_with_password'
    try:
        _transport(method, session.login_with_password, user, password, API_VERSION, ORIGINATOR,
                   timeout=timeout)
    except xenapi.Failure as error:
        session('close')()
        raise XapiError(method, error.details) from None
    except BaseException:
        session('close')()
        raise
    return Xapi(session, remote, timeout)


def _parse(method: str, reply: Any) -> Any:
    """Return the value in a reply; raise XapiError where XAPI says no."""
    if isinstance(reply, dict) and reply.get('Status') == 'Success':
        return reply.get('Value')
    details = reply.get('ErrorDescription') if isinstance(reply, dict) else None
    raise XapiError(method, details or ['the reply has neither a value nor an error'])


def _transport(method: str, function: Any, *args: Any, timeout: float = TIMEOUT_S) -> Any:
    """Make a call; failures of the network become ConnectionLost."""
    try:
        return function(*args)
    except ssl.SSLError as error:
        raise ConnectionLost(method, _explain_tls(error)) from error
    except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
        raise ConnectionLost(method, _reason(error, timeout)) from error
    except (xmlrpc.client.Error, ValueError, TypeError, OverflowError) as error:
        raise XapiError(method, ['%s: %s' % (type(error).__name__, error)]) from error


def _explain_tls(error: ssl.SSLError) -> str:
    return ('%s; name its certificate with --ca FILE, or its --fingerprint'
            % (getattr(error, 'verify_message', '') or getattr(error, 'reason', '')
               or error.args[-1]))


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, socket.timeout):
        return 'no answer within %g s' % timeout
    if isinstance(error, xmlrpc.client.ProtocolError):
        return 'HTTP %d %s' % (error.errcode, error.errmsg)
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code and code > 0 else str(error) or type(error).__name__


def _module() -> Any:
    """Return the official module."""
    try:
        import XenAPI
    except ImportError:
        raise HostError('the Python module XenAPI is missing: on a host it belongs to xapi-core, '
                        'elsewhere `pip install XenAPI` brings it') from None
    return XenAPI


def _local(timeout: float = TIMEOUT_S) -> Any:
    """Return a session, not logged in, on this host's XAPI."""
    if not os.path.exists(SOCKET):
        raise HostError('no XAPI on this machine (%s is missing): run it on a host of the pool, or '
                        'name one with --host' % SOCKET)
    transport = Transport(lambda: LocalConnection(timeout))
    return _module().Session('http://localhost/', transport=transport)


def _over_tls(remote: Remote, timeout: float = TIMEOUT_S) -> Any:
    """Return a session, not logged in, with a server that has proven its identity."""
    host, context = _split_port(remote.host)[0], make_context(remote)
    return _module().Session('https://%s/' % _bracketed(host),
                             transport=Transport(
                                 lambda: secure_connection(remote, context, timeout)))


def secure_connection(remote: Remote, context: ssl.SSLContext,
                      timeout: float = TIMEOUT_S) -> PinnedConnection:
    """Return a connection, not made yet, to a host that has to prove its identity."""
    host, port = _split_port(remote.host)
    connection = PinnedConnection(host, port, timeout=timeout, context=context)
    connection.fingerprints = remote.fingerprints
    return connection


def make_context(remote: Remote) -> ssl.SSLContext:
    """Return how to verify the host's certificate."""
    try:
        context = ssl.create_default_context(cafile=remote.ca)
    except (OSError, ValueError) as error:
        raise UsageError('--ca %s: not a file of certificates: %s' % (remote.ca, error)) from error
    if remote.insecure or remote.fingerprints:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _split_port(host: str) -> Tuple[str, int]:
    """Return the parts of `host`, `host:port`, `[v6]:port` or an IPv6 address."""
    match = re.fullmatch(r'(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?', host)
    if match:
        return match.group(1) or match.group(2), int(match.group(3) or HTTPS_PORT)
    if re.fullmatch('[0-9A-Fa-f:.]+', host):
        return host, HTTPS_PORT
    raise UsageError('not a host: %.80r' % host)


def _bracketed(host: str) -> str:
    return '[%s]' % host if ':' in host and not host.startswith('[') else host
