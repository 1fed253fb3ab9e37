"""How far it is: a bar on a terminal, a line now and then elsewhere, JSON on request."""
import json
import shutil
import sys
import time
from typing import Any, Dict, Optional, TextIO

from xsisolate.migratevm.measure import KIB, lasting, sized

BAR_BEAT_S, LINE_BEAT_S, JSON_BEAT_S = 0.2, 10.0, 1.0
NARROWEST = 10


class Progress:
    """Told how many bytes have been moved and which part of the whole that is."""

    def __init__(self, as_json: bool = False, stream: Optional[TextIO] = None) -> None:
        self._stream = stream or (sys.stdout if as_json else sys.stderr)
        self._json = as_json
        self._bar = not as_json and self._stream.isatty()
        self._beat = JSON_BEAT_S if as_json else BAR_BEAT_S if self._bar else LINE_BEAT_S
        self.began = time.monotonic()
        self._next = self.began + self._beat
        self.moved = 0

    @property
    def elapsed(self) -> float:
        """The seconds since it began."""
        return time.monotonic() - self.began

    def __call__(self, moved: int, fraction: Optional[float]) -> None:
        """Note how far it is, and show it now and then; the end is always shown."""
        self.moved, now = moved, time.monotonic()
        if now >= self._next or fraction == 1.0:
            self._next = now + self._beat
            self._show(measure(moved, fraction, now - self.began))

    def _show(self, facts: Dict[str, Any]) -> None:
        if self._json:
            say_event('progress', self._stream, **facts)
        elif self._bar:
            columns = shutil.get_terminal_size().columns - 1
            print('\r\033[K%s' % draw(facts, columns), end='', file=self._stream, flush=True)
        else:
            print('migratevm: %s' % words(facts), file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the bar's line."""
        if self._bar and self.moved:
            print(file=self._stream, flush=True)


def measure(moved: int, fraction: Optional[float], seconds: float) -> Dict[str, Any]:
    """Return what there is to say of progress."""
    left = seconds / fraction * (1 - fraction) if fraction else None
    return {'bytes': moved, 'seconds': round(seconds, 1),
            'percent': None if fraction is None else round(100 * fraction, 1),
            'kb_per_s': int(moved / KIB / seconds) if seconds > 0 else 0,
            'seconds_left': None if left is None else round(left)}


def words(facts: Dict[str, Any]) -> str:
    """Return progress as one line.

    >>> words(measure(512 << 20, 0.25, 8))
    '25.0 %, 512.0 MiB, 65536 KB/s, 24 s left'
    """
    found = []
    if facts['percent'] is not None:
        found.append('%.1f %%' % facts['percent'])
    if facts['bytes']:
        found += [sized(facts['bytes']), '%d KB/s' % facts['kb_per_s']]
    if facts['seconds_left'] is not None:
        found.append('%s left' % lasting(facts['seconds_left']))
    return ', '.join(found)


def draw(facts: Dict[str, Any], columns: int) -> str:
    """Return progress as a bar that fits into so many columns."""
    text = words(facts)
    room = columns - len(text) - 3
    if facts['percent'] is None or room < NARROWEST:
        return text[:columns]
    full = int(room * facts['percent'] / 100)
    return '[%s%s] %s' % ('#' * full, '.' * (room - full), text)


def say_event(event: str, stream: Optional[TextIO] = None, **facts: Any) -> None:
    """Print one event as a line of JSON."""
    print(json.dumps(dict(facts, event=event), sort_keys=True), file=stream or sys.stdout,
          flush=True)
