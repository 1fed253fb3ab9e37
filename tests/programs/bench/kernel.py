"""Measure the hooks with the kernel's datapath, and with the user-space one beside it.

    python -m bench.kernel [ROUNDS]

In QEMU with what `make test-xen` boots, but without Xen. The processor is emulated: only the
ratios say something, and the interpreter weighs twice what it weighs on a real one.
"""
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import List, Sequence

from sandbox.pythons import ROOT, for_hooks
from sandbox.xenstored import build_stub
from xen import boot

SHARE = os.path.join(boot.CACHE, 'share-bench')
TIME_LIMIT_S = 2400
DONE = 'measured'
# The image's Dom0 comes up without Xen, too; its own Open vSwitch is in the way.
START = '''\
set -e
/usr/share/openvswitch/scripts/ovs-ctl stop >/dev/null
install -d -m 700 /tmp/xsisolate-lab-0
cp /share/*.so /tmp/xsisolate-lab-0
cp -r /share/xsisolate /tmp
cd /tmp/xsisolate
PYTHONPATH=lib:tests/programs python3 -m bench.bridge %s netdev system
echo ''' + DONE + '\n'


def main(argv: Sequence[str]) -> int:
    """Boot, and show what is measured; exit code 1 if it did not come to an end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(boot.TERMINATED))     # QEMU ends with us
    image = boot.build()
    shutil.rmtree(SHARE, ignore_errors=True)
    fill(argv[1] if argv[1:] else '9')
    machine = subprocess.Popen(command(image), stdin=subprocess.DEVNULL)
    try:
        return 0 if boot.follow(machine, os.path.join(SHARE, 'out'),
                                time.monotonic() + TIME_LIMIT_S, DONE) else 1
    finally:
        machine.kill()
        machine.wait()


def fill(rounds: str) -> None:
    """Make the folder that the guest mounts; it has neither a compiler nor PyYAML."""
    for name in ('lib', 'hooks', 'tests/programs/bench', 'tests/programs/demo',
                 'tests/programs/sandbox'):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(SHARE, 'xsisolate', name),
                        ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(build_stub(), SHARE)
    yaml = subprocess.check_output([for_hooks(), '-c', 'import yaml; print(yaml.__file__)'],
                                   encoding='utf-8')
    shutil.copytree(os.path.dirname(yaml), os.path.join(SHARE, 'xsisolate', 'lib', 'yaml'))
    with open(os.path.join(SHARE, 'start'), 'w') as file:
        file.write(START % rounds)


def command(image: str) -> List[str]:
    """Return QEMU's command line."""
    return boot.emulator(image, SHARE, 'qemu64') + [
        '-kernel', os.path.join(image, 'vmlinuz'), '-initrd', os.path.join(image, 'initrd.img'),
        '-append', 'console=ttyS0 loglevel=4 net.ifnames=0']


if __name__ == '__main__':
    sys.exit(main(sys.argv))
