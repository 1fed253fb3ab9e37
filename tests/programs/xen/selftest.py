"""Runs `xsisolate selftest` on the kernel's datapath, in QEMU with what `make test-xen` boots.

    python -m xen.selftest [OPTION...]      options of the command, such as --full

Without Xen: the self-test plays the domains itself. The processor is emulated, so it takes long.
"""
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import List, Sequence

from sandbox.pythons import ROOT, for_hooks
from xen import boot

SHARE = os.path.join(boot.CACHE, 'share-selftest')
TIME_LIMIT_S = 2400
DONE = 'Everything is as it should be.'
START = '''\
set -e
cd /
export PYTHONPATH=/share/lib LC_ALL=C
python3 -m xsisolate selftest %s || echo "exit code $?"
ip -o link
ovs-vsctl show
'''


def main(argv: Sequence[str]) -> int:
    """Boot, and show what the self-test says; exit code 1 if not all is well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(boot.TERMINATED))     # QEMU ends with us
    image = boot.build()
    shutil.rmtree(SHARE, ignore_errors=True)
    fill(' '.join(argv[1:]))
    machine = subprocess.Popen(command(image), stdin=subprocess.DEVNULL)
    out = os.path.join(SHARE, 'out')
    try:
        boot.follow(machine, out, time.monotonic() + TIME_LIMIT_S)
    finally:
        machine.kill()
        machine.wait()
    with open(out, encoding='utf-8', errors='replace') as file:
        text = file.read()
    return 0 if DONE in text and 'exit code' not in text else 1


def fill(options: str) -> None:
    """Make the folder that the guest mounts; it has no PyYAML."""
    shutil.copytree(os.path.join(ROOT, 'lib'), os.path.join(SHARE, 'lib'),
                    ignore=shutil.ignore_patterns('__pycache__'))
    yaml = subprocess.check_output([for_hooks(), '-c', 'import yaml; print(yaml.__file__)'],
                                   encoding='utf-8')
    shutil.copytree(os.path.dirname(yaml.strip()), os.path.join(SHARE, 'lib', 'yaml'))
    with open(os.path.join(SHARE, 'start'), 'w') as file:
        file.write(START % options)


def command(image: str) -> List[str]:
    """Return QEMU's command line."""
    return boot.emulator(image, SHARE, 'qemu64') + [
        '-kernel', os.path.join(image, 'vmlinuz'), '-initrd', os.path.join(image, 'initrd.img'),
        '-append', 'console=ttyS0 loglevel=4 net.ifnames=0']


if __name__ == '__main__':
    sys.exit(main(sys.argv))
