"""Guests that reboot, leave and come back, and one that lies about who it is."""
import os
import time

from xen.guest import flows, ports, sh, wait
from xen.world import BRIDGE, World, call_rules, in_order, is_running, reach

RESTARTS = int(os.environ.get('RESTARTS', '20'))


def refresh(world: World) -> None:
    """A refresh as xenopsd calls it changes nothing."""
    guest, before = world.guests[0], flows(BRIDGE)
    done = call_rules(world, guest)
    world.check('setup-vif-rules filter of %s' % guest.name, done.code == 0, done.text)
    world.check('the flows are the same', flows(BRIDGE) == before)


def rewrite(world: World) -> None:
    """A guest's root rewrites its vm-data, to belong to red, and reboots."""
    blue1 = world.guests[2]
    key = 'vm-data/xsisolate/groups'
    said = blue1.run('xenstore-write %s red && xenstore-read %s' % (key, key))
    world.check('it can write that', said.text.strip() == 'red', said.text)
    written = world.store.get('/local/domain/%d/%s' % (blue1.domain.domid, key))
    began = time.monotonic()
    blue1.begin('reboot -f')
    wait('%s has ended' % blue1.name, lambda: not is_running(blue1))
    world.events += 1
    world.check('%s rebooted: its port is gone' % blue1.name, bool(blue1.bury(began)))
    honest = blue1.vm_data
    blue1.vm_data = dict(honest, **{'xsisolate/groups': str(written)})
    world.start(blue1)
    reach(world, [('red1', 'red2')])
    status = sh('xsisolate', 'status').text
    world.check('it is quarantined, and status says so', 'quarantined' in status, status)
    blue1.destroy()
    blue1.vm_data = honest
    world.start(blue1)
    world.check('nobody is quarantined', 'quarantined' not in sh('xsisolate', 'status').text)


def replug(world: World) -> None:
    """A VIF is pulled out and put in again, while its guest runs."""
    red1 = world.guests[0]
    seconds = red1.unplug()
    world.check('its port is gone after %.1f s' % seconds, red1.device not in ports(BRIDGE))
    in_order(world)
    red1.plug()
    world.events += 2
    world.check('its hook lets it in again', world.is_let_in(red1), world.refusal(red1))
    red1.configure()
    reach(world, [('red1', 'red2')])


def restart(world: World) -> None:
    """Domains come and go in a row."""
    wanted, red2 = len(flows(BRIDGE)), world.guests[1]
    red2.script = 'vif-noop'
    for _ in range(RESTARTS):
        red2.destroy()
        red2.create()
        red2.plug()
        world.events += 2
    red2.boot()
    world.booted += 1
    reach(world, [('red1', 'red2')])
    in_order(world)
    now = len(flows(BRIDGE))
    world.check('%d restarts in a row leave %d flows' % (RESTARTS, wanted), now == wanted,
                '%d' % now)
