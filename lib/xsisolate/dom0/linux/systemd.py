"""systemd and udev: their units, the rules that udev has read, and what systemd is told of us."""
import os
import socket
from typing import Iterable, List, Optional

from xsisolate.dom0.linux.process import CommandFailed, run

TIMEOUT_S = 90.0        # of a unit that starts: systemd's own


def missing_units(units: Iterable[str]) -> List[str]:
    """Return the units that are not both enabled and running."""
    return [unit for unit in units if not (_says_yes('is-enabled', unit)
                                           and _says_yes('is-active', unit))]


def present_units(units: Iterable[str]) -> List[str]:
    """Return the units that are enabled or running."""
    return [unit for unit in units if _says_yes('is-enabled', unit)
            or _says_yes('is-active', unit)]


def unit_state(unit: str) -> str:
    """Return what systemd says of a unit (active, inactive, failed, ...), or why it does not."""
    try:
        text = run(('systemctl', 'show', '-p', 'ActiveState', unit))
    except CommandFailed:
        return 'unknown'
    return dict(line.split('=', 1) for line in text.splitlines() if '=' in line).get(
        'ActiveState') or 'unknown'


def start_units(units: Iterable[str]) -> None:
    """Have units started, now and at each boot."""
    for unit in units:
        run(('systemctl', 'enable', unit), timeout=TIMEOUT_S)
        run(('systemctl', 'start', unit), timeout=TIMEOUT_S)


def stop_units(units: Iterable[str]) -> None:
    """Have units stopped, now and for good."""
    for unit in units:
        run(('systemctl', 'stop', unit), timeout=TIMEOUT_S)
        run(('systemctl', 'disable', unit), timeout=TIMEOUT_S)


def reload_files() -> None:
    """Have systemd read its units anew, and udev its rules, which it would do seconds later."""
    run(('udevadm', 'control', '--reload'))
    run(('systemctl', 'daemon-reload'), timeout=TIMEOUT_S)


def _says_yes(question: str, unit: str) -> bool:
    try:
        run(('systemctl', '--quiet', question, unit))
    except CommandFailed:
        return False
    return True


# --- sd_notify(3): a datagram to the socket that systemd names -------------------------------


def notify(state: str) -> bool:
    """Tell systemd `READY=1`, `WATCHDOG=1`, `STATUS=...`; False if systemd does not listen."""
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
