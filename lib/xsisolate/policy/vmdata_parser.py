"""vm-data -> VifPolicy. Its writer may be the guest: nothing here trusts a byte.

Whatever the input, the answer is a policy or a PolicyError of one printable line, in
time linear in the size of the input. Every key is read, also one that another
replaces: a policy with a mistake in it is a mistake.
"""
import re
from itertools import islice

from xsisolate.errors import PolicyError
from xsisolate.policy.additional_macs import parse_additional
from xsisolate.policy.address import (ANY, BITS, check_own, parse_own, parse_prefix, quoted)
from xsisolate.policy.model import ROLES, SOURCES, Mode, Peer, Prefix, Service, Source, VifPolicy
from xsisolate.policy.service import VERSIONS, anything, parse_service, split_direction
from xsisolate.typing_compat import (Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping,
                                     NamedTuple, Optional, Tuple, TypeVar, Union)

ROOT = 'vm-data/xsisolate/'
TEMPORARY_TAIL = '000000000001'     # how the uuid of a VM ends while it migrates in

COMMON_KEYS = ('mode', 'groups', 'allow', 'permissive')
WORD_KEYS = ('mode', 'permissive')     # of one word; all others are lists
VIF_KEYS = COMMON_KEYS + ('ipv4', 'ipv6', 'shared', 'roles', 'mac')

MAX_VALUE = 4096            # bytes; xenstore's own limit to a message is no more
MAX_CONTINUATIONS = 64      # so many values hold far more than the entries below
MAX_GROUPS = 64             # each one costs flows on every host of the pool
MAX_OWN = 256               # per IP version: each one costs flows for ARP or ND
MAX_MACS = 16               # each one costs flows for what it is the source of, and for its place
MAX_ALLOW = 1024            # each one costs up to four flows

KEY = re.compile('([a-z0-9]+)(?:-([1-9][0-9]{0,3}))?')
# White space as tools leave it around what they write; no other control character, no other blank.
WHITE = ' \t\r\n'
FORBIDDEN = re.compile(rb'[^\t\r\n\x20-\x7e]')
SEPARATORS = re.compile('[,%s]+' % WHITE)
GROUP_NAME = re.compile('[a-z0-9][a-z0-9_.-]{0,62}')

# The words an admin may write; QUARANTINED is only ever an answer.
MODES = {mode.word: mode for mode in Mode if mode is not Mode.QUARANTINED}
YES_NO = {'yes': True, 'no': False}

EXTERNAL = 'external'
# Words among own addresses, by key.
WORDS = {key: {source.word: source for source in SOURCES if source.key == key}
         for key in ('ipv4', 'ipv6')}

T = TypeVar('T')


Own = Union[Prefix, Source]


class Folder(NamedTuple):
    """One directory of vm-data: where it is, its values, and its keys by name."""

    where: str
    values: Mapping[str, bytes]
    keys: Mapping[str, List[str]]       # 'allow' -> ['allow', 'allow-1', ...]


def parse_vmdata(common: Mapping[str, bytes], own: Mapping[str, bytes],
                 devid: str = '*') -> Optional[VifPolicy]:
    """Return one VIF's policy, None if no key is there, or raise PolicyError.

    `common` holds the keys of vm-data/xsisolate, `own` those of its vif/<devid>; a key
    of `own`, with its numbered ones, replaces the common key of that name.
    """
    for_all = _parse_folder(_open_folder(ROOT, common, COMMON_KEYS))
    for_vif = _parse_folder(_open_folder('%svif/%s/' % (ROOT, devid), own, VIF_KEYS))
    policy = VifPolicy(
        mode=_first(for_vif.mode, for_all.mode),
        groups=_first(for_vif.groups, for_all.groups),
        allow=_first(for_vif.allow, for_all.allow),
        ipv4=for_vif.ipv4,
        ipv6=for_vif.ipv6,
        shared=for_vif.shared,
        roles=for_vif.roles,
        mac=for_vif.mac,
        sources=for_vif.sources,
        permissive=_first(for_vif.permissive, for_all.permissive))
    return None if policy == VifPolicy() else policy


