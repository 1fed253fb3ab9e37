"""Real kernels talk to each other, with and without the gateway's MAC address configured."""
from typing import Iterator

import pytest
from sandbox.hooks import Hooks
from sandbox.dom0 import Sandbox

from support.packets.attacks import OUTSIDE, OUTSIDE6
from support.packets.shared_network import World

NAMES = ('red1', 'red2', 'blue1', 'un', 'locked', 'svc1', 'svc2', 'far', 'web')


@pytest.fixture(scope='module', params=[True, False], ids=['gateway-mac', 'no-gateway-mac'])
def world(request: pytest.FixtureRequest, namespaces: None, hooks: Hooks) -> Iterator[World]:
    """A network whose machines serve echo."""
    with Sandbox(hooks) as dom0:
        world = World(dom0, gateway_mac=request.param, names=NAMES)
        for vm in world.vms.values():
            vm.serve(7, 22, 53)
        for host in world.uplink.hosts[1:]:
            host.serve()
        yield world


@pytest.mark.parametrize('version', [4, 6])
@pytest.mark.parametrize('sender, target', [
    ('red1', 'red2'), ('red2', 'red1'), ('blue1', 'un'), ('un', 'blue1'), ('locked', 'un')])
def test_peers_talk(world: World, sender: str, target: str, version: int) -> None:
    me, address = world.vms[sender], world.vms[target].address(version)
    assert me.ping(address)
    assert me.udp(address) and me.tcp(address)
    assert me.udp(address, size=5000) and me.tcp(address, size=50000)
    if version == 4:
        assert me.ping(address, size=5000)


@pytest.mark.parametrize('address', ['10.9.0.101', 'fd00:9::65'])
def test_a_remote_member_talks(world: World, address: str) -> None:
    red1 = world.vms['red1']
    assert red1.ping(address) and red1.udp(address) and red1.tcp(address)
    far = next(host for host in world.uplink.hosts if host.name == 'redfar')
    own = red1.address(6 if ':' in address else 4)
    assert far.ping(own) and far.udp(own) and far.tcp(own)


@pytest.mark.parametrize('name', ['red1', 'locked', 'un', 'far'])
@pytest.mark.parametrize('address', [OUTSIDE, OUTSIDE6])
def test_the_outside_answers(world: World, name: str, address: str) -> None:
    vm = world.vms[name]
    assert vm.ping(address) and vm.udp(address) and vm.tcp(address)


@pytest.mark.parametrize('address', [OUTSIDE, OUTSIDE6])
def test_the_outside_answers_when_everybody_has_forgotten(world: World, address: str) -> None:
    red1 = world.vms['red1']
    world.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    red1.flush_neighbours()
    world.uplink.gateway.flush_neighbours()
    assert red1.ping(address) and red1.tcp(address)
    world.uplink.gateway.flush_neighbours()
    assert world.uplink.gateway.ping(red1.address(6 if ':' in address else 4))


@pytest.mark.parametrize('version', [4, 6])
def test_members_find_each_other_again(world: World, version: int) -> None:
    red1, red2 = world.vms['red1'], world.vms['red2']
    world.dom0.ovs.appctl('fdb/flush', 'xenbr0')
    red1.flush_neighbours()
    red2.flush_neighbours()
    assert red1.ping(red2.address(version))


def test_a_router_advertises_a_link_local_gateway(world: World) -> None:
    """As after SLAAC: the default route goes to the router's link-local address."""
    red1 = world.vms['red1']
    router = world.who['gw'].ll
    red1.ip('route replace default via %s dev eth0' % router)
    red1.flush_neighbours()
    assert red1.ping(OUTSIDE6)
    red1.ip('route replace default via fd00:9::1 dev eth0')


@pytest.mark.parametrize('version', [4, 6])
def test_rules_admit_what_they_name(world: World, version: int) -> None:
    a, b = world.vms['svc1'], world.vms['svc2'].address(version)
    assert a.tcp(b, 22) and a.udp(b, 53) and a.ping(b)
    assert not a.tcp(b, 7, timeout=0.3) and not a.udp(b, 7, timeout=0.3)
