"""PARTY..PEERS: who is at the other end, and does the asker admit it?

One question serves both directions and the claims of port_security.py. The caller
puts the other end's address and MAC address into registers; the answer is in
the flags PLAIN, REQUEST, REPLY_ONLY or, as a veto, MISMATCH.

A member's address goes with a member's MAC address. A gateway speaks for its
own addresses and for those outside the network; what it forwards between two
addresses of the network is judged by those addresses.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.stages import (CLAIMING, CLASSIFY, CONTROL, EXTERNAL, FOUND, FOUND_ISOLATED,
                                       INGRESS_SIDE, MEMBER, MISMATCH, NEXT_OWNER, PAIR, PARTY,
                                       PEERS, PLAIN, RESOLVE, RESOLVED_TO_PARTY, RESOLVING,
                                       TO_LOCAL, TO_UPLINK, TRIED, UPLINK, VIA_GATEWAY,
                                       address_match, cleared, flags, goto, load_mac, mac_match,
                                       network_match, number, raised)
from xsisolate.policy.address import LINK_LOCAL, NEVER_EXTERNAL
from xsisolate.policy.model import Gateway, Network, Prefix
from xsisolate.typing_compat import Iterable, Iterator, Mapping, Optional

OWNERS_MAX = 16             # NEXT_OWNER can count one more; each is a step more for a packet
PRIORITY_RESOLVE = 100      # plus the prefix length
PRIORITY_GATEWAY = 400      # nobody else speaks for a gateway's address


def party_flows() -> Iterator[Flow]:
    """Yield the fixed flows that find out who the other end is."""
    yield make_flow(PARTY, 0, [''], goto(RESOLVE), goto(CLASSIFY))
    # Behind a gateway an address stands for its own MAC address.
    # It forwards for a neighbour, but does not answer for one. Nobody forwards
    # link-local addresses; a router advertises itself by one that nobody configures.
    yield make_flow(CLASSIFY, 67, [*address_match(LINK_LOCAL),
                                   flags(VIA_GATEWAY, RESOLVING, off=[FOUND])], raised(PLAIN))
    yield make_flow(CLASSIFY, 65, [*address_match(LINK_LOCAL), flags(VIA_GATEWAY)],
                    raised(MISMATCH))
    yield make_flow(CLASSIFY, 60, [flags(FOUND, VIA_GATEWAY, off=[RESOLVING])],
                    RESOLVED_TO_PARTY, raised(PAIR), goto(PEERS))
    # Members that take an address over from each other all own it: ask the next.
    for owner in range(OWNERS_MAX - 1):
        yield make_flow(CLASSIFY, 40, [flags(FOUND), owner_match(owner)], *next_owner(owner),
                        goto(RESOLVE), goto(CLASSIFY))
    yield make_flow(CLASSIFY, 35, [flags(TRIED)], raised(MISMATCH))
    for prefix, _ in NEVER_EXTERNAL:
        yield make_flow(CLASSIFY, 30, address_match(prefix), goto(PEERS))
    yield make_flow(CLASSIFY, 0, [''], raised(EXTERNAL), goto(PEERS))
    yield make_flow(PEERS, 100, [flags(CLAIMING)])


def owner_match(owner: int) -> str:
    """Return the match for the nth owner of an address being asked for."""
    return 'reg14=%s/0x1f00' % number(owner << 8)


def next_owner(owner: int) -> Iterator[str]:
    """Yield the actions that turn from the nth owner of an address to the next."""
    yield cleared(FOUND, FOUND_ISOLATED)
    yield raised(TRIED)
    yield 'load:0x%x->%s' % (owner + 1, NEXT_OWNER)


def endpoint_party_flows(network: int, mac: str, addresses: Mapping[Prefix, int],
                         isolated: bool) -> Iterator[Flow]:
    """Yield what makes a local VIF known by its addresses and its MAC address.

    `addresses` says for each whether the VIF is its first owner (0) or a later
    one; beyond the last it waits, and the address is not its own yet. Of networks
    that contain each other the narrowest counts.
    """
    answer = raised(FOUND, FOUND_ISOLATED) if isolated else raised(FOUND)
    for address, owner in addresses.items():
        if owner >= OWNERS_MAX:
            continue
        yield make_flow(RESOLVE, PRIORITY_RESOLVE + address.length,
                        [network_match(network), *address_match(address, owner)],
                        load_mac(8, mac), answer)
    party = (network_match(network), *mac_match(10, mac))
    yield make_flow(CLASSIFY, 50, [*party, *mac_match(8, mac), flags(FOUND)], raised(PAIR),
                    'load:0->' + NEXT_OWNER, goto(PEERS))
    # A known MAC address with an address that is nobody's.
    yield make_flow(CLASSIFY, 45, [*party, flags(off=[FOUND])], raised(MISMATCH))


def asker_flows(network: int, mac: str, peer_sets: Iterable[int]) -> Iterator[Flow]:
    """Yield which sets of peers are asked on behalf of an isolated VIF, in both directions."""
    asked = ','.join('load:0x%x->NXM_NX_REG12[],%s' % (peers, goto(MEMBER)) for peers in peer_sets)
    for field, side in (('dl_src', flags(off=[INGRESS_SIDE])), ('dl_dst', flags(INGRESS_SIDE))):
        yield make_flow(PEERS, 10, [network_match(network), '%s=%s' % (field, mac), side], asked)


def network_party_flows(network: int, facts: Network) -> Iterator[Flow]:
    """Yield the network's inside and its gateways."""
    for subnet in facts.subnets:
        yield make_flow(CLASSIFY, 20, [network_match(network), *address_match(subnet)],
                        goto(PEERS))
    if any(gateway.mac for gateway in facts.gateways):
        # `external` leaves only towards a gateway.
        yield make_flow(CLASSIFY, 10, [network_match(network), flags(off=[VIA_GATEWAY])],
                        goto(PEERS))
    if any(not gateway.mac for gateway in facts.gateways):
        yield from _unknown_router_flows(network)
    for gateway in facts.gateways:
        yield from _gateway_flows(network, gateway)


