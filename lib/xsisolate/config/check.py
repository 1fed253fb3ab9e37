"""xsisolate.yaml, offline: every mistake in it, and what is legal but probably not meant."""
import re
from typing import (AbstractSet, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple,
                    Optional, Sequence, Tuple)

from xsisolate.errors import ConfigError
from xsisolate.policy.address import contains, format_prefix, quoted
from xsisolate.policy.model import (ANYTHING, EITHER, OPPOSITE, Config, Group, Network,
                                    PoolNetwork, Prefix)
from xsisolate.policy.network_labels import resolve_labels
from xsisolate.policy.resolve import ANY_NETWORK, possible_labels
from xsisolate.policy.service import format_rule, format_service
from xsisolate.vif_id import UUID

ERRORS_MAX = 100
BRIDGE = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,14}')     # a netdev's name
WIDE = {4: 8, 6: 16}        # a group that has so many addresses as members


class Remark(NamedTuple):
    """What is to be said of a line of the file."""

    line: int           # 0: of the file as a whole
    text: str


class Checked(NamedTuple):
    """What became of a file."""

    errors: Tuple[Remark, ...]
    warnings: Tuple[Remark, ...]


Seen = Callable[[Config], Iterable[Tuple[str, str, str]]]


def see_nothing(config: Config) -> Iterable[Tuple[str, str, str]]:
    """Return no remark: nothing is known of the VIFs that a configuration is for."""
    return ()


def check_text(text: str, name: str, pool: Optional[Sequence[PoolNetwork]] = None,
               seen: Seen = see_nothing) -> Checked:
    """Return all that is wrong with a configuration, and all that looks wrong.

    `pool` are the networks that have name-labels; None: they are not known here.
    `seen` remarks upon networks by what is on them: network's key, key in it, text.
    """
    try:
        import yaml  # noqa: F401
    except ImportError as error:
        raise ConfigError('%s: cannot be read without PyYAML: %s' % (name, error)) from error
    from xsisolate.config import schema, yaml_document
    errors: List[Remark] = []
    try:
        tree = yaml_document.read_tree(text, name)
    except yaml_document.EntryError as error:
        return Checked((_remark(error, name),), ())
    homes, damaged = _find_homes(tree.node), set()
    while len(errors) < ERRORS_MAX:
        try:
            config = schema.parse_tree(tree)
        except yaml_document.EntryError as error:
            errors.append(_remark(error, name))
            damaged.add(homes.get(id(error.node), ()))
            if not _prune(tree.node, error.node):
                break           # without what is wrong there is nothing left to look at
            continue
        lines = _find_lines(tree)
        errors += _label_errors(config, lines, pool)
        return Checked(tuple(sorted(errors)), tuple(sorted(_warnings(
            _without(config, damaged), lines, pool is None, seen))))
    return Checked(tuple(sorted(errors)), ())


def _remark(error: Any, name: str) -> Remark:
    head = '%s:%d: ' % (name, error.line)
    text = str(error)
    return Remark(error.line, text[len(head):] if text.startswith(head) else text)


def _prune(root: Any, node: Any) -> bool:
    """Take what is wrong out of the tree, so that the rest can be looked at."""
    import yaml
    if node is root and isinstance(root, yaml.MappingNode):
        keys = [key.value for key, _ in root.value]
        if 'version' in keys:
            return False
        root.value.append((yaml.ScalarNode('tag:yaml.org,2002:str', 'version', root.start_mark),
                           yaml.ScalarNode('tag:yaml.org,2002:int', '1', root.start_mark)))
        return True
    for parent in _nodes(root):
        if isinstance(parent, yaml.MappingNode):
            kept = [pair for pair in parent.value if node not in pair]
        else:
            kept = [child for child in parent.value if child is not node]
        if len(kept) < len(parent.value):
            parent.value = kept
            gone = parent is root and 'version' not in [key.value for key, _ in kept]
            return _prune(root, root) if gone else True
    return False


