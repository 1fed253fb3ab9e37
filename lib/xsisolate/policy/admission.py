"""Does a VIF's policy admit a packet of a peer? Asked of the policy itself, and answered in words.

The pipeline asks the same of flows (pipeline/peer_sets.py). Nothing here is
derived from those: `explain` puts both answers side by side, and tests compare both
with a third.
"""
from enum import IntEnum
from typing import FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Tuple

from xsisolate.policy.address import contains, format_prefix
from xsisolate.policy.model import (ANYTHING, OUT, EffectivePolicy, Group, Peer, Prefix, Service)
from xsisolate.policy.resolve import asked_groups
from xsisolate.policy.seal import format_peer
from xsisolate.policy.service import (PINGS, TFTP, TFTP_PORT, format_rule, icmp_answer, is_whole)

SHOWN = 6               # of a long list, this many go into an answer
NO_GROUP = Group()


class How(IntEnum):
    """In what way a packet is admitted, from the worst to the best."""

    NOT = 0
    REPLY = 1           # only as the answer to a request that was seen
    REQUEST = 2         # and its answers may come back
    PLAIN = 3


class Talk(NamedTuple):
    """What services see of a packet."""

    protocol: str               # as services have it
    source: int = 0             # ports
    destination: int = 0        # of ICMP the type asked, in an answer `source` is; 0: ping
    answer: bool = False        # the second packet of a conversation
    related: bool = False       # TFTP: its answer comes from a port that nothing has been sent to
    leaves: bool = True         # the VIF whose policy is asked sends it

    def __str__(self) -> str:
        if self.related:
            return TFTP
        return '%s/%d' % (self.protocol, self.destination) if self.destination else self.protocol

    @property
    def icmp_type(self) -> int:
        """The ICMP type of the packet."""
        asked = (self.source if self.answer else self.destination) or PINGS[self.protocol]
        return icmp_answer(self.protocol, asked) if self.answer else asked


class Party(NamedTuple):
    """The other end, as a VIF's policy sees it."""

    name: str
    address: Prefix                             # a single one
    groups: FrozenSet[str] = frozenset()        # groups of which it is a known member
    external: bool = False                      # the word `external` means it
    inside: str = ''                            # why it does not
    refusal: str = ''                           # why it cannot be a peer at all


class Answer(NamedTuple):
    """Whether a policy admits, and why."""

    how: How
    because: str


def admit(policy: EffectivePolicy, groups: Mapping[str, Group], party: Party,
          talk: Talk) -> Answer:
    """Return whether an isolated VIF's policy admits a packet from or to a party."""
    if party.refusal:
        return Answer(How.NOT, party.refusal)
    found = list(_by_groups(policy, groups, party, talk)) + list(
        _by_allow(policy.allow, party, talk))
    best = max(found, default=None, key=_how)
    if best and best.how:
        return best
    return Answer(How.NOT, '; '.join([answer.because for answer in found]
                                     + list(_missing(policy, groups, party))))


def admitted_services(policy: EffectivePolicy, groups: Mapping[str, Group],
                      party: Party) -> FrozenSet[Service]:
    """Return all that a policy admits of a party; a service of protocol `*` is everything."""
    if party.refusal:
        return frozenset()
    services = {service for name, _ in memberships(policy, groups, party)
                for service in _rules(groups, name)}
    services |= {peer.service or EVERYTHING for peer in policy.allow if _means(peer, party)}
    return frozenset((EVERYTHING,)) if EVERYTHING in services else frozenset(services)


EVERYTHING = Service(ANYTHING)


def _rules(groups: Mapping[str, Group], name: str) -> Iterable[Service]:
    rules = groups.get(name, NO_GROUP).rules
    return (EVERYTHING,) if rules is None else rules


def _how(answer: Answer) -> How:
    return answer.how


def _by_groups(policy: EffectivePolicy, groups: Mapping[str, Group], party: Party,
               talk: Talk) -> Iterator[Answer]:
    """Yield an answer for every group by which the party is a peer."""
    for name, why in memberships(policy, groups, party):
        rules = groups.get(name, NO_GROUP).rules
        if rules is None:
            yield Answer(How.PLAIN, why)
            continue
        best = max(((serve(rule, talk), rule) for rule in rules), default=(How.NOT, None))
        if best[1] and best[0]:
            yield Answer(best[0], '%s, and its rule %s covers %s' % (
                why, format_rule(best[1]), _said(best[0], talk)))
        else:
            yield Answer(How.NOT, '%s, but its rules (%s) say nothing of %s' % (
                why, _some(map(format_rule, rules)) or 'none', _unsaid(rules, talk)))


