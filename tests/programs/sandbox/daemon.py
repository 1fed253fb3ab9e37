"""The daemon as a process: started as systemd does, ended with SIGTERM."""
import glob
import os
import signal
import socket
import subprocess
import tempfile
from typing import List, Optional

from sandbox.hooks import REPOSITORY
from sandbox.injection import INJECTOR
from sandbox.process import LabError, die_with_parent, wait_until

START_S = 10
STOP_S = 5
TICKS = os.sysconf('SC_CLK_TCK')
PROGRAM = os.path.join(REPOSITORY, 'lib/xsisolate/__main__.py')
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'


class Watch:
    """The daemon as a process, with an ear where systemd would listen."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.heard: List[str] = []          # what it has told systemd
        self._stderr = tempfile.TemporaryFile(prefix='watch_')
        self._folder = tempfile.mkdtemp(prefix='watch_')
        self._socket = os.path.join(self._folder, 'notify')
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(self._socket)
        self._ear.setblocking(False)
        self.process: 'Optional[subprocess.Popen[bytes]]' = None

    def start(self, ready: bool = True, order: str = '', **environ: str) -> 'Watch':
        """Start it with a service's poor environment, and wait until it says that it is ready.

        `order` is one for injector.py.
        """
        program = [INJECTOR, order, PROGRAM] if order else ['-m', 'xsisolate']
        self.process = subprocess.Popen(
            [self.python, *program, 'watch'], cwd='/', stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=self._stderr, preexec_fn=die_with_parent,
            env=dict({'PATH': PATH, 'LC_ALL': 'C', 'NOTIFY_SOCKET': self._socket,
                      'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}, **environ))
        if ready:
            wait_until(lambda: 'READY=1' in self.listen(), 'the daemon', START_S)
        return self

    def start_again(self) -> 'Watch':
        """Start it after it was killed."""
        assert self.process
        self.process.wait()
        self.listen()
        self.heard = []
        return self.start()

    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """End it at once, if it still lives."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.listen()
        self.heard = []

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.process
        return self.process.pid

    def listen(self) -> List[str]:
        """Return what the daemon has told systemd by now."""
        try:
            while True:
                self.heard.append(self._ear.recv(4096).decode())
        except BlockingIOError:
            return self.heard

    def said(self) -> str:
        """Return what it has written to stderr by now."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode('utf-8', 'replace')

    def lines(self, *words: str) -> List[str]:
        """Return the lines with these words."""
        return [line for line in self.said().splitlines() if all(word in line for word in words)]

    def wait_for(self, *words: str, seconds: float = 10, count: int = 1) -> str:
        """Wait for a line with these words, and return it."""
        try:
            wait_until(lambda: len(self.lines(*words)) >= count, ' '.join(words), seconds)
        except LabError as error:
            raise AssertionError('%s; it said:\n%s' % (error, self.said())) from None
        return self.lines(*words)[-1]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def cpu(self) -> float:
        """Return the seconds of CPU time that it and what it has started have used."""
        with open('/proc/%d/stat' % self.pid) as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        ended = sum(map(int, fields[13:15])) / TICKS
        own = 0     # by the scheduler's clock: ticks bill a process that wakes with them too much
        for path in glob.glob('/proc/%d/task/*/schedstat' % self.pid):
            with open(path) as statistics:
                own += int(statistics.read().split()[0])
        return own / 1e9 + ended

    def memory(self) -> int:
        """Return its resident memory in KiB."""
        return read_status('/proc/%d/status' % self.pid, 'VmRSS:')

    def wakes(self) -> int:
        """Return how often its threads have gone to sleep."""
        return sum(read_status(path, 'voluntary_ctxt_switches:')
                   for path in glob.glob('/proc/%d/task/*/status' % self.pid))

    def stop(self) -> None:
        """End it as systemd does; it must have lived until now, and end well."""
        assert self.process
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        process, self.process = self.process, None
        if process.poll() is None:
            process.kill()
            process.wait()
        said = self.said()
        assert code == 0 and 'Traceback' not in said, (code, said)
        assert 'STOPPING=1' in self.listen()

    def close(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self._ear.close()
        self._stderr.close()
        os.unlink(self._socket)
        os.rmdir(self._folder)


def read_status(path: str, word: str) -> int:
    """Return the number behind a word in a file of the kernel's."""
    with open(path) as status:
        return int(next(line.split()[1] for line in status if line.startswith(word)))
