"""FULL..MARK: a frame that was refused leaves a flow of its own, which counts those like it.

    SPOOFED, ISOLATED_DROP ─► FULL ─► RECORD ─► DESCRIBE ─► DETAIL    what it is, in registers
                                         ├────► REFUSED               learned: one flow a kind
                                         └────► MARK                  the record is full

The switch learns the flow, and forgets it when nothing has met it for a while. Of what a managed
VIF sends so many are kept for the VIF, whoever refuses it; of what comes from elsewhere so many
for its receiver. When they are, a mark in FULL ends the frames of that sender, or to that receiver,
before anything is asked of their addresses and ports: so a scan fills neither the table nor the
switch's cache. The mark counts what it ends; what was judged only has a mark of its own.

Nothing here sees a frame that passes. The registers of a frame that is dropped are free.
"""
from enum import IntEnum

from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.openflow.ownership import RECORDER
from xsisolate.pipeline.tables import (DESCRIBE, DETAIL, FULL, INGRESS_SIDE, JUDGED, MANAGED,
                                       MARK, MISMATCH, RECORD, REFUSED, RULES, TO_LOCAL, TRACK_TFTP,
                                       UPLINK)
from xsisolate.pipeline.terms import flags, goto, icmp6, network_match, raised
from xsisolate.typing_compat import Iterator, Tuple

KINDS_MAX = 32          # flows learned for a VIF as a sender, and as many as a receiver
IDLE_S = 60             # so long a flow outlives the last frame; the daemon reads more often
FULL_S = 10             # so long a mark lasts


class Reason(IntEnum):
    """Why a frame was refused, where no policy was asked or would have been."""

    POLICY = 0          # see the bits beside it
    MAC = 1
    ADDRESS = 2
    CLAIM = 3           # in ARP or neighbour discovery
    DHCP = 4
    ROUTER = 5
    VLAN = 6
    SWITCH = 7          # STP, LACP and the like
    QUERIER = 8         # IGMP, MLD
    REDIRECT = 9
    PIECES = 10         # fragments and headers behind which the switch cannot see
    KIND = 11           # neither IPv4, IPv6 nor ARP
    CONTROL = 12        # ICMPv6 that guests do not send
    MULTICAST = 13      # which no group hears
    CLOSED = 14         # the receiver is disabled or in quarantine
    UNASKED = 15        # it might pass as an answer, and nothing is known to have been asked


# A record, in registers: 4..7 the sender's address, 8..11 the receiver's, 13 the network.
NUMBER, PROTOCOL, FROM_PORT = 'NXM_NX_REG12[0..15]', 'NXM_NX_REG12[16..23]', 'NXM_NX_REG12[24]'
ETHER, WHY = 'NXM_NX_REG14[0..15]', 'NXM_NX_REG14[24..31]'
(BIT_MISMATCH, BIT_INGRESS, BIT_SERVICE_EGRESS, BIT_SERVICE_INGRESS, BIT_UPLINK,
 BIT_LOCAL, BIT_WOULD_BE) = range(16, 23)     # of register 14
KEY = ('NXM_OF_IN_PORT[]', 'NXM_NX_REG13[]', 'NXM_OF_ETH_SRC[]', 'NXM_OF_ETH_DST[]',
       'NXM_NX_XXREG1[]', 'NXM_NX_XXREG2[]', 'NXM_NX_REG12[]', 'NXM_NX_REG14[]')
# In METADATA: a peer's frame that no rule of its set admits, by the side that was asked.
NO_SERVICE = 'load:0x1->OXM_OF_METADATA[%d]'
HAS_ROOM = TRACK_TFTP   # a flag that no frame needs any more
SERVER_PORTS = '0x0/0x8000', '0x8000/0x8000'


def because(reason: Reason, table: int) -> str:
    """Return the actions that send a frame to a drop point, and say why."""
    return 'load:0x%x->%s,%s' % (reason, WHY, goto(table))


def refusal_flows() -> Iterator[Flow]:
    """Yield the fixed flows."""
    for side, bit in ((flags(off=[INGRESS_SIDE]), 49), (flags(INGRESS_SIDE), 50)):
        yield make_flow(RULES, 0, [side], NO_SERVICE % bit)
    yield make_flow(FULL, 0, [''], goto(RECORD))
    yield make_flow(RECORD, 0, [''])
    yield from _describing_flows()
    yield from _detail_flows()
    for sender, key in ((flags(MANAGED, off=[HAS_ROOM]), ('NXM_OF_IN_PORT[]',)),
                        (flags(off=[MANAGED, HAS_ROOM]), (
                            'NXM_NX_REG15[%d]=0' % MANAGED, 'NXM_NX_REG13[]', 'NXM_OF_ETH_DST[]'))):
        yield make_flow(MARK, 10, [sender], 'learn(table=%d,hard_timeout=%d,priority=1,cookie=0x%x,'
                        '%s)' % (FULL, FULL_S, RECORDER, ','.join(
                            ('OXM_OF_METADATA[%d]' % JUDGED, *key))))


