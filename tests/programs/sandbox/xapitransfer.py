"""XAPI's HTTP handlers that carry whole VMs, for the fake: GET /export and PUT /import.

As in xapi (ocaml/xapi/export.ml, import.ml): 302 before the body where another host sees the
disks; 200 before an import's body is read, so that only the task says what came of it; chunked
encoding refused with 403; compression recognised by its first bytes; a failed import removes what
it has made.
"""
import subprocess
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, Tuple

from sandbox.xapidb import NULL, Database, Refused
from sandbox.xvastream import PIECE, BadArchive, Content, Packed, Reader, parse_xml, write

MAGIC = {b'\x28\xb5\x2f\xfd': ('zstd', '-qdc'), b'\x1f\x8b': ('gzip', '-dc')}
PROGRAMS = {'true': ('gzip', '-1c'), 'gzip': ('gzip', '-1c'), 'zstd': ('zstd', '-q1c')}
LATE_S = 0.2                # a task's progress is not written more often


class Faults:
    """What goes wrong, in a test; nothing, unless it is set."""

    def __init__(self) -> None:
        self.after = 0                  # bytes that an export sends, or an import reads, before
        self.export: Optional[Callable[[], None]] = None    # called then
        self.import_: Optional[Callable[[], None]] = None
        self.wrong_piece: Optional[int] = None              # with the checksum of another
        self.quiet_before: Tuple[int, ...] = ()             # pieces with an empty file before
        self.says_success = False       # an export that breaks off calls itself a success
        self.raw = b''                  # sent as the archive instead of the VM


class Hangup(Exception):
    """The connection breaks off."""


class Disks:
    """What is on the disks of a pool, by the VDI's reference."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.contents: Dict[str, Content] = {}

    def take(self, sr: str, size: int) -> None:
        """Take room on a storage repository; raise Refused where there is none."""
        with self.db.lock:
            record = self.db.get('SR', sr)
            used = int(record['physical_utilisation']) + size
            if used > int(record['physical_size']):
                raise Refused('SR_FULL', record['physical_size'], str(used))
            self.db.set('SR', sr, physical_utilisation=str(used))

    def pack(self, vm: Mapping[str, Any],
             suspended: bool = False) -> Tuple[List[Dict[str, Any]], List[Packed]]:
        """Return a VM's objects and disks as an archive has them; its memory if that is wanted."""
        names: Dict[str, str] = {}

        def name(ref: str) -> str:
            return names.setdefault(ref, 'Ref:%d' % len(names))
        objects = [{'class': 'VM', 'id': name(str(vm['uuid'])), 'snapshot': {
            **vm, 'VIFs': [name(ref) for ref in vm['VIFs']],
            'VBDs': [name(ref) for ref in vm['VBDs']],
            'power_state': vm['power_state'] if suspended else 'Halted',
            'suspend_VDI': name(vm['suspend_VDI']) if suspended else NULL}}]
        packed = []
        if suspended:
            objects.append({'class': 'VDI', 'id': name(vm['suspend_VDI']),
                            'snapshot': self.db.get('VDI', vm['suspend_VDI'])})
            packed.append(Packed(name(vm['suspend_VDI']), self.contents[vm['suspend_VDI']]))
        for ref in vm['VIFs']:
            vif = self.db.get('VIF', ref)
            objects += [{'class': 'VIF', 'id': name(ref),
                         'snapshot': {**vif, 'network': name(vif['network'])}},
                        {'class': 'network', 'id': name(vif['network']),
                         'snapshot': self.db.get('network', vif['network'])}]
        for ref in vm['VBDs']:
            vbd = self.db.get('VBD', ref)
            objects.append({'class': 'VBD', 'id': name(ref),
                            'snapshot': {**vbd, 'VDI': name(vbd['VDI'])}})
            if vbd['type'] == 'Disk':
                vdi = self.db.get('VDI', vbd['VDI'])
                objects.append({'class': 'VDI', 'id': name(vbd['VDI']), 'snapshot': vdi})
                packed.append(Packed(name(vbd['VDI']), self.contents[vbd['VDI']]))
        return objects, packed


