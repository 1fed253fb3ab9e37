"""Fires the hooks as udev and xenopsd do: same arguments, and no more environment."""
import os
import signal
import subprocess
import tempfile
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

from sandbox.metadata import VifRecord
from sandbox.process import POLL_S
from sandbox.pythons import ROOT
from sandbox.toolstack import Domain

REPOSITORY = ROOT
# What forkexecd gives to the programs that xenopsd runs; udev gives nothing at all.
XENOPSD_ENVIRONMENT = {'PATH': '/sbin:/usr/sbin:/bin:/usr/bin'}
HOOK_TIMEOUT_S = 30
# Uevents of a VIF that still carry what netback knows of it.
LIVE_ACTIONS = ('online', 'offline', 'move', 'change')


class HookRun(NamedTuple):
    """What came of one call of a hook; a negative code is the signal that ended it."""

    name: str
    code: int
    stdout: str
    stderr: str
    seconds: float


class Call(NamedTuple):
    """One call of a hook, yet to be made."""

    hook: str                   # 'vif' or 'setup-vif-rules'
    args: Sequence[str]
    environment: Mapping[str, str]


class Hooks:
    """The repository's hooks, run by an interpreter of the test's choice.

    Without `interpreter` a hook is executed as it is, by its first line. It
    finds its library by itself; `pythonpath` is for a library elsewhere.
    """

    def __init__(self, interpreter: Optional[str] = None, pythonpath: str = '',
                 folder: str = os.path.join(REPOSITORY, 'hooks')) -> None:
        self.interpreter = interpreter
        self.pythonpath = pythonpath
        self.folder = folder

    def path(self, hook: str) -> str:
        """Return a hook's absolute path, as xenstore names it."""
        return os.path.join(self.folder, hook)

    def run(self, *calls: Call, timeout: float = HOOK_TIMEOUT_S) -> List[HookRun]:
        """Make all calls at once and wait for them; nobody lives past the timeout."""
        return self.wait(*[self.start(call) for call in calls], timeout=timeout)

    def wait(self, *running: 'Running', timeout: float = HOOK_TIMEOUT_S) -> List[HookRun]:
        """Wait for calls that have begun; nobody lives past the timeout."""
        deadline = time.monotonic() + timeout
        # a list, not a generator: every call is looked at in every round
        while not all([one.is_done() for one in running]):
            if time.monotonic() > deadline:
                for one in running:
                    one.end()
            time.sleep(POLL_S / 2)
        return [one.result() for one in running]

    def start(self, call: Call) -> 'Running':
        """Begin a call, for a test that looks at the hook while it runs."""
        return Running(call.hook, self._argv(call), self._environment(call))

    def run_each(self, *calls: Call, timeout: float = HOOK_TIMEOUT_S) -> List[HookRun]:
        """Make one call after the other."""
        return [run for call in calls for run in self.run(call, timeout=timeout)]

    def _argv(self, call: Call) -> List[str]:
        return self.start_of(call.hook) + list(call.args)

    def start_of(self, hook: str) -> List[str]:
        """Return how a hook is started: by itself, or by an interpreter with its own options."""
        path = self.path(hook)
        if not self.interpreter:
            return [path]
        with open(path, encoding='utf-8') as file:
            program, *options = file.readline().split() or ['']
        return [self.interpreter] + (options if 'python' in program else []) + [path]

    def _environment(self, call: Call) -> Dict[str, str]:
        environment = dict(call.environment)
        if self.pythonpath:
            environment['PYTHONPATH'] = self.pythonpath
        return environment

    def udev_vif(self, action: str, domid: int, devid: int) -> Call:
        """Return udev's call for an event of a backend device."""
        environment = {
            'ACTION': action, 'SUBSYSTEM': 'xen-backend', 'SEQNUM': '4711',
            'DEVPATH': '/devices/vif-%d-%d' % (domid, devid), 'XENBUS_TYPE': 'vif',
            'XENBUS_PATH': 'backend/vif/%d/%d' % (domid, devid),
            'XENBUS_BASE_PATH': 'backend'}
        if action in LIVE_ACTIONS:
            environment.update({'vif': 'vif%d.%d' % (domid, devid),
                                'script': self.path('vif')})
        return Call('vif', (action, 'type_if=vif'), environment)

    def udev_tap(self, action: str, domid: int, devid: int) -> Call:
        """Return udev's call for an event of an emulated NIC."""
        tap = 'tap%d.%d' % (domid, devid)
        return Call('vif', (action, 'type_if=tap'), {
            'ACTION': action, 'SUBSYSTEM': 'net', 'SEQNUM': '4712', 'IFINDEX': '42',
            'DEVPATH': '/devices/virtual/net/' + tap, 'INTERFACE': tap})

    def locking_changed(self, domain: Domain, vif: VifRecord) -> List[Call]:
        """Return what xenopsd calls when a running VIF's locking mode changes."""
        kinds = ('vif', 'tap') if domain.hvm else ('vif',)
        return [Call('setup-vif-rules',
                     ('classic', '%s%d.%d' % (kind, domain.domid, vif.devid),
                      domain.uuid, str(vif.devid), 'filter'), XENOPSD_ENVIRONMENT)
                for kind in kinds]

    def moved(self, domain: Domain, vif: VifRecord) -> List[Call]:
        """Return what xenopsd calls when a running VIF moves to another network."""
        environment = dict(XENOPSD_ENVIRONMENT)
        environment.update({
            'script': self.path('vif'), 'XENBUS_TYPE': 'vif',
            'XENBUS_PATH': 'backend/vif/%d/%d' % (domain.domid, vif.devid),
            'XENBUS_BASE_PATH': 'backend', 'XENBUS_PREFIX': '',
            'INTERFACE': 'vif%d.%d' % (domain.domid, vif.devid)})
        return [Call('vif', ('move', 'type_if=' + kind), environment)
                for kind in ('vif', 'tap')]


