"""MULTICAST..SOUGHT: broadcast and multicast, of which strangers see nothing.

A request for an address whose MAC address is known becomes unicast and is then
judged like any other frame. What a VM must say to the infrastructure (DHCP,
router solicitations, announcements of itself) goes to the uplink only. The
rest an isolated VIF neither sends nor receives.
"""
from typing import Iterable, Iterator, Optional, Tuple

from xsisolate.core.flow import Flow, make_flow
from xsisolate.core.flows.stages import (
    ANSWERS,
    CONTROL,
    DESTINATION,
    DHCP6_ANSWER,
    DHCP6_QUERY,
    DHCP_ANSWER,
    DHCP_QUERY,
    FANOUT,
    FOUND,
    FOUND_ISOLATED,
    FROM_ARP_TARGET,
    FROM_ETH_DESTINATION,
    FROM_ND_TARGET,
    ISOLATED,
    ISOLATED_DROP,
    MISMATCH,
    MULTICAST,
    PARTY,
    PASS,
    PLAIN,
    RESOLVE,
    RESOLVED_TO_ETH,
    RESOLVING,
    SEEK,
    SEEKING,
    SOUGHT,
    TO_UPLINK,
    UNTAG,
    UPLINK,
    address_match,
    cleared,
    flags,
    goto,
    icmp6,
    mac_match,
    network_match,
    raised,
    source_match,
)
from xsisolate.core.model import Network, Prefix

TO_THE_UPLINK = (raised(TO_UPLINK), goto(PASS))
COPY = (goto(PASS), UNTAG, goto(FANOUT))
# Router solicitation, MLD reports and done, unsolicited advertisement.
ANNOUNCEMENTS = (DHCP_QUERY, DHCP6_QUERY, icmp6(131), icmp6(132), icmp6(133), icmp6(136),
                 icmp6(143))


def multicast_flows() -> Iterator[Flow]:
    """Yield the fixed flows for broadcast and multicast."""
    for match in ANNOUNCEMENTS:
        yield make_flow(MULTICAST, 190, [match, flags(ISOLATED)], *TO_THE_UPLINK)
    for match in (DHCP_ANSWER, DHCP6_ANSWER, icmp6(134)):
        yield make_flow(MULTICAST, 180, [match, flags(UPLINK)], *COPY)
    for match, target in (('arp', FROM_ARP_TARGET), (icmp6(135), FROM_ND_TARGET)):
        yield make_flow(MULTICAST, 150, [match], FROM_ETH_DESTINATION, target,
                        raised(CONTROL, RESOLVING), goto(RESOLVE), goto(SEEK))
    yield make_flow(MULTICAST, 100, [flags(ISOLATED)], goto(ISOLATED_DROP))
    yield make_flow(MULTICAST, 0, [''], goto(PASS))
    yield from _seek_flows()


def _seek_flows() -> Iterator[Flow]:
    yield make_flow(SEEK, 100, [flags(ISOLATED, off=[FOUND])], raised(SEEKING), goto(PARTY),
                    goto(SOUGHT))
    yield make_flow(SEEK, 90, [flags(ISOLATED, FOUND)], goto(SOUGHT))
    # Others flood their requests as always, but never to an isolated VIF.
    yield make_flow(SEEK, 80, [flags(FOUND_ISOLATED)], goto(SOUGHT))
    yield make_flow(SEEK, 0, [''], cleared(*ANSWERS), goto(PASS))
    yield make_flow(SOUGHT, 100, [flags(MISMATCH)], goto(ISOLATED_DROP))
    yield make_flow(SOUGHT, 50, [flags(FOUND)], RESOLVED_TO_ETH, cleared(*ANSWERS),
                    goto(DESTINATION))
    # A peer known by its address alone can only be asked for aloud.
    yield make_flow(SOUGHT, 40, [flags(PLAIN)], cleared(*ANSWERS), goto(PASS))
    yield make_flow(SOUGHT, 0, [''], goto(ISOLATED_DROP))


def announcement_flow(network: int, mac: str) -> Flow:
    """Return the flow for a VIF's requests for its own address: announcements."""
    return make_flow(SOUGHT, 60, [network_match(network), 'dl_src=%s' % mac, *mac_match(8, mac),
                                  flags(FOUND)], cleared(*ANSWERS), *TO_THE_UPLINK)


def fanout_flow(network: int, ofports: Iterable[int]) -> Flow:
    """Return the flow that copies what the infrastructure multicasts to the isolated VIFs."""
    return make_flow(FANOUT, 10, [network_match(network)],
                     *('output:%d' % ofport for ofport in sorted(ofports)))


def network_multicast_flows(network: int, facts: Network) -> Iterator[Flow]:
    """Yield how a network's gateways are asked for, and who may answer aloud."""
    where = network_match(network)
    for gateway in facts.gateways:
        if gateway.mac is None:
            yield from _gateway_request_flows(where, gateway.ipv4, gateway.ipv6)
    if facts.gateways:
        # A router's link-local address is in no configuration: ask the uplink.
        yield make_flow(SOUGHT, 30, [where, icmp6(135), 'nd_target=fe80::/10', flags(ISOLATED)],
                        cleared(*ANSWERS), *TO_THE_UPLINK)
    for match, answerers in _answerers(facts):
        yield make_flow(MULTICAST, 183, [where, match, flags(UPLINK)], goto(PASS))
        for answerer in answerers:
            yield make_flow(MULTICAST, 185, [where, match, answerer, flags(UPLINK)], *COPY)


def _gateway_request_flows(where: str, *addresses: Optional[Prefix]) -> Iterator[Flow]:
    for address in addresses:
        if address is not None:
            yield make_flow(SOUGHT, 45, [where, *address_match(address), flags(ISOLATED)],
                            cleared(*ANSWERS), *TO_THE_UPLINK)


def _answerers(facts: Network) -> Iterator[Tuple[str, Tuple[str, ...]]]:
    """Yield the kinds of answers that not every outsider may give, and who may."""
    macs = tuple(sorted('dl_src=%s' % gateway.mac for gateway in facts.gateways if gateway.mac))
    if macs:
        yield icmp6(134), macs
    for version, match in ((4, DHCP_ANSWER), (6, DHCP6_ANSWER)):
        if facts.dhcp_servers:
            yield match, tuple(source_match(server) for server in sorted(facts.dhcp_servers)
                               if server.version == version)
