"""Every spelling of an address has one meaning or is refused with the reason."""
import pytest

from xsisolate.errors import PolicyError
from xsisolate.policy.address import (contains, eui64_link_local, format_own, format_prefix,
                                      parse_address, parse_mac, parse_own, parse_prefix, quoted)
from xsisolate.policy.model import Prefix

ALL_ONES = (1 << 128) - 1


@pytest.mark.parametrize('text, prefix', [
    pytest.param('10.0.0.7', Prefix(4, 0x0a000007, 32), id='address'),
    pytest.param('10.0.0.7/32', Prefix(4, 0x0a000007, 32), id='address as /32'),
    pytest.param('10.0.0.0/24', Prefix(4, 0x0a000000, 24), id='network'),
    pytest.param('0.0.0.0/0', Prefix(4, 0, 0), id='everything'),
    pytest.param('255.255.255.255', Prefix(4, 0xffffffff, 32), id='highest'),
    pytest.param('::', Prefix(6, 0, 128), id='v6 unspecified'),
    pytest.param('::/0', Prefix(6, 0, 0), id='v6 everything'),
    pytest.param('::1', Prefix(6, 1, 128), id='v6 gap first'),
    pytest.param('fd00::', Prefix(6, 0xfd << 120, 128), id='v6 gap last'),
    pytest.param('fd00::7', Prefix(6, 0xfd << 120 | 7, 128), id='v6 gap inside'),
    pytest.param('FD00:0000:0:0:0:0:0:0007', Prefix(6, 0xfd << 120 | 7, 128),
                 id='v6 in full, upper case'),
    pytest.param('1:2:3:4:5:6:7::', Prefix(6, 0x00010002000300040005000600070000, 128),
                 id='v6 gap of one'),
    pytest.param('fd00:9::/64', Prefix(6, 0xfd000009 << 96, 64), id='v6 network'),
    pytest.param(':'.join(['ffff'] * 8), Prefix(6, ALL_ONES, 128), id='v6 highest'),
])
def test_prefix_is_understood(text, prefix):
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize('text, reason', [
    pytest.param('', 'is not an IPv4 or IPv6 address', id='empty'),
    pytest.param('web', 'is not an IPv4 or IPv6 address', id='word'),
    pytest.param('10.0.0', 'is not an IPv4 or IPv6 address', id='three octets'),
    pytest.param('10.0.0.0.1', 'is not an IPv4 or IPv6 address', id='five octets'),
    pytest.param('167772167', 'is not an IPv4 or IPv6 address', id='one number'),
    pytest.param('0x0a.0.0.1', 'is not an IPv4 or IPv6 address', id='hexadecimal'),
    pytest.param('10.0.0.-1', 'is not an IPv4 or IPv6 address', id='minus'),
    pytest.param('10.0.0.1 ', 'is not an IPv4 or IPv6 address', id='space behind'),
    pytest.param('10.0.0.1\n', 'is not an IPv4 or IPv6 address', id='newline behind'),
    pytest.param('10.0.0.\u0661', 'is not an IPv4 or IPv6 address', id='Arabic digit'),
    pytest.param('10.0.0.300', '300 is more than 255', id='octet too high'),
    pytest.param('256.0.0.1', '256 is more than 255', id='octet just too high'),
    pytest.param('010.0.0.1', 'leading zeros', id='octal octet'),
    pytest.param('10.0.0.00', 'leading zeros', id='zero twice'),
    pytest.param('10.0.0.7/24', 'network is 10.0.0.0/24, the address 10.0.0.7',
                 id='host bits'),
    pytest.param('10.0.0.0/33', 'from 0 to 32', id='length too high'),
    pytest.param('10.0.0.0/', 'from 0 to 32', id='no length'),
    pytest.param('10.0.0.0/08', 'from 0 to 32', id='length with zero'),
    pytest.param('10.0.0.0/+8', 'from 0 to 32', id='length with sign'),
    pytest.param('10.0.0.0/8/8', 'from 0 to 32', id='two lengths'),
    pytest.param('10.0.0.0/255.0.0.0', 'from 0 to 32', id='netmask'),
    pytest.param('fe80::1%eth0', 'has a zone', id='zone'),
    pytest.param('::ffff:10.0.0.1', 'colons only', id='mapped, with dots'),
    pytest.param('::ffff:a00:1', 'IPv4-mapped', id='mapped, with colons'),
    pytest.param('::ffff:0:0/96', 'IPv4-mapped', id='all mapped ones'),
    pytest.param('64:ff9b::10.0.0.1', 'colons only', id='dots in IPv6'),
    pytest.param(':', 'is not an IPv6 address', id='colon'),
    pytest.param(':::', 'is not an IPv6 address', id='three colons'),
    pytest.param('fd00::7::8', 'is not an IPv6 address', id='two gaps'),
    pytest.param('1:2:3:4:5:6:7', 'is not an IPv6 address', id='seven groups'),
    pytest.param('1:2:3:4:5:6:7:8:9', 'is not an IPv6 address', id='nine groups'),
    pytest.param('1:2:3:4::5:6:7:8', 'is not an IPv6 address', id='gap of nothing'),
    pytest.param(':1:2:3:4:5:6:7', 'is not an IPv6 address', id='colon first'),
    pytest.param('fd00::12345', 'is not an IPv6 address', id='group too long'),
    pytest.param('fd00::g', 'is not an IPv6 address', id='no hex digit'),
    pytest.param('[fd00::7]', 'is not an IPv6 address', id='brackets'),
    pytest.param('fd00::7/64', 'network is fd00::/64, the address fd00::7',
                 id='v6 host bits'),
    pytest.param('fd00::/129', 'from 0 to 128', id='v6 length too high'),
])
def test_prefix_is_refused(text, reason):
    with pytest.raises(PolicyError) as refused:
        parse_prefix(text)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(quoted(text))


