"""A guest without paravirtual memory management: the processor's own virtualization runs it."""
from xen.forge import attacks
from xen.guest import sh
from xen.world import World, in_order, reach


def pvh(world: World) -> None:
    """A PVH guest joins red."""
    red1, _, blue1, _ = world.guests
    kinds = sh('xl', 'info', 'virt_caps').text
    world.check('Xen can run it', 'hvm' in kinds and 'hap' in kinds, kinds)
    red5 = world.guest('red5', 31, {'groups': 'red'}, kind='pvh')
    world.check('it is one', 'Hypervisor detected: Xen HVM' in red5.run('dmesg').text)
    in_order(world)
    reach(world, [('red1', 'red2'), ('red1', 'red5'), ('red2', 'red5')])
    world.hears_none(red5, blue1, attacks(blue1, red5, red1))
    world.hears_none(blue1, red5, attacks(red5, blue1, red1))
    world.guests.remove(red5)
    red5.destroy()
    world.events += 1
    in_order(world)
