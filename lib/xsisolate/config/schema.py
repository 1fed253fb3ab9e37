"""The schema of xsisolate.yaml: an entry tree -> Config, or the first complaint.

`config` imports this only when its compiled copy is stale.
"""
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, TypeVar

from xsisolate.config.yaml_document import Entry
from xsisolate.errors import PolicyError
from xsisolate.policy.address import check_own, parse_address, parse_mac, parse_prefix, quoted
from xsisolate.policy.model import (DHCP, GATEWAY, ROUTER, Config, Gateway, Group, Holder, Network,
                                    Prefix)
from xsisolate.policy.service import parse_rule
from xsisolate.policy.vmdata_parser import parse_group, parse_mode
from xsisolate.vif_id import UUID

CONFIG_VERSION = 1      # what `version:` in the file must say
MAX_GRACE = 120         # seconds; udev kills a hook that takes 180

TOP_KEYS = frozenset(['version', 'unsealed', 'grace', 'networks', 'groups', 'local',
                      'guard', 'permissive'])
NETWORK_KEYS = frozenset(['default', 'subnets', 'gateways', 'dhcp_servers', 'fail_closed',
                          'permissive'])
GATEWAY_KEYS = frozenset(['ipv4', 'ipv6', 'mac'])
HOLDER_KEYS = frozenset(['vm', 'devid', 'ipv4', 'ipv6'])
MAX_DEVID = 255         # more than XAPI gives
GROUP_KEYS = frozenset(['addresses', 'vms', 'rules', 'reach'])

UNSEALED = {'quarantine': False, 'accept': True}

T = TypeVar('T')


def parse_tree(tree: Entry) -> Config:
    """Return the configuration that the root of a YAML file writes.

    Raises ConfigError. An absent key means the default; an empty list admits none.
    """
    top = tree.mapping()
    if 'version' not in top:
        raise tree.error('has no version: write version: %d' % CONFIG_VERSION)
    top['version'].number(CONFIG_VERSION, CONFIG_VERSION)
    return _parse_top(tree.record(TOP_KEYS))


def _parse_top(top: Mapping[str, Entry]) -> Config:
    config = Config()
    if 'unsealed' in top:
        config = config._replace(accept_unsealed=top['unsealed'].parse(_parse_unsealed))
    if 'grace' in top:
        config = config._replace(grace=top['grace'].number(0, MAX_GRACE))
    if 'local' in top:
        config = config._replace(local=top['local'].boolean())
    if 'guard' in top:
        config = config._replace(guard=top['guard'].boolean())
    if 'permissive' in top:
        config = config._replace(permissive=top['permissive'].boolean())
    if 'networks' in top:
        config = config._replace(networks=_parse_networks(top['networks']))
    if 'groups' in top:
        config = config._replace(groups=_parse_groups(top['groups']))
    return config


def _parse_unsealed(text: str) -> bool:
    if text not in UNSEALED:
        raise PolicyError('%s is not a value of unsealed (%s)'
                          % (quoted(text), ', '.join(UNSEALED)))
    return UNSEALED[text]


def _parse_networks(entry: Entry) -> Dict[str, Network]:
    networks: Dict[str, Network] = {}
    for key, network in entry.mapping().items():
        name = key.lower() if UUID.fullmatch(key.lower()) else key
        if not name or name in networks:
            raise network.error('is written twice' if name else 'has no name')
        networks[name] = _parse_network(network)
    return networks


def _parse_network(entry: Entry) -> Network:
    record = entry.record(NETWORK_KEYS)
    gateways, servers = _items(record, 'gateways'), _items(record, 'dhcp_servers')
    network = Network(
        subnets=_parse_set(record, 'subnets', parse_prefix) or frozenset(),
        gateways=tuple(_parse_gateway(item) for item in gateways if not _is_vm(item)),
        dhcp_servers=frozenset(item.parse(_parse_host) for item in servers if not _is_vm(item)),
        holders=tuple([_parse_holder(item, roles) for items, roles in (
            (gateways, (GATEWAY, ROUTER)), (servers, (DHCP,))) for item in items if _is_vm(item)]))
    if 'default' in record:
        network = network._replace(default=record['default'].parse(parse_mode))
    if 'fail_closed' in record:
        network = network._replace(fail_closed=record['fail_closed'].boolean())
    if 'permissive' in record:
        network = network._replace(permissive=record['permissive'].boolean())
    return network


def _is_vm(entry: Entry) -> bool:
    """Tell whether an entry names a VIF of the pool, not an address."""
    return entry.is_mapping() and 'vm' in entry.mapping()


def _parse_holder(entry: Entry, roles: Iterable[str]) -> Holder:
    record = entry.record(HOLDER_KEYS)
    if 'devid' not in record:
        raise entry.error('needs devid: which of the VM\'s VIFs, from 0')
    return Holder(record['vm'].parse(_parse_uuid), str(record['devid'].number(0, MAX_DEVID)),
                  frozenset(roles), frozenset(filter(None, (
                      _parse_one(record, 'ipv4', lambda text: parse_address(text, 4)),
                      _parse_one(record, 'ipv6', lambda text: parse_address(text, 6))))))


def _parse_gateway(entry: Entry) -> Gateway:
    record = entry.record(GATEWAY_KEYS)
    if 'ipv4' not in record and 'ipv6' not in record:
        raise entry.error('a gateway needs ipv4 or ipv6, or both')
    return Gateway(ipv4=_parse_one(record, 'ipv4', lambda text: parse_address(text, 4)),
                   ipv6=_parse_one(record, 'ipv6', lambda text: parse_address(text, 6)),
                   mac=_parse_one(record, 'mac', parse_mac))


def _parse_groups(entry: Entry) -> Dict[str, Group]:
    entries = entry.mapping()
    return {_parse_name(group, name): _parse_group(group, entries)
            for name, group in entries.items()}


def _parse_name(entry: Entry, name: str) -> str:
    try:
        return parse_group(name)
    except PolicyError as error:
        raise entry.error(str(error)) from None


def _parse_group(entry: Entry, groups: Mapping[str, Entry]) -> Group:
    record = entry.record(GROUP_KEYS)
    for item in _items(record, 'reach'):
        if item.text() not in groups:
            raise item.error('%s is not a group of this file' % quoted(item.text()))
    return Group(
        addresses=_parse_set(record, 'addresses', _parse_members) or frozenset(),
        vms=_parse_set(record, 'vms', _parse_uuid),
        rules=_parse_set(record, 'rules', parse_rule),
        reach=_parse_set(record, 'reach', parse_group) or frozenset())


def _parse_members(text: str) -> Prefix:
    return check_own(parse_prefix(text))


def _parse_host(text: str) -> Prefix:
    return parse_address(text, 6 if ':' in text else 4)


def _parse_uuid(text: str) -> str:
    if not UUID.fullmatch(text.lower()):
        raise PolicyError('%s is not a VM uuid' % quoted(text))
    return text.lower()


def _items(record: Mapping[str, Entry], key: str) -> List[Entry]:
    return record[key].items() if key in record else []


def _parse_set(record: Mapping[str, Entry], key: str,
               parse: Callable[[str], T]) -> Optional[FrozenSet[T]]:
    if key not in record:
        return None
    return frozenset(item.parse(parse) for item in record[key].items())


def _parse_one(record: Mapping[str, Entry], key: str,
               parse: Callable[[str], T]) -> Optional[T]:
    return record[key].parse(parse) if key in record else None
