"""A machine that has no Python 3.6 runs the same tests, but for those that are 3.6's own."""
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from sandbox.pythons import DOM0S, ROOT, has_dom0s

TESTS = Path(ROOT, 'tests')
FOLDER = os.path.basename(os.path.dirname(os.path.dirname(DOM0S)))
# In a mount namespace of its own, and without an environment that could name another.
WITHOUT = '[ ! -e "$1" ] || mount -t tmpfs none "$1"\nshift\nexec "$@"'


def without_dom0s(*command: str) -> str:
    """Run a command as on a machine that has no Python 3.6; return what it prints."""
    done = subprocess.run(
        ['unshare', '--mount', 'sh', '-ec', WITHOUT, 'sh', os.path.join(ROOT, FOLDER),
         sys.executable, *command], cwd=ROOT, stdin=subprocess.DEVNULL, encoding='utf-8',
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'PYTHONPATH': 'lib:tests/programs',
             'LC_ALL': 'C'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def modules_with(words: str) -> List[str]:
    """Return the modules below tests/ in which a regular expression is found."""
    return [str(path.relative_to(TESTS)) for path in sorted(TESTS.rglob('*.py'))
            if re.search(words, path.read_text(encoding='utf-8'))]


def test_one_module_knows_where_it_is() -> None:
    assert modules_with(re.escape(FOLDER)) == ['programs/sandbox/pythons.py']


@pytest.mark.parametrize('module', modules_with(r'parametrize.*by_name\(\)|= .*by_name\(\)'))
def test_without_it_no_test_is_made_for_it(module: str) -> None:
    collect = ('-m', 'pytest', '-q', '--collect-only', os.path.join('tests', module))
    said = without_dom0s(*collect)
    assert '::' in said and '3.6' not in said and DOM0S not in said
    if has_dom0s():     # otherwise this would prove nothing
        there = subprocess.check_output([sys.executable, *collect], cwd=ROOT, encoding='utf-8',
                                        stdin=subprocess.DEVNULL)
        assert '3.6]' in there or DOM0S in there


def test_without_it_the_suite_starts_nothing_by_it() -> None:
    said = without_dom0s('-c', '''
import suite
from sandbox.pythons import for_hooks
for part in ('all', 'lint') + suite.LIBRARY + suite.PROGRAMS + suite.ASKED_FOR:
    print(suite.plan(part))
print(for_hooks())''')
    assert 'pytest' in said and FOLDER not in said and 'Python 3.6' not in said
    assert said.splitlines()[-1] == sys.executable


def test_without_it_a_test_of_each_python_passes() -> None:
    said = without_dom0s('-m', 'pytest', '-q',
                         'tests/system/resync/test_sync_failures.py::test_as_a_program')
    assert re.search('^1 passed in', said, re.M), said