class Importer:
    """Makes a VM out of an archive, or nothing."""

    def __init__(self, disks: Disks, sr: str, restore: bool, task: str) -> None:
        self.disks, self.db = disks, disks.db
        self.sr, self.restore, self.task = sr, restore, task
        self.made: List[Tuple[str, str]] = []
        self.taken = 0

    def add(self, kind: str, **fields: Any) -> str:
        """Add an object that is removed if the import fails."""
        if not self.restore:
            fields.pop('uuid', None)
        ref = self.db.add(kind, **fields)
        self.made.append((kind, ref))
        return ref

    def run(self, stream: BinaryIO, read: Callable[[int], None]) -> str:
        """Import what comes; `read` is told the size of each piece."""
        reader = Reader(stream)
        objects = parse_xml(reader.read_xml())
        vm, packed = self.make(objects)
        total, done, told = sum(one.content.size for one in packed) or 1, 0, 0.0
        for disk in sorted(packed):
            for size in reader.read_disk(disk):
                self.disks.take(self.sr, size)
                self.taken += size
                read(size)
                done += size
                if self.task and time.monotonic() > told + LATE_S:
                    told = time.monotonic()
                    self.db.set('task', self.task, progress=min(done / total, 1.0))
                    if self.db.get('task', self.task)['status'] == 'cancelling':
                        raise Refused('TASK_CANCELLED', self.task)
            self.db.set('VDI', self.refs[disk.name], physical_utilisation=str(sum(
                disk.content.length(number) for number in disk.content.sums)))
        self.db.set('VM', vm, current_operations={})
        return vm

    def make(self, objects: List[Mapping[str, Any]]) -> Tuple[str, List[Packed]]:
        """Make all objects; return the VM and its disks."""
        by_kind: Dict[str, Dict[str, Mapping[str, Any]]] = {}
        for one in objects:
            by_kind.setdefault(one['class'], {})[one['id']] = one['snapshot']
        name, record = next(iter(by_kind['VM'].items()))
        if self.restore and any(other['uuid'] == record['uuid']
                                for other in self.db.objects['VM'].values()):
            raise Refused('DUPLICATE_VM', record['uuid'])
        vm = self.add('VM', **{**record, 'resident_on': NULL, 'VIFs': [], 'VBDs': [],
                               'snapshots': [], 'is_a_snapshot': False,
                               'current_operations': {self.task: 'import'}})
        self.refs = {name: vm}
        for kind, make in (('network', self.network), ('VDI', self.vdi), ('VIF', self.vif),
                           ('VBD', self.vbd)):
            for name, record in by_kind.get(kind, {}).items():
                self.refs[name] = make(vm, record)
        image = self.db.get('VM', vm)['suspend_VDI']
        self.db.set('VM', vm, suspend_VDI=self.refs.get(image, NULL))
        if self.task:
            self.db.set('task', self.task, other_config={'object_creation': 'complete'})
        packed = []
        for name in by_kind.get('VDI', {}):
            packed.append(Packed(name, self.disks.contents[self.refs[name]]))
        return vm, packed

    def network(self, vm: str, record: Mapping[str, Any]) -> str:
        """Find a network of the same name, or make one."""
        for ref, known in self.db.objects['network'].items():
            if known['name_label'] == record['name_label']:
                return ref
        return self.add('network', **dict(record))

    def vdi(self, vm: str, record: Mapping[str, Any]) -> str:
        """Make an empty disk."""
        ref = self.add('VDI', **{**record, 'SR': self.sr, 'VBDs': [], 'physical_utilisation': '0'})
        self.disks.contents[ref] = Content(int(record['virtual_size']))
        return ref

    def vif(self, vm: str, record: Mapping[str, Any]) -> str:
        """Make a VIF; as a copy it gets a MAC address of its own."""
        fields = {**record, 'VM': vm, 'network': self.refs[record['network']],
                  'currently_attached': False}
        if not self.restore:
            fields['MAC'] = '06:%02x:00:00:00:%02x' % (id(self) >> 4 & 255, int(record['device']))
        ref = self.add('VIF', **fields)
        self.db.set('VM', vm, VIFs=[*self.db.get('VM', vm)['VIFs'], ref])
        return ref

    def vbd(self, vm: str, record: Mapping[str, Any]) -> str:
        """Attach a disk."""
        vdi = self.refs.get(record['VDI'], NULL)
        ref = self.add('VBD', **{**record, 'VM': vm, 'VDI': vdi})
        self.db.set('VM', vm, VBDs=[*self.db.get('VM', vm)['VBDs'], ref])
        return ref

    def undo(self) -> None:
        """Remove everything that was made."""
        for kind, ref in reversed(self.made):
            self.disks.contents.pop(ref, None)
            self.db.remove(kind, ref)
        self.disks.take(self.sr, -self.taken)


