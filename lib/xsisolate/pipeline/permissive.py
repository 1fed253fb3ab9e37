"""A permissive VIF: a clone of each frame is judged by its policy, and the frame itself passes.

                            ┌─► clone(JUDGED): as an enforced VIF's, GUARD ... EGRESS   drops are
    permissive VIF's port ──┤                                                           recorded
                            └─► as XAPI's own locking mode says                         is delivered

                            ┌─► clone(JUDGED, FOR_RECEIVER): INGRESS ... REPLY          drops are
    INGRESS of such a VIF ──┤                                                           recorded
                            └─► ACCEPT                                                  is delivered

A judged frame never leaves, with one exception: SPREAD gives what a group's member says aloud to
the enforced members, for floods leave these out.

All others believe of such a VIF what its policy says, and that frames under its MAC address are its
own only if they come from its port: nothing else keeps strangers from using that address.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.entry import FROM_TAG, RETAG, load_network
from xsisolate.pipeline.multicast import INFRASTRUCTURE, TO_GROUPS_ONLY
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ACCEPT, ANSWERS, CLAIMING, CLASSIFY, COMMIT, DESTINATION,
                                       EGRESS, ESTABLISHED, FANOUT, FLOODED, FOR_RECEIVER, FOUND,
                                       FOUND_ISOLATED, FULL, GUARD, INGRESS, INGRESS_SIDE, ISOLATED,
                                       ISOLATED_DROP, ITS_OWN, JUDGED, MANAGED, MISMATCH, MULTICAST,
                                       NETWORK, PAIR, PARTY, PASS, PRIORITY_PORT, ROLE_FLAGS, SEEK,
                                       SOUGHT, SOURCE, SPOOFED, SPREAD, TAG_ALLOWED, TO_ISOLATED,
                                       TO_LOCAL, TO_PERMISSIVE, TRACK_TFTP, UPLINK)
from xsisolate.pipeline.terms import (KEPT, Attachment, address_match, cleared, flags, goto, icmp6,
                                      load_mac, lowered, mac_match, network_match, noted, notes,
                                      outputs, raised, unnoted)
from xsisolate.policy.model import Prefix
from xsisolate.typing_compat import Iterable, Iterator, NamedTuple, Sequence, Tuple

OF_SENDER = notes(JUDGED, off=[FOR_RECEIVER])   # its policy is asked, and not the receiver's
FOR_THE_RECEIVER = '%s,%s' % (noted(JUDGED), noted(FOR_RECEIVER))


class Judgement(NamedTuple):
    """How a permissive VIF's frames are judged, and how they pass."""

    mac: str
    bits: Tuple[int, ...]       # flags by its policy
    locked: bool                # XAPI locks it: what it sends is judged as a locked VIF's

    @property
    def passing(self) -> Tuple[int, ...]:
        """The flags of the frames that pass."""
        roles = tuple([bit for bit in self.bits if bit in ROLE_FLAGS])
        return (MANAGED, *roles) if self.locked else roles


def permissive_flows() -> Iterator[Flow]:
    """Yield the fixed flows: what a judged frame is asked, and where it ends."""
    yield make_flow(DESTINATION, 110, [OF_SENDER, flags(off=[ISOLATED])])   # nobody else is asked
    yield make_flow(INGRESS, 220, [OF_SENDER], goto(ACCEPT))
    yield make_flow(INGRESS, 210, [notes(TO_PERMISSIVE)], 'clone(%s)' % ','.join((
        unnoted(TO_PERMISSIVE), FOR_THE_RECEIVER, raised(TO_LOCAL, TO_ISOLATED), lowered(COMMIT),
        lowered(ESTABLISHED), lowered(TRACK_TFTP), goto(INGRESS))), goto(ACCEPT))
    yield make_flow(PASS, 100, [notes(JUDGED)])
    yield make_flow(FANOUT, 100, [notes(JUDGED)])
    for match in INFRASTRUCTURE:
        yield make_flow(MULTICAST, 199, [match, notes(JUDGED)])
    yield make_flow(MULTICAST, 199, [icmp6(136), notes(JUDGED)], *TO_GROUPS_ONLY)
    yield make_flow(SEEK, 115, [flags(CLAIMING, PAIR), notes(JUDGED)], *TO_GROUPS_ONLY)
    # What it asks of enforced VIFs is flooded to all others, too.
    yield make_flow(SEEK, 85, [flags(FOUND_ISOLATED), notes(ITS_OWN)],
                    'clone(%s,%s)' % (noted(FLOODED), goto(SOUGHT)), cleared(*ANSWERS), goto(PASS))
    # Not among what the drop flows of a VIF count: it has passed.
    yield make_flow(SPOOFED, 100, [notes(JUDGED)], goto(FULL))
    yield make_flow(ISOLATED_DROP, 90, [notes(JUDGED)], goto(FULL))


# --- what it sends -----------------------------------------------------------------------------


def port_flow(ofport: int, network: int, judgement: Judgement) -> Flow:
    """Return the hook for what a permissive VIF sends."""
    return make_flow(0, PRIORITY_PORT, ['in_port=%d' % ofport, 'reg15=0'],
                     *_actions(network, judgement, ()))


