"""Who lives on the bridges, what they shout, and who may hear it: the policy, and no flows.

A resident's `Rights` are what its admin meant last. While something changes, what was and
what will be are both right; nothing else is, at no moment.
"""
import time
from functools import lru_cache
from typing import (Callable, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional,
                    Tuple)

from sandbox.flood import Echo, Flood, Report, Shout
from sandbox.vm import Vm
from support.packets import frames
from support.packets.built_network import Party

HONEST = ('talk', 'talk6', 'call', 'call6')
FREE, LOCKED, ISOLATED, CLOSED = 'free', 'locked', 'isolated', 'closed'
VLAN = 120


class Rights(NamedTuple):
    """What a VIF may do: the part of a policy that says who hears whom."""

    mode: str
    groups: FrozenSet[str] = frozenset()
    bridge: str = 'xenbr0'

    @property
    def is_managed(self) -> bool:
        """Tell whether it is held to its own addresses."""
        return self.mode != FREE


class Resident(NamedTuple):
    """A VM in the flood."""

    name: str
    vm: Vm
    party: Party
    rights: FrozenSet[Rights]       # more than one while it changes


def may(sender: Rights, receiver: Rights) -> bool:
    """Tell whether one VIF may be heard by another."""
    if CLOSED in (sender.mode, receiver.mode) or sender.bridge != receiver.bridge:
        return False
    if ISOLATED in (sender.mode, receiver.mode):
        return bool(sender.groups & receiver.groups)
    return True


def party_of(number: int, mac: str) -> Party:
    """Return the NIC of the VM with this number in its addresses."""
    return Party(mac, '10.9.0.%d' % number, 'fd00:9::%d' % number)


@lru_cache(maxsize=None)
def build(kind: str, sender: Party, target: Party, victim: Party) -> bytes:
    """Return a frame: an honest one, or what a guest's root tries."""
    return bytes(BUILDERS[kind](sender, target, victim))


BUILDERS: Mapping[str, Callable[[Party, Party, Party], object]] = {
    'talk': lambda me, you, him: frames.udp(me, you),
    'talk6': lambda me, you, him: frames.udp6(me, you),
    'call': lambda me, you, him: frames.udp(me, Party(frames.ALL, '255.255.255.255', '')),
    'call6': lambda me, you, him: frames.udp6(me, Party('33:33:00:00:00:01', '', 'ff02::1')),
    'steal-ip': lambda me, you, him: frames.udp(Party(me.mac, him.ip, ''), you),
    'steal-ip6': lambda me, you, him: frames.udp6(Party(me.mac, '', him.ip6), you),
    'steal-mac': lambda me, you, him: frames.udp(him, you),
    'lie': lambda me, you, him: frames.arp(me, 2, him.ip, him.ip),
    'lie6': lambda me, you, him: frames.na(me, him.ip6, ip=him.ip6),
    'router': lambda me, you, him: frames.ra(me),
    'server': lambda me, you, him: frames.udp(me, Party(frames.ALL, '255.255.255.255', ''), 67, 68),
    'tag': lambda me, you, him: frames.eth(me, frames.ALL) / frames.Dot1Q(vlan=VLAN)
    / frames.IP(src=me.ip, dst='255.255.255.255') / frames.UDP(sport=4000, dport=4000) / b'word',
}
TARGETS = 12            # whom one shouts at; who is not among them hears the rest
TO_ONE = ('talk', 'talk6', 'steal-ip', 'steal-ip6', 'steal-mac')