@pytest.mark.parametrize('text, canonical', [
    pytest.param('10.0.0.7/32', '10.0.0.7', id='/32'),
    pytest.param('10.0.0.0/8', '10.0.0.0/8', id='/8'),
    pytest.param('FD00:0:0:0:0:0:0:7/128', 'fd00::7', id='/128'),
    pytest.param('0:0:1:0:0:2:3:4', '::1:0:0:2:3:4', id='first of two equal runs'),
    pytest.param('1:0:0:2:0:0:0:3', '1:0:0:2::3', id='longest run'),
    pytest.param('1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7', id='no run of one'),
    pytest.param('10:0:0:20:30:0:0:0', '10:0:0:20:30::', id='zeros inside groups'),
    pytest.param('0:0:0:0:0:0:0:0/0', '::/0', id='nothing but zeros'),
])
def test_format_is_canonical(text, canonical):
    assert format_prefix(parse_prefix(text)) == canonical


@pytest.mark.parametrize('outer, inner, answer', [
    pytest.param('10.0.0.0/24', '10.0.0.7', True, id='address inside'),
    pytest.param('10.0.0.0/24', '10.0.0.0/24', True, id='itself'),
    pytest.param('10.0.0.0/24', '10.0.0.0/23', False, id='wider'),
    pytest.param('10.0.0.0/24', '10.0.1.0/25', False, id='beside'),
    pytest.param('0.0.0.0/0', '255.255.255.255', True, id='everything'),
    pytest.param('0.0.0.0/0', '::/0', False, id='v6 in v4'),
    pytest.param('::/0', '10.0.0.1', False, id='v4 in v6'),
    pytest.param('fd00::/64', 'fd00::1:0:0:7', True, id='v6 inside'),
])
def test_contains(outer, inner, answer):
    assert contains(parse_prefix(outer), parse_prefix(inner)) is answer


@pytest.mark.parametrize('text, version, reason', [
    pytest.param('0.0.0.0', 4, 'unspecified', id='unspecified'),
    pytest.param('0.1.2.3', 4, 'unspecified', id='this network'),
    pytest.param('127.0.0.1', 4, 'loopback', id='loopback'),
    pytest.param('224.0.0.1', 4, 'multicast', id='multicast'),
    pytest.param('239.0.0.0/8', 4, 'multicast', id='multicast network'),
    pytest.param('255.255.255.255', 4, 'broadcast', id='broadcast'),
    pytest.param('::', 6, 'unspecified', id='v6 unspecified'),
    pytest.param('::1', 6, 'loopback', id='v6 loopback'),
    pytest.param('ff02::1', 6, 'multicast', id='v6 multicast'),
    pytest.param('fd00::7', 4, 'belongs into ipv6', id='v6 under ipv4'),
    pytest.param('10.0.0.7', 6, 'belongs into ipv4', id='v4 under ipv6'),
    pytest.param('0.0.0.0/0', 4, 'the word any if it may', id='every address'),
    pytest.param('::/0', 6, 'the word any if it may', id='v6 every address'),
    pytest.param('Any', 4, 'is not an IPv4 or IPv6 address', id='any in capitals'),
])
def test_own_address_is_refused(text, version, reason):
    with pytest.raises(PolicyError) as refused:
        parse_own(text, version)
    assert reason in str(refused.value)


