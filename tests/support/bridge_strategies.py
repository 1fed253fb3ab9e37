"""Arbitrary bridges for property tests: VIFs with any policies in any configuration."""
from hypothesis import strategies as st

from support.bridge_scenarios import (BOND, BRIDGE, GATEWAY_MAC, TAPS_FROM, UPLINK, Scenario,
                                      attached, mac_of, make_scenario, member)
from xsisolate.planner.vif import Vif, VifPort
from xsisolate.policy.address import BITS, LINK_LOCAL, contains, eui64_link_local
from xsisolate.policy.model import (ANYTHING, EITHER, HOLDERS, IN, OUT, ROLES, SOURCES,
                                    EffectivePolicy, Gateway, Group, Mode, Network, Peer, Prefix,
                                    Service, Source)
from xsisolate.policy.service import VERSIONS
from xsisolate.vif_id import VifId

GROUPS = ('red', 'blue', 'a.b-c_d', 'x' * 63)
TAGS = (0, 10, 4094)
SUBNET4, SUBNET6 = 0x0a090000, 0xfd00_0009 << 96

MODES = st.sampled_from([mode for mode in Mode if mode is not Mode.UNLOCKED])
GROUP_SETS = st.frozensets(st.sampled_from(GROUPS), max_size=3)
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
DIRECTIONS = st.sampled_from([EITHER, OUT, IN])
SERVICES = st.one_of(
    st.sampled_from([Service(protocol) for protocol in (
        'icmp', 'icmp6', 'tcp', 'sctp', 'gre', 'esp', 'ah', 'tftp', 'ip/4', 'ip/89')]),
    st.builds(lambda protocol, kind: Service(protocol, kind, kind),
              st.sampled_from(['icmp', 'icmp6']), st.sampled_from([0, 8, 13, 30, 128, 129])),
    st.builds(lambda protocol, ports: Service(protocol, *ports),
              st.sampled_from(['tcp', 'udp', 'sctp']), PORTS))


def prefix_of(version, value, length):
    """Return the network of a length that an address is in."""
    shift = BITS[version] - length
    return Prefix(version, value >> shift << shift, length)


ANY_PREFIXES = st.one_of(
    st.builds(prefix_of, st.just(4), st.integers(0, (1 << 32) - 1), st.integers(0, 32)),
    st.builds(prefix_of, st.just(6), st.integers(0, (1 << 128) - 1), st.integers(0, 128)),
    st.integers(0, 255).map(lambda host: Prefix(4, SUBNET4 | host, 32)),
    st.integers(0, 255).map(lambda host: Prefix(6, SUBNET6 | host, 128)))


@st.composite
def peers(draw):
    """Draw an entry of an allow list that vm-data could have written."""
    prefix, service = draw(st.none() | ANY_PREFIXES), draw(st.none() | SERVICES)
    if service or draw(st.booleans()):
        service = (service or Service(ANYTHING))._replace(direction=draw(DIRECTIONS))
        service = None if service == Service(ANYTHING) else service
    if prefix and service and VERSIONS.get(service.protocol, prefix.version) != prefix.version:
        service = Service('icmp' if prefix.version == 4 else 'icmp6', direction=service.direction)
    return Peer(prefix, service)


@st.composite
def own_addresses(draw, number):
    """Draw addresses and networks that no other VIF of the bridge has."""
    own = set()
    for version, base in ((4, number << 20 | 10 << 24), (6, SUBNET6 | number << 32)):
        for slot in draw(st.frozensets(st.integers(0, 15), max_size=3)):
            length = draw(st.integers(BITS[version] - 8, BITS[version]))
            own.add(prefix_of(version, base | slot << 12 | draw(st.integers(0, 4095)), length))
    if any(prefix.version == 6 for prefix in own):
        own.add(eui64_link_local(mac_of(number)))
    return frozenset(own)


SOURCE_SETS = st.sampled_from([frozenset()] * 2) | st.frozensets(st.sampled_from(SOURCES))
# Most VIFs hold no role.
ROLE_SETS = st.sampled_from([frozenset()] * 2) | st.frozensets(st.sampled_from(ROLES))
# Nor have most additional MAC addresses; the gateways' are among VRRP's.
MAC_SETS = st.sampled_from([frozenset()] * 2) | st.frozensets(st.sampled_from((
    'vrrp', GATEWAY_MAC, '00:00:5e:00:01:33', '00:00:5e:00:02:33', '02:00:00:00:ee:01')))


