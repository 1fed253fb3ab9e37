"""The seal: one text for each meaning, another one for each other VIF."""
import json
import os
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox import seals
from sandbox.metadata import VifRecord
from sandbox.pythons import ROOT

from xsisolate.policy.model import Identity, VifPolicy
from xsisolate.policy.seal import (Sealing, canonical_policy, explain, format_canonical,
                                   format_policy, is_enforced, is_portable, judge, make_seal,
                                   state_text, state_word)
from xsisolate.policy.vmdata_parser import parse_vmdata

DOCS = os.path.join(ROOT, 'docs')
with open(os.path.join(DOCS, 'seal-vectors.json'), encoding='utf-8') as file:
    VECTORS = json.load(file)
FIRST_VECTORS = 'a9186fe72d79d181d59aa1f0aa2f93dc58a2435e81c95b00309f7499bb69985a'
VIF = Identity('0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77', '0', '00:16:3e:01:02:03')
RED = VifPolicy(groups=frozenset(['red']))
GOOD = make_seal(VIF, RED)
PORTABLE = make_seal(VIF, RED, True)
PERMISSIVE = make_seal(VIF, RED._replace(permissive=True))
ENFORCED = make_seal(VIF, RED._replace(permissive=False))
ENFORCED_PORTABLE = make_seal(VIF, RED._replace(permissive=False), True)


def read(keys, devid):
    """Parse keys below vm-data/xsisolate as gather does."""
    own = 'vif/%s/' % devid
    return parse_vmdata(
        {key: value.encode() for key, value in keys.items() if not key.startswith('vif/')},
        {key[len(own):]: value.encode() for key, value in keys.items() if key.startswith(own)},
        devid)


def keys_of(vector):
    return {key.replace('vm-data/xsisolate/', ''): value
            for key, value in vector['vm-data'].items()}


@pytest.mark.parametrize('vector', VECTORS, ids=[vector['name'] for vector in VECTORS])
def test_vectors(vector):
    vif = Identity(vector['vm'], vector['device'], vector['mac'])
    policy = read(keys_of(vector), vector['device'])
    portable = vector.get('portable', False)
    assert format_canonical(vif, policy, portable) == vector['canonical']
    assert make_seal(vif, policy, portable) == vector['seal']
    assert is_portable(vector['seal']) is portable
    assert judge(vif, vector['seal'], policy) is Sealing.SEALED


@pytest.mark.parametrize('vector', VECTORS, ids=[vector['name'] for vector in VECTORS])
def test_vectors_by_another_tool(vector):
    vif = VifRecord(int(vector['device']), vector['mac'], 'xenbr0', '', '')
    if vector.get('portable'):
        assert seals.portable_seal(vif.devid, keys_of(vector)) == vector['seal']
    else:
        assert seals.seal(vector['vm'], vif, keys_of(vector)) == vector['seal']


def test_vectors_differ_where_they_should():
    same = [{'one group, one address', 'the same, written otherwise',
             'the same, with white space as tools write it'},
            {'every key, both families, services', 'the same, services in front, white space'},
            {'portable: one group', 'portable: the same in a clone'},
            {'who may begin, with and without a service', 'the same, services behind'},
            {'enforced, whatever its network is', 'the same, said of the VIF'}]
    named = {}
    for vector in VECTORS:
        named.setdefault(vector['seal'], set()).add(vector['name'])
    assert [names for names in named.values() if len(names) > 1] == same


def test_the_seals_of_the_first_release_still_fit():
    """Seals outlive releases: whatever vm-data's spelling becomes, these stay as they are."""
    digest = sha256(''.join(vector['seal'] for vector in VECTORS[:9]).encode()).hexdigest()
    assert digest == FIRST_VECTORS


ADDRESSES = st.ip_addresses(v=4, network='10.0.0.0/8') | st.ip_addresses(v=6, network='fd00::/16')
NETWORKS = st.sampled_from(('10.0.0.0/24', '10.0.0.0/9', 'fd00::/64', 'FD00:0::/48', '0.0.0.0/0'))
WHERE = st.just('external') | NETWORKS | ADDRESSES.map(str) | ADDRESSES.map(
    lambda address: address.exploded)
WHAT = st.sampled_from(('tcp', 'udp', 'tcp/22', 'udp/53-53', 'tcp/8000-8100', 'sctp/3868', 'ip/50',
                        'esp', 'ip/17', 'ip/132', 'gre', 'ip/89', 'tftp'))
