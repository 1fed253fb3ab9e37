"""Which item a flow belongs to: the 64 bits of the cookie.

    0x5849534f | kind (4 bit) | id (28 bit)

The high half says that a flow is ours (openflow/ownership.py). The kind and the id name
the item that the flow belongs to, so that all of an item's flows are found, and deleted,
without knowing an ofport, a VM or a policy.
"""
from enum import IntEnum

from xsisolate.openflow.ownership import OWNER
from xsisolate.typing_compat import NamedTuple, Tuple
from xsisolate.vif_id import VifId, parse_netdev


class Kind(IntEnum):
    """What an item describes."""

    BASE = 0        # the stages' fixed flows
    BRIDGE = 1      # uplinks and access ports of the bridge
    NETWORK = 2     # one network's gateways and servers, and who holds roles; id: VLAN tag
    PEERS = 3       # a set of peers: an isolation group or an allow list
    ENDPOINT = 4    # a MAC address with a policy on a network; id: as its first port's
    PORT = 5        # one netdev of a VIF; id: see port_id
    SPREAD = 6      # who hears multicast: a group's, id: the group's; a network's: see fanout_key


class Key(NamedTuple):
    """Names an item on one bridge."""

    kind: Kind
    id: int

    @property
    def cookie(self) -> int:
        """The cookie of the item's flows."""
        return OWNER | self.kind << 28 | self.id

    @property
    def number(self) -> int:
        """Kind and id as one 32-bit number."""
        return self.kind << 28 | self.id


KINDS = tuple(Kind)      # Kind(3) takes ten times as long as KINDS[3], and hooks read hundreds
BASE = Key(Kind.BASE, 0)
BRIDGE = Key(Kind.BRIDGE, 0)
FANOUT = 1 << 27     # no group has such an id


def parse_key(number: int) -> Key:
    """Return the key that a cookie's low half or an item's number names; ValueError: none."""
    try:
        return Key(KINDS[number >> 28 & 0x7], number & 0xfffffff)
    except IndexError:
        raise ValueError('not a kind of items: %#x' % number) from None


def network_key(network: int) -> Key:
    """Return the key of a network's item."""
    return Key(Kind.NETWORK, network & 0xfff)


def fanout_key(network: int) -> Key:
    """Return the key of the item that says who hears a network's infrastructure."""
    return Key(Kind.SPREAD, FANOUT | network & 0xfff)


def port_id(vif: VifId, tap: bool) -> int:
    """Return the id of a VIF's netdev: 15 bits domid, 8 bits devid, 1 bit tap."""
    return vif.domid << 9 | vif.devid << 1 | int(tap)


def port_key(name: str) -> Key:
    """Return the key of a VIF netdev's item."""
    return Key(Kind.PORT, port_id(parse_netdev(name), name.startswith('tap')))


def port_keys(vif: VifId) -> Tuple[Key, Key]:
    """Return the keys of both netdevs that a VIF may have."""
    return Key(Kind.PORT, port_id(vif, False)), Key(Kind.PORT, port_id(vif, True))
