"""The hooks' server as a process, started as systemd does."""
import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from types import TracebackType
from typing import Iterator, List, Optional, Type

from sandbox.hooks import Hooks
from sandbox.process import die_with_parent, has_ended, wait_until
from xsisolate.hooks.client import SOCKET

START_S = 10


@contextmanager
def hidden() -> Iterator[None]:
    """Let hooks not find their server for a while."""
    os.rename(SOCKET, SOCKET + '.away')
    try:
        yield
    finally:
        os.rename(SOCKET + '.away', SOCKET)


class HookServer:
    """A server that runs these hooks' calls, for the time of a block."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._stderr = tempfile.TemporaryFile(prefix='serve_')
        self.process: 'Optional[subprocess.Popen[bytes]]' = None

    def __enter__(self) -> 'HookServer':
        self.process = subprocess.Popen(
            self._hooks.start_of('serve'), cwd='/', stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self._stderr, preexec_fn=die_with_parent,
            env={'LC_ALL': 'C'})
        wait_until(lambda: 'serving' in self.said(), 'the hooks\' server', START_S)
        return self

    def __exit__(self, kind: Optional[Type[BaseException]] = None,
                 error: Optional[BaseException] = None,
                 trace: Optional[TracebackType] = None) -> None:
        """End it as systemd does; it must have lived until now."""
        assert self.process
        code = self.process.poll()
        self.process.terminate()
        self.process.wait()
        self._stderr.close()
        assert code is None, code

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self.process
        return self.process.pid

    def said(self) -> str:
        """Return what it has written to stderr by now."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode('utf-8', 'replace')

    def children(self) -> List[int]:
        """Return the processes that work on calls now."""
        with open('/proc/%d/task/%d/children' % (self.pid, self.pid)) as file:
            return [int(pid) for pid in file.read().split() if not has_ended(int(pid))]

    def kill(self) -> None:
        """End it as a lack of memory would; what it has begun goes on."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
