"""A pool that runs already: taken over permissively, watched, given policies, and then enforced."""
import json
import shlex
import time
from typing import Callable, Dict, List, NamedTuple

from demo import frames
from demo.frames import Party
from demo.screen import Screen
from demo.session import Line, Session, show
from sandbox.installed import install, restart_toolstack
from sandbox.pool import CONFIG, Pool, PoolVm
from sandbox.poolhost import BRIDGE, GATEWAY
from sandbox.uplink import OUTSIDE

CONFIGURATION = CONFIG.replace('networks:\n  "*":\n', 'networks:\n  "*":\n    default: isolated\n')
FILE = '/etc/xsisolate/xsisolate.yaml'
NUMBERS = {'web': 11, 'db': 12, 'monitor': 14, 'backup': 15, 'noisy': 66}
THERE = ('db', 'backup')        # on the second host
PORTS = (22, 5432, 9100)
NOISE = 'noisy'
PING = 0
SOON_S = 0.5                    # an answer takes milliseconds
ROUNDS = 3                      # of suggest and set, at most
LAST_S = 2.0                    # how inexactly the switch knows when a frame was the last
START_S = 3.0                   # until a command reads the record, at most
PINGS = 100                     # at least, of 250 a second
NOISE_IS = frozenset(['10.9.0.66', 'fd00:9::66'])
EXCEPT = tuple(word for name in (NOISE, *sorted(NOISE_IS)) for word in ('--except', name))
# A flow that a careless controller might add: it passes everything.
SABOTAGE = 'priority=65535,actions=NORMAL'


class Talk(NamedTuple):
    """Something that the VMs do all day: a TCP connection to a port, or a ping."""

    source: str
    target: str                 # a VM, or `outside`
    port: int
    version: int = 4


TALKS = (Talk('web', 'db', 5432), Talk('web', 'db', 5432, 6), Talk('web', 'outside', PING),
         Talk('monitor', 'web', 9100), Talk('monitor', 'db', 9100), Talk('monitor', 'web', PING),
         Talk('monitor', 'db', PING), Talk('backup', 'web', 22), Talk('backup', 'db', 22))
SCANS = (Talk(NOISE, 'web', 22), Talk(NOISE, 'db', 5432))
ALL = len(SCANS) + 2            # things that the noisy neighbour does


class Street:
    """The VMs of the pool, and what they do."""

    def __init__(self, session: Session) -> None:
        self.session, self.pool = session, session.pool
        alpha, beta = session.pool.hosts
        self.vms: Dict[str, PoolVm] = {
            name: self.pool.start_vm(name, beta if name in THERE else alpha, number)
            for name, number in NUMBERS.items()}
        for vm in self.vms.values():
            self.pool.ask(vm, 'serve', *PORTS)
        self.who = {name: Party(str(self.pool.vif(vm)['MAC']), vm.ipv4, vm.ipv6)
                    for name, vm in self.vms.items()}
        self.who['gateway'] = Party(GATEWAY.mac, *GATEWAY.routers())

    def works(self, talk: Talk) -> bool:
        """Tell whether a connection can be opened and used, or a ping is answered."""
        vm, address = self.vms[talk.source], OUTSIDE[0]
        if talk.target != 'outside':
            other = self.vms[talk.target]
            address = other.ipv4 if talk.version == 4 else other.ipv6
        if talk.port == PING:
            return bool(self.pool.ask(vm, 'ping', address, SOON_S))
        return bool(self.pool.ask(vm, 'tcp', address, talk.port, SOON_S))

    def see_talk(self, text: str) -> None:
        """Say how much works of what the VMs do all day; all of it should."""
        works = sum(self.works(talk) for talk in TALKS)
        self.session.remark('%s: %d of %d conversations work' % (text, works, len(TALKS)),
                            lambda: works == len(TALKS))

    def see_noise(self, due: int) -> None:
        """Say how much gets through of what the noisy neighbour does, and see that it is due."""
        me, web, monitor = (self.who[name] for name in (NOISE, 'web', 'monitor'))
        passed = [self.works(talk) for talk in SCANS] + [
            self.sees('monitor', frames.pong(web, monitor, me.mac)),
            self.sees('web', next(frames.poison(me, web, self.who['gateway'])))]
        self.pool.ask(self.vms['web'], 'flush_neighbours')
        self.session.remark(
            'noisy opens tcp/22 of web and tcp/5432 of db, says it is web, says it is the gateway: '
            '%d of %d get through' % (sum(passed), len(passed)), lambda: sum(passed) == due)

    def sees(self, victim: str, sent: bytes) -> bool:
        """Let the noisy neighbour send a frame; tell whether another VM sees it."""
        vm = self.vms[victim]
        self.pool.ask(vm, 'sniff')
        self.pool.ask(self.vms[NOISE], 'send', sent)
        return any(frames.signature(sent) in seen for seen in self.pool.ask(vm, 'sniffed'))

    def pinged(self, work: Callable[[], object]) -> None:
        """Do something while monitor, on alpha, pings db, on beta; see that no ping is lost."""
        alpha = self.pool.hosts[0]
        alpha.call('start_pings', self.vms['monitor'].uuid, self.vms['db'].ipv4)
        try:
            work()
        finally:
            sent, lost = alpha.call('stop_pings')
        self.session.remark('monitor has pinged db all the while: %d pings, %d lost'
                            % (sent, len(lost)), lambda: not lost and sent >= PINGS)

    def have_a_day(self, text: str) -> float:
        """Let policies settle, let all VMs talk, and return when that began."""
        self.session.settle()
        time.sleep(LAST_S)
        began = time.time()
        self.see_talk(text)
        self.see_noise(ALL)
        return began

    def lacking(self, began: float) -> List[List[str]]:
        """Return the commands that hosts suggest because of what was said since then."""
        commands = []
        for host in self.pool.hosts:
            said = self.session.admin('suggest', '--since', since(began), *EXCEPT, host=host)
            commands += [shlex.split(line)[1:] for line in said.splitlines()
                         if line.startswith('  xsisolate set ')]
        return commands

    def see_record(self, began: float) -> None:
        """See that nothing is recorded since then but what the noisy neighbour has part in."""
        rows = [row for host in self.pool.hosts
                for row in json.loads(host.run('refused', '--json').stdout)['refused']]
        noise = NOISE_IS | {self.who[NOISE].mac}
        found = [row for row in rows if row['last'] > began and noise.isdisjoint(
            [row[end][key] for end in ('source', 'target') for key in ('address', 'mac')])]
        self.session.remark('recorded of all conversations but noisy\'s: %d kinds of frames'
                            % len(found), lambda: not found)


