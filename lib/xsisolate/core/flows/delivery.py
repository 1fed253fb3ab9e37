"""DELIVER..FANOUT: frames that the switch must not flood.

NORMAL floods what it has not learned, so it must not be asked about a frame
that only one port may see. A local VIF is sent its frames directly. For a MAC
address beyond the uplink NORMAL is taught first: a copy that looks as if that
address had sent it from the uplink is learned from and goes nowhere; bonding
and tagging stay NORMAL's business.
"""
from typing import Iterable, Iterator, NamedTuple, Optional, Tuple

from xsisolate.core.flow import Flow, make_flow
from xsisolate.core.flows.entry import other_port_flow, uplink_flow
from xsisolate.core.flows.guard import IGMP_REPORTS
from xsisolate.core.flows.stages import (ANNOUNCE, BIND, DELIVER, FANOUT, GUARD, ISOLATED, LOCAL,
                                         NETWORK, TAG, TEACH, TO_LOCAL, TO_REMOTE, TO_UPLINK,
                                         UNTAG, UPLINK, Attachment, flags, goto, network_match,
                                         outputs)

# The switch's FDB must learn the sender although NORMAL does not carry the
# frame: sent to itself, it is learned from and not forwarded.
LEARN_SENDER = ('push:NXM_OF_ETH_DST[],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],NORMAL,'
                'pop:NXM_OF_ETH_DST[]')


class Topology(NamedTuple):
    """A bridge's ports as the pipeline needs them; ports are OpenFlow numbers."""

    uplinks: Tuple[Tuple[int, ...], ...] = ()   # per uplink its members, the active one first
    others: Tuple[Tuple[str, Optional[int]], ...] = ()  # port and its VLAN tag; None: trunk
    snooping: bool = False                      # the bridge follows IGMP and MLD


def delivery_flows() -> Iterator[Flow]:
    """Yield the fixed flows that deliver."""
    yield make_flow(DELIVER, 30, [flags(TO_LOCAL)], LEARN_SENDER, goto(LOCAL))
    yield make_flow(DELIVER, 20, [flags(TO_UPLINK)], LEARN_SENDER, goto(ANNOUNCE))
    yield make_flow(DELIVER, 10, [flags(TO_REMOTE)], goto(TEACH))
    for table in (DELIVER, LOCAL, TEACH, ANNOUNCE, FANOUT):
        yield make_flow(table, 0, [''])
    yield make_flow(ANNOUNCE, 100, [flags(UPLINK)])


def unsettled_flow(network: int, mac: str, links: Iterable[Attachment], arriving: bool) -> Flow:
    """Return the delivery to a VIF that has not spoken yet.

    While its VM arrives from another host it may also live beyond the uplink.
    """
    return make_flow(LOCAL, 50, [network_match(network), 'dl_dst=%s' % mac],
                     *((goto(ANNOUNCE),) if arriving else ()), *outputs(network, links))


def bridge_flows(topology: Topology) -> Iterator[Flow]:
    """Yield what depends on the bridge's ports that carry no policy."""
    for members in topology.uplinks:
        for ofport in members:
            yield uplink_flow(ofport)
    for port, tag in topology.others:
        yield other_port_flow(port, tag)
    yield from _uplink_output_flows(topology)
    if not topology.snooping:
        for match in IGMP_REPORTS:
            yield make_flow(GUARD, 155, [match, flags(off=[ISOLATED])], goto(BIND))


def _uplink_output_flows(topology: Topology) -> Iterator[Flow]:
    if not topology.uplinks:
        return
    ports = ['output:%d' % members[0] for members in topology.uplinks]
    for priority, where, tagging in ((20, network_match(NETWORK), UNTAG), (10, '', TAG)):
        yield make_flow(ANNOUNCE, priority, [where], tagging, *ports)
        yield make_flow(TEACH, priority, [where], *_teach(topology, tagging))


def _teach(topology: Topology, tagging: str) -> Tuple[str, ...]:
    """Return how to tell NORMAL where a remote MAC address lives, and to send there."""
    if len(topology.uplinks) != 1:
        return ('NORMAL',)      # which of them it is, only NORMAL can have learned
    lessons = ('load:0x%x->NXM_OF_IN_PORT[],NORMAL' % ofport for ofport in topology.uplinks[0])
    return ('push:NXM_OF_VLAN_TCI[]', 'push:NXM_OF_IN_PORT[]', 'push:NXM_OF_ETH_SRC[]',
            'move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[]', tagging, *lessons,
            'pop:NXM_OF_ETH_SRC[]', 'pop:NXM_OF_IN_PORT[]', 'pop:NXM_OF_VLAN_TCI[]', 'NORMAL')
