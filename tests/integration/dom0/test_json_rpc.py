"""XAPI in JSON: what is an answer, what is a refusal, and what is not JSON at all."""
import json
import socket
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from xsisolate.dom0.xapi import transport
from xsisolate.dom0.xapi.json_rpc import NoJson, call_json

Serve = Callable[[bytes], List[bytes]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server that gives one answer, and remembers what it was asked."""
    path = str(tmp_path / 'xapi')
    monkeypatch.setattr(transport, 'SOCKET', path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    asked: List[bytes] = []

    def start(answer: bytes) -> List[bytes]:
        def run() -> None:
            client = listener.accept()[0]
            asked.append(client.recv(65536))
            while asked[0].count(b'\r\n\r\n') and not asked[0].endswith(b'}'):
                asked[0] += client.recv(65536)
            client.sendall(answer)
            client.close()
        threading.Thread(target=run, daemon=True).start()
        return asked
    yield start
    listener.close()


def http(body: bytes, status: bytes = b'200 OK') -> bytes:
    """Return a response."""
    return b'HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body)


def ask() -> Any:
    """Make a call."""
    return call_json('event.from', ['OpaqueRef:x', ['VM'], '', 5.0], 2.0)


def test_an_answer(serve: Serve) -> None:
    asked = serve(http('{"jsonrpc": "2.0", "id": 1, "result": {"a": "\u00fc"}}'.encode()))
    assert ask() == {'Status': 'Success', 'Value': {'a': '\u00fc'}}
    head, _, body = asked[0].partition(b'\r\n\r\n')
    assert head.startswith(b'POST /jsonrpc HTTP/1.1')
    assert json.loads(body.decode())['params'] == ['OpaqueRef:x', ['VM'], '', 5.0]


def test_a_refusal(serve: Serve) -> None:
    serve(http(b'{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "SESSION_INVALID", '
               b'"data": ["OpaqueRef:x"]}}'))
    assert ask() == {'Status': 'Failure', 'ErrorDescription': ['SESSION_INVALID', 'OpaqueRef:x']}


@pytest.mark.parametrize('answer', [
    http(b'', b'404 Not Found'), http(b''), http(b'<?xml?>'), http(b'[]'), http(b'1'),
    http(b'{"error": ["x"]}'), http(b'{"error": null}'), http(b'{}'), http(b'\xff'),
    http(b'{"result": {"a": "\\ud800"}}')])
def test_what_is_not_json(serve: Serve, answer: bytes) -> None:
    serve(answer)
    with pytest.raises(NoJson):
        ask()


def test_a_pair_of_surrogates_is_a_character(serve: Serve) -> None:
    serve(http(b'{"result": "\\ud83d\\ude00"}'))
    assert ask()['Value'] == '\U0001f600'
