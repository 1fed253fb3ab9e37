"""Boots a real Xen in QEMU and has the checks run in its Dom0.

    python -m xen.boot [oxenstored|xenstored]...       by default both, one after the other

No KVM: QEMU emulates the processor, so everything takes ten times as long. What
a failed run has left is named; the image is built once, in .cache/xen. While one works
on checks, ONLY=vlan,firing runs these (checks.py names them), and what comes first and last.
"""
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import List, Sequence

from sandbox.pythons import DOM0S, ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(ROOT, '.cache', 'xen')
IMAGE_PARTS = ('image.sh', 'dom0-init', 'domu-init', 'initrd-init', 'frames.c')
TIME_LIMIT_S = 3600     # four times what it takes on a quiet machine
RESTARTS = 20
DAEMONS = ('oxenstored', 'xenstored')
PASSED = 'ALL PASSED'
TERMINATED = 143
# Runs in Dom0: the package's files, its udev rule and the hooks' server, then the checks.
START = '''\
set -e
cp -r --no-dereference /share/package/. /
mkdir -p /run/xsisolate
export PYTHONPATH=/usr/share/xsisolate/current/lib:/share/tests/programs
python3 -c 'from xsisolate.activation import desired
open(desired.UDEV_FILE, "w").write(desired.UDEV_TEXT)'
udevadm control --reload
cd /
/usr/share/xsisolate/current/hooks/serve 2>/share/serve &
RESTARTS=%d ONLY=%s exec python3 -m xen.checks
'''


def main(argv: Sequence[str]) -> int:
    """Boot once for each xenstored that is named."""
    daemons = list(argv[1:]) or list(DAEMONS)
    if not set(daemons) <= set(DAEMONS):
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))      # QEMU does not outlive us
    image = build()
    return max(boot(image, daemon) for daemon in daemons)


def build() -> str:
    """Return the folder of an image that is made of just these files."""
    py36 = find_python36()
    digest = hashlib.sha256(py36.encode())
    for name in IMAGE_PARTS:
        with open(os.path.join(HERE, name), 'rb') as file:
            digest.update(file.read())
    folder = os.path.join(CACHE, digest.hexdigest()[:12])
    if not os.path.exists(os.path.join(folder, 'ready')):
        shutil.rmtree(CACHE, ignore_errors=True)        # earlier images: a gigabyte each
        subprocess.run([os.path.join(HERE, 'image.sh'), folder] + [py36] * bool(py36), check=True)
    return folder


def find_python36() -> str:
    """Return where the Python 3.6 of the tests is installed, '' if there is none."""
    try:
        return subprocess.check_output([DOM0S, '-c', 'import sys; print(sys.base_prefix)'],
                                       encoding='utf-8').strip()
    except (OSError, subprocess.CalledProcessError):
        print('!!! no Python 3.6 was found: the hooks run on Debian\'s Python !!!', flush=True)
        return ''


def boot(image: str, daemon: str) -> int:
    """Boot with one xenstored, show what the checks say; return an exit code."""
    share = os.path.join(CACHE, 'share-' + daemon)
    shutil.rmtree(share, ignore_errors=True)
    fill(share)
    print('== booting Xen with %s (%d s at most)' % (daemon, TIME_LIMIT_S), flush=True)
    began = time.monotonic()
    machine = subprocess.Popen(command(image, share, daemon), stdin=subprocess.DEVNULL)
    try:
        passed = follow(machine, os.path.join(share, 'out'), began + TIME_LIMIT_S)
    finally:
        machine.kill()
        machine.wait()
    print('== %s: %s, %.0f s' % (daemon, 'passed' if passed else 'FAILED',
                                 time.monotonic() - began), flush=True)
    if not passed:
        print('serial log, syslog, consoles of the guests: ' + share, flush=True)
        return 1
    return 0


def fill(share: str) -> None:
    """Make the folder that Dom0 mounts: what the package has, the checks, and what to start."""
    ignored = shutil.ignore_patterns('__pycache__')
    for name in ('sandbox', 'xen'):
        shutil.copytree(os.path.join(ROOT, 'tests', 'programs', name),
                        os.path.join(share, 'tests', 'programs', name), ignore=ignored)
    package = os.path.join(share, 'package')
    os.mkdir(package)
    with subprocess.Popen(['rpm2cpio', find_package()], stdout=subprocess.PIPE) as unpacked:
        subprocess.run(['cpio', '-idm', '--quiet'], stdin=unpacked.stdout, cwd=package, check=True)
    with open(os.path.join(share, 'start'), 'w') as file:
        file.write(START % (RESTARTS, os.environ.get('ONLY', '')))


def find_package() -> str:
    """Return the package that `make rpm` built last."""
    found = glob.glob(os.path.join(ROOT, 'dist', 'xsisolate-*.noarch.rpm'))
    if not found:
        raise SystemExit('there is no package in dist: make rpm')
    return max(found, key=os.path.getmtime)


def command(image: str, share: str, daemon: str) -> List[str]:
    """Return QEMU's command line.

    With `-cpu max` Dom0 crashes, or computes wrongly. PVH guests need nested paging.
    """
    files = {name: os.path.join(image, name) for name in ('xen', 'vmlinuz', 'initrd.img')}
    return emulator(image, share, 'qemu64,+npt') + [
        '-kernel', files['xen'],
        '-append', 'console=com1 com1=115200 dom0_mem=1536M,max:1536M dom0_max_vcpus=2 '
                   'loglvl=warning guest_loglvl=warning',
        '-initrd', '%s console=hvc0 loglevel=4 net.ifnames=0 xsd=%s,%s' % (
            files['vmlinuz'], daemon, files['initrd.img'])]


def emulator(image: str, share: str, cpu: str) -> List[str]:
    """Return the part of the command line that is true of whatever it boots."""
    return ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-M', 'q35', '-cpu', cpu,
            '-smp', '2', '-m', '3072', '-nic', 'none', '-display', 'none', '-monitor', 'none',
            '-no-reboot', '-serial', 'file:' + os.path.join(share, 'serial.log'),
            '-drive', 'file=%s,format=raw,if=virtio,snapshot=on' % os.path.join(
                image, 'rootfs.ext4'),
            '-virtfs', 'local,path=%s,mount_tag=share,security_model=none' % share]


def follow(machine: 'subprocess.Popen[bytes]', out: str, deadline: float,
           good: str = PASSED) -> bool:
    """Show what is written to a file until the machine is off; tell whether the good line came."""
    shown = 0
    while True:
        running = machine.poll() is None
        text = ''
        if os.path.exists(out):
            with open(out, encoding='utf-8', errors='replace') as file:
                text = file.read()
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if not running:
            return good in text.splitlines()
        if time.monotonic() > deadline:
            print('\n!!! the time is over')
            return False
        time.sleep(0.5)


if __name__ == '__main__':
    sys.exit(main(sys.argv))
