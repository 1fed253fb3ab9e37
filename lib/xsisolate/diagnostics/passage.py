"""From one end to the other within one network: where does the policy stop a packet, and why?

An isolated sender's policy is asked about the receiver, an isolated receiver's about
the sender. Everybody else is asked only whether it is what it says it is.
"""
from typing import FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.diagnostics.origins import explain_missing
from xsisolate.planner.vif import Vif
from xsisolate.policy.address import LINK_LOCAL, NEVER_EXTERNAL, contains, format_prefix
from xsisolate.policy.admission import Answer, How, Party, Talk, admit
from xsisolate.policy.model import (DHCP, GATEWAY, Gateway, Group, Mode, Network, Prefix,
                                    RemoteMember, Source)

# What goes to a client's port, or comes from a server's, is a DHCP server's word.
DHCP_PORTS = {4: (67, 68), 6: (547, 546)}
FILE = 'xsisolate.yaml'
SENDS, EGRESS, RECEIVES, INGRESS = 'sends', 'egress', 'receives', 'ingress'


class Place(NamedTuple):
    """A network on a bridge of this host, and the VIFs on it."""

    bridge: str                 # the real one
    name: str                   # the network's
    uuid: str
    number: int                 # NETWORK | VLAN tag
    facts: Network              # with the holders of roles on other hosts
    groups: Mapping[str, Group]
    vifs: Tuple[Tuple[str, Vif], ...]           # with their names
    members: Mapping[str, Tuple[RemoteMember, ...]]     # by group, those on this network
    told: FrozenSet[Gateway] = frozenset()      # gateways that XAPI has told of, not the file


class End(NamedTuple):
    """One end of a passage."""

    name: str
    address: Prefix             # a single one
    mac: str = ''               # '': not known
    vif: Optional[Vif] = None   # of this host
    gateway: bool = False       # its MAC address is a gateway's
    beyond: str = ''            # where beyond the uplink it is, and by whose word
    lost: str = ''              # why nothing gets to it, whatever policies say


class Step(NamedTuple):
    """One question on the way, and its answer."""

    side: str           # the question: sends, egress, receives, ingress
    who: str            # whose policy it is
    how: How
    because: str

    @property
    def admits(self) -> bool:
        """Tell whether the packet goes on from here."""
        return self.how is not How.NOT


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
    why = _may_not_send(place, source, talk)
    if why or source.vif:           # what comes from beyond the uplink has been asked there
        yield _step(SENDS, source, why, 'forwards as the gateway that it is' if forwards(source)
                    else 'sends as itself' if is_managed(source.vif)
                    else 'is unmanaged: it may send what it likes')
    if target.lost:
        yield _step(RECEIVES, target, target.lost, '')
    if target.vif:
        closed = _mode(target.vif) > Mode.ISOLATED
        yield _step(RECEIVES, target, _closed(target.vif) if closed else target.vif.mute,
                    'forwards what is for addresses outside' if forwards(target) else {
            Mode.ISOLATED: 'hears peers only',
            Mode.LOCKED: 'is locked, not isolated: it admits every sender'}.get(
                _mode(target.vif), 'is unmanaged: it admits every sender'))
    if _mode(source.vif) is Mode.ISOLATED and not forwards(source):
        yield _asked(EGRESS, place, source, target, talk)
    server, client = DHCP_PORTS[target.address.version]
    if _hears_servers_only(target) and talk.protocol == 'udp' and talk.destination == client and (
            source.vif is not None and not holds(source.vif, DHCP) or talk.source != server):
        yield _step(INGRESS, target, 'to port %d only DHCP servers beyond the uplink may '
                    'answer' % client, '')
    elif _mode(target.vif) is Mode.ISOLATED and not forwards(target):
        yield _asked(INGRESS, place, target, source, talk)


def _hears_servers_only(target: End) -> bool:
    """Tell whether DHCP answers come to a VIF from trusted servers only."""
    return _mode(target.vif) is Mode.ISOLATED and not forwards(target) or (
        _mode(target.vif) is Mode.LOCKED and target.vif is not None
        and Source(target.address.version, DHCP) in target.vif.policy.sources)


def _step(side: str, end: End, why_not: str, because: str) -> Step:
    return Step(side, end.name, How.NOT if why_not else How.PLAIN, why_not or because)


def _asked(side: str, place: Place, asker: End, other: End, talk: Talk) -> Step:
    assert asker.vif is not None
    answer: Answer = admit(asker.vif.policy, place.groups,
                           party(place, asker, other, side == INGRESS),
                           talk._replace(leaves=side == EGRESS))
    return Step(side, asker.name, answer.how, answer.because)


def is_managed(vif: Optional[Vif]) -> bool:
    """Tell whether a VIF has a policy that says what it may claim to be."""
    return _mode(vif) in (Mode.LOCKED, Mode.ISOLATED)