class Handlers:
    """The two handlers, on one host."""

    def __init__(self, disks: Disks, faults: Faults,
                 redirect: Callable[[str], str] = lambda path: '') -> None:
        self.disks, self.db, self.faults, self.redirect = disks, disks.db, faults, redirect

    def handle(self, verb: str, path: str, query: Mapping[str, str], headers: Mapping[str, str],
               source: BinaryIO, send: Callable[[Any], None]) -> None:
        """Answer a request."""
        session = cookies(headers.get('Cookie', '')).get('session_id', query.get('session_id', ''))
        task = query.get('task_id', '')
        elsewhere = self.redirect(path)
        work = {('GET', '/export'): self.export, ('PUT', '/import'): self.import_}.get((verb, path))
        if work is None:
            say(send, '404 Not Found')
        elif session not in self.db.sessions:
            say(send, '401 Unauthorized')
        elif elsewhere:
            say(send, '302 Found', 'Location: https://%s%s?%s' % (elsewhere, path, '&'.join(
                '%s=%s' % pair for pair in query.items())))
        else:
            answered: List[Any] = []

            def answer(data: Any) -> None:
                answered[:] = [True]
                send(data)
            try:
                result = work(task, query, headers, source, answer)
            except Refused as refused:
                self.settle(task, 'failure', error_info=refused.details)
                if not answered:
                    say(send, '500 Internal Error')
            except (OSError, Hangup, ValueError, BadArchive) as error:
                self.settle(task, 'failure', error_info=[
                    'CLIENT_ERROR' if verb == 'GET' else 'IMPORT_ERROR', str(error)])
            else:
                self.settle(task, 'success', result=result, progress=1.0)

    def settle(self, task: str, status: str, **fields: Any) -> None:
        """End a task."""
        with self.db.lock:
            if task in self.db.objects['task']:
                if self.db.get('task', task)['status'] == 'cancelling':
                    status, fields = 'cancelled', {'error_info': ['TASK_CANCELLED', task]}
                self.db.set('task', task, status=status, **fields)

    def export(self, task: str, query: Mapping[str, str], headers: Mapping[str, str],
               source: BinaryIO, send: Callable[[Any], None]) -> str:
        """Send a VM."""
        vm = self.db.get('VM', query['ref'] if 'ref' in query else next(
            ref for ref, one in self.db.objects['VM'].items() if one['uuid'] == query['uuid']))
        if vm['power_state'] == 'Running' and not vm['is_a_snapshot']:
            raise Refused('VM_BAD_POWER_STATE', query.get('ref', ''), 'halted', 'running')
        say(send, '200 OK', 'task-id: ' + task)
        sent, faults = [0], self.faults

        def count(data: Any) -> None:
            if faults.export and sent[0] >= faults.after:
                faults.export()
            if task and self.db.objects['task'].get(task, {}).get('status') != 'pending':
                raise Refused('TASK_CANCELLED', task)
            out(data)
            sent[0] += len(data)
        program = PROGRAMS.get(query.get('use_compression', ''))
        packer = Filter(program, send) if program else None
        out = packer.write if packer else send
        objects, packed = self.disks.pack(vm, vm['power_state'] == 'Suspended' and
                                          query.get('preserve_power_state') == 'true')
        try:
            if faults.raw:
                for at in range(0, len(faults.raw), PIECE):
                    count(faults.raw[at:at + PIECE])
            else:
                write(count, objects, packed, self.quiet(), lambda name, number:
                      number == faults.wrong_piece)
        except Hangup:
            if not faults.says_success:
                raise
        finally:
            if packer:
                packer.close()
        return ''

    def quiet(self) -> Callable[[str, int], bool]:
        """Return what asks for an empty file once before each piece that is named."""
        waiting = set(self.faults.quiet_before)

        def quiet(name: str, number: int) -> bool:
            found = number in waiting
            waiting.discard(number)
            return found
        return quiet

    def import_(self, task: str, query: Mapping[str, str], headers: Mapping[str, str],
                source: BinaryIO, send: Callable[[Any], None]) -> str:
        """Take a VM."""
        sr = query.get('sr_id') or next(iter(self.db.objects['pool'].values()))['default_SR']
        if headers.get('Transfer-Encoding'):
            say(send, '403 Forbidden')
            raise Refused('IMPORT_ERROR_CANNOT_HANDLE_CHUNKED')
        say(send, '200 OK', 'task-id: ' + task)
        importer = Importer(self.disks, sr, query.get('restore') == 'true', task)
        faults, seen = self.faults, [0]

        def read(size: int) -> None:
            seen[0] += size
            if faults.import_ and seen[0] >= faults.after:
                faults.import_()
        try:
            first = source.peek(4)[:4]      # type: ignore[attr-defined]
            program = next((MAGIC[magic] for magic in MAGIC if first.startswith(magic)), None)
            vm = importer.run(unpack(program, source) if program else source, read)
        except BadArchive as error:
            importer.undo()
            raise Refused(*error.args) from error
        except BaseException:
            importer.undo()
            raise
        return '<value><array><data><value>%s</value></data></array></value>' % vm


