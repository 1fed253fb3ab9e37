"""A root of its own that looks like a Dom0: this machine's, under an overlay.

Everything that is written lands in the overlay's upper folder, in memory, so that what a
package leaves behind can be listed, and the machine itself never changes. The whole test
process moves in: rpm, its scriptlets, the hooks and the sandbox's daemons all see this root.
"""
import ctypes
import os
import shutil
import subprocess
import tempfile
from typing import Dict, List, Optional, Set

from sandbox.enter import CLONE_NEWNS, MS_PRIVATE, MS_REC, check, mount
from sandbox.process import LIBC, run
from sandbox.pythons import ROOT

MS_BIND = 0x1000
UPPER, LOWER = '/upper', '/lower'   # where the overlay's two halves are seen from inside
RPMDB = '/var/lib/rpm'
STANDIN = '/run/standin'    # what stand-ins record; made by Dom0, for /run is a sandbox's own
PACKAGES = '/packages'
PLACE = '/media'            # every Debian has this folder, and nothing is left of us in it
STANDINS = os.path.join(ROOT, 'tests', 'package', 'standin')     # programs of ours
# programs of ours instead of the machine's
REPLACED = ('systemctl', 'udevadm')
# what programs write wherever they run, and what tests themselves make
IGNORED = (RPMDB, PACKAGES, UPPER, LOWER, tempfile.gettempdir(), '/var/log', '/var/cache',
           '/var/lib/libuuid', '/root', '/run', '/dev', '/proc', '/sys')


def move_in(python: str) -> None:
    """Make the root, and let this process live in it; `python` becomes /usr/bin/python3."""
    check(LIBC.unshare(CLONE_NEWNS), 'unshare')
    mount('none', '/', None, MS_REC | MS_PRIVATE)
    mounts = _mounts()
    base, root = PLACE, PLACE + '/root'
    mount('xsisolate-rpm', base, 'tmpfs')
    for name in ('root', 'upper', 'scratch'):
        os.mkdir(os.path.join(base, name))
    run(['mount', '-t', 'overlay', 'overlay', '-o',
         'lowerdir=/,upperdir=%s/upper,workdir=%s/scratch' % (base, base), root])
    for path in mounts + [ROOT]:
        os.makedirs(root + path, exist_ok=True)
        _bind(path, root + path)
    for source, place, flags in ((base + '/upper', UPPER, MS_REC), ('/', LOWER, 0)):
        os.mkdir(root + place)
        _bind(source, root + place, flags)
    here = os.getcwd()
    os.chroot(root)
    os.chdir(here)
    _furnish(python)


def _mounts() -> List[str]:
    """Return where other file systems are mounted; what is below them comes along."""
    with open('/proc/self/mounts') as lines:
        points = {line.split()[1] for line in lines} - {'/'}
    return sorted(point for point in points
                  if not any(point.startswith(other + '/') for other in points))


def _bind(source: str, target: str, flags: int = MS_REC) -> None:
    result = LIBC.mount(ctypes.c_char_p(source.encode()), ctypes.c_char_p(target.encode()), None,
                        ctypes.c_ulong(MS_BIND | flags), None)
    check(result, 'bind ' + source)


def _furnish(python: str) -> None:
    """Give the root what a Dom0 has and this machine has not."""
    os.rename('/usr/bin/udevadm', '/usr/bin/udevadm.real')
    for name in REPLACED:
        if os.path.lexists('/usr/bin/' + name):
            os.unlink('/usr/bin/' + name)
        shutil.copy(os.path.join(STANDINS, name), '/usr/bin/' + name)
    target = os.path.realpath(python)       # now: it may lead through the link itself
    os.unlink('/usr/bin/python3')
    os.symlink(target, '/usr/bin/python3')
    os.makedirs('/etc/rpm', exist_ok=True)
    with open('/etc/rpm/macros', 'w') as macros:
        macros.write('%%_dbpath %s\n' % RPMDB)
    os.makedirs(RPMDB, exist_ok=True)
    run(['rpm', '--initdb'])


def read(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding='utf-8') as file:
        return file.read()


# --- packages ------------------------------------------------------------------------------


class Rpm:
    """What one call of rpm came to."""

    def __init__(self, *args: str) -> None:
        done = subprocess.run(('rpm',) + args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding='utf-8', cwd='/', timeout=120)
        self.code = done.returncode
        self.output = done.stdout

    def __repr__(self) -> str:
        return 'exit %d: %s' % (self.code, self.output)


def build_standins(folder: str, conf_d: str) -> None:
    """Build the toolstack's packages; `conf_d` is the drop-in folder that xenopsd is told of."""
    with tempfile.TemporaryDirectory(prefix='standin_') as top:
        shutil.copytree(STANDINS, top + '/SOURCES')
        command = '/usr/sbin/xenopsd-xc $XENOPSD_OPTIONS --config /etc/xenopsd.conf'
        if conf_d:
            command += ' --config-dir ' + conf_d
        with open(top + '/SOURCES/xenopsd-xc.service', 'w') as unit:
            unit.write('[Service]\nExecStart=%s\n' % command)
        define = ['--define', 'conf_d ' + conf_d] if conf_d else []
        build_spec(top, STANDINS + '/toolstack.spec', folder, *define)


def build_spec(top: str, spec: str, folder: str, *options: str) -> List[str]:
    """Build a spec's binary packages into a folder; return their paths."""
    before: Set[str] = set(os.listdir(folder))
    run(['rpmbuild', '-bb', '--quiet', '--nodeps', '--target', 'noarch', '--define',
         '_topdir ' + top, '--define', '_rpmdir ' + folder, '--define',
         '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm', *options, spec])
    return [os.path.join(folder, name) for name in sorted(set(os.listdir(folder)) - before)]


# --- what is there -------------------------------------------------------------------------


def written() -> Dict[str, Optional[str]]:
    """Return everything written in this root so far: content, or target of a link, by path."""
    found: Dict[str, Optional[str]] = {}
    for top in (UPPER, '/etc/xsisolate', '/etc/xapi.d'):
        for folder, folders, files in os.walk(top):
            place = folder[len(UPPER):] or '/' if top == UPPER else folder
            folders[:] = [name for name in folders
                          if not _is_ignored(os.path.join(place, name))]
            # a folder of the machine's is copied as soon as something in it changes
            new = [name for name in folders if not os.path.isdir(LOWER + os.path.join(place, name))]
            for name in files + new:
                found[os.path.join(place, name)] = _content(os.path.join(folder, name))
    return found


def _is_ignored(path: str) -> bool:
    return path in IGNORED or path.endswith('/__pycache__') and '/xsisolate' not in path


def _content(path: str) -> Optional[str]:
    if os.path.islink(path):
        return os.readlink(path)
    if not os.path.isfile(path):
        return None
    with open(path, 'rb') as file:
        return file.read().decode('latin-1')
