"""DESTINATION..PASS: may this unicast frame go where it wants to go?

An isolated sender's policy is asked about the receiver (EGRESS), an isolated
receiver's about the sender (INGRESS). Both must admit the frame.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.connections import ZONE, connection_flows, connection_lookup_flows
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ACCEPT, ADVERTISER, ANSWERS, CHECKED, COMMIT, CONTROL,
                                       DESTINATION, DHCP_SERVER, EGRESS, EGRESS_ANSWER, ESTABLISHED,
                                       FORWARDER, FULL, INGRESS, INGRESS_ANSWER, INGRESS_SIDE,
                                       INGRESS_TARGET, ISOLATED, ISOLATED_DROP, MISMATCH, MULTICAST,
                                       OWN_DELIVERY, PARTY, PASS, PLAIN, REPLY, REPLY_ONLY, REQUEST,
                                       RESOLVING, ROLE_FLAGS, SOURCE, TO_ISOLATED, TO_LOCAL,
                                       TO_PERMISSIVE, TO_REMOTE, TO_UPLINK, TRACK_TFTP,
                                       UNKNOWN_NETWORK, UPLINK)
from xsisolate.pipeline.terms import (DHCP6_ANSWER, DHCP6_QUERY, DHCP_ANSWER, DHCP_QUERY,
                                      FROM_ARP_SOURCE, FROM_ARP_TARGET, FROM_ETH_DESTINATION,
                                      FROM_ETH_SOURCE, FROM_IPV4_DESTINATION, FROM_IPV4_SOURCE,
                                      FROM_IPV6_DESTINATION, FROM_IPV6_SOURCE, FROM_ND_TARGET,
                                      MULTICAST_MAC, NEIGHBOUR, SOLICITED_NODE, cleared,
                                      destination_match, flags, goto, icmp6, lowered, network_match,
                                      noted, raised, source_match, unknown_priority)
from xsisolate.policy.additional_macs import is_range
from xsisolate.policy.model import DHCP, GATEWAY, ROUTER, Mode, Network, Prefix
from xsisolate.typing_compat import AbstractSet, Dict, FrozenSet, Iterable, Iterator, List, Tuple

ROLE_ANSWERS = ((DHCP_ANSWER, DHCP_SERVER), (DHCP6_ANSWER, DHCP_SERVER), (icmp6(134), ADVERTISER))
# What helps a conversation along and is part of every admitted one.
ICMP_ERRORS = tuple('icmp,icmp_type=%d' % kind for kind in (3, 11, 12)) + tuple(
    icmp6(kind) for kind in (1, 2, 3, 4))


def decision_flows() -> Iterator[Flow]:
    """Yield the fixed flows that ask both policies."""
    yield make_flow(DESTINATION, 100, [MULTICAST_MAC], goto(MULTICAST))
    yield make_flow(DESTINATION, 0, [''], goto(EGRESS))
    yield make_flow(EGRESS, 200, [flags(off=[ISOLATED])], goto(INGRESS))
    for query in (DHCP_QUERY, DHCP6_QUERY):     # renewals go to the server's own address
        yield make_flow(EGRESS, 190, [query, flags(off=[TO_LOCAL])], raised(TO_UPLINK), goto(PASS))
    # A solicitation to anything but its target's multicast group could be one
    # that a gateway forwards: it is judged by where it goes.
    yield make_flow(EGRESS, 110, [icmp6(135, SOLICITED_NODE)], FROM_ETH_DESTINATION, FROM_ND_TARGET,
                    raised(CONTROL, RESOLVING), goto(PARTY), goto(EGRESS_ANSWER))
    yield from _questions(EGRESS, FROM_ETH_DESTINATION, EGRESS_ANSWER, (
        ('arp', FROM_ARP_TARGET), (icmp6(135), FROM_IPV6_DESTINATION),
        (icmp6(136), FROM_IPV6_DESTINATION)), FROM_IPV4_DESTINATION, FROM_IPV6_DESTINATION)
    yield from _answers(EGRESS_ANSWER, INGRESS)
    yield from _ingress_flows()
    yield from _role_flows()
    yield from _accept_flows()
    yield make_flow(ISOLATED_DROP, 0, [''])


def _role_flows() -> Iterator[Flow]:
    """Yield what a VIF of this host that holds a role may say to all, whatever its policy."""
    for answer, role in ROLE_ANSWERS:
        yield make_flow(EGRESS, 196, [answer, flags(role)], goto(INGRESS))
        yield make_flow(INGRESS, 196, [answer, flags(role)], goto(ACCEPT))
    for match in ('arp', icmp6(135), icmp6(136)):
        for role in ROLE_FLAGS:
            yield make_flow(EGRESS, 196, [match, flags(role)], goto(INGRESS))
    for match in ICMP_ERRORS:
        yield make_flow(EGRESS, 196, [match, flags(FORWARDER)], goto(INGRESS))


def _questions(table: int, party: str, answer: int, resolving: Tuple[Tuple[str, str], ...],
               ipv4: str, ipv6: str) -> Iterator[Flow]:
    """Yield, per kind of packet, which of its addresses is the party's."""
    ask = (goto(PARTY), goto(answer))
    for match, address in resolving:
        yield make_flow(table, 100, [match], party, address, raised(CONTROL, RESOLVING), *ask)
    for match in ICMP_ERRORS:
        yield make_flow(table, 90, [match], party, ipv4 if match[:5] == 'icmp,' else ipv6,
                        raised(CONTROL), *ask)
    yield make_flow(table, 50, ['ip'], party, ipv4, *ask)
    yield make_flow(table, 50, ['ipv6'], party, ipv6, *ask)
    yield make_flow(table, 0, [''], goto(ISOLATED_DROP))


