"""`permissive` in the text of xsisolate.yaml, set or taken out; every other byte stays.

The text is changed at the places that YAML's parser names, and then read again: it must mean what
it meant before, with just that key changed. Where it does not, nothing is changed, and the admin
is told what to write by hand.
"""
import re
import sys
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import yaml

from xsisolate.config.load import parse_config
from xsisolate.config.yaml_document import read_tree
from xsisolate.errors import ConfigError
from xsisolate.policy.model import Config, Network, PoolNetwork
from xsisolate.policy.network_labels import find_key
from xsisolate.policy.resolve import ANY_NETWORK
from xsisolate.vif_id import UUID

KEY = 'permissive'
WORDS = {True: 'true', False: 'false'}
PLAIN = re.compile('[A-Za-z][A-Za-z0-9_.-]*')
STRING = 'tag:yaml.org,2002:str'
STEP = 2                        # blanks by which what is below a key stands further right

Pair = Tuple[Any, Any]          # key and value, YAML nodes


def set_permissive(text: str, file: str, value: Optional[bool], network: str = '') -> str:
    """Return a configuration's text with `permissive`, at the top or in a network; None: without.

    `network` is the network's key; it gets an entry if it has none. Raises ConfigError.
    """
    before = parse_config(text, file)
    wanted = _expect(before, value, network, file)
    if wanted == before:
        return text
    try:
        after = _edit(text, read_tree(text, file).node, value, network)
        right = parse_config(after, file) == wanted
    except (_Unclear, ConfigError):
        right = False
    if not right:
        raise ConfigError('%s: nothing was written, because the file is not laid out so that this '
                          'key could be changed and nothing else: %s by hand'
                          % (file, _by_hand(value, network)))
    return after


def enforce(text: str, file: str, network: str, pool: Optional[Sequence[PoolNetwork]],
            is_bridge: Callable[[str], bool] = lambda name: False) -> str:
    """Return a configuration's text in which a network is enforced, by any name; '': all are.

    `pool` are the networks that have names; None: they are not known here. Raises ConfigError, and
    UsageError for a name of none.
    """
    if not network:
        return enforce_all(text, file)
    key = find_key(parse_config(text, file), network, pool, is_bridge)
    return set_permissive(text, file, False, key)


def enforce_all(text: str, file: str) -> str:
    """Return a configuration's text in which nothing is permissive; raise ConfigError."""
    config = parse_config(text, file)
    for name in permissive_networks(config):
        text = set_permissive(text, file, None, name)
    return set_permissive(text, file, None) if config.permissive else text


def permissive_networks(config: Config) -> List[str]:
    """Return the keys of the networks that say permissive: true."""
    return [name for name, network in config.networks.items() if network.permissive]


class _Unclear(Exception):
    """The text is not laid out as expected."""


def _expect(config: Config, value: Optional[bool], network: str, file: str) -> Config:
    """Return what the text shall mean; raise ConfigError if a new entry would hide another."""
    if not network:
        return config._replace(permissive=bool(value))
    name = _find_key(network)
    found, fallback = config.networks.get(name), config.networks.get(ANY_NETWORK, Network())
    if found is None and value is None:
        return config
    if found is None and fallback._replace(permissive=None) != Network():
        raise ConfigError('%s: nothing was written: networks has no %s, so what \'*\' says counts '
                          'for it, and an entry of its own would replace that: write one by hand, '
                          'with what \'*\' has and permissive: %s'
                          % (file, _shown(network), WORDS[bool(value)]))
    after = (found or Network())._replace(permissive=value)
    return config._replace(networks=dict(config.networks, **{name: after}))


def _find_key(network: str) -> str:
    return network.lower() if UUID.fullmatch(network.lower()) else network


def _by_hand(value: Optional[bool], network: str) -> str:
    if value is None:
        return 'take %s out %s' % (KEY, 'of networks.' + _shown(network) if network else
                                   'at the top level')
    return 'write %s: %s %s' % (KEY, WORDS[value], 'into networks.' + _shown(network) if network
                                else 'at the top level')


def _shown(network: str) -> str:
    return _spell(network).encode('ascii', 'backslashreplace').decode('ascii')


# --- the text --------------------------------------------------------------------------------


class _Change(NamedTuple):
    """Some of the text, and what takes its place."""

    begin: int
    end: int
    text: str


def _edit(text: str, root: Any, value: Optional[bool], network: str) -> str:
    """Return the changed text; raises _Unclear, and may be wrong: the caller looks."""
    if not network:
        change = _change_key(text, root, value, ())
    else:
        change = _change_network(text, root, value, network)
    if '\r\n' in text:
        change = change._replace(text=change.text.replace('\n', '\r\n'))
    return text[:change.begin] + change.text + text[change.end:]


