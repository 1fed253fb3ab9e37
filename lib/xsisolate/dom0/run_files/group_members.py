"""Members of a group on other hosts: a file that the pool daemon leaves for the hooks."""
import json
import os
import re
from time import time

from xsisolate import __version__
from xsisolate.errors import ConfigError, PolicyError
from xsisolate.paths import rooted
from xsisolate.policy.additional_macs import VRRP, covers, parse_additional
from xsisolate.policy.address import format_prefix, parse_mac, parse_prefix
from xsisolate.policy.model import HOLDERS, ROLES, Prefix, RemoteMember
from xsisolate.typing_compat import AbstractSet, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple
from xsisolate.vif_id import UUID

FOLDER = '/run/xsisolate/groups'
VERSION = 1
SUFFIX = '.json'
SIZE_LIMIT = 4 << 20
# The clock of files ticks 100 to 1000 times a second: what is changed twice in one tick shows once.
TICK_S = 0.02
GROUP_NAME = re.compile(r'[a-z0-9][a-z0-9_.-]{0,62}')


def read_members(group: str) -> Tuple[RemoteMember, ...]:
    """Return the group's members on other hosts; none if there is no file.

    The file is {"version": 1, "members": [{"network": uuid, "mac": MAC,
    "addresses": ["10.9.0.40"]}]}; anything else is a ConfigError.
    """
    path = _path(group)
    content = _read(path)
    if content is None:
        return ()
    try:
        return _parse(json.loads(content.decode('utf-8')))
    except (ValueError, RecursionError, PolicyError) as error:
        raise ConfigError('%s: %s' % (path, error)) from error


def find_claims(group: str, addresses: Iterable[Prefix]) -> Tuple[RemoteMember, ...]:
    """Return the group's members on other hosts that have one of these addresses.

    To look for them as text first spares a hook the parsing of thousands of others.
    """
    content = _read(_path(group)) or b''
    if not any(b'"%s"' % format_prefix(address).encode() in content for address in addresses):
        return ()
    return tuple(member for member in read_members(group)
                 if not member.addresses.isdisjoint(addresses))


def find_reserved(macs: AbstractSet[str]) -> Tuple[RemoteMember, ...]:
    """Return the VIFs on other hosts to which one of these MAC addresses belongs everywhere."""
    content = _read(_path(HOLDERS)) or b'' if macs else b''
    if not any(text.encode() in content for text in (*macs, VRRP)):
        return ()
    return tuple(member for member in read_members(HOLDERS)
                 if any(covers([member.mac, *member.macs], mac) for mac in macs))


def stamp_members(group: str) -> str:
    """Return what tells one state of a group's file, and one release of us, from another.

    Which file it is and when it was last changed, not what it says: reading and digesting the
    members takes a hook 4 ms for 8,000 of them. A file that was changed in this very tick may
    change again and look the same, so its stamp is unique, and the next reader reads it again.
    """
    path = _path(group)
    now = time()
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return __version__
    except OSError as error:
        raise ConfigError('%s: %s' % (path, error.strerror)) from error
    settled = abs(now - found.st_ctime) >= TICK_S
    return '%s %d %d %d %d%s' % (__version__, found.st_dev, found.st_ino, found.st_size,
                                 found.st_ctime_ns, '' if settled else ' at %r' % now)


def _read(path: str) -> Optional[bytes]:
    """Return a file's content, None if there is no such file."""
    try:
        with open(path, 'rb') as file:
            text = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError('%s: %s' % (path, error.strerror)) from error
    if len(text) > SIZE_LIMIT:
        raise ConfigError('%s: larger than %d bytes' % (path, SIZE_LIMIT))
    return text


def _path(group: str) -> str:
    """Return where a group's members are written."""
    if group != HOLDERS and not GROUP_NAME.fullmatch(group):
        raise ConfigError('not a group name: %.80r' % group)
    return _folder() + '/' + group + SUFFIX


def _folder() -> str:
    return rooted(FOLDER)


def _parse(content: object) -> Tuple[RemoteMember, ...]:
    """Return the members in a file's content; raise ValueError or PolicyError."""
    if not isinstance(content, dict) or content.get('version') != VERSION:
        raise ValueError('not a group file of version %d' % VERSION)
    members = content.get('members')
    if not isinstance(members, list):
        raise ValueError('members: not a list')
    return tuple(_parse_member(member) for member in members)


