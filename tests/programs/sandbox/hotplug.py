"""How a VIF gets onto its bridge: through the product's hooks, or without them."""
from typing import TYPE_CHECKING, List

from sandbox.hooks import Call

if TYPE_CHECKING:
    from sandbox.vm import Vm


class Hotplug:
    """Says which hooks run for a VIF that comes or goes."""

    def plug(self, vm: 'Vm', devid: int) -> List[Call]:
        """Return the calls for a VIF that has just been cabled."""
        raise NotImplementedError

    def unplug(self, vm: 'Vm', devid: int) -> List[Call]:
        """Return the calls for a VIF that leaves."""
        raise NotImplementedError


class UdevHotplug(Hotplug):
    """udev's events; by default only those that the stock script acts upon."""

    def __init__(self, every_event: bool = False) -> None:
        self.every_event = every_event

    def plug(self, vm: 'Vm', devid: int) -> List[Call]:
        """QEMU makes the tap before the backend goes online."""
        hooks = vm.dom0.hooks
        taps = ('add',) if vm.domain.hvm else ()
        vifs = ('add', 'bind', 'online') if self.every_event else ('online',)
        return ([hooks.udev_tap(action, vm.domid, devid) for action in taps]
                + [hooks.udev_vif(action, vm.domid, devid) for action in vifs])

    def unplug(self, vm: 'Vm', devid: int) -> List[Call]:
        """The backend goes offline before it is removed."""
        hooks = vm.dom0.hooks
        taps = ('remove',) if vm.domain.hvm else ()
        vifs = ('offline', 'unbind', 'remove') if self.every_event else ('remove',)
        return ([hooks.udev_tap(action, vm.domid, devid) for action in taps]
                + [hooks.udev_vif(action, vm.domid, devid) for action in vifs])


class PlainHotplug(Hotplug):
    """No hook at all: plain ports on the bridge, to try the sandbox itself."""

    def plug(self, vm: 'Vm', devid: int) -> List[Call]:
        """Add the VIF's devices to its bridge."""
        for netdev in vm.netdevs(devid):
            vm.dom0.add_port(vm.vifs[devid].bridge, netdev)
        return []

    def unplug(self, vm: 'Vm', devid: int) -> List[Call]:
        """Take them off again."""
        for kind in ('vif', 'tap'):
            vm.dom0.ovs.vsctl('--if-exists', 'del-port', vm.netdev(devid, kind))
        return []
