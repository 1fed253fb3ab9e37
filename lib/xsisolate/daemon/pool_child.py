"""A process beside the daemon, as the daemon keeps it: started, started again, ended.

The follower rings when it has written files: a line on its stdout. The files stay the truth, and
are looked at each second anyway: a line that is lost, or odd, costs that second and nothing else.
"""
import os
import subprocess
import sys
from time import monotonic
from typing import NamedTuple, Optional

from xsisolate.dom0.linux.syslog import Log
from xsisolate.paths import LIBRARY

XAPI_SOCKET = '/var/lib/xcp/xapi'
AGAIN_FIRST_S = 1.0         # after it has died, doubled each time ...
AGAIN_MOST_S = 60.0         # ... up to this
STOP_S = 1.5                # it logs out of XAPI first
PIECE = 1 << 16             # all that a pipe holds


class Program(NamedTuple):
    """What a child runs."""

    module: str
    name: str
    needs: str = XAPI_SOCKET    # without it, it is not started


FOLLOWER = Program('xsisolate.pool.follower', 'the follower of XAPI')
CARRIER = Program('xsisolate.pool.lease_carrier', 'the carrier of leases')
RECORDER = Program('xsisolate.daemon.recorder', 'the recorder of refusals', '/')


class PoolChild:
    """The child; a host without XAPI has none that talks with it."""

    def __init__(self, log: Log, program: Program = FOLLOWER) -> None:
        self._log = log
        self._program = program
        self._process: 'Optional[subprocess.Popen[bytes]]' = None
        self._next = 0.0
        self._pause = AGAIN_FIRST_S

    def keep(self) -> None:
        """Start it, if it should run and does not; never waits."""
        now = monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._log.warning(self._program.name + ' ended', code=code, seconds=self._pause,
                              reason='it is started again after that')
            self._hang_up()
            self._next = now + self._pause
            self._pause = min(self._pause * 2, AGAIN_MOST_S)
        if now >= self._next and os.path.exists(self._program.needs):
            self._start()

    def _start(self) -> None:
        paths = [LIBRARY] + [path for path in [os.environ.get('PYTHONPATH')] if path]
        try:
            self._process = subprocess.Popen(
                [sys.executable, '-m', self._program.module, str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd='/',
                env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths), NOTIFY_SOCKET=''))
            os.set_blocking(self.fileno(), False)
        except OSError as error:
            self._log.error('failed', task='starting ' + self._program.name, error=error)
            self._next = monotonic() + AGAIN_MOST_S

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is none."""
        pipe = self._process and self._process.stdout
        return pipe.fileno() if pipe and not pipe.closed else -1

    def rings(self) -> bool:
        """Tell whether it has said anything since the last time."""
        pipe = self._process and self._process.stdout
        if not pipe or pipe.closed:
            return False
        try:
            said = os.read(pipe.fileno(), PIECE)
        except BlockingIOError:
            return False
        except OSError:
            said = b''
        if not said:
            pipe.close()        # it has ended, or will
        return bool(said)

    def _hang_up(self) -> None:
        if self._process is not None and self._process.stdout:
            self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._hang_up()
