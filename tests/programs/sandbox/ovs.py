"""A private, real Open vSwitch: database and switch at their default paths."""
import json
import os
import signal
import socket
import subprocess
from typing import List, Optional, Set

from sandbox.process import LabError, run, start, stop, wait_until

RUN = '/run/openvswitch'
LOGS = '/var/log/openvswitch'
DATABASE = '/etc/openvswitch/conf.db'
SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
USER_SPACE, KERNEL = 'netdev', 'system'     # datapath_type
SOCKET = RUN + '/db.sock'
ANSWER_S = 10.0
LOOPS = 2               # of ovs-vswitchd, until what it was reading when it was asked has gone on
RECORD_COOKIE = 'cookie=0x58495352'


class Ovs:
    """ovsdb-server and ovs-vswitchd of one sandbox, with the tools that speak to them."""

    def __init__(self, datapath: str = USER_SPACE) -> None:
        self.datapath = datapath
        self.database: Optional['subprocess.Popen[bytes]'] = None
        self.vswitchd: Optional['subprocess.Popen[bytes]'] = None

    def start(self) -> None:
        """Start both daemons on an empty database."""
        if not os.path.exists(SCHEMA):
            raise LabError('Open vSwitch is not installed: no %s' % SCHEMA)
        if os.path.exists(DATABASE):
            os.unlink(DATABASE)
        run(['ovsdb-tool', 'create', DATABASE, SCHEMA])
        self.start_database()
        run(['ovs-vsctl', '--no-wait', 'init'])
        self.start_vswitchd()

    def start_database(self) -> None:
        """Start ovsdb-server and wait until it listens."""
        self.database = start(
            ['ovsdb-server', DATABASE, '--remote=punix:' + SOCKET, '--pidfile',
             '--log-file', '-vconsole:off', '-vsyslog:off'], LOGS + '/ovsdb-server.out')
        wait_until(is_listening, 'ovsdb-server')

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd and wait until it has made the bridges of its database."""
        self.vswitchd = start(
            ['ovs-vswitchd', 'unix:' + SOCKET, '--pidfile', '--log-file',
             '-vconsole:off', '-vsyslog:off'] + ['--disable-system'] * (self.datapath != KERNEL),
            LOGS + '/ovs-vswitchd.out')
        # ovs-vsctl waits until the switch has taken a change in, if it is one
        self.vsctl('set', 'Open_vSwitch', '.',
                   'external_ids:lab-vswitchd=%d' % self.vswitchd.pid)

    def stop(self) -> None:
        """Stop both daemons, the switch first so that it removes its taps."""
        self.stop_vswitchd()
        if self.database:
            stop(self.database)
            self.database = None

    def stop_vswitchd(self, sig: int = signal.SIGTERM) -> None:
        """End ovs-vswitchd, politely or not."""
        if self.vswitchd:
            stop(self.vswitchd, sig)
            self.vswitchd = None

    def kill_vswitchd(self) -> None:
        """Let ovs-vswitchd crash: its flows, ports and taps are gone, the database stays."""
        self.stop_vswitchd(signal.SIGKILL)

    def kill_database(self) -> None:
        """Let ovsdb-server crash; its file stays."""
        if self.database:
            stop(self.database, signal.SIGKILL)
            self.database = None
            os.unlink(SOCKET)

    def restart_vswitchd(self) -> None:
        """Stop ovs-vswitchd and start it again, with no flows saved."""
        self.stop_vswitchd()
        self.start_vswitchd()

    def vsctl(self, *args: str) -> str:
        """Run ovs-vsctl."""
        return run(['ovs-vsctl', '--timeout=10'] + list(args)).strip()

    def ofctl(self, *args: str, stdin: str = '') -> str:
        """Run ovs-ofctl."""
        return run(['ovs-ofctl'] + list(args), stdin=stdin)

    def appctl(self, *args: str) -> str:
        """Run ovs-appctl against ovs-vswitchd."""
        return run(['ovs-appctl'] + list(args))

    def add_bridge(self, bridge: str, *settings: str) -> None:
        """Add a bridge, with settings like fail_mode=secure."""
        self.vsctl('add-br', bridge, '--', 'set', 'Bridge', bridge,
                   'datapath_type=' + self.datapath, 'fail_mode=standalone', *settings)

    def add_vlan_bridge(self, bridge: str, parent: str, vlan: int) -> None:
        """Add a fake bridge, as xcp-networkd does for a VLAN network."""
        self.vsctl('add-br', bridge, parent, str(vlan))

    def set_bridge(self, bridge: str, *settings: str) -> None:
        """Change columns of a bridge: protocols=[OpenFlow11], fail_mode=secure, ..."""
        self.vsctl('set', 'Bridge', bridge, *settings)

    def add_flow(self, bridge: str, flow: str) -> None:
        """Add a flow and wait until packets feel it."""
        self.ofctl('add-flow', bridge, flow)
        self.settle()

    def del_flows(self, bridge: str, match: str, *args: str) -> None:
        """Delete flows, with --strict in `args` one, and wait until packets feel it."""
        self.ofctl(*args, 'del-flows', bridge, match)
        self.settle()

    def settle(self) -> None:
        """Wait until packets are judged by the flows as they are now.

        The switch caches verdicts, and looks through them only after it has said
        that a flow is in place: some milliseconds in which old flows still act.
        """
        if self.vswitchd:
            self.appctl('revalidator/purge')    # revalidator/wait takes half a second

    def drain(self) -> None:
        """Wait until the switch has passed on or dropped every frame that was sent before.

        The user-space datapath reads its ports' sockets in the main loop, and so does not answer
        before it is done with what it has read.
        """
        assert self.vswitchd
        pid = self.vswitchd.pid
        sockets = sockets_of(pid)
        wait_until(lambda: not unread(pid, sockets), 'the switch to read its ports')
        for _ in range(LOOPS):
            self.ask('version')

    def ask(self, method: str) -> None:
        """Have ovs-vswitchd answer, without the process that ovs-appctl is."""
        assert self.vswitchd
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_S)
            client.connect('%s/ovs-vswitchd.%d.ctl' % (RUN, self.vswitchd.pid))
            client.sendall(json.dumps({'id': 0, 'method': method, 'params': []}).encode())
            if not client.recv(65536):
                raise LabError('ovs-vswitchd hung up')

    def lose_device(self, netdev: str) -> None:
        """Let the switch notice that a device has vanished: its ofport becomes -1.

        The kernel's datapath loses a port together with the device, which makes
        ovs-vswitchd look at all ports again. The user-space one keeps it.
        """
        if self.vswitchd and self.ofport(netdev) > 0:
            self.appctl('dpctl/del-if', '%s@ovs-%s' % (self.datapath, self.datapath), netdev)
            self.vsctl('set', 'Open_vSwitch', '.', 'external_ids:lab-lost=' + netdev)

    def dump_flows(self, bridge: str, *args: str) -> List[str]:
        """Return the bridge's flows, a line each, without counters.

        What the switch has learned of refused frames is a count and not a flow of anybody's.
        """
        dump = self.ofctl('--no-stats', '--no-names', *args, 'dump-flows', bridge)
        return [line.strip() for line in dump.splitlines()
                if 'actions=' in line and not line.strip().startswith(RECORD_COOKIE)]

    def trace(self, bridge: str, flow: str) -> str:
        """Return what ofproto/trace says about a packet like 'in_port=1,ip,...'."""
        return self.appctl('ofproto/trace', bridge, flow)

    def ofport(self, interface: str) -> int:
        """Return the OpenFlow port number of an interface, -1 when it has none."""
        return int(self.vsctl('--if-exists', 'get', 'Interface', interface, 'ofport')
                   .strip('[]') or -1)


def is_listening() -> bool:
    """Tell whether the database answers; one that was killed has left its socket behind."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(SOCKET) == 0


def sockets_of(pid: int) -> Set[str]:
    """Return the inodes of a process's sockets."""
    folder, found = '/proc/%d/fd/' % pid, set()
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder + name)
        except OSError:
            continue        # closed meanwhile
        if target.startswith('socket:['):
            found.add(target[len('socket:['):-1])
    return found


def unread(pid: int, sockets: Set[str]) -> bool:
    """Tell whether frames wait at packet sockets; a line ends with memory, user and inode."""
    with open('/proc/%d/net/packet' % pid) as file:
        lines = [line.split() for line in file.readlines()[1:]]
    return any(line[-1] in sockets and line[-3] != '0' for line in lines)
