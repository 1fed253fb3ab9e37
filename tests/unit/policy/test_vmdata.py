"""vm-data as admins write it, and as guests would like to."""
import pytest

from xsisolate.errors import PolicyError
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import LEASED4, LEASED6, SLAAC, Mode, Peer, Service, VifPolicy
from xsisolate.policy.service import EXTENSIONS, format_service, parse_service
from xsisolate.policy.vmdata_parser import MAX_VALUE, parse_vmdata


def prefixes(*texts):
    return frozenset(map(parse_prefix, texts))


def peers(*texts):
    return frozenset(map(Peer, prefixes(*texts)))


def refusal(common, own):
    with pytest.raises(PolicyError) as refused:
        parse_vmdata(common, own, devid='0')
    text = str(refused.value)
    assert text.isprintable() and text.encode('ascii') and len(text) < 400
    return text


@pytest.mark.parametrize('common, own, policy', [
    pytest.param({}, {}, None, id='nothing'),
    pytest.param({'mode': b'unlocked'}, {}, VifPolicy(mode=Mode.UNLOCKED),
                 id='a mode that is zero is a policy'),
    pytest.param({'mode': b'isolated'}, {'mode': b'locked'},
                 VifPolicy(mode=Mode.LOCKED), id='the own mode wins'),
    pytest.param({'groups': b'red, blue\ngreen'}, {},
                 VifPolicy(groups=frozenset(['red', 'blue', 'green'])),
                 id='separators'),
    pytest.param({'groups': b',red,, \n ,red '}, {},
                 VifPolicy(groups=frozenset(['red'])), id='empty items, repeats'),
    pytest.param({'groups': b'\tred\r\nblue\t\t,\r\n green \r\n'}, {},
                 VifPolicy(groups=frozenset(['red', 'blue', 'green'])),
                 id='white space as tools write it'),
    pytest.param({'mode': b'isolated\n'}, {}, VifPolicy(mode=Mode.ISOLATED), id='mode, newline'),
    pytest.param({'mode': b' isolated'}, {'mode': b'\t\r\n locked \t\r\n'},
                 VifPolicy(mode=Mode.LOCKED), id='mode, white space of all kinds'),
    pytest.param({'groups': b''}, {}, VifPolicy(groups=frozenset()),
                 id='an empty list is there'),
    pytest.param({'groups': b' \r\n\t'}, {}, VifPolicy(groups=frozenset()),
                 id='a blank list is an empty one'),
    pytest.param({'groups': b'red', 'allow': b'external'}, {'groups': b''},
                 VifPolicy(groups=frozenset(), allow=frozenset([Peer(None)])),
                 id='an empty own list replaces'),
    pytest.param({'allow': b'10.0.0.1', 'allow-1': b'10.0.0.2'}, {'allow': b'10.0.0.3'},
                 VifPolicy(allow=peers('10.0.0.3')),
                 id='the own list replaces all numbered keys'),
    pytest.param({'allow': b'10.0.0.1'}, {'allow': b'', 'allow-1': b'10.0.0.3'},
                 VifPolicy(allow=peers('10.0.0.3')), id='an own numbered key'),
    pytest.param({'allow': b'', **{'allow-%d' % n: b'10.0.0.%d' % n
                                   for n in range(1, 13)}}, {},
                 VifPolicy(allow=peers(*('10.0.0.%d' % n for n in range(1, 13)))),
                 id='twelve numbered keys'),
    pytest.param({}, {'ipv4': b'dhcp'}, VifPolicy(ipv4=frozenset(), sources=frozenset([LEASED4])),
                 id='leased addresses alone'),
    pytest.param({}, {'ipv4': b'10.0.0.7,dhcp', 'ipv6': b'slaac', 'ipv6-1': b'dhcp fd00::7'},
                 VifPolicy(ipv4=prefixes('10.0.0.7'), ipv6=prefixes('fd00::7'),
                           sources=frozenset([LEASED4, LEASED6, SLAAC])), id='words and addresses'),
    pytest.param({}, {'ipv4': b'10.0.0.7 10.1.0.0/24', 'ipv6': b'FD00::7'},
                 VifPolicy(ipv4=prefixes('10.0.0.7', '10.1.0.0/24'),
                           ipv6=prefixes('fd00::7')), id='own addresses'),
    pytest.param({}, {'roles': b'router\tdhcp,gateway'},
                 VifPolicy(roles=frozenset(['dhcp', 'gateway', 'router'])), id='roles'),
    pytest.param({}, {'mac': b'00:00:5E:00:01:05,vrrp'},
                 VifPolicy(mac=frozenset(['00:00:5e:00:01:05', 'vrrp'])), id='MAC addresses'),
    pytest.param({}, {'shared': b'FD00::8 10.0.0.8'},
                 VifPolicy(shared=prefixes('10.0.0.8', 'fd00::8')), id='addresses to share'),
])
def test_policy_is_understood(common, own, policy):
    assert parse_vmdata(common, own) == policy


