"""One lock per bridge, and one per VIF.

udev, xenopsd and the daemon may all want to change a bridge's flows at once. Two hooks of the same
VIF must not run at once: neither may set up a link that the other has just set down. A process
that needs both locks takes the VIF's first.
"""
import fcntl
import os
import re
from time import monotonic, sleep

from xsisolate.errors import HostError
from xsisolate.paths import rooted
from xsisolate.typing_compat import TYPE_CHECKING, Callable, Optional, Tuple, Type, TypeVar
from xsisolate.vif_id import VifId

if TYPE_CHECKING:
    from types import TracebackType

FOLDER = '/run/xsisolate/lock'
BRIDGE = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,63}')
# Seconds between two tries; a hook holds the lock for some tens of milliseconds. Sixty waiters that
# poll all the time slow down the holder. If all of them polled rarely, the lock would sit idle. So
# only the waiter that holds the `+line` lock polls every ASK_S. The others poll more slowly, and
# still make progress if that waiter hangs.
LINE = '+line'                      # of the second file's name; no bridge's has a plus
VIFS = ('all', '+vifs')             # the VIFs' file
DEVID_BITS = 8
ASK_S = 0.001
PAUSE, PAUSE_MOST, GROWTH = 0.005, 0.05, 1.2


AnyLock = TypeVar('AnyLock', bound='_Lock')


class _Lock:
    """What every lock does: its file is open as long as it is held.

    The kernel gives it back when its holder dies, however it dies. The file
    stays: if it were removed, two processes could hold the lock at once.
    """

    def __init__(self, what: str, place: Tuple[str, str], deadline: float) -> None:
        self._what, self._place, self._deadline = what, place, deadline
        self._file = -1

    def __enter__(self: AnyLock) -> AnyLock:
        self._file = _open(*self._place)
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        os.close(self._file)

    def _take(self) -> None:
        """Lock the open file, or raise HostError when the deadline has passed."""
        raise NotImplementedError


class bridge_lock(_Lock):  # noqa: N801
    """Hold the bridge's lock; raise HostError if that takes more than `deadline` seconds.

    What must not be done without the lock asks for it as an argument.
    """

    def __init__(self, bridge: str, deadline: float = 30.0) -> None:
        self.bridge = bridge
        super().__init__('bridge ' + bridge, (bridge, ''), deadline)

    def _take(self) -> None:
        if not self._try(self._file):
            self._wait()
        _write_holder(self._file)

    def _wait(self) -> None:
        """Ask again and again: flock itself knows no deadline."""
        end, pause, is_next = monotonic() + self._deadline, PAUSE, False
        line = _open(self._place[0], LINE)
        try:
            while not self._try(self._file):
                if monotonic() >= end:
                    raise HostError('%s is still locked after %g s, by process %s' % (
                        self._what, self._deadline, _read_holder(self._file)))
                is_next = is_next or self._try(line)
                sleep(ASK_S if is_next else pause)
                pause = min(pause * GROWTH, PAUSE_MOST)
        finally:
            os.close(line)

    def _try(self, file: int) -> bool:
        return _is_granted(self._what, fcntl.flock, file)


class vif_lock(_Lock):  # noqa: N801
    """Hold a VIF's lock; raise HostError if that takes more than `deadline` seconds.

    It is a byte of one file for all: a file for each would stay for each domain that ever ran.
    """

    def __init__(self, vif: VifId, deadline: float) -> None:
        super().__init__('VIF ' + vif.vif, VIFS, deadline)
        self._byte = vif.domid << DEVID_BITS | vif.devid

    def _take(self) -> None:
        end = monotonic() + self._deadline
        while not _is_granted(self._what, fcntl.lockf, self._file, 1, self._byte):
            if monotonic() >= end:
                raise HostError('%s is still locked after %g s: another hook of it has not ended'
                                % (self._what, self._deadline))
            sleep(PAUSE)


def _open(bridge: str, suffix: str = '') -> int:
    """Return the open file that is locked."""
    if not BRIDGE.fullmatch(bridge):
        raise HostError('not a bridge name: %.80r' % bridge)
    folder = rooted(FOLDER)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        # os.open: programs that we start do not inherit it, and so not the lock
        return os.open(os.path.join(folder, bridge + suffix),
                       os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise HostError('cannot lock bridge %s: %s' % (bridge, error)) from error


def _is_granted(what: str, ask: Callable[..., object], file: int, *place: int) -> bool:
    """Lock a file, or a place in it, unless another process has; tell whether we have."""
    try:
        ask(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *place)
    except BlockingIOError:     # Linux says so of either kind
        return False
    except OSError as error:
        raise HostError('cannot lock %s: %s' % (what, error)) from error
    return True


def _write_holder(lock: int) -> None:
    """Leave our pid for the message of a waiter that gives up; a full disk must not stop us."""
    try:
        os.pwrite(lock, b'%-10d\n' % os.getpid(), 0)
    except OSError:
        pass


def _read_holder(lock: int) -> str:
    """Return the pid that the holder left."""
    try:
        return os.pread(lock, 16, 0).decode('ascii', 'replace').strip() or 'unknown'
    except OSError:
        return 'unknown'
