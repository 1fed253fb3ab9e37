"""Connections that somebody else follows: Dom0's own stack, another bridge, another zone.

Their packets come to our bridge with a state already. Only what we have followed
ourselves makes an answer of what a rule lets answer only.
"""
import itertools
import socket
from typing import Mapping

from xen.forge import udp4
from xen.guest import Guest, Sender, sh
from xen.lan import Machine
from xen.world import BRIDGE, Frames, World, in_order, listen, reach

ADDRESS = '10.99.0.1'
SERVICE = 4444                              # red1's allow list: asked at this port, one may answer
ASKED, UNASKED, PROBED = 5557, 5556, 5558   # red1's ports
OTHER, OTHER_ZONE = 'xenbr1', 7
OUR_ZONE = 0xa000           # of the untagged network of every bridge of ours
REPLY = 'ct_state=+est+rpl+trk'


class Dom0(Sender):
    """Dom0's own stack as a sender; the frames that it is given name the ports only."""

    name, ipv4 = 'Dom0', ADDRESS

    def __init__(self, target: Guest) -> None:
        self.target = target
        sh('ip', 'addr', 'replace', ADDRESS + '/24', 'dev', BRIDGE)
        with open('/sys/class/net/%s/address' % BRIDGE) as file:
            self.mac = file.read().strip()

    def send(self, frames: Mapping[str, bytes]) -> str:
        """Send a datagram for each frame, with what it carries to where it goes."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((ADDRESS, SERVICE))
            for word, frame in frames.items():
                port = int.from_bytes(frame[36:38], 'big')
                sender.sendto(word.encode(), (self.target.ipv4, port))
        return 'SENT %d' % len(frames)


def tracking(world: World) -> None:
    """Who else follows connections does not make answers of what red1 has not asked for."""
    red1 = world.guests[0]
    dom0 = Dom0(red1)
    follow(red1, ADDRESS, 0, OUR_ZONE)
    probe = 'priority=65535,in_port=LOCAL,%s,udp,tp_dst=%d' % (REPLY, PROBED)
    sh('ovs-ofctl', 'add-flow', BRIDGE, probe + ',actions=drop')
    dom0.send(datagrams(red1, dom0.mac, ADDRESS, 'TESTING', PROBED))
    world.check('what Dom0 follows comes to the bridge as an answer', '_packets=1,' in sh(
        'ovs-ofctl', 'dump-flows', BRIDGE, probe.split(',', 1)[1]).text)
    sh('ovs-ofctl', '--strict', 'del-flows', BRIDGE, probe)
    ask(world, dom0, dom0.mac)

    elsewhere = other_bridge()
    follow(red1, elsewhere.ipv4, OTHER_ZONE, OUR_ZONE)
    sh('xsisolate', 'sync')
    ask(world, elsewhere, elsewhere.vif.mac)
    passed = sh('ovs-ofctl', 'dump-flows', OTHER, 'table=1,udp,' + REPLY).text
    world.check('what the other bridge follows came from there as an answer',
                'n_packets=1,' in passed, passed)
    sh('ovs-vsctl', 'del-port', 'to-' + OTHER, '--', 'del-br', OTHER)
    sh('xsisolate', 'sync')
    in_order(world)
    reach(world, [('red1', 'red2')])


def follow(red1: Guest, asked: str, *zones: int) -> None:
    """Have the kernel believe that somebody with red1's address has asked, as others see it."""
    for zone, port in itertools.product(zones, (UNASKED, PROBED)):
        sh('conntrack', '-I', '-p', 'udp', '-s', red1.ipv4, '-d', asked, '--sport', str(port),
           '--dport', str(SERVICE), '-t', '600', '--zone', str(zone))


def other_bridge() -> Machine:
    """Make a bridge that follows connections, with a machine on it, and patch it to ours."""
    sh('ovs-vsctl', 'add-br', OTHER)
    machine = Machine('elsewhere', '02:00:00:00:ff:98', '10.99.0.98', 'fd99::98')
    sh('ip', 'link', 'set', 'to-elsewhere', 'up')
    sh('ovs-vsctl', 'add-port', OTHER, 'to-elsewhere')
    for bridge, peer in ((OTHER, BRIDGE), (BRIDGE, OTHER)):
        sh('ovs-vsctl', 'add-port', bridge, 'to-' + peer, '--', 'set', 'Interface', 'to-' + peer,
           'type=patch', 'options:peer=to-' + bridge)
    for flow in ('in_port=to-elsewhere,udp,actions=ct(zone=%d,table=1)' % OTHER_ZONE,
                 'table=1,priority=10,%s,udp,actions=output:to-%s' % (REPLY, BRIDGE),
                 'table=1,priority=0,actions=output:to-' + BRIDGE):
        sh('ovs-ofctl', 'add-flow', OTHER, flow)
    return machine


def ask(world: World, by: Sender, mac: str) -> None:
    """Have red1 ask, and somebody answer that, and what was not asked."""
    red1 = world.guests[0]
    question = {'QUESTION': udp4(red1.vif.mac, mac, red1.ipv4, by.ipv4, 'QUESTION', ASKED,
                                 SERVICE)}
    red1.load(question)
    red1.send(question)
    world.packets += 1
    answers = dict(datagrams(red1, mac, by.ipv4, 'ANSWERED', ASKED),
                   **datagrams(red1, mac, by.ipv4, 'UNASKED4', UNASKED))
    followed = sh('ovs-appctl', 'dpctl/dump-conntrack', 'system@ovs-system').text
    heard = listen(world, red1, by, answers)
    world.check('red1 hears the answer of %s' % by.name, bool(heard['ANSWERED']), followed)
    world.leaks += bool(heard['UNASKED4'])
    world.check('red1 does not hear what it has not asked %s for' % by.name,
                not heard['UNASKED4'])


def datagrams(red1: Guest, mac: str, source: str, word: str, port: int) -> Frames:
    """Return what comes from the service to a port of red1."""
    return {word: udp4(mac, red1.vif.mac, source, red1.ipv4, word, SERVICE, port)}
