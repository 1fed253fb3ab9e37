"""`pip install .` makes the hooks usable; nothing is fetched for this test."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the repository into a virtual environment."""
    folder = tmp_path_factory.mktemp('install')
    for name in ('lib', 'hooks'):
        shutil.copytree(str(ROOT / name), str(folder / 'source' / name))
    shutil.copy(str(ROOT / 'setup.py'), str(folder / 'source'))
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', str(folder / 'venv')])
    python = str(folder / 'venv' / 'bin' / 'python')
    subprocess.check_call([python, 'setup.py', '-q', 'install', '--root', '/',
                           '--single-version-externally-managed'],
                          cwd=str(folder / 'source'), env=environment())
    return folder / 'venv'


def environment() -> 'dict[str, str]':
    """Lend the new environment our setuptools."""
    import setuptools
    place = os.path.dirname(os.path.dirname(setuptools.__file__))
    return {**os.environ, 'PYTHONPATH': place, 'PYTHONDEVMODE': '', 'PYTHONWARNINGS': 'ignore'}


@pytest.mark.parametrize('hook', ['vif', 'setup-vif-rules'])
def test_an_installed_hook_runs_as_udev_runs_it(prefix: Path, hook: str) -> None:
    done = subprocess.run([str(prefix / 'libexec' / 'xsisolate' / hook)], env={}, cwd='/',
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 2
    assert 'usage: ' + hook in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_mover_is_installed(prefix: Path) -> None:
    done = subprocess.run([str(prefix / 'bin' / 'migratevm'), '--version'], env={}, cwd='/',
                          stdout=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 0 and done.stdout == 'migratevm 0.1.0\n'
