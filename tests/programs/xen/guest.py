"""A real guest of the Dom0 that we are in: built as xenopsd builds one, its VIF plugged by udev."""
import re
import subprocess
import time
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence

from sandbox import metadata, seals
from sandbox.metadata import VifRecord
from sandbox.toolstack import Domain, Toolstack, home_of
from sandbox.vm import policy_keys
from sandbox.xenstored import Dom0Connection

HOOKS = '/usr/libexec/xsisolate'
CONSOLE = '/var/log/xen/console/guest-%s.log'
BACKEND = '/local/domain/0/backend/vif/%d/0'
GATEWAY = ('10.99.0.254', 'fd99::fe')
RECORD = 'cookie=0x58495352'       # of what was refused: the switch learns and forgets it
GO_ON = '[ -z "$(xenstore-read test-cmd/stop 2>/dev/null)" ]'
# An emulated machine that shares its cores with other work.
PATIENCE_S = 180.0     # on a quiet machine a guest boots in ten
YOUNG_S = 60.0
CONFIG = '''\
name="{0.name}"
uuid="{0.domain.uuid}"
type="{0.kind}"
ramdisk="/root/domu/initrd.gz"
vcpus=1
on_poweroff="destroy"
on_reboot="destroy"
on_crash="destroy"
{0.hardware}'''
HARDWARE = '''\
kernel="/root/domu/vmlinux"
extra="console=hvc0 loglevel=3 net.ifnames=0"
memory=128
'''


class Broken(Exception):
    """Dom0 or a guest did not do what it was told: nothing can be said of the hooks."""


class Done(NamedTuple):
    """What a program, here or in a guest, came to."""

    code: int
    text: str


def sh(*argv: str, check: bool = True, timeout: float = PATIENCE_S) -> Done:
    """Run a program in Dom0."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout)
    text = done.stdout.decode('utf-8', 'replace')
    if check and done.returncode:
        raise Broken('%s: exit %d: %s' % (' '.join(argv), done.returncode, text.strip()))
    return Done(done.returncode, text)


def wait(what: str, condition: Callable[[], object], patience: float = PATIENCE_S) -> float:
    """Wait until something is true; return for how long."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > patience:
            raise Broken('%s: not within %d s' % (what, patience))
        time.sleep(0.02)
    return time.monotonic() - began


class Sender:
    """Who can send whole Ethernet frames."""

    name = ipv4 = ipv6 = ''
    vif: VifRecord

    def load(self, frames: Mapping[str, bytes]) -> None:
        """Prepare to send frames; they go by the word that each carries."""

    def send(self, frames: Mapping[str, bytes]) -> str:
        """Send frames that have been loaded; return what came of it."""
        raise NotImplementedError


