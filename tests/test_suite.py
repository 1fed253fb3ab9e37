"""The suite's own arithmetic: what is counted, what is tried again, and what fails the run."""
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest

import suite
from sandbox.pythons import CURRENT

# Writes pytest's report: of 10 tests the named ones fail so often as is said, then they pass.
FAKE_PYTEST = r'''
import os, sys
from xml.sax.saxutils import quoteattr
home = os.path.dirname(sys.argv[0])
*options, report = [word for word in sys.argv[1:] if word.startswith('-')]
names = [word.partition('::')[2] for word in sys.argv[1:] if '::' in word]
with open(home + '/calls', 'a') as calls:
    print(*names, os.environ['HOOK_PYTHON'], os.environ['HOOK_SERVER'], *options, file=calls)
with open(home + '/calls') as calls:
    number = len(calls.readlines())
failing = [line.split()[0] for line in open(home + '/failing')
           if number <= int(line.split()[1]) and (not names or line.split()[0] in names)]
cases = ['<testcase classname="tests.t" name=%s><failure/></testcase>' % quoteattr(name)
         for name in failing]
open(report.partition('=')[2], 'w').write(
    '<testsuites><testsuite tests="%d" failures="%d" errors="0" skipped="0">%s</testsuite>'
    '</testsuites>' % (len(names) or 10, len(failing), ''.join(cases)))
sys.exit(bool(failing))
'''
Outcome = Tuple[int, List[str]]
Play = Callable[..., Outcome]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
         capsys: pytest.CaptureFixture[str]) -> Play:
    """Run the suite over steps of ten tests; {name: how often it fails} for each step."""
    def run(*steps: Dict[str, int]) -> Outcome:
        made = []
        for number, failing in enumerate(steps):
            home = tmp_path / str(number)
            home.mkdir()
            (home / 'pytest').write_text(FAKE_PYTEST)
            (home / 'failing').write_text(''.join('%s %d\n' % one for one in failing.items()))
            made.append(suite.Step('step %d' % number, (CURRENT, str(home / 'pytest'), '-q'),
                                   '/hook/python', str(home / 'report.xml'), True, ('tests/t',)))
        monkeypatch.setattr(suite, 'plan', lambda part: made)
        monkeypatch.chdir(suite.ROOT)
        code = suite.main(['suite.py', 'all'])
        return code, capsys.readouterr().out.splitlines()[-3:]

    return run


def test_all_pass(play: Play) -> None:
    code, said = play({}, {})
    assert code == 0
    assert said[1:] == ['0 needed a second try', '20 passed, 0 failed, 0 skipped']


def test_a_test_that_fails_twice_has_failed(play: Play) -> None:
    code, said = play({'test_a': 2}, {})
    assert code == 1
    assert said[1:] == ['0 needed a second try', '19 passed, 1 failed, 0 skipped']


def test_two_that_need_a_second_try_are_named_and_forgiven(play: Play) -> None:
    code, said = play({'test_a': 1}, {'test_b[x]': 1})
    assert code == 0
    assert said[1:] == ['2 needed a second try: tests/t.py::test_a tests/t.py::test_b[x]',
                        '20 passed, 0 failed, 0 skipped']


@pytest.mark.parametrize('steps', [
    [{'test_a': 1, 'test_b': 1, 'test_c': 1}], [{'test_a': 1, 'test_b': 1}, {'test_c': 1}]],
    ids=['one step', 'two steps'])
def test_three_that_need_a_second_try_fail_the_run(play: Play, steps: Any) -> None:
    code, said = play(*steps)
    assert code == 1
    assert 'MORE THAN 2' in said[0]
    assert said[1] == '3 needed a second try: ' + ' '.join(
        'tests/t.py::test_' + letter for letter in 'abc')
    assert said[2] == '%d passed, 3 failed, 0 skipped' % (10 * len(steps) - 3)


def test_one_of_two_that_fails_again_fails_both(play: Play) -> None:
    code, said = play({'test_a': 1, 'test_b': 2})
    assert code == 1
    assert said[1:] == ['0 needed a second try', '8 passed, 2 failed, 0 skipped']


def test_many_failures_are_not_tried_again(play: Play, tmp_path: Path) -> None:
    code, said = play({'test_%d' % number: 1 for number in range(5)})
    assert code == 1 and said[2] == '5 passed, 5 failed, 0 skipped'
    assert len((tmp_path / '0' / 'calls').read_text().splitlines()) == 1


def test_the_second_try_is_of_the_same_kind(play: Play, tmp_path: Path) -> None:
    """The same options, the same Python for the hooks, and their server; the failed tests only."""
    play({'test_a': 1, 'test_b': 1})
    assert (tmp_path / '0' / 'calls').read_text().splitlines() == [
        '/hook/python 1 -q', 'test_a test_b /hook/python 1 -q']


@pytest.mark.parametrize('argv', [
    ('/nowhere/python',), (sys.executable, '-c', 'import os; os.abort()'),
    (sys.executable, '-c', '')], ids=['not there', 'died', 'no report'])
def test_a_step_without_a_report(tmp_path: Path, argv: Sequence[str]) -> None:
    """One that ends badly is one failure; one that ends well without a report proves nothing."""
    step = suite.Step('step', tuple(argv), report=str(tmp_path / 'report.xml'), tests=('x',))
    assert suite.run(step, '1/1').counts == suite.Count(failed=1)


def test_steps_side_by_side_are_the_environments(tmp_path: Path) -> None:
    import subprocess
    for value, expected in ((None, '3'), ('2', '2'), ('', '3')):
        environ = {name: text for name, text in os.environ.items() if name != 'AT_ONCE'}
        environ.update({'AT_ONCE': value} if value is not None else {})
        said = subprocess.check_output(
            [sys.executable, '-c', 'import suite; print(suite.AT_ONCE)'],
            cwd=os.path.dirname(suite.__file__), env=environ)
        assert said.decode().strip() == expected
