"""MEMBER..RULES: is the party in this set of peers, and what may be said?

A set is an isolation group or an allow list. Equal allow lists are one set, so
a set costs what is in it, however many VIFs ask it. Where a port or a direction says who may
begin, the switch's connection tracking tells a reply from an attack out of the server's port.
What both ends may begin needs no tracking. TFTP's data come from a port
that nothing has been sent to: what belongs to a request, conntrack's helper knows.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.additional_macs import ASKED_ALOUD, remote_flows
from xsisolate.pipeline.tables import (CONTROL, EXTERNAL, FOUND, INGRESS_SIDE, MEMBER, MISMATCH,
                                       PAIR, PLAIN, REMOTE, REPLY_ONLY, REQUEST, RESOLVING, RULES,
                                       SEEKING, SPREADING, TO_REMOTE, TRACK_TFTP, TRIED,
                                       UPLINK, VIA_GATEWAY)
from xsisolate.pipeline.terms import (address_match, flags, goto, load_mac, mac_match,
                                      network_match, raised)
from xsisolate.policy.address import fold
from xsisolate.policy.model import ANYTHING, IN, OUT, Peer, Prefix, Service
from xsisolate.policy.service import (TFTP, TFTP_PORT, VERSIONS, WITH_PORTS, WITH_TYPES,
                                      icmp_answer, is_whole, protocol_number)
from xsisolate.typing_compat import (Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence,
                                     Tuple)

# A bit of a flow's priority says how good its answer is: a peer that may say
# everything must not be found by the flow of its narrowest service. An ICMP error begins nothing,
# whoever may begin.
PRIORITY_PLAIN, PRIORITY_ERROR, PRIORITY_TFTP, PRIORITY_REQUEST = 30, 25, 22, 20
PRIORITY_RELATED, PRIORITY_REPLY = 12, 10
BY_NAME = WITH_PORTS + WITH_TYPES       # which the switch matches by their names
NOT_A_PAIR = flags(off=[PAIR])
TO_THE_RULES = '%s,%s' % (raised(TO_REMOTE), goto(RULES))
PRIORITY_REMOTE = 100       # plus the prefix length: the narrowest network counts


def member_flows() -> Iterator[Flow]:
    """Yield the fixed flows for members on other hosts."""
    yield make_flow(REMOTE, 50, [flags(SEEKING)], raised(FOUND))
    # A member on another host is admitted from the uplink only.
    yield make_flow(REMOTE, 40, [flags(INGRESS_SIDE, off=[UPLINK])], raised(MISMATCH))
    yield make_flow(REMOTE, 30, [flags(VIA_GATEWAY, off=[RESOLVING])], goto(RULES))
    yield make_flow(REMOTE, 0, [''], raised(MISMATCH))


def membership_flow(network: int, mac: str, peers: int) -> Flow:
    """Return the flow that makes a local VIF a member of a group."""
    return make_flow(MEMBER, 50, ['reg12=0x%x' % peers, network_match(network),
                                  *mac_match(10, mac), flags(PAIR)], goto(RULES))


def remote_member_flows(peers: int, network: int, mac: str,
                        addresses: Iterable[Prefix],
                        additional: Sequence[str] = ()) -> Iterator[Flow]:
    """Yield what makes a VIF of another host a member: one flow, and one per address."""
    who = ('reg12=0x%x' % peers, network_match(network))
    answer = '%s,%s' % (load_mac(8, mac), goto(REMOTE))
    for address in addresses:
        yield make_flow(MEMBER, PRIORITY_REMOTE + address.length,
                        [*who, *address_match(address), NOT_A_PAIR], answer)
    yield make_flow(REMOTE, 20, [*who, *mac_match(8, mac), *mac_match(10, mac)], TO_THE_RULES)
    if additional:
        yield from remote_flows(who, mac, additional)


def asked_aloud_flows(peers: int, network: int, first: str,
                      addresses: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield that addresses which VIFs of other hosts share are asked for aloud.

    Which of them holds one now only its answer tells.
    """
    for address in addresses:
        yield make_flow(REMOTE, 56, ['reg12=0x%x' % peers, network_match(network),
                                     *address_match(address), *mac_match(8, first),
                                     flags(SEEKING)], ASKED_ALOUD, raised(TRIED))


