"""The file of a group's members on other hosts."""
import json

import pytest
from xsisolate.core.model import Prefix, RemoteMember
from xsisolate.dom0.members import read_members
from xsisolate.errors import ConfigError

NETWORK = '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'
MEMBER = {'network': NETWORK, 'mac': 'BA:1c:2f:5e:90:01', 'addresses': ['10.9.0.40', 'fe80::1']}


@pytest.fixture
def write(root):
    folder = root / 'run/xsisolate/groups'
    folder.mkdir(parents=True)

    def put(content):
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / 'red.json').write_bytes(text)
    return put


def test_members(write):
    write({'version': 1, 'members': [MEMBER, dict(MEMBER, addresses=[])]})
    one, other = read_members('red')
    assert one == RemoteMember(NETWORK, 'ba:1c:2f:5e:90:01', frozenset(
        [Prefix(4, 0x0a090028, 32), Prefix(6, 0xfe80 << 112 | 1, 128)]))
    assert other.addresses == frozenset()


def test_nobody_wrote_a_file(root):
    assert read_members('red') == ()


@pytest.mark.parametrize('content', [
    b'', b'{', b'\xff\xfe', b'[]', b'{}', b'[' * 100000,
    b'{"version": 1, "members": []}' + b' ' * (5 << 20),
    {'version': 2, 'members': []},
    {'version': 1},
    {'version': 1, 'members': {}},
    {'version': 1, 'members': [None]},
    {'version': 1, 'members': [{}]},
    {'version': 1, 'members': [dict(MEMBER, network='xapi3')]},
    {'version': 1, 'members': [dict(MEMBER, mac=None)]},
    {'version': 1, 'members': [dict(MEMBER, mac='01:00:5e:00:00:01')]},
    {'version': 1, 'members': [dict(MEMBER, addresses='10.9.0.40')]},
    {'version': 1, 'members': [dict(MEMBER, addresses=[7])]},
    {'version': 1, 'members': [dict(MEMBER, addresses=['10.9.0.40/24'])]},
])
def test_malformed_file(write, content):
    write(content)
    with pytest.raises(ConfigError, match=r'/run/xsisolate/groups/red\.json: .') as failure:
        read_members('red')
    assert str(failure.value).isprintable() and len(str(failure.value)) < 400


def test_folder_instead_of_file(root):
    (root / 'run/xsisolate/groups/red.json').mkdir(parents=True)
    with pytest.raises(ConfigError, match='directory'):
        read_members('red')


@pytest.mark.parametrize('group', ['', '../x', 'a/b', 'Red', 'red\n', '.'])
def test_names_that_are_no_path(root, group):
    with pytest.raises(ConfigError, match='not a group name'):
        read_members(group)
