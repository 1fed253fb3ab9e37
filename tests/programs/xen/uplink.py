"""The uplink: a gateway that is reached by those who may leave, and a LAN of strangers."""
from xen.forge import attacks, udp4
from xen.lan import REMOTE
from xen.world import World, listen


def uplink(world: World) -> None:
    """A gateway and strangers beyond the uplink."""
    red1, red2, blue1, free1 = world.guests
    gateway, outsider = world.lan.gateway, world.lan.outsider
    beyond = (gateway.ipv4, gateway.ipv6) + REMOTE
    for guest, addresses, should in (
            (blue1, beyond, True), (red1, beyond, False), (free1, beyond, True),
            (blue1, (outsider.ipv4, outsider.ipv6), False),
            (free1, (outsider.ipv4, outsider.ipv6), True)):
        for address in addresses:
            world.tries('%s pings %s' % (guest.name, address), guest.pings(address), should)
    for machine, source, guest, should in (
            (outsider, '', free1, True), (outsider, '', red1, False), (outsider, '', blue1, False),
            (gateway, '', blue1, True), (gateway, '', red1, False),
            (gateway, REMOTE[0], blue1, True), (gateway, REMOTE[0], red1, False)):
        world.tries('%s %spings %s' % (machine.name, source and 'as %s ' % source, guest.name),
                    machine.pings(guest.ipv4, source), should)
    for machine, source, guest, should in (
            (outsider, '', free1, True), (outsider, '', blue1, False),
            (gateway, REMOTE[1], blue1, True), (gateway, REMOTE[1], red1, False)):
        world.tries('%s %spings %s' % (machine.name, source and 'as %s ' % source, guest.ipv6),
                    machine.pings(guest.ipv6, source), should)
    forged = attacks(outsider, red1, red2)
    del forged['DHCPLIES']      # any DHCP server beyond the uplink may answer
    world.hears_none(red1, outsider, forged)
    world.hears_none(blue1, red2, attacks(red2, blue1, gateway))
    honest = {'HONESTLY': udp4(outsider.vif.mac, free1.vif.mac, outsider.ipv4, free1.ipv4,
                               'HONESTLY')}
    world.check('free1 hears an honest frame of outsider',
                bool(listen(world, free1, outsider, honest)['HONESTLY']))
