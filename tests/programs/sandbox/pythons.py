"""The interpreters of the tests: the current Python, and Dom0's 3.6 on a machine that has one.

No other module knows where `make` puts them, so no test can need a 3.6 that is not there.
"""
import glob
import os
import sys
from pathlib import Path
from typing import Dict, List

ROOT = str(Path(os.path.abspath(__file__)).parents[3])
CURRENT = os.path.join(ROOT, '.venv', 'bin', 'python')
DOM0S = os.path.join(ROOT, '.venv36', 'bin', 'python')


def has_dom0s() -> bool:
    """Tell whether there is a Python 3.6."""
    return os.path.exists(DOM0S)


def by_name() -> Dict[str, str]:
    """Return the interpreters that are there, for a test that runs on each."""
    return dict({'current': sys.executable}, **({'3.6': DOM0S} if has_dom0s() else {}))


def others() -> List[str]:
    """Return the further interpreters that `make test-pythons` has found."""
    return sorted(glob.glob(os.path.join(ROOT, '.cache', 'pythons', '*', 'bin', 'python')))


def for_hooks() -> str:
    """Return $HOOK_PYTHON; if it is not set, Dom0's Python, or the current one without that."""
    return os.environ.get('HOOK_PYTHON') or (DOM0S if has_dom0s() else sys.executable)
