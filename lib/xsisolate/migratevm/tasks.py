"""Tasks of XAPI's: an export's and an import's success stands there and nowhere else.

XAPI answers an upload with 200 before it reads the first byte, so a client that does not read the
task takes a failed import for a good one.
"""
import re
import time
from types import TracebackType
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Type

from xsisolate.dom0.xapi.session import Xapi, one_line
from xsisolate.errors import HostError

POLL_S = 0.2
ENDING_S = 60.0             # a cancelled import removes its disks before its task ends
REFERENCE = re.compile('OpaqueRef:[0-9A-Za-z-]+')
PENDING, SUCCESS = ('pending', 'cancelling'), 'success'

# What XAPI's error codes mean here, and what to do.
ADVICE = {
    'SR_FULL': 'the storage repository has filled up meanwhile: free space there, or name '
               'another with -ds',
    'VDI_IO_ERROR': 'a disk could not be read or written: look into that host\'s '
                    '/var/log/SMlog',
    'IMPORT_ERROR_SOME_CHECKSUMS_FAILED': 'a block arrived changed: run it again; if it happens '
                                          'twice, test memory and network of both hosts',
    'IMPORT_ERROR_PREMATURE_EOF': 'the stream ended too early',
    'IMPORT_ERROR_CANNOT_HANDLE_CHUNKED': 'a proxy in between has changed the request: go around '
                                          'it',
    'DUPLICATE_VM': 'a VM with this uuid is there already',
    'TASK_CANCELLED': 'the task was cancelled',
    'OTHER_OPERATION_IN_PROGRESS': 'another operation on the VM is under way: wait for it',
    'VM_BAD_POWER_STATE': 'shut the VM down, or move a snapshot with --snapshot',
}


class TaskState(NamedTuple):
    """What a task's record says."""

    status: str
    progress: float
    result: str
    error: Tuple[str, ...]

    @property
    def over(self) -> bool:
        """Tell whether it has ended, well or not."""
        return self.status not in PENDING

    @property
    def failed(self) -> bool:
        """Tell whether it has ended badly."""
        return self.over and self.status != SUCCESS

    @property
    def references(self) -> List[str]:
        """The objects that it has made."""
        return REFERENCE.findall(self.result)

    @property
    def why(self) -> str:
        """Why it has failed, and what to do, for an admin's eyes."""
        words = [word for word in self.error if word] or [self.status]
        advice = next((ADVICE[word] for word in words if word in ADVICE), '')
        return one_line(' '.join(words)) + (' (%s)' % advice if advice else '')


class Task:
    """A task on one side; it is destroyed when its context ends, and cancelled if need be."""

    def __init__(self, xapi: Xapi, ref: str) -> None:
        self._xapi, self.ref = xapi, ref
        self._last: Optional[TaskState] = None

    def __enter__(self) -> 'Task':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        try:
            if error is not None:
                self.end()
            self._xapi.call('task.destroy', self.ref)
        except HostError:
            pass        # the host is gone, and XAPI forgets old tasks by itself

    def read(self) -> TaskState:
        """Return how it stands; what has ended stays so."""
        if self._last is None or not self._last.over:
            record = self._xapi.call('task.get_record', self.ref)
            self._last = TaskState(str(record['status']), float(record['progress']),
                                   str(record['result']), strings(record['error_info']))
        return self._last

    @property
    def last_progress(self) -> Optional[float]:
        """How far it was when it was read last; None if it is unknown."""
        return (self._last.progress if self._last else 0.0) or None

    def wait(self, seconds: float) -> TaskState:
        """Return how it stands when it has ended, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.read()
            if state.over or time.monotonic() >= deadline:
                return state
            time.sleep(POLL_S)

    def cancel(self) -> None:
        """Ask XAPI to cancel it; what cannot be cancelled ends by itself."""
        try:
            self._xapi.call('task.cancel', self.ref)
        except HostError:
            pass

    def end(self) -> None:
        """Cancel it unless it has ended, and wait until it has; raise HostError."""
        if not self.read().over:
            self.cancel()
            self.wait(ENDING_S)


def new_task(xapi: Xapi, label: str, about: str) -> Task:
    """Return a task that a handler of XAPI's will report to."""
    return Task(xapi, str(xapi.call('task.create', label, about)))


def strings(words: Sequence[Any]) -> Tuple[str, ...]:
    """Return words of XAPI's as text."""
    return tuple(str(word) for word in words)
