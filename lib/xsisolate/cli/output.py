"""What commands print with: tables, colours, progress; names that others chose made harmless.

A VM's name, and whatever a guest wrote, may hold newlines, terminal escapes, letters
that run from right to left, or characters that this terminal cannot show.
"""
import json
import os
import shutil
import sys
import unicodedata
from time import monotonic
from typing import Any, List, NamedTuple, Optional, Sequence, TextIO

GAP = '  '
NARROWEST = 6               # a column is not cut below that
QUIET_S = 1.0               # what takes less shows no progress
BEAT_S = 0.1
# Explicit directions, isolates, joiners, line ends: they would change what is beside them.
# Spaces but the plain one look like others, or like nothing.
HARMFUL = ('Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp', 'Zs')
RIGHT_TO_LEFT = ('R', 'AL', 'AN')
ISOLATE, END_ISOLATE = '\u2068', '\u2069'
STYLES = {'good': '32', 'bad': '31', 'warn': '33', 'bold': '1', 'dim': '2'}


class Cell(NamedTuple):
    """A text of a table, and the style in which a terminal shows it."""

    text: str
    style: str = ''


def say(*lines: str, file: Optional[TextIO] = None) -> None:
    """Print lines; what the stream cannot encode is escaped, not fatal (LC_ALL=C)."""
    stream = file or sys.stdout
    encoding = stream.encoding or 'ascii'
    for line in lines:
        print(line.encode(encoding, 'backslashreplace').decode(encoding), file=stream)


def say_json(value: Any) -> None:
    """Print a value as JSON, in ASCII."""
    print(json.dumps(value, indent=2, sort_keys=True))


def printable(text: str, encoding: str = '') -> str:
    """Return text that stays one line and does not touch what is beside it.

    >>> printable('a\\nb\\x1b[2J', 'ascii')
    'a\\\\nb\\\\x1b[2J'
    """
    encoding = encoding or sys.stdout.encoding or 'ascii'
    shown = ''.join(_escape(char, encoding) for char in text)
    if any(unicodedata.bidirectional(char) in RIGHT_TO_LEFT for char in shown):
        return ISOLATE + shown + END_ISOLATE
    return shown


def _escape(char: str, encoding: str) -> str:
    if unicodedata.category(char) not in HARMFUL or char == ' ':
        return char.encode(encoding, 'backslashreplace').decode(encoding)
    return char.encode('unicode_escape').decode('ascii')


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if unicodedata.category(char) in ('Mn', 'Me', 'Cf') else
               2 if unicodedata.east_asian_width(char) in 'WF' else 1 for char in text)


def cut(text: str, columns: int) -> str:
    """Return text shortened to so many columns."""
    if width(text) <= columns:
        return text
    isolated = text.startswith(ISOLATE)
    kept, used = '', 0
    for char in text:
        used += width(char)
        if used > columns - 2:
            break
        kept += char
    return kept + (END_ISOLATE if isolated else '') + '..'


def counted(number: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, 'error'), counted(2, 'error')
    ('1 error', '2 errors')
    """
    return '%d %s%s' % (number, what, 's' * (number != 1))


def screen_width() -> int:
    """Return the terminal's width; 0 if stdout is none: then nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def coloured(stream: TextIO) -> bool:
    """Tell whether a stream wants colours: a terminal, and NO_COLOR is not set."""
    return (stream.isatty() and not os.environ.get('NO_COLOR')
            and os.environ.get('TERM', 'dumb') != 'dumb')


def paint(text: str, style: str) -> str:
    """Return text in a style, if stdout is a terminal that wants that."""
    if not style or not coloured(sys.stdout):
        return text
    return '\033[%sm%s\033[0m' % (STYLES[style], text)


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]], columns: int = 0) -> List[str]:
    """Return a table's lines; cells are texts, numbers (to the right) or Cells.

    With `columns` the widest columns are cut until all of it fits.
    """
    cells = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row]
             for row in rows]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows)
             for at in range(len(titles))]
    widths = [max([width(title)] + [width(row[at].text) for row in cells])
              for at, title in enumerate(titles)]
    while columns and sum(widths) + len(GAP) * (len(widths) - 1) > columns and (
            max(widths) > NARROWEST):
        widths[widths.index(max(widths))] -= 1
    head = [Cell(title, 'bold') for title in titles]
    return [GAP.join(_pad(cell, size, to_right)
                     for cell, size, to_right in zip(row, widths, right)).rstrip()
            for row in [head] + cells]


def _pad(cell: Cell, size: int, to_right: bool) -> str:
    text = cut(cell.text, size)
    space = ' ' * (size - width(text))
    return space + paint(text, cell.style) if to_right else paint(text, cell.style) + space


class Progress:
    """How far a long job is, on stderr if that is a terminal, from the second second on."""

    def __init__(self, what: str, total: int = 0) -> None:
        self._what, self._total, self._done = what, total, 0
        self._next = monotonic() + QUIET_S
        self._shown = False

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *_: Any) -> None:
        if self._shown:
            print('\r\033[K', end='', file=sys.stderr, flush=True)

    def step(self, name: str = '') -> None:
        """Say that one piece more is done, or begun."""
        self._done += 1
        if monotonic() < self._next or not sys.stderr.isatty():
            return
        self._next, self._shown = monotonic() + BEAT_S, True
        count = '%d' % self._done + (' of %d' % self._total if self._total else '')
        say_part = '\r\033[Kxsisolate: %s: %s %s' % (self._what, count, printable(name, 'ascii'))
        print(say_part, end='', file=sys.stderr, flush=True)