PEERS = st.lists(WHERE | st.builds('{1}@{0}'.format, WHERE, WHAT)
                 | st.builds('{0};{1}'.format, WHERE, WHAT), max_size=4)
GROUPS = st.lists(st.sampled_from(('red', 'blue', 'a.b-c_d', '0')), max_size=4)
SEPARATORS = st.sampled_from((',', ' ', '\n', '\t', ', ', ' ,\r\n'))
MODES = ('locked', 'isolated', 'unlocked', 'disabled')
WHITE = st.sampled_from(('', ' ', '\n', '\r\n', '\t '))


@st.composite
def policies(draw):
    """Draw keys below vm-data/xsisolate."""
    keys = {}
    for key, values in (('groups', GROUPS), ('allow', PEERS), ('allow-1', PEERS),
                        ('vif/0/groups', GROUPS), ('vif/0/allow', PEERS), ('vif/1/allow', PEERS)):
        if draw(st.booleans()) and (key != 'allow-1' or 'allow' in keys):
            keys[key] = draw(WHITE) + draw(SEPARATORS).join(draw(values)) + draw(WHITE)
    if draw(st.booleans()):
        keys['vif/0/mac'] = draw(SEPARATORS).join(draw(st.lists(st.sampled_from(
            ('vrrp', '00:00:5e:00:01:05', '00:00:5E:00:02:0A', '02:00:00:00:00:01')), max_size=3)))
    for key, words in (('mode', MODES), ('permissive', ('yes', 'no'))):
        for where in ('', 'vif/0/'):
            if draw(st.booleans()):
                keys[where + key] = draw(WHITE) + draw(st.sampled_from(words)) + draw(WHITE)
    if draw(st.booleans()):
        keys['vif/0/ipv4'] = ' '.join(map(str, draw(st.lists(st.just('any') | st.ip_addresses(
            v=4, network='10.0.0.0/24'), max_size=3))))
    return keys


@given(policies())
def test_two_tools_agree(keys):
    policy = read(keys, '0')
    canonical = canonical_policy(policy or VifPolicy())
    assert canonical == seals.effective(keys, 0)
    record = VifRecord(0, VIF.mac.upper(), 'xenbr0', '', '')
    assert make_seal(VIF, policy or VifPolicy()) == seals.seal(VIF.vm_uuid.upper(), record, keys)
    assert make_seal(VIF, policy or VifPolicy(), True) == seals.portable_seal(0, keys)


@given(policies())
def test_what_is_sealed_is_what_was_read(keys):
    """Written back, a policy is the same policy."""
    policy = read(keys, '0')
    written = format_policy(policy or VifPolicy())
    again = {'vif/0/' + key: value if isinstance(value, str) else ','.join(value)
             for key, value in written.items()}
    assert read(again, '0') == policy


@given(policies())
def test_permissive_is_one_key_more_and_else_changes_nothing(keys):
    """A policy that does not say it has the text and the seal that it always had."""
    policy = (read(keys, '0') or VifPolicy())._replace(permissive=None)
    with_no, with_yes = policy._replace(permissive=False), policy._replace(permissive=True)
    for portable in (False, True):
        plain = json.loads(format_canonical(VIF, policy, portable))
        assert 'permissive' not in plain['policy']
        assert len(make_seal(VIF, policy, portable)) == len(GOOD)
        for said, word in ((with_no, 'no'), (with_yes, 'yes')):
            text = json.loads(format_canonical(VIF, said, portable))
            assert text['policy'].pop('permissive') == word and text == plain
    seals_of = {make_seal(VIF, said) for said in (policy, with_no, with_yes)}
    assert len(seals_of) == 3


@given(policies(), st.booleans())
def test_the_mark_stands_behind_the_seals_of_the_enforced_alone(keys, portable):
    policy = read(keys, '0') or VifPolicy()
    seal = make_seal(VIF, policy, portable)
    assert is_enforced(seal) is seal.endswith(':enforced') is (policy.permissive is False)


