"""Messages of Open vSwitch's daemons, in whatever pieces they arrive."""
import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xsisolate.dom0.ovs.json_end import ObjectEnd
from xsisolate.dom0.ovs.jsonrpc import PIECE, JsonRpc
from xsisolate.errors import HostError

ODD = '"{\\"}\\\\ }{ \u00fc \U0001f600 \\'
VALUES = st.recursive(
    st.text('{}"\\[]ab \u00fc\n', max_size=6) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text('{}"\\', max_size=3), inner, max_size=3), max_leaves=12)


@given(st.dictionaries(st.text('{}"\\a', max_size=4), VALUES, max_size=4),
       st.lists(st.integers(1, 9), min_size=1), st.booleans())
def test_an_object_ends_where_its_last_brace_is(value, sizes, plain):
    data = json.dumps(value, ensure_ascii=plain).encode('utf-8')
    end, at, number = ObjectEnd(), 0, 0
    while at < len(data):
        piece = data[at:at + sizes[number % len(sizes)]]
        at, number = at + len(piece), number + 1
        assert end.is_in(piece) is (at >= len(data)), (data, at)
    assert ObjectEnd().is_in(b' \n' + data + b'{"next": "{')


@pytest.fixture
def peer(tmp_path):
    """A connection, and the other end of it."""
    path = str(tmp_path / 'socket')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        with JsonRpc(path, 'the peer', 60) as connection:
            other = server.accept()[0]
            with other:
                yield connection, other


def saying(other, *pieces):
    """Let the other end say these, one after the other, as soon as it is asked; return who says."""
    def say():
        other.recv(1 << 16)
        for piece in pieces:
            other.sendall(piece)
    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    return speaker


@pytest.mark.parametrize('size', [0, PIECE - 100, PIECE, PIECE + 100, 3 * PIECE])
def test_messages_that_come_together_or_cut_anywhere(peer, size):
    connection, other = peer
    echo = json.dumps({'method': 'echo', 'id': 'echo', 'params': [ODD]}, ensure_ascii=False)
    answers = [json.dumps({'id': number, 'result': ODD + 'x' * size}, ensure_ascii=False)
               for number in (1, 2)]
    both = (echo + '\n' + answers[0] + echo).encode('utf-8')
    cut = len(both) - 12        # in the middle of a character of four bytes, or about there
    for at in range(cut, cut + 4):
        speaker = saying(other, both[:at], both[at:])
        assert connection.call('first', [])['result'] == ODD + 'x' * size
        speaker.join()      # or the next might speak in the middle of its last piece
        connection._last_id = 1
        speaker = saying(other, answers[1].encode('utf-8'))
        assert connection.call('second', [])['result'] == ODD + 'x' * size
        speaker.join()
        connection._last_id = 0


def test_a_long_reply_takes_no_longer_than_reading_it(peer):
    """Each piece once: four times as much takes four times as long, not sixteen times."""
    connection, other = peer
    rows = [{'name': 'vif%d.0' % number, 'external_ids': ['map', [['odd', ODD]]]}
            for number in range(130000)]        # 8 MiB
    data = json.dumps({'id': 1, 'error': None, 'result': rows}).encode('ascii')
    began = time.process_time()
    json.loads(data.decode('ascii'))
    alone = time.process_time() - began
    began = time.process_time()
    saying(other, data)
    assert connection.call('transact', [])['result'] == rows
    assert time.process_time() - began < 5 * alone + 1


@pytest.mark.parametrize('data', [b'{"id": 1, "result": \xff}', b'nonsense', b'}}}{', b'{"id": 1'])
@pytest.mark.parametrize('size', [0, 2 * PIECE])
def test_what_is_no_message_ends_in_time(peer, data, size):
    connection, other = peer
    connection.timeout = 0.3
    saying(other, data + b'x' * size)
    with pytest.raises(HostError, match='the peer does not answer in time'):
        connection.call('list_dbs', [])
