"""Plugs, unplugs, re-groups, crashes and restarts at random, and checks what must be true.

    python -m soak MINUTES [SEED]          make soak MINUTES=10 SEED=4711

A flood of forbidden frames runs all the time. After each step nothing forbidden has been
heard, the daemon (or a sync, where it is dead) has left exactly the desired flows, a second
sync is empty, and everybody is heard where he may be. A seed replays the same steps.
"""
import random
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Optional

from sandbox import seals
from sandbox.daemon import Watch
from sandbox.flood import Flood
from sandbox.hooks import Call, Hooks
from sandbox.injection import killed_at
from sandbox.process import LabError, wait_until
from sandbox.pythons import for_hooks
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from sandbox.wire import XenstoreError

from support.flooded_host import BRIDGES, CONFIG, FloodedHost, command
from support.flooded_vms import CLOSED, FREE, ISOLATED, LOCKED, Rights, FloodedVms

FEW, MANY = 4, 9                # VMs at least, and at most
SETTLE_S = 25.0                 # ovs-vswitchd may wait 8 s before it asks a dead database again
CALLS = 500                     # a hook has fewer
FAIL_CLOSED = CONFIG.replace('"*":\n', '"*":\n    fail_closed: true\n')
KINDS = [Rights(ISOLATED, frozenset(groups), bridge) for bridge in BRIDGES
         for groups in (('red',), ('blue',), ('red', 'blue'))]
KINDS += [Rights(mode, bridge=bridge) for bridge in BRIDGES for mode in (FREE, LOCKED, CLOSED)]


