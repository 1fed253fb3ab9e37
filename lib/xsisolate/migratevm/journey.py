"""One VM's way, from the first look to the last: what is checked, what is said, what is done."""
import argparse
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from xsisolate.dom0.xapi.session import Xapi, one_line
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, HostError, UsageError
from xsisolate.migratevm import live, stream
from xsisolate.migratevm.cargo import (Cargo, Pool, Storage, find_cargo, find_storage, read_cargo,
                                       read_pool, remove_vm)
from xsisolate.migratevm.checks import Wanted, check_arrival, check_pools
from xsisolate.migratevm.isolation import (Guarded, check_networks, check_protection, find_portable,
                                           find_resealable, judge_vm, reseal)
from xsisolate.migratevm.measure import lasting, sized
from xsisolate.migratevm.progress import Progress, measure, say_event
from xsisolate.migratevm.tasks import Task

SUSPENDED = 'Suspended'
LIVE, STREAM = 'live', 'stream'
SNAPSHOT_S = 3600.0


class Journey:
    """A VM's way from one pool to another."""

    def __init__(self, source: Xapi, destination: Xapi, options: argparse.Namespace) -> None:
        self._source, self._destination, self._options = source, destination, options
        self._pool: Pool
        self._cargo: Cargo
        self._storage: Storage
        self._before: List[Guarded] = []

    def look(self, text: str, ask_storage: Callable[[str], str]) -> None:
        """Read both sides, and raise what forbids the move."""
        self._cargo = find_cargo(self._source, text)
        home, self._pool = read_pool(self._source), read_pool(self._destination)
        check_pools(home, self._pool)
        default = self._destination.call('SR.get_all_records').get(self._pool.default_sr, {})
        self._storage = find_storage(self._destination, self._pool,
                                     ask_storage(str(default.get('name_label', ''))))
        wanted = Wanted(self._options.name, self._options.copy)
        found = check_arrival(self._destination, self._cargo, self._storage, wanted)
        self._before = judge_vm(self._cargo.vm)
        for one in self._before:
            if not one.good:
                found.warnings.append('VIF %s: %s' % (one.vif.devid, one.complaint))
        found.check()
        found.warnings.extend(check_protection(self._destination, self._pool, self._before,
                                               self._options.allow_unprotected))
        found.warnings.extend(check_networks(self._destination, self._pool, self._cargo.networks,
                                             self._before, self._options.allow_unprotected))
        for warning in found.warnings:
            self._say(warning)

    def go(self) -> int:
        """Move the VM; return the exit code."""
        ticket = self._choose()
        method = STREAM if ticket is None else LIVE
        self._announce(method)
        if self._options.dry_run:
            return EXIT_DONE
        progress = Progress(self._options.json)
        try:
            if ticket is not None:
                ref = live.move(self._source, self._cargo, ticket, progress)
            elif self._options.snapshot and self._cargo.is_live:
                ref = self._send_snapshot(progress)
            else:
                ref = self._send(self._cargo, progress)
        finally:
            progress.close()
        return self._arrived(method, ref, progress)

    def _choose(self) -> Optional[live.Ticket]:
        """Return a ticket for XAPI's own migration, or None for a stream; raise what forbids it."""
        why = ''
        if self._options.method != STREAM and not self._options.snapshot and (
                self._options.compress == 'none'):
            try:
                return live.prepare(self._source, self._destination, self._cargo, self._pool,
                                    self._storage, self._options.copy)
            except HostError as error:
                if self._options.method == LIVE:
                    raise HostError('%s. Nothing was sent' % error) from error
                why = str(error)
                self._say('not by XAPI\'s own migration: %s' % why)
        if self._cargo.is_live and not self._options.snapshot:
            raise UsageError('the VM is %s, and a stream needs it halted: shut it down, or stream '
                             'a snapshot with --snapshot. Nothing was sent'
                             % self._cargo.vm.power_state.lower())
        return None

    def _send(self, cargo: Cargo, progress: Progress) -> str:
        """Stream a VM or a snapshot."""
        return stream.move(self._source, self._destination, stream.Order(
            cargo.vm.ref, cargo.vm.uuid, one_line(self._cargo.vm.name), self._storage.ref,
            self._options.copy, self._options.compress, self._options.stall,
            cargo.vm.power_state == SUSPENDED), progress)

    def _send_snapshot(self, progress: Progress) -> str:
        """Take a snapshot, stream it, and remove it."""
        name = 'migratevm: %s' % self._cargo.vm.name
        ref = self._source.call('Async.VM.snapshot', self._cargo.vm.ref, name, [])
        snapshot = ''
        try:
            with Task(self._source, str(ref)) as task:
                state = task.wait(SNAPSHOT_S)
                if state.failed or not state.references:
                    raise HostError('source: no snapshot: %s. Nothing was sent' % state.why)
                snapshot = state.references[0]
            return self._send(read_cargo(self._source, snapshot), progress)
        finally:
            if snapshot:
                try:
                    remove_vm(self._source, snapshot)
                except HostError as error:
                    self._say('snapshot %s is left at the source: %s' % (one_line(name), error))

    # --- there ---------------------------------------------------------------------------

    def _arrived(self, method: str, ref: str, progress: Progress) -> int:
        """Name the VM, look at its isolation, and say how it stands."""
        took = measure(progress.moved, 1.0, progress.elapsed)
        name = self._options.name or self._cargo.vm.name
        arrived = read_cargo(self._destination, ref)
        stream.rename(self._destination, arrived.vm, name, bool(arrived.record['is_a_template']))
        after = judge_vm(arrived.vm)
        if self._options.reseal and self._reseal(after):
            after = judge_vm(read_cargo(self._destination, ref).vm)
        good = all(one.good for one in after)
        if self._options.json:
            say_event('done', method=method, uuid=arrived.vm.uuid, name=name, bytes=took['bytes'],
                      seconds=took['seconds'], kb_per_s=took['kb_per_s'],
                      still_at_source=self._stays(method), isolation=[
                          one.describe() for one in after])
        else:
            for line in self._conclude(method, arrived, name, took, after):
                print(line)
        return EXIT_DONE if good else EXIT_DIFFERENT

    def _reseal(self, after: List[Guarded]) -> bool:
        """Seal anew what is the policy that it was, if the admin says so."""
        written = False
        for one in find_resealable(self._before, after):
            text = 'VIF %s, sealed until now, arrives as %s of VM %s: %s' % (
                one.vif.devid, one.vif.mac, one.vm.uuid, one.words)
            self._say(text)
            if self._options.yes or confirm('seal this policy anew?'):
                reseal(self._destination, one)
                written = True
        return written

    def _stays(self, method: str) -> bool:
        return method == STREAM or bool(self._options.copy)

    def _conclude(self, method: str, arrived: Cargo, name: str, took: Dict[str, Any],
                  after: List[Guarded]) -> List[str]:
        """Return what an admin should know at the end."""
        lines = ['%s is at the destination as VM %s (%s)%s' % (
            one_line(name), arrived.vm.uuid, arrived.vm.power_state.lower(),
            ': %s in %s, %d KB/s' % (sized(took['bytes']), lasting(took['seconds']),
                                     took['kb_per_s']) if took['bytes'] else '')]
        for one in after:
            lines.append('  VIF %s %s: %s' % (
                one.vif.devid, one.vif.mac, 'no policy' if one.good and one.policy is None else
                '%s, %s' % (one.word, one.words) if one.good else
                'will be QUARANTINED: %s' % one_line(one.complaint)))
        if any(one.policy for one in after):
            lines.append('  group names mean there what that pool\'s xsisolate.yaml says')
        portable = find_portable(after)
        if portable and self._stays(method):
            lines.append('  portable seals fit the copy, too: VIF %s has the policy at once, with '
                         'its fixed addresses if it names any' % ', '.join(
                             one.vif.devid for one in portable))
        if self._stays(method):
            same = arrived.vm.uuid == self._cargo.vm.uuid or {
                vif.mac for vif in arrived.vm.vifs} & {vif.mac for vif in self._cargo.vm.vifs}
            lines.append('  the VM is still at the source%s' % (
                ', with the same MAC addresses: start only one of the two' if same else ''))
        return lines

    # --- saying ----------------------------------------------------------------------------

    def _announce(self, method: str) -> None:
        """Say what is going to be done."""
        vm = self._cargo.vm
        facts: List[Tuple[str, Any]] = [
            ('vm', vm.name), ('uuid', vm.uuid), ('power_state', vm.power_state),
            ('method', method), ('disks', len(self._cargo.disks)), ('size', self._cargo.size),
            ('needs', self._cargo.need(self._storage.type)), ('pool', self._pool.name),
            ('sr', self._storage.name), ('dry_run', self._options.dry_run),
            ('isolation', [one.describe() for one in self._before])]
        if self._options.json:
            say_event('plan', **dict(facts))
            return
        print('%s %s (%s, %s) to storage %s of pool %s, by %s' % (
            'would move' if self._options.dry_run else 'moving', one_line(vm.name), vm.uuid,
            vm.power_state.lower(), one_line(self._storage.name), one_line(self._pool.name),
            'XAPI\'s own migration' if method == LIVE else 'a stream'), flush=True)
        print('  %d disk%s, %s in all; they need %s there, %s are free' % (
            len(self._cargo.disks), 's' * (len(self._cargo.disks) != 1), sized(self._cargo.size),
            sized(self._cargo.need(self._storage.type)),
            'an unknown number' if self._storage.free is None
            else sized(self._storage.free)), flush=True)
        for one in self._before:
            if one.good and one.policy is not None:
                print('  VIF %s %s: %s, %s' % (one.vif.devid, one.vif.mac, one.word, one.words),
                      flush=True)

    def _say(self, text: str) -> None:
        """Say what an admin should know, on stderr or as an event."""
        if self._options.json:
            say_event('warning', message=text)
        else:
            print('migratevm: %s' % one_line(text, 2000), file=sys.stderr)


def confirm(question: str) -> bool:
    """Ask an admin; no answer is a no."""
    print('%s [y/N] ' % question, end='', file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ('y', 'yes')
