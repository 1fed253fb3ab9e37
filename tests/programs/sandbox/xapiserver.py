"""HTTP for the fake pool: on unix sockets of hosts, and on TLS.

XML-RPC, JSON-RPC where the path says so, and the handlers that carry whole VMs where there are any.
"""
import json
import socket
import ssl
import threading
import xmlrpc.client
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, List, Optional, Sequence
from urllib.parse import parse_qsl, urlsplit

from sandbox.xapidb import Refused
from sandbox.xapitransfer import Handlers

Answer = Callable[[str, Sequence[Any]], Any]


class Encoded(str):
    """A result that is JSON already."""


class Cut(Exception):
    """The connection is to be cut off without an answer."""


class XapiServer:
    """Serves one listening socket; a thread for each connection."""

    def __init__(self, listener: socket.socket, answer: Answer,
                 context: Optional[ssl.SSLContext] = None,
                 handlers: Optional[Handlers] = None) -> None:
        self._listener, self._answer, self._context = listener, answer, context
        self._handlers = handlers
        self._clients: List[socket.socket] = []
        self._threads: List[threading.Thread] = []
        self._stopped = False
        listener.settimeout(0.05)
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        self._stopped = True
        for client in list(self._clients):
            self._hang_up(client)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client = self._listener.accept()[0]
            except socket.timeout:
                continue
            except OSError:
                return
            client.settimeout(60)
            self._clients.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        answer, handlers = self._answer, self._handlers

        class Handler(BaseHTTPRequestHandler):
            """Answers requests."""

            def _carry(self) -> None:
                """Send or take a VM."""
                if handlers is None:
                    self.send_error(404)
                    return
                url = urlsplit(self.path)
                handlers.handle(self.command, url.path.rstrip('/'), dict(parse_qsl(url.query)),
                                self.headers, self.rfile, self.connection.sendall)  # type: ignore

            do_GET = do_PUT = _carry

            def do_POST(self) -> None:
                """Answer one call."""
                size = int(self.headers.get('Content-Length', 0))
                text, is_json = self.rfile.read(size), self.path.startswith('/jsonrpc')
                if is_json:
                    body = respond_json(answer, text)
                else:
                    params, method = xmlrpc.client.loads(text)
                    body = respond(answer, str(method), params)
                self.send_response(200)
                self.send_header('Content-Type', 'application/json' if is_json else 'text/xml')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        try:
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
                self._clients.append(client)
            Handler(client, ('', 0), None)      # type: ignore[arg-type]
        except (OSError, Cut, ValueError):
            pass
        finally:
            self._hang_up(client)

    @staticmethod
    def _hang_up(client: socket.socket) -> None:
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        client.close()


def respond(answer: Answer, method: str, params: Sequence[Any]) -> bytes:
    """Return the response to a call."""
    try:
        reply = {'Status': 'Success', 'Value': answer(method, params)}
    except Refused as refused:
        reply = {'Status': 'Failure', 'ErrorDescription': refused.details}
    return xmlrpc.client.dumps((reply,), methodresponse=True, allow_none=True).encode()


def respond_json(answer: Answer, text: bytes) -> bytes:
    """Return the response to a call in JSON-RPC."""
    call = json.loads(text)
    reply = {'jsonrpc': '2.0', 'id': call['id']}
    try:
        result = answer(call['method'], call['params'])
        if isinstance(result, Encoded):
            return ('%s, "result": %s}' % (json.dumps(reply)[:-1], result)).encode()
        reply['result'] = result
    except Refused as refused:
        reply['error'] = {'code': 1, 'message': refused.details[0], 'data': refused.details[1:]}
    return json.dumps(reply).encode()
