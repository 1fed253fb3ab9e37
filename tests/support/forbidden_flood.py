"""A guest that sends what its policy forbids, frame after frame, while others live beside it.

The same guest is held, permissive, or at a switch without a flow of ours: what the flood costs is
told of all three.
"""
import glob
import os
import socket
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple

from sandbox.agent import close_all_but
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox
from sandbox.enter import CLONE_NEWNET, check
from sandbox.host import Host
from sandbox.pinging import pinging
from sandbox.process import LIBC, LabError, die_with_parent
from sandbox.vm import Vm

from support.command import xsisolate
from support.packets import frames as f
from support.refusing_town import Party
from support.vm_events import refresh
from xsisolate.openflow.ownership import MARKED

CONFIG = '''\
version: 1
unsealed: accept
grace: 0
networks:
  "*": {subnets: [10.9.0.0/24]}
'''
PLAIN, ENFORCED, PERMISSIVE = 'plain', 'enforced', 'permissive'
UNRECORDED = 'unrecorded'       # enforced, and the switch records nothing
ENDED = 'table=%d,priority=9' % MARKED
RATE = 50_000           # frames a second
VOLLEY = 50             # frames between two looks at the clock
PINGS = 100             # a second
NOBODY = '10.9.0.200'   # the target's kernel answers nothing that is for it
MIXER = 2654435761      # odd: all of 32 bits come before one comes again
SOURCE_MAC, SOURCE, TARGET = slice(8, 12), slice(26, 30), slice(30, 34)
SOURCE_PORT, TARGET_PORT = slice(34, 36), slice(36, 38)

Numbered = Callable[[bytearray, int], None]     # makes a frame the nth


def _ports(frame: bytearray, number: int) -> None:
    frame[TARGET_PORT] = (number & 0xffff).to_bytes(2, 'big')
    frame[SOURCE_PORT] = (1024 + (number >> 16)).to_bytes(2, 'big')


def _mixed(where: slice) -> Numbered:
    def write(frame: bytearray, number: int) -> None:
        frame[where] = (number * MIXER & 0xffffffff).to_bytes(4, 'big')
    return write


KINDS: Mapping[str, Numbered] = {
    'the port': _ports, 'the address asked': _mixed(TARGET), 'the own address': _mixed(SOURCE),
    'the MAC address': _mixed(SOURCE_MAC)}


class Cost(NamedTuple):
    """What a flood came to."""

    arrived: int            # frames that the switch has looked at
    passed: int             # frames that were delivered
    seconds: float
    switch: float           # CPU time
    daemon: float
    recorder: float
    grown: int              # KiB that daemon and recorder need more
    lost: int               # of the neighbours' pings
    pings: int

    def told(self) -> str:
        """Return a line about it."""
        return ('%9d frames in %5.1f s, %7d passed: switch %5.2f s (%4.1f us a frame), daemon %.2f,'
                ' recorder %.2f s, %+d KiB; %d of %d pings lost' % (
                    self.arrived, self.seconds, self.passed, self.switch,
                    1e6 * self.switch / max(self.arrived, 1), self.daemon, self.recorder,
                    self.grown, self.lost, self.pings))


