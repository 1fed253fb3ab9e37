"""How many packets of a VIF were dropped, as the switch has counted them.

A port's flow in SPOOFED counts what its VIF sent under a name that is not its own,
an endpoint's flows in ISOLATED_DROP what a policy refused, in either direction.
They are there in every mode and never change, so that no change of policy
makes them start from nothing.
"""
import re
from typing import Dict, Iterable, Iterator, NamedTuple

from xsisolate.openflow.dump import parse_line
from xsisolate.openflow.flow import Flow
from xsisolate.openflow.ownership import HEADER, OWNER, OWNER_MASK
from xsisolate.pipeline.tables import ISOLATED_DROP, SPOOFED
from xsisolate.planner.cookie import Key, Kind, parse_key
from xsisolate.planner.items import Item, parse_registry
from xsisolate.vif_id import VifId, parse_netdev

# The cookies of ports and endpoints, their headers' too, and of no others.
KINDS = (OWNER | Kind.ENDPOINT << 28, OWNER_MASK | (0x7 ^ Kind.ENDPOINT ^ Kind.PORT) << 28)
STATISTICS = re.compile(r'\b(?:duration=[0-9.]+s|n_bytes=\d+|idle_age=\d+|hard_age=\d+), ')
PACKETS = re.compile(r'\bn_packets=(\d+), ')


class Drops(NamedTuple):
    """Packets of a VIF that were dropped, since its flows are there."""

    spoofed: int        # it sent them under another's name
    isolated: int       # its policy, or its peer's, does not admit them


class Counted(NamedTuple):
    """A flow, and how many packets it has met."""

    flow: Flow
    packets: int


def parse_counts(text: str) -> Iterator[Counted]:
    """Yield the flows in the output of `ovs-ofctl --no-names dump-flows`."""
    for line in text.splitlines():
        packets = PACKETS.search(line)
        if packets:
            plain = STATISTICS.sub('', PACKETS.sub('', line))
            yield from (Counted(flow, int(packets.group(1))) for flow in parse_line(plain))


def count_drops(counted: Iterable[Counted]) -> Dict[VifId, Drops]:
    """Return by VIF what was dropped of each VIF whose port has a header.

    VIFs that share an endpoint share its count, such as the two domains of a live
    migration onto the same host.
    """
    counted = list(counted)
    spoofed, isolated = _sum(counted, SPOOFED), _sum(counted, ISOLATED_DROP)
    drops: Dict[VifId, Drops] = {}
    endpoints: Dict[VifId, Dict[Key, int]] = {}
    for port in _ports(counted):
        vif_id = parse_netdev(port.name)
        known = endpoints.setdefault(vif_id, {})
        known.update((ref, isolated.get(ref, 0)) for ref in port.refs)
        before = drops.get(vif_id, Drops(0, 0))
        drops[vif_id] = Drops(before.spoofed + spoofed.get(port.key, 0), sum(known.values()))
    return drops


def _ports(counted: Iterable[Counted]) -> Iterator[Item]:
    headers = parse_registry(flow for flow, _ in counted)
    return (item for item in headers.values() if item.key.kind is Kind.PORT)


def _sum(counted: Iterable[Counted], table: int) -> Dict[Key, int]:
    """Return how many packets a table's flows have met, by the item that they belong to."""
    found: Dict[Key, int] = {}
    for flow, packets in counted:
        if flow.table == table and not flow.cookie & HEADER:
            key = parse_key(flow.cookie & 0xffffffff)
            found[key] = found.get(key, 0) + packets
    return found