class Guest(Sender):
    """A VM that starts, and starts again; its domain id is another one each time."""

    said = 0            # commands, over all guests: each has a number of its own
    hardware, patience = HARDWARE, PATIENCE_S

    def __init__(self, store: Dom0Connection, name: str, number: int, bridge: str,
                 policy: Mapping[str, str], kind: str = 'pv', script: str = 'vif-noop') -> None:
        self.store, self.name, self.script, self.kind = store, name, script, kind
        self.toolstack = Toolstack(store, HOOKS + '/setup-vif-rules', HOOKS + '/vif')
        self.ipv4, self.ipv6 = '10.99.0.%d' % number, 'fd99::%d' % number
        self.domain = Domain(0, '00000000-0000-4000-8000-%012d' % number, name)
        self.vif = VifRecord(0, '00:16:3e:99:00:%02x' % number, bridge,
                             '00000000-0000-4000-9000-%012d' % number,
                             '00000000-0000-4000-a000-000000000001')
        own = {'vif/0/ipv4': self.ipv4, 'vif/0/ipv6': self.ipv6}
        self.policy = dict(policy, **own) if policy else {}
        self.uuid, self.unpaused = self.domain.uuid, 0.0    # a domain that moves has another uuid
        self.vm_data: Mapping[str, str] = policy_keys(self.policy)

    @property
    def device(self) -> str:
        """The VIF's netdev in Dom0."""
        return 'vif%d.0' % self.domain.domid

    @property
    def backend(self) -> str:
        """Dom0's half of the VIF, in xenstore."""
        return BACKEND % self.domain.domid

    def create(self, saved: str = '') -> None:
        """Build the domain, paused and without a VIF; if it was saved to a file, it goes on."""
        sh('xl', *(('restore', '-p', self.config(), saved) if saved else
                   ('create', '-q', '-p', self.config())))
        self.enter()

    def config(self) -> str:
        """Write the domain's configuration; return its path."""
        path = '/tmp/%s.cfg' % self.name
        with open(path, 'w') as file:
            file.write(CONFIG.format(self))
        return path

    def enter(self) -> None:
        """Write what xenopsd writes of a domain that xl has made."""
        self.domain = self.domain._replace(domid=int(sh('xl', 'domid', self.name).text))
        self.toolstack.create(self.domain, self.vm_data)

    def describe_vif(self) -> None:
        """Write the VIF's metadata and the keys that only Dom0 sees; sealed, as an admin would."""
        if self.policy:
            seal = seals.seal(self.uuid, self.vif, self.policy)
            self.vif = self.vif._replace(other_config={'xsisolate-seal': seal})
        metadata.write(self.domain.uuid, self.vif)
        self.store.write('/vm/%s/devices/vif/0' % self.domain.uuid, '1')
        self.store.write('/xenops/domain/%d/device/vif/0/backend' % self.domain.domid,
                         self.backend)
        self.toolstack.write_private(self.domain, self.vif)

    def plug(self) -> float:
        """Have Xen make the VIF; udev fires the hook. Return after how long it has answered."""
        self.describe_vif()
        began = time.monotonic()
        sh('xl', 'network-attach', str(self.domain.domid), 'mac=' + self.vif.mac,
           'bridge=' + self.vif.bridge, 'script=' + self.script)
        wait('%s: hook of %s' % (self.name, self.device), self.is_answered)
        return time.monotonic() - began

    def is_answered(self) -> bool:
        """Tell whether the hook has told xenopsd how it went."""
        return bool(self.store.get(self.backend + '/hotplug-status')
                    or self.store.get(self.backend + '/hotplug-error'))

    def boot(self) -> None:
        """Let the guest run, until its shell is there and its NIC is configured."""
        seen, self.unpaused = self.console().count('@@U guest up'), time.monotonic()
        sh('xl', 'unpause', str(self.domain.domid))
        wait('%s boots' % self.name, lambda: self.console().count('@@U guest up') > seen,
             self.patience)
        self.configure()

    def configure(self) -> None:
        """Give the guest's NIC its addresses."""
        self.run('for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] && break; sleep 1; '
                 'done; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up;'
                 'ip addr flush dev eth0 scope global; ip addr add %s/24 dev eth0;'
                 'ip -6 addr add %s/64 dev eth0; ip route add default via %s;'
                 'ip -6 route add default via %s' % ((self.ipv4, self.ipv6) + GATEWAY))

    def fell_early(self) -> bool:
        """Tell whether Xen says that it ended in a triple fault, in its first minute.

        Where the emulated processor virtualizes, it does that now and then. Whoever found out
        has waited for an answer since.
        """
        fault = r'\bd%dv\d+ Triple fault' % self.domain.domid
        return (time.monotonic() - self.unpaused < YOUNG_S + self.patience
                and bool(re.search(fault, sh('xl', 'dmesg').text)))

    def start(self) -> float:
        """All of it; return how long the plug took."""
        self.create()
        seconds = self.plug()
        self.boot()
        return seconds

    def console(self) -> str:
        """Return what the guest, in all its lives, has said."""
        try:
            with open(CONSOLE % self.name, errors='replace') as file:
                return file.read().replace('\r', '')
        except OSError:
            return ''

    def run(self, command: str, patience: float = PATIENCE_S) -> Done:
        """Have root in the guest run a shell command."""
        return self.end(self.begin(command), patience)

    def begin(self, command: str) -> int:
        """Have the guest begin a command; `end` waits for it."""
        Guest.said += 1
        folder = home_of(self.domain) + '/test-cmd'
        self.store.rm(folder + '/stop')
        self.store.write(folder + '/cmd', command)
        self.store.write(folder + '/seq', str(Guest.said))
        return Guest.said

    def stop(self) -> None:
        """Tell what the guest has begun that it is enough, if it asks: see GO_ON."""
        self.store.write(home_of(self.domain) + '/test-cmd/stop', '1')

    def so_far(self, number: int) -> str:
        """Return what a command has said that the guest has begun."""
        return self.console().partition('@@U begin %d:' % number)[2]

    def end(self, number: int, patience: float = PATIENCE_S) -> Done:
        """Wait for a command; return how it ended and what it said."""
        pattern = re.compile(r'@@U begin %d: .*?\n(.*)@@U end %d rc=(\d+)' % (number, number),
                             re.DOTALL)
        wait('%s answers' % self.name, lambda: pattern.search(self.console()), patience)
        found = pattern.search(self.console())
        assert found
        return Done(int(found.group(2)), found.group(1))

    def load(self, frames: Mapping[str, bytes]) -> None:
        """Leave frames in a file: a value in xenstore has room for a few only."""
        self.run('rm -f /tmp/frames')
        texts = [frame.hex() for frame in frames.values()]
        for at in range(0, len(texts), 8):
            self.run('echo %s >> /tmp/frames' % ' '.join(texts[at:at + 8]))

    def send(self, frames: Mapping[str, bytes]) -> str:
        """Send the frames that have been loaded; return what came of it."""
        return self.run('frames send $(cat /tmp/frames)').text

    def hear(self, words: Iterable[str]) -> int:
        """Begin to listen for frames that carry these words, until told to stop."""
        return self.begin('frames hear 300 %s & while %s; do sleep 0.5; done; kill $!; wait $!' % (
            ' '.join(words), GO_ON))

    def pings(self, address: str) -> bool:
        """Tell whether an address answers."""
        return self.run('ping -c 2 -W 2 ' + address).code == 0

    def unplug(self) -> float:
        """Have the VIF unplugged; return after how long its port is gone from the bridge."""
        began = time.monotonic()
        sh('xl', 'network-detach', str(self.domain.domid), '0')
        wait('%s leaves its bridge' % self.device,
             lambda: self.device not in ports(self.vif.bridge))
        return time.monotonic() - began

    def destroy(self) -> float:
        """End the domain; return after how long its port is gone from the bridge."""
        began = time.monotonic()
        sh('xl', 'destroy', str(self.domain.domid))
        return self.bury(began)

    def bury(self, began: float) -> float:
        """Wait until a domain that ended has left the switch, and remove xenopsd's keys."""
        wait('%s leaves its bridge' % self.device,
             lambda: self.device not in ports(self.vif.bridge))
        seconds = time.monotonic() - began
        for path in ('/xapi/' + self.domain.uuid, '/vm/' + self.domain.uuid,
                     '/xenops/domain/%d' % self.domain.domid):
            self.store.rm(path)
        return seconds


