"""DELIVER..FANOUT: frames that the switch must not flood.

NORMAL floods what it has not learned, or forgotten, so it must not be asked
about a frame that only one port may see. A local VIF is sent its frames
directly; what an isolated VIF sends to a MAC address known to live beyond the
uplink leaves by the uplink, tagged here. A managed VIF's frames come back to it
even on the member of a bond that the bond itself would not use just now, so it
does no harm if the bond and we choose differently for a while.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.decision import answer_flows
from xsisolate.pipeline.entry import other_port_flow, uplink_flow
from xsisolate.pipeline.guard import IGMP_REPORTS
from xsisolate.pipeline.tables import (ANNOUNCE, BIND, CHECKED, DELIVER, FANOUT, GUARD, ISOLATED,
                                       LOCAL, MANAGED, NETWORK, OFPORT_LOCAL, OWN_DELIVERY,
                                       PRIORITY_DELIVER, REMOTELY, TO_ISOLATED, TO_LOCAL, TO_REMOTE,
                                       TO_UPLINK, UPLINK)
from xsisolate.pipeline.terms import (TAG, UNTAG, Attachment, flags, goto, icmp6, network_match,
                                      outputs)
from xsisolate.typing_compat import FrozenSet, Iterable, Iterator, NamedTuple, Optional, Tuple

# The switch's FDB must learn the sender although NORMAL does not carry the
# frame: sent to itself, it is learned from and not forwarded.
LEARN_SENDER = ('push:NXM_OF_ETH_DST[],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],NORMAL,'
                'pop:NXM_OF_ETH_DST[]')


class Topology(NamedTuple):
    """A bridge's ports as the pipeline needs them; ports are OpenFlow numbers."""

    uplinks: Tuple[Tuple[int, ...], ...] = ()   # per uplink its members, the active one first
    others: Tuple[Tuple[str, Optional[int]], ...] = ()  # port and its VLAN tag; None: trunk
    snooping: bool = False                      # the bridge follows IGMP and MLD
    balanced: FrozenSet[int] = frozenset()      # first members of the bonds that use all members
    secure: bool = False                        # fail_closed: without flows nothing passes
    served: Tuple[Tuple[str, int], ...] = ()    # Dom0's controllers and managers: address, port
    label: int = 1                              # of connections that were asked for here: bits


def delivery_flows() -> Iterator[Flow]:
    """Yield the fixed flows that deliver."""
    # Foreign flows may ask NORMAL for a managed VIF, so the FDB must know it; but
    # right after a flush NORMAL floods what it should learn from. ARP and ND may
    # be seen, and come often enough.
    for match in ('arp', icmp6(135), icmp6(136)):
        yield make_flow(DELIVER, 36, [match, flags(TO_LOCAL, MANAGED)], LEARN_SENDER, goto(LOCAL))
        yield make_flow(DELIVER, 21, [match, flags(TO_UPLINK)], LEARN_SENDER, goto(ANNOUNCE))
        yield make_flow(DELIVER, 11, [match, flags(TO_REMOTE)], LEARN_SENDER, goto(REMOTELY))
    yield make_flow(DELIVER, 35, [flags(TO_LOCAL, MANAGED)], goto(LOCAL))
    yield make_flow(DELIVER, 30, [flags(TO_LOCAL)], LEARN_SENDER, goto(LOCAL))
    yield make_flow(DELIVER, 20, [flags(TO_UPLINK)], goto(ANNOUNCE))
    yield make_flow(DELIVER, 10, [flags(TO_REMOTE)], goto(REMOTELY))
    for table in (DELIVER, LOCAL, REMOTELY, ANNOUNCE, FANOUT):
        yield make_flow(table, 0, [''])
    yield make_flow(ANNOUNCE, 100, [flags(UPLINK)])


def unsettled_flow(network: int, mac: str, links: Iterable[Attachment], arriving: bool) -> Flow:
    """Return the delivery to a VIF that has not spoken yet.

    While its VM arrives from another host it may also live beyond the uplink.
    """
    return make_flow(LOCAL, 50, [network_match(network), 'dl_dst=%s' % mac],
                     *((goto(ANNOUNCE),) if arriving else ()), *outputs(network, links))


def bridge_flows(topology: Topology) -> Iterator[Flow]:
    """Yield what depends on the bridge, and on its ports that carry no policy."""
    yield from answer_flows(topology.label)
    for members in topology.uplinks:
        for ofport in members:
            yield uplink_flow(ofport)
    for port, tag in topology.others:
        yield other_port_flow(port, tag)
    yield from _uplink_output_flows(topology)
    yield from _serving_flows(topology.served)
    if topology.secure:
        # In this mode the switch has no such flow of its own. networkd has some of priority 0,
        # which let Dom0 alone hear what others on the LAN ask by ARP: this one is above them.
        yield make_flow(0, PRIORITY_DELIVER, [flags(off=[OWN_DELIVERY])], 'NORMAL')
    if not topology.snooping:
        for match in IGMP_REPORTS:
            yield make_flow(GUARD, 155, [match, flags(off=[ISOLATED])], goto(BIND))


def _serving_flows(served: Iterable[Tuple[str, int]]) -> Iterator[Flow]:
    """Yield what Dom0 needs to reach machines that have not told the switch to forward anything.

    Open vSwitch would let the same pass without any question: here it has been judged.
    """
    judged = flags(CHECKED, off=[OWN_DELIVERY])
    matches = ['arp'] if served else []
    for address, port in served:
        matches += ['tcp,nw_src=%s,tp_src=%d' % (address, port),
                    'tcp,nw_dst=%s,tp_dst=%d' % (address, port)]
    for match in matches:
        yield make_flow(0, PRIORITY_DELIVER, [match, judged], 'NORMAL')


def _uplink_output_flows(topology: Topology) -> Iterator[Flow]:
    if not topology.uplinks:
        return
    ports = [_output(members, members[0] in topology.balanced) for members in topology.uplinks]
    for priority, where, tagging in ((20, network_match(NETWORK), UNTAG), (10, '', TAG)):
        yield make_flow(ANNOUNCE, priority, [where], tagging, *ports)
        # On which of several uplinks an address is, only NORMAL can have learned.
        yield make_flow(REMOTELY, priority, [where],
                        *((tagging, *ports) if len(ports) == 1 else ('NORMAL',)))


def _output(members: Tuple[int, ...], balanced: bool) -> str:
    """Return the action that sends to an uplink: of a bond's members to one that is up."""
    if members == (OFPORT_LOCAL,):
        return 'LOCAL'
    if len(members) == 1:
        return 'output:%d' % members[0]
    return 'bundle(eth_src,0,%s,ofport,members:%s)' % (
        'hrw' if balanced else 'active_backup', ','.join(map(str, members)))


def gateway_delivery_flow(network: int, mac: str) -> Flow:
    """Return the flow for what a gateway sends to isolated VIFs; they do not ask NORMAL for it."""
    return make_flow(DELIVER, 33, [network_match(network), 'dl_src=%s' % mac,
                                   flags(TO_ISOLATED, UPLINK)], goto(LOCAL))