@pytest.mark.parametrize('text, peer', [
    pytest.param('10.0.0.7', Peer(parse_prefix('10.0.0.7')), id='address'),
    pytest.param('0.0.0.0/0', Peer(parse_prefix('0.0.0.0/0')), id='everybody'),
    pytest.param('external', Peer(None), id='external'),
    pytest.param('tcp/5432@10.0.0.7',
                 Peer(parse_prefix('10.0.0.7'), Service('tcp', 5432, 5432)), id='port'),
    pytest.param('udp/53@10.0.0.0/24',
                 Peer(parse_prefix('10.0.0.0/24'), Service('udp', 53, 53)), id='udp'),
    pytest.param('icmp6@fd00::7', Peer(parse_prefix('fd00::7'), Service('icmp6')),
                 id='icmp6'),
    pytest.param('icmp@10.0.0.7', Peer(parse_prefix('10.0.0.7'), Service('icmp')),
                 id='icmp'),
    pytest.param('icmp/8@10.0.0.7', Peer(parse_prefix('10.0.0.7'), Service('icmp', 8, 8)),
                 id='type'),
    pytest.param('icmp/0@external', Peer(None, Service('icmp', 0, 0)), id='type 0 is not all'),
    pytest.param('ip/50@fd00::7', Peer(parse_prefix('fd00::7'), Service('esp')), id='by number'),
    pytest.param('ip/6@fd00::7', Peer(parse_prefix('fd00::7'), Service('tcp')), id='tcp by number'),
    pytest.param('ip/254@external', Peer(None, Service('ip/254')), id='without a name'),
    pytest.param('sctp/3868@external', Peer(None, Service('sctp', 3868, 3868)), id='sctp'),
    pytest.param('gre@external', Peer(None, Service('gre')), id='gre'),
    pytest.param('external;tftp', Peer(None, Service('tftp')), id='tftp, older spelling'),
    pytest.param('tcp/8000-8100@10.0.0.7',
                 Peer(parse_prefix('10.0.0.7'), Service('tcp', 8000, 8100)),
                 id='range'),
    pytest.param('tcp/443@external', Peer(None, Service('tcp', 443, 443)),
                 id='external port'),
    pytest.param('external;tcp/443', Peer(None, Service('tcp', 443, 443)),
                 id='older spelling'),
    pytest.param('fd00::/64;udp', Peer(parse_prefix('fd00::/64'), Service('udp', 0, 65535)),
                 id='older spelling of a network'),
    pytest.param('icmp6@external', Peer(None, Service('icmp6')), id='external icmp6'),
    pytest.param('udp@fd00::/64', Peer(parse_prefix('fd00::/64'),
                                       Service('udp', 0, 65535)), id='all of udp'),
])
def test_peer_is_understood(text, peer):
    assert parse_vmdata({'allow': text.encode()}, {}) == VifPolicy(
        allow=frozenset([peer]))