def _answers(table: int, following: int) -> Iterator[Flow]:
    """Yield what follows from the answer about a party."""
    forget = cleared(*ANSWERS)
    yield make_flow(table, 100, [flags(MISMATCH)], goto(ISOLATED_DROP))
    yield make_flow(table, 30, [flags(PLAIN)], forget, goto(following))
    yield make_flow(table, 20, [flags(REQUEST)], forget, raised(COMMIT), goto(following))
    yield make_flow(table, 10, [flags(REPLY_ONLY)], forget, raised(ESTABLISHED), goto(following))
    yield make_flow(table, 0, [''], goto(ISOLATED_DROP))


def _ingress_flows() -> Iterator[Flow]:
    yield make_flow(INGRESS, 200, [flags(off=[TO_ISOLATED])], goto(ACCEPT))
    for match in (DHCP_ANSWER, DHCP6_ANSWER, icmp6(134)):
        yield make_flow(INGRESS, 190, [match, flags(UPLINK)], goto(ACCEPT))
    # Answers of DHCP servers and routers that are none: what the kinds of
    # frame above did not let pass. ICMP redirects would lead to strangers.
    for match, reason in (('udp,tp_dst=68', Reason.DHCP), ('udp6,tp_dst=546', Reason.DHCP),
                          (icmp6(134), Reason.ROUTER), (icmp6(137), Reason.REDIRECT),
                          ('icmp,icmp_type=5', Reason.REDIRECT)):
        yield make_flow(INGRESS, 180, [match], because(reason, ISOLATED_DROP))
    # Of fragments the switch does not tell the type. With this hop limit they are no router's, and
    # may be neighbour discovery, which not all receivers ignore in there (RFC 6980).
    yield make_flow(INGRESS, 185, ['icmp6,nw_frag=yes,nw_ttl=255'],
                    because(Reason.PIECES, ISOLATED_DROP))
    for kind in NEIGHBOUR:      # of another code: receivers must ignore it, not all may
        yield make_flow(INGRESS, 95, ['icmp6,icmp_type=%d' % kind],
                        because(Reason.CLAIM, ISOLATED_DROP))
    party = ','.join((raised(INGRESS_SIDE), FROM_ETH_SOURCE))
    yield from _questions(INGRESS, party, INGRESS_ANSWER, (
        ('arp', FROM_ARP_SOURCE), (icmp6(135), FROM_IPV6_SOURCE)),
        FROM_IPV4_SOURCE, FROM_IPV6_SOURCE)
    # An advertisement speaks for two addresses: its source and its target.
    yield make_flow(INGRESS, 100, [icmp6(136)], party, FROM_ND_TARGET,
                    raised(CONTROL, RESOLVING), goto(PARTY), goto(INGRESS_TARGET))
    yield make_flow(INGRESS_TARGET, 100, [flags(MISMATCH)], goto(ISOLATED_DROP))
    yield make_flow(INGRESS_TARGET, 10, [icmp6(136), flags(PLAIN)], cleared(*ANSWERS),
                    FROM_IPV6_SOURCE, FROM_ETH_SOURCE, raised(CONTROL, RESOLVING), goto(PARTY),
                    goto(INGRESS_ANSWER))
    yield make_flow(INGRESS_TARGET, 0, [''], goto(ISOLATED_DROP))
    yield from _answers(INGRESS_ANSWER, ACCEPT)