def _describing_flows() -> Iterator[Flow]:
    """Yield what puts addresses, kind and side of a frame where the learned flow has them."""
    common = (
        'load:0->NXM_NX_REG12[]', 'move:NXM_OF_ETH_TYPE[]->' + ETHER,
        *('move:NXM_NX_REG15[%d]->NXM_NX_REG14[%d]' % pair for pair in (
            (MISMATCH, BIT_MISMATCH), (INGRESS_SIDE, BIT_INGRESS), (UPLINK, BIT_UPLINK),
            (TO_LOCAL, BIT_LOCAL))),
        'move:OXM_OF_METADATA[49..50]->NXM_NX_REG14[%d..%d]' % (
            BIT_SERVICE_EGRESS, BIT_SERVICE_INGRESS),
        'move:OXM_OF_METADATA[%d]->NXM_NX_REG14[%d]' % (JUDGED, BIT_WOULD_BE))
    none = tuple('load:0->NXM_NX_REG%d[]' % number for number in range(4, 12))
    short = (*none[:3], *none[4:7])
    v6 = 'move:NXM_NX_IPV6_SRC[]->NXM_NX_XXREG1[]'
    yield make_flow(DESCRIBE, 30, ['reg14=0x%x/0xff000000' % (Reason.VLAN << 24)], *none, *common,
                    'move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG12[0..11]')
    for match, addresses in (
            ('arp', (*short, 'move:NXM_OF_ARP_SPA[]->NXM_NX_REG7[]',
                     'move:NXM_OF_ARP_TPA[]->NXM_NX_REG11[]')),
            ('ip', (*short, 'move:NXM_OF_IP_SRC[]->NXM_NX_REG7[]',
                    'move:NXM_OF_IP_DST[]->NXM_NX_REG11[]')),
            ('ipv6', (v6, 'move:NXM_NX_IPV6_DST[]->NXM_NX_XXREG2[]'))):
        yield make_flow(DESCRIBE, 10, [match], *addresses, *common, goto(DETAIL))
    for kind in (135, 136):
        yield make_flow(DESCRIBE, 20, [icmp6(kind)], v6, 'move:NXM_NX_ND_TARGET[]->NXM_NX_XXREG2[]',
                        *common, goto(DETAIL))
    yield make_flow(DESCRIBE, 0, [''], *none, *common)


def _detail_flows() -> Iterator[Flow]:
    """Yield which number says what a frame is about: the server's port, a type of ICMP.

    A connection's first packet says which side serves; of others the lower half of the ports does.
    """
    low, high = SERVER_PORTS
    protocol = 'move:NXM_OF_IP_PROTO[]->' + PROTOCOL
    for tcp, udp, sctp in (('tcp', 'udp', 'sctp'), ('tcp6', 'udp6', 'sctp6')):
        for name, fields in ((tcp, 'NXM_OF_TCP'), (udp, 'NXM_OF_UDP'), (sctp, 'OXM_OF_SCTP')):
            to_server = (protocol, 'move:%s_DST[]->%s' % (fields, NUMBER))
            from_server = (protocol, 'move:%s_SRC[]->%s' % (fields, NUMBER),
                           'load:0x1->' + FROM_PORT)
            if name == tcp:
                yield make_flow(DETAIL, 30, [name, 'tcp_flags=+syn-ack'], *to_server)
                yield make_flow(DETAIL, 30, [name, 'tcp_flags=+syn+ack'], *from_server)
            yield make_flow(DETAIL, 20, [name, 'tp_src=' + low, 'tp_dst=' + high], *from_server)
            yield make_flow(DETAIL, 10, [name], *to_server)
    yield make_flow(DETAIL, 10, ['icmp'], protocol,
                    'move:NXM_OF_ICMP_TYPE[]->NXM_NX_REG12[0..7]')
    yield make_flow(DETAIL, 10, ['icmp6'], protocol,
                    'move:NXM_NX_ICMPV6_TYPE[]->NXM_NX_REG12[0..7]')
    yield make_flow(DETAIL, 10, ['arp'], 'move:NXM_OF_ARP_OP[]->' + NUMBER)
    for family in ('ip', 'ipv6'):
        yield make_flow(DETAIL, 5, [family], protocol)
    yield make_flow(DETAIL, 0, [''])


def sender_record_flow(ofport: int, cookie: int) -> Flow:
    """Return what records the refused frames that a VIF has sent, also if that was permitted it."""
    return make_flow(RECORD, 20, ['in_port=%d' % ofport], raised(MANAGED), *_record(cookie))


def receiver_record_flow(network: int, mac: str, cookie: int) -> Flow:
    """Return what records the refused frames for a VIF that come from nobody with a policy."""
    return make_flow(RECORD, 10, [network_match(network), 'dl_dst=%s' % mac,
                                  flags(off=[MANAGED])], *_record(cookie))


def _record(cookie: int) -> Tuple[str, ...]:
    return (goto(DESCRIBE), raised(HAS_ROOM),
            'learn(table=%d,idle_timeout=%d,priority=1,cookie=0x%x,limit=%d,'
            'result_dst=NXM_NX_REG15[%d],%s)' % (
                REFUSED, IDLE_S, RECORDER | cookie & 0xffffffff, KINDS_MAX, HAS_ROOM,
                ','.join(KEY)),
            goto(REFUSED), goto(MARK))