class Running:
    """A call of a hook under way; its output goes to files, so that no pipe can fill."""

    def __init__(self, name: str, argv: Sequence[str],
                 environment: Mapping[str, str]) -> None:
        self.name = name
        self._stdout = tempfile.TemporaryFile()
        self._stderr = tempfile.TemporaryFile()
        self._began = time.monotonic()
        self._seconds = 0.0
        # a session of its own: the timeout ends what the hook has started, too
        self._process = subprocess.Popen(
            argv, env=dict(environment), cwd='/', stdin=subprocess.DEVNULL,
            stdout=self._stdout, stderr=self._stderr, start_new_session=True)

    def is_done(self) -> bool:
        """Tell whether the hook has ended, and note when."""
        if self._process.poll() is None:
            return False
        self._seconds = self._seconds or time.monotonic() - self._began
        return True

    def state(self) -> str:
        """Return the kernel's letter for what the hook does: T, it is stopped; Z, it has ended."""
        with open('/proc/%d/stat' % self._process.pid) as stat:
            return stat.read().rsplit(')', 1)[1].split()[0]

    def signal(self, number: int) -> None:
        """Send the hook a signal, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def has_open(self, path: str) -> bool:
        """Tell whether the hook, or a process that works for it, has a file open: its lock, say."""
        later = [pid for pid in os.listdir('/proc') if pid.isdigit()
                 and int(pid) >= self._process.pid]
        return any(path in open_files(pid) and is_in_this_sandbox(pid) for pid in later)

    def said_so_far(self) -> str:
        """Return what the hook has written to stderr by now."""
        return os.pread(self._stderr.fileno(), 1 << 16, 0).decode('utf-8', 'replace')

    def end(self) -> None:
        """Kill the hook and its children."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def result(self) -> HookRun:
        """Return what came of it."""
        texts = []
        for file in (self._stdout, self._stderr):
            with file:
                file.seek(0)
                texts.append(file.read().decode('utf-8', 'replace'))
        return HookRun(self.name, self._process.returncode, texts[0], texts[1],
                       self._seconds)


def is_in_this_sandbox(pid: str) -> bool:
    """Tell whether a process sees our files; another sandbox has others under the same names."""
    try:
        return os.readlink('/proc/%s/ns/mnt' % pid) == os.readlink('/proc/self/ns/mnt')
    except OSError:
        return False        # it has ended


def open_files(pid: str) -> Set[str]:
    """Return the files that a process has open, none if it has ended."""
    folder = '/proc/%s/fd' % pid
    try:
        return {os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)}
    except OSError:     # a descriptor, or the process, has gone in this very moment
        return set()
