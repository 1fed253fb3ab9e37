"""A YAML file as a tree of entries whose every complaint names file, line and path.

PyYAML is slow to import, so this is imported only when the configuration changed.
The tree is composed, not constructed: YAML's own guesses (no is False, 10.9 a number,
52:54:00:12:34:56 a count of seconds) are refused with the advice to quote them, and
so are repeated keys, aliases and deep nesting.
"""
import re
from typing import AbstractSet, Any, Callable, Dict, Iterator, List, NamedTuple, TypeVar

import yaml

from xsisolate.errors import ConfigError, PolicyError
from xsisolate.policy.address import quoted

MAX_DEPTH = 16      # the schema needs 6; the composer recurses, and must not overflow

TAG = 'tag:yaml.org,2002:'
KINDS: Dict[Any, str] = {yaml.MappingNode: 'a mapping', yaml.SequenceNode: 'a list'}
PLAIN_KEY = re.compile('[A-Za-z0-9_.*-]+')
PLAIN_NUMBER = re.compile('0|[1-9][0-9]{0,8}')
BOOLEANS = {'true': True, 'false': False}

T = TypeVar('T')


class EntryError(ConfigError):
    """A complaint about a place in the file: its line, and the YAML node where it is known."""

    def __init__(self, text: str, line: int, node: Any = None) -> None:
        super().__init__(text)
        self.line = line
        self.node = node


class Entry(NamedTuple):
    """A place in the file: the file's name, the path to it, and the YAML node."""

    file: str
    path: str
    node: Any       # yaml.Node

    def error(self, reason: str) -> ConfigError:
        """Return the complaint about this entry, for the caller to raise."""
        return _error(self.file, self.node.start_mark.line, self.path, reason, self.node)

    def mapping(self) -> Dict[str, 'Entry']:
        """Return the entries of a mapping by key; no key may come twice."""
        entries: Dict[str, Entry] = {}
        for key_node, value_node in self._children(yaml.MappingNode):
            key = self._replace(node=key_node).text()
            child = Entry(self.file, _join(self.path, key), value_node)
            if key in entries:
                raise child._replace(node=key_node).error(
                    'is written twice, first in line %d'
                    % (entries[key].node.start_mark.line + 1))
            entries[key] = child
        return entries

    def is_mapping(self) -> bool:
        """Tell whether the entry has keys."""
        return isinstance(self.node, yaml.MappingNode)

    def record(self, known: AbstractSet[str]) -> Dict[str, 'Entry']:
        """Return the entries of a mapping that may only have the known keys."""
        entries = self.mapping()
        unknown = [key for key in entries if key not in known]
        if unknown:
            raise entries[unknown[0]].error(
                'unknown key (expected %s)' % ', '.join(sorted(known)))
        return entries

    def items(self) -> List['Entry']:
        """Return the entries of a list."""
        return [Entry(self.file, '%s[%d]' % (self.path, number), node)
                for number, node in enumerate(self._children(yaml.SequenceNode))]

    def text(self) -> str:
        """Return a text; what YAML takes for something else must be quoted."""
        kind = self._scalar_kind()
        if kind != 'str':
            raise self.error('YAML reads %s as %s, not as text: put it in quotes'
                             % (quoted(self.node.value), kind))
        return str(self.node.value)

    def number(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, written in plain digits."""
        kind, text = self._scalar_kind(), self.node.value
        if kind != 'int' or not PLAIN_NUMBER.fullmatch(text) or not (
                low <= int(text) <= high):
            raise self.error('%s is not a whole number from %d to %d, without quotes'
                             % (quoted(text), low, high))
        return int(text)

    def boolean(self) -> bool:
        """Return `true` or `false`, written so."""
        kind, text = self._scalar_kind(), self.node.value
        if kind != 'bool' or text not in BOOLEANS:
            raise self.error('%s is neither true nor false' % quoted(text))
        return BOOLEANS[text]

    def parse(self, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of the text; its PolicyError gets the place."""
        text = self.text()
        try:
            return parse(text)
        except PolicyError as error:
            raise self.error(str(error)) from None

    def _children(self, kind: Any) -> List[Any]:
        if not isinstance(self.node, kind):
            raise self.error('is %s, expected %s' % (_kind(self.node), KINDS[kind]))
        children: List[Any] = self.node.value
        return children

    def _scalar_kind(self) -> str:
        kind = _kind(self.node)
        if not isinstance(self.node, yaml.ScalarNode) or kind == 'null':
            raise self.error('is %s, expected a value: put it in quotes if it is one'
                             % kind)
        return kind


def read_tree(text: str, file: str) -> Entry:
    """Return the root of a YAML text, or raise ConfigError."""
    try:
        _refuse_tricks(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _explain(error, text, file) from None
    if node is None:
        raise _error(file, 0, '', 'the file is empty')
    return Entry(file, '', node)


def _refuse_tricks(text: str, file: str) -> None:
    """Raise ConfigError for what composing must not see: it recurses and trusts."""
    loader: Any = yaml.SafeLoader(text)
    try:
        _check_events(iter(loader.get_event, None), file)
    except (ValueError, OverflowError):     # PyYAML's own chr() of "\UFFFFFFFF"
        raise _error(file, loader.line, '', 'unacceptable escape sequence') from None


def _check_events(events: Iterator[Any], file: str) -> None:
    depth = 0
    for event in events:
        line = event.start_mark.line
        depth += (isinstance(event, yaml.CollectionStartEvent)
                  - isinstance(event, yaml.CollectionEndEvent))
        if isinstance(event, yaml.AliasEvent):
            raise _error(file, line, '',
                         'aliases are not supported: write *%s out' % event.anchor)
        if depth > MAX_DEPTH:
            raise _error(file, line, '', 'is nested too deeply')


def _explain(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        reason = ', '.join(filter(None, (error.context, error.problem)))
        return _error(file, error.problem_mark.line, '', reason)
    position = getattr(error, 'position', 0)
    return _error(file, text.count('\n', 0, position), '',
                  'unacceptable character %s' % quoted(text[position:position + 1]))


def _error(file: str, line: int, path: str, reason: str, node: Any = None) -> ConfigError:
    """Return the error as one printable line; YAML counts lines from 0."""
    said = '%s: %s' % (path, reason) if path else reason
    return EntryError('%s:%d: %s' % (
        file, line + 1, said.encode('ascii', 'backslashreplace').decode('ascii')), line + 1, node)


def _join(path: str, key: str) -> str:
    shown = key if PLAIN_KEY.fullmatch(key) else quoted(key)
    return '%s.%s' % (path, shown) if path else shown


def _kind(node: Any) -> str:
    if type(node) in KINDS:
        return KINDS[type(node)]
    tag = str(node.tag)
    return tag[len(TAG):] if tag.startswith(TAG) else quoted(tag)
