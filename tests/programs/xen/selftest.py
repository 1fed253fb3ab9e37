"""Runs `xsisolate selftest` on the kernel's datapath, in QEMU with what `make test-xen` boots.

    python -m xen.selftest [--on KERNEL[/OPENVSWITCH]]... [OPTION...]

KERNEL and OPENVSWITCH are Debian's releases; the image's own are used where none is named. The
other options are the command's, such as --full. The last lines are a table.

Without Xen: the self-test plays the domains itself. The processor is emulated, so it takes long.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import List, NamedTuple, Sequence

import debian
import versions
from sandbox.pythons import ROOT, for_hooks
from xen import boot, kernels

SHARE = os.path.join(boot.CACHE, 'share-selftest')
TIME_LIMIT_S = 2400
DONE = 'Everything is as it should be.'
DATAPATH = 'system@ovs-system'
START = '''\
set -e
cd /
export PYTHONPATH=/share/lib LC_ALL=C
%s
python3 -m xsisolate selftest %s || echo "exit code $?"
ip -o link
ovs-vsctl show
'''
# The image's Open vSwitch gives way to another release's, whose folder has its name here, too.
OTHER_SWITCH = '''\
ctl=/usr/share/openvswitch/scripts/ovs-ctl
$ctl stop >/dev/null
mkdir -p {folder}
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro switch {folder}
for name in {programs}; do
    mount --bind {folder}/bin/$name $(realpath $(command -v $name))
done
mount --bind {folder}/root{schema} {schema}
rm -f /etc/openvswitch/conf.db
$ctl --system-id=dom0 --no-monitor --no-record-hostname start >/dev/null
'''


class Row(NamedTuple):
    """What came of the self-test on a kernel."""

    kernel: str
    switch: str
    said: str
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Boot each, show what the self-test says, and a table; exit code 1 if not all is well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(boot.TERMINATED))     # QEMU ends with us
    options, others = _parser().parse_known_args(argv[1:])
    image = boot.build()
    rows = [try_kernel(image, one, ' '.join(others))
            for one in options.on or [debian.own_release()]]
    print('\n%-26s %-12s %8s  %s' % ('kernel', 'Open vSwitch', 'seconds', 'self-test'))
    for row in rows:
        print('%-26s %-12s %8.0f  %s' % (row.kernel, row.switch, row.seconds, row.said))
    return int(any(not row.said.startswith(DONE) for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='xen.selftest', allow_abbrev=False,
                                     description=__doc__.split('\n', 1)[0])
    parser.add_argument('--on', action='append', metavar='KERNEL[/OPENVSWITCH]', type=_releases,
                        help='of ' + ', '.join(debian.RELEASES))
    return parser


def _releases(text: str) -> str:
    """Return a kernel's release, and perhaps a switch's, if both are known."""
    unknown = set(text.split('/')) - set(debian.RELEASES)
    if unknown or text.count('/') > 1:
        raise argparse.ArgumentTypeError('not of %s: %s' % (', '.join(debian.RELEASES), text))
    return text


def try_kernel(image: str, where: str, options: str) -> Row:
    """Boot a kernel with its switch, and show what the self-test says there."""
    release, _, switch = where.partition('/')
    kernel = kernels.provide(release, image)
    folder = versions.provide(switch) if switch else ''
    shutil.rmtree(SHARE, ignore_errors=True)
    fill(folder, options)
    print('== the kernel of %s, Open vSwitch of %s' % (release, switch or 'the image'), flush=True)
    began = time.monotonic()
    machine = subprocess.Popen(command(image, kernel, folder), stdin=subprocess.DEVNULL)
    out = os.path.join(SHARE, 'out')
    try:
        boot.follow(machine, out, began + TIME_LIMIT_S)
    finally:
        machine.kill()
        machine.wait()
    return judge(out, where, time.monotonic() - began)


def judge(out: str, where: str, seconds: float) -> Row:
    """Return what the self-test has written, in one line."""
    text = ''
    if os.path.exists(out):
        with open(out, encoding='utf-8', errors='replace') as file:
            text = file.read()
    found = dict(re.findall(r'^(kernel|Open vSwitch|datapath) +(\S+)', text, re.MULTILINE))
    said = re.search('^(exit code|NOT everything|%s).*' % re.escape(DONE), text, re.MULTILINE)
    verdict = said.group() if said else 'it came to no end'
    if verdict.startswith(DONE) and found.get('datapath') != DATAPATH:
        verdict = 'not on the kernel\'s datapath'
    return Row(found.get('kernel', where), found.get('Open vSwitch', ''), verdict, seconds)


def fill(switch: str, options: str) -> None:
    """Make the folder that the guest mounts; it has no PyYAML."""
    shutil.copytree(os.path.join(ROOT, 'lib'), os.path.join(SHARE, 'lib'),
                    ignore=shutil.ignore_patterns('__pycache__'))
    yaml = subprocess.check_output([for_hooks(), '-c', 'import yaml; print(yaml.__file__)'],
                                   encoding='utf-8')
    shutil.copytree(os.path.dirname(yaml.strip()), os.path.join(SHARE, 'lib', 'yaml'))
    other = OTHER_SWITCH.format(folder=switch, programs=' '.join(versions.PROGRAMS),
                                schema=versions.SCHEMA) if switch else ''
    with open(os.path.join(SHARE, 'start'), 'w') as file:
        file.write(START % (other, options))


def command(image: str, kernel: kernels.Kernel, switch: str) -> List[str]:
    """Return QEMU's command line; a kernel that panics ends it."""
    share = ['-virtfs', 'local,path=%s,mount_tag=switch,security_model=none,readonly=on' % switch]
    return boot.emulator(image, SHARE, 'qemu64') + share * bool(switch) + [
        '-kernel', kernel.vmlinuz, '-initrd', kernel.initrd,
        '-append', 'console=ttyS0 loglevel=4 net.ifnames=0 panic=-1']


if __name__ == '__main__':
    sys.exit(main(sys.argv))
