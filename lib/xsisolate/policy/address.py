"""Addresses, networks and MACs: from text, strictly, and back in one spelling.

A text has one meaning or none. Leading zeros are refused (010.0.0.1 is 8.0.0.1 to
some programs), and so are zones and IPv4 addresses in IPv6's clothes: the switch would
match something else than the admin meant. The numbers are parsed here and not
by `ipaddress`, whose import alone costs every hook run some milliseconds.
"""
import re

from xsisolate.errors import PolicyError
from xsisolate.policy.model import Prefix
from xsisolate.typing_compat import FrozenSet, Iterable, List, Tuple

BITS = {4: 32, 6: 128}
ANY = 'any'         # all of them as own ones: a word that no slip of a number makes
HEXTETS = 8

QUOTE_LIMIT = 64    # of a hostile value, this much goes into a log line

OCTET = re.compile('[0-9]{1,3}')
OCTETS = {str(number): number for number in range(256)}
EIGHT_HEXTETS = re.compile('[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){7}')
LENGTH = re.compile('0|[1-9][0-9]{0,2}')
DIGITS = re.compile('[0-9]{1,3}')
MAC = re.compile('[0-9a-f]{2}(?::[0-9a-f]{2}){5}')
ZERO_RUN = re.compile('(?:^|:)0(?::0)+(?:$|:)')

LINK_LOCAL = Prefix(6, 0xfe80 << 112, 10)
EUI64_FILLER = 0xfffe << 24         # RFC 4291, appendix A: between the MAC's halves
UNIVERSAL_BIT = 0x02 << 56          # and with this bit turned over
MULTICAST_MAC_BIT = 0x01

MAPPED = Prefix(6, 0xffff << 32, 96)
COMPATIBLE = Prefix(6, 0, 96)       # the switch prints these in a form of its own

# Addresses that are never outside (IANA's special-purpose registries). An entry for such an address
# itself admits it, as one for the metadata service that a gateway has behind it may want.
NEVER_EXTERNAL = (
    (Prefix(4, 0, 8), 'this network'),
    (Prefix(4, 127 << 24, 8), 'loopback'),
    (Prefix(4, 0xa9fe0000, 16), 'link-local'),
    (Prefix(4, 0xe0000000, 3), 'multicast and reserved'),
    (Prefix(6, 0, 8), 'unspecified, loopback and reserved'),
    (LINK_LOCAL, 'link-local'),
    (Prefix(6, 0xff00 << 112, 8), 'multicast'),
)

# No VM can own these, so in an own address they are a slip. A wider network that
# merely covers one of them, 126.0.0.0/7 for a router, is legal.
NOT_OWNABLE = (
    (Prefix(4, 0, 8), 'an unspecified address'),
    (Prefix(4, 127 << 24, 8), 'a loopback address'),
    (Prefix(4, 224 << 24, 4), 'a multicast address'),
    (Prefix(4, 0xffffffff, 32), 'the broadcast address'),
    (Prefix(6, 0, 128), 'the unspecified address'),
    (Prefix(6, 1, 128), 'the loopback address'),
    (Prefix(6, 0xff << 120, 8), 'a multicast address'),
)


def quoted(text: str) -> str:
    """Return any text in quotes: one line, printable ASCII, of bounded length."""
    shown = ascii(text[:QUOTE_LIMIT])
    if len(text) <= QUOTE_LIMIT and len(shown) <= QUOTE_LIMIT + 2:
        return shown
    return shown[:QUOTE_LIMIT] + '...' + shown[0]


def parse_prefix(text: str) -> Prefix:
    """Return the address or network that `text` writes, or raise PolicyError.

    >>> parse_prefix('10.0.0.0/24')
    Prefix(version=4, value=167772160, length=24)
    """
    address, slash, length = text.partition('/')
    version, value = _parse_value(address, text)
    prefix = Prefix(version, value, BITS[version])
    if slash:
        prefix = _shorten(prefix, length, text)
    if contains(COMPATIBLE, prefix) and prefix.value > 1:
        raise _wrong(text, 'is an IPv4-compatible address, a form out of use: write the IPv4 '
                           'address')
    if contains(MAPPED, prefix):
        raise _wrong(text, 'is an IPv4-mapped address: write the IPv4 address')
    return prefix


