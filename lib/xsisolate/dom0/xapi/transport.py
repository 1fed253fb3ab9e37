"""How calls to XAPI travel: XenAPI's own transports know no deadline and no fingerprint."""
import hashlib
import http.client
import socket
import ssl
import xmlrpc.client
from typing import Any, Tuple

from xsisolate.dom0.linux.unix_socket import connect as connect_unix

SOCKET = '/var/lib/xcp/xapi'
TIMEOUT_S = 90.0            # a plugin on another host may wait for xenopsd


class LocalConnection(http.client.HTTPConnection):
    """HTTP on xapi's unix socket."""

    def __init__(self, seconds: float = TIMEOUT_S) -> None:
        super().__init__('localhost', timeout=seconds)
        self._seconds = seconds

    def connect(self) -> None:
        """Connect, within the deadline."""
        client: Any = socket.socket(socket.AF_UNIX)
        connect_unix(client, SOCKET, self._seconds)
        self.sock = client


class PinnedConnection(http.client.HTTPSConnection):
    """HTTPS to a server that is known by its certificate."""

    fingerprints: Tuple[str, ...] = ()

    def connect(self) -> None:
        """Connect; nothing is sent to a server that shows another certificate."""
        super().connect()
        shown = hashlib.sha256(self.sock.getpeercert(True) or b'').hexdigest()
        if self.fingerprints and shown not in self.fingerprints:
            self.close()
            raise ssl.SSLError(1, 'its certificate has the fingerprint %s, which was not named'
                               % shown)


class Transport(xmlrpc.client.Transport):
    """Carries each call over a connection of its own.

    The other end may close a kept connection unnoticed. Then it would be unknown whether a call
    was lost or done.
    """

    def __init__(self, make: Any) -> None:
        super().__init__()
        self._make = make

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Return a connection."""
        connection: http.client.HTTPConnection = self._make()
        self._connection = (host, connection)
        return connection

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send a request, once: what is sent twice may be done twice."""
        try:
            return self.single_request(host, handler, request_body, verbose)
        finally:
            self.close()