@pytest.mark.parametrize('text, version', [
    pytest.param('10.0.0.7', 4, id='address'),
    pytest.param('169.254.1.1', 4, id='link-local'),
    pytest.param('0.0.0.0/1', 4, id='half of all'),
    pytest.param('fe80::7', 6, id='v6 link-local'),
    pytest.param('fd00:9::/64', 6, id='v6 network'),
])
def test_own_address_is_understood(text, version):
    assert parse_own(text, version) == parse_prefix(text)


@pytest.mark.parametrize('version, text', [(4, '0.0.0.0/0'), (6, '::/0')])
def test_every_address_is_owned_by_a_word_only(version, text):
    assert parse_own('any', version) == parse_prefix(text)
    assert format_own(parse_prefix(text)) == 'any'


@pytest.mark.parametrize('text, version, reason', [
    pytest.param('10.0.0.7/32', 4, 'is a network', id='slash'),
    pytest.param('fd00::7', 4, 'an IPv4 address is expected', id='v6 for v4'),
    pytest.param('224.0.0.1', 4, 'multicast', id='multicast'),
])
def test_single_address_is_refused(text, version, reason):
    with pytest.raises(PolicyError) as refused:
        parse_address(text, version)
    assert reason in str(refused.value)


@pytest.mark.parametrize('text, mac', [
    pytest.param('00:16:3e:01:02:03', '00:16:3e:01:02:03', id='lower case'),
    pytest.param('00:16:3E:AB:CD:EF', '00:16:3e:ab:cd:ef', id='upper case'),
])
def test_mac_is_understood(text, mac):
    assert parse_mac(text) == mac


@pytest.mark.parametrize('text, reason', [
    pytest.param('01:00:5e:00:00:01', 'multicast', id='multicast'),
    pytest.param('ff:ff:ff:ff:ff:ff', 'multicast', id='broadcast'),
    pytest.param('00:00:00:00:00:00', 'all zeros', id='zeros'),
    pytest.param('00-16-3e-01-02-03', 'is not a MAC', id='dashes'),
    pytest.param('0:16:3e:1:2:3', 'is not a MAC', id='short bytes'),
    pytest.param('00:16:3e:01:02:03:04', 'is not a MAC', id='seven bytes'),
    pytest.param('00:16:3e:01:02:03\n', 'is not a MAC', id='newline behind'),
    pytest.param('', 'is not a MAC', id='empty'),
])
def test_mac_is_refused(text, reason):
    with pytest.raises(PolicyError) as refused:
        parse_mac(text)
    assert reason in str(refused.value)


@pytest.mark.parametrize('mac, address', [
    pytest.param('00:16:3e:01:02:03', 'fe80::216:3eff:fe01:203', id='universal'),
    pytest.param('02:00:00:00:00:01', 'fe80::ff:fe00:1', id='local'),
])
def test_link_local_address(mac, address):
    assert format_prefix(eui64_link_local(mac)) == address


@pytest.mark.parametrize('text, shown', [
    pytest.param('web', "'web'", id='word'),
    pytest.param('a\nb\x1b[1m\xe9', r"'a\nb\x1b[1m\xe9'", id='escaped'),
    pytest.param('x' * 64, "'%s'" % ('x' * 64), id='just fits'),
    pytest.param('\n' * 40, "'%s...'" % (r'\n' * 31 + '\\'), id='escapes count'),
    pytest.param('x' * 65, "'%s...'" % ('x' * 63), id='shortened'),
])
def test_quoted(text, shown):
    assert quoted(text) == shown