class Soak:
    """What lives, and what may happen to it."""

    def __init__(self, scene: FloodedHost, daemon: Watch, rng: random.Random) -> None:
        self.scene, self.host, self.town = scene, scene.host, scene.town
        self.daemon, self.rng = daemon, rng
        self.steps: Counter[str] = Counter()
        self._numbers: Dict[str, int] = {}      # of addresses, by name
        self._last = 0
        self._changing: Dict[str, Rights] = {}

    # --- one step ------------------------------------------------------------------------------

    def step(self) -> str:
        """Do something, and check that all is as it should be; return what was done."""
        does = self.rng.choice(self.possible())
        said = does()
        self.steps[does.__name__] += 1
        self.check()
        return '%s%s' % (does.__name__.replace('_', ' '), said and ': ' + said)

    def possible(self) -> List[Callable[[], str]]:
        """Return what can be done now; what is there twice is twice as likely."""
        actions: List[Callable[[], str]] = []
        if len(self.town.residents) < MANY:
            actions += [self.plug] * 3 + [self.kill_a_plug] * 2
        if len(self.town.residents) > FEW:
            actions += [self.shut_down] * 2 + [self.crash_a_vm, self.kill_an_unplug]
        return actions + [
            self.regroup, self.regroup, self.regroup_without_a_hook, self.kill_a_refresh,
            self.reboot, self.migrate, self.move, self.lock_by_xapi, self.burst,
            self.guest_writes_vm_data, self.crash_the_switch, self.restart_the_switch,
            self.crash_the_database, self.crash_the_daemon, self.hang_the_daemon,
            self.delete_flows, self.restrict_protocols, self.set_a_controller,
            self.break_the_configuration]

    def check(self) -> None:
        """Fail unless everything is as it should be; changes are over then."""
        self.settle()
        self.scene.nothing_forbidden()
        for name, rights in self._changing.items():
            if name in self.town.residents:
                self.town.done(name, rights)
        self._changing.clear()
        self.scene.synced()
        self.scene.all_talk()
        self.scene.nothing_forbidden()

    def settle(self) -> None:
        """Wait until the switch carries what it should."""
        try:
            wait_until(lambda: command('sync', '--dry-run').code == 0, 'the daemon', SETTLE_S)
        except LabError:
            done = command('sync', '--dry-run')
            raise AssertionError('still wrong after %g s: %s%s\nthe daemon said: %s' % (
                SETTLE_S, done.out, done.err, self.daemon.said()[-2000:])) from None

    def pick(self) -> Vm:
        """Return a VM."""
        return self.town.residents[self.rng.choice(sorted(self.town.residents))].vm

    def change(self, vm: Vm, rights: Rights) -> None:
        """Begin a change that ends with the step."""
        self.town.change(vm.name, rights)
        self._changing[vm.name] = rights

    def rights(self, vm: Vm) -> Rights:
        """Return a VM's rights."""
        return self._changing.get(vm.name) or self.town.rights(vm.name)

    def run(self, *calls: Call, codes: object = (0,)) -> None:
        """Make calls of hooks, all at once."""
        for result in self.host.hooks.run(*calls, timeout=60):
            assert 'Traceback' not in result.stderr, result
            assert result.code in codes, result         # type: ignore[operator]

    # --- VMs come and go -----------------------------------------------------------------------

    def begin(self) -> Vm:
        """Start a VM of any kind; no hook has run for it."""
        self._last += 1
        rights, name = self.rng.choice(KINDS), 'vm%d' % self._last
        used = set(self._numbers.values())
        number = next(number for number in range(10, 250) if number not in used)
        self._numbers[name] = number
        return self.scene.begin(rights, number, name)

    def plug(self) -> str:
        """A VM starts."""
        vm = self.begin()
        self.run(self.scene.online(vm))
        return describe(vm.name, self.rights(vm))

    def kill_a_plug(self) -> str:
        """The hook of a VM that starts is killed; the event comes again."""
        vm, number = self.begin(), self.rng.randrange(1, CALLS)
        killed_at(self.host.hooks, self.scene.online(vm), number)
        self.scene.nothing_forbidden()
        self.run(self.scene.online(vm))
        return '%s, at its call %d' % (vm.name, number)

    def shut_down(self) -> str:
        """A VM shuts down."""
        vm = self.pick()
        self.leave(vm, self.scene.remove(vm))
        return vm.name

    def kill_an_unplug(self) -> str:
        """The hook of a VM that shuts down is killed, and nobody repeats it."""
        vm, number = self.pick(), self.rng.randrange(1, CALLS)
        before = dict(self.town.residents)
        self.forget(vm)
        vm.cut(0)
        killed_at(self.host.hooks, self.scene.remove(vm), number)
        self.scene.nothing_forbidden(before)
        self.end(vm)
        return '%s, at its call %d' % (vm.name, number)

    def crash_a_vm(self) -> str:
        """A VM crashes: its devices are gone, and no hook runs."""
        vm = self.pick()
        before = dict(self.town.residents)
        self.forget(vm)
        vm.crash()
        self.scene.nothing_forbidden(before)
        return vm.name

    def leave(self, vm: Vm, call: Call) -> None:
        """Let a VM go."""
        before = dict(self.town.residents)
        self.forget(vm)
        vm.cut(0)
        self.run(call)
        self.scene.nothing_forbidden(before)
        self.end(vm)

    def forget(self, vm: Vm) -> None:
        """Strike a VM off the list."""
        self.town.leave(vm.name)
        del self._numbers[vm.name]

    def end(self, vm: Vm) -> None:
        """Remove what the toolstack has of a VM."""
        self.host.toolstack.remove_vif(vm.domain, vm.vifs[0])
        vm.plugged = []
        vm.shutdown()

    def reboot(self) -> str:
        """A VM reboots into the next domain."""
        vm = self.pick()
        following = vm.reboot()
        self.town.settle(following, self._numbers[vm.name], self.rights(vm))
        return '%s, domain %d now' % (vm.name, following.domid)

    def migrate(self) -> str:
        """A VM migrates to this very host."""
        vm = self.pick()
        incoming = self.host.migrate_in(vm)
        vm.depart()
        self.town.settle(incoming, self._numbers[vm.name], self.rights(vm))
        incoming.arrive()
        self.run(self.scene.refresh(incoming))
        return '%s, domain %d now' % (vm.name, incoming.domid)

    # --- policies change -----------------------------------------------------------------------

    def regroup(self) -> str:
        """An admin writes another policy, and the toolstack runs the hook."""
        vm = self.pick()
        said = self.write_policy(vm)
        self.run(self.scene.refresh(vm))
        return said

    def regroup_without_a_hook(self) -> str:
        """The same, and the daemon has to see it."""
        return self.write_policy(self.pick())

    def kill_a_refresh(self) -> str:
        """The hook that brings a new policy is killed."""
        vm, number = self.pick(), self.rng.randrange(1, CALLS)
        said = self.write_policy(vm)
        killed_at(self.host.hooks, self.scene.refresh(vm), number)
        return '%s, at its call %d' % (said, number)

    def write_policy(self, vm: Vm) -> str:
        """Write a policy for a VM that stays on its bridge, sealed."""
        rights = self.rng.choice(KINDS)._replace(bridge=self.rights(vm).bridge)
        self._changing[vm.name] = rights
        self.scene.regroup(vm, self._numbers[vm.name], rights)
        return describe(vm.name, rights)

    def move(self) -> str:
        """A VIF moves to the other bridge."""
        vm = self.pick()
        here = self.rights(vm)
        there = here._replace(bridge=next(name for name in BRIDGES if name != here.bridge))
        self.change(vm, there)
        vm.set_vif(bridge=there.bridge, network_uuid=self.host.network_uuid(there.bridge))
        self.run(self.host.hooks.moved(vm.domain, vm.vifs[0])[0])
        return describe(vm.name, there)

    def lock_by_xapi(self) -> str:
        """XAPI disables a VIF, and lets it go again."""
        vm = self.pick()
        before = self.rights(vm)
        self.change(vm, Rights(CLOSED, bridge=before.bridge))
        vm.set_locking('disabled')
        self.check()
        self.change(vm, before)
        vm.set_locking('unlocked')
        return vm.name

    def guest_writes_vm_data(self) -> str:
        """A guest's root wants another group; the admin writes what was meant again."""
        vm = self.pick()
        before = self.rights(vm)
        self.town.change(vm.name, Rights(CLOSED, bridge=before.bridge))
        self._changing[vm.name] = before
        try:
            vm.xenstore.write('vm-data/xsisolate/groups', self.rng.choice(('red', 'blue')))
            vm.xenstore.write('vm-data/xsisolate/mode', 'unlocked')
            said = 'heard'
        except XenstoreError:
            said = 'refused'
        time.sleep(0.3)
        self.scene.nothing_forbidden()
        vm.set_policy(self.scene.policy(self._numbers[vm.name], before))
        return '%s, %s' % (vm.name, said)

    def burst(self) -> str:
        """Many hooks at once, some of them twice."""
        vms = [self.pick() for _ in range(6)]
        self.write_policy(vms[0])
        calls = [self.rng.choice((self.scene.refresh, self.scene.online))(vm) for vm in vms]
        self.run(*calls)
        return '%d hooks' % len(calls)

    # --- the host ------------------------------------------------------------------------------

    def crash_the_switch(self) -> str:
        """ovs-vswitchd crashes; its monitor would start it again."""
        self.host.ovs.kill_vswitchd()
        self.host.ovs.start_vswitchd()
        return ''

    def restart_the_switch(self) -> str:
        """A planned restart, as systemd does it with our drop-in."""
        held = command('hold')
        assert held.code == 0, held
        self.host.ovs.restart_vswitchd()
        released = command('release')
        assert released.code == 0, released
        return ''

    def crash_the_database(self) -> str:
        """ovsdb-server crashes, and comes back."""
        self.host.ovs.kill_database()
        self.host.ovs.start_database()
        self.scene.wait_for_switch()
        return ''

    def crash_the_daemon(self) -> str:
        """Our daemon is killed while policies change, and started again."""
        self.daemon.signal(signal.SIGKILL)
        said = self.write_policy(self.pick())
        if self.rng.random() < 0.5:
            self.host.ovs.kill_vswitchd()
            self.host.ovs.start_vswitchd()
            assert command('sync').code == 0
        self.daemon.start_again()
        return said

    def hang_the_daemon(self) -> str:
        """Our daemon stands still while things happen."""
        self.daemon.signal(signal.SIGSTOP)
        try:
            return self.regroup()
        finally:
            self.daemon.signal(signal.SIGCONT)

    def delete_flows(self) -> str:
        """Somebody deletes flows of ours."""
        table = self.rng.choice((0, 200, 201, 207, 208, 227, 228, 229, 230, 234, 235))
        bridge = self.rng.choice(BRIDGES)
        self.host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', bridge, 'table=%d' % table)
        self.forgive_a_moment()
        return '%s, table %d' % (bridge, table)

    def forgive_a_moment(self) -> None:
        """What somebody with Dom0's root has opened is open until the daemon has seen it."""
        self.settle()
        self.host.ovs.settle()
        self.town.flood.report()

    def restrict_protocols(self) -> str:
        """Xen Orchestra restricts a bridge to OpenFlow 1.1."""
        self.host.ovs.set_bridge(self.rng.choice(BRIDGES), 'protocols=[OpenFlow11]')
        return ''

    def set_a_controller(self) -> str:
        """A controller that does not answer comes, or goes."""
        bridge = self.rng.choice(BRIDGES)
        if self.host.ovs.vsctl('get-controller', bridge):
            self.host.ovs.vsctl('del-controller', bridge)
            return bridge + ' has none now'
        self.host.ovs.vsctl('set-controller', bridge, 'tcp:127.0.0.1:6653')
        return bridge

    def break_the_configuration(self) -> str:
        """An admin's slip in the configuration; the daemon keeps to what it was before."""
        self.host.configure('version: 1\nnetworks: [oops\n')
        time.sleep(1.2)
        self.scene.nothing_forbidden()
        self.host.configure(FAIL_CLOSED)
        return ''


