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
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import debian
from sandbox.enter import CLONE_NEWNS, MS_PRIVATE, MS_REC, check, mount
from sandbox.process import LIBC
from sandbox.pythons import CURRENT, ROOT

CACHE = os.path.join(ROOT, '.cache', 'openvswitch')
PARTS = ('ovs', 'packets', 'hooks', 'daemon', 'selftest')
PACKAGE = 'openvswitch-switch'
UNPACKED = ('lib', 'openvswitch')       # beginnings of the names of packages that are of use
PROGRAMS = ('ovs-vswitchd', 'ovsdb-server', 'ovs-appctl', 'ovs-ofctl', 'ovs-vsctl', 'ovs-dpctl',
            'ovsdb-client', 'ovsdb-tool')
# Where a program may be: ovs-vswitchd is one of several alternatives.
PLACES = ('usr/lib/openvswitch-switch', 'usr/lib/openvswitch-common', 'usr/sbin', 'usr/bin')
SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
LIBRARIES = ('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu')
LOADER = 'x86_64-linux-gnu/ld-linux-x86-64.so.2'
MS_BIND = 0x1000


class Row(NamedTuple):
    """What came of a part of the suite on one version."""

    version: str
    part: str
    said: str


def main(argv: Sequence[str]) -> int:
    """Run the parts on each version; print a table of what they said."""
    options = _parser().parse_args(argv)
    rows: List[Row] = []
    for suite in options.only or debian.RELEASES:
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
    parser.add_argument('--only', action='append', choices=debian.RELEASES,
                        help='Debian\'s release')
    parser.add_argument('parts', nargs='*', help='of the suite')
    return parser


def provide(suite: str) -> str:
    """Return the folder with a release's Open vSwitch, fetched if it is not there; '': ours."""
    if suite == debian.own_release():
        return ''
    folder = os.path.join(CACHE, suite)
    ready = Path(folder, 'ready')       # says where: scripts of a copy would start the original
    if not ready.exists() or ready.read_text() != folder:
        _link(debian.unpack(folder, suite, PACKAGE, UNPACKED))
        _wrap(folder)
        ready.write_text(folder)
    return folder


def _link(root: str) -> None:
    """Put what is an alternative where update-alternatives would have put it."""
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