def undo_migration(values: Mapping[str, bytes], vm_uuid: str) -> Mapping[str, bytes]:
    """Return vm-data as it was before a migration.

    At the destination xenopsd writes the VM's temporary uuid over its own wherever
    that stands, in a group's name too, and does not restore it.
    """
    temporary = vm_uuid[:-len(TEMPORARY_TAIL)] + TEMPORARY_TAIL
    return {key: value.replace(temporary.encode('utf-8'), vm_uuid.encode('utf-8'))
            for key, value in values.items()}


def check_keys(common: Iterable[str], own: Iterable[str], devid: str) -> None:
    """Raise PolicyError unless keys may make a policy, whatever their values."""
    _sort_keys(ROOT, common, COMMON_KEYS)
    _sort_keys('%svif/%s/' % (ROOT, devid), own, VIF_KEYS)


def parse_mode(text: str) -> Mode:
    """Return the mode of this name."""
    if text not in MODES:
        raise PolicyError('%s is not a mode (%s)' % (quoted(text), ', '.join(MODES)))
    return MODES[text]


def parse_yes_no(text: str) -> bool:
    """Return what `yes` or `no` means."""
    if text not in YES_NO:
        raise PolicyError('%s is neither yes nor no' % quoted(text))
    return YES_NO[text]


def parse_group(text: str) -> str:
    """Return the name of an isolation group."""
    if not GROUP_NAME.fullmatch(text):
        raise PolicyError('%s is not a group name (1 to 63 of a-z 0-9 _ . -, the first '
                          'a letter or a digit)' % quoted(text))
    return text


def parse_peer(text: str) -> Peer:
    """Return an entry of an allow list: an address, a network or `external`.

    >>> parse_peer('out:tcp/443@external').service.direction
    'out'
    """
    direction, entry = split_direction(text)
    what, at, who = entry.partition('@')
    if not at:      # the older spelling, which shells cut
        who, at, what = entry.partition(';')
    prefix = None if who == EXTERNAL else _parse_peer_prefix(who)
    service = parse_service(what)._replace(direction=direction) if at else (
        anything(direction) if direction else None)
    if service and prefix:
        _check_family(service, prefix, text)
    return Peer(prefix, service)


def _parse_peer_prefix(text: str) -> Prefix:
    if not text[:1].isdigit() and ':' not in text:
        raise PolicyError('%s is not a peer: write an address, a network or %s, with a direction '
                          'and a service in front if wanted, as in tcp/443@%s, out:tcp/443@%s or '
                          'out:%s' % (quoted(text), *[EXTERNAL] * 4))
    return parse_prefix(text)


def _check_family(service: Service, prefix: Prefix, text: str) -> None:
    version = VERSIONS.get(service.protocol, prefix.version)
    if version != prefix.version:
        raise PolicyError('%s can match nothing: %s is IPv%d and the address IPv%d'
                          % (quoted(text), service.protocol, version, prefix.version))


def _first(one: Optional[T], other: Optional[T]) -> Optional[T]:
    return other if one is None else one


def _open_folder(where: str, values: Mapping[str, bytes],
                 names: Tuple[str, ...]) -> Folder:
    return Folder(where, values, _sort_keys(where, values, names))


def _sort_keys(where: str, keys: Iterable[str],
               names: Tuple[str, ...]) -> Mapping[str, List[str]]:
    numbers: Dict[str, List[int]] = {}
    for key in sorted(keys):
        name, number = _parse_key(where, key, names)
        numbers.setdefault(name, []).append(number)
    return {name: _number_keys(where, name, sorted(found)) for name, found in numbers.items()}


def _parse_key(where: str, key: str, names: Tuple[str, ...]) -> Tuple[str, int]:
    match = KEY.fullmatch(key)
    name = match.group(1) if match else ''
    number = int(match.group(2) or 0) if match else 0
    if name not in names or (number and name in WORD_KEYS):
        raise PolicyError('%s: unknown key %s (%s)'
                          % (where, quoted(key), _expected(name, names)))
    if number > MAX_CONTINUATIONS:
        raise PolicyError('%s%s: a list has at most %d numbered keys'
                          % (where, key, MAX_CONTINUATIONS))
    return name, number


def _expected(name: str, names: Tuple[str, ...]) -> str:
    if name in VIF_KEYS and name not in names:
        return 'addresses, roles and MAC addresses are written per VIF, under vif/<devid>/'
    return 'expected %s; lists go on in -1, -2, ...' % ', '.join(names)


