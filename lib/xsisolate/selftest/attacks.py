"""The eight attacks of a guest's root, and what connection tracking has to refuse."""
from typing import Callable, FrozenSet, Iterator, List, NamedTuple, Sequence, Tuple

from xsisolate.selftest import frames
from xsisolate.selftest.parties import EVERYBODY, GATEWAY, OUTSIDE, Party
from xsisolate.selftest.rows import Row

STRANGER, CONFIDANT = EVERYBODY['blue1'], EVERYBODY['blue2']
UNMANAGED = EVERYBODY['un']
FOREIGN_VLAN = 120
NOBODY = '02:00:00:00:77:77'        # no switch has learned it: a plain one floods what is for it
MDNS_MAC, MDNS, MDNS_PORT = '01:00:5e:00:00:fb', '224.0.0.251', 5353
ALL4 = '255.255.255.255'
PORT = 4444
ASKING, SILENT = 30000, 31000      # ports from which something is asked, and nothing


class Attack(NamedTuple):
    """What is tried; nobody but those whom a row names may see a frame of it."""

    title: str
    rows: Tuple[Row, ...]


class Attacker(NamedTuple):
    """A guest's root, who may talk to its mate and poses as others."""

    me: Party
    mate: Party
    # Two that may talk to each other: it poses as the second of them.
    victim: Party
    posed: Party


# Of an isolated VIF's lies many would not pass for other reasons, too: nobody asks its mate back.
ATTACKERS = (Attacker(EVERYBODY['red1'], EVERYBODY['red2'], STRANGER, CONFIDANT),
             Attacker(EVERYBODY['locked'], UNMANAGED, UNMANAGED, EVERYBODY['evil']))
LISTENER = ATTACKERS[0]
Lie = Callable[[Attacker], Iterator[bytes]]


def attacks(places: FrozenSet[str]) -> List[Attack]:
    """Return the eight attacks; `places` are all where a frame can be seen."""
    names = ' or '.join(one.me.name for one in ATTACKERS)
    return [Attack('%s %s' % (names, what), tuple(_rows(lie))) for what, lie in LIES] + [
        Attack('%s listens to what is for others' % LISTENER.me.name, tuple(_overheard(places)))]


def _rows(lie: Lie) -> Iterator[Row]:
    """Yield a row for each frame: nobody may see it."""
    for attacker in ATTACKERS:
        for number, frame in enumerate(lie(attacker), 1):
            yield Row('%s: frame %d' % (attacker.me.name, number), attacker.me.name, (frame,))


def _datagrams(source: Party, target: Party, mac: str) -> Iterator[bytes]:
    for version in (4, 6):
        yield frames.framed(mac, target.mac, frames.udp(
            source.address(version), target.address(version), PORT, PORT))


def _borrow_address(who: Attacker) -> Iterator[bytes]:
    yield from _datagrams(who.posed, who.mate, who.me.mac)
    yield from _datagrams(EVERYBODY[GATEWAY], who.mate, who.me.mac)


def _pose(who: Attacker) -> Iterator[bytes]:
    yield from _datagrams(who.me, who.mate, who.posed.mac)
    yield from _datagrams(who.posed, who.victim, who.posed.mac)


def _poison(who: Attacker) -> Iterator[bytes]:
    me, to, claimed = who.me, who.mate, EVERYBODY[GATEWAY]
    for target in (to.mac, frames.BROADCAST):
        yield frames.arp(frames.REPLY, me.mac, claimed.ipv4, to.mac, to.ipv4, to=target)
    yield frames.advertisement(me.mac, claimed.ipv6, to.mac, to.ipv6, claimed.ipv6)
    yield frames.advertisement(me.mac, me.ipv6, to.mac, to.ipv6, claimed.ipv6)


def _advertise(who: Attacker) -> Iterator[bytes]:
    yield frames.router_advertisement(who.me.mac, who.me.link_local)
    yield frames.router_advertisement(who.me.mac, who.me.link_local, who.mate.mac,
                                      who.mate.link_local)