def holds(vif: Optional[Vif], role: str) -> bool:
    """Tell whether a VIF holds a role on its networks."""
    return vif is not None and role in vif.policy.roles


def forwards(end: End) -> bool:
    """Tell whether an end is a VIF that speaks, or is spoken to, for an address beyond it."""
    return end.gateway and end.vif is not None and holds(end.vif, GATEWAY) and not _owns(
        end.vif, end.address)


def _mode(vif: Optional[Vif]) -> Mode:
    return vif.policy.mode if vif else Mode.UNLOCKED


def _closed(vif: Vif) -> str:
    if vif.policy.mode is Mode.DISABLED:
        return 'is disabled: nothing enters or leaves'
    return 'is in quarantine: ' + vif.policy.reason


def _may_not_send(place: Place, source: End, talk: Talk) -> str:
    """Return why a sender's packet goes nowhere, whatever its target is."""
    vif = source.vif
    if vif and _mode(vif) > Mode.ISOLATED:
        return _closed(vif)
    if vif and is_managed(vif):
        inside = why_inside(place, source) if forwards(source) else ''
        if inside:
            return 'a gateway that is a VIF forwards for addresses outside: ' + inside
        if not _owns(vif, source.address) and not forwards(source):
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
                  and other.policy.mode is not Mode.UNLOCKED
                  and not (vif is None and other.arriving)), '')
    if thief:
        return 'MAC address %s is that of %s' % (source.mac, thief)
    return ''


def _owns(vif: Vif, address: Prefix) -> bool:
    return any(contains(own, address) for own in vif.policy.addresses)


def find_owners(place: Place, address: Prefix) -> List[Tuple[str, Vif]]:
    """Return the managed VIFs whose address it is; of networks the narrowest counts."""
    found = [(own.length, name, vif) for name, vif in place.vifs if is_managed(vif)
             for own in vif.policy.addresses if contains(own, address)]
    longest = max((length for length, _, _ in found), default=0)
    return [(name, vif) for length, name, vif in found if length == longest]


def find_members(place: Place, address: Prefix) -> List[Tuple[str, RemoteMember]]:
    """Return the members elsewhere whose address it is, with their groups.

    Of a group's networks the narrowest counts.
    """
    found: List[Tuple[str, RemoteMember]] = []
    for group, members in sorted(place.members.items()):
        owned = [(own.length, member) for member in members for own in member.addresses
                 if contains(own, address)]
        longest = max((length for length, _ in owned), default=0)
        found += [(group, member) for length, member in owned if length == longest]
    return found


def party(place: Place, asker: End, other: End, ingress: bool) -> Party:
    """Return what an asker's policy sees of the other end."""
    gateways = place.facts.gateways
    own = [gateway for gateway in gateways
           if other.address in (gateway.ipv4, gateway.ipv6)]
    if other.vif and is_managed(other.vif) and not forwards(other):
        groups = other.vif.policy.groups if _mode(other.vif) is Mode.ISOLATED else frozenset()
        refusal = '' if _owns(other.vif, other.address) else '%s is not an address of %s' % (
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
                     if _mode(vif) is Mode.ISOLATED else frozenset())
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


def why_inside(place: Place, other: End) -> str:
    """Return why the word `external` does not mean an address, empty if it does."""
    for never, name in NEVER_EXTERNAL:
        if contains(never, other.address):
            return ('%s is never outside, as all of %s (%s): an entry for the address itself would '
                    'admit it' % (format_prefix(other.address), format_prefix(never), name))
    nets = [net for net in place.facts.subnets if contains(net, other.address)]
    if nets:
        return '%s is in the subnet %s of this network' % (format_prefix(other.address),
                                                           format_prefix(nets[0]))
    if not other.gateway and (
            any(gateway.mac for gateway in place.facts.gateways)
            or any(holds(vif, GATEWAY) for _, vif in place.vifs)):
        return 'it is not behind a gateway of this network'
    return ''


def why_no_gateway(place: Place, vif: Vif, *addresses: Prefix) -> str:
    """Return why a VIF cannot be found, though it exists: it is what a gateway must be."""
    for gateway in place.facts.gateways:
        taken = [format_prefix(address) for address in addresses
                 if address in (gateway.ipv4, gateway.ipv6)]
        if gateway.mac == vif.mac:
            taken.insert(0, vif.mac)
        if taken:
            return ('%s is a gateway\'s in %s, and what is for a gateway leaves by the uplink. '
                    'If the gateway is this VIF, name it by vm and devid in networks.%s.gateways, '
                    'or give it the role: xsisolate set --roles gateway,router'
                    % (taken[0], FILE, place.name))
    return ''
