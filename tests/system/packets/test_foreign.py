"""Flows of other programs in table 0: they cannot let anything pass, and can stop everything."""

import pytest
from sandbox.dom0 import Sandbox

from support.packets import attacks
from support.packets.rows import legit
from support.packets.frames import ping, udp
from support.packets.check_rows import check, select
from support.packets.shared_network import World

ALLOW = ('ip,actions=NORMAL', 'ipv6,actions=NORMAL', 'arp,actions=NORMAL')
NAMES = ('red1', 'red2', 'red3', 'blue1', 'svc1', 'svc2', 'un', 'evil', 'locked', 'locked2', 'quar',
         'off', 'far', 'web', 'wide', 'nobody')
pytestmark = pytest.mark.host(names=NAMES)


@pytest.fixture(scope='module')
def world(dom0: Sandbox, world: World) -> World:
    """The network with flows as Xen Orchestra adds them, of the default priority."""
    world.prime()
    for flow in ALLOW:
        dom0.ovs.add_flow('xenbr0', flow)
    return world


@pytest.mark.parametrize('family', ['theft', 'services', 'gateway'])
def test_an_allow_does_not_bypass(world: World, family: str) -> None:
    check(world, [case for case in select(attacks.FAMILIES, world, [family])
                  if 'out of' not in case.id])


def test_a_drop_still_drops(world: World) -> None:
    red1, red2 = world.who['red1'], world.who['red2']
    drop = 'priority=40000,icmp,nw_dst=%s' % red2.ip
    world.dom0.ovs.add_flow('xenbr0', drop + ',actions=drop')
    check(world, [legit('dropped', 'red1', (), ping(red1, red2)),
                  legit('the rest', 'red1', 'red2', udp(red1, red2))])
    world.dom0.ovs.del_flows('xenbr0', drop, '--strict')
    check(world, [legit('dropped no more', 'red1', 'red2', ping(red1, red2))])
