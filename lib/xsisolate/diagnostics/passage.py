"""From one end to the other within one network: where does the policy stop a packet, and why?

An isolated sender's policy is asked about the receiver, an isolated receiver's about
the sender. Everybody else is asked only whether it is what it says it is. A permissive one's policy
is asked, too, and the packet goes on whatever it says, as far as XAPI's own locking lets it.
"""
from typing import Iterator, List, NamedTuple, Tuple

from xsisolate.diagnostics.ends import (End, Place, find_members, find_owners, forwards, holds,
                                        is_managed, is_permissive, mode_of, owns, why_inside)
from xsisolate.diagnostics.origins import explain_missing
from xsisolate.planner.vif import Vif
from xsisolate.policy.address import LINK_LOCAL, contains, format_prefix
from xsisolate.policy.admission import Answer, How, Party, Talk, admit
from xsisolate.policy.model import DHCP, GATEWAY, Mode, Source
from xsisolate.policy.permissive import beneath

# What goes to a client's port, or comes from a server's, is a DHCP server's word.
DHCP_PORTS = {4: (67, 68), 6: (547, 546)}
SENDS, EGRESS, RECEIVES, INGRESS = 'sends', 'egress', 'receives', 'ingress'


class Step(NamedTuple):
    """One question on the way, and its answer."""

    side: str           # the question: sends, egress, receives, ingress
    who: str            # whose policy it is
    how: How
    because: str
    judged: bool = False    # only: the VIF is permissive

    @property
    def refuses(self) -> bool:
        """Tell whether the policy refuses the packet."""
        return self.how is How.NOT

    @property
    def would_refuse(self) -> bool:
        """Tell whether the policy refuses the packet, and the packet goes on nevertheless."""
        return self.refuses and self.judged

    @property
    def admits(self) -> bool:
        """Tell whether the packet goes on from here."""
        return self.judged or not self.refuses


def judge(place: Place, source: End, target: End, talk: Talk,
          asked: bool = False) -> Tuple[Step, ...]:
    """Return the steps of a packet's way, up to the one that stops it.

    `asked` tells whether the request has been seen that this may be the answer to.
    """
    steps: List[Step] = []
    for step in _steps(place, source, target, talk):
        # whoever may begin a TCP connection begins none with a segment that answers
        if not asked and (step.how is How.REPLY or step.how is How.REQUEST and talk.answer
                          and talk.protocol == 'tcp'):
            step = step._replace(how=How.NOT, because=step.because + ', but none was asked for')
        steps.append(step)
        if not step.admits:
            break
    return tuple(steps)


def _steps(place: Place, source: End, target: End, talk: Talk) -> Iterator[Step]:
    why = _may_not_send(place, _beneath(source), talk)
    if why or source.vif:           # what comes from beyond the uplink has been asked there
        would = '' if why else _may_not_send(place, source, talk)
        yield _step(SENDS, source, why or would, 'forwards as the gateway that it is'
                    if forwards(source) else 'sends as itself' if is_managed(source.vif)
                    else 'is unmanaged: it may send what it likes', bool(would))
        yield from _excused(SENDS, source)
    if target.lost:
        yield _step(RECEIVES, target, target.lost, '')
    if target.vif:
        closed = mode_of(target.vif) > Mode.ISOLATED
        yield _step(RECEIVES, target, _closed(target.vif) if closed else target.vif.mute,
                    'forwards what is for addresses outside' if forwards(target) else {
            Mode.ISOLATED: 'is permissive: it admits every sender' if is_permissive(target.vif)
            else 'hears peers only',
            Mode.LOCKED: 'is locked, not isolated: it admits every sender'}.get(
                mode_of(target.vif), 'is unmanaged: it admits every sender'))
        yield from _excused(RECEIVES, target)
    if mode_of(source.vif) is Mode.ISOLATED and not forwards(source):
        yield _asked(EGRESS, place, source, target, talk)
    server, client = DHCP_PORTS[target.address.version]
    if _hears_servers_only(target) and talk.protocol == 'udp' and talk.destination == client and (
            source.vif is not None and not holds(source.vif, DHCP) or talk.source != server):
        yield _step(INGRESS, target, 'to port %d only DHCP servers beyond the uplink may '
                    'answer' % client, '', is_permissive(target.vif))
    elif mode_of(target.vif) is Mode.ISOLATED and not forwards(target):
        yield _asked(INGRESS, place, target, source, talk)


def _hears_servers_only(target: End) -> bool:
    """Tell whether DHCP answers come to a VIF from trusted servers only."""
    return mode_of(target.vif) is Mode.ISOLATED and not forwards(target) or (
        mode_of(target.vif) is Mode.LOCKED and target.vif is not None
        and Source(target.address.version, DHCP) in target.vif.policy.sources)


def _beneath(end: End) -> End:
    """Return an end as its frames pass: XAPI's locking mode alone holds a permissive VIF."""
    if end.vif is None or not is_permissive(end.vif):
        return end
    return end._replace(vif=end.vif._replace(policy=beneath(end.vif.mac, end.vif.locking)))


