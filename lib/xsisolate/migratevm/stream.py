"""The way that always works: /export of the source into /import of the destination."""
import time
from typing import Callable, Dict, NamedTuple, Optional

from xsisolate.policy.xapi_records import XapiVm
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.errors import HostError, XsisolateError
from xsisolate.migratevm.cargo import remove_vm
from xsisolate.migratevm.splice import DESTINATION, SOURCE, SideFailed, Splice
from xsisolate.migratevm.tasks import ENDING_S, Task, TaskState, new_task
from xsisolate.migratevm.web import request

COMPRESSIONS = {'none': 'false', 'gzip': 'gzip', 'zstd': 'zstd'}
POLL_S = 2.0                # so often both tasks are looked at
VERDICT_S = 5.0             # a broken connection waits so long for the task that says why
NEARLY = 0.999              # it is not done before both tasks say so
FINISH_S = 3600.0           # a destination may have to write out what it has cached

Report = Callable[[int, Optional[float]], None]     # bytes, and how much of it all is done


class Order(NamedTuple):
    """What to send, and how."""

    ref: str                # the VM or snapshot
    uuid: str
    name: str
    sr: str
    copy: bool
    compression: str
    stall_s: float
    suspended: bool = False     # its memory is one of its disks

    def export_query(self, task: str) -> Dict[str, str]:
        """Return what /export is asked for."""
        query = {'ref': self.ref, 'task_id': task,
                 'use_compression': COMPRESSIONS[self.compression]}
        return dict(query, preserve_power_state='true') if self.suspended else query

    def import_query(self, task: str) -> Dict[str, str]:
        """Return what /import is asked for."""
        query = {'sr_id': self.sr, 'task_id': task}
        return query if self.copy else dict(query, restore='true')


class Interrupted(XsisolateError):
    """An admin has interrupted it."""

    exit_code = 130         # as shells have it


def move(source: Xapi, destination: Xapi, order: Order, report: Report) -> str:
    """Send a VM; return what it is at the destination. What fails leaves nothing there."""
    label = 'migratevm: %s' % order.name
    with new_task(destination, label, 'import') as imported:
        try:
            with new_task(source, label, 'export') as exported:
                _stream(source, destination, order, exported, imported, report)
            return imported.read().references[0]
        except KeyboardInterrupt:
            raise Interrupted('interrupted. %s' % _clean_up(destination, order, imported)) from None
        except HostError as error:
            raise HostError('%s. %s' % (error, _clean_up(destination, order, imported))) from error


def _stream(source: Xapi, destination: Xapi, order: Order, exported: Task, imported: Task,
            report: Report) -> None:
    """Send it, and wait until both sides say that it is done."""
    lookout = Lookout(exported, imported)
    with request(source, 'GET', '/export', order.export_query(exported.ref)) as sending:
        with request(destination, 'PUT', '/import', order.import_query(imported.ref)) as taking:
            splice = Splice(sending, taking, lambda moved: report(
                moved, lookout.fraction(splice)), order.stall_s)
            try:
                splice.run()
                lookout.check_source(splice)
                taking.finish()
                lookout.check_destination()
            except SideFailed as error:
                raise lookout.explain(error) from error
    report(splice.moved, 1.0)


class Lookout:
    """Follows both tasks while bytes flow."""

    def __init__(self, exported: Task, imported: Task) -> None:
        self._tasks = {SOURCE: exported, DESTINATION: imported}
        self._next = 0.0

    def fraction(self, splice: Splice) -> Optional[float]:
        """Return how much is done; raise SideFailed if a task has failed."""
        if time.monotonic() >= self._next:
            for side in (SOURCE, DESTINATION):
                state = self._wait(side, 0)
                if state.failed:
                    raise SideFailed(side, state.why)
            self._next = time.monotonic() + POLL_S
        known = splice.follower.fraction
        known = self._tasks[SOURCE].last_progress if known is None else known
        return known if known is None else min(known, NEARLY)

    def check_source(self, splice: Splice) -> None:
        """Raise SideFailed unless the source says that it has sent everything, and has."""
        if not splice.follower.complete:
            raise SideFailed(SOURCE, 'hung up in the middle of the stream, after %d bytes'
                             % splice.moved)
        state = self._wait(SOURCE, ENDING_S)
        if state.failed or not state.over:
            raise SideFailed(SOURCE, state.why)

    def check_destination(self) -> None:
        """Raise SideFailed unless the destination says that it has everything."""
        state = self._wait(DESTINATION, FINISH_S)
        if state.failed or not state.references:
            raise SideFailed(DESTINATION, state.why if state.failed else
                             'its task names no VM, its status is %s' % state.status)

    def _wait(self, side: str, seconds: float) -> TaskState:
        """Return how a side's task stands when it has ended, or after so many seconds."""
        try:
            return self._tasks[side].wait(seconds)
        except XapiError as error:
            raise SideFailed(side, str(error)) from error

    def explain(self, error: SideFailed) -> HostError:
        """Return what went wrong: XAPI's own words where its task has some."""
        try:
            state = self._tasks[error.side].wait(VERDICT_S)
        except XapiError as lost:
            known = str(lost) in str(error)
            return HostError(str(error) if known else '%s (%s)' % (error, lost))
        return HostError('%s: %s' % (error.side, state.why) if state.failed else str(error))


def _clean_up(destination: Xapi, order: Order, imported: Task) -> str:
    """Remove what a failed import has left, and say so.

    XAPI itself leaves nothing, unless the host dies in the middle.
    """
    try:
        imported.end()
        left = set(imported.read().references)
        for ref, record in destination.call('VM.get_all_records').items():
            if imported.ref in record['current_operations'] or (
                    not order.copy and str(record['uuid']).lower() == order.uuid):
                left.add(ref)
        for ref in left:
            remove_vm(destination, ref)
    except HostError as error:
        return ('The destination could not be asked what it has kept (%s): look there for VM %s, '
                'and remove it (xe vm-uninstall)' % (error, order.name))
    return 'Nothing is left on the destination'


def rename(xapi: Xapi, vm: XapiVm, name: str, was_snapshot: bool) -> None:
    """Give a VM that has arrived the name that it is to have; a snapshot becomes a VM."""
    if was_snapshot:
        xapi.call('VM.set_is_a_template', vm.ref, False)
    if name != vm.name:
        xapi.call('VM.set_name_label', vm.ref, name)