def _number_keys(where: str, name: str, numbers: List[int]) -> List[str]:
    keys = [name] + ['%s-%d' % (name, n) for n in range(1, numbers[-1] + 1)]
    missing = sorted(set(range(len(keys))) - set(numbers))
    if missing:
        raise PolicyError('%s%s: is missing, though %s is there: write it, it may be '
                          'empty' % (where, keys[missing[0]], keys[-1]))
    return keys


def _parse_folder(folder: Folder) -> VifPolicy:
    ipv4 = _read_list(folder, 'ipv4', _parse_own4, MAX_OWN)
    ipv6 = _read_list(folder, 'ipv6', _parse_own6, MAX_OWN)
    return VifPolicy(
        mode=_read_word(folder, 'mode', parse_mode),
        permissive=_read_word(folder, 'permissive', parse_yes_no),
        groups=_read_list(folder, 'groups', parse_group, MAX_GROUPS),
        allow=_read_list(folder, 'allow', parse_peer, MAX_ALLOW),
        ipv4=_without_sources(ipv4),
        ipv6=_without_sources(ipv6),
        shared=_read_list(folder, 'shared', _parse_shared, MAX_OWN),
        roles=_read_list(folder, 'roles', parse_role, len(ROLES)),
        mac=_read_list(folder, 'mac', parse_additional, MAX_MACS),
        sources=frozenset(own for own in (ipv4 or frozenset()) | (ipv6 or frozenset())
                          if isinstance(own, Source)))


def _without_sources(own: Optional[FrozenSet[Own]]) -> Optional[FrozenSet[Prefix]]:
    return None if own is None else frozenset(one for one in own if isinstance(one, Prefix))


def parse_role(text: str) -> str:
    """Return the name of a role."""
    if text not in ROLES:
        raise PolicyError('%s is not a role (%s)' % (quoted(text), ', '.join(ROLES)))
    return text


def _parse_own4(text: str) -> Own:
    return _parse_own(text, 4)


def _parse_own6(text: str) -> Own:
    return _parse_own(text, 6)


def _parse_own(text: str, version: int) -> Own:
    key = 'ipv%d' % version
    if text in WORDS[key]:
        return WORDS[key][text]
    others = [source.key for source in SOURCES if source.word == text]
    if others:
        raise PolicyError('%s belongs into %s' % (quoted(text), others[0]))
    if text[:1].isalpha() and ':' not in text and text != ANY:
        raise PolicyError('%s is neither an address nor a word (%s)'
                          % (quoted(text), ', '.join([ANY, *WORDS[key]])))
    return parse_own(text, version)


def _parse_shared(text: str) -> Prefix:
    prefix = check_own(parse_prefix(text))
    if prefix.length != BITS[prefix.version]:
        raise PolicyError('%s is a network: a single address is expected here' % quoted(text))
    return prefix


def _read_word(folder: Folder, name: str, parse: Callable[[str], T]) -> Optional[T]:
    if name not in folder.keys:
        return None
    return _parse_at(folder.where + name, parse, _read_text(folder, name).strip(WHITE))


def _read_list(folder: Folder, name: str, parse: Callable[[str], T],
               limit: int) -> Optional[FrozenSet[T]]:
    if name not in folder.keys:
        return None
    items = list(islice(_split_items(folder, name), limit + 1))
    if len(items) > limit:
        raise PolicyError('%s%s: has more than %d entries' % (folder.where, name, limit))
    return frozenset(_parse_at(folder.where + key, parse, item) for key, item in items)


def _split_items(folder: Folder, name: str) -> Iterator[Tuple[str, str]]:
    for key in folder.keys[name]:
        for item in SEPARATORS.split(_read_text(folder, key)):
            if item:
                yield key, item


def _read_text(folder: Folder, key: str) -> str:
    value = folder.values[key]
    if len(value) > MAX_VALUE:
        raise PolicyError('%s%s: has %d bytes, the limit is %d'
                          % (folder.where, key, len(value), MAX_VALUE))
    bad = FORBIDDEN.search(value)
    if bad:
        raise PolicyError('%s%s: %s has %s as byte %d: only printable ASCII, '
                          'tabs and line ends are allowed'
                          % (folder.where, key, quoted(value.decode('latin-1')),
                             quoted(bad.group().decode('latin-1')), bad.start() + 1))
    return value.decode('ascii')


def _parse_at(place: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except PolicyError as error:
        raise PolicyError('%s: %s' % (place, error)) from None
