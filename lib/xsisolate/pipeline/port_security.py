"""BIND..SETTLE: every field of a managed VIF's frame that names its sender must be true.

The MAC addresses in Ethernet, ARP and ND headers are compared with the VIF's
own here, per port. Each address that the frame claims is then put to the same
question, "whose is this?", that finds peers (peer_lookup.py): it must resolve to the
sender's own MAC address. So a VIF costs a constant and one flow per address.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ANSWERS, ARRIVED, BIND, CLAIM, CLAIM_TARGET, CLAIMED,
                                       CLAIMING, CLASSIFY, DESTINATION, EXTERNAL, FORWARDER, FULL,
                                       ISOLATED, LOCAL, PAIR, RESOLVE, SETTLE, SOURCE, SPOOFED,
                                       UPLINK)
from xsisolate.pipeline.terms import (FROM_ARP_SOURCE, FROM_ARP_TARGET,
                                      FROM_IPV4_SOURCE, FROM_IPV6_SOURCE, FROM_ND_TARGET,
                                      UNICAST_MAC, cleared, fixed_tag, flags, goto, icmp6, lowered,
                                      network_match, raised)
from xsisolate.typing_compat import Iterator

UNSPECIFIED6 = 'ipv6_src=::'
NO_LINK_LAYER = '00:00:00:00:00:00'     # how an absent ND option reads
ASK = ','.join((goto(RESOLVE), goto(CLASSIFY)))


def identity_flows() -> Iterator[Flow]:
    """Yield the fixed flows that check what a managed VIF claims to be."""
    for match in ('arp', icmp6(135), icmp6(136)):
        yield make_flow(BIND, 100, [match], because(Reason.CLAIM, SPOOFED))
    # Open vSwitch clears the target of a message whose options it finds
    # malformed or doubled; a forged link-layer option would hide in there.
    for kind in (135, 136):
        yield make_flow(BIND, 120, [icmp6(kind), 'nd_target=::'],
                        because(Reason.CLAIM, SPOOFED))
    yield make_flow(BIND, 0, [''], because(Reason.MAC, SPOOFED))
    yield from _claim_flows()
    yield make_flow(CLAIM_TARGET, 10, [icmp6(136), flags(PAIR)], *_claim(FROM_IPV6_SOURCE),
                    goto(CLAIMED))
    yield make_flow(CLAIM_TARGET, 0, [''], because(Reason.CLAIM, SPOOFED))
    yield make_flow(CLAIMED, 10, [flags(PAIR)], cleared(*ANSWERS), goto(SETTLE))
    # A gateway forwards what is not its own: it is asked about that no more than one elsewhere.
    yield make_flow(CLAIMED, 9, [icmp6(135)], because(Reason.CLAIM, SPOOFED))
    for family in ('ip', 'ipv6'):
        yield make_flow(CLAIMED, 8, [family, UNICAST_MAC, flags(FORWARDER, EXTERNAL)],
                        cleared(*ANSWERS), lowered(ISOLATED), goto(SETTLE))
    yield make_flow(CLAIMED, 0, [''], because(Reason.ADDRESS, SPOOFED))
    yield make_flow(SPOOFED, 0, [''])


def _claim(*address: str) -> Iterator[str]:
    yield cleared(*ANSWERS)
    yield raised(CLAIMING)
    yield from address
    yield ASK


def _claim_flows() -> Iterator[Flow]:
    """Yield, per kind of packet, which address must be the sender's own."""
    for priority, match, address in (
            # RFC 5227: a probe has no sender yet; what it claims is the target.
            (110, 'arp,arp_op=1,arp_spa=0.0.0.0', FROM_ARP_TARGET),
            (100, 'arp', FROM_ARP_SOURCE),
            (100, 'ip', FROM_IPV4_SOURCE),
            # Duplicate address detection: no source, no link-layer option.
            (110, icmp6(135, UNSPECIFIED6, 'nd_sll=' + NO_LINK_LAYER), FROM_ND_TARGET),
            (100, 'ipv6', FROM_IPV6_SOURCE)):
        yield make_flow(CLAIM, priority, [match], *_claim(address), goto(CLAIMED))
    yield make_flow(CLAIM, 110, [icmp6(136)], *_claim(FROM_ND_TARGET), goto(CLAIM_TARGET))
    yield make_flow(CLAIM, 105, [icmp6(135, UNSPECIFIED6)], because(Reason.CLAIM, SPOOFED))
    # Before it has an address a host says only this.
    for match in ('udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67',
                  icmp6(133, UNSPECIFIED6, 'ipv6_dst=ff02::2'),
                  icmp6(131, UNSPECIFIED6, 'ipv6_dst=ff02::/16'),
                  icmp6(143, UNSPECIFIED6, 'ipv6_dst=ff02::/16')):
        yield make_flow(CLAIM, 120, [match], goto(SETTLE))
    yield make_flow(CLAIM, 0, [''], because(Reason.KIND, SPOOFED))


def port_identity_flows(ofport: int, mac: str) -> Iterator[Flow]:
    """Yield what binds a port to its MAC address."""
    port, own = 'in_port=%d' % ofport, 'dl_src=%s' % mac
    yield make_flow(BIND, 110, [port, own, 'arp', 'arp_sha=%s' % mac], goto(CLAIM))
    for link_layer in (mac, NO_LINK_LAYER):
        yield make_flow(BIND, 110, [port, own, icmp6(135), 'nd_sll=%s' % link_layer], goto(CLAIM))
        yield make_flow(BIND, 110, [port, own, icmp6(136), 'nd_tll=%s' % link_layer], goto(CLAIM))
    yield make_flow(BIND, 50, [port, own], goto(CLAIM))


def spoof_count_flow(ofport: int) -> Flow:
    """Return the flow whose packet count is a VIF's frames dropped as spoofed."""
    return make_flow(SPOOFED, 10, ['in_port=%d' % ofport], goto(FULL))


def settle_flow(ofport: int, network: int, tagged: bool, cookie: int, arrived: bool = False,
                permissive: bool = False) -> Flow:
    """Return the flow that learns, from a VIF's first valid frame, that it lives here.

    Until then the VIF may still be running on the host it migrates from: what
    is meant for it goes both ways, and its frames may come in from the uplink.
    One that has `arrived` by migration may go on with what it said there (connections.py).
    Of a `permissive` one the uplink is not kept from using the MAC address.
    """
    deliver = ('learn(table=%d,priority=100,cookie=0x%x,NXM_NX_REG13[],'
               'NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],%s,'
               'output:NXM_OF_IN_PORT[])' % (LOCAL, cookie, fixed_tag(network, tagged)))
    refuse = ('learn(table=%d,priority=96,cookie=0x%x,NXM_NX_REG15[%d]=0x1,NXM_NX_REG13[],'
              'NXM_OF_ETH_SRC[])' % (SOURCE, cookie, UPLINK))
    return make_flow(SETTLE, 100, ['in_port=%d' % ofport, network_match(network)], deliver,
                     *(() if permissive else (refuse,)), *((goto(ARRIVED),) if arrived else ()),
                     goto(DESTINATION))


def settled_flows(network: int, tagged: bool, mac: str, ofport: int,
                  permissive: bool = False) -> Iterator[Flow]:
    """Yield what settle_flow learns, as the switch reads it back."""
    where = network_match(network)
    yield make_flow(LOCAL, 100, [where, 'dl_dst=%s' % mac], fixed_tag(network, tagged),
                    'output:%d' % ofport)
    if not permissive:
        yield make_flow(SOURCE, 96, [where, 'dl_src=%s' % mac, flags(UPLINK)])
