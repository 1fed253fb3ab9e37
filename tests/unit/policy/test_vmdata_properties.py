"""Whatever a guest writes, the answer is a policy or one line that refuses it."""
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Mode, VifPolicy
from xsisolate.policy.vmdata_parser import MAX_ALLOW, MAX_GROUPS, MAX_OWN, parse_vmdata

NAMES = ('mode', 'groups', 'allow', 'ipv4', 'ipv6')
WORDS = st.sampled_from((
    b'locked', b'isolated', b'red', b'external', b'10.0.0.7', b'10.0.0.0/24',
    b'fd00::7', b'fd00::/64', b';', b'tcp/22', b'tcp/1-9', b'icmp', b'icmp6', b'/',
    b'-', b',', b' ', b'\n', b'\t', b'\r\n', b'@', b'\v', b'\xc2\xa0', b'\0',
    b'\xff', b'%', b'%s', b'{}', b'0', b'9' * 30,
    b':' * 20, b'.', b"'", b'"', b'\\', b'\x1b[2J', b'a' * 5000, b'1,' * 2048))
VALUES = st.one_of(st.binary(max_size=5000),
                   st.lists(WORDS, max_size=12).map(b''.join))
KEYS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(NAMES), st.integers(-1, 70)).map('%s-%d'.__mod__))
TREES = st.dictionaries(KEYS, VALUES, max_size=8)
GROUPS = st.from_regex('[a-z0-9][a-z0-9_.-]{0,62}', fullmatch=True)
SEPARATORS = st.text(alphabet=', \t\r\n', min_size=1, max_size=3)
WHITE = st.text(alphabet=' \t\r\n', max_size=4).map(str.encode)
VALID = {'mode': b'isolated', 'groups': b'red,blue', 'allow': b'tcp/22@10.0.0.7 external',
         'ipv4': b'10.0.0.7\n10.0.0.8', 'ipv6': b'fd00::7'}


def assert_one_line(text):
    assert text.isprintable() and text.encode('ascii') and len(text) < 500


def assert_bounded(policy):
    assert len(policy.groups or ()) <= MAX_GROUPS
    assert len(policy.allow or ()) <= MAX_ALLOW
    assert max(len(policy.ipv4 or ()), len(policy.ipv6 or ())) <= MAX_OWN
    assert policy.mode is not Mode.QUARANTINED


@settings(max_examples=500, deadline=None)
@given(TREES, TREES)
def test_the_answer_is_a_policy_or_one_line(common, own):
    try:
        policy = parse_vmdata(common, own, devid='0')
    except PolicyError as error:
        assert_one_line(str(error))
    else:
        assert (policy is None) == (not common and not own)
        assert_bounded(policy or VifPolicy())


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(NAMES), VALUES)
def test_any_value_of_a_known_key(name, value):
    try:
        policy = parse_vmdata({}, {name: value})
    except PolicyError as error:
        assert_one_line(str(error))
        assert name in str(error)
    else:
        assert getattr(policy, name) is not None


@given(st.lists(GROUPS, max_size=64), SEPARATORS)
def test_groups_are_read_as_written(names, separator):
    value = separator.join(names).encode()[:4096]
    read = parse_vmdata({'groups': value}, {}).groups
    assert read == frozenset(re.findall('[^, \t\r\n]+', value.decode()))


@given(st.sampled_from(sorted(VALID)), WHITE, WHITE)
def test_white_space_around_a_value_changes_nothing(name, before, after):
    read = parse_vmdata({}, {name: before + VALID[name] + after})
    assert read == parse_vmdata({}, {name: VALID[name]})


@given(st.sampled_from(sorted(VALID)), st.data())
def test_any_other_control_character_or_blank_is_refused(name, data):
    value = VALID[name]
    at = data.draw(st.integers(0, len(value)))
    bad = data.draw(st.characters(blacklist_categories=('Cs',)).filter(
        lambda one: one not in '\t\r\n' and not ' ' <= one <= '~'))
    with pytest.raises(PolicyError):
        parse_vmdata({}, {name: value[:at] + bad.encode() + value[at:]})


@given(st.lists(st.integers(1 << 24, (127 << 24) - 1), max_size=200),
       st.integers(1, 9))
def test_splitting_a_list_over_keys_changes_nothing(numbers, size):
    texts = ['%d.%d.%d.%d' % tuple(n >> shift & 255 for shift in (24, 16, 8, 0))
             for n in numbers]
    parts = [texts[at::size] for at in range(size)]
    keys = ['ipv4'] + ['ipv4-%d' % n for n in range(1, size)]
    own = {key: ','.join(part).encode() for key, part in zip(keys, parts)}
    assert sorted(map(format_prefix, parse_vmdata({}, own).ipv4)) == sorted(set(texts))
