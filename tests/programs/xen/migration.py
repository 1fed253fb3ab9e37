"""A guest that moves while it lives, from one domain of the host to another, as xenopsd does it.

Save and restore stand in for the stream between two hosts. For a while both domains have a VIF
with one MAC address; the new one is plugged while its VM has a temporary uuid.
"""
import os
from typing import List, Mapping, NamedTuple

from sandbox import metadata
from sandbox.toolstack import Domain, departing_uuid, temporary_uuid
from xen.forge import attacks
from xen.guest import Broken, Guest, flows, ports, sh, wait
from xen.world import BRIDGE, World, in_order, reach
from xsisolate.planner.cookie import port_key

IMAGE = '/tmp/saved'
LATE_S = 20.0           # for the hook of a VIF that goes
CONNECTED = '4'         # XenbusStateConnected
FRIENDS = [('red1', 'red2'), ('red1', 'red6'), ('red2', 'red6')]
GROUPS = 'vm-data/xsisolate/groups'
# An open end of the pipe keeps the connection open.
OPEN = ('mkfifo /tmp/say.{n}; sleep 9999 >/tmp/say.{n} & nc {address} 7 </tmp/say.{n} '
        '>/tmp/heard.{n} 2>&1 & ')
SAY = ('echo {word} >/tmp/say.{n}; for i in $(seq 30); do '
       'grep -q {word} /tmp/heard.{n} && break; sleep 0.5; done; cat /tmp/heard.{n}')


class Connection(NamedTuple):
    """A TCP connection that stays open, to the server that echoes what it hears."""

    client: Guest
    server: Guest
    address: str

    def opens(self) -> bool:
        """Open it; tell whether it carries data."""
        self.client.run(OPEN.format(n=self.server.name, address=self.address))
        return self.carries('BEFORE')

    def carries(self, word: str) -> bool:
        """Tell whether a word comes back through it."""
        return word in self.client.run(SAY.format(n=self.server.name, word=word)).text


def migration(world: World) -> None:
    """A member of red moves to another domain, as in a live migration; then it lies and moves."""
    red1, red2, blue1, _ = world.guests
    red6 = world.guest('red6', 32, {'groups': 'red'})
    try:
        connections = (Connection(red6, red1, red1.ipv4), Connection(red2, red6, red6.ipv6))
        for each in connections:
            world.check('%s has a connection to %s' % (each.client.name, each.server.name),
                        each.opens())
        move(world, red6)
        for each in connections:
            world.tries('%s\'s connection to %s goes on' % (each.client.name, each.server.name),
                        each.carries('BEHIND'), True)
        reach(world, FRIENDS)
        world.hears_none(red6, blue1, attacks(blue1, red6, red1))
        world.hears_none(blue1, red6, attacks(red6, blue1, red1))
        lie(world, red6)
    finally:
        world.guests.remove(red6)
    red6.destroy()
    world.events += 1
    in_order(world)


def move(world: World, guest: Guest) -> None:
    """Have a guest go on in another domain; its connections are none that the switch knows."""
    left, device = guest.domain, guest.device
    carried = guest.toolstack.vm_data(left)
    sh('xl', 'rename', str(left.domid), guest.name + '-left')
    sh('xl', 'save', '-p', str(left.domid), IMAGE)
    sh('ovs-appctl', 'dpctl/flush-conntrack')       # another host has not seen them begin
    arrive(guest, carried)
    world.events += 2
    world.check('%s arrives as domain %d; its hook lets it in' % (guest.name, guest.domain.domid),
                world.is_let_in(guest), world.refusal(guest))
    world.check('both its VIFs have a port', {device, guest.device} <= set(ports(BRIDGE)))
    in_order(world)
    rename(guest, left)
    sh('xl', 'unpause', str(guest.domain.domid))
    wait('the NIC of %s connects' % guest.name,
         lambda: world.store.get(guest.backend + '/state') == CONNECTED)
    depart(guest, left.domid, device)
    world.check('the old port has no flow', not flows_of(device), '\n'.join(flows_of(device)))
    in_order(world)


def flows_of(device: str) -> List[str]:
    """Return the flows of a netdev's own; also those that the switch has learned for it."""
    cookie = 'cookie=%#x,' % port_key(device).cookie
    return [flow for flow in flows(BRIDGE) if cookie in flow]


def arrive(guest: Guest, carried: Mapping[str, str]) -> None:
    """Build the domain that goes on, paused, under a temporary uuid, and plug its VIF."""
    guest.domain = guest.domain._replace(uuid=temporary_uuid(guest.uuid))
    guest.vm_data = carried
    guest.create(IMAGE)
    os.unlink(IMAGE)
    guest.store.write('/vm/%s/final-uuid' % guest.domain.uuid, guest.uuid)
    guest.plug()


def rename(guest: Guest, left: Domain) -> None:
    """Give the domain that is left a uuid out of the way, the new one the VM's own."""
    away = guest.toolstack.rename(left, departing_uuid(guest.uuid), [guest.vif])
    guest.store.write('/vm/%s/origin-uuid' % away.uuid, guest.uuid)
    guest.domain = guest.toolstack.rename(guest.domain, guest.uuid, [guest.vif])
    guest.store.rm('/vm/%s/final-uuid' % guest.uuid)


def depart(guest: Guest, domid: int, device: str) -> None:
    """End the domain that is left, with all that was written of it."""
    sh('xl', 'destroy', str(domid))
    wait('%s leaves its bridge' % device, lambda: device not in ports(BRIDGE))
    try:
        wait('its flows go', lambda: not flows_of(device), LATE_S)      # its hook still runs
    except Broken:
        pass        # the check says what is left
    away = departing_uuid(guest.uuid)
    for path in ('/xapi/' + away, '/vm/' + away, '/xenops/domain/%d' % domid):
        guest.store.rm(path)
    metadata.remove(away, [0])


def lie(world: World, guest: Guest) -> None:
    """Its root has it belong to blue, too, and it moves: its own part of xenstore goes along."""
    said = guest.run('xenstore-write %s "red blue" && xenstore-read %s' % (GROUPS, GROUPS))
    world.check('it can write that', said.text.strip() == 'red blue', said.text)
    move(world, guest)
    status = sh('xsisolate', 'status').text
    own = [line for line in status.splitlines() if line.startswith(guest.device + ' ')]
    world.check('it is quarantined, and status says so',
                len(own) == 1 and 'quarantined' in own[0], status)
    reach(world, FRIENDS[:1])
