"""Watches on the real oxenstored, and what a server says piece by piece or wrongly."""
import os
import select
import socket
import struct
import time

import pytest

from xsisolate.dom0.xswatch import XenstoreWatches

WATCH, UNWATCH, EVENT, ERROR = 4, 5, 15, 16


def message(kind, *words):
    payload = b''.join(word.encode() + b'\0' for word in words)
    return struct.pack('=IIII', kind, 0, 0, len(payload)) + payload


@pytest.fixture
def watches():
    """Watches that are not connected yet."""
    one = XenstoreWatches()
    yield one
    one.close()


def heard(watches, wait=0.3):
    """Return the tokens that arrive within some time."""
    tokens, end = set(), time.monotonic() + wait
    while time.monotonic() < end:
        if select.select([watches.fileno()], [], [], 0.02)[0]:
            tokens |= watches.read()
    return tokens


# --- the real one ------------------------------------------------------------------------------


def test_what_is_written_below_a_path_is_told(store, watches):
    assert watches.connect()
    watches.watch_only({'7': '/test/seven', '8': '/test/eight'})
    assert heard(watches) == {'7', '8'}         # each watch begins with an event
    store.write('/test/seven/deep/down', 'x')
    assert heard(watches) == {'7'}
    store.write('/test/other', 'x')
    store.rm('/test/eight')
    assert heard(watches) <= {'8'}
    watches.watch_only({'8': '/test/eight'})
    store.write('/test/seven/deep/down', 'y')
    assert heard(watches) == set()
    store.write('/test/eight', 'y')
    assert heard(watches) == {'8'}


def test_a_new_connection_watches_the_same(store, watches):
    watches.watch_only({'7': '/test/seven'})    # without a connection: remembered
    assert watches.fileno() == -1 and watches.read() == set()
    for _ in range(2):
        assert watches.connect()
        assert heard(watches) == {'7'}
        store.write('/test/seven', 'x')
        assert heard(watches) == {'7'}


def test_no_xenstored(watches, monkeypatch, tmp_path):
    monkeypatch.setenv('XENSTORED_PATH', str(tmp_path / 'nowhere'))
    assert not watches.connect() and watches.fileno() == -1


# --- one of our own ----------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch, watches):
    """A server's end of the connection."""
    path = os.path.join(str(tmp_path), 'socket')
    monkeypatch.setenv('XENSTORED_PATH', path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        watches.watch_only({'7': '/seven', '8': '/eight'})
        assert watches.connect()
        end, _ = listener.accept()
        with end:
            yield end


def test_what_is_sent(server, watches):
    seven, eight = message(WATCH, '/seven', '7'), message(WATCH, '/eight', '8')
    assert server.recv(4096) in (seven + eight, eight + seven)
    watches.watch_only({'8': '/eight', '9': '/nine'})
    assert server.recv(4096) == message(UNWATCH, '/seven', '7') + message(WATCH, '/nine', '9')


@pytest.mark.parametrize('said, tokens', [
    (b'', set()), (message(EVENT, '/seven/a', '7'), {'7'}),
    (message(WATCH, 'OK') + message(EVENT, '/eight', '8') + message(EVENT, '/eight', '8'), {'8'}),
    (message(EVENT, '/gone', '6'), set()),      # was on its way when we stopped watching it
    (message(EVENT, '/seven'), set()), (message(EVENT), set()), (message(ERROR, 'EINVAL'), set()),
    (struct.pack('=IIII', EVENT, 0, 0, 5) + b'\xff\0\xfe\0\xfd', set()),
    (b''.join(message(EVENT, '/seven/%d' % number, '7') for number in range(2000)), {'7'})])
def test_events(server, watches, said, tokens):
    server.sendall(said)
    assert watches.read() == tokens and watches.fileno() >= 0


def test_in_pieces(server, watches):
    data, found = message(EVENT, '/seven', '7') + message(EVENT, '/eight', '8'), []
    for index in range(len(data)):
        server.sendall(data[index:index + 1])
        if watches.read():
            found.append(index)
    assert found == [len(data) // 2 - 1, len(data) - 1]


def test_the_end(server, watches):
    server.sendall(message(EVENT, '/seven', '7') + b'half a mess')
    server.close()
    assert watches.read() == {'7'} and watches.fileno() == -1 and watches.read() == set()


def test_a_flood_does_not_keep_us(server, watches):
    """A guest may write faster than we read: after some pieces somebody else has a turn."""
    server.setblocking(False)
    flood = b''.join(message(EVENT, '/seven/%d' % number, '7') for number in range(20000))
    sent, reads = 0, 0
    end = time.monotonic() + 5
    while sent < len(flood) * 20 and time.monotonic() < end:
        try:
            sent += server.send(flood[sent % len(flood):])
        except BlockingIOError:
            began = time.monotonic()
            assert watches.read() <= {'7'} and time.monotonic() - began < 1
            reads += 1
    assert reads > 10
