"""What was tried with packets."""
from typing import Any

from support.packets.check_rows import TALLY


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was tried, per family: rows that went as they should of rows played."""
    if not TALLY:
        return
    terminalreporter.section('packets: rows that went as they should, of rows played')
    for (kind, family), (good, played) in sorted(TALLY.items()):
        terminalreporter.line('%-24s %-14s %5d of %5d' % (kind, family, good, played))
    for kind in sorted({kind for kind, _ in TALLY}):
        counts = [count for (other, _), count in TALLY.items() if other == kind]
        terminalreporter.line('%-24s %-14s %5d of %5d' % (
            kind, 'all', sum(good for good, _ in counts), sum(played for _, played in counts)))
