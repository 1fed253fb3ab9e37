"""What holds for every address, with the standard library's parser as the referee."""
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.address import (BITS, contains, eui64_link_local, fold, format_prefix,
                                      parse_mac, parse_prefix, quoted)
from xsisolate.policy.model import Prefix

MAPPED = ipaddress.ip_network('::ffff:0:0/96')
NEARLY = st.text(alphabet='0123456789abcdefF:./% \n', max_size=24)


@st.composite
def prefixes(draw):
    version = draw(st.sampled_from((4, 6)))
    length = draw(st.integers(0, BITS[version]))
    shift = BITS[version] - length
    return Prefix(version, draw(st.integers(0, (1 << length) - 1)) << shift, length)


def referee(prefix):
    kind = ipaddress.IPv4Network if prefix.version == 4 else ipaddress.IPv6Network
    return kind((prefix.value, prefix.length))


def lies_in(inner, outer):
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def is_mapped(prefix):
    return prefix.version == 6 and lies_in(referee(prefix), MAPPED)


def accepts(text):
    try:
        return parse_prefix(text)
    except PolicyError as error:
        assert_one_line(str(error))
        return None


def assert_one_line(text):
    assert text.isprintable() and text.encode('ascii') and len(text) < 300


@given(prefixes())
def test_what_is_written_reads_back(prefix):
    assert is_mapped_or_equal(prefix, accepts(format_prefix(prefix)))


def is_mapped_or_equal(prefix, read):
    return read == prefix or (read is None and (is_mapped(prefix) or is_compatible(prefix)))


def is_compatible(prefix):
    return prefix.version == 6 and prefix.length >= 96 and 1 < prefix.value < 1 << 32


@given(prefixes())
def test_format_is_the_referees(prefix):
    if not is_mapped(prefix):
        address = str(referee(prefix).network_address)
        suffix = '' if prefix.length == BITS[prefix.version] else '/%d' % prefix.length
        assert format_prefix(prefix) == address + suffix


@given(prefixes(), prefixes())
def test_contains_is_the_referees(outer, inner):
    assert contains(outer, inner) is (
        outer.version == inner.version and lies_in(referee(inner), referee(outer)))


@given(prefixes(), st.integers(0, 128))
def test_a_network_contains_its_parts(outer, more):
    length = min(outer.length + more, BITS[outer.version])
    assert contains(outer, outer._replace(length=length))


@given(st.one_of(NEARLY, st.text()))
def test_what_is_accepted_the_referee_accepts(text):
    prefix = accepts(text)
    if prefix:
        assert ipaddress.ip_network(text) == referee(prefix)


@given(st.one_of(st.text(), st.text(alphabet='"\'\\\n\x00\U0001f600', max_size=200)))
def test_quoted_is_one_bounded_line(text):
    assert_one_line(quoted(text))


@given(st.integers(1, (1 << 48) - 1))
def test_macs(number):
    digits = '%012X' % number
    text = ':'.join(digits[at:at + 2] for at in range(0, 12, 2))
    try:
        mac = parse_mac(text)
    except PolicyError:
        assert number >> 40 & 1
    else:
        assert mac == text.lower()
        assert contains(parse_prefix('fe80::/64'), eui64_link_local(mac))


@given(st.lists(prefixes(), max_size=12), st.integers(0, 250), st.integers(1, 40))
def test_folding_is_collapsing(some, first, count):
    row = [Prefix(4, 0x0a000000 + first + number, 32) for number in range(count)]
    for version in (4, 6):
        mine = [prefix for prefix in some + row if prefix.version == version]
        expected = ipaddress.collapse_addresses([referee(prefix) for prefix in mine])
        assert [referee(prefix) for prefix in fold(mine)] == list(expected)
    assert fold(some + row) == fold(reversed(some + row))
