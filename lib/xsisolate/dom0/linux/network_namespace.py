"""Network namespaces without a name: they end with the process that made them.

However that ends, the kernel takes back the namespace with all its devices, and the other ends of
their veth pairs.
"""
import ctypes
import os
from contextlib import contextmanager

from xsisolate.errors import HostError
from xsisolate.typing_compat import Iterator

CLONE_NEWNET = 0x40000000
# Of the calling thread: another one may be elsewhere.
CURRENT = '/proc/thread-self/ns/net'


class NetworkNamespace:
    """A network namespace, as long as this is open."""

    def __init__(self) -> None:
        home = _open_current()
        try:
            _call('unshare', CLONE_NEWNET)
            try:
                self._file = _open_current()
            finally:
                _call('setns', home, CLONE_NEWNET)
        finally:
            os.close(home)

    @property
    def path(self) -> str:
        """A path of the namespace, for ip(8)."""
        return '/proc/%d/fd/%d' % (os.getpid(), self._file)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread in the namespace; sockets and programs that it starts there stay."""
        home = _open_current()
        try:
            _call('setns', self._file, CLONE_NEWNET)
            try:
                yield
            finally:
                _call('setns', home, CLONE_NEWNET)
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go of the namespace; it ends with the last socket in it."""
        os.close(self._file)


def _open_current() -> int:
    try:
        return os.open(CURRENT, os.O_RDONLY)
    except OSError as error:
        raise HostError('%s: cannot be opened: %s' % (CURRENT, error.strerror)) from error


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library that answers 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise HostError('%s refuses a network namespace: %s: run this as root'
                        % (name, os.strerror(ctypes.get_errno())))