def trunk_port_flows(ofport: int, networks: Iterable[int],
                     judgement: Judgement) -> Iterator[Flow]:
    """Yield the hooks for what a permissive trunk VIF sends, by VLAN tag."""
    port = 'in_port=%d' % ofport
    for network in networks:
        vlan = network & 0xfff
        tag = 'dl_vlan=%d' % vlan if vlan else 'vlan_tci=0x0000/0x1000'
        yield make_flow(0, PRIORITY_PORT, [port, 'reg15=0', tag], *_actions(
            network, judgement._replace(bits=(*judgement.bits, TAG_ALLOWED)),
            RETAG if vlan else ()))
    refused = (load_network(NETWORK), raised(MANAGED), because(Reason.VLAN, SPOOFED))
    passing = refused if judgement.locked else (*FROM_TAG, goto(SOURCE))
    yield make_flow(0, PRIORITY_PORT - 1, [port, 'reg15=0'],
                    'clone(%s)' % ','.join((noted(JUDGED), *refused)), *passing)


def _actions(network: int, judgement: Judgement, retag: Tuple[str, ...]) -> Iterator[str]:
    here = (load_network(network), load_mac(10, judgement.mac))
    yield 'clone(%s)' % ','.join((*retag, *here, raised(*judgement.bits), noted(JUDGED),
                                  goto(GUARD)))
    passing = [raised(*judgement.passing)] if judgement.passing else []
    if judgement.locked:
        allowed = [raised(TAG_ALLOWED)] if TAG_ALLOWED in judgement.bits else []
        yield from (*retag, *here, *passing, *allowed, noted(ITS_OWN), goto(GUARD))
    else:
        yield from (here[0], *passing, goto(SOURCE))


def own_address_flows(ofport: int, macs: Iterable[str]) -> Iterator[Flow]:
    """Yield that frames under a VIF's MAC addresses are its own, from its port."""
    for mac in macs:
        yield make_flow(SOURCE, 60, ['in_port=%d' % ofport, 'dl_src=%s' % mac], noted(ITS_OWN),
                        goto(DESTINATION))


def fence_flows(ofport: int, network: int, fence: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield that a VIF which XAPI locks passes with all addresses that XAPI gives it."""
    for address in sorted(fence):
        yield make_flow(CLASSIFY, 70, ['in_port=%d' % ofport, network_match(network),
                                       *address_match(address), flags(CLAIMING),
                                       notes(off=[JUDGED])], raised(PAIR))


# --- what it is sent, and what others believe of it --------------------------------------------


def stranger_flow(network: int, mac: str, arriving: bool) -> Flow:
    """Return that frames under its MAC address from elsewhere are nobody's whom policies admit."""
    return make_flow(PARTY, 75, [network_match(network), *mac_match(10, mac),
                                 flags(INGRESS_SIDE, off=[UPLINK] if arriving else ()),
                                 notes(off=[ITS_OWN])], raised(MISMATCH))


def destination_flows(network: int, mac: str, isolated: bool, aliased: bool) -> Iterator[Flow]:
    """Yield what happens to unicast frames for a permissive VIF.

    An enforced VIF's are delivered to its port: nothing else may see them. Others' are switched.
    `aliased`: it has additional MAC addresses, and a frame may have been sent to one.
    """
    here = (network_match(network), 'dl_dst=%s' % mac)
    directly = (raised(TO_LOCAL), goto(DESTINATION))
    yield make_flow(DESTINATION, 61, [*here, flags(ISOLATED, off=[TO_LOCAL])], *directly)
    if aliased:
        yield make_flow(DESTINATION, 60, [*here, KEPT, flags(off=[TO_LOCAL])], *directly)
    # It hears the flood.
    yield make_flow(DESTINATION, 62, [*here, notes(FLOODED, off=[JUDGED])], FOR_THE_RECEIVER,
                    goto(DESTINATION))
    if isolated:
        yield make_flow(DESTINATION, 50, here, noted(TO_PERMISSIVE), goto(EGRESS))


def sought_flows(network: int, mac: str, shared: Iterable[Prefix]) -> Iterator[Flow]:
    """Yield that requests for its addresses are judged, and flooded.

    An enforced VIF that shares an address, too, is asked as always: no flood reaches it.
    """
    found = (network_match(network), *mac_match(8, mac), flags(FOUND, off=[ISOLATED, CLAIMING]))
    flood = (cleared(*ANSWERS), goto(PASS))
    yield make_flow(SEEK, 75, found, 'clone(%s,%s)' % (FOR_THE_RECEIVER, goto(SOUGHT)), *flood)
    for address in sorted(shared):
        yield make_flow(SEEK, 76, [*found, *address_match(address)],
                        'clone(%s,%s)' % (noted(FLOODED), goto(SOUGHT)), *flood)


def enforced_spread_flow(peers: int, network: int, links: Sequence[Attachment]) -> Flow:
    """Return what spreads a permissive member's multicast: others hear the frame that passes."""
    return make_flow(SPREAD, 20, ['reg12=0x%x' % peers, network_match(network), notes(JUDGED)],
                     raised(FOUND), *outputs(network, links))
