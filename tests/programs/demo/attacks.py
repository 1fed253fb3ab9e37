"""Eight attacks by a guest's root, really sent, while every other port is watched."""
from typing import Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from demo import frames
from demo.frames import Party
from demo.scene import BY_NAME, GATEWAY, Scene

ATTACKER, MATE, FRIEND = 'red3', 'red1', 'red2'
STRANGER, CONFIDANT = 'blue1', 'blue2'
# Frames arrive within milliseconds; the first round, without policies, shows it.
LISTEN_S = 0.4


class Shot(NamedTuple):
    """A frame, and the machine that sends it."""

    sender: str
    frame: bytes


class Attack(NamedTuple):
    """What is tried; `make` gives the frames, `victims` are those who must not see one."""

    title: str
    make: Callable[[Dict[str, Party]], Iterable[Shot]]
    victims: Tuple[str, ...] = ()       # empty: everybody but the sender


class Outcome(NamedTuple):
    """Who saw a frame of an attack, sorted."""

    attack: Attack
    seen_by: Tuple[str, ...]


def by_attacker(made: Iterable[bytes]) -> List[Shot]:
    """Return frames that the attacker sends."""
    return [Shot(ATTACKER, one) for one in made]


def eavesdrop(who: Dict[str, Party]) -> List[Shot]:
    """Return what others say that the attacker would like to hear."""
    return ([Shot(STRANGER, one)
             for one in frames.ask_aloud(who[STRANGER], who[CONFIDANT])]
            + [Shot('free', one) for one in frames.stray(who['free'])])


ATTACKS: Sequence[Attack] = (
    Attack('%s sends with the IP of %s' % (ATTACKER, STRANGER), lambda who: by_attacker(
        frames.datagrams(who[STRANGER], who[MATE], who[ATTACKER].mac))),
    Attack('%s sends with MAC and IP of %s' % (ATTACKER, FRIEND), lambda who: by_attacker(
        frames.datagrams(who[FRIEND], who[MATE], who[FRIEND].mac))),
    Attack('%s says it is the gateway (ARP, ND)' % ATTACKER, lambda who: by_attacker(
        frames.poison(who[ATTACKER], who[MATE], who['gateway']))),
    Attack('%s advertises itself as a router' % ATTACKER, lambda who: by_attacker(
        frames.advertise_router(who[ATTACKER], who[MATE]))),
    Attack('%s plays DHCP and DHCPv6 server' % ATTACKER, lambda who: by_attacker(
        frames.offer_leases(who[ATTACKER], who[MATE]))),
    Attack('%s hops to VLAN %d (one tag, two)' % (ATTACKER, frames.FOREIGN_VLAN),
           lambda who: by_attacker(frames.hop(who[ATTACKER], who[MATE]))),
    Attack('%s speaks to the MAC of %s' % (ATTACKER, STRANGER), lambda who: by_attacker(
        frames.cross(who[ATTACKER], who[STRANGER]))),
    Attack("%s listens to others' broadcasts" % ATTACKER, eavesdrop, (ATTACKER,)),
)


def attack_all(scene: Scene) -> List[Outcome]:
    """Try all attacks, one after the other."""
    who = {name: Party(vm.mac, BY_NAME[name].ipv4, BY_NAME[name].ipv6)
           for name, vm in scene.vms.items()}
    who['gateway'] = Party(GATEWAY.mac, *GATEWAY.routers())
    return [Outcome(attack, try_one(scene, attack, list(attack.make(who))))
            for attack in ATTACKS]


def try_one(scene: Scene, attack: Attack, shots: Sequence[Shot]) -> Tuple[str, ...]:
    """Send the frames, sniff everywhere, and return who saw one that should not."""
    hosts = scene.hosts()
    del hosts['outside']        # it is the gateway
    for host in hosts.values():
        host.sniff()
    for shot in shots:
        hosts[shot.sender].send(shot.frame)
    for host in hosts.values():
        host.post('sniffed', 'eth0', None, LISTEN_S)
    seen = {name: host.answer() for name, host in hosts.items()}
    wanted = [frames.signature(shot.frame) for shot in shots]
    watched = attack.victims or tuple(name for name in seen if name != ATTACKER)
    return tuple(name for name in watched
                 if any(mark in one for one in seen[name] for mark in wanted))
