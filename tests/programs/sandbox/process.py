"""How the sandbox starts programs, so that none of them outlives it."""
import ctypes
import os
import signal
import subprocess
import time
from typing import Callable, Mapping, Optional, Sequence

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1

COMMAND_TIMEOUT_S = 30
STOP_TIMEOUT_S = 5
POLL_S = 0.002


class LabError(Exception):
    """The sandbox itself failed; never a verdict about the product."""


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Ask the kernel for a signal when the thread that forked this process ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, sig)


def run(argv: Sequence[str], stdin: str = '',
        timeout: float = COMMAND_TIMEOUT_S) -> str:
    """Run a program and return its stdout; raise LabError if it says no."""
    try:
        done = subprocess.run(argv, input=stdin, timeout=timeout, encoding='utf-8',
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError('%s: %s' % (' '.join(argv), error)) from error
    if done.returncode:
        raise LabError('%s: exit %d: %s' % (
            ' '.join(argv), done.returncode, done.stderr.strip()))
    return done.stdout


def start(argv: Sequence[str], log: str,
          env: Optional[Mapping[str, str]] = None) -> 'subprocess.Popen[bytes]':
    """Start a daemon that writes to the file `log` and dies with this process."""
    with open(log, 'ab') as output:
        try:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=output, env=env,
                                    preexec_fn=die_with_parent)
        except OSError as error:
            raise LabError('%s: %s' % (argv[0], error)) from error


def stop(process: 'subprocess.Popen[bytes]', sig: int = signal.SIGTERM) -> None:
    """End a program that `start` started and wait until it is gone."""
    process.send_signal(sig)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(true: Callable[[], object], what: str, timeout: float = 10) -> None:
    """Poll until `true()` is; raise LabError, naming `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise LabError('waited %g s in vain for %s' % (timeout, what))
        time.sleep(POLL_S)


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or waits for no more than to be reaped."""
    try:
        with open('/proc/%d/stat' % pid) as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] in 'ZX'
    except OSError:
        return True


def set_sysctl(name: str, value: int) -> None:
    """Write a kernel parameter of this process's network namespace."""
    with open(os.path.join('/proc/sys', name), 'w') as parameter:
        parameter.write(str(value))


def ip(lines: Sequence[str]) -> None:
    """Run commands of ip(8), given without the word ip, in one process."""
    run(['ip', '-batch', '-'], stdin='\n'.join(lines) + '\n')
