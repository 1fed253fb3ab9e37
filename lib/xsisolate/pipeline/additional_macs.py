"""Additional MAC addresses: VIFs send from them, and what is sent to them finds the right VIF.

A frame keeps the addresses that it has, while the VIF is judged by its own one. Of a sender the
port tells which VIF it is. Several VIFs may share an additional address, as VRRP's routers do:
PLACE has learned which spoke by it last, here or beyond the uplink. For the judgement a frame to
it then goes under that VIF's own address, and METADATA keeps the one to deliver it by; so it does
with the broadcast that a request was, since such a VIF may listen to that alone.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.port_security import NO_LINK_LAYER
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ANNOUNCE, ANSWERS, BIND, CLAIM, CLASSIFY, CONTROL, DELIVER,
                                       DESTINATION, EGRESS, FOUND, FOUND_ISOLATED, FULL,
                                       INGRESS_SIDE, ISOLATED, ISOLATED_DROP, LINK_LAYER, LOCAL,
                                       PARTY, PASS, PEERS, PLACE, REMOTE, REMOTELY, RESOLVING,
                                       RULES, SEEK, SEEKING, SETTLE, SOUGHT, SOURCE, SPOOFED,
                                       TO_LOCAL, TO_REMOTE, TO_UPLINK, TRIED, UNKNOWN_NETWORK,
                                       UPLINK)
from xsisolate.pipeline.terms import (KEEP_DESTINATION, KEPT, NOT_KEPT, RESTORE_DESTINATION,
                                      Attachment, address_match, cleared, flags, goto, icmp6,
                                      load_mac, lowered, mac_match, mac_number, network_match,
                                      outputs, raised, unknown_priority)
from xsisolate.policy.additional_macs import is_range
from xsisolate.policy.model import Prefix
from xsisolate.typing_compat import Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

# A single address counts before a gateway's (45) and VRRP's ranges, behind a VIF's own (50).
PRIORITY_SINGLE, PRIORITY_RANGE = 49, 44
TO_THE_UPLINK = '%s,%s' % (raised(TO_UPLINK), goto(PASS))
ASKED_ALOUD = 'clone(%s,%s)' % (cleared(*ANSWERS), TO_THE_UPLINK)


class Shared(NamedTuple):
    """An additional MAC address, or a range of them, on a network."""

    match: str                      # of dl_src or dl_dst
    holders: Tuple[str, ...]        # own MAC addresses of the VIFs of this host that may use it
    elsewhere: bool                 # a VIF beyond the uplink may, too
    isolated: bool                  # one of the holders is


# --- a VIF of this host ------------------------------------------------------------------------


def link_layer_flows() -> Iterator[Flow]:
    """Yield the fixed flows: what refuses another's address in ARP and neighbour discovery."""
    yield make_flow(LINK_LAYER, 0, [''], because(Reason.CLAIM, SPOOFED))
    yield make_flow(PLACE, 0, [''])


def port_flows(ofport: int, networks: Iterable[int], mac: str, additional: Sequence[str],
               cookie: int) -> Iterator[Flow]:
    """Yield what binds a port to several MAC addresses; each goes with each in ARP and ND."""
    port, here = 'in_port=%d' % ofport, load_mac(10, mac)
    for own in (mac, *additional):
        source = 'dl_src=%s' % own
        for match in ('arp', icmp6(135), icmp6(136)):
            yield make_flow(BIND, 110, [port, source, match], goto(LINK_LAYER))
        yield make_flow(BIND, 50, [port, source], goto(CLAIM))
        yield make_flow(LINK_LAYER, 10, [port, 'arp', 'arp_sha=%s' % own], goto(CLAIM))
        for kind, field in ((135, 'nd_sll'), (136, 'nd_tll')):
            yield make_flow(LINK_LAYER, 10, [port, icmp6(kind), '%s=%s' % (field, own)],
                            goto(CLAIM))
    for kind, field in ((135, 'nd_sll'), (136, 'nd_tll')):
        yield make_flow(LINK_LAYER, 10, [port, icmp6(kind), '%s=%s' % (field, NO_LINK_LAYER)],
                        goto(CLAIM))
    for match in additional:
        yield make_flow(PARTY, 70, [port, *mac_match(10, match), flags(INGRESS_SIDE)], here,
                        goto(PARTY))
        for network in networks:
            # before what copies questions of DHCP (110): leases are for a VIF's own address
            yield make_flow(SETTLE, 115, [port, network_match(network), 'dl_src=%s' % match],
                            _learn(cookie, _send_to(mac)), goto(DESTINATION))


def _learn(cookie: int, place: str) -> str:
    return ('learn(table=%d,priority=100,cookie=0x%x,NXM_NX_REG13[],'
            'NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],%s)' % (PLACE, cookie, place))


def _send_to(mac: str) -> str:
    return 'load:0x%x->NXM_OF_ETH_DST[]' % mac_number(mac)


def endpoint_flows(network: int, mac: str, links: Iterable[Attachment], arriving: bool,
                   asked: Optional[str]) -> Iterator[Flow]:
    """Yield a VIF's delivery under the address in the frame, and its own policy by its ports.

    `asked` are the actions that ask the sets of peers of an isolated VIF, None of others.
    """
    where = network_match(network)
    yield make_flow(LOCAL, 120, [where, 'dl_dst=%s' % mac, KEPT], RESTORE_DESTINATION,
                    *((goto(ANNOUNCE),) if arriving else ()), *outputs(network, links))
    if asked is None:
        return
    for link in sorted(links):
        port = 'in_port=%d' % link.ofport
        yield make_flow(PEERS, 11, [port, where, flags(off=[INGRESS_SIDE])], asked)
        yield make_flow(ISOLATED_DROP, 21, [port, where, flags(ISOLATED, off=[INGRESS_SIDE])],
                        goto(FULL))


