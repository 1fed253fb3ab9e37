"""What a bridge says on its OpenFlow connection, from a server that says it piece by piece."""
import os
import socket
import struct

import pytest

from xsisolate.dom0.ovs.flow_monitor import FlowMonitor
from xsisolate.openflow.ownership import COPIES, LEARNED, OWNER, SILENCING

HELLO, ECHO, ECHO_REPLY, VENDOR, GET_CONFIG, CONFIG_REPLY, SET_CONFIG = 0, 2, 3, 4, 7, 8, 9
PORT_STATUS, STATS_REQUEST, STATS_REPLY = 12, 16, 17
FLOODED, HIDDEN = 0, 1 << 4
ADDED, DELETED, MODIFIED = 0, 1, 2


def message(kind, xid=0, body=b''):
    return struct.pack('!BBHI', 1, kind, 8 + len(body), xid) + body


def update(event, table, cookie):
    """Return what the flow monitor says of one flow; its match does not matter."""
    return message(STATS_REPLY, 2, struct.pack('!HHIIxxxx', 0xffff, 0, 0x2320, 2) + struct.pack(
        '!HH10xBxQ', 24, event, table, cookie))


def status(name, config, why=MODIFIED):
    """Return a port-status message: reason, port number, MAC address, name, configuration, rest."""
    return message(PORT_STATUS, 0, struct.pack('!B7xH6s16sI5I', why, 3, b'\2\0\0\0\0\1',
                                               name.encode(), config, 0, 0, 0, 0, 0))


class Switch:
    """The other end of the connection."""

    def __init__(self, folder):
        self.path = os.path.join(str(folder), 'xenbr0.mgmt')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.end = None

    def accept(self):
        """Take the connection; return what was said on it, as (kind, xid, body)."""
        self.end, _ = self.listener.accept()
        self.end.settimeout(5)
        return [self.hear() for _ in range(4)]

    def hear(self):
        version, kind, length, xid = struct.unpack('!BBHI', self._read(8))
        assert version == 1
        return kind, xid, self._read(length - 8)

    def _read(self, size):
        data = b''
        while len(data) < size:
            data += self.end.recv(size - len(data))
        return data

    def say(self, *messages):
        self.end.sendall(b''.join(messages))

    def close(self):
        for one in (self.listener, self.end):
            if one:
                one.close()


@pytest.fixture
def switch(tmp_path, monkeypatch):
    """A bridge's management socket in a folder of the test's own."""
    monkeypatch.setenv('OVS_RUNDIR', str(tmp_path))
    server = Switch(tmp_path)
    yield server
    server.close()


@pytest.fixture
def monitor(switch):
    """A monitor that is connected, and has asked for what it wants."""
    one = FlowMonitor('xenbr0')
    assert one.connect()
    switch.accept()
    yield one
    one.close()


def test_what_is_asked_for(switch):
    monitor = FlowMonitor('xenbr0')
    assert monitor.fileno() == -1 and monitor.connect() and monitor.fileno() >= 0
    (hello, _, _), (stats, _, flows), (vendor, _, wanted), (config, _, _) = switch.accept()
    assert (hello, stats, vendor, config) == (HELLO, STATS_REQUEST, VENDOR, GET_CONFIG)
    # vendor statistics, Nicira, flow monitor; deletions and changes, any port, all tables; and
    # of the registry also what is there and what comes
    assert struct.unpack('!HHIIxxxxIHHHB5xIHHHB5x', flows) == (
        0xffff, 0, 0x2320, 2, 1, 0b1100, 0xffff, 0, 0xff, 2, 0b1111, 0xffff, 0, 235)
    # no packet, no removed flow, ports only
    assert struct.unpack('!II6I', wanted) == (0x2320, 19, 0, 0, 0b110, 0, 0, 0)
    monitor.close()
    assert monitor.fileno() == -1


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setenv('OVS_RUNDIR', str(tmp_path))
    monitor = FlowMonitor('xenbr0')
    assert not monitor.connect() and monitor.fileno() == -1
    assert monitor.read()[:3] == (False, False, {})


@pytest.mark.parametrize('fragments', [0, 1, 3])
def test_the_way_with_fragments_stays(switch, monitor, fragments):
    """Whoever names a length of packets sets that, too, for the whole bridge."""
    switch.say(message(CONFIG_REPLY, 4, struct.pack('!HH', fragments, 0)))
    assert monitor.read()[:3] == (True, False, {})
    kind, _, body = switch.hear()
    assert (kind, struct.unpack('!HH', body)) == (SET_CONFIG, (fragments, 128))


def test_an_echo_is_answered(switch, monitor):
    switch.say(message(ECHO, 77, b'hello'), message(HELLO))
    assert monitor.read()[:3] == (True, False, {})
    assert switch.hear() == (ECHO_REPLY, 77, b'hello')