def _change_network(text: str, root: Any, value: Optional[bool], network: str) -> _Change:
    networks = _find(root, 'networks')
    if networks is None:
        return _append(text, root, 'networks', (_spell(network), value))
    entry = _find(networks[1], network)
    if entry is None:
        return _insert(text, networks, _spell(network), value)
    return _change_key(text, entry[1], value, entry)


def _change_key(text: str, mapping: Any, value: Optional[bool], parent: Any) -> _Change:
    """Return what sets the key in a mapping, or takes it out; `parent` is whose value that is."""
    pair = _find(mapping, KEY)
    if pair is None:
        return _insert(text, parent, KEY, value) if parent else _insert_on_top(text, mapping, value)
    if value is None:
        return _remove(text, mapping, pair)
    return _Change(pair[1].start_mark.index, pair[1].end_mark.index, WORDS[value])


def _find(mapping: Any, key: str) -> Optional[Pair]:
    for pair in _pairs(mapping):
        name = pair[0].value
        if name == key or (UUID.fullmatch(key.lower()) and name.lower() == key.lower()):
            return pair
    return None


def _pairs(mapping: Any) -> Iterator[Pair]:
    if not isinstance(mapping, yaml.MappingNode):
        raise _Unclear
    yield from mapping.value


def _insert(text: str, parent: Pair, key: str, value: Optional[bool]) -> _Change:
    """Return what puts a key first into the mapping of a pair."""
    mapping = parent[1]
    if mapping.flow_style:
        return _insert_in_braces(text, mapping, _flow(key, value))
    column = mapping.start_mark.column
    return _insert_line(text, parent[0].end_mark.index, _block(key, value, column))


def _insert_on_top(text: str, mapping: Any, value: Optional[bool]) -> _Change:
    """Return what puts the key behind the version."""
    if mapping.flow_style:
        return _insert_in_braces(text, mapping, _flow(KEY, value))
    version = _find(mapping, 'version')
    if version is None:
        raise _Unclear
    return _insert_line(text, version[1].end_mark.index,
                        _block(KEY, value, mapping.start_mark.column))


def _append(text: str, root: Any, key: str, inner: Tuple[str, Optional[bool]]) -> _Change:
    """Return what puts a key with a mapping at the end of the file."""
    if root.flow_style:
        return _insert_in_braces(text, root, '%s: {%s}' % (key, _flow(*inner)))
    column = root.start_mark.column
    lines = ' ' * column + key + ':\n' + _block(*inner, column + STEP)
    return _Change(len(text), len(text), '\n' * (not text.endswith('\n')) + lines)


def _insert_in_braces(text: str, mapping: Any, pair: str) -> _Change:
    begin = mapping.start_mark.index
    if text[begin] != '{':
        raise _Unclear          # an anchor, or a tag
    return _Change(begin + 1, begin + 1, pair + (', ' if mapping.value else ''))


def _insert_line(text: str, behind: int, lines: str) -> _Change:
    """Return what puts lines below the one in which an index is."""
    end = text.find('\n', behind)
    if end < 0:
        return _Change(len(text), len(text), '\n' + lines)
    return _Change(end + 1, end + 1, lines)


def _remove(text: str, mapping: Any, pair: Pair) -> _Change:
    begin, end = pair[0].start_mark.index, pair[1].end_mark.index
    if len(mapping.value) == 1:         # a key without a value would mean something else
        return _Change(begin, end, '' if mapping.flow_style else '{}')
    if mapping.flow_style:
        return _remove_from_braces(text, begin, end)
    line = text.rfind('\n', 0, begin) + 1
    rest = re.compile(r'[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)').match(text, end)
    if text[line:begin].strip(' ') or not rest:
        raise _Unclear
    return _Change(line, rest.end(), '')


def _remove_from_braces(text: str, begin: int, end: int) -> _Change:
    behind = re.compile(r'\s*,[ \t]*').match(text, end)
    if behind:
        return _Change(begin, behind.end(), '')
    before = re.search(r',[ \t\r\n]*\Z', text[:begin])
    return _Change(before.start() if before else begin, end, '')    # a comma may end a mapping


def _flow(key: str, value: Optional[bool]) -> str:
    text = '%s: %s' % (KEY, WORDS[bool(value)])
    return text if key == KEY else '%s: {%s}' % (key, text)


def _block(key: str, value: Optional[bool], column: int) -> str:
    text = '%s: %s\n' % (KEY, WORDS[bool(value)])
    if key == KEY:
        return ' ' * column + text
    return ' ' * column + key + ':\n' + ' ' * (column + STEP) + text


def _spell(network: str) -> str:
    """Return a network's key as YAML has it."""
    loader: Any = yaml.SafeLoader('')
    if PLAIN.fullmatch(network) and loader.resolve(
            yaml.ScalarNode, network, (True, False)) == STRING:
        return network
    # Not JSON's way: YAML refuses some characters, 0x7f for one, that JSON leaves as they are.
    spelt: str = yaml.safe_dump(network, default_style='"', allow_unicode=True, width=sys.maxsize)
    return spelt.rstrip('\n')