def _nodes(node: Any) -> Iterator[Any]:
    """Yield the mappings and lists of a tree."""
    import yaml
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, child in node.value:
            yield from _nodes(child)
    elif isinstance(node, yaml.SequenceNode):
        yield node
        for child in node.value:
            yield from _nodes(child)


def _find_homes(root: Any) -> Dict[int, Tuple[str, ...]]:
    """Return of every node, key or value, which network or group it is in."""
    homes: Dict[int, Tuple[str, ...]] = {}

    def visit(node: Any, home: Tuple[str, ...]) -> None:
        import yaml
        homes[id(node)] = home
        for key, child in node.value if isinstance(node, yaml.MappingNode) else ():
            inner = home if len(home) == 2 else home + (key.value.lower(),)
            homes[id(key)] = inner
            visit(child, inner)
        for child in node.value if isinstance(node, yaml.SequenceNode) else ():
            visit(child, home)

    visit(root, ())
    return homes


def _without(config: Config, damaged: AbstractSet[Tuple[str, ...]]) -> Config:
    """Return a configuration without the networks and groups that have a mistake.

    What is left of these means something else: a list that is empty now, a gateway whose wrong
    MAC address was taken out.
    """
    groups = {name: group for name, group in config.groups.items()
              if ('groups', name) not in damaged}
    return config._replace(
        networks={name: network for name, network in config.networks.items()
                  if ('networks', name.lower()) not in damaged},
        groups={name: group._replace(reach=frozenset(
            other for other in group.reach if other in groups)) for name, group in groups.items()})


def _find_lines(tree: Any) -> Dict[str, int]:
    """Return the line of every key, by its path."""
    lines: Dict[str, int] = {}

    def visit(node: Any, path: Tuple[str, ...]) -> None:
        import yaml
        if isinstance(node, yaml.MappingNode):
            for key, child in node.value:
                lines['\0'.join(path + (key.value,))] = key.start_mark.line + 1
                visit(child, path + (key.value,))

    visit(tree.node, ())
    return lines


def _label_errors(config: Config, lines: Dict[str, int],
                  pool: Optional[Sequence[PoolNetwork]]) -> Iterator[Remark]:
    """Yield the networks' keys that are no label, or an ambiguous one."""
    for key in possible_labels(config) if pool is not None else ():
        try:
            resolve_labels(config, (key,), pool)
        except ConfigError as error:
            yield Remark(lines.get('networks\0' + key, 0), str(error))


# --- what is legal but probably wrong --------------------------------------------------------


def _warnings(config: Config, lines: Dict[str, int], labels: bool,
              seen: Seen) -> Iterator[Remark]:
    def at(*path: str) -> int:
        """Return a path's line, or that of what it is in."""
        while path and '\0'.join(path) not in lines:
            path = path[:-1]
        return lines.get('\0'.join(path), 0)

    if config.accept_unsealed:
        yield Remark(at('unsealed'), 'unsealed: accept lets every guest choose its own policy: '
                     'only where all guests are trusted')
    if not config.grace:
        yield Remark(at('grace'), 'grace: 0 quarantines a running VIF between an admin\'s two '
                     'writes of vm-data and seal')
    if config.permissive:
        yield Remark(at('permissive'), 'permissive: true protects nobody: what policies refuse is '
                     'recorded, and passes; xsisolate enforce --all ends that')
    for name, network in config.networks.items():
        for key, text in _network_warnings(name, network, labels):
            yield Remark(at('networks', _written(name, lines), key), 'networks.%s: %s' % (
                name if BRIDGE.fullmatch(name) else quoted(name), text))
    for name, key, text in seen(config):
        yield Remark(at('networks', _written(name, lines), key), 'networks.%s: %s' % (
            name if BRIDGE.fullmatch(name) else quoted(name), text))
    for name, group in config.groups.items():
        for key, text in _group_warnings(name, group, config):
            yield Remark(at('groups', name, key), 'groups.%s: %s' % (name, text))