def _unknown_router_flows(network: int) -> Iterator[Flow]:
    """Yield how a router of unknown MAC address resolves and is resolved.

    It advertises itself by a link-local address that nobody configures.
    """
    where = (network_match(network), *address_match(LINK_LOCAL))
    yield make_flow(CLASSIFY, 33, [*where, flags(RESOLVING, INGRESS_SIDE, UPLINK)],
                    raised(PLAIN), goto(PEERS))
    yield make_flow(CLASSIFY, 33, [*where, flags(RESOLVING, off=[INGRESS_SIDE, TO_LOCAL])],
                    raised(PLAIN, TO_UPLINK), goto(PEERS))


def _gateway_flows(network: int, gateway: Gateway) -> Iterator[Flow]:
    for address in filter(None, (gateway.ipv4, gateway.ipv6)):
        yield from _gateway_address_flows(network, address, gateway.mac)
    if gateway.mac:
        # Nobody on this host speaks for it.
        yield make_flow(PARTY, 60, [network_match(network), *mac_match(10, gateway.mac),
                                    flags(INGRESS_SIDE, off=[UPLINK])], raised(MISMATCH))
        yield make_flow(PARTY, 40, [network_match(network), *mac_match(10, gateway.mac)],
                        raised(VIA_GATEWAY), goto(RESOLVE), goto(CLASSIFY))


def _gateway_address_flows(network: int, address: Prefix, mac: Optional[str]) -> Iterator[Flow]:
    known = (network_match(network), *address_match(address))
    party = (*known, *(mac_match(10, mac) if mac else ()))
    yield make_flow(PARTY, 60, [*known, flags(INGRESS_SIDE, off=[UPLINK])], raised(MISMATCH))
    # Its ICMP errors concern those, too, who may talk to single addresses outside.
    yield make_flow(PARTY, 50, [*party, flags(CONTROL)], raised(PLAIN))
    # Its own addresses count as outside: a VM that may leave may ping it.
    yield make_flow(PARTY, 49, party, raised(EXTERNAL), goto(PEERS))
    if mac:
        yield make_flow(PARTY, 45, known, raised(MISMATCH))
        yield make_flow(RESOLVE, PRIORITY_GATEWAY, known, load_mac(8, mac), raised(FOUND))
