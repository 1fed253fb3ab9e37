"""Kernels of other Debian releases than the image's, which boot the image's disk all the same.

apt fetches them. The first root disk of each brings its modules along, so the image stays as it
is. What is fetched is below .cache/kernels.
"""
import glob
import hashlib
import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import List, NamedTuple

import debian
from sandbox.process import run
from sandbox.pythons import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(ROOT, '.cache', 'kernels')
PACKAGE = 'linux-image-amd64'
PARTS = ('kernels.py', 'kernel-init')
UNPACKED = ('linux-image-',)
# For the disk, the shared folder, and what the self-test and the datapath want.
MODULES = ('virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4', '9pnet_virtio', '9p',
           'openvswitch', 'nf_conntrack', 'nf_conntrack_netlink', 'nf_conntrack_tftp', 'nf_nat',
           'veth', 'bridge', 'tun')
FOLDERS = ('bin', 'proc', 'sys', 'dev', 'root')


class Kernel(NamedTuple):
    """What QEMU starts."""

    vmlinuz: str
    initrd: str


def provide(release: str, image: str) -> Kernel:
    """Return a release's kernel, fetched if it is not there; the image's own is in the image."""
    if release == debian.own_release():
        return Kernel(os.path.join(image, 'vmlinuz'), os.path.join(image, 'initrd.img'))
    folder = os.path.join(CACHE, release)
    kernel = Kernel(os.path.join(folder, 'vmlinuz'), os.path.join(folder, 'initrd.img'))
    ready = Path(folder, 'ready')
    if not ready.exists() or ready.read_text() != _digest():
        print('== fetching the kernel of ' + release, flush=True)
        root = debian.unpack(folder, release, PACKAGE, UNPACKED)
        shutil.copy(_only(root + '/boot/vmlinuz-*'), kernel.vmlinuz)
        _make_initrd(_collect(folder, root, image), kernel.initrd)
        shutil.rmtree(root)
        ready.write_text(_digest())
    return kernel


def _digest() -> str:
    """Return what says whether a kernel was made ready by just these files."""
    digest = hashlib.sha256()
    for name in PARTS:
        digest.update(Path(HERE, name).read_bytes())
    return digest.hexdigest()


def _only(pattern: str) -> str:
    """Return the one path that a pattern fits."""
    found = glob.glob(pattern)
    assert len(found) == 1, (pattern, found)
    return found[0]


def _collect(folder: str, root: str, image: str) -> str:
    """Return the folder with all that a kernel finds when it starts."""
    first = os.path.join(folder, 'first')
    for name in FOLDERS:
        os.makedirs(os.path.join(first, name))
    shutil.copy(os.path.join(image, 'rootfs', 'bin', 'busybox'), os.path.join(first, 'bin'))
    os.symlink('busybox', os.path.join(first, 'bin', 'sh'))
    shutil.copy(os.path.join(HERE, 'kernel-init'), os.path.join(first, 'init'))
    if not os.path.isdir(root + '/lib'):
        os.symlink('usr/lib', root + '/lib')        # modprobe looks in lib
    modules = _only(root + '/lib/modules/*')
    version = os.path.basename(modules)
    run(['depmod', '-b', root, version])
    kept = os.path.join(first, 'lib', 'modules', version)
    os.makedirs(kept)
    for path in glob.glob(modules + '/modules.builtin*') + [modules + '/modules.order']:
        shutil.copy(path, kept)
    for path in _files(root, version):
        _copy_plain(path, os.path.join(kept, os.path.relpath(path, modules)))
    run(['depmod', '-b', first, version])
    return first


def _files(root: str, version: str) -> List[str]:
    """Return the files of the modules and of all that they need."""
    said = [run(['modprobe', '-d', root, '-S', version, '--show-depends', name])
            for name in MODULES]
    return sorted({line.split()[1] for text in said for line in text.splitlines()
                   if line.startswith('insmod ')})


def _copy_plain(source: str, target: str) -> None:
    """Copy a module; busybox reads none that is packed."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not source.endswith('.xz'):
        shutil.copy(source, target)
        return
    with lzma.open(source) as packed, open(target[:-len('.xz')], 'wb') as file:
        shutil.copyfileobj(packed, file)


def _make_initrd(first: str, initrd: str) -> None:
    """Write a folder's files as the kernel unpacks them."""
    names = subprocess.run(['find', '.', '-print0'], cwd=first, check=True,
                           stdout=subprocess.PIPE).stdout
    with open(initrd, 'wb') as file:
        subprocess.run(['cpio', '-0', '-o', '-H', 'newc', '--quiet'], cwd=first, check=True,
                       input=names, stdout=file)
