"""The daemon's child that keeps what switches have refused: they forget it after a minute.

    switch: flows learned for a minute ─► this process ─► /run/xsisolate/refused.json ─► commands
                                               └──► syslog: a line for each VIF, reason and minute

A process of its own, for the daemon must not wait while a full record is read. However much there
is to read, it takes a twentieth of a core at most.
"""
import gc
from time import monotonic, sleep
from typing import Dict

from xsisolate.dataplane.refusals import read_book, read_now, write_book
from xsisolate.dom0.linux.bound_child import bind_to_daemon
from xsisolate.dom0.linux.syslog import Log
from xsisolate.errors import XsisolateError
from xsisolate.planner.refusal_book import Book, Row, Sum

LOOK_S = 10.0           # between two looks: the switch keeps a kind for a minute
REST = 20               # ... or so many times as long as the last look took, up to
LOOK_MOST_S = 45.0
SUMMARY_S = 60.0


def main() -> None:
    """Keep the record until the daemon ends."""
    if bind_to_daemon():
        Recorder(Log('xsisolate-refused')).run()


class Recorder:
    """The record, and what syslog has yet to be told."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._book = self._read_book()
        self._untold: Dict[Sum, int] = {}
        self._next_summary = monotonic() + SUMMARY_S
        self._complaint = ''

    def _read_book(self) -> Book:
        try:
            return read_book() or Book()
        except XsisolateError as error:
            self._log.warning('record begun anew', reason=error)
            return Book()

    def run(self) -> None:
        """Look for ever."""
        while True:
            began = monotonic()
            self.look()
            sleep(min(max(LOOK_S, REST * (monotonic() - began)), LOOK_MOST_S))

    def look(self) -> None:
        """Read what switches hold, and keep it."""
        try:
            for total, frames in read_now(self._book).items():
                self._untold[total] = self._untold.get(total, 0) + frames
            write_book(self._book)
            self._complaint = ''
        except XsisolateError as error:
            if str(error) != self._complaint:
                self._log.warning('refusals are not read', error=error)
            self._complaint = str(error)
        if monotonic() >= self._next_summary:
            self._next_summary = monotonic() + SUMMARY_S
            self._tell()
        gc.collect()

    def _tell(self) -> None:
        """Write a line for each VIF and reason of which frames were refused since the last time.

        What a permissive VIF would have refused, and has let pass, has a line of its own.
        """
        last: Dict[Sum, Row] = {}
        for row in self._book.rows.values():
            total = row.total
            if total and total in self._untold and (
                    total not in last or row.last > last[total].last):
                last[total] = row
        for total, frames in sorted(self._untold.items()):
            latest = last.get(total)
            self._log.info('would refuse' if total.passed else 'refused', vif=total.owner.vif,
                           vm=total.owner.vm or None, reason=total.shown, frames=frames,
                           last=latest and describe_last(latest))
        self._untold.clear()


def describe_last(row: Row) -> str:
    """Return what of a kind is said in syslog."""
    refusal = row.refusal
    return '%s to %s %s' % (refusal.source or refusal.source_mac,
                            refusal.target or refusal.target_mac, refusal.service)


if __name__ == '__main__':
    main()
