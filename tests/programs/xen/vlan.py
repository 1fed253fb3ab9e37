"""A VLAN network beside the untagged one: a fake bridge, as xcp-networkd makes it."""
from typing import Sequence

from xen.forge import attacks, spoofs, tagged, udp4
from xen.guest import Guest, ports, sh
from xen.world import BRIDGE, VLAN, VLAN_BRIDGE, VLAN_NETWORK, World, in_order, listen, reach


def vlan(world: World) -> None:
    """Three more guests on a VLAN of the same uplink: two of red, one of blue."""
    red1, red2, blue1, free1 = world.guests
    outsider = world.lan.outsider
    sh('ovs-vsctl', 'add-br', VLAN_BRIDGE, BRIDGE, str(VLAN))
    sh('ovs-vsctl', 'br-set-external-id', VLAN_BRIDGE, 'xs-network-uuids', VLAN_NETWORK)
    red3, red4, blue2 = [
        world.guest(name, number, {'groups': name[:-1]}, VLAN_BRIDGE)
        for number, name in enumerate(('red3', 'red4', 'blue2'), 21)]
    tags = [sh('ovs-vsctl', 'get', 'Port', guest.device, 'tag').text.strip()
            for guest in (red3, red4, blue2)]
    world.check('their ports have the tag %d' % VLAN, set(tags) == {str(VLAN)}, str(tags))
    in_order(world)
    reach(world, [('red1', 'red2'), ('red3', 'red4')])
    world.hears_none(red3, blue2, attacks(blue2, red3, red4))
    world.hears_none(red3, red4, spoofs(red4, red3, blue2))
    for by in (free1, outsider, red2):      # from the untagged network, with the VLAN's tag
        frames = attacks(by, red3, red4)
        world.hears_none(red3, by, {word: tagged(frame, VLAN) for word, frame in frames.items()
                                    if by is not outsider or word != 'DHCPLIES'}, 'tagged')
    world.hears_none(red3, free1, attacks(free1, red3, red4), 'untagged')
    world.hears_none(red1, red3, attacks(red3, red1, red2), 'from the VLAN')
    honest = {'HONESTLY': udp4(red4.vif.mac, red3.vif.mac, red4.ipv4, red3.ipv4, 'HONESTLY')}
    world.check('red3 hears an honest frame of red4',
                bool(listen(world, red3, red4, honest)['HONESTLY']))
    leave(world, [red3, red4, blue2])


def leave(world: World, guests: Sequence[Guest]) -> None:
    """End the VLAN's guests and remove its bridge."""
    for guest in guests:
        world.guests.remove(guest)
        guest.destroy()
        world.events += 1
    world.check('the VLAN has no ports left', not ports(VLAN_BRIDGE), str(ports(VLAN_BRIDGE)))
    sh('ovs-vsctl', 'del-br', VLAN_BRIDGE)
    sh('xsisolate', 'sync')     # no hook sees that a network goes; the daemon would
    in_order(world)
