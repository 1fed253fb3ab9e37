"""Runs parts of the suite on other versions of Open vSwitch than the system's.

    python -m versions [--only SUITE] [PART...]

Debian's packages of other releases are fetched and unpacked below .cache/openvswitch, libraries and
loader included, and shown at their usual paths in a mount namespace. The parts are suite.py's;
without any, those that depend on the switch most. The last lines are a table.
"""
import argparse
import ctypes
import glob
import os
import shutil
import subprocess
import sys
from typing import Dict, List, NamedTuple, Sequence

from sandbox.enter import CLONE_NEWNS, MS_PRIVATE, MS_REC, check, mount
from sandbox.process import LIBC, LabError, run
from sandbox.pythons import CURRENT, ROOT

CACHE = os.path.join(ROOT, '.cache', 'openvswitch')
SUITES = ('bullseye', 'bookworm', 'trixie')     # Debian 11, 12 and 13
PARTS = ('ovs', 'packets', 'hooks', 'daemon', 'selftest')
PACKAGE = 'openvswitch-switch'
UNPACKED = ('lib', 'openvswitch')       # beginnings of the names of packages that are of use
MIRROR = 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n'
PROGRAMS = ('ovs-vswitchd', 'ovsdb-server', 'ovs-appctl', 'ovs-ofctl', 'ovs-vsctl', 'ovs-dpctl',
            'ovsdb-client', 'ovsdb-tool')
# Where a program may be: ovs-vswitchd is one of several alternatives.
PLACES = ('usr/lib/openvswitch-switch', 'usr/lib/openvswitch-common', 'usr/sbin', 'usr/bin')
SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
LIBRARIES = ('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu')
LOADER = 'x86_64-linux-gnu/ld-linux-x86-64.so.2'
MS_BIND = 0x1000
FETCH_S = 300


class Row(NamedTuple):
    """What came of a part of the suite on one version."""

    version: str
    part: str
    said: str


