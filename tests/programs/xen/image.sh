#!/bin/sh
# image.sh FOLDER [PYTHON36-FOLDER]: build what `make test-xen` boots, from Debian's packages only.
# FOLDER gets xen, vmlinuz, initrd.img and rootfs.ext4; a build that is complete has the file `ready`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1 py36=${2:-}
xen=4.17
mkdir -p "$out"
cd "$out"
rm -f ready
say() { echo "xen image: $*" >&2; }

# The cloud kernel cannot be a Dom0.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-\(6.*\)/\1/p' | head -n 1)
for package in "linux-image-$kernel" "xen-hypervisor-$xen-amd64"; do
    ls "${package}"_*.deb >/dev/null 2>&1 || { say "downloading $package"; apt-get -q -o APT::Sandbox::User=root download "$package" >/dev/null; }
done
[ -d kernel ] || dpkg -x "$(ls linux-image-"$kernel"_*.deb)" kernel
[ -d hypervisor ] || dpkg -x "$(ls xen-hypervisor-$xen-amd64_*.deb)" hypervisor
gunzip -c hypervisor/boot/xen-$xen-amd64.gz >xen
cp "kernel/boot/vmlinuz-$kernel" vmlinuz
[ -e "kernel/lib/modules/$kernel/modules.dep" ] || depmod -b kernel "$kernel"

if [ ! -e rootfs/complete ]; then
    say "Dom0's packages (a minute)"
    rm -rf rootfs
    debootstrap --variant=minbase --include=xen-utils-$xen,qemu-system-xen,xenstore-utils,openvswitch-switch,kmod,udev,iproute2,iputils-ping,conntrack,busybox-static,ethtool,python3-minimal,libffi8 \
        bookworm rootfs http://deb.debian.org/debian >debootstrap.log 2>&1
    touch rootfs/complete
fi

# Prints a module's file and those of all that it needs.
files() { modprobe -d "$out/kernel" -S "$kernel" --show-depends "$1" 2>/dev/null | awk '/^insmod/ {print $2}'; }

# modules KERNEL-MODULE...: put them and what they need below the root that is built
modules() {
    rm -rf rootfs/lib/modules
    mkdir -p "rootfs/lib/modules/$kernel"
    cp "kernel/lib/modules/$kernel"/modules.builtin* "kernel/lib/modules/$kernel/modules.order" "rootfs/lib/modules/$kernel/"
    for module in "$@"; do files "$module"; done | sort -u | while read -r file; do
        target=rootfs/lib/modules/$kernel/${file#*lib/modules/"$kernel"/}
        mkdir -p "${target%/*}"
        cp "$file" "$target"
    done
    depmod -b rootfs "$kernel"
}
modules virtio_blk virtio_pci ext4 9pnet_virtio 9p xenfs xen-evtchn xen-gntdev xen-gntalloc xen-privcmd \
    xen-netback openvswitch nf_conntrack nf_conntrack_netlink nf_conntrack_tftp nf_nat veth bridge tun

if [ -n "$py36" ]; then
    say "Python 3.6 from $py36"
    mkdir -p "rootfs$py36/lib" "rootfs$py36/bin"
    cp -a "$py36"/bin/python3* "rootfs$py36/bin/"
    cp -a "$py36"/lib/libpython3*.so* "rootfs$py36/lib/" 2>/dev/null || :
    tar -C "$py36/lib" -cf - --exclude=test --exclude=idlelib --exclude=tkinter --exclude='config-*' \
        --exclude=ensurepip --exclude=lib2to3 --exclude=site-packages python3.6 | tar -C "rootfs$py36/lib" -xf -
    ln -sf "$py36/bin/python3.6" rootfs/usr/bin/python3
else
    ln -sf python3.11 rootfs/usr/bin/python3
fi
install -m 755 "$here/dom0-init" rootfs/sbin/dom0-init
printf '#!/bin/sh\nexit 0\n' >rootfs/etc/xen/scripts/vif-noop
chmod 755 rootfs/etc/xen/scripts/vif-noop

# a guest: busybox, the tools for xenstore, a raw socket
rm -rf domu
mkdir -p domu/bin domu/lib domu/lib64 domu/mods domu/proc domu/sys domu/dev domu/tmp
cp rootfs/bin/busybox domu/bin/
ln -s busybox domu/bin/sh
cp -L rootfs/usr/bin/xenstore* domu/bin/
cp -L rootfs/usr/lib/x86_64-linux-gnu/libxenstore.so.4 rootfs/usr/lib/x86_64-linux-gnu/libxentoolcore.so.1 \
    rootfs/usr/lib/x86_64-linux-gnu/libc.so.6 domu/lib/
cp -L rootfs/lib64/ld-linux-x86-64.so.2 domu/lib64/
for file in $(files xen-netfront); do cp "$file" domu/mods/; done
mkdir domu/mods/emulated        # their order is that of their names
number=0
for file in $(files 8139cp); do cp "$file" "domu/mods/emulated/$((number += 1))-${file##*/}"; done
gcc -static -O1 -o domu/bin/frames "$here/frames.c"
install -m 755 domu/bin/frames rootfs/usr/local/bin/frames        # for machines beyond the uplink
install -m 755 "$here/domu-init" domu/init
mkdir -p rootfs/root/domu
(cd domu && find . | cpio -o -H newc 2>/dev/null | gzip -1) >rootfs/root/domu/initrd.gz
cp vmlinuz rootfs/root/domu/vmlinuz     # for a guest with a BIOS
# unpacked: Dom0 would need seconds to do that under emulation, for each guest
python3 - rootfs/root/domu/vmlinux <<'PYTHON'
import lzma
import struct
import sys
image = open('vmlinuz', 'rb').read()
start = (image[0x1f1] + 1) * 512 + struct.unpack_from('<I', image, 0x248)[0]
packed = image[start:start + struct.unpack_from('<I', image, 0x24c)[0]]
open(sys.argv[1], 'wb').write(lzma.LZMADecompressor().decompress(packed))
PYTHON

# what finds Dom0's disk
rm -rf first
mkdir -p first/bin first/mods first/proc first/sys first/dev first/root
cp domu/bin/busybox first/bin/
ln -s busybox first/bin/sh
install -m 755 "$here/initrd-init" first/init
for module in virtio_pci virtio_blk crc32c_generic ext4; do files $module; done | awk '!seen[$0]++' |
    while read -r file; do cp "$file" first/mods/; echo "${file##*/}"; done >first/mods/order
(cd first && find . | cpio -o -H newc 2>/dev/null) >initrd.img
rm -rf rootfs/var/cache/apt/archives/*.deb rootfs/usr/share/doc rootfs/usr/share/man rootfs/usr/share/locale rootfs.ext4
mke2fs -q -t ext4 -O ^has_journal -d rootfs rootfs.ext4 900M >/dev/null
touch ready
say "built in $out"
