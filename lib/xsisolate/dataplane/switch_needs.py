"""What a bridge's datapath must be able to do; ovs-vswitchd has found by trying what it can.

Each bridge's flows use all of it. A bundle with a flow that needs more than there is is refused
as a whole, so no VIF passes on half of its flows.
"""
from typing import List, NamedTuple

from xsisolate.dom0.ovs.switch_features import read_datapath_features

NEEDED = (
    ('Recirc', 'packets come back from connection tracking by it'),
    ('CT state', 'answers of UDP services are known by it'),
    ('CT zone', 'each VLAN has connections of its own'),
    ('CT label', 'it tells the connections of bridges apart'),
    ('Conntrack clear', 'a packet is judged anew behind connection tracking'))
UNKNOWN = 'unknown'     # to this version of Open vSwitch: then the first plug shows it
CONSEQUENCE = ('no VIF with a policy can be programmed: each stays shut, and its plug fails with '
               'what ovs-vswitchd says')


class Need(NamedTuple):
    """A feature, and what was found of it."""

    name: str
    use: str
    found: str

    @property
    def is_met(self) -> bool:
        """Tell whether it is there, as far as is known."""
        return self.found in ('Yes', UNKNOWN)


def read_needs(bridge: str) -> List[Need]:
    """Return what a bridge's datapath has of all that is needed."""
    found = read_datapath_features(bridge)
    return [Need(name, use, found.get(name, UNKNOWN)) for name, use in NEEDED]


def find_lacking(bridge: str) -> str:
    """Return what a bridge's datapath lacks, and what follows; empty if nothing."""
    lacking = ['%s (%s)' % (need.name, need.use) for need in read_needs(bridge) if not need.is_met]
    return '%s: %s' % (', '.join(lacking), CONSEQUENCE) if lacking else ''