@pytest.mark.parametrize('seal, enforced', [
    pytest.param(None, False, id='none'),
    pytest.param('', False, id='empty'),
    pytest.param(':enforced', False, id='the mark alone'),
    pytest.param(ENFORCED, True, id='enforced'),
    pytest.param(ENFORCED_PORTABLE, True, id='portable'),
    pytest.param(' ' + ENFORCED.upper() + '\r\n', True, id='spelled otherwise'),
    pytest.param('1:' + '0' * 64 + ':enforced', True, id='of whatever policy'),
    pytest.param('3:' + '0' * 64 + ':enforced', True, id='of a later version'),
    pytest.param(PERMISSIVE, False, id='permissive'),
    pytest.param(GOOD, False, id='it does not say'),
    pytest.param(GOOD + ':', False, id='cut off'),
    pytest.param(GOOD + ':enforced:enforced', False, id='twice'),
    pytest.param(GOOD + ': enforced', False, id='white space inside'),
    pytest.param('1:' + '0' * 63 + ':enforced', False, id='a digest cut off'),
])
def test_is_enforced(seal, enforced):
    assert is_enforced(seal) is enforced


@pytest.mark.parametrize('seal, policy, state', [
    pytest.param(None, None, Sealing.NONE, id='neither'),
    pytest.param(None, RED, Sealing.UNSEALED, id='unsealed'),
    pytest.param(GOOD, RED, Sealing.SEALED, id='sealed'),
    pytest.param(GOOD.upper(), RED, Sealing.SEALED, id='in capitals'),
    pytest.param(GOOD, None, Sealing.MISSING, id='missing'),
    pytest.param(GOOD, VifPolicy(groups=frozenset()), Sealing.CHANGED, id='changed'),
    pytest.param(GOOD, RED._replace(allow=frozenset()), Sealing.CHANGED, id='a key more'),
    pytest.param('\t' + GOOD, RED._replace(allow=frozenset()), Sealing.CHANGED,
                 id='changed, white space around'),
    pytest.param(make_seal(VIF._replace(devid='1'), RED), RED, Sealing.CHANGED, id='device'),
    pytest.param(make_seal(VIF._replace(mac='00:16:3e:01:02:04'), RED), RED, Sealing.CHANGED,
                 id='MAC'),
    pytest.param(make_seal(VIF._replace(vm_uuid='1' + VIF.vm_uuid[1:]), RED), RED,
                 Sealing.CHANGED, id='VM'),
    pytest.param('3' + GOOD[1:], RED, Sealing.VERSION, id='version'),
    pytest.param('01' + GOOD[1:], RED, Sealing.VERSION, id='version with a zero'),
    pytest.param('02' + PORTABLE[1:], RED, Sealing.VERSION, id='portable with a zero'),
    pytest.param('3' + GOOD[1:], None, Sealing.VERSION, id='version without policy'),
    pytest.param(PORTABLE, RED, Sealing.SEALED, id='portable'),
    pytest.param(' ' + PORTABLE.upper() + '\r\n', RED, Sealing.SEALED, id='portable, spelled so'),
    pytest.param(PORTABLE, None, Sealing.MISSING, id='portable, missing'),
    pytest.param(PORTABLE, RED._replace(allow=frozenset()), Sealing.CHANGED,
                 id='portable, a key more'),
    pytest.param(PORTABLE, VifPolicy(groups=frozenset(['blue'])), Sealing.CHANGED,
                 id='portable, changed'),
    pytest.param(make_seal(VIF._replace(devid='1'), RED, True), RED, Sealing.CHANGED,
                 id='portable, device'),
    pytest.param('2' + GOOD[1:], RED, Sealing.CHANGED, id='a bound one that says portable'),
    pytest.param('1' + PORTABLE[1:], RED, Sealing.CHANGED, id='a portable one that says bound'),
    pytest.param(PORTABLE[:-1], RED, Sealing.UNREADABLE, id='portable, cut off'),
    pytest.param('', RED, Sealing.UNREADABLE, id='empty'),
    pytest.param(GOOD[:-1], RED, Sealing.UNREADABLE, id='cut off'),
    pytest.param(GOOD + '\n', RED, Sealing.SEALED, id='a newline behind'),
    pytest.param(' \t' + GOOD + '\r\n', RED, Sealing.SEALED, id='white space around'),
    pytest.param('1: ' + GOOD[2:], RED, Sealing.UNREADABLE, id='white space inside'),
    pytest.param(GOOD + '\x0b', RED, Sealing.UNREADABLE, id='a vertical tab behind'),
    pytest.param(GOOD + '\xa0', RED, Sealing.UNREADABLE, id='a no-break space behind'),
    pytest.param('\0' + GOOD, RED, Sealing.UNREADABLE, id='a NUL before'),
    pytest.param(' \n', RED, Sealing.UNREADABLE, id='blank'),
    pytest.param(GOOD[2:], RED, Sealing.UNREADABLE, id='no version'),
    pytest.param('1:' + 'g' * 64, RED, Sealing.UNREADABLE, id='no hex'),
    pytest.param('1:' + '\uff11' * 64, RED, Sealing.UNREADABLE, id='digits of another script'),
    pytest.param(PERMISSIVE, RED._replace(permissive=True), Sealing.SEALED, id='permissive'),
    pytest.param(PERMISSIVE, RED, Sealing.CHANGED, id='the guest takes permissive out'),
    pytest.param(GOOD, RED._replace(permissive=True), Sealing.CHANGED,
                 id='the guest writes permissive'),
    pytest.param(ENFORCED, RED._replace(permissive=False), Sealing.SEALED, id='enforced'),
    pytest.param('\t' + ENFORCED.upper() + '\n', RED._replace(permissive=False), Sealing.SEALED,
                 id='enforced, spelled otherwise'),
    pytest.param(ENFORCED_PORTABLE, RED._replace(permissive=False), Sealing.SEALED,
                 id='enforced, portable'),
    pytest.param(ENFORCED, RED._replace(permissive=True), Sealing.CHANGED,
                 id='enforced, and the guest writes permissive'),
    pytest.param(ENFORCED, None, Sealing.MISSING, id='enforced, missing'),
    pytest.param(ENFORCED[:-len(':enforced')], RED._replace(permissive=False), Sealing.CHANGED,
                 id='enforced, without the mark'),
    pytest.param(GOOD + ':enforced', RED, Sealing.CHANGED, id='the mark where none belongs'),
    pytest.param(GOOD + ':permissive', RED, Sealing.UNREADABLE, id='another mark'),
    pytest.param('x' * 100000, None, Sealing.UNREADABLE, id='long'),
])
def test_states(seal, policy, state):
    assert judge(VIF, seal, policy) is state
    text = explain(state, VIF, seal, policy)
    assert text.isprintable() and len(text) < 600 and state_text(state, seal) in text
    assert state_word(state, seal) == ('portable' if state is Sealing.SEALED and is_portable(seal)
                                       else state.name.lower())


