"""What commands print with: harmless names, tables that fit, colours and progress on terminals."""
import io
import os
import pty
import select
import subprocess
import sys
from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox.hooks import REPOSITORY
from xsisolate.cli.output import ISOLATE, Cell, cut, printable, say, table, width

pytestmark = pytest.mark.any_python
PYTHONS = sorted({sys.executable, os.environ.get('HOOK_PYTHON') or sys.executable})


@pytest.mark.parametrize('text, shown', [
    ('red1', 'red1'), ('a\nb', r'a\nb'), ('\x1b[31mred', r'\x1b[31mred'), ('\x00\x7f', r'\x00\x7f'),
    ('\u202eevil', r'\u202eevil'), ('a\u200bb\ufeff', r'a\u200bb\ufeff'), ('\u2028', r'\u2028'),
    ('\u2066x', r'\u2066x'), ('\ud800', r'\ud800'), ('\ue000', r'\ue000'), ('漢字', '漢字'),
    ('é e\u0301', 'é e\u0301'), ('שלום', '\u2068שלום\u2069'), ('x١', '\u2068x١\u2069'), ('', '')])
def test_printable(text: str, shown: str) -> None:
    assert printable(text, 'utf-8') == shown


def test_printable_where_little_can_be_encoded() -> None:
    assert printable('é漢ש', 'ascii') == r'\xe9\u6f22\u05e9'
    assert printable('é漢', 'latin-1') == r'é\u6f22'


@given(st.text())
def test_any_name_stays_one_harmless_line(text: str) -> None:
    shown = printable(text, 'utf-8')
    assert all(char.isprintable() or char in '\u2068\u2069' for char in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode('utf-8')
    assert printable(text, 'ascii').isascii() if hasattr(str, 'isascii') else True


@pytest.mark.parametrize('text, columns', [
    ('abc', 3), ('漢字', 4), ('e\u0301', 1), ('\u2068שלום\u2069', 4), ('', 0)])
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(alphabet='ab漢é\u0301ש', max_size=30), st.integers(2, 40))
def test_cut(text: str, columns: int) -> None:
    shown = cut(printable(text, 'utf-8'), columns)
    assert width(shown) <= columns
    assert shown.count(ISOLATE) == shown.count('\u2069')


def test_table() -> None:
    lines = table(('NAME', 'N'), [['a', 5], [Cell('漢字', 'bad'), 1000]])
    assert lines == ['NAME     N', 'a        5', '漢字  1000']
    assert table(('A', 'B'), []) == ['A  B']


@given(st.lists(st.lists(st.text(alphabet='ab漢ש\n', max_size=50), min_size=3, max_size=3),
                max_size=5), st.integers(30, 90))
def test_tables_fit(rows: List[List[str]], columns: int) -> None:
    lines = table(('A', 'B', 'C'), [[printable(text, 'utf-8') for text in row] for row in rows],
                  columns)
    assert len(lines) == 1 + len(rows) and all(width(line) <= columns for line in lines)


def test_say_escapes_what_cannot_be_encoded() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding='ascii', errors='strict')
    say('漢', file=stream)
    stream.flush()
    assert raw.getvalue() == b'\\u6f22\n'


PROGRAM = '''
import sys, time
sys.path.insert(0, %r)
from xsisolate.cli import output
output.QUIET_S = 0.2
output.say(*output.table(('NAME', 'STATE'), [['x' * 200, output.Cell('bad', 'bad')]],
                         output.screen_width()))
with output.Progress('working', 9) as progress:
    for _ in range(9):
        time.sleep(0.06)
        progress.step('part')
''' % os.path.join(REPOSITORY, 'lib')


def on_terminal(python: str, **environ: str) -> str:
    """Run the program on a terminal of 80 columns; return what that was sent."""
    import fcntl
    import struct
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    env = dict({'TERM': 'xterm', 'LC_ALL': 'C'}, **environ)
    child = subprocess.Popen([python, '-c', PROGRAM], stdin=slave, stdout=slave, stderr=slave,
                             env=env)
    os.close(slave)
    data = b''
    while select.select([master], [], [], 20)[0]:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break           # the child has closed its end
        if not piece:
            break
        data += piece
    os.close(master)
    assert child.wait() == 0
    return data.decode('ascii').replace('\r\n', '\n')


def piped(python: str) -> Tuple[str, str]:
    """Run the program without a terminal."""
    done = subprocess.run([python, '-c', PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, env={'LC_ALL': 'C', 'TERM': 'xterm'},
                          encoding='ascii')
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize('python', PYTHONS)
def test_on_a_terminal(python: str) -> None:
    said = on_terminal(python)
    rows = said.split('\n')
    assert '\x1b[31mbad\x1b[0m' in rows[1] and '..  ' in rows[1] and 'x' * 73 not in rows[1]
    assert '\r\x1b[Kxsisolate: working: ' in said and ' of 9 part' in said
    assert said.endswith('\r\x1b[K')


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('environ', [{'NO_COLOR': '1'}, {'TERM': 'dumb'}])
def test_no_colours(python: str, environ: Dict[str, str]) -> None:
    said = on_terminal(python, **environ)
    assert '\x1b[31m' not in said and '..  bad' in said


@pytest.mark.parametrize('python', PYTHONS)
def test_in_a_pipe(python: str) -> None:
    """Nothing is cut, coloured or overwritten."""
    out, err = piped(python)
    assert 'x' * 200 + '  bad\n' in out and '\x1b' not in out and not err