def own_macs(number):
    """Return a strategy of additional MAC addresses that no other VIF of the bridge has."""
    listed = ('02:00:00:00:ee:%02x' % number, 'vrrp' if number == 11 else
              '02:00:00:00:ef:%02x' % number)
    return st.sampled_from([frozenset()] * 2) | st.frozensets(st.sampled_from(listed))


@st.composite
def vifs(draw, number):
    """Draw a VIF; its number is in its name, MAC address, ofport and addresses."""
    mode = draw(MODES)
    trunks = draw(st.frozensets(st.sampled_from(TAGS), max_size=3)) if draw(
        st.integers(0, 3)) == 0 else frozenset()
    tags = sorted(trunks) or [draw(st.sampled_from(TAGS))]
    policy = EffectivePolicy(mode)
    if mode in (Mode.LOCKED, Mode.ISOLATED):
        policy = EffectivePolicy(mode, draw(own_addresses(number)), draw(GROUP_SETS),
                                 draw(st.frozensets(peers(), max_size=4)), roles=draw(ROLE_SETS),
                                 macs=draw(own_macs(number)),
                                 sources=draw(SOURCE_SETS))
        leased = frozenset(address for address in policy.addresses
                           if Source(address.version, 'dhcp') in policy.sources
                           and address.length == BITS[address.version]
                           and not contains(LINK_LOCAL, address))
        policy = policy._replace(leased=leased)
    ports = [VifPort('vif%d.0' % number, number)]
    if draw(st.booleans()):
        ports.append(VifPort('tap%d.0' % number, TAPS_FROM + number))
    return Vif(VifId(number, 0), '00000000-0000-4000-9000-%012d' % number, mac_of(number),
               tuple(map(attached, tags)), bool(trunks), policy, tuple(ports))


def is_spelled_alike(prefix):
    """Tell whether the switch spells an IPv6 network as we do: not ::10.0.0.1, once IPv4's."""
    return prefix.version == 4 or prefix.length < 96 or prefix.value >> 32 not in (0, 0xffff)


SPELLED_ALIKE = ANY_PREFIXES.filter(is_spelled_alike)


@st.composite
def networks(draw):
    """Draw what the configuration says about a network; gateways do not share an address."""
    gateways = []
    for host in draw(st.frozensets(st.integers(1, 9), max_size=2)):
        mac = draw(st.none() | st.just(GATEWAY_MAC[:-1] + str(host)))
        ipv4 = draw(st.none() | st.just(Prefix(4, SUBNET4 | host, 32)))
        gateways.append(Gateway(ipv4, draw(st.none() | st.just(Prefix(6, SUBNET6 | host, 128))),
                                mac))
    return Network(subnets=draw(st.frozensets(SPELLED_ALIKE, max_size=2)),
                   gateways=tuple(gateways),
                   dhcp_servers=draw(st.frozensets(SPELLED_ALIKE, max_size=2)))


RULES = st.builds(lambda service, direction: service._replace(direction=direction),
                  SERVICES, DIRECTIONS) | st.sampled_from(
                      [Service(ANYTHING, direction=OUT), Service(ANYTHING, direction=IN)])
GROUP_FACTS = st.builds(
    Group, addresses=st.frozensets(ANY_PREFIXES, max_size=2), vms=st.none(),
    rules=st.none() | st.frozensets(RULES, max_size=3), reach=GROUP_SETS)
MEMBERS = st.lists(st.builds(
    lambda number, tag, macs: member(number, '10.8.0.%d fd00:8::%x' % (number, number), tag)
    ._replace(macs=macs), st.integers(1, 99), st.sampled_from(TAGS), MAC_SETS), max_size=3,
    unique_by=lambda one: one.mac)


@st.composite
def scenarios(draw, most=4) -> Scenario:
    """Draw a bridge with VIFs."""
    count = draw(st.integers(1, most))
    names = [BRIDGE] + ['xapi%d' % tag for tag in TAGS if tag]
    return make_scenario(
        [draw(vifs(number)) for number in range(11, 11 + count)],
        uplinks=draw(st.sampled_from([(), UPLINK, BOND, ((1,), (2, 3))])),
        networks=draw(st.dictionaries(st.sampled_from(names), networks())),
        groups=draw(st.dictionaries(st.sampled_from(GROUPS), GROUP_FACTS)),
        members={**draw(st.dictionaries(st.sampled_from(GROUPS), MEMBERS, max_size=2)),
                 HOLDERS: [member._replace(roles=draw(ROLE_SETS), macs=draw(MAC_SETS))
                           for member in draw(MEMBERS)]},
        snooping=draw(st.booleans()))
