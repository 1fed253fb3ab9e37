"""The host under test, its guests, and what has been found out about them."""
import time
from typing import Dict, List, Sequence, Tuple

from sandbox.xenstored import Dom0Connection
from xen.guest import Broken, Done, Guest, Sender, hear, ports, sh, wait
from xen.lan import Lan

BRIDGE, NETWORK = 'xenbr0', '00000000-0000-4000-a000-000000000001'
VLAN, VLAN_BRIDGE, VLAN_NETWORK = 120, 'xapi120', '00000000-0000-4000-a000-000000000120'
LATE_S = 1.5            # for frames to arrive that are on their way
Frames = Dict[str, bytes]       # by the word that each carries


class World:
    """The host, its guests, and what has been found out."""

    lan: Lan

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.passed = self.failed = self.events = self.booted = self.fallen = 0
        self.packets = self.leaks = 0
        self.store = Dom0Connection()
        self.store.connect()
        self.guests: List[Guest] = []
        self.bare: List[str] = []

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print('%7.1f %s' % (time.monotonic() - self.began, text), flush=True)

    def check(self, what: str, held: bool, why: str = '') -> None:
        """Note whether something held; if not, show what Dom0 sees."""
        self.passed, self.failed = self.passed + bool(held), self.failed + (not held)
        complaint = ': ' + why if why and not held else ''
        self.say(('ok      ' if held else 'FAILED  ') + what + complaint)
        if not held:
            show_dom0()

    def tries(self, what: str, heard: bool, should: bool) -> None:
        """Note whether something that was said has come to where it should, or should not."""
        self.packets += 1
        self.leaks += heard and not should
        self.check('%s: %s' % (what, 'yes' if should else 'no'), heard is should)

    def hears_none(self, on: Guest, by: Sender, frames: Frames, how: str = 'forged') -> None:
        """Check that a guest hears none of these frames of another."""
        heard = listen(self, on, by, frames)
        leaks = sorted(word for word in frames if heard.get(word))
        self.leaks += len(leaks)
        self.check('%s hears none of %d %s frames of %s' % (on.name, len(frames), how, by.name),
                   not leaks and len(heard) == len(frames), ', '.join(leaks))

    def guest(self, name: str, number: int, policy: Dict[str, str], bridge: str = BRIDGE,
              kind: str = 'pv') -> Guest:
        """Start a guest, and see that its hook has let it in."""
        guest = Guest(self.store, name, number, bridge, policy, kind)
        self.start(guest)
        self.guests.append(guest)
        return guest

    def start(self, guest: Guest) -> None:
        """Start a guest, again or for the first time."""
        seconds = guest.start()
        self.events, self.booted = self.events + 1, self.booted + 1
        self.check('%s boots as domain %d; its hook has answered after %.1f s' % (
            guest.name, guest.domain.domid, seconds), self.is_let_in(guest), self.refusal(guest))

    def is_let_in(self, guest: Guest) -> bool:
        """Tell whether the hook has told xenopsd that all is well."""
        return (self.store.get(guest.backend + '/hotplug-status') == 'connected'
                and not self.store.get(guest.backend + '/hotplug-error')
                and guest.device in ports(guest.vif.bridge))

    def refusal(self, guest: Guest) -> str:
        """Return what the hook had to complain of."""
        return str(self.store.get(guest.backend + '/hotplug-error'))


def show_dom0() -> None:
    """Print what Dom0 sees."""
    for argv in (('xsisolate', 'status'), ('xsisolate', 'sync', '--dry-run'),
                 ('ovs-vsctl', 'show'), ('xl', 'list'), ('tail', '-n', '15', '/tmp/syslog')):
        print('    $ ' + ' '.join(argv))
        print('      ' + sh(*argv, check=False).text.strip().replace('\n', '\n      '), flush=True)


def in_order(world: World) -> None:
    """Check that the switch carries what it should."""
    found = sh('xsisolate', 'sync', '--dry-run', check=False)
    world.check('sync --dry-run finds nothing to do', found.code == 0, found.text)


def reach(world: World, members: Sequence[Tuple[str, str]]) -> None:
    """Have everybody ping everybody; only these pairs may hear each other."""
    heard = hear(world.guests)
    wanted = {frozenset(pair) for pair in members}
    for guest in world.guests:
        wrong = []
        for other, versions in heard[guest.name].items():
            should = frozenset((guest.name, other)) in wanted
            world.packets += len(versions)
            world.leaks += sum(there and not should for there in versions.values())
            wrong += ['IPv%d %s: %s' % (version, other, there)
                      for version, there in versions.items() if there is not should]
        friends = sorted(other for other in heard[guest.name]
                         if frozenset((guest.name, other)) in wanted)
        world.check('%s reaches %s, by IPv4 and IPv6' % (
            guest.name, 'only ' + ', '.join(friends) if friends else 'nobody'),
            not wrong, '; '.join(wrong))


def listen(world: World, on: Guest, by: Sender, frames: Frames) -> Dict[str, int]:
    """Have one send frames and a guest listen; return how many came, by word."""
    by.load(frames)
    number = on.hear(frames)
    try:
        wait('%s listens' % on.name, lambda: 'LISTENING' in on.so_far(number))
        sent = by.send(frames)
        time.sleep(LATE_S)
    finally:
        on.stop()
    if 'SENT %d' % len(frames) not in sent or 'send:' in sent:
        raise Broken('%s could not send: %s' % (by.name, sent))
    world.packets += len(frames)
    return {line.split()[1]: int(line.split()[2]) for line in on.end(number).text.splitlines()
            if line.startswith('HEARD ')}


def call_rules(world: World, guest: Guest) -> Done:
    """Do what VIF.set_locking_mode does."""
    world.events += 1
    return sh('/usr/libexec/xsisolate/setup-vif-rules', 'classic', guest.device,
              guest.domain.uuid, '0', 'filter', check=False)


def is_running(guest: Guest) -> bool:
    """Tell whether Xen still has the guest's domain."""
    return sh('xl', 'domname', str(guest.domain.domid), check=False).code == 0
