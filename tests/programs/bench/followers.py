"""Many followers of one XAPI: `python -m bench.followers`, no root, real JSON-RPC.

    bench.followers --followers 64 --vms 5000 --groups 200 --migrations 1000 --rate 10

Each follower is the daemon's child in a process with files of its own; XAPI is the fake one, in
this process, and Open vSwitch is left out. Records are as large as XAPI's. VMs then migrate at a
rate, as in a rolling update: each is an event of the VM and one of its VIF. Printed are the CPU of
a follower, the bytes that XAPI sent, and how late the files were of the host that a VM leaves and
of the one to which it comes.

The fake XAPI keeps an answer that many followers ask for, as text: 64 times five thousand VMs would
take it minutes to write. What a follower reads is the same.
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
from typing import AbstractSet, Any, Dict, List, NamedTuple, Tuple

from bench.following import NETWORK, events_of
from sandbox.pythons import for_hooks
from sandbox.xapidb import Database, Effects, Record
from sandbox.xapiserver import Encoded, XapiServer

TICKS = os.sysconf('SC_CLK_TCK')
START_S = 600.0
LATE_S = 30.0
POLL_S = 0.02
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

    def group_file(self, group: str) -> str:
        """Return where it has the members of a group that are on other hosts."""
        return '%s/run/xsisolate/groups/%s.json' % (self.root, group)


def uuid_of(number: int) -> str:
    """Return a host's uuid."""
    return '5f2c09d1-0a1b-4c2d-8e3f-%012d' % number


class Pool(Database):
    """XAPI's database, which finds and writes an answer once, however many ask for it."""

    def __init__(self) -> None:
        super().__init__(Effects())
        self.sent = 0               # bytes of events
        self._found: Dict[Tuple[int, int], List[Record]] = {}
        self._written: Dict[Tuple[str, str], Encoded] = {}

    def respond(self, method: str, params: Any) -> Any:
        """Answer a message; root's local session needs no password."""
        if method == 'session.login_with_password':
            return self.open_session('pool-admin')
        result = self.answer(method, params)
        if method != 'event.from':
            return result
        with self.lock:
            key = (params[2], result['token'])
            if key not in self._written:
                self._written[key] = Encoded(json.dumps(result))
            text = self._written[key]
            self.sent += len(text)
        return text

    def _events(self, wanted: AbstractSet[str], since: int, with_deleted: bool) -> List[Record]:
        key = (since, self.generation)      # all followers want the same classes
        if key not in self._found:
            self._found[key] = super()._events(wanted, since, with_deleted)
        return self._found[key]

    def forget(self) -> None:
        """Forget the answers so far."""
        with self.lock:
            self._found.clear()
            self._written.clear()


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


class Awaited(NamedTuple):
    """A group's file that has to change: it lists members on other hosts only."""

    path: str
    mac: str
    is_member: bool
    since: float

    def has_come(self) -> bool:
        """Tell whether the file says so."""
        try:
            with open(self.path) as file:
                return (self.mac in file.read()) == self.is_member
        except OSError:
            return False


class Migrations:
    """VMs that migrate, and what has yet to be heard of them."""

    def __init__(self, db: Database, hosts: List[Host], groups: int) -> None:
        self._db, self._hosts, self._groups = db, hosts, groups
        self._awaited: List[Awaited] = []
        self.late: List[float] = []

    def begin(self, number: int) -> None:
        """Have a VM leave its host for the next one."""
        count, group = len(self._hosts), 'group-%d' % (number % self._groups)
        mac = str(self._db.get('VIF', 'vif-%d' % number)['MAC'])
        here = int(str(self._db.get('VM', 'vm-%d' % number)['resident_on']).rpartition('-')[2])
        there = (here + 1) % count
        began = time.monotonic()
        self._db.set('VM', 'vm-%d' % number, resident_on='host-%d' % there)
        self._db.set('VIF', 'vif-%d' % number, field_0='OpaqueRef:%f' % began)
        self._awaited += [Awaited(self._hosts[here].group_file(group), mac, True, began),
                          Awaited(self._hosts[there].group_file(group), mac, False, began)]

    def look(self) -> None:
        """See what has been written."""
        now, left = time.monotonic(), []
        for one in self._awaited:
            if one.has_come():
                self.late.append(now - one.since)
            elif now - one.since > LATE_S:
                raise SystemExit('followers: %s has not changed for %g s' % (one.path, LATE_S))
            else:
                left.append(one)
        self._awaited = left

    def are_heard(self) -> bool:
        """Tell whether nothing is awaited."""
        return not self._awaited


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    for name, default, text in (('followers', 64, 'followers'), ('vms', 5000, 'VMs'),
                                ('groups', 200, 'isolation groups'),
                                ('migrations', 1000, 'migrations'),
                                ('rate', 10, 'migrations a second')):
        parser.add_argument('--' + name, type=int, default=default, metavar='N',
                            help='how many %s (default: %d)' % (text, default))
    size = parser.parse_args()
    folder = tempfile.mkdtemp(prefix='xsisolate-followers-')
    db = Pool()
    fill(db, size.followers, size.vms, size.groups)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(folder + '/xapi')
    listener.listen(256)
    server = XapiServer(listener, db.respond)
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


def measure(db: Pool, hosts: List[Host], size: Any) -> None:
    """Print what the followers need."""
    began = time.monotonic()
    while not all(host.is_there() for host in hosts):
        if time.monotonic() - began > START_S:
            raise SystemExit('followers: not all of them follow after %g s' % START_S)
        time.sleep(0.5)
    cpu = sorted(host.cpu() for host in hosts)
    print('%d followers, %d VMs in %d groups' % (len(hosts), size.vms, size.groups))
    print('all of them follow after %.1f s; XAPI has sent %.0f MB; of one follower: CPU %.2f s '
          '(busiest %.2f), memory %d MiB' % (
              time.monotonic() - began, db.sent / 1e6, median(cpu), cpu[-1],
              median(host.memory() for host in hosts)), flush=True)
    db.forget()
    time.sleep(5)               # what they do when they have begun
    db.sent, before = 0, [host.cpu() for host in hosts]
    late, took = migrate(db, hosts, size)
    cpu = sorted(host.cpu() - known for host, known in zip(hosts, before))
    print('%d migrations in %.1f s; files after %.2f s (median), %.2f s (of 100, 99), %.2f s '
          '(latest)' % (size.migrations, took, median(late), late[len(late) * 99 // 100], late[-1]))
    print('XAPI sent each follower %.1f kB for each' % (
        db.sent / len(hosts) / size.migrations / 1e3))
    print('CPU of one follower: %.2f ms for each, %.1f %% of a core (busiest %.2f ms, %.1f %%)' % (
        median(cpu) / size.migrations * 1000, median(cpu) / took * 100,
        cpu[-1] / size.migrations * 1000, cpu[-1] / took * 100))
    print('memory of one follower: %d MiB' % median(host.memory() for host in hosts))


def migrate(db: Pool, hosts: List[Host], size: Any) -> Tuple[List[float], float]:
    """Have VMs migrate; return how late each file was, the latest last, and how long all took."""
    migrations, began, done = Migrations(db, hosts, size.groups), time.monotonic(), 0
    while done < size.migrations or not migrations.are_heard():
        due = min(int((time.monotonic() - began) * size.rate) + 1, size.migrations)
        while done < due:
            migrations.begin(done * 7 % size.vms)
            done += 1
        migrations.look()
        time.sleep(POLL_S)
    return sorted(migrations.late), time.monotonic() - began


if __name__ == '__main__':
    raise SystemExit(main())