class FloodScene:
    """Who floods, who is asked for, another whose record must stay, and two who talk."""

    def __init__(self, host: Sandbox) -> None:
        self.host = host
        host.configure(CONFIG)
        self.vms: Dict[str, Vm] = {}
        self.policies: Dict[str, Dict[str, str]] = {}
        for name, number, group in (('evil', 11, 'red'), ('quiet', 21, 'blue'),
                                    ('one', 51, 'web'), ('two', 52, 'web'), ('target', 99, '')):
            own = {'vif/0/ipv4': '10.9.0.%d' % number, 'groups': group}
            self.policies[name] = own if group else {}
            self.vms[name] = host.start_vm(name, 'xenbr0', ipv4='10.9.0.%d/24' % number,
                                           policy=self.policies[name] or None)
        for one, other in (('one', 'two'), ('two', 'one')):
            self.vms[one].ip('neigh replace %s lladdr %s dev eth0 nud permanent' % (
                self.vms[other].address(), self.vms[other].mac))

    @contextmanager
    def held(self, how: str) -> Iterator[None]:
        """Have the guest's policy enforced, judged only, or no flow of ours in the switch."""
        ofctl = self.host.ovs.ofctl
        if how == PLAIN:
            ofctl('del-flows', 'xenbr0')
            ofctl('add-flow', 'xenbr0', 'priority=0,actions=NORMAL')
        else:
            self._write_policy('yes' if how == PERMISSIVE else 'no')
        if how == UNRECORDED:
            ofctl('add-flow', 'xenbr0', ENDED + ',actions=drop')
        self.host.ovs.settle()
        self._introduce()
        try:
            yield
        finally:
            if how == UNRECORDED:
                ofctl('--strict', 'del-flows', 'xenbr0', ENDED)
            if how == PLAIN:
                xsisolate('sync')

    def _write_policy(self, permissive: str) -> None:
        self.vms['evil'].set_policy(dict(self.policies['evil'], permissive=permissive))
        refresh(self.vms['evil'])

    def _introduce(self) -> None:
        """Have the two who talk say where they are: a plain switch learns it."""
        for one, other in (('one', 'two'), ('two', 'one')):
            self.vms[one].call('ping', [self.vms[other].address()], 0.1, 0, '')

    def end(self) -> None:
        """Let the VMs go."""
        for vm in self.vms.values():
            vm.shutdown()

    def frame(self, sender: str, port: int = 1) -> bytes:
        """Return a SYN to somebody whom the sender's policy does not name."""
        mine, theirs = (self.vms[name] for name in (sender, 'target'))
        return bytes(f.tcp(Party(mine.mac, mine.address(), ''), Party(theirs.mac, NOBODY, ''),
                           40000, port))

    def say(self, sender: str, port: int) -> None:
        """Have a guest send one of these; it has been judged when this returns."""
        self.vms[sender].send(self.frame(sender, port))
        self.vms[sender].call('ping', [], 0, 0, '')
        self.host.ovs.settle()

    def flood(self, kind: str, count: int, watch: Watch) -> Cost:
        """Have the guest send so many frames of a kind, and return what that came to."""
        processes = [self.switch(), watch.pid, recorder_of(watch)] if watch.process else [
            self.switch()]
        heard, looked = self.heard(), self.looked()
        memory, used = memory_of(processes[1:]), [cpu_of(pid) for pid in processes]
        with pinging(self.vms['one'], self.vms['two'].address(), PINGS) as pings:
            seconds = send(self.vms['evil'], self.frame('evil'), KINDS[kind], count)
            time.sleep(0.5)         # until the switch has looked at all
        spent = [cpu_of(pid) - before for pid, before in zip(processes, used)]
        return Cost(self.looked() - looked, self.heard() - heard, seconds, *(
            spent if watch.process else [*spent, 0.0, 0.0]),
            memory_of(processes[1:]) - memory, len(pings.lost), pings.sent)

    def switch(self) -> int:
        """Return the switch's process."""
        assert self.host.ovs.vswitchd
        return self.host.ovs.vswitchd.pid

    def heard(self) -> int:
        """Return how many frames the target has been sent."""
        with open('/sys/class/net/%s/statistics/tx_packets' % self.vms['target'].netdev()) as count:
            return int(count.read())

    def looked(self) -> int:
        """Return how many frames the switch has looked at."""
        line = next(line for line in self.host.ovs.appctl('dpctl/show').splitlines()
                    if 'lookups:' in line)
        return sum(int(word.partition(':')[2]) for word in line.split()[1:])

    def recorded(self, table: int) -> List[str]:
        """Return what a table of the record holds of what the guest has sent."""
        return [line for line in self.host.ovs.ofctl(
            '-O', 'OpenFlow14', '--no-names', 'dump-flows', 'xenbr0', 'table=%d' % table)
            .splitlines() if 'in_port=%d' % self.host.ovs.ofport(self.vms['evil'].netdev()) in line]


def send(host: Host, frame: bytes, write: Numbered, count: int, rate: float = RATE) -> float:
    """Have a machine send a frame so often, each time another; return the seconds that it took."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            close_all_but(2)
            _send(host.pid, bytearray(frame), write, count, rate)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise LabError('the flood has not been sent')
    return time.monotonic() - began


def _send(pid: int, frame: bytearray, write: Numbered, count: int, rate: float) -> None:
    with open('/proc/%d/ns/net' % pid) as namespace:
        check(LIBC.setns(namespace.fileno(), CLONE_NEWNET), 'setns')
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(('eth0', 0))
        began = time.monotonic()
        for first in range(0, count, VOLLEY):
            for number in range(first, min(first + VOLLEY, count)):
                write(frame, number)
                wire.send(frame)
            time.sleep(max(began + first / rate - time.monotonic(), 0))


def recorder_of(watch: Watch) -> int:
    """Return the process of the daemon's child that keeps the record."""
    for path in glob.glob('/proc/[0-9]*/stat'):
        try:
            with open(path) as stat, open(path[:-4] + 'cmdline', 'rb') as command:
                parent = int(stat.read().rsplit(')', 1)[1].split()[1])
                if parent == watch.pid and b'recorder' in command.read():
                    return int(path.split('/')[2])
        except OSError:
            pass        # it has ended
    raise LabError('the daemon has no recorder')


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU time that a process's threads have used."""
    used = 0
    for path in glob.glob('/proc/%d/task/*/schedstat' % pid):
        with open(path) as statistics:
            used += int(statistics.read().split()[0])
    return used / 1e9


def memory_of(pids: List[int]) -> int:
    """Return the resident memory of processes in KiB."""
    total = 0
    for pid in pids:
        with open('/proc/%d/status' % pid) as status:
            total += int(next(line.split()[1] for line in status if line.startswith('VmRSS:')))
    return total