def describe(name: str, rights: Rights) -> str:
    """Return `vm7 isolated red on xenbr0`."""
    return ' '.join([name, rights.mode, *sorted(rights.groups), 'on', rights.bridge])


@contextmanager
def soaking(seed: int, python: Optional[str] = None) -> Iterator[Soak]:
    """Set the scene: two bridges that fail closed, a few VMs, the daemon."""
    with Sandbox(Hooks(python or sys.executable), sealer=seals.seal) as host:
        host.configure(FAIL_CLOSED)
        for bridge in BRIDGES:
            host.add_bridge(bridge)
        flood, daemon = Flood(), Watch(python or sys.executable)
        try:
            daemon.start()
            soak = Soak(FloodedHost(host, FloodedVms(flood)), daemon, random.Random(seed))
            for _ in range(FEW):
                soak.plug()
            soak.check()
            yield soak
            daemon.stop()
        finally:
            flood.stop()
            daemon.close()


def main(argv: List[str]) -> int:
    """Soak for some minutes."""
    minutes = float(argv[1]) if len(argv) > 1 else 10.0
    seed = int(argv[2]) if len(argv) > 2 else random.SystemRandom().randrange(1 << 32)
    print('soak: %g minutes, seed %d' % (minutes, seed), flush=True)
    end, number = time.monotonic() + minutes * 60, 0
    with soaking(seed, for_hooks()) as soak:
        while time.monotonic() < end:
            began, number = time.monotonic(), number + 1
            said = soak.step()
            print('%5d  %4.1f s  %2d VMs  %s' % (number, time.monotonic() - began,
                                                len(soak.town.residents), said), flush=True)
    print(summary(soak, seed))
    print('%d passed, 0 failed' % number)
    return 0


def summary(soak: Soak, seed: int) -> str:
    """Return what was survived."""
    kinds = ', '.join('%d %s' % (count, name.replace('_', ' '))
                      for name, count in sorted(soak.steps.items()))
    return ('soak, seed %d: %d steps survived (%s); %d frames sent, %d heard where they may be, '
            '0 elsewhere' % (seed, sum(soak.steps.values()), kinds, soak.town.frames,
                             soak.town.heard))


if __name__ == '__main__':
    sys.exit(main(sys.argv))