@pytest.mark.parametrize('copy', [
    VIF._replace(vm_uuid='1' + VIF.vm_uuid[1:]), VIF._replace(mac='00:16:3e:01:02:04'),
    Identity('ffffffff-8a4f-2c61-1c5b-6f2f5a3f8c77', '0', '02:00:00:00:00:01')])
def test_a_portable_seal_fits_every_copy_and_a_bound_one_none(copy):
    assert judge(copy, PORTABLE, RED) is Sealing.SEALED
    assert judge(copy, GOOD, RED) is Sealing.CHANGED


def test_a_portable_seal_says_so():
    text = explain(Sealing.CHANGED, VIF, PORTABLE, VifPolicy(groups=frozenset(['blue'])))
    assert 'the portable seal is not that of this policy and device' in text
    assert PORTABLE[:18] in text and 'xsisolate seal ' + VIF.vm_uuid in text
    assert 'sealed, portable' in state_text(Sealing.SEALED, PORTABLE)
    assert state_text(Sealing.SEALED, GOOD) == 'sealed'


@given(policies(), st.integers(0, 6), st.integers(0, 6))
def test_no_portable_text_is_a_bound_one(keys, one, other):
    """A guest that chose its policy freely could not make one kind pass for the other."""
    policy = read(keys, '0') or VifPolicy()
    texts = {(format_canonical(VIF._replace(devid=str(devid)), policy, portable))
             for devid in (one, other) for portable in (False, True)}
    assert len(texts) == 2 * len({one, other})


@pytest.mark.parametrize('state, seal, policy, said', [
    pytest.param(Sealing.UNSEALED, None, RED, 'unsealed: accept', id='unsealed'),
    pytest.param(Sealing.MISSING, GOOD, None, 'xsisolate set', id='missing'),
    pytest.param(Sealing.VERSION, '2:0', RED, "read '2:0', expected 1: or 2:", id='version'),
    pytest.param(Sealing.CHANGED, '1:' + '0' * 64, RED, GOOD[:18], id='changed'),
    pytest.param(Sealing.CHANGED, '1:' + '0' * 64, RED, 'clone, restore, import', id='copied'),
    pytest.param(Sealing.CHANGED, '1:' + '0' * 64, RED, 'xsisolate seal ' + VIF.vm_uuid,
                 id='what to do'),
])
def test_explanations_say_what_to_do(state, seal, policy, said):
    text = explain(state, VIF, seal, policy)
    assert said in text and text.startswith('xsisolate-seal of device 0: ')
