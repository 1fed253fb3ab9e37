"""xenstore, on the real oxenstored; and a server that breaks off or says nothing."""
import struct
import time

import pytest
from xsisolate.dom0.xen.xenstore import TooLarge, Xenstore, XenstoreRefused
from xsisolate.errors import HostError


@pytest.fixture
def xs(xenstored):
    with Xenstore() as connection:
        yield connection


def test_read_what_somebody_wrote(store, xs):
    store.write('/test/a', 'value')
    assert xs.read('/test/a') == b'value'
    assert xs.read_text('/test/a') == 'value'


def test_missing_is_none(store, xs):
    assert xs.read('/test/a') is None
    assert xs.read_text('/test/a') is None
    assert xs.directory('/test/a') is None
    assert xs.read_children('/test/a') == {}


def test_empty_is_not_missing(store, xs):
    store.write('/test/a', '')
    assert xs.read('/test/a') == b''
    assert xs.directory('/test/a') == []


def test_write_then_remove(store, xs):
    xs.write('/test/deep/node', 'valü')
    assert store.request(2, '/test/deep/node') == 'valü'.encode('utf-8')
    xs.remove('/test/deep')
    xs.remove('/test/deep')
    assert xs.read('/test/deep/node') is None


def test_children_in_several_batches(store, xs):
    wanted = {'n%d' % n: ('%d' % n * 400).encode() for n in range(100)}
    for name, value in wanted.items():
        store.write('/test/' + name, value.decode())
    store.write('/test/n7/below', 'not mine')
    assert xs.read_children('/test') == wanted


def test_child_that_is_removed_while_we_read(store, xs, monkeypatch):
    store.write('/test/stays', 'x')
    monkeypatch.setattr(xs, 'directory', lambda path, limit: ['gone', 'stays'])
    assert xs.read_children('/test') == {'stays': b'x'}


def test_only_the_children_that_are_named(store, xs):
    for name in ('a', 'b', 'c'):
        store.write('/test/' + name, name)
    assert xs.read_named('/test', ['a', 'c', 'd']) == {'a': b'a', 'c': b'c'}


def test_full_values_in_both_directions(store, xs):
    for n in range(64):
        xs.write('/test/%d' % n, 'x' * 2048)
    assert set(xs.read_children('/test').values()) == {b'x' * 2048}


def test_more_children_than_wanted(store, xs):
    for n in range(9):
        store.write('/test/%d' % n, '')
    assert len(xs.read_children('/test', 9)) == 9
    with pytest.raises(TooLarge, match='/test: 9 children, more than 8'):
        xs.read_children('/test', 8)


@pytest.mark.parametrize('children, length', [(400, 60), (1500, 900)])
def test_a_guests_huge_directory_harms_only_itself(store, xs, children, length):
    for n in range(children):
        store.write('/test/%s%04d' % ('x' * length, n), '')
    store.write('/test-after', 'still here')
    with pytest.raises(TooLarge):
        xs.read_children('/test', 300)
    assert xs.read('/test-after') == b'still here'


def test_a_guest_wrote_no_utf8(store, xs):
    xs._ask(11, ['/test/a'], b'\xff\x00\n')
    assert xs.read('/test/a') == b'\xff\x00\n'
    assert xs.read_text('/test/a') == '\ufffd\x00\n'


@pytest.mark.parametrize('path, value, word', [
    ('/test/' + 'y' * 1100, 'v', 'EINVAL'),
    ('/test/bad name', 'v', 'EINVAL'),
    ('/test/big', 'v' * 2049, 'ENOSPC|EQUOTA|E2BIG'),
])
def test_refusal_is_one_line_and_the_connection_lives(store, xs, path, value, word):
    with pytest.raises(HostError, match=word) as failure:
        xs.write(path, value)
    assert len(str(failure.value)) < 200
    assert xs.read('/test/none') is None


def test_more_than_a_message_holds_is_never_sent(store, xs):
    with pytest.raises(TooLarge):
        xs.write('/test/big', 'v' * 4096)
    assert xs.read('/test/big') is None


def test_refused_is_not_missing(store, xs):
    with pytest.raises(XenstoreRefused):
        xs.read('/test/bad name')


@pytest.mark.parametrize('path', ['/no/such/socket', '/dev/null', '/' + 'x' * 200])
def test_no_xenstored(monkeypatch, path):
    monkeypatch.setenv('XENSTORED_PATH', path)
    with pytest.raises(HostError, match='^xenstored cannot be reached at %s' % path):
        Xenstore()


def test_dead_xenstored(monkeypatch, serve):
    path = serve(lambda connection: None)
    monkeypatch.setenv('XENSTORED_PATH', path)
    with Xenstore() as xs, pytest.raises(HostError, match='hung up'):
        xs.read('/a')


@pytest.mark.parametrize('answer, complaint', [
    (struct.pack('=IIII', 2, 1, 0, 9) + b'half', 'hung up in mid-call'),
    (struct.pack('=IIII', 2, 7, 0, 0), 'belongs to no request'),
    (struct.pack('=IIII', 16, 1, 0, 7) + b'EACCES\0', 'xenstore /a: EACCES'),
    (struct.pack('=IIII', 16, 1, 0, 6) + b'E2BIG\0', 'xenstore /a: E2BIG'),
])
def test_bad_answers(monkeypatch, serve, answer, complaint):
    def talk(connection):
        connection.recv(100)
        connection.sendall(answer)
    monkeypatch.setenv('XENSTORED_PATH', serve(talk))
    with Xenstore() as xs, pytest.raises(HostError, match=complaint):
        xs.read('/a')


def test_silence_and_dripping_end_at_the_deadline(monkeypatch, serve):
    def talk(connection):
        connection.recv(100)
        try:
            for _ in range(16):
                connection.sendall(b'\0')
                time.sleep(0.1)
        except OSError:
            pass
    monkeypatch.setenv('XENSTORED_PATH', serve(talk))
    began = time.monotonic()
    with Xenstore(timeout=0.3) as xs, pytest.raises(HostError, match='within 0.3 s'):
        xs.read('/a')
    assert time.monotonic() - began < 0.6