def since(began: float) -> str:
    """Return a time for --since that begins then, with a command that takes a while to start."""
    return '%ds' % (time.time() - began + START_S)


def play(session: Session, sabotage: bool) -> None:
    """Isolate a pool that runs, in the steps of docs/rollout.md."""
    alpha, beta = session.pool.hosts
    street = Street(session)
    street.see_talk('five VMs run on the stock hooks')
    street.see_noise(ALL)
    session.admin('check', FILE)
    street.pinged(lambda: session.admin('pool', 'activate', '--permissive'))
    for host in (alpha, beta):
        restart_toolstack(host)
        session.daemons.append(host.start_daemon())
    session.settle()
    session.admin('pool', 'status')
    street.see_talk('nothing breaks')
    for name, vm in street.vms.items():
        session.admin('set', name, '--mode', 'isolated', '--ipv4', vm.ipv4, '--ipv6', vm.ipv6,
                      brief=True)
    began = street.have_a_day('a day goes by, and nothing breaks')
    session.admin('refused', NOISE, '--since', since(began))
    session.admin('refused', 'backup', '--since', since(began), host=beta)
    commands = street.lacking(began)
    for _ in range(ROUNDS):
        if not commands:
            break
        for command in commands:
            session.admin(*command, brief=True)
        began = street.have_a_day('another day goes by')
        commands = street.lacking(began)
    street.see_record(began)
    session.admin('pool', 'matrix')
    session.admin('enforce', NOISE)
    street.see_noise(0)
    street.pinged(lambda: (session.admin('enforce', 'db'),
                           session.admin('pool', 'enforce', '--all')))
    session.settle()
    if sabotage:
        alpha.call('ovs', 'add_flow', BRIDGE, SABOTAGE)
    street.see_talk('all policies are enforced')
    street.see_noise(0)
    session.admin('pool', 'status')


def work(python: str, sabotage: bool = False) -> List[Line]:
    """Play it on a pool of its own; return what to print."""
    with Pool(CONFIGURATION, pythons=(python, python)) as pool:
        install(pool.hosts)
        session = Session(pool)
        try:
            play(session, sabotage)
        finally:
            session.stop()
    return session.lines


def show_rollout(screen: Screen, python: str) -> bool:
    """Play it and print it; return whether all came out as it should."""
    screen.progress('isolating a pool of two hosts that runs already')
    return show(screen, 'A pool that runs already: taken over, watched, given policies, enforced',
                lambda: work(python))
