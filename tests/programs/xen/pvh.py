"""A guest without paravirtual memory management: the processor's own virtualization runs it."""
import time
from typing import Callable, TypeVar

from sandbox.toolstack import home_of
from xen.forge import attacks
from xen.guest import Broken, Guest, sh
from xen.world import BRIDGE, World, in_order, reach

Joining = TypeVar('Joining', bound=Guest)


def pvh(world: World) -> None:
    """A PVH guest joins red."""
    kinds = sh('xl', 'info', 'virt_caps').text
    world.check('Xen can run it', 'hvm' in kinds and 'hap' in kinds, kinds)
    red5 = Guest(world.store, 'red5', 31, BRIDGE, {'groups': 'red'}, 'pvh')
    try_again(world, red5, join)
    red5.destroy()
    world.events += 1
    in_order(world)


def try_again(world: World, guest: Joining, join: Callable[[World, Joining], None]) -> None:
    """Have a guest join its group; once more if it has ended in a triple fault."""
    try:
        join(world, guest)
    except Broken as failure:
        if not guest.fell_early():
            raise
        world.fallen, world.events = world.fallen + 1, world.events + 1
        world.say('!!!     %s; Xen says that it ended in a triple fault: the emulation\'s doing, '
                  'once more' % failure)
        guest.bury(time.monotonic())
        world.store.rm(home_of(guest.domain))       # what it was told after its end
        join(world, guest)


def join(world: World, red5: Guest) -> None:
    """Start it: it hears and is heard by its group, and nobody else."""
    red1, _, blue1, _ = world.guests
    world.start(red5)
    world.guests.append(red5)
    try:
        world.check('it is one', 'Hypervisor detected: Xen HVM' in red5.run('dmesg').text)
        in_order(world)
        reach(world, [('red1', 'red2'), ('red1', 'red5'), ('red2', 'red5')])
        world.hears_none(red5, blue1, attacks(blue1, red5, red1))
        world.hears_none(blue1, red5, attacks(red5, blue1, red1))
    finally:
        world.guests.remove(red5)
