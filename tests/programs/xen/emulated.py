"""An HVM guest on its emulated NIC: its frames come out of QEMU, by a netdev of their own."""
import os
import subprocess
import time
from typing import List

from xen.forge import attacks, spoofs, udp4
from xen.guest import Broken, Guest, flows, ports, wait
from xen.pvh import try_again
from xen.world import BRIDGE, World, in_order, listen, reach
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.planner.cookie import port_key

WRAPPER, CALLED, GO = '/run/qemu-wrapper', '/run/qemu-called', '/run/qemu-go'
DRIVER = '8139cp'       # of the NIC that XCP-ng's QEMU emulates
# xenopsd's QEMU calls an emulated NIC's netdev tap<domid>.<devid>, libxl's vif<domid>.<devid>-emu.
# It waits until the test has written what xenopsd has written by then.
WRAPPER_TEXT = '''\
#!/bin/sh
PATH=/usr/bin:/bin
touch {called}
while [ ! -e {go} ]; do sleep 0.1; done
for word; do
    shift
    set -- "$@" "$(echo "$word" | sed 's/ifname=vif\\([0-9]*[.][0-9]*\\)-emu/ifname=tap\\1/')"
done
exec /usr/libexec/xen-qemu-system-i386 "$@"
'''.format(called=CALLED, go=GO)
# Without pci=noearly Linux looks for AMD's AGP at 65,536 places, and QEMU answers for each.
HARDWARE = '''\
kernel="/root/domu/vmlinuz"
extra="console=hvc0 loglevel=3 net.ifnames=0 xen_emul_unplug=never pci=noearly"
memory=192
device_model_version="qemu-xen"
device_model_override="{wrapper}"
vif=["type=ioemu,model=rtl8139,mac={mac},bridge={bridge},script=vif-noop"]
vga="none"
vnc=0
'''


class EmulatedGuest(Guest):
    """A guest with an emulated NIC; xl makes its VIF when it builds the domain."""

    patience = 600.0        # it has a BIOS, and each access to a device is QEMU's to answer
    xl: 'subprocess.Popen[bytes]'

    @property
    def netdevs(self) -> List[str]:
        """The netdevs of its NIC in Dom0, the emulated one first."""
        return [self.device.replace('vif', 'tap'), self.device]

    def create(self, saved: str = '') -> None:
        """Build the domain, as far as QEMU's start."""
        self.hardware = HARDWARE.format(wrapper=WRAPPER, mac=self.vif.mac, bridge=self.vif.bridge)
        for path in (CALLED, GO):
            if os.path.exists(path):
                os.unlink(path)
        self.xl = subprocess.Popen(['xl', 'create', '-q', '-p', self.config()])
        wait('xl starts QEMU', lambda: os.path.exists(CALLED) or self.xl.poll() is not None)
        self.enter()

    def plug(self) -> float:
        """Have QEMU and Xen make both netdevs; udev fires the hook for each."""
        self.describe_vif()
        began = time.monotonic()
        with open(GO, 'w'):
            pass
        if self.xl.wait():
            raise Broken('xl could not build %s' % self.name)
        wait('%s: hooks of %s' % (self.name, ' and '.join(self.netdevs)),
             lambda: self.is_answered() and set(self.netdevs) <= set(ports(self.vif.bridge)))
        return time.monotonic() - began

    def bury(self, began: float) -> float:
        """The same as for any guest, when both netdevs have left the bridge."""
        wait('%s leaves its bridge' % self.netdevs[0],
             lambda: self.netdevs[0] not in ports(self.vif.bridge))
        return super().bury(began)


def emulated(world: World) -> None:
    """An HVM guest joins red with an emulated NIC."""
    with open(WRAPPER, 'w') as file:
        file.write(WRAPPER_TEXT)
    os.chmod(WRAPPER, 0o755)
    before = flows(BRIDGE)
    red7 = EmulatedGuest(world.store, 'red7', 33, BRIDGE, {'groups': 'red'}, 'hvm')
    try_again(world, red7, join)
    red7.destroy()
    world.events += 2
    left = sorted(set(flows(BRIDGE)) ^ set(before))
    world.check('nothing of it stays behind', not left, '\n'.join(left[:10]))
    in_order(world)


def join(world: World, red7: EmulatedGuest) -> None:
    """Start it: by its emulated NIC it hears and is heard by its group, and nobody else."""
    red1, _, blue1, _ = world.guests
    world.start(red7)
    world.events += 1
    world.guests.append(red7)
    try:
        driver = red7.run('readlink /sys/class/net/eth0/device/driver').text
        world.check('its NIC is an emulated one', driver.strip().endswith('/' + DRIVER), driver)
        items = read_registry(BRIDGE)
        policies = [items[port_key(name)].refs for name in red7.netdevs if port_key(name) in items]
        world.check('the tap has the policy of the VIF',
                    len(policies) == 2 and policies[0] == policies[1], str(policies))
        in_order(world)
        reach(world, [('red1', 'red2'), ('red1', 'red7'), ('red2', 'red7')])
        world.hears_none(red7, blue1, attacks(blue1, red7, red1))
        world.hears_none(blue1, red7, attacks(red7, blue1, red1))
        world.hears_none(red1, red7, spoofs(red7, red1, blue1))
        honest = {'HONESTLY': udp4(red7.vif.mac, red1.vif.mac, red7.ipv4, red1.ipv4, 'HONESTLY')}
        world.check('red1 hears an honest frame of red7',
                    bool(listen(world, red1, red7, honest)['HONESTLY']))
        by_tap, by_vif = map(sent, red7.netdevs)
        world.check('its frames came out of the tap', by_tap > 0 and not by_vif,
                    '%d, and %d of the VIF' % (by_tap, by_vif))
    finally:
        world.guests.remove(red7)


def sent(device: str) -> int:
    """Return how many frames a guest has sent by a netdev of Dom0."""
    with open('/sys/class/net/%s/statistics/rx_packets' % device) as file:
        return int(file.read())
