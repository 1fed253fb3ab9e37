"""Two NICs as one uplink, in the modes that XAPI offers without LACP; the one in use fails."""
import re

from xen.guest import sh, wait
from xen.lan import NIC, SWITCH
from xen.uplink import uplink
from xen.world import BRIDGE, World, in_order, reach

BOND, SECOND, FAR_END = 'bond0', 'eth9', 'host9'
MODES = ('active-backup', 'balance-slb')


def bond(world: World) -> None:
    """The NIC becomes a bond of two, and one again."""
    sh('ip', 'link', 'add', SECOND, 'type', 'veth', 'peer', 'name', FAR_END, 'netns', SWITCH)
    world.lan.plug_in(FAR_END)
    sh('ip', 'link', 'set', SECOND, 'up')
    sh('ovs-vsctl', 'del-port', BRIDGE, NIC, '--', 'add-bond', BRIDGE, BOND, NIC, SECOND,
       'bond_mode=' + MODES[0])
    try:
        for mode in MODES:
            sh('ovs-vsctl', 'set', 'Port', BOND, 'bond_mode=' + mode)
            wait('a link of the bond is up', lambda: 'may_enable: true' in show())
            used = active_member()
            world.check('%s: one of two is in use' % mode, used in (NIC, SECOND), used)
            for state in ('down', 'up'):
                sh('ip', '-n', SWITCH, 'link', 'set', {NIC: 'host', SECOND: FAR_END}[used], state)
                if state == 'down':
                    wait('the other member to be used', lambda: active_member() not in ('', used))
                    check(world)
    finally:
        sh('ovs-vsctl', 'del-port', BRIDGE, BOND, '--', 'add-port', BRIDGE, NIC)
        sh('ip', 'link', 'del', SECOND)
    sh('xsisolate', 'sync')
    in_order(world)


def check(world: World) -> None:
    """What the daemon would do has been done; everybody reaches whom it should."""
    sh('xsisolate', 'sync')
    in_order(world)
    reach(world, [('red1', 'red2')])
    uplink(world)


def show() -> str:
    """Return what Open vSwitch says of the bond."""
    return sh('ovs-appctl', 'bond/show', BOND).text


def active_member() -> str:
    """Return the member that carries what is not balanced, '' if none does."""
    found = re.search(r'active (?:member|slave) mac: .*\((\S+)\)', show())
    return found.group(1) if found else ''
