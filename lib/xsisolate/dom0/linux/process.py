"""The one door to other programs: an argument list, a deadline, one kind of failure."""
import os

from xsisolate.errors import HostError
from xsisolate.typing_compat import TYPE_CHECKING, Dict, Optional, Sequence

if TYPE_CHECKING:
    import subprocess

# udev hands its children no PATH; what is passed on is for sandboxes that
# keep OVS or xenstored somewhere else.
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
PASSED_ON = ('OVS_RUNDIR', 'OVS_DBDIR', 'XENSTORED_PATH')
COMMAND_SHOWN = 120     # characters of the command and of its complaint in our message
COMPLAINT_SHOWN = 400
REAP_S = 1.0            # how long a killed program may take to be gone


class CommandFailed(HostError):
    """A program could not be started, said no, or took too long."""

    def __init__(self, argv: Sequence[str], why: str, code: Optional[int] = None) -> None:
        self.why, self.code = why, code     # without the command; None: it did not end by itself
        super().__init__('%s: %s' % (_one_line(' '.join(argv), COMMAND_SHOWN),
                                     _one_line(why, COMPLAINT_SHOWN)))


def run(argv: Sequence[str], *, timeout: float = 10.0) -> str:
    """Run a program and return its stdout; raise CommandFailed unless it ends with 0."""
    import subprocess  # 11 ms on Python 3.6, which a run without programs does not pay
    # as UTF-8 by ourselves: under udev's LC_ALL=C Python 3.6 would refuse what is not ASCII
    command = [word.encode('utf-8', 'surrogateescape') for word in argv]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=environment(),
                                 start_new_session=True, encoding='utf-8', errors='replace')
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # the message has the path already, twice is no better
        raise CommandFailed(argv, 'cannot start: %s' % (
            getattr(error, 'strerror', None) or error)) from error
    try:
        stdout, stderr = child.communicate(timeout=timeout)
    except BaseException as error:
        _stop(child)
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandFailed(argv, 'no answer within %g s' % timeout) from error
        raise
    if child.returncode:
        raise CommandFailed(argv, _status(child.returncode) + (stderr.strip() or stdout.strip()),
                            child.returncode)
    return stdout


def environment() -> Dict[str, str]:
    """Return the environment that every program gets, whatever ours is."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return dict(passed_on, PATH=PATH, LC_ALL='C')


def _stop(child: 'subprocess.Popen[str]') -> None:
    """End a program and the children it may have; one that the kernel holds is left behind."""
    from signal import SIGKILL
    from subprocess import TimeoutExpired
    try:
        os.killpg(child.pid, SIGKILL)   # its own session's: see `start_new_session`
        child.wait(REAP_S)
    except (OSError, TimeoutExpired):
        pass
    for pipe in (child.stdout, child.stderr):
        if pipe:
            pipe.close()


def _status(code: int) -> str:
    """Say how a program ended."""
    return 'exit %d: ' % code if code > 0 else 'killed by signal %d: ' % -code


def _one_line(text: str, limit: int) -> str:
    """Return text as one printable line of at most `limit` characters."""
    line = ''.join(c if c.isprintable() else ' ' for c in text)
    line = ' '.join(line.split())
    return line if len(line) <= limit else line[:limit - 3] + '...'
