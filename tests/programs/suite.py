"""Runs the tests as `make` names them, and adds up what they say.

    suite.py all | lint | unit | dom0 | ovs | packets | hooks | daemon | resilience | cli | xapi |
             selftest | migratevm | sandbox | demo | package
    suite.py mutants | kills | measure | explore | browser | upgrade | pythons

The last line is `N passed, N failed, N skipped`, over all of pytest's runs; the
exit code is 0 only if nothing failed. A run that ends without a verdict, and a
linter that complains, count as one failure each. The line before names the tests
that passed only at their second try: up to two of them count as passed, more than
two as failed. AT_ONCE=2 runs two steps side by side instead of three.
"""
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Dict, List, NamedTuple, Optional, Sequence, Tuple
from xml.etree import ElementTree

from sandbox.pythons import CURRENT, DOM0S, ROOT, has_dom0s, others

RESULTS = os.path.join(ROOT, '.cache', 'results')
BEGAN = time.monotonic()
STEP_TIMEOUT_S = 1500
INTERRUPTED = 130
SECOND_TRIES = 4            # a step with more failures is not tried again
FORGIVEN = 2                # tests of the whole run that may need a second try
# Steps side by side: each sandbox is a namespace of its own.
AT_ONCE = int(os.environ.get('AT_ONCE') or 3)
# One for the whole run, so that a second try tries the same; on CI always the same.
SEED = int(os.environ.get('SUITE_SEED') or (
    3213307201 if os.environ.get('CI') else random.SystemRandom().randrange(1 << 32)))
# How much is tried of what is drawn at random: `make test` is quick, `make explore` thorough.
EXPLORE = int(os.environ.get('EXPLORE') or 1)
THOROUGH = '20'
# Where the interpreter itself matters; the rest starts the hooks as programs.
LIBRARY = ('unit', 'dom0')
PROGRAMS = ('ovs', 'packets', 'hooks', 'daemon', 'resilience', 'cli', 'xapi', 'selftest',
            'migratevm', 'sandbox', 'demo', 'package')
# On Dom0's Python where there is one, and on no other.
ON_DOM0S = ('resilience', 'cli', 'selftest', 'migratevm', 'package')
# Where a part's tests are, below tests/.
FOLDERS = {
    'unit': ('unit',), 'dom0': ('integration/dom0',), 'ovs': ('integration/ovs',),
    'packets': ('system/packets',), 'hooks': ('system/hooks', 'system/resync', 'system/seal'),
    'daemon': ('system/daemon',), 'cli': ('system/cli',), 'xapi': ('system/xapi',),
    'selftest': ('system/selftest',), 'migratevm': ('system/migratevm',),
    'resilience': ('resilience',), 'package': ('package',), 'browser': ('browser',),
    'sandbox': ('programs/sandbox',), 'demo': ('programs/demo',)}
# long, or in need of much
ASKED_FOR = ('mutants', 'kills', 'measure', 'explore', 'browser', 'upgrade', 'pythons')


class Step(NamedTuple):
    """One program to run; pytest's `report` is read for its counts."""

    title: str
    argv: Tuple[str, ...]
    hook_python: str = CURRENT
    report: str = ''
    served: bool = False        # hooks find their server
    tests: Tuple[str, ...] = ()     # files, folders or node ids; the last of the arguments


class Count(NamedTuple):
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: 'Count') -> 'Count':
        """Return the sum."""
        return Count(*(mine + theirs for mine, theirs in zip(self, other)))

    def __str__(self) -> str:
        return '%d passed, %d failed, %d skipped' % self


class Result(NamedTuple):
    """What a step came to, and which of the tests that passed needed a second try."""

    counts: Count
    retried: Tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    """Run the steps of one part of the suite."""
    if len(argv) != 2 or argv[1] not in ('all', 'lint') + LIBRARY + PROGRAMS + ASKED_FOR:
        print(__doc__, file=sys.stderr)
        return 2
    os.makedirs(RESULTS, exist_ok=True)
    steps = plan(argv[1])
    places = ['%d/%d' % (number, len(steps)) for number in range(1, len(steps) + 1)]
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(run, steps, places))
    except KeyboardInterrupt:
        return INTERRUPTED
    return conclude(steps, results)


