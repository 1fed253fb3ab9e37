"""What became of forbidden packets: dropped as spoofed and as isolated, per VIF."""
from typing import Dict, Mapping

from xsisolate.dom0.ovs.ofctl import dump_counts
from xsisolate.openflow.ownership import HEADER
from xsisolate.planner.cookie import port_key
from xsisolate.planner.drop_counts import KINDS, Drops, count_drops, parse_counts
from xsisolate.planner.items import Registry
from xsisolate.planner.vif import Vif
from xsisolate.vif_id import VifId


def read_counters(bridge: str) -> Dict[VifId, Drops]:
    """Return by VIF how many packets of each managed VIF a bridge has dropped.

    An unlocked VIF has no flows, so it is missing. A count begins anew with the
    flows: when ovs-vswitchd restarts, and when the VIF gets another port.
    """
    return count_drops(parse_counts(dump_counts(bridge, *KINDS)))


def count_flows(registry: Registry, cookies: Mapping[int, int], vif: Vif) -> int:
    """Return how many flows are a VIF's own: its ports' and its endpoints', headers included."""
    ports = {port_key(port.name) for port in vif.ports}
    keys = ports | {ref for key in ports if key in registry for ref in registry[key].refs}
    return sum(cookies.get(key.cookie | header, 0) for key in keys for header in (0, HEADER))
