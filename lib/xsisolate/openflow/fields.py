"""The fields that flows match and actions name: their numbers in OXM and NXM, and their texts.

A header is class (16 bit), field (7), mask follows (1), length in bytes (8). Open
vSwitch takes OpenFlow's own number (OXM) or Nicira's (NXM), whichever there is.
"""
from xsisolate.policy.address import format_prefix, parse_prefix
from xsisolate.policy.model import Prefix
from xsisolate.typing_compat import Dict, NamedTuple, Tuple

OXM, NXM0, NXM1 = 0x8000, 0x0000, 0x0001
MASKED = 0x100

CT_STATES = ('new', 'est', 'rel', 'rpl', 'inv', 'trk', 'snat', 'dnat')
TCP_FLAGS = ('fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr', 'ns')
LOCAL = 0xfffffffe


def header(kind: int, field: int, length: int) -> int:
    """Return the 32 bits that name a field."""
    return kind << 16 | field << 9 | length


class Field(NamedTuple):
    """A field of a match."""

    name: str           # as ovs-ofctl has it; `under` tells equal names apart
    length: int         # bytes
    header: int
    form: str           # how values are written
    under: str = ''     # the protocol whose field it is


# In the order in which each finds what it depends on before it.
MATCHED = tuple(Field(name, length, header(kind, number, length), form, under)
                for name, length, kind, number, form, under in (
    ('in_port', 4, OXM, 0, 'port', ''),
    ('dl_dst', 6, OXM, 3, 'mac', ''), ('dl_src', 6, OXM, 4, 'mac', ''),
    ('dl_type', 2, OXM, 5, 'hex4', ''), ('vlan_tci', 2, OXM, 6, 'vlan', ''),
    ('nw_src', 4, OXM, 11, 'ipv4', ''), ('nw_dst', 4, OXM, 12, 'ipv4', ''),
    ('ipv6_src', 16, OXM, 26, 'ipv6', ''), ('ipv6_dst', 16, OXM, 27, 'ipv6', ''),
    ('nw_frag', 1, NXM1, 26, 'frag', ''), ('nw_ttl', 1, NXM1, 29, 'decimal', ''),
    ('nw_proto', 1, OXM, 10, 'decimal', ''),
    ('tp_src', 2, OXM, 13, 'decimal', 'tcp'), ('tp_dst', 2, OXM, 14, 'decimal', 'tcp'),
    ('tcp_flags', 2, NXM1, 34, 'tcp_flags', 'tcp'),
    ('tp_src', 2, OXM, 15, 'decimal', 'udp'), ('tp_dst', 2, OXM, 16, 'decimal', 'udp'),
    ('tp_src', 2, OXM, 17, 'decimal', 'sctp'), ('tp_dst', 2, OXM, 18, 'decimal', 'sctp'),
    ('icmp_type', 1, OXM, 19, 'decimal', 'icmp'), ('icmp_code', 1, OXM, 20, 'decimal', 'icmp'),
    ('icmp_type', 1, OXM, 29, 'decimal', 'icmp6'), ('icmp_code', 1, OXM, 30, 'decimal', 'icmp6'),
    ('nd_target', 16, OXM, 31, 'ipv6', ''), ('nd_sll', 6, OXM, 32, 'mac', ''),
    ('nd_tll', 6, OXM, 33, 'mac', ''),
    ('arp_op', 2, OXM, 21, 'decimal', ''), ('arp_spa', 4, OXM, 22, 'ipv4', ''),
    ('arp_tpa', 4, OXM, 23, 'ipv4', ''), ('arp_sha', 6, OXM, 24, 'mac', ''),
    ('arp_tha', 6, OXM, 25, 'mac', ''),
    *(('reg%d' % number, 4, NXM1, number, 'number', '') for number in range(16)),
    ('ct_state', 4, NXM1, 105, 'ct_state', ''), ('ct_label', 16, NXM1, 108, 'number', ''),
    ('metadata', 8, OXM, 2, 'number', '')))

# Protocols: (Ethernet type, IP protocol), and under which name their fields go.
PROTOCOLS: Dict[str, Tuple[int, int, str]] = {
    'arp': (0x806, 0, ''), 'ip': (0x800, 0, ''), 'ipv6': (0x86dd, 0, ''),
    'icmp': (0x800, 1, 'icmp'), 'icmp6': (0x86dd, 58, 'icmp6'), 'tcp': (0x800, 6, 'tcp'),
    'tcp6': (0x86dd, 6, 'tcp'), 'udp': (0x800, 17, 'udp'), 'udp6': (0x86dd, 17, 'udp'),
    'sctp': (0x800, 132, 'sctp'), 'sctp6': (0x86dd, 132, 'sctp')}