def _offer(who: Attacker) -> Iterator[bytes]:
    me, to = who.me, who.mate
    offer = frames.dhcp(2, to.mac, '10.9.0.66', me.ipv4)
    yield frames.framed(me.mac, frames.BROADCAST, frames.udp(me.ipv4, ALL4, 67, 68, offer))
    yield frames.framed(me.mac, to.mac, frames.udp(me.ipv4, to.ipv4, 67, 68, offer))
    yield frames.framed(me.mac, to.mac, frames.udp(me.link_local, to.link_local, 547, 546))


def _hop(who: Attacker) -> Iterator[bytes]:
    packet = frames.udp(who.me.ipv4, who.mate.ipv4, PORT, PORT)
    for mac, tags in ((frames.BROADCAST, (FOREIGN_VLAN,)), (who.mate.mac, (FOREIGN_VLAN,)),
                      (who.mate.mac, (0, FOREIGN_VLAN))):
        yield frames.framed(who.me.mac, mac, packet, tags)


def _cross(who: Attacker) -> Iterator[bytes]:
    yield from _datagrams(who.me, STRANGER, who.me.mac)


LIES: Sequence[Tuple[str, Lie]] = (
    ('sends with an address of another', _borrow_address),
    ('sends with the MAC address of another, and its addresses', _pose),
    ('says that it is the gateway (ARP, ND)', _poison),
    ('advertises itself as a router', _advertise),
    ('plays DHCP and DHCPv6 server', _offer),
    ('hops to VLAN %d (one tag, two)' % FOREIGN_VLAN, _hop),
    ('speaks to the MAC address of %s' % STRANGER.name, _cross))


def _overheard(places: FrozenSet[str]) -> Iterator[Row]:
    """Yield what others say; they may hear it all but the attacker and its group."""
    others = places - {LISTENER.me.name, LISTENER.mate.name}
    yield Row('a question aloud', STRANGER.name, (frames.arp(
        frames.REQUEST, STRANGER.mac, STRANGER.ipv4, frames.NO_MAC, CONFIDANT.ipv4),),
        frozenset([CONFIDANT.name]))
    yield Row('a multicast', STRANGER.name, (frames.framed(STRANGER.mac, MDNS_MAC, frames.udp(
        STRANGER.ipv4, MDNS, MDNS_PORT, MDNS_PORT)),), frozenset([CONFIDANT.name]))
    yield Row('to a MAC address that nobody has', UNMANAGED.name, (frames.framed(
        UNMANAGED.mac, NOBODY, frames.udp(UNMANAGED.ipv4, '10.9.0.200', PORT, PORT)),),
        frozenset(), others)


def conversations() -> List[Row]:
    """Return UDP answers: those that were asked for, and those that were not."""
    one, other = EVERYBODY['svc1'], EVERYBODY['svc2']
    client, outside = EVERYBODY['web'], EVERYBODY[OUTSIDE]
    rows: List[Row] = []
    for version in (4, 6):
        for asker, server in ((one, other), (client, outside)):
            rows += _conversation(asker, server, version)
    return rows


def _conversation(asker: Party, server: Party, version: int) -> Iterator[Row]:
    """Yield answers of a server to one party, after its question and without."""
    def datagram(source: Party, target: Party, source_port: int, target_port: int) -> bytes:
        return frames.framed(source.mac, target.mac, frames.udp(
            source.address(version), target.address(version), source_port, target_port))
    what, here = '%s answers %s, IPv%d' % (server.name, asker.name, version), frozenset(
        [asker.place])
    port = ASKING + version
    question, answer = datagram(asker, server, port, 53), datagram(server, asker, 53, port)
    yield Row(what + ', unasked', server.name, (datagram(server, asker, 53, SILENT + version),))
    yield Row(what, server.name, (answer,), here, steps=((asker.name, question),))
    yield Row(what + ', on another port', server.name, (datagram(
        server, asker, 53, SILENT + 100 + version),), steps=((asker.name, question),))
    yield Row(what + ', from another port', server.name, (datagram(
        server, asker, 54, port),), steps=((asker.name, question),))
