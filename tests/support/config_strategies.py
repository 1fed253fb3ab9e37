"""Configurations as hypothesis draws them, and as YAML has them."""
import yaml
from hypothesis import strategies as st

from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Config, Gateway, Group, Mode, Network, Prefix, Service

NAMES = st.from_regex('[a-z0-9][a-z0-9_.-]{0,62}', fullmatch=True)
HOSTS4 = st.integers(0x0a000000, 0x0affffff).map(lambda n: Prefix(4, n, 32))
HOSTS6 = st.integers(1, 1 << 64).map(lambda n: Prefix(6, 0xfd << 120 | n, 128))
PREFIXES = st.one_of(HOSTS4, HOSTS6, st.integers(8, 31).map(
    lambda length: Prefix(4, 0x0a000000, length)))
MACS = st.integers(1, (1 << 40) - 1).map(
    lambda n: '00:' + ':'.join('%02x' % (n >> at & 255) for at in (32, 24, 16, 8, 0)))
UUIDS = st.uuids().map(str)
PORTS = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted)
SERVICES = st.one_of(
    st.sampled_from([Service('icmp'), Service('icmp6', 128, 128), Service('tcp'), Service('esp'),
                     Service('ip/89'), Service('tftp'), Service('sctp', 3868, 3868)]),
    PORTS.map(lambda ports: Service('udp', *ports)),
    st.sampled_from([Service('tcp', 22, 22, 'in'), Service('*', direction='out')]))
GATEWAYS = st.one_of(
    st.builds(Gateway, HOSTS4, st.none() | HOSTS6, st.none() | MACS),
    st.builds(Gateway, st.none(), HOSTS6, st.none() | MACS))
NETWORKS = st.builds(
    Network, st.sampled_from([mode for mode in Mode if mode is not Mode.QUARANTINED]),
    st.frozensets(PREFIXES, max_size=4), st.lists(GATEWAYS, max_size=3).map(tuple),
    st.frozensets(HOSTS4 | HOSTS6, max_size=3), st.booleans(),
    permissive=st.none() | st.booleans())


@st.composite
def configs(draw):
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    groups = st.builds(
        Group, st.frozensets(PREFIXES, max_size=4),
        st.none() | st.frozensets(UUIDS, max_size=3),
        st.none() | st.frozensets(SERVICES, max_size=3),
        st.frozensets(st.sampled_from(names), max_size=3) if names else st.nothing())
    return Config(draw(st.booleans()), draw(st.integers(0, 120)),
                  draw(st.dictionaries(NAMES | UUIDS | st.just('*'), NETWORKS,
                                       max_size=3)),
                  {name: draw(groups) for name in names}, permissive=draw(st.booleans()))


def texts(prefixes):
    return [format_prefix(prefix) for prefix in prefixes]


def service_text(service):
    direction = service.direction and service.direction + ':'
    if service.last == 65535 and not service.first:
        return direction + service.protocol.replace('*', 'everything')
    return direction + service.protocol + (
        '/%d' % service.first if service.protocol == 'icmp6' else '/%d-%d' % service[1:3])


def gateway_tree(gateway):
    tree = {'ipv4': gateway.ipv4 and format_prefix(gateway.ipv4),
            'ipv6': gateway.ipv6 and format_prefix(gateway.ipv6), 'mac': gateway.mac}
    return {key: value for key, value in tree.items() if value}


def network_tree(network):
    tree = {'default': network.default.word, 'subnets': texts(network.subnets),
            'gateways': [gateway_tree(gateway) for gateway in network.gateways],
            'dhcp_servers': texts(network.dhcp_servers), 'fail_closed': network.fail_closed}
    return tree if network.permissive is None else dict(tree, permissive=network.permissive)


def group_tree(group):
    tree = {'addresses': texts(group.addresses), 'reach': list(group.reach)}
    if group.vms is not None:
        tree['vms'] = list(group.vms)
    if group.rules is not None:
        tree['rules'] = [service_text(service) for service in group.rules]
    return tree


def yaml_text(config):
    return yaml.safe_dump({
        'version': 1, 'grace': config.grace, 'permissive': config.permissive,
        'unsealed': 'accept' if config.accept_unsealed else 'quarantine',
        'networks': {key: network_tree(item) for key, item in config.networks.items()},
        'groups': {key: group_tree(item) for key, item in config.groups.items()}})