def ports(bridge: str) -> List[str]:
    """Return the names of a bridge's ports."""
    return sh('ovs-vsctl', 'list-ports', bridge).text.split()


def flows(bridge: str) -> List[str]:
    """Return all flows of a bridge, without what changes by itself: counts, and the record."""
    found = sh('ovs-ofctl', '-O', 'OpenFlow14', '--no-stats', 'dump-flows', bridge).text
    return sorted(line.strip().replace('reset_counts ', '') for line in found.splitlines()
                  if 'actions=' in line and RECORD not in line)


def hear(guests: Sequence[Guest], seconds: int = 2) -> Dict[str, Dict[str, Dict[int, bool]]]:
    """Have all guests ping all others, in both families: {from: {to: {4: True, 6: False}}}."""
    begun = {}
    for guest in guests:
        pings = ' '.join('(ping -c3 -W%d %s >/dev/null 2>&1 && echo HEARD %s %d) &' % (
            seconds, address, other.name, version)
            for other in guests if other is not guest
            for version, address in ((4, other.ipv4), (6, other.ipv6)))
        begun[guest.name] = guest.begin(pings + ' wait')
    heard: Dict[str, Dict[str, Dict[int, bool]]] = {}
    for guest in guests:
        text = guest.end(begun[guest.name]).text
        heard[guest.name] = {other.name: {version: 'HEARD %s %d\n' % (other.name, version) in text
                                          for version in (4, 6)}
                             for other in guests if other is not guest}
    return heard