@pytest.mark.parametrize('common, own, place, reason', [
    pytest.param({'mod': b'locked'}, {}, 'vm-data/xsisolate/', "unknown key 'mod'",
                 id='unknown'),
    pytest.param({}, {'mac': b'carp'}, 'vif/0/mac', 'nor the word vrrp', id='no MAC address'),
    pytest.param({}, {'mac': b'01:00:5e:00:00:12'}, 'vif/0/mac', 'is a multicast MAC address',
                 id='a multicast MAC address'),
    pytest.param({}, {'mac': b'ff:ff:ff:ff:ff:ff'}, 'vif/0/mac', 'is a multicast MAC address',
                 id='the broadcast address'),
    pytest.param({}, {'mac': b'00:00:5e:00:01:00/40'}, 'vif/0/mac', 'is not a MAC address',
                 id='a MAC address with a length'),
    pytest.param({}, {'mac': b' '.join(b'02:00:00:00:00:%02x' % n for n in range(17))},
                 'vif/0/mac', 'has more than 16 entries', id='too many MAC addresses'),
    pytest.param({'mac': b'vrrp'}, {}, 'xsisolate/', "unknown key 'mac' (addresses, roles and",
                 id='MAC addresses of all VIFs'),
    pytest.param({}, {'roles': b'boss'}, 'vif/0/roles', "'boss' is not a role", id='no role'),
    pytest.param({'roles': b'dhcp'}, {}, 'xsisolate/', "unknown key 'roles' (addresses, roles and",
                 id='roles of all VIFs'),
    pytest.param({}, {'vlan': b'1'}, 'vif/0/', "unknown key 'vlan'", id='own unknown'),
    pytest.param({'Mode': b'locked'}, {}, 'xsisolate/', "unknown key 'Mode'",
                 id='upper case'),
    pytest.param({'': b''}, {}, 'xsisolate/', "unknown key ''", id='no name'),
    pytest.param({'mode-1': b'locked'}, {}, 'xsisolate/', "unknown key 'mode-1'",
                 id='a mode is no list'),
    pytest.param({'a\nb\x1b': b''}, {}, 'xsisolate/', r"unknown key 'a\nb\x1b'",
                 id='key with controls'),
    pytest.param({'x' * 5000: b''}, {}, 'xsisolate/', "x...'", id='key too long'),
    pytest.param({'\ud800\u202e': b''}, {}, 'xsisolate/', r"'\ud800\u202e'",
                 id='key with surrogate'),
    pytest.param({'ipv4': b'10.0.0.7'}, {}, 'xsisolate/', 'under vif/<devid>/',
                 id='addresses for the whole VM'),
    pytest.param({'mode': b'isolatd'}, {}, 'xsisolate/mode: ',
                 "'isolatd' is not a mode (unlocked, locked, isolated, disabled)",
                 id='no mode'),
    pytest.param({'mode': b''}, {}, 'mode: ', "'' is not a mode", id='empty mode'),
    pytest.param({'mode': b'quarantined'}, {}, 'mode: ', 'is not a mode',
                 id='nobody writes quarantined'),
    pytest.param({'mode': b'Locked'}, {}, 'mode: ', 'is not a mode', id='mode upper case'),
    pytest.param({'mode': b' \r\n'}, {}, 'mode: ', "'' is not a mode", id='blank mode'),
    pytest.param({'mode': b'lo cked'}, {}, 'mode: ', "'lo cked' is not a mode",
                 id='white space inside a mode'),
    pytest.param({'mode': b'locked,'}, {}, 'mode: ', "'locked,' is not a mode",
                 id='a comma is no white space'),
    pytest.param({'groups': b'red _blue'}, {}, 'groups: ', "'_blue' is not a group name",
                 id='group starts badly'),
    pytest.param({'groups': b'a' * 64}, {}, 'groups: ', 'is not a group name',
                 id='group too long'),
    pytest.param({'groups': b'red;blue'}, {}, 'groups: ', 'is not a group name',
                 id='semicolon'),
    pytest.param({'groups': b' '.join(b'g%d' % n for n in range(65))}, {}, 'groups: ',
                 'has more than 64 entries', id='too many groups'),
    pytest.param({'allow': b'10.0.0.300'}, {}, 'xsisolate/allow: ',
                 "'10.0.0.300' is not an IPv4 address: 300 is more than 255", id='octet'),
    pytest.param({'allow': b'', 'allow-1': b'10.0.0.7/24'}, {}, 'xsisolate/allow-1: ',
                 "'10.0.0.7/24' has host bits set: the network is 10.0.0.0/24",
                 id='host bits'),
    pytest.param({'allow': b'externl'}, {}, 'allow: ', 'is not a peer', id='typo'),
    pytest.param({'allow': b'@10.0.0.7'}, {}, 'allow: ', "'' is not a service",
                 id='no service'),
    pytest.param({'allow': b'10.0.0.7;'}, {}, 'allow: ', "'' is not a service",
                 id='no service, older spelling'),
    pytest.param({'allow': b'tcp/1@'}, {}, 'allow: ', "'' is not a peer", id='no peer'),
    pytest.param({'allow': b'external@tcp/443'}, {}, 'allow: ', "'tcp/443' is not a peer: write an "
                 'address, a network or external, with a direction and a service in front if '
                 'wanted, as in tcp/443@external, out:tcp/443@external or out:external',
                 id='turned round'),
    pytest.param({'allow': b'tcp/443'}, {}, 'allow: ', "'tcp/443' is not a peer",
                 id='no separator'),
    pytest.param({'allow': b'external;tcp/443@10.0.0.7'}, {}, 'allow: ', 'is not a service',
                 id='both spellings'),
    pytest.param({'allow': b'10.0.0.7;tcp/1;udp/1'}, {}, 'allow: ', 'is not a service',
                 id='two services, older spelling'),
    pytest.param({'allow': b'dccp/1@10.0.0.7'}, {}, 'allow: ', 'is not a service',
                 id='other protocol'),
    pytest.param({'allow': b'tcp/1@udp/1@10.0.0.7'}, {}, 'allow: ', 'is not a peer',
                 id='two services'),
    pytest.param({'allow': b'TCP/1@10.0.0.7'}, {}, 'allow: ', 'is not a service',
                 id='protocol upper case'),
    pytest.param({'allow': b'icmp/8-9@10.0.0.7'}, {}, 'allow: ', 'is not a service',
                 id='icmp has no ports'),
    pytest.param({'allow': b'tcp/0@10.0.0.7'}, {}, 'allow: ', 'ports from 1 to 65535',
                 id='port 0'),
    pytest.param({'allow': b'tcp/65536@10.0.0.7'}, {}, 'allow: ', 'from 1 to 65535',
                 id='port too high'),
    pytest.param({'allow': b'tcp/9-8@10.0.0.7'}, {}, 'allow: ', 'lower one first',
                 id='range turned round'),
    pytest.param({'allow': b'tcp/080@10.0.0.7'}, {}, 'allow: ', 'leading zeros',
                 id='port with zero'),
    pytest.param({'allow': b'tcp/80-@10.0.0.7'}, {}, 'allow: ', 'is not a service',
                 id='half a range'),
    pytest.param({'allow': b'icmp6@10.0.0.7'}, {}, 'allow: ', 'icmp6 is IPv6',
                 id='icmp6 with IPv4'),
    pytest.param({'allow': b'icmp@fd00::7'}, {}, 'allow: ', 'icmp is IPv4',
                 id='icmp with IPv6'),
    pytest.param({'allow': b' '.join([b'10.1.1.1'] * 342),
                  'allow-1': b' '.join([b'10.1.1.1'] * 400),
                  'allow-2': b' '.join([b'10.1.1.1'] * 283)}, {}, 'allow: ',
                 'has more than 1024 entries', id='too many peers'),
    pytest.param({'allow-1': b'10.0.0.1'}, {}, 'xsisolate/allow: ', 'is missing',
                 id='numbered key alone'),
    pytest.param({'allow': b'', 'allow-1': b'', 'allow-3': b''}, {},
                 'allow-2: ', 'is missing, though allow-3 is there', id='gap'),
    pytest.param({'allow': b''}, {'allow-1': b'10.0.0.1'}, 'vif/0/allow: ',
                 'is missing', id='own does not continue common'),
    pytest.param({'allow': b'', 'allow-01': b''}, {}, 'xsisolate/', 'unknown key',
                 id='number with zero'),
    pytest.param({'allow': b'', 'allow-0': b''}, {}, 'xsisolate/', 'unknown key',
                 id='number 0'),
    pytest.param({'allow': b'', 'allow-65': b''}, {}, 'xsisolate/allow-65: ',
                 'at most 64 numbered keys', id='number 65'),
    pytest.param({'allow': b'', 'allow-' + '9' * 99: b''}, {}, 'xsisolate/',
                 'unknown key', id='number without end'),
    pytest.param({'allow': b'', 'allow-\u0661': b''}, {}, 'xsisolate/', 'unknown key',
                 id='Arabic number'),
    pytest.param({'allow': b'10.0.\t0.7'}, {}, 'allow: ', "'10.0.' is not an IPv4",
                 id='white space inside an address'),
    pytest.param({'allow': b'10.0.0.0 /24'}, {}, 'allow: ', "'/24' is not a peer",
                 id='white space before a length'),
    pytest.param({'allow': b'tcp/443 @ external'}, {}, 'allow: ', "is not a peer",
                 id='white space around a separator'),
    pytest.param({'allow': b'exter\nnal'}, {}, 'allow: ', "'exter' is not a peer",
                 id='white space inside a word'),
    pytest.param({'mode\n': b'locked'}, {}, 'xsisolate/', r"unknown key 'mode\n'",
                 id='white space in a key'),
    pytest.param({'groups': b'red\0'}, {}, 'groups: ', r"has '\x00' as byte 4",
                 id='NUL'),
    pytest.param({'groups': b'caf\xc3\xa9'}, {}, 'groups: ', r"has '\xc3' as byte 4",
                 id='UTF-8'),
    pytest.param({'groups': b'\x1b[2J' * 900}, {}, 'groups: ', r"has '\x1b' as byte 1",
                 id='terminal escapes'),
    pytest.param({'groups': b' ' * (MAX_VALUE + 1)}, {}, 'groups: ', 'has 4097 bytes',
                 id='value too long'),
    pytest.param({}, {'shared': b'10.0.0.0/24'}, 'vif/0/shared: ', 'a single address is expected',
                 id='a network to share'),
    pytest.param({}, {'shared': b'127.0.0.1'}, 'vif/0/shared: ', 'is a loopback address',
                 id='a loopback address to share'),
    pytest.param({'shared': b'10.0.0.1'}, {}, "unknown key 'shared'", 'are written per VIF',
                 id='shared for all VIFs'),
    pytest.param({}, {'ipv4': b'fd00::7'}, 'vif/0/ipv4: ', 'belongs into ipv6',
                 id='v6 under ipv4'),
    pytest.param({}, {'ipv4': b'slaac'}, 'vif/0/ipv4: ', 'belongs into ipv6',
                 id='slaac under ipv4'),
    pytest.param({}, {'ipv6': b'dhcpv6'}, 'vif/0/ipv6: ', 'nor a word (any, dhcp, slaac)',
                 id='an unknown word'),
    pytest.param({}, {'ipv4': b'DHCP'}, 'vif/0/ipv4: ', 'nor a word (any, dhcp)',
                 id='words are lower case'),
    pytest.param({}, {'shared': b'dhcp'}, 'vif/0/shared: ', 'not an IPv4 or IPv6 address',
                 id='a lease is not shared'),
    pytest.param({'ipv4': b'dhcp'}, {}, 'xsisolate/', 'under vif/<devid>/', id='dhcp for the VM'),
    pytest.param({}, {'ipv6': b'10.0.0.7'}, 'vif/0/ipv6: ', 'belongs into ipv4',
                 id='v4 under ipv6'),
    pytest.param({}, {'ipv4': b'224.0.0.1'}, 'vif/0/ipv4: ', 'multicast',
                 id='own multicast'),
    pytest.param({}, {'ipv4': b' '.join(b'10.0.%d.%d' % divmod(n, 256)
                                        for n in range(257))}, 'vif/0/ipv4: ',
                 'has more than 256 entries', id='too many own addresses'),
    pytest.param({'groups': b'_'}, {'groups': b'red'}, 'xsisolate/groups: ',
                 'is not a group name', id='a replaced key is read all the same'),
])
def test_policy_is_refused(common, own, place, reason):
    text = refusal(common, own)
    assert place in text and reason in text


