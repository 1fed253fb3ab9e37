"""What the tests of Dom0's neighbours share: the sandbox, and servers that misbehave."""
import socket
import threading

import pytest
from sandbox.ovs import Ovs
from sandbox.process import ip
from sandbox.xenstored import Dom0Connection, Xenstored


@pytest.fixture(autouse=True)
def clean_environment(namespaces, monkeypatch):
    """Take away what the caller's shell says about Dom0."""
    for name in ('XSISOLATE_ROOT', 'XENSTORED_PATH', 'OVS_RUNDIR', 'OVS_DBDIR'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Move /run/xsisolate and xenopsd's files to a folder of the test's own."""
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    return tmp_path


@pytest.fixture(scope='module')
def xenstored(namespaces):
    """Run the real oxenstored."""
    daemon = Xenstored()
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def store(xenstored):
    """Give a client that is not ours, and an empty /test."""
    connection = Dom0Connection()
    connection.connect()
    connection.rm('/test')
    yield connection
    connection.close()


@pytest.fixture(scope='module')
def switch(namespaces):
    """Run the real Open vSwitch, with two bridges and a VLAN on the first."""
    ovs = Ovs()
    ovs.start()
    ovs.add_bridge('xenbr0')
    ovs.add_bridge('xenbr1')
    ovs.add_vlan_bridge('xapi3', 'xenbr0', 120)
    yield ovs
    ovs.stop()


@pytest.fixture
def ovs(switch):
    """Give the switch, with devices vif1.0 and vif2.0 that are on no bridge."""
    ip(['link add vif%d.0 type veth peer name peer%d' % (n, n) for n in (1, 2)])
    yield switch
    for name in ('vif1.0', 'vif2.0', 'vif9.0'):
        switch.vsctl('--if-exists', 'del-port', name)
    ip(['link del vif%d.0' % n for n in (1, 2)])


@pytest.fixture
def serve(tmp_path):
    """Let a function play the server on a unix socket; return the socket's path."""
    started = []

    def start(talk):
        path = str(tmp_path / 'socket')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)

        def accept():
            connection, _ = listener.accept()
            with connection:
                talk(connection)
        thread = threading.Thread(target=accept)
        thread.start()
        started.append((listener, thread))
        return path
    yield start
    for listener, thread in started:
        thread.join(5)
        listener.close()