# What actions name: NXM's numbers, and the width in bits.
SUBFIELDS: Dict[str, Tuple[int, int]] = {
    name: (header(kind, number, length), length * 8) for name, length, kind, number in (
        ('NXM_OF_IN_PORT', 2, NXM0, 0), ('NXM_OF_ETH_DST', 6, NXM0, 1),
        ('NXM_OF_ETH_SRC', 6, NXM0, 2), ('NXM_OF_ETH_TYPE', 2, NXM0, 3),
        ('NXM_OF_VLAN_TCI', 2, NXM0, 4), ('NXM_OF_IP_PROTO', 1, NXM0, 6),
        ('NXM_OF_IP_SRC', 4, NXM0, 7), ('NXM_OF_IP_DST', 4, NXM0, 8),
        ('NXM_OF_TCP_SRC', 2, NXM0, 9), ('NXM_OF_TCP_DST', 2, NXM0, 10),
        ('NXM_OF_UDP_SRC', 2, NXM0, 11), ('NXM_OF_UDP_DST', 2, NXM0, 12),
        ('NXM_OF_ICMP_TYPE', 1, NXM0, 13), ('NXM_OF_ARP_OP', 2, NXM0, 15),
        ('OXM_OF_SCTP_SRC', 2, OXM, 17), ('OXM_OF_SCTP_DST', 2, OXM, 18),
        ('NXM_NX_ICMPV6_TYPE', 1, NXM1, 21),
        ('NXM_OF_ARP_SPA', 4, NXM0, 16), ('NXM_OF_ARP_TPA', 4, NXM0, 17),
        ('NXM_NX_IPV6_SRC', 16, NXM1, 19), ('NXM_NX_IPV6_DST', 16, NXM1, 20),
        ('NXM_NX_ND_TARGET', 16, NXM1, 23), ('NXM_NX_CT_LABEL', 16, NXM1, 108),
        ('OXM_OF_METADATA', 8, OXM, 2),
        *(('NXM_NX_REG%d' % number, 4, NXM1, number) for number in range(16)),
        *(('NXM_NX_XXREG%d' % number, 16, NXM1, 111 + number) for number in range(4)))}


def parse_value(field: Field, text: str) -> Tuple[int, int]:
    """Return (value, mask) that a field's text means; raise ValueError or PolicyError."""
    full = (1 << 8 * field.length) - 1
    if field.form in ('ipv4', 'ipv6'):
        prefix = parse_prefix(text)
        return prefix.value, full >> (8 * field.length - prefix.length) << (
            8 * field.length - prefix.length)
    if field.form == 'ct_state':
        return _parse_flags(text, CT_STATES)
    if field.form == 'tcp_flags':
        return _parse_flags(text, TCP_FLAGS)
    if field.form == 'frag':
        return {'yes': (1, 1)}[text]
    value, _, mask = text.partition('/')
    return _parse_number(value), _parse_number(mask) if mask else full


def _parse_number(text: str) -> int:
    if ':' in text:
        return int(text.replace(':', ''), 16)
    return LOCAL if text == 'LOCAL' else int(text, 0)


def _parse_flags(text: str, names: Tuple[str, ...]) -> Tuple[int, int]:
    """Return the bits of `+est-new`."""
    value = mask = 0
    for word in text.replace('-', ' -').replace('+', ' +').split():
        bit = 1 << names.index(word[1:])
        mask |= bit
        value |= bit if word[0] == '+' else 0
    return value, mask


def format_value(field: Field, value: int, mask: int) -> str:
    """Return the text that ovs-ofctl prints for a field; raise ValueError if we know none."""
    full = (1 << 8 * field.length) - 1
    if field.form in ('ipv4', 'ipv6'):
        return _format_address(value, mask, field.length)
    if field.form == 'ct_state':
        return _format_flags(value, mask, CT_STATES)
    if field.form == 'tcp_flags':
        return _format_flags(value, mask, TCP_FLAGS)
    if field.form == 'frag':
        return {(1, 1): 'yes'}.get((value, mask)) or _unknown(field)
    if field.form == 'vlan':
        return '0x%04x/0x%04x' % (value, mask)
    if field.form == 'mac':
        return format_mac(value) + ('' if mask == full else '/' + format_mac(mask))
    if field.form == 'port':
        return 'LOCAL' if value == LOCAL else '%d' % value
    if mask != full:
        return '%s/0x%x' % ('0x%x' % value if value or field.form == 'decimal' else '0', mask)
    return '%d' % value if field.form == 'decimal' or not value else '0x%x' % value


def format_mac(value: int) -> str:
    """Return a MAC address as text."""
    text = '%012x' % value
    return ':'.join([text[at:at + 2] for at in range(0, 12, 2)])


def _format_address(value: int, mask: int, length: int) -> str:
    width = 8 * length
    ones = bin(mask).count('1')
    if mask != ((1 << ones) - 1) << (width - ones):
        raise ValueError('a mask that is not a prefix')
    return format_prefix(Prefix(4 if length == 4 else 6, value, ones))


def _format_flags(value: int, mask: int, names: Tuple[str, ...]) -> str:
    if mask >> len(names):
        raise ValueError('a flag without a name')
    return ''.join(('+' if value >> bit & 1 else '-') + name
                   for bit, name in enumerate(names) if mask >> bit & 1)


def _unknown(field: Field) -> str:
    raise ValueError('a value of %s that we do not know' % field.name)