def parse_address(text: str, version: int) -> Prefix:
    """Return the single address of this IP version that `text` writes."""
    prefix = parse_prefix(text)
    if prefix.version != version:
        raise _wrong(text, 'is an IPv%d address: an IPv%d address is expected here'
                     % (prefix.version, version))
    if '/' in text:
        raise _wrong(text, 'is a network: a single address is expected here')
    return check_own(prefix)


def parse_own(text: str, version: int) -> Prefix:
    """Return an own address or network of a VIF, in the IP version of its key.

    >>> parse_own('any', 4)
    Prefix(version=4, value=0, length=0)
    """
    if text == ANY:
        return Prefix(version, 0, 0)
    prefix = parse_prefix(text)
    if prefix.version != version:
        raise _wrong(text, 'is an IPv%d address: it belongs into ipv%d'
                     % (prefix.version, prefix.version))
    if not prefix.length:
        raise _wrong(text, 'covers every address: write the VIF\'s own addresses, or the word %s '
                           'if it may send from any address, as a router does' % ANY)
    return check_own(prefix)


def parse_allowed(text: str, version: int) -> Prefix:
    """Return an entry of XAPI's ipv4_allowed or ipv6_allowed.

    XAPI lets host bits pass, and so do we.
    """
    address, slash, digits = text.partition('/')
    prefix, width = parse_prefix(address), BITS[version]
    length = int(digits) if DIGITS.fullmatch(digits) else (width if not slash else -1)
    if prefix.version != version or not 0 <= length <= width:
        raise PolicyError('locking_mode: no IPv%d address or CIDR: %s' % (version, quoted(text)))
    return Prefix(version, prefix.value >> (width - length) << (width - length), length)


def check_own(prefix: Prefix) -> Prefix:
    """Return `prefix`, or raise PolicyError if no machine can own such an address."""
    for special, name in NOT_OWNABLE:
        if contains(special, prefix):
            raise _wrong(format_prefix(prefix),
                         'is %s: no machine can own it' % name)
    return prefix


def format_prefix(prefix: Prefix) -> str:
    """Return the canonical text (IPv6: RFC 5952); a single address has no length."""
    text = _format_value(prefix)
    return text if prefix.length == BITS[prefix.version] else (
        '%s/%d' % (text, prefix.length))


def format_own(prefix: Prefix) -> str:
    """Return an own address or network as vm-data has it."""
    return format_prefix(prefix) if prefix.length else ANY


def contains(outer: Prefix, inner: Prefix) -> bool:
    """Is every address of `inner` one of `outer`'s?"""
    shift = BITS[outer.version] - outer.length
    return (outer.version == inner.version and outer.length <= inner.length
            and outer.value >> shift == inner.value >> shift)


def fold(prefixes: Iterable[Prefix]) -> List[Prefix]:
    """Return the fewest networks that hold the same addresses, sorted.

    >>> [format_prefix(one) for one in fold(map(parse_prefix, ('10.0.0.2', '10.0.0.3')))]
    ['10.0.0.2/31']
    """
    folded: List[Prefix] = []
    for prefix in sorted(prefixes):
        if folded and contains(folded[-1], prefix):
            continue
        folded.append(prefix)
        while len(folded) > 1 and _are_halves(folded[-2], folded[-1]):
            folded.pop()
            folded[-1] = folded[-1]._replace(length=folded[-1].length - 1)
    return folded


def _are_halves(low: Prefix, high: Prefix) -> bool:
    """Tell whether two networks are the halves of one."""
    bit = 1 << BITS[low.version] - low.length
    return (low.version, low.length) == (high.version, high.length) and bool(low.length) and (
        high.value == low.value | bit and not low.value & bit)


