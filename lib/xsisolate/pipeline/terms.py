"""Terms of matches and actions that several stages use, over the registers of tables.py."""
from functools import lru_cache

from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Prefix
from xsisolate.typing_compat import Iterable, Iterator, NamedTuple, Tuple

MULTICAST_MAC = 'dl_dst=01:00:00:00:00:00/01:00:00:00:00:00'
TAGGED = 'vlan_tci=0x1000/0x1000'


class Attachment(NamedTuple):
    """Where a network reaches a VIF: its port, and whether the VIF expects the VLAN tag."""

    ofport: int
    tagged: bool = False


def flags(*on: int, off: Iterable[int] = ()) -> str:
    """Return the match for flags that must be set and flags that must not."""
    value = sum(1 << bit for bit in on)
    mask = value | sum(1 << bit for bit in off)
    return 'reg15=%s/0x%x' % (number(value), mask)


def raised(*bits: int) -> str:
    """Return the actions that set flags."""
    return ','.join('load:0x1->NXM_NX_REG15[%d]' % bit for bit in bits)


def lowered(bit: int) -> str:
    """Return the action that takes a flag away."""
    return 'load:0->NXM_NX_REG15[%d]' % bit


def notes(*on: int, off: Iterable[int] = ()) -> str:
    """Return the match for notes that must be there and notes that must not."""
    value = sum(1 << bit for bit in on)
    return 'metadata=%s/0x%x' % (number(value), value | sum(1 << bit for bit in off))


def noted(bit: int) -> str:
    """Return the action that makes a note."""
    return 'load:0x1->OXM_OF_METADATA[%d]' % bit


def unnoted(bit: int) -> str:
    """Return the action that takes a note away."""
    return 'load:0->OXM_OF_METADATA[%d]' % bit


def cleared(first: int, last: int) -> str:
    """Return the action that clears a range of flags."""
    return 'load:0->NXM_NX_REG15[%d..%d]' % (first, last)


def fixed_tag(network: int, tagged: bool) -> str:
    """Return the action that gives a frame a network's VLAN tag, or none."""
    tag = 0x1000 | network & 0xfff if tagged and network & 0xfff else 0
    return 'load:%s->NXM_OF_VLAN_TCI[]' % number(tag)


def outputs(network: int, links: Iterable[Attachment]) -> Iterator[str]:
    """Yield the actions that send copies to ports, each with the tag that it wants."""
    links = sorted(links)
    for tagged in (False, True):
        ofports = [link.ofport for link in links if link.tagged is tagged]
        if ofports:
            yield fixed_tag(network, tagged)
            yield from ('output:%d' % ofport for ofport in ofports)


def goto(table: int) -> str:
    """Return the action that hands the packet to a stage."""
    return 'resubmit(,%d)' % table


def number(value: int) -> str:
    """Return a number as Open vSwitch prints it."""
    return '0x%x' % value if value else '0'


def network_match(network: int) -> str:
    """Return the match for a network (NETWORK | VLAN tag)."""
    return 'reg13=0x%x' % network


def unknown_priority(network: int) -> int:
    """Return the priority of a flow for UNKNOWN_NETWORK.

    It only keeps apart the flows of equal MAC addresses on different networks.
    """
    return 1000 + (network & 0xfff)


def mac_match(first: int, mac: str) -> Tuple[str, str]:
    """Return the match for a MAC address, or one with a mask, in a pair of registers."""
    address, slash, mask = mac.partition('/')
    high, low = _mac_words(address)
    if slash:
        high, low = ['%s/%s' % words for words in zip((high, low), _mac_words(mask))]
    return 'reg%d=%s' % (first, high), 'reg%d=%s' % (first + 1, low)


def load_mac(first: int, mac: str) -> str:
    """Return the actions that put a MAC address into a pair of registers."""
    high, low = _mac_words(mac)
    return 'load:%s->NXM_NX_REG%d[],load:%s->NXM_NX_REG%d[]' % (high, first, low, first + 1)


@lru_cache(maxsize=4)       # of a member elsewhere it is asked three times
def _mac_words(mac: str) -> Tuple[str, str]:
    """Return the words that a pair of registers holds for a MAC address."""
    value = mac_number(mac)
    return number(value >> 32), number(value & 0xffffffff)


def mac_number(mac: str) -> int:
    """Return a MAC address as a number."""
    return int(mac.replace(':', ''), 16)