class FloodedVms:
    """The residents, and the flood between them."""

    def __init__(self, flood: Flood) -> None:
        self.flood = flood
        self.residents: Dict[str, Resident] = {}
        self.frames = 0             # sent, all told
        self.heard = 0              # of them, by somebody who may

    # --- who lives here ------------------------------------------------------------------------

    def settle(self, vm: Vm, number: int, *rights: Rights, shout: bool = True) -> None:
        """Take a VM in, or the next domain of one, with rights that it has or is to have."""
        self.residents[vm.name] = Resident(vm.name, vm, party_of(number, vm.mac),
                                           frozenset(rights))
        if shout:
            self.shout()

    def change(self, name: str, rights: Rights) -> None:
        """Begin a change of rights; `done` ends it."""
        resident = self.residents[name]
        self.residents[name] = resident._replace(rights=resident.rights | {rights})
        self.shout()

    def done(self, name: str, rights: Rights) -> None:
        """End a change."""
        self.residents[name] = self.residents[name]._replace(rights=frozenset({rights}))
        self.shout()

    def leave(self, *names: str) -> None:
        """Take VMs out."""
        for name in names:
            self.flood.remove(name)
            del self.residents[name]
        self.shout()

    def rights(self, name: str) -> Rights:
        """Return the rights of a VM that is not changing."""
        rights, = self.residents[name].rights
        return rights

    def shout(self) -> None:
        """Have everybody shout at everybody."""
        for resident in self.residents.values():
            self.flood.set(resident.name, resident.vm.pid, 'eth0', list(self._shouts(resident)))

    def _shouts(self, me: Resident) -> Iterator[Shout]:
        names = sorted(self.residents)
        at = names.index(me.name)
        others = [self.residents[name] for name in names[at + 1:] + names[:at]]
        forger = all(rights.is_managed for rights in me.rights)
        for at, you in enumerate(others[:TARGETS]):
            him = others[at - 1]        # the victim is a third, where there is one
            for kind in BUILDERS:
                if (kind in HONEST or forger) and (kind in TO_ONE or at == 0):
                    yield Shout(kind, you.name, build(kind, me.party, you.party, him.party))

    # --- what they hear ------------------------------------------------------------------------

    def forbidden(self, left: Mapping[str, Resident] = {}) -> List[str]:
        """Return what was heard since last time and must not have been, a line each.

        `left` are residents that have left meanwhile.
        """
        everybody = dict(left, **self.residents)
        report = self.flood.report()
        self.frames += sum(self.flood.sent.values())
        wrong = {echo: times for echo, times in report.items() if not is_right(echo, everybody)}
        self.heard += sum(times.number for echo, times in report.items() if echo not in wrong)
        now = time.monotonic()
        return ['%s heard %s of %s, meant for %s: %d times, from %.3f to %.3f s ago'
                % (show(everybody[echo.receiver]), echo.kind, show(everybody[echo.sender]),
                   echo.target, times.number, now - times.first, now - times.last)
                for echo, times in wrong.items()]

    def silent(self, report: Report) -> List[str]:
        """Return who was not heard by whom it may talk to, as `red1 -> red2`."""
        heard = {(echo.sender, echo.receiver) for echo in report if echo.kind == 'talk'}
        return sorted('%s -> %s' % (one.name, two.name) for one in self.residents.values()
                      for two in self.residents.values()
                      if one.name != two.name and (one.name, two.name) not in heard
                      and len(self.residents) <= TARGETS + 1
                      and all(may(mine, yours) for mine in one.rights for yours in two.rights))


def show(resident: Resident) -> str:
    """Return a name with its rights: `vm7 (isolated red on xenbr0)`."""
    return '%s (%s)' % (resident.name, ' or '.join(sorted(
        ' '.join([rights.mode, *sorted(rights.groups), 'on', rights.bridge])
        for rights in resident.rights)))


def is_right(echo: Echo, residents: Mapping[str, Resident]) -> bool:
    """Tell whether somebody may have heard what he heard."""
    sender, receiver = residents[echo.sender], residents[echo.receiver]
    pairs: List[Tuple[Rights, Rights]] = [(mine, yours) for mine in sender.rights
                                          for yours in receiver.rights]
    if echo.kind not in HONEST:
        return False            # managed VIFs only say such things
    if echo.kind in TO_ONE and echo.target != echo.receiver:
        # what the switch has not learned it floods, but not to the isolated, nor from them
        return any(mine.mode in (FREE, LOCKED) and yours.mode in (FREE, LOCKED)
                   and mine.bridge == yours.bridge for mine, yours in pairs)
    return any(may(mine, yours) for mine, yours in pairs)


def policy_of(number: int, rights: Rights, devid: int = 0) -> Optional[Dict[str, str]]:
    """Return what vm-data says below xsisolate/ for rights; None: nothing."""
    if rights.mode == FREE:
        return None
    words = {'vif/%d/ipv4' % devid: '10.9.0.%d' % number,
             'vif/%d/ipv6' % devid: 'fd00:9::%d' % number}
    if rights.mode == ISOLATED:
        return dict(words, groups=' '.join(sorted(rights.groups)))
    return dict(words, mode={LOCKED: 'locked', CLOSED: 'disabled'}[rights.mode])
