"""MEMBER..RULES: is the party in this set of peers, and what may be said?

A set is an isolation group or an allow list. Equal allow lists are one set, so
a set costs what is in it, however many VIFs ask it. A UDP service needs the
switch's connection tracking to tell a reply from an attack out of the server's
port, and so does SCTP; TCP says so itself, and needs none. TFTP's data come from a port
that nothing has been sent to: what belongs to a request, conntrack's helper knows.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.additional_macs import ASKED_ALOUD, remote_flows
from xsisolate.pipeline.tables import (CONTROL, EXTERNAL, FOUND, INGRESS_SIDE, MEMBER, MISMATCH,
                                       PAIR, PLAIN, REMOTE, REPLY_ONLY, REQUEST, RESOLVING, RULES,
                                       SEEKING, TO_REMOTE, TRACK_TFTP, TRIED, UPLINK, VIA_GATEWAY)
from xsisolate.pipeline.terms import (address_match, flags, goto, load_mac, mac_match,
                                      network_match, raised)
from xsisolate.policy.address import fold
from xsisolate.policy.model import Peer, Prefix, Service
from xsisolate.policy.service import (TFTP, TFTP_PORT, VERSIONS, WITH_PORTS, WITH_TYPES,
                                      icmp_answer, is_whole, protocol_number)
from xsisolate.typing_compat import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

# A bit of a flow's priority says how good its answer is: a peer that may say
# everything must not be found by the flow of its narrowest service.
PRIORITY_PLAIN, PRIORITY_REQUEST, PRIORITY_REPLY, PRIORITY_RELATED = 30, 20, 10, 5
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


def rule_flows(peers: int, rules: Optional[Iterable[Service]]) -> Iterator[Flow]:
    """Yield what members of a group may say to each other; None: everything."""
    who = ('reg12=0x%x' % peers,)
    if rules is None:
        yield make_flow(RULES, PRIORITY_PLAIN, who, raised(PLAIN))
        return
    yield make_flow(RULES, PRIORITY_PLAIN, [*who, flags(CONTROL)], raised(PLAIN))
    for service in rules:
        yield from _service_flows(RULES, who, service)


def allow_flows(peers: int, allow: Iterable[Peer]) -> Iterator[Flow]:
    """Yield the entries of an allow list; adjacent addresses with one service are one network."""
    said: Dict[Optional[Service], List[Peer]] = {}
    for peer in allow:
        said.setdefault(peer.service, []).append(peer)
    for service, entries in said.items():
        places = [address_match(prefix) for prefix in fold(
            peer.prefix for peer in entries if peer.prefix is not None)]
        if any(peer.prefix is None for peer in entries):
            places.append((flags(EXTERNAL),))
        for where in places:
            yield from _entry_flows(('reg12=0x%x' % peers, *where), service)


def _entry_flows(who: Tuple[str, ...], service: Optional[Service]) -> Iterator[Flow]:
    if service is None:
        yield make_flow(MEMBER, PRIORITY_PLAIN, who, raised(PLAIN))
        return
    yield make_flow(MEMBER, PRIORITY_PLAIN, _with_flag(who, CONTROL), raised(PLAIN))
    yield from _service_flows(MEMBER, who, service)


def _with_flag(who: Tuple[str, ...], bit: int) -> Tuple[str, ...]:
    """Return a match with one flag more; a match names reg15 only once."""
    if who[-1].startswith('reg15='):
        return who[:-1] + (flags(EXTERNAL, bit),)
    return who + (flags(bit),)


def _service_flows(table: int, who: Tuple[str, ...], service: Service) -> Iterator[Flow]:
    for protocol in _protocols(service.protocol, who):
        here = (*who, protocol)
        if service.protocol == TFTP:
            yield from _tftp_flows(table, here)
        elif is_whole(service):
            yield make_flow(table, PRIORITY_PLAIN, here, raised(PLAIN))
        elif service.protocol in WITH_TYPES:
            for kind in sorted({service.first, icmp_answer(service.protocol, service.first)}):
                yield make_flow(table, PRIORITY_PLAIN, [*here, 'icmp_type=%d' % kind],
                                raised(PLAIN))
        else:
            for port in port_matches(service.first, service.last):
                yield from _port_flows(table, here, service.protocol, port)


def _protocols(protocol: str, who: Tuple[str, ...]) -> Iterator[str]:
    """Yield the protocol's matches in the families that it and the peer's address leave."""
    for version, other, family, suffix in ((4, 6, 'ip', ''), (6, 4, 'ipv6', '6')):
        if 'reg14=0x%x' % other in who or VERSIONS.get(protocol, version) != version:
            continue
        if protocol in WITH_TYPES:
            yield protocol
        elif protocol in BY_NAME or protocol == TFTP:
            yield (protocol if protocol in BY_NAME else 'udp') + suffix
        else:
            yield '%s,nw_proto=%d' % (family, protocol_number(protocol))


def _port_flows(table: int, here: Tuple[str, ...], protocol: str, port: str) -> Iterator[Flow]:
    if not port:
        yield make_flow(table, PRIORITY_PLAIN, here, raised(PLAIN))
        return
    ask, answer = [*here, 'tp_dst=' + port], [*here, 'tp_src=' + port]
    if protocol == 'tcp':
        yield make_flow(table, PRIORITY_PLAIN, ask, raised(PLAIN))
        # Without ACK a segment opens a connection.
        yield make_flow(table, PRIORITY_PLAIN, [*answer, 'tcp_flags=+ack'], raised(PLAIN))
    else:
        yield make_flow(table, PRIORITY_REQUEST, ask, raised(REQUEST))
        yield make_flow(table, PRIORITY_REPLY, answer, raised(REPLY_ONLY))


def _tftp_flows(table: int, here: Tuple[str, ...]) -> Iterator[Flow]:
    yield make_flow(table, PRIORITY_REQUEST, [*here, 'tp_dst=%d' % TFTP_PORT],
                    raised(TRACK_TFTP, REQUEST))
    yield make_flow(table, PRIORITY_RELATED, here, raised(TRACK_TFTP, REPLY_ONLY))


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
