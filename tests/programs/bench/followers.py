"""Many followers of one XAPI: `python -m bench.followers`, no root, real XML-RPC and JSON.

    bench.followers --followers 64 --vms 500 --groups 20 --changes 100

Each follower is the daemon's child in a process with files of its own; XAPI is the fake one, in
this process, and Open vSwitch is left out. VMs then migrate one after the other, as in a rolling
update. Printed are the CPU of a follower for each change, and how late its files were.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from statistics import median
from typing import Any, Dict, List

from bench.following import NETWORK, events_of
from sandbox.pythons import for_hooks
from sandbox.xapidb import Database, Effects
from sandbox.xapiserver import XapiServer

TICKS = os.sysconf('SC_CLK_TCK')
START_S = 180.0
LATE_S = 30.0
CHILD = '''
import sys
from xsisolate.dom0.xapi import session, transport
from xsisolate.networkd.pif_records import Outcome
from xsisolate.pool import follower
session.SOCKET = transport.SOCKET = sys.argv[2]


class NoSwitch:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


follower.Ovsdb = NoSwitch
follower.tell = lambda *_: Outcome([], [], {})
sys.argv[1:] = []
follower.main()
'''


class Host:
    """One follower, with the files of its host."""

    def __init__(self, folder: str, number: int, socket_path: str) -> None:
        self.root = os.path.join(folder, 'host-%d' % number)
        os.makedirs(self.root + '/etc')
        os.makedirs(self.root + '/run/xsisolate/groups')
        with open(self.root + '/etc/xensource-inventory', 'w') as file:
            file.write("INSTALLATION_UUID='%s'\n" % uuid_of(number))
        self.process = subprocess.Popen(
            [for_hooks(), '-c', CHILD, '2', socket_path], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, XSISOLATE_ROOT=self.root))

    def cpu(self) -> float:
        """Return the seconds of CPU that it has taken."""
        with open('/proc/%d/stat' % self.process.pid) as file:
            fields = file.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Return its memory in MiB."""
        with open('/proc/%d/status' % self.process.pid) as file:
            found = [line.split()[1] for line in file if line.startswith('VmRSS')]
        return int(found[0]) // 1024

    def is_there(self) -> bool:
        """Tell whether it follows."""
        try:
            with open(self.root + '/run/xsisolate/pool.json') as file:
                return bool(json.load(file)['connected'])
        except (OSError, ValueError):
            return False

    def knows(self, group: str, mac: str) -> bool:
        """Tell whether a MAC address is in a group's file."""
        try:
            with open('%s/run/xsisolate/groups/%s.json' % (self.root, group)) as file:
                return mac in file.read()
        except OSError:
            return False


def uuid_of(number: int) -> str:
    """Return a host's uuid."""
    return '5f2c09d1-0a1b-4c2d-8e3f-%012d' % number


def fill(db: Database, hosts: int, vms: int, groups: int) -> None:
    """Have a pool of hosts and VMs."""
    for number in range(hosts):
        db.add('host', 'host-%d' % number, uuid=uuid_of(number), name_label='host', enabled=True,
               other_config={})
    db.add('pool', master='host-0', other_config={})
    db.add('network', 'network', **NETWORK)
    for number in range(vms):
        for one in events_of(number, number % hosts, number % groups):
            kind = {'vm': 'VM', 'vif': 'VIF'}[one['class']]
            db.add(kind, one['ref'], **one['snapshot'])


def migrate(db: Database, hosts: List[Host], number: int, groups: int) -> float:
    """Have a VM come to the first host; return after how long that host has heard of it."""
    vm, group = 'vm-%d' % number, 'group-%d' % (number % groups)
    mac = str(db.get('VIF', 'vif-%d' % number)['MAC'])
    began = time.monotonic()
    db.set('VM', vm, resident_on='host-0')
    while hosts[0].knows(group, mac):       # it is no member elsewhere any more
        if time.monotonic() - began > LATE_S:
            return LATE_S
        time.sleep(0.005)
    return time.monotonic() - began


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    for name, default, text in (('followers', 64, 'followers'), ('vms', 500, 'VMs'),
                                ('groups', 20, 'isolation groups'), ('changes', 100, 'migrations')):
        parser.add_argument('--' + name, type=int, default=default, metavar='N',
                            help='how many %s (default: %d)' % (text, default))
    size = parser.parse_args()
    folder = tempfile.mkdtemp(prefix='xsisolate-followers-')
    db = Database(Effects())
    fill(db, size.followers, size.vms, size.groups)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(folder + '/xapi')
    listener.listen(256)
    server = XapiServer(listener, lambda method, params: answer(db, method, params))
    hosts = [Host(folder, number, folder + '/xapi') for number in range(size.followers)]
    try:
        measure(db, hosts, size)
    finally:
        db.close()
        for host in hosts:
            host.process.send_signal(signal.SIGKILL)
            host.process.wait()
        server.stop()
        shutil.rmtree(folder)
    return 0


def answer(db: Database, method: str, params: Any) -> Any:
    """Answer a message; root's local session needs no password."""
    if method == 'session.login_with_password':
        return db.open_session('pool-admin')
    return db.answer(method, params)


def measure(db: Database, hosts: List[Host], size: Any) -> None:
    """Print what the followers need."""
    began = time.monotonic()
    while not all(host.is_there() for host in hosts):
        if time.monotonic() - began > START_S:
            raise SystemExit('followers: not all of them follow after %g s' % START_S)
        time.sleep(0.1)
    print('%d followers, %d VMs in %d groups' % (len(hosts), size.vms, size.groups))
    print('all of them follow after %.1f s; CPU of one until then: %.2f s; memory %d MiB' % (
        time.monotonic() - began, median(host.cpu() for host in hosts),
        median(host.memory() for host in hosts)))
    before = idle(hosts)
    start, late = time.monotonic(), []
    for at in range(size.changes):
        number = at * 7 % size.vms
        if db.get('VM', 'vm-%d' % number)['resident_on'] != 'host-0':
            late.append(migrate(db, hosts, number, size.groups))
    spent = [host.cpu() - known for host, known in zip(hosts, before.values())]
    took = time.monotonic() - start
    print('%d migrations in %.1f s: heard after %.2f s (median), %.2f s (latest)' % (
        len(late), took, median(late), max(late)))
    print('CPU of one follower: %.1f ms for each, %.1f %% of a core; the busiest %.1f ms' % (
        median(spent) / len(late) * 1000, median(spent) / took * 100,
        max(spent) / len(late) * 1000))


def idle(hosts: List[Host]) -> Dict[int, float]:
    """Wait a moment; return what each follower has taken by then."""
    time.sleep(2)
    return {at: host.cpu() for at, host in enumerate(hosts)}


if __name__ == '__main__':
    raise SystemExit(main())