def plan(part: str) -> List[Step]:
    """Return what a part of the suite consists of."""
    hook_python = DOM0S if has_dom0s() else ''
    if part == 'lint':
        return lint()
    if part in LIBRARY:
        return on_dom0s(part) + [tests(part)]
    if part in ON_DOM0S:
        return [tests(part, hook_python=hook_python)]
    if part in PROGRAMS + ('browser',):
        return [tests(part)]
    if part == 'mutants':
        return [tests('packets', 'resilience', marks='mutants')]
    if part == 'kills':
        os.environ['KILLS'] = 'all'
        return [tests('resilience', hook_python=hook_python, loud=True)]
    if part == 'explore':
        os.environ.setdefault('EXPLORE', THOROUGH)
        return [tests('resilience', 'cli', marks='random', loud=True)]
    if part == 'measure':
        return [tests('daemon', hook_python=hook_python, marks='scale', loud=True)]
    if part == 'upgrade':
        return [tests('package', 'xapi', hook_python=hook_python,
                      marks='upgrade or rolling', loud=True)]
    if part == 'pythons':
        return [tests(one, python=python) for python in others() for one in LIBRARY]
    # the longest first: they run side by side
    steps = split(tests('packets', served=True), 3) + split(tests('hooks'), 2)
    if has_dom0s():
        steps += split(tests('hooks', hook_python=DOM0S, marks='not mutants and not any_python',
                             served=True), 2)
    steps += split(tests('xapi', hook_python=hook_python), 3)
    steps += split(tests('daemon', hook_python=hook_python), 2)
    steps += [tests(part, hook_python=hook_python)
              for part in ('selftest', 'resilience', 'migratevm', 'cli', 'package')]
    # each by itself: threads that a unit test leaves behind would keep a sandbox from being made
    for part in LIBRARY:
        steps += on_dom0s(part) + [tests(part)]
    return steps + [tests('ovs'), tests('sandbox', 'demo', loose=True)] + lint()


def split(step: Step, count: int) -> List[Step]:
    """Return steps that run side by side, each with some of a step's test files."""
    files = sorted((path for folder in step.tests for path in find_tests(folder)),
                   key=lambda path: (-os.path.getsize(path), path))
    dealt = [tuple(files[at::count]) for at in range(count)]    # each has large ones and small ones
    return [step._replace(title='%s, %d of %d' % (step.title, at, count), tests=those,
                          report=step.report.replace('.xml', '-%d.xml' % at))
            for at, those in enumerate(dealt, 1)]


def on_dom0s(*parts: str) -> List[Step]:
    """Return the tests on Python 3.6, if it is there."""
    return [tests(*parts, python=DOM0S)] if has_dom0s() else []


def lint() -> List[Step]:
    """Return the linters; mypy runs on both Pythons, each knows its own library."""
    scripts = tuple(os.path.join('hooks', name) for name in sorted(os.listdir('hooks')))
    plugin = os.path.join('rpm', 'plugin', 'xsisolate')     # mypy takes its name for the library's
    pythons = [CURRENT] + [DOM0S] * has_dom0s()
    ruff = Step('ruff', (CURRENT, '-m', 'ruff', 'check', '-q', '--output-format=concise',
                         'lib', 'tests', 'setup.py', 'docs/recipes/e1000e-check',
                         'rpm/bin/xsisolate', 'rpm/bin/migratevm',
                         'rpm/completion/generate.py', plugin, *scripts))
    return [ruff] + [
        Step('mypy --strict, ' + version(python),
             (python, '-m', 'mypy', '--strict', '--scripts-are-modules', 'lib', *scripts))
        for python in pythons] + [
        Step('mypy --strict, the sandbox, the demo and the real Xen',
             (CURRENT, '-m', 'mypy', '--strict', '-p', 'sandbox', '-p', 'demo', '-p', 'bench',
              '-p', 'xen', '-m', 'suite', '-m', 'versions'))]


def tests(*parts: str, python: str = CURRENT, hook_python: str = '',
          loose: bool = False, marks: str = '', loud: bool = False,
          served: bool = False) -> Step:
    """Return a run of pytest over parts; `loose`: and the files beside their folders.

    `marks` selects tests by their marks, otherwise than setup.cfg does; `loud`: what they print
    is shown; `served`: hooks find their server, which does their work.
    """
    folders = [os.path.join('tests', folder) for part in parts for folder in FOLDERS[part]]
    paths = [folder for folder in folders if find_tests(folder)]
    if not paths:       # without a path pytest would run everything
        raise SystemExit('suite.py: no tests in ' + ', '.join(folders))
    if loose:
        paths += sorted(os.path.join('tests', name) for name in os.listdir('tests')
                        if name.startswith('test_') and name.endswith('.py'))
    title = 'tests %s, %s' % (' '.join(parts), version(python))
    if hook_python:
        title += ', hooks run by ' + version(hook_python)
    title += ', served' * served
    report = os.path.join(RESULTS, title.replace(' ', '-').replace(',', '') + '.xml')
    chosen = ('-m', marks) * bool(marks) + ('-s',) * loud
    return Step(title, (python, '-m', 'pytest', '-q', '--hypothesis-seed=%d' % SEED, *chosen),
                hook_python or python, report, served, tuple(paths))


def find_tests(folder: str) -> List[str]:
    """Return the test files somewhere below a folder."""
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder)
                  for name in names if name.startswith('test_') and name.endswith('.py'))


def version(python: str) -> str:
    """Return `Python 3.11.2`."""
    return subprocess.check_output([python, '-V'], encoding='utf-8').strip()


