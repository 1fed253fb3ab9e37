"""MAC addresses that a VIF may use beside its own: single ones, and VRRP's by one word.

In a match an entry is a MAC address, or one with a mask, as ovs-ofctl(8) writes it.
"""
from xsisolate.errors import PolicyError
from xsisolate.policy.address import parse_mac, quoted
from xsisolate.typing_compat import FrozenSet, Iterable, List

VRRP = 'vrrp'           # RFC 5798's virtual routers, CARP's among them
VRRP_RANGES = ('00:00:5e:00:01:00', '00:00:5e:00:02:00')    # over IPv4, over IPv6
RANGE_MASK = '/ff:ff:ff:ff:ff:00'
RANGE_LENGTH = len('00:00:5e:00:01:')


def parse_additional(text: str) -> str:
    """Return an entry of the list `mac`: a MAC address, or the word for VRRP's.

    >>> parse_additional('00:00:5E:00:01:05')
    '00:00:5e:00:01:05'
    """
    if text == VRRP:
        return text
    if ':' not in text:
        raise PolicyError('%s is not a MAC address such as 00:00:5e:00:01:05, nor the word %s'
                          % (quoted(text), VRRP))
    return parse_mac(text)


def reduce_additional(entries: Iterable[str], own: str) -> FrozenSet[str]:
    """Return the entries that add something: neither the VIF's own one nor in VRRP's already."""
    found = frozenset(entries)
    return frozenset([entry for entry in found if entry != own and not (
        VRRP in found and entry != VRRP and _is_vrrp(entry))])


def mac_matches(entries: Iterable[str]) -> List[str]:
    """Return what entries come to in matches, single addresses first.

    >>> mac_matches(['vrrp'])[0]
    '00:00:5e:00:01:00/ff:ff:ff:ff:ff:00'
    """
    found = sorted(set(entries))
    ranges = [first + RANGE_MASK for first in VRRP_RANGES] if VRRP in found else []
    return [entry for entry in found if entry != VRRP] + ranges


def is_range(match: str) -> bool:
    """Tell whether a match is about more than one MAC address."""
    return '/' in match


def covers(entries: Iterable[str], mac: str) -> bool:
    """Tell whether a MAC address is one of the entries'."""
    return any([entry == mac or entry == VRRP and _is_vrrp(mac) for entry in entries])


def overlap(one: Iterable[str], other: Iterable[str]) -> List[str]:
    """Return the entries of which both lists have something, in order."""
    one, other = frozenset(one), frozenset(other)
    return sorted([entry for entry in one if covers(other, entry)]
                  + [entry for entry in other - one if covers(one, entry)])


def _is_vrrp(mac: str) -> bool:
    return mac[:RANGE_LENGTH] in [first[:RANGE_LENGTH] for first in VRRP_RANGES]
