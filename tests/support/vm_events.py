"""What happens to a VM through hooks."""
from sandbox.hooks import HookRun
from sandbox.vm import Vm


def refresh(vm: Vm, devid: int = 0) -> HookRun:
    """Let xenopsd run setup-vif-rules for a VIF; return the netdev vif's run."""
    return vm.fire(vm.dom0.hooks.locking_changed(vm.domain, vm.vifs[devid]))[0]


def fire_online(vm: Vm, devid: int = 0) -> HookRun:
    """Let udev say that a VIF went online; failures are for the caller to judge."""
    return vm.fire([vm.dom0.hooks.udev_vif('online', vm.domid, devid)], check=False)[0]


def end(vm: Vm) -> None:
    """Let a VM go; one whose plug failed has nothing to unplug."""
    if vm.plugged:
        vm.shutdown()
    else:
        vm.crash()
