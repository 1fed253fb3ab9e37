"""The stock scripts of a folder that is no part of the project, in the sandbox Dom0."""
import os
import shutil
from typing import List

from sandbox.enter import mark, mount
from sandbox.hooks import Call, Hooks
from sandbox.ovs import Ovs
from sandbox.process import LabError

SCRIPTS = ('vif-real', 'setup-vif-rules', 'common.py')
HOME = '/run/stock'
MODULES = '/sys/module'
# What setup-vif-rules leaves for a locked VIF, whatever its addresses, and for each of them.
FLOWS_ALWAYS, FLOWS_IPV4, FLOWS_IPV6 = 12, 2, 5


class StockHooks(Hooks):
    """The stock scripts, started as on a host; vif-real is what udev's call of vif becomes."""

    def __init__(self, interpreter: str, folder: str) -> None:
        super().__init__(interpreter, folder=HOME)
        self._source = folder
        missing = [name for name in SCRIPTS if not os.path.exists(os.path.join(folder, name))]
        if missing:
            raise LabError('no %s in %s: the stock scripts are %s' % (
                ', '.join(missing), folder, ', '.join(SCRIPTS)))

    def install(self) -> None:
        """Copy them into the sandbox; the one change is which Python the first line names."""
        os.makedirs(HOME, exist_ok=True)
        for name in SCRIPTS:
            shutil.copy(os.path.join(self._source, name), HOME)
            os.chmod(os.path.join(HOME, name), 0o755)
        with open(self.path('setup-vif-rules'), encoding='utf-8') as file:
            lines = file.readlines()
        with open(self.path('setup-vif-rules'), 'w', encoding='utf-8') as file:
            file.writelines(['#!%s\n' % self.interpreter] + lines[1:])
        # a host has the kernel's datapath; without it they would take the bridge for Linux's
        if not os.path.exists(MODULES + '/openvswitch'):
            mount(mark(), MODULES, 'tmpfs')
            os.mkdir(MODULES + '/openvswitch')

    def path(self, hook: str) -> str:
        """Return a script's path."""
        return os.path.join(HOME, 'vif-real' if hook == 'vif' else hook)

    def start_of(self, hook: str) -> List[str]:
        """Return how a script is started: as it is."""
        return [self.path(hook)]

    def udev_vif(self, action: str, domid: int, devid: int) -> Call:
        """Return what the stock vif script makes of udev's call."""
        call = super().udev_vif(action, domid, devid)
        return call._replace(args=('vif', str(domid), str(devid), action))


def is_locked(ovs: Ovs, bridge: str, device: str, ipv4: int, ipv6: int) -> bool:
    """Tell whether a VIF is on its bridge with the flows that setup-vif-rules is to leave."""
    if device not in ovs.vsctl('list-ports', bridge).split():
        return False
    dump = ovs.ofctl('dump-flows', bridge, 'cookie=1/-1,in_port=%d' % ovs.ofport(device))
    return sum('actions=' in line for line in dump.splitlines()) == (
        FLOWS_ALWAYS + FLOWS_IPV4 * ipv4 + FLOWS_IPV6 * ipv6)
