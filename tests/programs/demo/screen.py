"""What the demo says: colours on a terminal, plain text elsewhere, progress meanwhile."""
import os
import sys
from typing import TextIO

COLOURS = {'good': '32', 'bad': '1;31', 'dim': '2', 'bold': '1', 'head': '1;36'}
ASCII = str.maketrans({'✓': 'Y', '·': '.', '–': '-', '…': '~', '─': '-', '✗': 'X'})


class Screen:
    """stdout for the result, stderr for progress."""

    def __init__(self, out: TextIO = sys.stdout, progress: TextIO = sys.stderr) -> None:
        self._out = out
        self._progress = progress
        self._colours = (out.isatty() and 'NO_COLOR' not in os.environ
                         and os.environ.get('TERM') != 'dumb')
        self._unicode = (out.encoding or '').lower().startswith('utf')

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour, if colours are wanted."""
        if not self._colours or not text:
            return text
        return '\033[%sm%s\033[0m' % (COLOURS[colour], text)

    def say(self, line: str = '') -> None:
        """Print a line of the result."""
        print(line if self._unicode else line.translate(ASCII), file=self._out, flush=True)

    def head(self, title: str) -> None:
        """Print a heading."""
        self.say()
        self.say(self.paint(title, 'head'))

    def progress(self, doing: str) -> None:
        """Tell what is going on; on a terminal the next word replaces it."""
        if self._progress.isatty():
            print('\r\033[K%s…' % doing if doing else '\r\033[K', end='',
                  file=self._progress, flush=True)
        elif doing:
            print('  %s ...' % doing, file=self._progress, flush=True)

    def verdict(self, fine: bool) -> str:
        """Return `ok` or `WRONG`."""
        return self.paint('ok', 'good') if fine else self.paint('WRONG', 'bad')
