"""An admin at work on a pool of two hosts: real commands, and what came of each."""
import re
import time
from typing import Callable, List, NamedTuple, Optional

from demo import template
from demo.screen import Screen
from sandbox.active import CONF, activate, shell
from sandbox.pool import CONFIG, Pool, PoolVm
from sandbox.poolhost import Daemon, PoolHost
from sandbox.process import LabError

FILE = '/run/pool.yaml'
PATIENCE_S = 10.0
WIDTH = 118
UUID = re.compile('([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
SAVED = ' ' * 24            # columns, where a uuid is shortened


class Line(NamedTuple):
    """Something that was done, and whether it came out as it should."""

    text: str
    fine: bool = True


class Session:
    """Does one thing after the other, and keeps what is to be printed."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.lines: List[Line] = []
        self.daemons: List[Daemon] = []

    def stop(self) -> None:
        """Stop the daemons."""
        for daemon in self.daemons:
            daemon.stop()

    def admin(self, *words: str, code: int = 0, host: Optional[PoolHost] = None,
              brief: bool = False) -> str:
        """Run a command on a host, or on the first; return what it prints.

        `brief`: show the last line of it.
        """
        host = host or self.pool.hosts[0]
        done = host.run(*words)
        self.lines.append(Line('[root@%s ~]# xsisolate %s' % (host.name, ' '.join(
            "'%s'" % word if ' ' in word else word for word in words))))
        said = (done.stdout + done.stderr).splitlines()
        self.lines += [Line(cut(line)) for line in (said[-1:] if brief else said)]
        if code or done.returncode:
            self.lines.append(Line('(exit code %d)' % done.returncode, done.returncode == code))
        return done.stdout

    def remark(self, text: str, true: Callable[[], bool], wait: bool = True) -> None:
        """Say what is the case now, or with `wait` should be in a moment."""
        deadline = time.monotonic() + (PATIENCE_S if wait else 0)
        fine = true()
        while not fine and time.monotonic() < deadline:
            time.sleep(0.1)
            fine = true()
        self.lines.append(Line('  -- ' + text, fine))

    def settle(self) -> None:
        """Wait until the daemons have taken in what has changed; say what one has not."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            looks = [host.run('sync', '--dry-run', '--json') for host in self.pool.hosts]
            unsettled = [look.stdout + look.stderr for look in looks if look.returncode]
            if not unsettled or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.lines += [Line('  -- a daemon has not taken in: ' + line, False)
                       for said in unsettled for line in said.splitlines()]

    def reach(self, one: PoolVm, other: PoolVm) -> bool:
        """Tell whether two VMs reach each other, both ways."""
        return bool(self.pool.ask(one, 'ping', other.ipv4, 0.3)
                    and self.pool.ask(other, 'ping', one.ipv6, 0.3))

    def cut_off(self, one: PoolVm, other: PoolVm) -> bool:
        """Tell whether neither reaches the other."""
        return not (self.pool.ask(one, 'ping', other.ipv4, 0.3)
                    or self.pool.ask(other, 'ping', one.ipv6, 0.3))


def cut(line: str) -> str:
    """Return a line that fits, its uuids shortened, and with them the column of uuids."""
    line = UUID.sub(r'\1-...', line)
    if line.startswith('VM' + SAVED):
        line = line.replace(SAVED, '', 1)
    return line if len(line) <= WIDTH else line[:WIDTH - 3] + '...'


def work(python: str) -> List[Line]:
    """Play the session on a pool of its own; return what to print."""
    with Pool(pythons=(python, python)) as pool:
        session = Session(pool)
        session.daemons = [host.start_daemon() for host in pool.hosts]
        try:
            play(session)
        finally:
            session.stop()
    return session.lines


def play(session: Session) -> None:
    """Do what the admin does, and what a guest does meanwhile."""
    pool, (alpha, beta) = session.pool, session.pool.hosts
    web, db = pool.start_vm('web', alpha, 11), pool.start_vm('db', beta, 12)
    other = pool.start_vm('other', beta, 21)
    for vm in (web, db):
        session.admin('set', vm.name, '--groups', 'red', '--ipv4', vm.ipv4, '--ipv6', vm.ipv6)
    session.remark('web on alpha and db on beta reach each other, other reaches neither',
                   lambda: session.reach(web, db) and session.cut_off(other, web)
                   and session.cut_off(other, db))
    pool.migrate(db, alpha)
    session.remark('db migrates to alpha: still so', lambda: session.reach(web, db)
                   and session.cut_off(other, db))
    pool.stop(db)
    pool.start(db, beta)
    pool.guest_writes(db, 'vm-data/xsisolate/groups', 'blue')
    session.remark('after a reboot the root of db writes groups=blue into its vm-data',
                   lambda: session.cut_off(web, db) and session.cut_off(other, db))
    session.admin('seal', 'db', '--check', code=4)
    session.admin('set', 'db', '--groups', 'red', code=3)
    session.admin('set', 'db', '--replace', '--groups', 'red', '--ipv4', db.ipv4, '--ipv6', db.ipv6)
    session.remark('db is back in its group', lambda: session.reach(web, db))
    template.play(session)
    activate(pool.hosts)
    session.admin('pool', 'status')
    shell(alpha, 'cat > %s <<END\n%sgroups:\n  red: {rules: [icmp, icmp6]}\nEND' % (FILE, CONFIG))
    session.admin('pool', 'config', 'push', FILE)
    session.remark('the members of red may still ping each other', lambda: session.reach(web, db))
    session.settle()
    session.admin('pool', 'matrix')
    shell(beta, 'rm ' + CONF)
    session.admin('pool', 'status', code=1)


def show_session(screen: Screen, python: str) -> bool:
    """Play the session and print it; return whether all came out as it should."""
    screen.progress('an admin at work on a pool of two hosts')
    return show(screen, 'An admin at work on a pool of two hosts (XAPI is a fake, XenAPI.py the '
                'real one)', lambda: work(python))


def show(screen: Screen, title: str, work: Callable[[], List[Line]]) -> bool:
    """Print what comes of some work; return whether all came out as it should."""
    try:
        lines = work()
    finally:
        screen.progress('')
    screen.head(title)
    for line in lines:
        screen.say('  %s%s' % (line.text, '' if line.fine and not line.text.startswith('  -- ')
                               else ': ' + screen.verdict(line.fine)))
    if not lines:
        raise LabError('the session came to nothing')
    return all(line.fine for line in lines)