def parse_mac(text: str) -> str:
    """Return a machine's MAC address in lower case, or raise PolicyError."""
    mac = text.lower()
    if not MAC.fullmatch(mac):
        raise _wrong(text, 'is not a MAC address such as 00:16:3e:01:02:03')
    if int(mac[:2], 16) & MULTICAST_MAC_BIT:
        raise _wrong(text, 'is a multicast MAC address: the first byte must be even')
    if not int(mac.replace(':', ''), 16):
        raise _wrong(text, 'is all zeros: no machine can own it')
    return mac


def eui64(mac: str, network: int) -> Prefix:
    """Return the address that IPv6 hosts make of their MAC in a /64, by the network's number."""
    number = int(mac.replace(':', ''), 16)
    interface = number >> 24 << 40 | EUI64_FILLER | number & 0xffffff
    return Prefix(6, network | interface ^ UNIVERSAL_BIT, BITS[6])


def eui64_link_local(mac: str) -> Prefix:
    """Return the link-local address that IPv6 hosts make of their MAC."""
    return eui64(mac, LINK_LOCAL.value)


def with_link_local(mac: str, ipv6: FrozenSet[Prefix]) -> FrozenSet[Prefix]:
    """Return IPv6 addresses with the link-local one of a MAC address, if there are any."""
    return ipv6 | {eui64_link_local(mac)} if ipv6 else ipv6


def _wrong(text: str, reason: str) -> PolicyError:
    return PolicyError('%s %s' % (quoted(text), reason))


def _parse_value(address: str, text: str) -> Tuple[int, int]:
    if ':' in address:
        return 6, _parse_ipv6(address, text)
    return 4, _parse_ipv4(address, text)


def _parse_ipv4(address: str, text: str) -> int:
    try:
        one, two, three, four = [OCTETS[octet] for octet in address.split('.')]
    except (KeyError, ValueError):
        raise _why_no_ipv4(address, text) from None
    return one << 24 | two << 16 | three << 8 | four


def _why_no_ipv4(address: str, text: str) -> PolicyError:
    octets = address.split('.')
    if len(octets) != 4 or not all(OCTET.fullmatch(octet) for octet in octets):
        return _wrong(text, 'is not an IPv4 or IPv6 address or network')
    if any(len(octet) > 1 and octet[0] == '0' for octet in octets):
        return _wrong(text, 'has leading zeros, which some programs read as octal')
    return _wrong(text, 'is not an IPv4 address: %d is more than 255' % max(map(int, octets)))


def _parse_ipv6(address: str, text: str) -> int:
    if '%' in address:
        raise _wrong(text, 'has a zone: leave out what follows the %')
    if '.' in address:
        raise _wrong(text, 'mixes IPv4 into IPv6: write it with colons only')
    head, gap, tail = address.partition('::')
    groups = head.split(':') if head else []
    after = tail.split(':') if tail else []
    missing = HEXTETS - len(groups) - len(after)
    if gap and missing > 0:
        groups += ['0'] * missing
    groups += after
    if (gap and missing < 1) or not EIGHT_HEXTETS.fullmatch(':'.join(groups)):
        raise _wrong(text, 'is not an IPv6 address')
    return int(''.join(group.zfill(4) for group in groups), 16)


def _shorten(address: Prefix, length: str, text: str) -> Prefix:
    bits = BITS[address.version]
    if not LENGTH.fullmatch(length) or int(length) > bits:
        raise _wrong(text, 'has no prefix length from 0 to %d after the slash' % bits)
    shift = bits - int(length)
    network = address._replace(value=address.value >> shift << shift,
                               length=int(length))
    if network.value != address.value:
        raise _wrong(text, 'has host bits set: the network is %s, the address %s'
                     % (format_prefix(network), format_prefix(address)))
    return network


def _format_value(prefix: Prefix) -> str:
    if prefix.version == 4:
        return '.'.join(str(prefix.value >> shift & 0xff) for shift in (24, 16, 8, 0))
    text = ':'.join('%x' % (prefix.value >> shift & 0xffff)
                    for shift in range(112, -1, -16))
    runs: List[str] = ZERO_RUN.findall(text)
    longest = max(runs, key=_count_zeros, default='')
    return text.replace(longest, '::', 1) if longest else text


def _count_zeros(run: str) -> int:
    return run.count('0')
