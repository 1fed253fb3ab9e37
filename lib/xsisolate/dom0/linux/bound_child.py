"""A process that ends with the daemon that has started it."""
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
STOPS = (signal.SIGTERM, signal.SIGINT)


def bind_to_daemon() -> bool:
    """Have this process end with the daemon; return whether the daemon is still there."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1 and len(sys.argv) > 1 and sys.argv[1] != '1':
        return False    # the daemon has gone before we asked to hear of it
    for number in STOPS:
        signal.signal(number, _stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return True


def _stop(*_: object) -> None:
    """End, so that a session is logged out on the way; once: a daemon says it, and then ends."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)