def placed_here(network: int, additional: str, mac: str) -> Flow:
    """Return what SETTLE learns of an additional address when a VIF of this host uses it."""
    return make_flow(PLACE, 100, [network_match(network), 'dl_dst=%s' % additional], _send_to(mac))


def remote_flows(asked: Tuple[str, ...], mac: str, additional: Iterable[str]) -> Iterator[Flow]:
    """Yield by which MAC addresses a member on another host is known, too, and how it is asked."""
    who = (*asked, *mac_match(8, mac))
    for match in additional:
        yield make_flow(REMOTE, 20, [*who, *mac_match(10, match)], raised(TO_REMOTE), goto(RULES))
    yield make_flow(REMOTE, 55, [*who, flags(SEEKING)], ASKED_ALOUD, raised(TRIED))


# --- a network ---------------------------------------------------------------------------------


def shared_flows(network: int, shared: Shared, cookie: int) -> Iterator[Flow]:
    """Yield who else may not use an additional address, and where frames for it go."""
    where, priority = network_match(network), PRIORITY_RANGE if is_range(
        shared.match) else PRIORITY_SINGLE
    source, target = 'dl_src=%s' % shared.match, 'dl_dst=%s' % shared.match
    yield make_flow(SOURCE, priority, [where, source,
                                       flags(off=[UPLINK]) if shared.elsewhere else ''])
    yield make_flow(SOURCE, unknown_priority(network), [network_match(UNKNOWN_NETWORK), source])
    if shared.isolated:
        yield make_flow(DESTINATION, unknown_priority(network),
                        [network_match(UNKNOWN_NETWORK), target], goto(ISOLATED_DROP))
    if not shared.holders:
        yield make_flow(DESTINATION, priority, [where, target], raised(TO_REMOTE), goto(EGRESS))
        return
    yield make_flow(DESTINATION, priority, [where, target, NOT_KEPT], KEEP_DESTINATION,
                    goto(PLACE), goto(DESTINATION))
    # No VIF has spoken by it yet, or it is beyond the uplink and the uplink asks: all are told.
    here = ['clone(%s,%s,%s)' % (lowered(TO_REMOTE), _send_to(mac), goto(DESTINATION))
            for mac in shared.holders]
    yield make_flow(DESTINATION, priority - 3, [where, target], *here)
    # NORMAL is not taught where it is: a verdict that NORMAL has part in is renewed when the
    # address moves, and would send a copy of what is said next to where it was.
    for order, flag, table in ((40, TO_LOCAL, LOCAL), (39, TO_UPLINK, ANNOUNCE),
                               (38, TO_REMOTE, REMOTELY)):
        yield make_flow(DELIVER, order, [where, source, flags(flag)], goto(table))
    if shared.elsewhere:
        yield make_flow(SOURCE, priority - 1, [where, source],
                        _learn(cookie, raised(TO_REMOTE)), goto(DESTINATION))
        yield make_flow(DESTINATION, priority - 1, [where, target, flags(TO_REMOTE, off=[UPLINK])],
                        goto(EGRESS))
        yield make_flow(DESTINATION, priority - 2, [where, target, flags(off=[UPLINK])], *here,
                        raised(TO_REMOTE), goto(EGRESS))


def reserved_flow(network: int, mac: str) -> Flow:
    """Return what keeps a gateway's MAC address from VIFs that may use all of VRRP's."""
    return make_flow(SETTLE, 120, [network_match(network), 'dl_src=%s' % mac],
                     because(Reason.MAC, SPOOFED))


def sharer_flows(network: int, mac: str, additional: Iterable[str],
                 addresses: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield that a VIF elsewhere shares addresses with VIFs of this host.

    The asker's sets of peers know it, and by which MAC addresses.
    """
    for address in addresses:
        for match in (mac, *additional):
            yield make_flow(CLASSIFY, 51, [network_match(network), *address_match(address),
                                           *mac_match(10, match), flags(FOUND)],
                            cleared(FOUND, FOUND_ISOLATED), goto(PEERS))


def sought_elsewhere_flows(network: int, address: Prefix, role: bool) -> Iterator[Flow]:
    """Yield that an address of this host is asked for aloud beyond the uplink, too.

    A VIF with additional MAC addresses may listen to nothing else. All may ask for the holder of
    a role, for another those whose policy admits it.
    """
    here = (network_match(network), *address_match(address))
    question = TO_THE_UPLINK if role else '%s,%s' % (raised(CONTROL, RESOLVING, SEEKING),
                                                     goto(PEERS))
    yield make_flow(SEEK, 95, [*here, flags(ISOLATED, FOUND)],
                    'clone(%s,%s)' % (cleared(*ANSWERS), question), goto(SOUGHT))
    yield make_flow(SEEK, 95, [*here, flags(FOUND_ISOLATED, off=[ISOLATED])],
                    'clone(%s,%s)' % (cleared(*ANSWERS), goto(PASS)), goto(SOUGHT))


def placed_elsewhere(network: int, additional: str) -> Flow:
    """Return what SOURCE learns of an additional address when one beyond the uplink uses it."""
    return make_flow(PLACE, 100, [network_match(network), 'dl_dst=%s' % additional],
                     raised(TO_REMOTE))
