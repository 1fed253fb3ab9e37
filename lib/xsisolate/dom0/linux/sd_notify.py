"""systemd's notification protocol: a datagram to the socket that it names (sd_notify(3))."""
import os
import socket
from typing import Optional


def notify(state: str) -> bool:
    """Tell systemd `READY=1`, `WATCHDOG=1`, `STATUS=...`; False if nobody listens."""
    path = os.environ.get('NOTIFY_SOCKET')
    if not path:
        return False
    address = '\0' + path[1:] if path.startswith('@') else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode('utf-8'), address)
        except OSError:
            return False
    return True


def watchdog_interval() -> Optional[float]:
    """Return the seconds within which systemd wants to hear from us, None if it does not."""
    text = os.environ.get('WATCHDOG_USEC', '')
    mine = os.environ.get('WATCHDOG_PID') in (None, str(os.getpid()))
    return int(text) / 1e6 if text.isdigit() and int(text) and mine else None