def _excused(side: str, end: End) -> Iterator[Step]:
    """Yield that a VIF runs as XAPI says although its policy lets nothing pass, if that is so."""
    if end.vif and end.vif.policy.would_be:
        yield Step(side, end.name, How.NOT, 'would be %s' % end.vif.policy.would_be, True)


def _step(side: str, end: End, why_not: str, because: str, judged: bool = False) -> Step:
    return Step(side, end.name, How.NOT if why_not else How.PLAIN, why_not or because, judged)


def _asked(side: str, place: Place, asker: End, other: End, talk: Talk) -> Step:
    assert asker.vif is not None
    answer: Answer = admit(asker.vif.policy, place.groups,
                           party(place, asker, other, side == INGRESS),
                           talk._replace(leaves=side == EGRESS))
    return Step(side, asker.name, answer.how, answer.because, is_permissive(asker.vif))


def _closed(vif: Vif) -> str:
    if vif.policy.mode is Mode.DISABLED:
        return 'is disabled: nothing enters or leaves'
    return 'is in quarantine: ' + vif.policy.reason


def _may_not_send(place: Place, source: End, talk: Talk) -> str:
    """Return why a sender's packet goes nowhere, whatever its target is."""
    vif = source.vif
    if vif and mode_of(vif) > Mode.ISOLATED:
        return _closed(vif)
    if vif and is_managed(vif):
        inside = why_inside(place, source) if forwards(source) else ''
        if inside:
            return 'a gateway that is a VIF forwards for addresses outside: ' + inside
        if not owns(vif, source.address) and not forwards(source):
            missing = explain_missing(vif, source.address.version, place.facts)
            return '%s is not one of its own addresses%s' % (format_prefix(source.address),
                                                              missing and ': ' + missing)
        server, client = DHCP_PORTS[source.address.version]
        if not holds(vif, DHCP) and talk.protocol == 'udp' and (
                talk.source == server or talk.destination == client):
            return 'udp from port %d or to port %d is a DHCP server\'s, and it does not hold the ' \
                'role dhcp' % (server, client)
        return ''
    if vif and vif.mute:
        return vif.mute
    thief = next((name for name, other in place.vifs if other.mac == source.mac
                  and other.id != (vif.id if vif else None)
                  and other.policy.mode is not Mode.UNLOCKED and not is_permissive(other)
                  and not (vif is None and other.arriving)), '')
    if thief:
        return 'MAC address %s is that of %s' % (source.mac, thief)
    return ''


def party(place: Place, asker: End, other: End, ingress: bool) -> Party:
    """Return what an asker's policy sees of the other end."""
    gateways = place.facts.gateways
    own = [gateway for gateway in gateways
           if other.address in (gateway.ipv4, gateway.ipv6)]
    if other.vif and is_managed(other.vif) and not forwards(other) and (
            owns(other.vif, other.address) or not is_permissive(other.vif)):
        groups = other.vif.policy.groups if mode_of(other.vif) is Mode.ISOLATED else frozenset()
        refusal = '' if owns(other.vif, other.address) else '%s is not an address of %s' % (
            format_prefix(other.address), other.name)
        if ingress and other.mac in [gateway.mac for gateway in gateways]:
            refusal = ('MAC address %s is that of a gateway, or of a VIF on another host that '
                       'holds a role: no VIF here is believed under it' % other.mac)
        if holds(other.vif, GATEWAY):       # its own addresses count as outside
            return Party(other.name, other.address, groups, external=True, refusal=refusal)
        return Party(other.name, other.address, groups, inside='it is a VIF of this network',
                     refusal=refusal)
    if own:
        wrong = (ingress and other.vif is not None) or all(
            gateway.mac and other.mac != gateway.mac for gateway in own)
        return Party(other.name, other.address, external=True, refusal='%s is a gateway\'s address'
                     % format_prefix(other.address) if wrong else '')
    return _party_by_address(place, asker, other, ingress)


def _party_by_address(place: Place, asker: End, other: End, ingress: bool) -> Party:
    owners = find_owners(place, other.address)
    if owners and other.gateway:
        # What a router forwards between two addresses of the network goes by these.
        vif = owners[0][1]
        return Party(owners[0][0], other.address, vif.policy.groups
                     if mode_of(vif) is Mode.ISOLATED else frozenset())
    taken = ' and '.join(name for name, _ in owners)
    members = find_members(place, other.address)
    remote = {group for group, member in members if member.mac == other.mac or other.gateway}
    claimed = [group for group, _ in members if group not in remote]
    if not taken and claimed and asker.vif and asker.vif.policy.groups & set(claimed):
        taken = 'a member of group %s on another host' % sorted(claimed)[0]
    elif not taken and remote and ingress and other.vif:
        taken = 'a VIF of another host'
    if other.gateway and contains(LINK_LOCAL, other.address):
        return Party(other.name, other.address,
                     refusal='no router forwards link-local addresses')
    inside = why_inside(place, other)
    return Party(other.name, other.address, frozenset(remote), not inside, inside,
                 '%s is the address of %s' % (format_prefix(other.address), taken)
                 if taken else '')
