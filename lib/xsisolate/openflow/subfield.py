"""A range of a field's bits, as actions name it: `NXM_NX_REG15[16..30]`."""
from xsisolate.openflow.fields import SUBFIELDS
from xsisolate.typing_compat import Dict, Tuple

NAMES: Dict[int, str] = {header: name for name, (header, _) in SUBFIELDS.items()}
# OpenFlow's own numbers, which Open vSwitch may answer with.
OXM_NUMBERS = {3: 'NXM_OF_ETH_DST', 4: 'NXM_OF_ETH_SRC', 5: 'NXM_OF_ETH_TYPE',
               10: 'NXM_OF_IP_PROTO', 11: 'NXM_OF_IP_SRC', 12: 'NXM_OF_IP_DST',
               13: 'NXM_OF_TCP_SRC', 14: 'NXM_OF_TCP_DST', 15: 'NXM_OF_UDP_SRC',
               16: 'NXM_OF_UDP_DST', 19: 'NXM_OF_ICMP_TYPE', 21: 'NXM_OF_ARP_OP',
               22: 'NXM_OF_ARP_SPA', 23: 'NXM_OF_ARP_TPA', 26: 'NXM_NX_IPV6_SRC',
               27: 'NXM_NX_IPV6_DST', 29: 'NXM_NX_ICMPV6_TYPE', 31: 'NXM_NX_ND_TARGET'}
NAMES.update({0x8000 << 16 | field << 9 | SUBFIELDS[name][1] // 8: name
              for field, name in OXM_NUMBERS.items()})


def encode_subfield(text: str) -> Tuple[int, int, int]:
    """Return (header, first bit, number of bits)."""
    name, _, bits = text.partition('[')
    header, width = SUBFIELDS[name]
    if bits == ']':
        return header, 0, width
    first, dots, last = bits[:-1].partition('..')
    return header, int(first), int(last) - int(first) + 1 if dots else 1


def decode_subfield(header: int, offset: int, bits: int) -> str:
    """Return the text; raise KeyError if we do not know the field."""
    name = NAMES[header]
    if not offset and bits == SUBFIELDS[name][1]:
        return name + '[]'
    return '%s[%d]' % (name, offset) if bits == 1 else '%s[%d..%d]' % (name, offset,
                                                                       offset + bits - 1)


def offset_and_bits(offset: int, bits: int) -> int:
    """Return a range as most actions pack it."""
    return offset << 6 | bits - 1


def number(value: int) -> str:
    """Return a number as Open vSwitch prints it."""
    return '0x%x' % value if value else '0'