class Filter:
    """A program that compresses what is sent."""

    def __init__(self, program: Tuple[str, ...], send: Callable[[Any], None]) -> None:
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout
        self.write = self._process.stdin.write
        self._thread = threading.Thread(target=self._pass, args=(send,), daemon=True)
        self._thread.start()

    def _pass(self, send: Callable[[Any], None]) -> None:
        assert self._process.stdout
        try:
            for piece in iter(lambda: self._process.stdout.read1(PIECE), b''):  # type: ignore
                send(piece)
        except OSError:
            self._process.kill()

    def close(self) -> None:
        """Send what is left."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.close()
        except OSError:
            pass
        self._thread.join()
        self._process.stdout.close()
        self._process.wait()


def unpack(program: Tuple[str, ...], source: BinaryIO) -> BinaryIO:
    """Return what a program makes of a compressed stream."""
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdin, stdout = process.stdin, process.stdout
    assert stdin and stdout

    def feed() -> None:
        try:
            for piece in iter(lambda: source.read1(PIECE), b''):    # type: ignore[attr-defined]
                stdin.write(piece)
        except OSError:
            process.kill()      # who sends no end has sent no archive
        finally:
            try:
                stdin.close()
            except OSError:
                pass
            process.wait()
    threading.Thread(target=feed, daemon=True).start()
    return stdout       # type: ignore[return-value]


def cookies(text: str) -> Dict[str, str]:
    """Return a Cookie header's values."""
    pairs = (one.strip().partition('=') for one in text.split(';'))
    return {name: value for name, _, value in pairs}


def say(send: Callable[[Any], None], status: str, *headers: str) -> None:
    """Send a response's head."""
    send('\r\n'.join(('HTTP/1.0 ' + status, 'Connection: close', *headers, '', '')).encode())