def _written(name: str, lines: Dict[str, int]) -> str:
    """Return a network's key as it is written: uuids may be in capitals."""
    return next((path.split('\0')[1] for path in lines if path.startswith('networks\0')
                 and path.split('\0')[1].lower() == name.lower()), name)


def _network_warnings(name: str, network: Network, labels: bool) -> Iterator[Tuple[str, str]]:
    if labels and name != ANY_NETWORK and not UUID.fullmatch(name) and not BRIDGE.fullmatch(name):
        yield '', ('must be a name-label of XAPI\'s, which is not known here: check it on a host '
                   'whose daemon follows XAPI')
    if network.permissive:
        yield 'permissive', ('permissive: true protects nobody: what policies of VIFs refuse is '
                             'recorded, and passes; xsisolate enforce --network ends that')
    if network.gateways and not network.subnets:
        yield 'gateways', ('without subnets `external` means every address, the neighbours\' '
                           'included')
    for gateway in network.gateways:
        own = [address for address in (gateway.ipv4, gateway.ipv6) if address]
        text = ' and '.join(map(format_prefix, own))
        if not gateway.mac:
            yield 'gateways', ('%s has no mac: any machine beyond the uplink may answer for it'
                               % text)
        for address in own:
            if network.subnets and not _covered(address, network):
                yield 'gateways', '%s is in none of the subnets' % format_prefix(address)
    for server in sorted(network.dhcp_servers):
        if network.subnets and not _covered(server, network) and not contains(
                Prefix(6, 0xfe80 << 112, 10), server):
            yield 'dhcp_servers', '%s is in none of the subnets' % format_prefix(server)
    for subnet in sorted(network.subnets):
        if not subnet.length:
            yield 'subnets', '%s leaves nothing outside' % format_prefix(subnet)


def _covered(address: Prefix, network: Network) -> bool:
    versions = {subnet.version for subnet in network.subnets}
    return address.version not in versions or any(
        contains(subnet, address) for subnet in network.subnets)


def _group_warnings(name: str, group: Group, config: Config) -> Iterator[Tuple[str, str]]:
    if group.vms is not None and not group.vms:
        yield 'vms', 'vms: [] means that no VM may be a member; leave it out to admit any'
    if group.rules is not None and not group.rules:
        yield 'rules', ('rules: [] means that members may say nothing to each other; leave it out '
                        'to admit everything')
    yield from _direction_warnings(group)
    for other in sorted(group.reach):
        if other == name:
            yield 'reach', 'reach: a group reaches itself anyway'
        elif name not in config.groups[other].reach:
            yield 'reach', ('reach: %s has no effect, because groups.%s.reach does not list %s: '
                            'add it there, or remove it here' % (other, other, name))
    for address in sorted(group.addresses):
        if address.length < WIDE[address.version]:
            yield 'addresses', '%s makes very many machines members' % format_prefix(address)


def _direction_warnings(group: Group) -> Iterator[Tuple[str, str]]:
    """Yield rules that let no member begin anything with another VIF of the group."""
    rules = group.rules or frozenset()
    for rule in sorted(rules) if not group.addresses and not group.reach else ():
        other = rule._replace(direction=OPPOSITE[rule.direction])
        if rule.direction and not rules & {other, rule._replace(direction=EITHER)}:
            yield 'rules', ('%s has no effect between two members: one\'s policy lets it begin '
                            '(out:) only if the other\'s admits that (in:); write %s, or %s, too'
                            % (format_rule(rule), format_service(rule)
                               if rule.protocol != ANYTHING else 'no rules', format_rule(other)))


def describe(name: str, checked: Checked) -> Dict[str, Any]:
    """Return what became of a file as JSON has it."""
    return {'file': name, 'errors': [error._asdict() for error in checked.errors],
            'warnings': [warning._asdict() for warning in checked.warnings]}