def _accept_flows() -> Iterator[Flow]:
    """Yield what is let pass, looked up first, or dropped."""
    for family in ('ip', 'ipv6'):
        yield make_flow(ACCEPT, 20, [flags(ESTABLISHED), family], 'ct(table=%d,%s)' % (REPLY, ZONE))
    yield make_flow(ACCEPT, 15, [flags(ESTABLISHED)], because(Reason.UNASKED, ISOLATED_DROP))
    yield from connection_lookup_flows()
    yield make_flow(ACCEPT, 0, [''], goto(PASS))
    yield make_flow(REPLY, 0, [''], because(Reason.UNASKED, ISOLATED_DROP))
    for bits in ((TO_LOCAL,), (ISOLATED, TO_REMOTE), (TO_UPLINK,)):
        yield make_flow(PASS, 10, [flags(*bits)], raised(CHECKED, OWN_DELIVERY), goto(0))
    yield make_flow(PASS, 0, [''], raised(CHECKED), goto(0))


def answer_flows(label: int) -> Iterator[Flow]:
    """Yield how a request is remembered, and its answer known.

    All bridges share the switch's table of connections, where a zone is a VLAN of any
    of them, with the addresses that its tenants like: the label says on which bridges was
    asked. Each adds its own bits, and takes away no other's.
    """
    bits = ','.join('load:0x1->NXM_NX_CT_LABEL[%d]' % bit for bit in range(128)
                    if label >> bit & 1)
    asked_here = 'ct_label=0x%x/0x%x' % (label, label)
    yield from connection_flows('ct(commit,%s,exec(%s))' % (ZONE, bits), asked_here)
    for family, udp in (('ip', 'udp'), ('ipv6', 'udp6')):
        yield make_flow(ACCEPT, 12, [flags(COMMIT, TRACK_TFTP), udp],
                        'ct(commit,%s,exec(%s),alg=tftp)' % (ZONE, bits), goto(PASS))
        yield make_flow(ACCEPT, 10, [flags(COMMIT), family],
                        'ct(commit,%s,exec(%s))' % (ZONE, bits), goto(PASS))
        # The first of TFTP's data: a connection of its own, with the label of the one that asked
        # for it, which shows only once it is remembered. The flag says that it has been.
        yield make_flow(REPLY, 20, ['ct_state=+new+rel+trk', flags(TRACK_TFTP), udp],
                        lowered(TRACK_TFTP), 'ct(commit,table=%d,%s)' % (REPLY, ZONE))
        yield make_flow(REPLY, 15, ['ct_state=+new+rel+trk', asked_here, udp], 'ct_clear',
                        goto(PASS))
        yield make_flow(REPLY, 10, ['ct_state=+est+rel-rpl+trk', asked_here, flags(TRACK_TFTP),
                                    udp], 'ct_clear', goto(PASS))
    yield make_flow(REPLY, 10, ['ct_state=+est+rpl+trk', asked_here], 'ct_clear', goto(PASS))


def endpoint_destination_flows(network: int, mac: str, mode: Mode) -> Iterator[Flow]:
    """Yield what happens to unicast frames for a managed VIF."""
    here, there = (network_match(network), 'dl_dst=%s' % mac), 'dl_dst=%s' % mac
    if mode == Mode.LOCKED:
        yield make_flow(DESTINATION, 50, here, raised(TO_LOCAL), goto(EGRESS))
        return
    # From a port whose network we do not know nothing can be judged.
    yield make_flow(DESTINATION, unknown_priority(network),
                    [network_match(UNKNOWN_NETWORK), there], goto(ISOLATED_DROP))
    if mode == Mode.ISOLATED:
        yield make_flow(DESTINATION, 50, here, raised(TO_LOCAL, TO_ISOLATED), goto(EGRESS))
    else:
        yield make_flow(DESTINATION, 50, here, because(Reason.CLOSED, ISOLATED_DROP))


def holder_destination_flows(network: int, mac: str, roles: AbstractSet[str],
                             inside: Iterable[Prefix], permissive: bool) -> Iterator[Flow]:
    """Yield what comes to an isolated VIF for the roles that it holds: its policy is not asked.

    What a gateway forwards is for none of the addresses inside, its own among them.
    """
    here = (network_match(network), 'dl_dst=%s' % mac)
    plainly = () if permissive else (raised(TO_LOCAL),)
    asked = (noted(TO_PERMISSIVE),) if permissive else (raised(TO_LOCAL, TO_ISOLATED),)
    for match in ('arp', icmp6(135), icmp6(136), *_asked_of(roles)):
        yield make_flow(DESTINATION, 54, [*here, match], *plainly, goto(EGRESS))
    if GATEWAY in roles:
        for prefix in inside:
            yield make_flow(DESTINATION, 53, [*here, 'ip' if prefix.version == 4 else 'ipv6',
                                              destination_match(prefix)], *asked, goto(EGRESS))
        for family in ('ip', 'ipv6'):
            yield make_flow(DESTINATION, 52, [*here, family], *plainly, goto(EGRESS))


def _asked_of(roles: AbstractSet[str]) -> Iterator[str]:
    """Yield the kinds of requests that are meant for the holders of roles."""
    if DHCP in roles:
        yield DHCP_QUERY
        yield DHCP6_QUERY
    if ROUTER in roles:
        yield icmp6(133)