def address_match(prefix: Prefix, owner: int = 0) -> Tuple[str, ...]:
    """Return the match for the party's address (reg4..7, reg14), as its nth owner's."""
    width = 32 if prefix.version == 4 else 128
    if prefix.length == width:
        return ('reg14=0x%x' % (owner << 8 | prefix.version), *[
            'reg%d=%s' % (7 - shift // 32, number(prefix.value >> shift & 0xffffffff))
            for shift in range(0, width, 32)])
    mask = (1 << width) - (1 << width - prefix.length)
    words = range(7, 7 - width // 32, -1)
    fields = [_word_match(reg, prefix.value >> shift & 0xffffffff, mask >> shift & 0xffffffff)
              for reg, shift in zip(words, range(0, width, 32))]
    return ('reg14=0x%x' % (owner << 8 | prefix.version), *fields)


def _word_match(reg: int, value: int, mask: int) -> str:
    if mask == 0:
        return ''
    return 'reg%d=%s%s' % (reg, number(value), '' if mask == 0xffffffff else '/0x%x' % mask)


# The party's address and MAC address, taken from where the packet has them.
NEXT_OWNER = 'NXM_NX_REG14[8..12]'
IPV4 = 'load:0x4->NXM_NX_REG14[]'
IPV6 = 'load:0x6->NXM_NX_REG14[]'
FROM_IPV4_SOURCE = IPV4 + ',move:NXM_OF_IP_SRC[]->NXM_NX_REG7[]'
FROM_IPV4_DESTINATION = IPV4 + ',move:NXM_OF_IP_DST[]->NXM_NX_REG7[]'
FROM_ARP_SOURCE = IPV4 + ',move:NXM_OF_ARP_SPA[]->NXM_NX_REG7[]'
FROM_ARP_TARGET = IPV4 + ',move:NXM_OF_ARP_TPA[]->NXM_NX_REG7[]'
FROM_IPV6_SOURCE = IPV6 + ',move:NXM_NX_IPV6_SRC[]->NXM_NX_XXREG1[]'
FROM_IPV6_DESTINATION = IPV6 + ',move:NXM_NX_IPV6_DST[]->NXM_NX_XXREG1[]'
FROM_ND_TARGET = IPV6 + ',move:NXM_NX_ND_TARGET[]->NXM_NX_XXREG1[]'
FROM_ETH_SOURCE = 'move:NXM_OF_ETH_SRC[]->NXM_NX_XXREG2[0..47]'
FROM_ETH_DESTINATION = 'move:NXM_OF_ETH_DST[]->NXM_NX_XXREG2[0..47]'
RESOLVED_TO_PARTY = 'move:NXM_NX_XXREG2[64..111]->NXM_NX_XXREG2[0..47]'
RESOLVED_TO_ETH = 'move:NXM_NX_XXREG2[64..111]->NXM_OF_ETH_DST[]'

# A frame is delivered by the destination that it came with, though judged by another.
KEEP_DESTINATION = ('move:NXM_OF_ETH_DST[]->OXM_OF_METADATA[0..47],'
                    'load:0x1->OXM_OF_METADATA[48]')
RESTORE_DESTINATION = 'move:OXM_OF_METADATA[0..47]->NXM_OF_ETH_DST[]'
KEPT, NOT_KEPT = 'metadata=0x1000000000000/0x1000000000000', 'metadata=0/0x1000000000000'

TAG = 'move:NXM_NX_REG13[0..11]->NXM_OF_VLAN_TCI[0..11],load:0x1->NXM_OF_VLAN_TCI[12]'
UNTAG = 'load:0->NXM_OF_VLAN_TCI[]'

SOLICITED_NODE = 'ipv6_dst=ff02::1:ff00:0/104'
DHCP_QUERY = 'udp,tp_src=68,tp_dst=67'
DHCP_ANSWER = 'udp,tp_src=67,tp_dst=68'
DHCP6_QUERY = 'udp6,tp_src=546,tp_dst=547'
DHCP6_ANSWER = 'udp6,tp_src=547,tp_dst=546'


# Neighbour solicitation and advertisement.
NEIGHBOUR = (135, 136)
UNICAST_MAC = 'dl_dst=00:00:00:00:00:00/01:00:00:00:00:00'


def icmp6(kind: int, *more: str) -> str:
    """Return the match for an ICMPv6 type; RFC 4861 wants code 0 of neighbour discovery.

    A kernel without the mend of CVE-2023-5366 caches verdicts about the target for every target
    if they do not look at the code.
    """
    code = ('icmp_code=0',) if kind in NEIGHBOUR else ()
    return ','.join(('icmp6', 'icmp_type=%d' % kind) + code + more)


def destination_match(server: Prefix) -> str:
    """Return the match for the destination address of IPv4 or IPv6 packets."""
    return _ip_match('nw_dst' if server.version == 4 else 'ipv6_dst', server)


def source_match(server: Prefix) -> str:
    """Return the match for the source address of IPv4 or IPv6 packets."""
    return _ip_match('nw_src' if server.version == 4 else 'ipv6_src', server)


def _ip_match(field: str, prefix: Prefix) -> str:
    """Return the match for a field; the switch forgets one that is about every address."""
    return '%s=%s' % (field, format_prefix(prefix)) if prefix.length else ''