def main(argv: Sequence[str]) -> int:
    """Run the parts on each version; print a table of what they said."""
    options = _parser().parse_args(argv)
    rows: List[Row] = []
    for suite in options.only or SUITES:
        folder = provide(suite)
        for part in options.parts or PARTS:
            rows.append(try_part(folder, part))
            print('%-8s %-10s %s' % rows[-1], flush=True)
    print('\n%-8s %-10s %s' % ('version', 'part', ''))
    for row in rows:
        print('%-8s %-10s %s' % row)
    return int(any(' 0 failed' not in row.said for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='versions', description=__doc__.split('\n', 1)[0])
    parser.add_argument('--only', action='append', choices=SUITES, help='Debian\'s release')
    parser.add_argument('parts', nargs='*', help='of the suite')
    return parser


def provide(suite: str) -> str:
    """Return the folder with a release's Open vSwitch, fetched if it is not there; '': ours."""
    if suite == _own_suite():
        return ''
    folder = os.path.join(CACHE, suite)
    if not os.path.exists(os.path.join(folder, 'ready')):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        _unpack(folder, _fetch(folder, suite))
        _wrap(folder)
        with open(os.path.join(folder, 'ready'), 'w'):
            pass
    return folder


def _own_suite() -> str:
    with open('/etc/os-release', encoding='utf-8') as file:
        found = dict(line.strip().partition('=')[::2] for line in file if '=' in line)
    return found.get('VERSION_CODENAME', '')


def _fetch(folder: str, suite: str) -> List[str]:
    """Return the packages that a release's Open vSwitch needs, fetched by apt itself."""
    apt = os.path.join(folder, 'apt')
    for place in ('lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(apt, place))
    files = {'status': '', 'sources.list': MIRROR % (_mirror(), suite)}
    files['apt.conf'] = ''.join('%s "%s";\n' % setting for setting in (
        ('Dir::Etc::sourcelist', apt + '/sources.list'), ('Dir::Etc::sourceparts', '-'),
        ('Dir::State::lists', apt + '/lists'), ('Dir::State::status', apt + '/status'),
        ('Dir::Cache', apt + '/cache'), ('APT::Sandbox::User', 'root')))
    for name, text in files.items():
        with open(os.path.join(apt, name), 'w', encoding='utf-8') as file:
            file.write(text)
    environment = dict(os.environ, APT_CONFIG=apt + '/apt.conf', LC_ALL='C')
    for words in (['update'], ['install', '-y', '--download-only', '--no-install-recommends',
                               PACKAGE]):
        done = subprocess.run(['apt-get', '-q', *words], env=environment, timeout=FETCH_S,
                              encoding='utf-8', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise LabError('apt-get %s for %s: %s' % (words[0], suite, done.stdout[-500:]))
    return sorted(glob.glob(apt + '/cache/archives/*.deb'))


def _mirror() -> str:
    """Return where this system's packages come from."""
    for path in ['/etc/apt/sources.list', *sorted(glob.glob('/etc/apt/sources.list.d/*'))]:
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                for word in file.read().split():
                    if word.startswith('http') and word.rstrip('/').endswith('/debian'):
                        return word
    raise LabError('no source of Debian\'s packages in /etc/apt')


def _unpack(folder: str, packages: Sequence[str]) -> None:
    for package in packages:
        if os.path.basename(package).startswith(UNPACKED):
            run(['dpkg-deb', '-x', package, os.path.join(folder, 'root')])
    shutil.rmtree(os.path.join(folder, 'apt'))
    # what is an alternative, update-alternatives would have put where the others are
    root = os.path.join(folder, 'root')
    for library in glob.glob(root + '/usr/lib/openvswitch-*/lib*'):
        place = os.path.join(root, LIBRARIES[0], os.path.basename(library))
        if not os.path.lexists(place):
            os.symlink(library, place)


def _wrap(folder: str) -> None:
    """Write a script for each program that has the release's own loader start it."""
    root = os.path.join(folder, 'root')
    loader = next(path for place in ('usr/lib', 'lib')
                  for path in [os.path.join(root, place, LOADER)] if os.path.exists(path))
    libraries = ':'.join(os.path.join(root, place) for place in LIBRARIES)
    os.makedirs(os.path.join(folder, 'bin'))
    for name in PROGRAMS:
        program = next(path for place in PLACES
                       for path in [os.path.join(root, place, name)] if os.path.isfile(path))
        path = os.path.join(folder, 'bin', name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\nexec %s --library-path %s %s "$@"\n' % (
                loader, libraries, program))
        os.chmod(path, 0o755)


def try_part(folder: str, part: str) -> Row:
    """Run a part of the suite where a release's programs are at their usual paths."""
    def show() -> None:
        check(LIBC.unshare(ctypes.c_int(CLONE_NEWNS)), 'unshare')
        mount('none', '/', None, MS_REC | MS_PRIVATE)
        for name in PROGRAMS:
            shown = shutil.which(name)
            assert shown, name
            mount(os.path.join(folder, 'bin', name), os.path.realpath(shown), None, MS_BIND)
        mount(os.path.join(folder, 'root') + SCHEMA, SCHEMA, None, MS_BIND)
    environment: Dict[str, str] = dict(os.environ, AT_ONCE='1')
    started = subprocess.Popen(
        ['/bin/sh', '-c', 'ovs-vswitchd --version && exec "$@"', 'sh', CURRENT,
         os.path.join(ROOT, 'tests', 'programs', 'suite.py'), part], cwd=ROOT, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding='utf-8',
        preexec_fn=show if folder else None)
    assert started.stdout
    lines = []
    for line in started.stdout:
        print(line, end='', flush=True)
        lines.append(line.strip())
    started.wait()
    return Row(lines[0].split()[-1] if lines else '', part, lines[-1] if lines else 'nothing')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
