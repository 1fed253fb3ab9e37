"""PARTY..PEERS: what is at the other end, and does the asker admit it?

One question serves both directions and the claims of port_security.py. The caller
puts the other end's address and MAC address into registers; the answer is in
the flags PLAIN, REQUEST, REPLY_ONLY or, as a veto, MISMATCH.

A member's address goes with a member's MAC address. A gateway speaks for its
own addresses and for those outside the network; what it forwards between two
addresses of the network is judged by those addresses.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.tables import (CLAIMING, CLASSIFY, CONTROL, EXTERNAL, FORWARDER, FOUND,
                                       FOUND_ISOLATED, INGRESS_SIDE, MEMBER, MISMATCH, PAIR, PARTY,
                                       PEERS, PLAIN, RESOLVE, RESOLVING, TO_LOCAL, TO_UPLINK, TRIED,
                                       UPLINK, VIA_GATEWAY)
from xsisolate.pipeline.terms import (NEXT_OWNER, RESOLVED_TO_PARTY, address_match, cleared, flags,
                                      goto, load_mac, mac_match, network_match, number, raised)
from xsisolate.policy.additional_macs import is_range
from xsisolate.policy.address import LINK_LOCAL, NEVER_EXTERNAL
from xsisolate.policy.model import GATEWAY, Gateway, Network, Prefix
from xsisolate.typing_compat import AbstractSet, Iterable, Iterator, Mapping, Tuple

OWNERS_MAX = 16             # NEXT_OWNER can count one more; each is a step more for a packet
PRIORITY_RESOLVE = 100      # plus the prefix length
PRIORITY_GATEWAY = 400      # no other machine speaks for a gateway's address


def party_flows() -> Iterator[Flow]:
    """Yield the fixed flows that find out what the other end is."""
    yield make_flow(PARTY, 0, [''], goto(RESOLVE), goto(CLASSIFY))
    # Behind a gateway an address stands for its own MAC address.
    # It forwards for a neighbour, but does not answer for one. No router forwards
    # link-local addresses; a router advertises itself by one that is not configured.
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
    # A gateway that is a VIF of this host speaks for what is outside.
    yield make_flow(CLASSIFY, 12, [flags(CLAIMING, FORWARDER)], raised(EXTERNAL), goto(PEERS))
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
                         isolated: bool, roles: AbstractSet[str] = frozenset()) -> Iterator[Flow]:
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
    if GATEWAY in roles:
        yield make_flow(PARTY, 40, party, raised(VIA_GATEWAY), goto(RESOLVE), goto(CLASSIFY))
    else:       # a known MAC address with an address that is nobody's
        yield make_flow(CLASSIFY, 45, [*party, flags(off=[FOUND])], raised(MISMATCH))
    for address in sorted(addresses) if roles else ():
        yield from _holder_address_flows((network_match(network), *address_match(address),
                                          *mac_match(10, mac)), roles, PAIR)


def _holder_address_flows(party: Tuple[str, ...], roles: AbstractSet[str],
                          *known: int) -> Iterator[Flow]:
    """Yield what all others may always say to a holder of roles about its own address."""
    if GATEWAY not in roles:
        yield make_flow(PARTY, 50, [*party, flags(RESOLVING)], raised(*known, PLAIN))
        return
    # Its ICMP errors concern those, too, who may talk to single addresses outside.
    yield make_flow(PARTY, 50, [*party, flags(CONTROL)], raised(*known, PLAIN))
    # Its own addresses count as outside: a VM that may leave may ping it.
    yield make_flow(PARTY, 49, party, raised(*known, EXTERNAL), goto(PEERS))


def ask(peer_sets: Iterable[int]) -> str:
    """Return the actions that ask sets of peers."""
    return ','.join('load:0x%x->NXM_NX_REG12[],%s' % (peers, goto(MEMBER)) for peers in peer_sets)


def asker_flows(network: int, mac: str, peer_sets: Iterable[int]) -> Iterator[Flow]:
    """Yield which sets of peers are asked on behalf of an isolated VIF, in both directions."""
    asked = ask(peer_sets)
    for field, side in (('dl_src', flags(off=[INGRESS_SIDE])), ('dl_dst', flags(INGRESS_SIDE))):
        yield make_flow(PEERS, 10, [network_match(network), '%s=%s' % (field, mac), side], asked)


def network_party_flows(network: int, facts: Network, named: AbstractSet[str],
                        owners: Mapping[Prefix, int]) -> Iterator[Flow]:
    """Yield the network's inside and those that hold roles elsewhere; `named`: which are known.

    `owners` says of which of their addresses VIFs of this host are owners, too, and how many.
    """
    for subnet in facts.subnets:
        yield make_flow(CLASSIFY, 20, [network_match(network), *address_match(subnet)],
                        goto(PEERS))
    if GATEWAY in named:
        # `external` leaves only towards a gateway.
        yield make_flow(CLASSIFY, 10, [network_match(network), flags(off=[VIA_GATEWAY])],
                        goto(PEERS))
    # A router of unknown MAC address advertises itself by a link-local one.
    routers = [LINK_LOCAL] if any(not gateway.mac for gateway in facts.gateways) else []
    for address in [*routers, *sorted(facts.dhcp_servers)]:
        yield from _resolving_flows(network, address)
    turns = dict(owners)
    for gateway in facts.gateways:
        for address in filter(None, (gateway.ipv4, gateway.ipv6)):
            yield from _gateway_address_flows(network, address, gateway, turns.get(address, 0),
                                              address in owners)
            turns[address] = turns.get(address, 0) + bool(
                gateway.mac and not is_range(gateway.mac))
        if gateway.mac:
            yield from _gateway_flows(network, gateway.mac, gateway.roles)


def _resolving_flows(network: int, address: Prefix) -> Iterator[Flow]:
    """Yield how somebody beyond the uplink, of unknown MAC address, resolves and is resolved.

    It may ask for its clients' addresses and be asked for its own; it may do nothing else by this.
    """
    where = (network_match(network), *address_match(address))
    yield make_flow(CLASSIFY, 33, [*where, flags(RESOLVING, INGRESS_SIDE, UPLINK)],
                    raised(PLAIN), goto(PEERS))
    yield make_flow(CLASSIFY, 33, [*where, flags(RESOLVING, off=[INGRESS_SIDE, TO_LOCAL])],
                    raised(PLAIN, TO_UPLINK), goto(PEERS))


def _gateway_flows(network: int, mac: str, roles: AbstractSet[str]) -> Iterator[Flow]:
    # No VIF of this host speaks for it.
    yield make_flow(PARTY, 60, [network_match(network), *mac_match(10, mac),
                                flags(INGRESS_SIDE, off=[UPLINK])], raised(MISMATCH))
    if GATEWAY in roles:
        yield make_flow(PARTY, 40, [network_match(network), *mac_match(10, mac)],
                        raised(VIA_GATEWAY), goto(RESOLVE), goto(CLASSIFY))


def _gateway_address_flows(network: int, address: Prefix, gateway: Gateway, turn: int,
                           ours: bool) -> Iterator[Flow]:
    """Yield whose address it is; several may take turns, VIFs of this host before them (`ours`)."""
    known = (network_match(network), *address_match(address))
    party = (*known, *(mac_match(10, gateway.mac) if gateway.mac else ()))
    if not ours:
        yield make_flow(PARTY, 60, [*known, flags(INGRESS_SIDE, off=[UPLINK])], raised(MISMATCH))
    yield from _holder_address_flows(party, gateway.roles)
    if GATEWAY not in gateway.roles:        # beside its roles it is a peer like others elsewhere
        yield make_flow(PARTY, 49, party, goto(PEERS))
    if gateway.mac and not ours:
        yield make_flow(PARTY, 45, known, raised(MISMATCH))
    if gateway.mac and turn < OWNERS_MAX and not is_range(gateway.mac):
        yield make_flow(RESOLVE, PRIORITY_GATEWAY, [network_match(network), *address_match(
            address, turn)], load_mac(8, gateway.mac), raised(FOUND))
