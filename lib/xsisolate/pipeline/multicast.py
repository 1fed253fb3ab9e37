"""MULTICAST..SOUGHT: broadcast and multicast, of which strangers see nothing.

A request for an address whose MAC address is known becomes unicast and is then
judged like any other frame. What a VM must say to the infrastructure (DHCP,
router solicitations) goes to the uplink only, what it says of itself to its
groups, too. Other multicast stays among the local members of its groups. The
rest an isolated VIF neither sends nor receives.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.decision import ROLE_ANSWERS, answers_of, roles_by_mac
from xsisolate.pipeline.peer_lookup import OWNERS_MAX, next_owner, owner_match
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ANSWERS, CLAIMING, CLASSIFY, CONTROL, DESTINATION, FANOUT,
                                       FOUND, FOUND_ISOLATED, ISOLATED, ISOLATED_DROP, MEMBER,
                                       MISMATCH, MULTICAST, PAIR, PARTY, PASS, PEERS, PLAIN,
                                       REPLY_ONLY, REQUEST, RESOLVE, RESOLVING, ROLE_FLAGS, RULES,
                                       SEEK, SEEKING, SOUGHT, SPREAD, SPREADING, TO_UPLINK, TRIED,
                                       UPLINK)
from xsisolate.pipeline.terms import (DHCP6_ANSWER, DHCP6_QUERY, DHCP_ANSWER, DHCP_QUERY,
                                      FROM_ARP_TARGET, FROM_ETH_DESTINATION, FROM_ND_TARGET,
                                      KEEP_DESTINATION, RESOLVED_TO_ETH, SOLICITED_NODE, Attachment,
                                      address_match, cleared, flags, goto, icmp6, network_match,
                                      outputs, raised, source_match)
from xsisolate.policy.model import DHCP, ROUTER, Network, Prefix
from xsisolate.typing_compat import (AbstractSet, FrozenSet, Iterable, Iterator, List, Mapping,
                                     NamedTuple, Optional, Tuple)

TO_THE_UPLINK = (raised(TO_UPLINK), goto(PASS))
TO_THE_GROUPS = (raised(SPREADING), 'load:0->NXM_NX_REG14[]', goto(PEERS))
TO_GROUPS_ONLY = (cleared(*ANSWERS), raised(CONTROL), *TO_THE_GROUPS)
COPY = (goto(PASS), goto(FANOUT))
# DHCP, router solicitation, MLD reports and done.
INFRASTRUCTURE = (DHCP_QUERY, DHCP6_QUERY, icmp6(131), icmp6(132), icmp6(133), icmp6(143))
REQUESTS = (('arp', FROM_ARP_TARGET), (icmp6(135), FROM_ND_TARGET))


def multicast_flows() -> Iterator[Flow]:
    """Yield the fixed flows for broadcast and multicast."""
    for match in INFRASTRUCTURE:
        yield make_flow(MULTICAST, 190, [match, flags(ISOLATED)], *TO_THE_UPLINK)
    yield make_flow(MULTICAST, 190, [icmp6(136), flags(ISOLATED)], *_announce())
    for match in (DHCP_ANSWER, DHCP6_ANSWER, icmp6(134)):
        yield make_flow(MULTICAST, 180, [match, flags(UPLINK)], *COPY)
    for match, role in ROLE_ANSWERS:
        yield make_flow(MULTICAST, 196, [match, flags(role)], *COPY)
    for match, target in REQUESTS:
        # A sender that asks for its own address announces itself.
        yield make_flow(MULTICAST, 155, [match, flags(ISOLATED)], target,
                        raised(CLAIMING), goto(RESOLVE), goto(CLASSIFY), goto(SEEK))
        yield make_flow(MULTICAST, 150, [match], FROM_ETH_DESTINATION, target,
                        raised(CONTROL, RESOLVING), goto(RESOLVE), goto(SEEK))
    for family in ('ip', 'ipv6'):
        yield make_flow(MULTICAST, 110, [family, flags(ISOLATED)], *TO_THE_GROUPS,
                        because(Reason.MULTICAST, ISOLATED_DROP))
    yield make_flow(MULTICAST, 100, [flags(ISOLATED)], because(Reason.MULTICAST, ISOLATED_DROP))
    yield make_flow(MULTICAST, 0, [''], goto(PASS))
    yield from _seek_flows()
    yield from _sought_flows()
    yield from _spread_flows()


def _announce() -> Tuple[str, ...]:
    """Return the actions for what a VIF says of itself: the uplink and its groups hear it."""
    return (cleared(*ANSWERS), *TO_THE_UPLINK, *TO_GROUPS_ONLY)


def _seek_flows() -> Iterator[Flow]:
    yield make_flow(SEEK, 110, [flags(CLAIMING, PAIR)], *_announce())
    for match, target in REQUESTS:
        yield make_flow(SEEK, 105, [match, flags(CLAIMING)], cleared(*ANSWERS),
                        FROM_ETH_DESTINATION, target, raised(CONTROL, RESOLVING), goto(RESOLVE),
                        goto(SEEK))
    yield make_flow(SEEK, 100, [flags(ISOLATED, off=[FOUND])], raised(SEEKING), goto(PARTY),
                    goto(SOUGHT))
    yield make_flow(SEEK, 90, [flags(ISOLATED, FOUND)], goto(SOUGHT))
    # Others flood their requests as always, but never to an isolated VIF.
    yield make_flow(SEEK, 80, [flags(FOUND_ISOLATED)], goto(SOUGHT))
    yield make_flow(SEEK, 0, [''], cleared(*ANSWERS), goto(PASS))


def _sought_flows() -> Iterator[Flow]:
    yield make_flow(SOUGHT, 100, [flags(MISMATCH)], goto(ISOLATED_DROP))
    # Every owner of an address is asked; the one that holds it now will answer.
    ask = ','.join((KEEP_DESTINATION, RESOLVED_TO_ETH, cleared(*ANSWERS), goto(DESTINATION)))
    for owner in range(OWNERS_MAX):
        yield make_flow(SOUGHT, 50, [flags(FOUND), owner_match(owner)], 'clone(%s)' % ask,
                        *next_owner(owner), goto(RESOLVE), goto(SOUGHT))
    yield make_flow(SOUGHT, 48, [flags(TRIED)])
    # Who serves strangers asks for them aloud.
    for role in ROLE_FLAGS:
        yield make_flow(SOUGHT, 44, [flags(role)], cleared(*ANSWERS), goto(PASS))
    # A peer known by its address alone can only be asked for aloud.
    yield make_flow(SOUGHT, 40, [flags(PLAIN)], cleared(*ANSWERS), goto(PASS))
    yield make_flow(SOUGHT, 0, [''], goto(ISOLATED_DROP))


def _spread_flows() -> Iterator[Flow]:
    # What no rule of the group admits is not spread.
    yield make_flow(SPREAD, 100, [flags(off=[PLAIN, REQUEST])])
    # What at least one group has heard is not dropped.
    yield make_flow(ISOLATED_DROP, 100, [flags(SPREADING, FOUND)])


def spread_flows(peers: int, members: Mapping[int, Iterable[Attachment]]) -> Iterator[Flow]:
    """Yield the flows that carry a group's multicast to its members, by network."""
    if not members:
        return
    yield make_flow(MEMBER, 60, ['reg12=0x%x' % peers, flags(SPREADING)],
                    cleared(PLAIN, REPLY_ONLY), goto(RULES), goto(SPREAD))
    for network, links in sorted(members.items()):
        yield make_flow(SPREAD, 10, ['reg12=0x%x' % peers, network_match(network)],
                        raised(FOUND), *outputs(network, links))


