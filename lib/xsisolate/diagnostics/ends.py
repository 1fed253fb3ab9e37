"""The ends of a packet's way within a network: VIFs, gateways, members elsewhere, and addresses."""
from typing import FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.planner.vif import Vif
from xsisolate.policy.address import NEVER_EXTERNAL, contains, format_prefix
from xsisolate.policy.model import (GATEWAY, Gateway, Group, Mode, Network, Prefix, RemoteMember)

FILE = 'xsisolate.yaml'


class Place(NamedTuple):
    """A network on a bridge of this host, and the VIFs on it."""

    bridge: str                 # the real one
    name: str                   # the network's
    uuid: str
    number: int                 # NETWORK | VLAN tag
    facts: Network              # with the holders of roles on other hosts
    groups: Mapping[str, Group]
    vifs: Tuple[Tuple[str, Vif], ...]           # with their names
    members: Mapping[str, Tuple[RemoteMember, ...]]     # by group, those on this network
    told: FrozenSet[Gateway] = frozenset()      # gateways that XAPI has told of, not the file


class End(NamedTuple):
    """One end of a passage."""

    name: str
    address: Prefix             # a single one
    mac: str = ''               # '': not known
    vif: Optional[Vif] = None   # of this host
    gateway: bool = False       # its MAC address is a gateway's
    beyond: str = ''            # where beyond the uplink it is, and by whose word
    lost: str = ''              # why nothing gets to it, whatever policies say


def is_managed(vif: Optional[Vif]) -> bool:
    """Tell whether a VIF has a policy that says what it may claim to be."""
    return mode_of(vif) in (Mode.LOCKED, Mode.ISOLATED)


def is_permissive(vif: Optional[Vif]) -> bool:
    """Tell whether a VIF's policy is judged only."""
    return vif is not None and vif.policy.permissive


def holds(vif: Optional[Vif], role: str) -> bool:
    """Tell whether a VIF holds a role on its networks."""
    return vif is not None and role in vif.policy.roles


def forwards(end: End) -> bool:
    """Tell whether an end is a VIF that speaks, or is spoken to, for an address beyond it."""
    return end.gateway and end.vif is not None and holds(end.vif, GATEWAY) and not owns(
        end.vif, end.address)


def mode_of(vif: Optional[Vif]) -> Mode:
    """Return the mode of a VIF; who is none of this host is as an unmanaged one."""
    return vif.policy.mode if vif else Mode.UNLOCKED


def owns(vif: Vif, address: Prefix) -> bool:
    """Tell whether an address is one of a VIF's own."""
    return any(contains(own, address) for own in vif.policy.addresses)


def find_owners(place: Place, address: Prefix) -> List[Tuple[str, Vif]]:
    """Return the managed VIFs whose address it is; of networks the narrowest counts."""
    found = [(own.length, name, vif) for name, vif in place.vifs if is_managed(vif)
             for own in vif.policy.addresses if contains(own, address)]
    longest = max((length for length, _, _ in found), default=0)
    return [(name, vif) for length, name, vif in found if length == longest]


def find_members(place: Place, address: Prefix) -> List[Tuple[str, RemoteMember]]:
    """Return the members elsewhere whose address it is, with their groups.

    Of a group's networks the narrowest counts.
    """
    found: List[Tuple[str, RemoteMember]] = []
    for group, members in sorted(place.members.items()):
        owned = [(own.length, member) for member in members for own in member.addresses
                 if contains(own, address)]
        longest = max((length for length, _ in owned), default=0)
        found += [(group, member) for length, member in owned if length == longest]
    return found


def why_inside(place: Place, other: End) -> str:
    """Return why the word `external` does not mean an address, empty if it does."""
    for never, name in NEVER_EXTERNAL:
        if contains(never, other.address):
            return ('%s is never outside, as all of %s (%s): an entry for the address itself would '
                    'admit it' % (format_prefix(other.address), format_prefix(never), name))
    nets = [net for net in place.facts.subnets if contains(net, other.address)]
    if nets:
        return '%s is in the subnet %s of this network' % (format_prefix(other.address),
                                                           format_prefix(nets[0]))
    if not other.gateway and (
            any(gateway.mac for gateway in place.facts.gateways)
            or any(holds(vif, GATEWAY) for _, vif in place.vifs)):
        return 'it is not behind a gateway of this network'
    return ''


def why_no_gateway(place: Place, vif: Vif, *addresses: Prefix) -> str:
    """Return why a VIF cannot be found, though it exists: it is what a gateway must be."""
    for gateway in place.facts.gateways:
        taken = [format_prefix(address) for address in addresses
                 if address in (gateway.ipv4, gateway.ipv6)]
        if gateway.mac == vif.mac:
            taken.insert(0, vif.mac)
        if taken:
            return ('%s is a gateway\'s in %s, and what is for a gateway leaves by the uplink. '
                    'If the gateway is this VIF, name it by vm and devid in networks.%s.gateways, '
                    'or give it the role: xsisolate set --roles gateway,router'
                    % (taken[0], FILE, place.name))
    return ''
