"""systemd and udev: their units, and the rules that udev has read."""
from typing import Iterable, List

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
