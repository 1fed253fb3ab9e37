"""Builds the package, moves the test process into a root of its own, and installs a Dom0 there."""
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator

import pytest

from sandbox.process import run
from sandbox.pythons import ROOT
from sandbox.xenstored import cache_folder

from support import package_root
from support.installed_dom0 import PRIVATE_FOLDERS, Dom0, make_sandbox, packages, start_vm

STANDINS = ('dom0-base', 'openvswitch', 'xapi-core', 'xenopsd', 'xenopsd-xc')
DROP_INS = {'new': '/etc/xenopsd.conf.d', 'old': ''}     # what xenopsd's unit names, by release
CONFIG = 'version: 1\n'


def build(folder: str, release: str = '1', checkout: str = ROOT) -> None:
    """Build the package of what is committed."""
    subprocess.run([os.path.join(checkout, 'rpm', 'build'), sys.executable, release, folder],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def build_old(folder: str, commit: str) -> None:
    """Build release 0, of an older commit."""
    with tempfile.TemporaryDirectory(prefix='checkout_') as checkout:
        run(['git', 'clone', '-q', '--no-checkout', ROOT, checkout])
        run(['git', '-C', checkout, 'checkout', '-q', commit])
        build(folder, '0', checkout)


@pytest.fixture(scope='session')
def built() -> Iterator[str]:
    """Return a folder with releases 1 and 2 of the package, and their source packages."""
    folder = tempfile.mkdtemp(prefix='rpms_')
    try:
        for release in ('1', '2'):
            build(folder, release)
        if os.environ.get('UPGRADE_FROM'):
            build_old(folder, os.environ['UPGRADE_FROM'])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='session')
def moved(built: str) -> Dict[str, str]:
    """Move in, for the rest of this process's life; return the packages by name."""
    hook_python = os.environ.get('HOOK_PYTHON') or sys.executable
    files = {path.name: path.read_bytes() for path in Path(built).iterdir()}
    shutil.rmtree(built)        # once inside, nobody can
    wait_for_others()
    package_root.move_in(hook_python)
    os.makedirs(package_root.PACKAGES)
    for name, content in files.items():
        Path(package_root.PACKAGES, name).write_bytes(content)
    return {name: os.path.join(package_root.PACKAGES, name) for name in files}


def wait_for_others() -> None:
    """Let one such root live at a time: xenopsd is found by its name, and everybody sees it."""
    lock = os.open(os.path.join(cache_folder(), 'toolstack'), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)        # until this process ends


@pytest.fixture(scope='module')
def dom0(moved: Dict[str, str], request: pytest.FixtureRequest) -> Iterator[Dom0]:
    """A Dom0 with a toolstack, four VMs and no xsisolate."""
    sandbox, hooks = make_sandbox()
    with sandbox as host:
        for folder in PRIVATE_FOLDERS:
            if os.path.ismount(folder):
                run(['umount', folder])
            shutil.rmtree(folder)
        os.rmdir('/run/xsisolate')
        os.makedirs(package_root.STANDIN)
        dom0 = Dom0(host, hooks)
        dom0.answer()
        drop_ins = DROP_INS[getattr(request.module, 'RELEASE', 'new')]
        package_root.build_standins(package_root.PACKAGES, drop_ins)
        dom0.rpm('-U', *packages(*(name + '-26.1.4-1.noarch.rpm' for name in STANDINS)))
        dom0.restart_toolstack()
        dom0.calls()
        dom0.clean = dict(package_root.written())
        host.add_bridge('xenbr0')
        start_vm(host, 11, 'red')
        start_vm(host, 12, 'red')
        start_vm(host, 21, 'blue', hvm=True)
        start_vm(host, 41, locking_mode='locked', ipv4_allowed=('10.9.0.41',))
        try:
            yield dom0
        finally:
            print('\n'.join(dom0.transcript))
            leave(dom0)


def leave(dom0: Dom0) -> None:
    """Remove all packages, whatever state they are in, and end what has been started."""
    for vm in list(dom0.host.vms):
        vm.crash()
    with open(package_root.STANDIN + '/pid') as pid:
        run(['kill', pid.read().strip()])
    installed = package_root.Rpm('-qa', '--qf', '%{name}\\n').output.split()
    dom0.rpm('-e', '--noscripts', *installed)
    shutil.rmtree(package_root.STANDIN)
    for folder in PRIVATE_FOLDERS + ('/run/xsisolate',):
        os.makedirs(folder, exist_ok=True)
