"""What became of forbidden packets: dropped as spoofed and as isolated, per VIF."""
from typing import Dict

from xsisolate.dom0.ovs.ofctl import dump_counts
from xsisolate.planner.drop_counts import KINDS, Drops, count_drops, parse_counts
from xsisolate.vif_id import VifId


def read_counters(bridge: str) -> Dict[VifId, Drops]:
    """Return by VIF how many packets of each managed VIF a bridge has dropped.

    An unlocked VIF has no flows, so it is missing. A count begins anew with the
    flows: when ovs-vswitchd restarts, and when the VIF gets another port.
    """
    return count_drops(parse_counts(dump_counts(bridge, *KINDS)))
