"""What guests may say to each other, and what their roots try to."""
from xen.forge import attacks, spoofs, udp4
from xen.guest import Guest, sh
from xen.world import BRIDGE, World, listen, reach

DOM0 = '10.99.0.1/24'


def speak(world: World) -> None:
    """Pings and TCP between members, and with everybody else."""
    red1, red2, blue1, free1 = world.guests
    reach(world, [('red1', 'red2')])
    red2.run('nc -ll -p 8 -e /bin/cat >/dev/null 2>&1 &')
    world.check('red2 has a server that red\'s rules do not name', says(red2, '127.0.0.1', 8))
    for source, target, port, should in (
            (red1, red2, 7, True), (red2, red1, 7, True), (red1, red2, 8, False),
            (red1, blue1, 7, False), (blue1, red1, 7, False), (free1, red1, 7, False)):
        for address in (target.ipv4, target.ipv6):
            world.tries('TCP from %s to %s, %s port %d' % (
                source.name, target.name, address, port), says(source, address, port), should)
    sh('ip', 'addr', 'add', DOM0, 'dev', BRIDGE)        # of no group
    for guest, should in ((free1, True), (red1, False)):
        world.tries('Dom0 pings %s' % guest.name, sh(
            'ping', '-c', '2', '-W', '3', guest.ipv4, check=False).code == 0, should)


def says(source: Guest, address: str, port: int) -> bool:
    """Tell whether a TCP server echoes what a guest says to it."""
    return 'WORD' in source.run('(echo WORD; sleep 2) | nc -w 2 %s %d & sleep 3; kill $!'
                                % (address, port)).text


def answer(world: World) -> None:
    """A UDP service: conntrack of the kernel's datapath knows what was asked."""
    red1, red2 = world.guests[:2]
    ask = {'QUESTION': udp4(red2.vif.mac, red1.vif.mac, red2.ipv4, red1.ipv4, 'QUESTION', 5555)}
    world.check('red1 hears a question', bool(listen(world, red1, red2, ask)['QUESTION']))
    followed = sh('ovs-appctl', 'dpctl/dump-conntrack').text
    world.check('conntrack knows it', 'dport=4444' in followed, followed or 'it is empty')
    replies = {word: udp4(red1.vif.mac, red2.vif.mac, red1.ipv4, red2.ipv4, word, 4444, port)
               for word, port in (('ANSWERED', 5555), ('UNASKED4', 5556))}
    heard = listen(world, red2, red1, replies)
    world.check('red2 hears the answer', bool(heard['ANSWERED']))
    world.leaks += bool(heard['UNASKED4'])
    world.check('red2 does not hear an answer to nothing', not heard['UNASKED4'])


def forge(world: World) -> None:
    """Frames that root of a guest makes by hand."""
    red1, red2, blue1, free1 = world.guests
    for by, on, frames in ((blue1, red1, attacks(blue1, red1, red2)),
                           (free1, red1, attacks(free1, red1, red2)),
                           (red2, blue1, attacks(red2, blue1, free1)),
                           (red2, red1, spoofs(red2, red1, blue1))):
        world.hears_none(on, by, frames)
    honest = {'HONESTLY': udp4(red2.vif.mac, red1.vif.mac, red2.ipv4, red1.ipv4, 'HONESTLY')}
    world.check('red1 hears an honest frame of red2',
                bool(listen(world, red1, red2, honest)['HONESTLY']))