def sharing_member_flows(peers: int, network: int, first: str, mac: str,
                         addresses: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield that a VIF of another host has addresses that are its first owner's, too."""
    for address in addresses:
        yield make_flow(REMOTE, 21, ['reg12=0x%x' % peers, network_match(network),
                                     *address_match(address), *mac_match(8, first),
                                     *mac_match(10, mac)], TO_THE_RULES)


def outside_member_flows(peers: int, addresses: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield the members that are known by their address alone."""
    for address in fold(addresses):
        yield make_flow(MEMBER, 30, ['reg12=0x%x' % peers, *address_match(address)], goto(RULES))


class Asked(NamedTuple):
    """Packets that a rule or an entry is about: a table, a match without flags, and flags."""

    table: int
    match: Tuple[str, ...]
    on: Tuple[int, ...] = ()
    off: Tuple[int, ...] = ()

    def narrowed(self, *match: str) -> 'Asked':
        """Return those of them that also match this."""
        return self._replace(match=self.match + match)

    def of_side(self, ingress: bool) -> 'Asked':
        """Return those that come to the asker, or those that it sends; no multicast."""
        if ingress:
            return self._replace(on=(*self.on, INGRESS_SIDE), off=(*self.off, SPREADING))
        return self._replace(off=(*self.off, INGRESS_SIDE, SPREADING))

    def flow(self, priority: int, *answer: int, also: Sequence[int] = (),
             without: Sequence[int] = ()) -> Flow:
        """Return the flow that gives an answer to them."""
        on, off = (*self.on, *also), (*self.off, *without)
        return make_flow(self.table, priority, [*self.match, flags(*on, off=off)]
                         if on or off else self.match, raised(*answer))


def rule_flows(peers: int, rules: Optional[Iterable[Service]]) -> Iterator[Flow]:
    """Yield what members of a group may say to each other; None: everything."""
    asked = Asked(RULES, ('reg12=0x%x' % peers,))
    if rules is None:
        yield asked.flow(PRIORITY_PLAIN, PLAIN)
        return
    rules = list(rules)
    yield from _control_flows(asked, rules)
    for service in rules:
        yield from _service_flows(asked, service)


def allow_flows(peers: int, allow: Iterable[Peer]) -> Iterator[Flow]:
    """Yield the entries of an allow list; adjacent addresses with one service are one network."""
    said: Dict[Optional[Service], List[Peer]] = {}
    for peer in allow:
        said.setdefault(peer.service, []).append(peer)
    places: Dict[Asked, List[Service]] = {}
    for service, entries in said.items():
        for asked in _places(peers, entries):
            if service is None:
                yield asked.flow(PRIORITY_PLAIN, PLAIN)
            else:
                places.setdefault(asked, []).append(service)
    for asked, services in places.items():
        yield from _control_flows(asked, services)
        for service in services:
            yield from _service_flows(asked, service)


def _places(peers: int, entries: Iterable[Peer]) -> Iterator[Asked]:
    """Yield whom entries of one service are about."""
    who = ('reg12=0x%x' % peers,)
    for prefix in fold(peer.prefix for peer in entries if peer.prefix is not None):
        yield Asked(MEMBER, (*who, *address_match(prefix)))
    if any(peer.prefix is None for peer in entries):
        yield Asked(MEMBER, who, (EXTERNAL,))


def _control_flows(asked: Asked, services: Iterable[Service]) -> Iterator[Flow]:
    """Yield that peers resolve each other, and which ICMP errors pass.

    An error passes if it belongs to a connection that is known. Of what is not followed none is
    known, so there every error passes.
    """
    followed = [is_followed(service) for service in services]
    if followed and all(followed):
        yield asked.flow(PRIORITY_PLAIN, PLAIN, also=[CONTROL, RESOLVING])
        yield asked.flow(PRIORITY_ERROR, REPLY_ONLY, also=[CONTROL], without=[RESOLVING])
    else:
        yield asked.flow(PRIORITY_PLAIN, PLAIN, also=[CONTROL])


def is_followed(service: Service) -> bool:
    """Tell whether the switch follows a service's connections: its ends are not alike."""
    return bool(service.direction) or service.protocol == TFTP or (
        service.protocol in WITH_PORTS and not is_whole(service))


def _service_flows(asked: Asked, service: Service) -> Iterator[Flow]:
    """Yield what a service admits; one with a direction asks on each side another thing."""
    request = reply = asked
    if service.direction:
        request, reply = asked.of_side(service.direction == IN), asked.of_side(
            service.direction == OUT)
    for protocol in _protocols(service.protocol, asked.match):
        ask, answer = request.narrowed(protocol), reply.narrowed(protocol)
        if service.protocol == TFTP:
            yield ask.narrowed('tp_dst=%d' % TFTP_PORT).flow(PRIORITY_TFTP, TRACK_TFTP, REQUEST)
            yield asked.narrowed(protocol).flow(PRIORITY_RELATED, TRACK_TFTP, REPLY_ONLY)
        elif service.direction and (is_whole(service) or service.protocol in WITH_TYPES):
            kinds = ('', '') if is_whole(service) else tuple('icmp_type=%d' % kind for kind in (
                service.first, icmp_answer(service.protocol, service.first)))
            yield ask.narrowed(kinds[0]).flow(PRIORITY_REQUEST, REQUEST)
            yield answer.narrowed(kinds[1]).flow(PRIORITY_REPLY, REPLY_ONLY)
        elif is_whole(service):
            yield ask.flow(PRIORITY_PLAIN, PLAIN)
        elif service.protocol in WITH_TYPES:
            for kind in sorted({service.first, icmp_answer(service.protocol, service.first)}):
                yield ask.narrowed('icmp_type=%d' % kind).flow(PRIORITY_PLAIN, PLAIN)
        else:
            for port in port_matches(service.first, service.last):
                yield ask.narrowed('tp_dst=' + port).flow(PRIORITY_REQUEST, REQUEST)
                yield answer.narrowed('tp_src=' + port).flow(PRIORITY_REPLY, REPLY_ONLY)


def _protocols(protocol: str, who: Tuple[str, ...]) -> Iterator[str]:
    """Yield the protocol's matches in the families that it and the peer's address leave."""
    for version, other, family, suffix in ((4, 6, 'ip', ''), (6, 4, 'ipv6', '6')):
        if 'reg14=0x%x' % other in who or VERSIONS.get(protocol, version) != version:
            continue
        if protocol in WITH_TYPES:
            yield protocol
        elif protocol == ANYTHING:
            yield family
        elif protocol in BY_NAME or protocol == TFTP:
            yield (protocol if protocol in BY_NAME else 'udp') + suffix
        else:
            yield '%s,nw_proto=%d' % (family, protocol_number(protocol))


def port_matches(first: int, last: int) -> Iterator[str]:
    """Yield the fewest port/mask matches that cover first..last.

    >>> list(port_matches(8000, 8003))
    ['0x1f40/0xfffc']
    """
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        mask = 0x10000 - size
        if size == 0x10000:
            yield ''
        elif size == 1:
            yield str(first)
        else:
            yield '0x%x/0x%x' % (first, mask)
        first += size