LEGAL = b'\t\r\n' + bytes(range(0x20, 0x7f))
BLANKS = ('\x85', '\xa0', '\u1680', '\u2003', '\u200b', '\u2028', '\u3000', '\ufeff')


@pytest.mark.parametrize('name, word', [
    ('mode', b'locked'), ('groups', b'red'), ('allow', b'external'), ('ipv4', b'10.0.0.7'),
    ('ipv6', b'fd00::7')])
@pytest.mark.parametrize('bad', [bytes([byte]) for byte in range(256) if byte not in LEGAL]
                         + [blank.encode() for blank in BLANKS])
def test_no_other_byte_is_white_space(name, word, bad):
    for value in (word + bad, bad + word, word + b' ' + bad):
        assert 'only printable ASCII, tabs and line ends' in refusal({}, {name: value})


def test_just_within_the_limits():
    many = {'allow': b' '.join([b'10.1.1.1'] * 400),
            'allow-1': b' '.join([b'10.1.1.2'] * 400),
            'allow-2': b' '.join([b'10.1.1.3'] * 224)}
    assert parse_vmdata(many, {}).allow == peers('10.1.1.1', '10.1.1.2', '10.1.1.3')


def test_all_numbered_keys():
    many = {'allow': b'', **{'allow-%d' % n: b'' for n in range(1, 65)}}
    assert parse_vmdata(many, {}) == VifPolicy(allow=frozenset())


