"""Watches on the real oxenstored, and what a server says piece by piece or wrongly."""
import os
import select
import socket
import struct
import threading
import time

import pytest

from xsisolate.dom0.xen.xenstore_watch import XenstoreWatches

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


def heard(watches, wait=0.15):
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
    assert heard(watches, 0.1) == tokens and watches.fileno() >= 0


def test_in_pieces(server, watches):
    data, found = message(EVENT, '/seven', '7') + message(EVENT, '/eight', '8'), []
    for index in range(len(data)):
        server.sendall(data[index:index + 1])
        if heard(watches, 0.01):
            found.append(index)
    assert found == [len(data) // 2 - 1, len(data) - 1]


def test_the_end(server, watches):
    server.sendall(message(EVENT, '/seven', '7') + b'half a mess')
    assert heard(watches, 0.1) == {'7'}
    server.close()
    assert select.select([watches.fileno()], [], [], 5)[0]      # it wakes us
    assert watches.read() == set() and watches.fileno() == -1 and watches.read() == set()


def test_it_listens_while_nobody_reads(server, watches):
    """Else oxenstored would have everybody wait who writes, and a guest could see to that."""
    server.settimeout(5)
    flood = b''.join(message(EVENT, '/seven/%d' % number, '7') for number in range(20000))
    for _ in range(5):
        server.sendall(flood)
    server.sendall(message(EVENT, '/eight', '8'))
    assert heard(watches, 2) == {'7', '8'}
    assert not select.select([watches.fileno()], [], [], 0)[0]


def test_no_thread_and_no_descriptor_is_left(store, watches):
    watches.watch_only({'7': '/test/seven'})
    before = set(os.listdir('/proc/self/fd')), threading.active_count()
    for _ in range(20):
        assert watches.connect()
    watches.close()
    assert (set(os.listdir('/proc/self/fd')), threading.active_count()) == before
