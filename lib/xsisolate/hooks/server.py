"""The hooks' server: a process that has imported everything, forked for each call of a hook.

    vif, setup-vif-rules ──► client ──socket──► server ──fork──► call
                                └── no server: call, in the hook's own process

A child is what the hook's process would have been: with its arguments, environment and
streams, it does one call and ends. So nothing is remembered from call to call, and a call
that fails does not harm another.
"""
import os
import signal
import socket
import subprocess  # noqa: F401
import sys
import time
from array import array
from typing import List, NamedTuple, NoReturn

from xsisolate.config.load import parse_config
from xsisolate.dom0.linux.systemd import notify
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.run_files import pool_networks  # noqa: F401
from xsisolate.errors import EXIT_HOST
from xsisolate.hooks import call
from xsisolate.hooks.client import GO, PATIENCE_S, READY, SOCKET, flush_streams
from xsisolate.paths import LIBRARY, rooted
from xsisolate.policy import network_labels  # noqa: F401

OTHER = b'other'            # it is of another release
BACKLOG = 256               # calls that wait to be taken
REQUEST_MAX = 1 << 16       # bytes; a hook with a larger call runs it itself
STREAMS = (0, 1, 2)
BEAT_S = 20.0               # systemd hears from us at least so often, and at most twice as often
PAUSE_S = 0.1               # when there are no more descriptors


class Call(NamedTuple):
    """A call that was handed over."""

    library: str
    argv: List[str]
    environ: List[bytes]        # NAME=value
    streams: List[int]


def main() -> int:
    """Serve until a signal ends us; calls that are under way are not ours any more."""
    log = Log('xsisolate-hooks')
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # the server does not wait for its children
    _import_the_rest(log)
    try:
        listener = _listen(rooted(SOCKET))
    except OSError as error:
        log.error('failed', task='listening for hooks', error=error)
        return EXIT_HOST
    log.info('serving')
    notify('READY=1')
    beat = time.monotonic()
    while True:
        _serve(listener, log)
        if time.monotonic() - beat > BEAT_S / 2:
            beat = time.monotonic()
            notify('WATCHDOG=1')


def _import_the_rest(log: Log) -> None:
    """Import what a call imports only when it needs it, as `subprocess` above.

    Otherwise each child would import it again, and after an upgrade it may be gone. PyYAML may be
    in a folder with modules of other packages, which only this import may see.
    """
    paths = list(sys.path)
    try:
        parse_config('version: 1', '')
    except Exception as error:      # of other modules too; a call that needs PyYAML reports it
        log.warning('without PyYAML', error=error)
    sys.path[:] = paths


def _listen(path: str) -> socket.socket:
    """Return a socket at this path that root can connect to; it takes an old one's place."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    new, before = '%s.%d' % (path, os.getpid()), os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(new)
        listener.listen(BACKLOG)
        os.rename(new, path)
    finally:
        os.umask(before)
    listener.settimeout(BEAT_S)
    return listener


def _serve(listener: socket.socket, log: Log) -> None:
    """Wait for a call, and have a child take it; if there can be none the caller is on his own."""
    try:
        connection, _ = listener.accept()
    except socket.timeout:
        return
    except OSError as error:
        log.warning('accept', error=error)
        time.sleep(PAUSE_S)
        return
    try:
        if not os.fork():
            _be_the_hook(listener, connection)
    except OSError as error:
        log.warning('fork', error=error)
    finally:
        connection.close()


# --- in the child --------------------------------------------------------------------------


def _be_the_hook(listener: socket.socket, connection: socket.socket) -> NoReturn:
    """Do one call and end, whatever happens."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        connection.settimeout(PATIENCE_S)
        _answer(connection)
    except OSError:
        pass        # the caller has gone, or does it himself
    finally:
        os._exit(0)


def _answer(connection: socket.socket) -> None:
    request = _receive(connection)
    if request.library != LIBRARY or len(request.streams) != len(STREAMS):
        connection.send(OTHER)
        return
    connection.send(READY)
    if connection.recv(len(GO)) != GO:
        return
    for stream, received in zip(STREAMS, request.streams):
        os.dup2(received, stream)
        os.close(received)
    os.environb.clear()
    for setting in request.environ:
        name, _, value = setting.partition(b'=')
        os.environb[name] = value
    code = call.run(request.argv)
    flush_streams()
    connection.send(b'%d' % code)


def _receive(connection: socket.socket) -> Call:
    """Return the call; see client.py. One that is too long is refused."""
    streams = array('i')
    data, extra, flags, _ = connection.recvmsg(REQUEST_MAX, socket.CMSG_SPACE(
        len(STREAMS) * streams.itemsize))
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        return Call('', [], [], [])
    for level, kind, rights in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            streams.frombytes(rights)
    library, count, *words = data.split(b'\0')
    arguments = int(count)
    return Call(os.fsdecode(library), [os.fsdecode(word) for word in words[:arguments]],
                words[arguments:], list(streams))
