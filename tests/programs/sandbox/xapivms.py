"""What XAPI does with whole VMs, for the fake: tasks, snapshots, removal, migration elsewhere."""
import threading
import time
import uuid as uuids
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from sandbox.xapicopies import Copies, make_mac
from sandbox.xapidb import NULL, Effects, Refused
from sandbox.xapitransfer import Disks
from sandbox.xvastream import Content

VALUE = '<value>%s</value>'


class VmDatabase(Copies):
    """A pool's database, and the messages that migratevm and Xen Orchestra send beside others'."""

    def __init__(self, effects: Effects) -> None:
        super().__init__(effects)
        self.disks = Disks(self)
        self.peers: Dict[str, 'VmDatabase'] = {}        # other pools, by what a ticket says
        self.cannot_migrate: Sequence[str] = ('VM_LACKS_FEATURE', 'OpaqueRef:vm')
        self.migration: Callable[[str], None] = lambda task: None      # what happens meanwhile

    def _dispatch(self, method: str, session: str, args: Any) -> Any:
        """Do what is asked, in a thread of its own where a task is to tell of it."""
        if not method.startswith('Async.'):
            return super()._dispatch(method, session, args)
        task = str(self._task_create(session, method, ''))
        work = getattr(self, '_' + method[len('Async.'):].replace('.', '_'))
        threading.Thread(target=self._work, args=(task, work, session, args), daemon=True).start()
        return task

    def _work(self, task: str, work: Callable[..., Any], session: str, args: Any) -> None:
        try:
            result = work(session, *args, task=task)
        except Refused as refused:
            self.end(task, 'failure', error_info=refused.details)
        else:
            self.end(task, 'success', result=VALUE % result, progress=1.0)

    def end(self, task: str, status: str, **fields: Any) -> None:
        """End a task, unless it has been destroyed."""
        with self.lock:
            if task in self.objects['task']:
                self.set('task', task, status=status, **fields)

    def _task_create(self, session: str, label: str, description: str) -> str:
        return self.add('task', name_label=label, name_description=description, status='pending',
                        progress=0.0, result='', error_info=[], other_config={}, subtasks=[],
                        subtask_of=NULL, created='20261129T10:00:00Z', allowed_operations=[],
                        current_operations={}, resident_on=NULL, type='<none/>', backtrace='')

    def _task_cancel(self, session: str, ref: str) -> str:
        if self.get('task', ref)['status'] == 'pending':
            self.set('task', ref, status='cancelling')
            # a handler that takes no notice loses its connection, in a moment
            threading.Timer(0.3, self._give_up, (ref,)).start()
        return ''

    def _give_up(self, ref: str) -> None:
        with self.lock:
            if self.objects['task'].get(ref, {}).get('status') == 'cancelling':
                self.set('task', ref, status='cancelled', error_info=['TASK_CANCELLED', ref])

    def _task_destroy(self, session: str, ref: str) -> str:
        self.get('task', ref)
        self.remove('task', ref)
        return ''

    def _VM_destroy(self, session: str, ref: str) -> str:
        with self.lock:
            record = self.get('VM', ref)
            for vbd in record['VBDs']:
                self.remove('VBD', vbd)
            for vif in record['VIFs']:
                self.remove('VIF', vif)
            self.remove('VM', ref)
        return ''

    def _VDI_destroy(self, session: str, ref: str) -> str:
        with self.lock:
            record = self.get('VDI', ref)
            self.disks.take(record['SR'], -int(record['physical_utilisation']))
            self.disks.contents.pop(ref, None)
            self.remove('VDI', ref)
        return ''

    def _VM_snapshot(self, session: str, ref: str, name: str, ignored: List[str],
                     task: str = '') -> str:
        with self.lock:
            record = self.get('VM', ref)
            snapshot = self.add('VM', **{
                **without_uuid(record), 'name_label': name, 'is_a_snapshot': True,
                'is_a_template': True, 'power_state': 'Halted', 'VIFs': [], 'VBDs': [],
                'snapshot_of': ref, 'resident_on': NULL})
            self.copy_parts(record, snapshot, self, None, None, '-snap')
            self.set('VM', ref, snapshots=[*record['snapshots'], snapshot])
        return snapshot

    def copy_parts(self, record: Mapping[str, Any], vm: str, target: 'VmDatabase',
                   srs: Optional[Mapping[str, str]], networks: Optional[Mapping[str, str]],
                   mark: str = '', anew: bool = False) -> None:
        """Copy a VM's VIFs and disks, to another pool where `srs` and `networks` name its own.

        With `anew` the VIFs get other MAC addresses, as at an import that is not a restore.
        """
        vifs, vbds = [], []
        for ref in record['VIFs']:
            vif = self.get('VIF', ref)
            vifs.append(target.add('VIF', **{
                **vif, 'VM': vm, 'uuid': vif['uuid'] + mark,
                'network': networks[ref] if networks else vif['network'],
                'MAC': make_mac(str(uuids.uuid4()), int(vif['device'])) if anew else vif['MAC']}))
        for ref in record['VBDs']:
            vbd = self.get('VBD', ref)
            vdi = self.get('VDI', vbd['VDI'])
            disk = target.add('VDI', **{**vdi, 'uuid': vdi['uuid'] + mark,
                                        'SR': srs[vbd['VDI']] if srs else vdi['SR']})
            old = self.disks.contents[vbd['VDI']]
            target.disks.contents[disk] = Content(old.size, old.seed, old.pieces)
            target.disks.take(target.get('VDI', disk)['SR'], int(vdi['physical_utilisation']))
            vbds.append(target.add('VBD', **{**vbd, 'VM': vm, 'VDI': disk,
                                             'uuid': vbd['uuid'] + mark}))
        target.set('VM', vm, VIFs=vifs, VBDs=vbds)

    def _host_migrate_receive(self, session: str, host: str, network: str,
                              options: Mapping[str, str]) -> Dict[str, str]:
        self.get('network', network)
        return {'host': self.get('host', host)['uuid'], 'pool': self.name, 'session_id': session}

    @property
    def name(self) -> str:
        """The pool's uuid."""
        return str(next(iter(self.objects['pool'].values()))['uuid'])

    def _VM_assert_can_migrate(self, session: str, ref: str, token: Mapping[str, str], live: bool,
                               disks: Mapping[str, str], nics: Mapping[str, str],
                               options: Mapping[str, str], gpus: Mapping[str, str]) -> str:
        if self.cannot_migrate:
            raise Refused(*self.cannot_migrate)
        self.get('VM', ref)
        target = self.peers[token['pool']]
        for sr in disks.values():
            target.get('SR', sr)
        for network in nics.values():
            target.get('network', network)
        return ''

    def _VM_migrate_send(self, session: str, ref: str, token: Mapping[str, str], live: bool,
                         disks: Mapping[str, str], nics: Mapping[str, str],
                         options: Mapping[str, str], gpus: Mapping[str, str],
                         task: str = '') -> str:
        self._VM_assert_can_migrate(session, ref, token, live, disks, nics, options, gpus)
        for step in range(3):
            self.migration(task)
            time.sleep(0.05)
            with self.lock:
                if self.objects['task'].get(task, {}).get('status') != 'pending':
                    raise Refused('TASK_CANCELLED', task)
                self.set('task', task, progress=step / 3)
        target, copy = self.peers[token['pool']], options.get('copy') == 'true'
        with self.lock, target.lock:
            record = self.get('VM', ref)
            host = next(one for one, fields in target.objects['host'].items()
                        if fields['uuid'] == token['host'])
            arrived = target.add('VM', **{
                **(without_uuid(record) if copy else record), 'VIFs': [], 'VBDs': [],
                'snapshots': [],
                'resident_on': host if record['power_state'] == 'Running' else NULL})
            self.copy_parts(record, arrived, target, disks, nics, '-copy' * copy, copy)
            if not copy:
                vdis = [self.get('VBD', vbd)['VDI'] for vbd in record['VBDs']]
                self._VM_destroy(session, ref)
                for vdi in vdis:
                    self._VDI_destroy(session, vdi)
        return arrived


def without_uuid(record: Mapping[str, Any]) -> Dict[str, Any]:
    """Return a record for a new object like it."""
    return {name: value for name, value in record.items() if name != 'uuid'}
