"""Members of a group on other hosts: a file that the pool daemon leaves for the hooks."""
import json
import os
import re
from typing import Tuple

from xsisolate.core.address import parse_mac, parse_prefix
from xsisolate.core.model import RemoteMember
from xsisolate.errors import ConfigError, PolicyError

FOLDER = '/run/xsisolate/groups'
VERSION = 1
SIZE_LIMIT = 4 << 20
GROUP_NAME = re.compile(r'[a-z0-9][a-z0-9_.-]{0,62}')
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')


def read_members(group: str) -> Tuple[RemoteMember, ...]:
    """Return the group's members on other hosts; none when nobody wrote the file.

    The file is {"version": 1, "members": [{"network": uuid, "mac": MAC,
    "addresses": ["10.9.0.40"]}]}; anything else is a ConfigError.
    """
    if not GROUP_NAME.fullmatch(group):
        raise ConfigError('not a group name: %.80r' % group)
    path = '%s%s/%s.json' % (os.environ.get('XSISOLATE_ROOT', ''), FOLDER, group)
    try:
        with open(path, 'rb') as file:
            text = file.read(SIZE_LIMIT + 1)
        if len(text) > SIZE_LIMIT:
            raise ValueError('larger than %d bytes' % SIZE_LIMIT)
        return _parse(json.loads(text.decode('utf-8')))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError('%s: %s' % (path, error.strerror)) from error
    except (ValueError, RecursionError, PolicyError) as error:
        raise ConfigError('%s: %s' % (path, error)) from error


def _parse(content: object) -> Tuple[RemoteMember, ...]:
    """Return the members in a file's content; raise ValueError or PolicyError."""
    if not isinstance(content, dict) or content.get('version') != VERSION:
        raise ValueError('no group file of version %d' % VERSION)
    members = content.get('members')
    if not isinstance(members, list):
        raise ValueError('members: not a list')
    return tuple(_parse_member(member) for member in members)


def _parse_member(member: object) -> RemoteMember:
    """Return one member."""
    if not isinstance(member, dict):
        raise ValueError('a member is no object: %.80r' % (member,))
    addresses = member.get('addresses')
    if not isinstance(addresses, list) or not all(isinstance(a, str) for a in addresses):
        raise ValueError('addresses: not a list of strings: %.80r' % (addresses,))
    return RemoteMember(network=_parse_network(member.get('network')),
                        mac=parse_mac(str(member.get('mac'))),
                        addresses=frozenset(parse_prefix(a) for a in addresses))


def _parse_network(network: object) -> str:
    """Return a network's uuid in lower case."""
    if not isinstance(network, str) or not UUID.fullmatch(network.lower()):
        raise ValueError('not a network uuid: %.80r' % (network,))
    return network.lower()