def memberships(policy: EffectivePolicy, groups: Mapping[str, Group],
                party: Party) -> Iterator[Tuple[str, str]]:
    """Yield the groups by which a party is a peer, and how that comes."""
    for name in sorted(asked_groups(policy.groups, groups)):
        mine = name in policy.groups
        through = sorted(group for group in policy.groups
                         if name in groups.get(group, NO_GROUP).reach)
        how = '' if mine else ', which group %s reaches and which reaches it' % through[0]
        if name in party.groups:
            yield name, ('both are in group %s' % name if mine
                         else '%s is in group %s%s' % (party.name, name, how))
        elif any(contains(net, party.address)
                 for net in groups.get(name, NO_GROUP).addresses):
            yield name, '%s is one of the addresses of group %s%s' % (
                format_prefix(party.address), name, how)


def _by_allow(allow: Iterable[Peer], party: Party, talk: Talk) -> Iterator[Answer]:
    """Yield an answer for every entry of the allow list that means the party."""
    for peer in sorted(allow, key=format_peer):
        if not _means(peer, party):
            continue
        entry = 'allow entry %s' % format_peer(peer)
        services = () if peer.service is None else (peer.service,)
        how = max((serve(service, talk) for service in services), default=How.PLAIN)
        yield Answer(how, entry + (' covers %s' % _said(how, talk) if how else
                                   ' says nothing of ' + _unsaid(services, talk)))


def _means(peer: Peer, party: Party) -> bool:
    return party.external if peer.prefix is None else contains(peer.prefix, party.address)


def serve(service: Service, talk: Talk) -> How:
    """Return how a service admits a packet, on whichever end the server is."""
    begins = (True, False) if not service.direction else (
        (service.direction == OUT) is talk.leaves,)
    return max(_serve_end(service, talk, one) for one in begins)


def _serve_end(service: Service, talk: Talk, begins: bool) -> How:
    """Return how a service admits what its client sends (`begins`), or its server."""
    if service.protocol == TFTP and talk.protocol == 'udp':
        return How.REQUEST if begins and talk.destination == TFTP_PORT else How.REPLY
    if service.protocol not in (talk.protocol, ANYTHING):
        return How.NOT
    tracked = How.REQUEST if begins else How.REPLY
    followed = tracked if service.direction else How.PLAIN
    if is_whole(service):
        return followed
    if service.protocol in PINGS:
        kind = service.first if begins else icmp_answer(service.protocol, service.first)
        return followed if talk.icmp_type == kind else How.NOT
    if talk.related and not begins:
        return How.NOT
    port = talk.destination if begins else talk.source
    return tracked if service.first <= port <= service.last else How.NOT


def _said(how: How, talk: Talk) -> str:
    if how is How.REPLY:
        return 'answers from port %d' % talk.source if talk.source else 'answers'
    return 'it' if not talk.answer else 'the answer'


def _unsaid(services: Iterable[Service], talk: Talk) -> str:
    """Return what services do not admit: where they have directions, with the packet's."""
    if not any([service.direction for service in services]):
        return str(talk)
    return '%s that %s' % (talk, 'it sends' if talk.leaves else 'comes to it')


def _missing(policy: EffectivePolicy, groups: Mapping[str, Group],
             party: Party) -> Iterator[str]:
    """Yield what is not there, in words that say where it would have to be."""
    asked = asked_groups(policy.groups, groups)
    if not party.groups & asked:
        if not policy.groups:
            yield 'it is in no group'
        elif party.groups:
            yield '%s is in %s, not in %s, and neither reaches the other' % (
                party.name, _groups(party.groups), _groups(policy.groups))
        else:
            yield '%s is not in %s' % (party.name, _groups(policy.groups))
    if not any(_means(peer, party) for peer in policy.allow):
        if any(peer.prefix is None for peer in policy.allow) and party.inside:
            yield 'allow entry external does not mean it: ' + party.inside
        yield 'no allow entry covers %s' % format_prefix(party.address)


def _groups(names: Iterable[str]) -> str:
    names = sorted(names)
    return 'group%s %s' % ('s' * (len(names) > 1), _some(names))


def _some(names: Iterable[str]) -> str:
    found: List[str] = sorted(names)
    return ', '.join(found[:SHOWN] + ['...'] * (len(found) > SHOWN))
