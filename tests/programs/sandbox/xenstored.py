"""The real oxenstored at its default socket, and Dom0's connection to it."""
import glob
import hashlib
import os
import signal
import socket
import subprocess
import tempfile
from typing import Optional

from sandbox.guest import GuestConnection
from sandbox.process import LabError, run, start, stop, wait_until
from sandbox.wire import INTRODUCE, RELEASE, Connection

# Debian's /usr/sbin/oxenstored is a wrapper that first looks for a hypervisor.
BINARIES = '/usr/lib/xen-*/bin/oxenstored'
SOCKET = '/run/xenstored/socket'
RINGS = '/run/xen/rings'
CONFIG = '/run/xen/oxenstored.conf'
LOG = '/var/log/xen/oxenstored.out'
STUB = os.path.join(os.path.dirname(__file__), 'oxenstored_stub.c')

# The quotas of a host; how long a value may be is part of what we test.
SETTINGS = '''\
quota-activate = true
quota-maxentity = 8192
quota-maxsize = 2048
quota-path-max = 1024
perms-activate = true
perms-watch-activate = true
persistent = false
xenstored-kva = /proc/xen/xsd_kva
xenstored-port = /proc/xen/xsd_port
'''


class Xenstored:
    """oxenstored of one sandbox."""

    def __init__(self) -> None:
        self.process: Optional['subprocess.Popen[bytes]'] = None

    def start(self) -> None:
        """Start oxenstored with an empty store and wait until it listens."""
        os.makedirs(RINGS, exist_ok=True)
        if not os.path.exists(RINGS + '/events'):
            os.mkfifo(RINGS + '/events')
        with open(CONFIG, 'w') as config:
            config.write(SETTINGS)
        self.process = start(
            [find_binary(), '--no-fork', '--config-file', CONFIG], LOG,
            env={'LD_PRELOAD': build_stub(), 'LAB_RINGS': RINGS})
        wait_until(self.is_listening, 'oxenstored')

    def is_listening(self) -> bool:
        """Tell whether the socket answers."""
        probe = Dom0Connection()
        try:
            probe.connect()
        except OSError:
            return False
        finally:
            probe.close()
        return True

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """Stop oxenstored, politely or not; what it held is gone."""
        if self.process:
            stop(self.process, sig)
            self.process = None


class Dom0Connection(Connection):
    """A client that is Dom0, as everyone is on the unix socket."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)

    def connect(self) -> None:
        """Connect; OSError when xenstored does not listen."""
        self._socket.connect(SOCKET)

    def connect_again(self) -> None:
        """Connect to a xenstored that has been restarted."""
        self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self.connect()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _receive(self, length: int) -> bytes:
        data = b''
        while len(data) < length:
            piece = self._socket.recv(length - len(data))
            if not piece:
                raise LabError('oxenstored hung up')
            data += piece
        return data

    def introduce(self, domid: int) -> GuestConnection:
        """Tell xenstored of a new domain; return the connection its guest would have."""
        self.request(INTRODUCE, str(domid), '1', '1')
        return GuestConnection(domid, RINGS)

    def release(self, domid: int) -> None:
        """Tell xenstored that a domain is gone."""
        self.request(RELEASE, str(domid))


def find_binary() -> str:
    """Return the newest installed oxenstored."""
    found = sorted(glob.glob(BINARIES))
    if not found:
        raise LabError('oxenstored is not installed: no %s' % BINARIES)
    return found[-1]


def build_stub() -> str:
    """Compile the stub unless this very text was compiled before; return its path."""
    with open(STUB, 'rb') as source:
        digest = hashlib.sha256(source.read()).hexdigest()[:16]
    library = os.path.join(cache_folder(), 'oxenstored-stub-%s.so' % digest)
    if not os.path.exists(library):
        fresh = '%s.%d' % (library, os.getpid())
        run(['gcc', '-shared', '-fPIC', '-O1', '-o', fresh, STUB, '-ldl'])
        os.rename(fresh, library)       # two sandboxes may build at once
    return library


def cache_folder() -> str:
    """Return a folder for compiled files that nobody else can write to."""
    folder = os.path.join(tempfile.gettempdir(), 'xsisolate-lab-%d' % os.geteuid())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    info = os.lstat(folder)
    if info.st_uid != os.geteuid() or info.st_mode & 0o077 or os.path.islink(folder):
        raise LabError('%s is not ours alone' % folder)
    return folder
