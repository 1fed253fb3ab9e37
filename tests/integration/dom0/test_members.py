"""The file of a group's members on other hosts."""
import json
import os
import shutil
from time import sleep

import pytest
from xsisolate.dom0.run_files.group_members import (TICK_S, find_claims, find_reserved, list_groups,
                                                    read_members, stamp_members,
                                                    write_members)
from xsisolate.errors import ConfigError
from xsisolate.policy.model import HOLDERS, Prefix, RemoteMember

NETWORK = '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'
MEMBER = {'network': NETWORK, 'mac': 'BA:1c:2f:5e:90:01', 'addresses': ['10.9.0.40', 'fe80::1']}


@pytest.fixture
def write(root):
    folder = root / 'run/xsisolate/groups'
    folder.mkdir(parents=True)

    def put(content):
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / 'red.json').write_bytes(text)
        return folder / 'red.json'
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
    {'version': 1, 'members': [dict(MEMBER, shared='10.9.0.40')]},
    {'version': 1, 'members': [dict(MEMBER, roles='dhcp')]},
    {'version': 1, 'members': [dict(MEMBER, roles=['boss'])]},
    {'version': 1, 'members': [dict(MEMBER, macs='vrrp')]},
    {'version': 1, 'members': [dict(MEMBER, macs=['carp'])]},
    {'version': 1, 'members': [dict(MEMBER, macs=[7])]},
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


# --- written -------------------------------------------------------------------------------

FOUND = RemoteMember(NETWORK, 'ba:1c:2f:5e:90:01', frozenset([Prefix(4, 0x0a090028, 32)]))


def test_what_is_written_reads_back(root):
    many = tuple(FOUND._replace(mac='02:00:00:00:%02x:%02x' % divmod(n, 256)) for n in range(300))
    assert write_members({'red': many, 'blue': ()}) == ('blue', 'red')
    assert read_members('red') == many and read_members('blue') == ()
    assert list_groups() == ('blue', 'red')


def test_shared_addresses_read_back(root):
    shared = FOUND._replace(shared=FOUND.addresses)
    write_members({'red': (FOUND, shared)})
    assert read_members('red') == (FOUND, shared)


def test_holders_of_roles_read_back(root):
    holder = FOUND._replace(roles=frozenset(['dhcp', 'router']))
    write_members({HOLDERS: (holder,)})
    assert read_members(HOLDERS) == (holder,) and list_groups() == (HOLDERS,)


def test_additional_mac_addresses_read_back(root):
    user = FOUND._replace(macs=frozenset(['vrrp', '02:00:00:00:00:09']))
    write_members({HOLDERS: (user,)})
    assert read_members(HOLDERS) == (user,)
    for mac, found in (('00:00:5e:00:01:07', (user,)), ('02:00:00:00:00:09', (user,)),
                       (user.mac, (user,)), ('02:00:00:00:00:08', ())):
        assert find_reserved([mac]) == found
    assert find_reserved([]) == ()


def test_claims_to_an_address(root):
    own, other = Prefix(4, 0x0a090028, 32), Prefix(4, 0x0a09002, 32)
    second = FOUND._replace(mac='02:00:00:00:00:02', addresses=frozenset([other, own]))
    third = FOUND._replace(mac='02:00:00:00:00:03', addresses=frozenset([Prefix(4, 0x0a000000, 8)]))
    assert find_claims('red', [own]) == ()
    write_members({'red': (FOUND, second, third)})
    assert find_claims('red', [own]) == (FOUND, second) and find_claims('red', [other]) == (second,)
    assert find_claims('red', [Prefix(4, 0x0a090004, 32)]) == () == find_claims('red', [])


def test_what_says_the_same_is_not_touched(root):
    folder = root / 'run/xsisolate/groups'
    assert write_members({'red': (FOUND,), 'blue': (FOUND,)}) == ('blue', 'red')
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert write_members({'red': (FOUND,), 'blue': ()}) == ('blue',)
    assert (folder / 'red.json').stat().st_ino == before['red.json']
    assert (folder / 'blue.json').stat().st_ino != before['blue.json']
    assert not list(folder.glob('*.new'))


def test_groups_that_are_gone(root):
    write_members({'red': (FOUND,), 'blue': (FOUND,)})
    (root / 'run/xsisolate/groups/No Group.json').write_text('')
    assert write_members({'blue': (FOUND,)}) == ('No Group', 'red')
    assert list_groups() == ('blue',) and write_members({}) == ('blue',)
    assert read_members('red') == ()


def test_what_somebody_broke_is_mended(root, write):
    write(b'\xff\xfe{')
    assert write_members({'red': (FOUND,)}) == ('red',) and read_members('red') == (FOUND,)


@pytest.mark.parametrize('group', ['../x', 'R', '', 'a/b', 'x' * 64])
def test_a_group_that_is_no_file(root, group):
    with pytest.raises(ConfigError):
        write_members({group: (FOUND,)})
    assert not list(root.rglob('*.json'))


def test_more_members_than_a_hook_would_read(root):
    with pytest.raises(ConfigError, match='limit'):
        write_members({'red': (FOUND,) * 60000})


def test_nobody_wrote_a_folder(root):
    assert list_groups() == () and write_members({}) == ()


def test_a_stamp_tells_states_of_the_file_from_each_other(write, root):
    none = stamp_members('red')
    path = write({'version': 1, 'members': [MEMBER]})
    sleep(TICK_S)
    one = stamp_members('red')
    assert stamp_members('red') == one
    for _ in range(20):         # in place, as long as before, as fast as can be
        before = stamp_members('red')
        path.write_bytes(path.read_bytes())
        assert stamp_members('red') != before
    os.replace(str(shutil.copy2(str(path), str(path) + '.new')), str(path))     # of the same age
    assert len({none, one, before, stamp_members('red')}) == 4
    path.unlink()
    assert stamp_members('red') == stamp_members('blue') == none
    with pytest.raises(ConfigError, match='not a group name'):
        stamp_members('../red')


def test_the_stamp_of_a_file_that_was_written_this_moment_is_like_no_other(write):
    """It may be written again and look the same; nobody waits until it cannot."""
    path = write({'version': 1, 'members': [MEMBER]})
    found = set()
    for _ in range(5):
        path.write_bytes(path.read_bytes())
        found |= {stamp_members('red'), stamp_members('red')}
    assert len(found) == 10
    sleep(TICK_S)
    assert not found & {stamp_members('red')}