def fanout_flow(network: int, links: Iterable[Attachment]) -> Flow:
    """Return the flow that copies what the infrastructure multicasts to the isolated VIFs."""
    return make_flow(FANOUT, 10, [network_match(network)], *outputs(network, links))


class LocalHolder(NamedTuple):
    """A VIF of this host that holds roles on a network."""

    roles: FrozenSet[str]
    isolated: bool          # floods leave it out
    link: Attachment


def network_multicast_flows(network: int, facts: Network, named: AbstractSet[str],
                            holders: Iterable[LocalHolder]) -> Iterator[Flow]:
    """Yield how those are asked aloud that hold roles on a network, and who may answer aloud."""
    where = network_match(network)
    for gateway in facts.gateways:
        if gateway.mac is None:
            yield from _gateway_request_flows(where, gateway.ipv4, gateway.ipv6)
    if facts.gateways:
        # A router's link-local address is in no configuration: ask the uplink.
        yield make_flow(SOUGHT, 30, [where, icmp6(135, SOLICITED_NODE), 'nd_target=fe80::/10',
                                     flags(ISOLATED)], cleared(*ANSWERS), *TO_THE_UPLINK)
    for answer in answers_of(named):
        yield make_flow(MULTICAST, 183, [where, answer, flags(UPLINK)], goto(PASS))
    for server in sorted(facts.dhcp_servers):
        yield make_flow(MULTICAST, 185, [where, DHCP_ANSWER if server.version == 4 else
                                         DHCP6_ANSWER, source_match(server), flags(UPLINK)], *COPY)
    for mac, roles in roles_by_mac(facts):
        yield from heard_from_flows(network, mac, roles)
    yield from _to_holders(network, list(holders))


def heard_from_flows(network: int, mac: str, roles: AbstractSet[str]) -> Iterator[Flow]:
    """Yield what a holder of roles beyond the uplink may say to all isolated VIFs."""
    for answer in answers_of(roles):
        yield make_flow(MULTICAST, 185, [network_match(network), answer, 'dl_src=%s' % mac,
                                         flags(UPLINK)], *COPY)


def _to_holders(network: int, holders: List[LocalHolder]) -> Iterator[Flow]:
    """Yield what goes to VIFs of this host, too, because they hold roles."""
    where = network_match(network)
    for role, requests in ((DHCP, (DHCP_QUERY, DHCP6_QUERY)), (ROUTER, (icmp6(133),))):
        asked = [holder for holder in holders if role in holder.roles]
        hidden = [holder.link for holder in asked if holder.isolated]
        for request in requests if asked else ():
            yield make_flow(MULTICAST, 195, [where, request, flags(ISOLATED)], *TO_THE_UPLINK,
                            *outputs(network, [holder.link for holder in asked]))
        for request in requests if hidden else ():
            yield make_flow(MULTICAST, 185, [where, request, flags(off=[ISOLATED])], goto(PASS),
                            *outputs(network, hidden))
    if holders:     # an address has moved
        told = tuple(outputs(network, [holder.link for holder in holders]))
        yield make_flow(MULTICAST, 195, [where, icmp6(136), flags(ISOLATED)], *_announce(), *told)
        yield make_flow(SEEK, 112, [where, flags(CLAIMING, PAIR)], *_announce(), *told)


def _gateway_request_flows(where: str, *addresses: Optional[Prefix]) -> Iterator[Flow]:
    for address in addresses:
        if address is not None:
            yield make_flow(SOUGHT, 45, [where, *address_match(address), flags(ISOLATED)],
                            cleared(*ANSWERS), *TO_THE_UPLINK)