def _parse_member(member: object) -> RemoteMember:
    """Return one member."""
    if not isinstance(member, dict):
        raise ValueError('a member is not an object: %.80r' % (member,))
    return RemoteMember(network=_parse_network(member.get('network')),
                        mac=parse_mac(str(member.get('mac'))),
                        addresses=_parse_addresses('addresses', member.get('addresses')),
                        shared=_parse_addresses('shared', member.get('shared', [])),
                        roles=_parse_roles(member.get('roles', [])),
                        macs=_parse_macs(member.get('macs', [])),
                        leased=_parse_addresses('leased', member.get('leased', [])))


def _parse_roles(words: object) -> FrozenSet[str]:
    """Return a list of roles."""
    if not isinstance(words, list) or not all(word in ROLES for word in words):
        raise ValueError('roles: not a list of %s: %.80r' % (', '.join(ROLES), words))
    return frozenset(words)


def _parse_macs(texts: object) -> FrozenSet[str]:
    """Return a list of additional MAC addresses."""
    if not isinstance(texts, list):
        raise ValueError('macs: not a list: %.80r' % (texts,))
    return frozenset(parse_additional(str(text)) for text in texts)


def _parse_addresses(name: str, texts: object) -> FrozenSet[Prefix]:
    """Return a list of addresses."""
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('%s: not a list of strings: %.80r' % (name, texts))
    return frozenset(parse_prefix(text) for text in texts)


def _parse_network(network: object) -> str:
    """Return a network's uuid in lower case."""
    if not isinstance(network, str) or not UUID.fullmatch(network.lower()):
        raise ValueError('not a network uuid: %.80r' % (network,))
    return network.lower()


def write_members(members: Mapping[str, Iterable[RemoteMember]]) -> Tuple[str, ...]:
    """Keep the files as these groups are, and no others; return the groups that have changed.

    An unchanged file is not touched, because the daemon would check every bridge.
    """
    from xsisolate.dom0.linux.atomic_file import (put_file)
    changed = [group for group, found in sorted(members.items())
               if put_file(_path(group), format_members(group, found))]
    gone = [group for group in list_groups() if group not in members]
    for group in gone:
        put_file(_folder() + '/' + group + SUFFIX, None)
    return tuple(changed + gone)


def write_changed(members: Mapping[str, Iterable[RemoteMember]]) -> Tuple[str, ...]:
    """Keep the files of these groups as they are now, and no others; a group without any is none.

    Return the groups whose files have changed.
    """
    from xsisolate.dom0.linux.atomic_file import (put_file)
    changed = []
    for group, found in sorted(members.items()):
        some = tuple(found)
        if put_file(_path(group), format_members(group, some) if some else None):
            changed.append(group)
    return tuple(changed)


def format_members(group: str, members: Iterable[RemoteMember]) -> str:
    """Return a group file's content, a line for each member; ConfigError if it is too large."""
    lines = [json.dumps(_describe(member), sort_keys=True) for member in members]
    text = '{"version": %d, "members": [\n%s\n]}\n' % (VERSION, ',\n'.join(lines))
    if len(text) > SIZE_LIMIT:
        raise ConfigError('group %s: %d bytes of members, the limit is %d'
                          % (group, len(text), SIZE_LIMIT))
    return text


def _describe(member: RemoteMember) -> Mapping[str, object]:
    found: Dict[str, object] = {'network': member.network, 'mac': member.mac, 'addresses': [
        format_prefix(address) for address in sorted(member.addresses)]}
    if member.shared:
        found['shared'] = [format_prefix(address) for address in sorted(member.shared)]
    if member.leased:
        found['leased'] = [format_prefix(address) for address in sorted(member.leased)]
    if member.roles:
        found['roles'] = sorted(member.roles)
    if member.macs:
        found['macs'] = sorted(member.macs)
    return found


def list_groups() -> Tuple[str, ...]:
    """Return the groups that have a file."""
    try:
        names = os.listdir(_folder())
    except FileNotFoundError:
        return ()
    return tuple(sorted(name[:-len(SUFFIX)] for name in names if name.endswith(SUFFIX)))