@pytest.mark.parametrize('said, flows, ports', [
    ([], False, {}), ([message(STATS_REPLY, 2, b'anything')], True, {}),
    ([update(DELETED, COPIES, OWNER)], True, {}), ([update(DELETED, LEARNED, OWNER)], False, {}),
    ([update(DELETED, COPIES, SILENCING), update(MODIFIED, COPIES, SILENCING)], False, {}),
    ([status('vif1.0', FLOODED)], False, {'vif1.0': True}),
    ([status('vif1.0', HIDDEN)], False, {'vif1.0': False}),
    ([status('vif1.0', HIDDEN), status('vif1.0', FLOODED)], False, {'vif1.0': True}),
    ([status('vif1.0', HIDDEN), status('tap1.0', FLOODED), message(STATS_REPLY)], True,
     {'vif1.0': False, 'tap1.0': True}),
    ([status('a' * 16, HIDDEN | 1)], False, {'a' * 16: False}),
    ([message(99), message(STATS_REPLY)], True, {})])
def test_news(switch, monitor, said, flows, ports):
    switch.say(*said)
    assert monitor.read()[:3] == (True, flows, ports)
    assert monitor.read()[:3] == (True, False, {})


def update(event, table, cookie):
    """Return what is reported of one flow."""
    return struct.pack('!HHHHHHHBxQ8x', 32, event, 0, 1, 0, 0, 0, table, cookie)


def updates(*some):
    return message(STATS_REPLY, 2, struct.pack('!HHII4x', 0xffff, 0, 0x2320, 2) + b''.join(some))


@pytest.mark.parametrize('said, flows, come, gone', [
    ([updates()], False, set(), set()),
    ([updates(update(ADDED, 235, 7), update(ADDED, 235, 8))], False, {7, 8}, set()),
    ([updates(update(DELETED, 235, 7))], True, set(), {7}),
    ([updates(update(MODIFIED, 235, 7))], True, {7}, set()),
    ([updates(update(DELETED, 0, 7))], True, set(), set()),
    # where the switch learns it changes flows by itself, as often as guests like
    ([updates(update(MODIFIED, 237, 7), update(DELETED, 237, 8))], False, set(), set()),
    ([updates(update(MODIFIED, 237, 7), update(DELETED, 0, 8))], True, set(), set()),
    ([updates(update(DELETED, 235, 7)), updates(update(ADDED, 235, 7))], True, {7}, set()),
    ([updates(update(ADDED, 235, 7), update(DELETED, 235, 7))], True, set(), {7})])
def test_headers_that_come_and_go(switch, monitor, said, flows, come, gone):
    switch.say(*said)
    assert monitor.read() == (True, flows, {}, come, gone)
    assert monitor.read() == (True, False, {}, set(), set())


def test_a_link_that_flaps_is_no_news(switch, monitor):
    """Which a guest may do all day; and ports come and go."""
    switch.say(status('vif1.0', HIDDEN))
    assert monitor.read().ports == {'vif1.0': False}
    for link_down in (1, 0, 1):
        switch.say(status('vif1.0', HIDDEN | link_down))
        assert monitor.read()[:3] == (True, False, {})
    switch.say(status('vif1.0', HIDDEN, DELETED), status('vif1.0', HIDDEN))
    assert monitor.read().ports == {'vif1.0': False}


def test_in_pieces(switch, monitor):
    text = status('vif1.0', FLOODED) + message(STATS_REPLY, 2, b'x' * 300) + message(ECHO, 5, b'y')
    news = []
    for index in range(len(text)):
        switch.say(text[index:index + 1])
        news.append(monitor.read())
    assert [index for index, one in enumerate(news) if one.ports] == [63]
    assert [index for index, one in enumerate(news) if one.flows] == [63 + 308]
    assert all(one.alive for one in news) and switch.hear() == (ECHO_REPLY, 5, b'y')


@pytest.mark.parametrize('text', [b'\1\2', message(PORT_STATUS), message(PORT_STATUS, 0, b'\2'),
                                  message(CONFIG_REPLY), struct.pack('!BBHI', 1, 99, 0, 0) * 3])
def test_nonsense_is_survived(switch, monitor, text):
    switch.say(text)
    assert monitor.read().alive
    switch.say(b'\0' * 8, message(STATS_REPLY))
    assert monitor.read().alive


def test_the_end(switch, monitor):
    switch.say(message(STATS_REPLY))
    switch.end.close()
    assert monitor.read()[:3] == (False, True, {})
    assert monitor.fileno() == -1 and monitor.read()[:3] == (False, False, {})
    assert monitor.connect()        # the listener still is
    switch.end = None
    switch.accept()
    switch.say(status('vif1.0', HIDDEN))
    assert monitor.read()[:3] == (True, False, {'vif1.0': False})