def holder_decision_flows(network: int, mac: str, roles: AbstractSet[str],
                          arriving: bool) -> Iterator[Flow]:
    """Yield who may ask a DHCP server of this host, and what comes from it while it arrives."""
    where = network_match(network)
    for query in (DHCP_QUERY, DHCP6_QUERY) if DHCP in roles else ():
        yield make_flow(EGRESS, 196, [where, query, 'dl_dst=%s' % mac], goto(INGRESS))
    for answer in answers_of(roles) if arriving else ():
        yield make_flow(INGRESS, 195, [where, answer, 'dl_src=%s' % mac,
                                       flags(TO_ISOLATED, UPLINK)], goto(ACCEPT))


def answers_of(roles: AbstractSet[str]) -> Iterator[str]:
    """Yield what only the holders of roles may say."""
    if DHCP in roles:
        yield DHCP_ANSWER
        yield DHCP6_ANSWER
    if ROUTER in roles:
        yield icmp6(134)


def isolation_count_flows(network: int, mac: str) -> Iterator[Flow]:
    """Yield the flows whose packet counts are a VIF's frames dropped as isolated."""
    yield make_flow(ISOLATED_DROP, 20, [network_match(network), 'dl_src=%s' % mac,
                                        flags(ISOLATED, off=[INGRESS_SIDE])], goto(FULL))
    yield make_flow(ISOLATED_DROP, 10, [network_match(network), 'dl_dst=%s' % mac], goto(FULL))


def network_decision_flows(network: int, facts: Network, named: AbstractSet[str],
                           enforced: bool) -> Iterator[Flow]:
    """Yield which machines may answer as DHCP server or router on a network that lists them.

    `enforced`: a policy of a VIF here is, so that others are kept from posing as such a machine.
    """
    where = network_match(network)
    yield from _dhcp_query_flows(where, facts, named)
    for answer in answers_of(named):
        yield make_flow(INGRESS, 192, [where, answer, flags(TO_ISOLATED)], because(
            Reason.ROUTER if answer == icmp6(134) else Reason.DHCP, ISOLATED_DROP))
    for server in sorted(facts.dhcp_servers):
        yield make_flow(INGRESS, 195, [where, DHCP_ANSWER if server.version == 4 else DHCP6_ANSWER,
                                       source_match(server), flags(TO_ISOLATED, UPLINK)],
                        goto(ACCEPT))
    for mac, roles in roles_by_mac(facts):
        if not is_range(mac):       # see additional_macs.py
            if enforced:
                yield make_flow(SOURCE, 45, [where, 'dl_src=%s' % mac, flags(off=[UPLINK])])
            yield make_flow(DESTINATION, 45, [where, 'dl_dst=%s' % mac], raised(TO_REMOTE),
                            goto(EGRESS))
        for answer in answers_of(roles):
            yield make_flow(INGRESS, 195, [where, answer, 'dl_src=%s' % mac,
                                           flags(TO_ISOLATED, UPLINK)], goto(ACCEPT))


def roles_by_mac(facts: Network) -> List[Tuple[str, FrozenSet[str]]]:
    """Return the MAC addresses beyond the uplink that are known to hold roles."""
    found: Dict[str, FrozenSet[str]] = {}
    for gateway in facts.gateways:
        if gateway.mac:
            found[gateway.mac] = found.get(gateway.mac, frozenset()) | gateway.roles
    return sorted(found.items())


def _dhcp_query_flows(where: str, facts: Network, named: AbstractSet[str]) -> Iterator[Flow]:
    """Yield which DHCP servers may be asked by unicast; without, any outside would be one."""
    servers = facts.dhcp_servers or (frozenset() if DHCP in named else facts.subnets)
    macs = [mac for mac, roles in roles_by_mac(facts) if DHCP in roles]
    if not servers and DHCP not in named:
        return
    elsewhere = flags(off=[TO_LOCAL])
    for query, address in ((DHCP_QUERY, FROM_IPV4_DESTINATION),
                           (DHCP6_QUERY, FROM_IPV6_DESTINATION)):
        yield make_flow(EGRESS, 192, [where, query, elsewhere], FROM_ETH_DESTINATION, address,
                        goto(PARTY), goto(EGRESS_ANSWER))
        for mac in macs:
            yield make_flow(EGRESS, 195, [where, query, 'dl_dst=%s' % mac, elsewhere],
                            raised(TO_UPLINK), goto(PASS))
    for server in servers:
        query = DHCP_QUERY if server.version == 4 else DHCP6_QUERY
        yield make_flow(EGRESS, 195, [where, query, destination_match(server), elsewhere],
                        raised(TO_UPLINK), goto(PASS))