def test_whole_protocol_differs_from_all_its_ports():
    assert parse_service('tcp') != parse_service('tcp/1-65535')


@pytest.mark.parametrize('text, reason', [
    ('ip/0', 'is a header of IPv6'), ('ip/44', 'is a header of IPv6'),
    ('ip/255', 'from 1 to 254'), ('ip/050', 'leading zeros'), ('ip', 'is not a service'),
    ('icmp/5', 'redirect'), ('icmp6/135', 'neighbours'), ('icmp/256', 'from 0 to 255'),
    ('icmp/8-9', 'is not a service'), ('esp/50', 'is not a service'), ('tftp/69', 'is not a'),
    ('icmp/echo', 'is not a service'), ('sctp/0', 'ports from 1'), ('ah@fd00::7', 'AH is IPv4')])
def test_services_that_could_match_nothing_are_refused(text, reason):
    found = refusal({'allow': (text if '@' in text else text + '@external').encode()}, {})
    assert reason.lower() in found.lower()


def test_a_protocol_has_one_spelling():
    """Seals and sets of peers rely on it."""
    for number in range(1, 255):
        if number not in EXTENSIONS:
            service = parse_service('ip/%d' % number)
            assert parse_service(format_service(service)) == service
    assert format_service(parse_service('ip/132')) == 'sctp'