def run(step: Step, place: str) -> Result:
    """Run one step; its output comes in one piece when it has ended."""
    print('== %s %s ...' % (place, step.title), flush=True)
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        result = Result(read(step, call(step, output)))
        failed = failures(step)
        if 0 < len(failed) <= SECOND_TRIES:
            result = try_again(step, failed, result, output)
        output.seek(0)
        text = output.read().decode('utf-8', 'replace')
    print('\n== %s %s: %s, %.0f s\n%s' % (place, step.title, verdict(step, result.counts),
                                         time.monotonic() - began, text), flush=True)
    return result


def failures(step: Step) -> List[str]:
    """Return the node ids of the tests that failed."""
    if not step.report or not os.path.exists(step.report):
        return []
    cases = ElementTree.parse(step.report).getroot().iter('testcase')
    return ['%s.py::%s' % (str(case.get('classname')).replace('.', '/'), case.get('name'))
            for case in cases if case.find('failure') is not None or case.find('error') is not None]


def try_again(step: Step, failed: Sequence[str], first: Result, output: BinaryIO) -> Result:
    """Run the few tests that failed once more, alone.

    Packets race with timers, and this machine with everything else on it. A
    test that fails twice has failed.
    """
    report = step.report[:-len('.xml')] + '-again.xml'
    again = step._replace(report=report, tests=tuple(failed))
    if read(again, call(again, output)).failed:
        return first
    output.write(('!!! PASSED ONLY AT THE SECOND TRY: %s\n' % ' '.join(failed)).encode())
    count = first.counts
    return Result(count._replace(passed=count.passed + count.failed, failed=0), tuple(failed))


def call(step: Step, output: BinaryIO) -> Optional[int]:
    """Return the exit code, None when the step took too long or could not be run."""
    if step.report and os.path.exists(step.report):
        os.unlink(step.report)
    reporting = ('--junitxml=' + step.report,) if step.report else ()
    try:
        return subprocess.run(step.argv + reporting + step.tests, env=environment(step), cwd=ROOT,
                              stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                              timeout=STEP_TIMEOUT_S).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, flush=True)
        return None


def environment(step: Step) -> Dict[str, str]:
    """Return udev's poor locale, Python's warnings, and who runs the hooks."""
    kept = {name: value for name, value in os.environ.items()
            if name not in ('PYTHONPATH', 'PYTHONHOME', 'PYTEST_ADDOPTS')
            and not name.startswith('LC_')}
    # Development mode's checks of the heap are for C code, and take a sixth of the time.
    kept.update(LC_ALL='C', PYTHONDEVMODE='yes', PYTHONMALLOC='pymalloc',
                HOOK_PYTHON=step.hook_python, HOOK_SERVER=str(int(step.served)),
                SUITE_SEED=str(SEED))
    for name in ('XDG_CACHE_HOME', 'XDG_CONFIG_HOME'):      # scapy writes there
        kept[name] = os.path.join(ROOT, '.cache')
    return kept


def read(step: Step, code: Optional[int]) -> Count:
    """Return a step's counts; at least one failure without exit code 0 and the report."""
    count, missing = Count(), bool(step.report) and not os.path.exists(step.report)
    if step.report and not missing:
        for suite in ElementTree.parse(step.report).getroot().iter('testsuite'):
            total, failures, errors, skipped = (
                int(suite.get(name) or 0) for name in ('tests', 'failures', 'errors', 'skipped'))
            failed = failures + errors
            count = count.plus(Count(max(total - failed - skipped, 0), failed, skipped))
    if (code != 0 or missing) and not count.failed:
        count = count._replace(failed=1)
    return count


def verdict(step: Step, count: Count) -> str:
    """Return what to say of a step."""
    if step.report:
        return str(count)
    return 'FAILED' if count.failed else 'fine'


def conclude(steps: Sequence[Step], results: Sequence[Result]) -> int:
    """Print what failed, which tests needed a second try, and the sum alone on the last line."""
    total, retried = Count(), [name for result in results for name in result.retried]
    for result in results:
        total = total.plus(result.counts)
    print('\n' + '=' * 78)
    for step, result in zip(steps, results):
        print('%-60s %s' % (step.title, verdict(step, result.counts)))
    if not has_dom0s():
        print('!!! NO PYTHON 3.6 WAS FOUND: nothing was tested on the Python that Dom0 has. '
              'PY36=/path/to/python3.6 names one. !!!')
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print('%.0f s, %d steps side by side; CPU time %.0f s' % (
        time.monotonic() - BEGAN, AT_ONCE, used.ru_utime + used.ru_stime))
    print('SUITE_SEED=%d draws the same again' % SEED)
    if len(retried) > FORGIVEN:
        total = total.plus(Count(-len(retried), len(retried)))
        print('!!! MORE THAN %d TESTS NEEDED A SECOND TRY: these count as failed. !!!' % FORGIVEN)
    print('%d needed a second try%s' % (len(retried), ': ' * bool(retried) + ' '.join(retried)))
    print(total, flush=True)
    return 1 if total.failed else 0


if __name__ == '__main__':
    os.chdir(ROOT)
    sys.exit(main(sys.argv))
