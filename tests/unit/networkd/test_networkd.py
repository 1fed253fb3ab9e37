"""What networkd must be told, and how exactly that is taken back: records in, calls out."""
import json

import pytest

from xsisolate.errors import PolicyError
from xsisolate.networkd.desired import (KEYS, NOTE_KEY, TOLD, Pif, find_pifs, missing_keys,
                                        plan_notes, plan_record)

FAIL, IN_BAND = (one.key for one in TOLD)
CLOSED = {'xsisolate-fail-mode': 'standalone'}
BOTH = dict(CLOSED, **{'xsisolate-disable-in-band': 'unset'})
FOREIGN = {'ethtool-gso': 'off', 'mtu': '9000'}


def apply(config, calls):
    """Return a record after these calls, each of which XAPI must take."""
    config = dict(config)
    for call in calls:
        verb, (ref, key, *value) = call.method, call.args
        assert ref == 'pif'
        if verb == 'PIF.remove_from_other_config':
            config.pop(key, None)
        else:
            assert verb == 'PIF.add_to_other_config' and key not in config
            config[key], = value
    return config


def told(config, external_ids):
    return apply(config, plan_record(Pif('pif', 'xenbr0', config), external_ids))


@pytest.mark.parametrize('before', [
    {}, FOREIGN, {FAIL: 'standalone'}, {FAIL: 'secure'}, {IN_BAND: 'false', FAIL: 'nonsense'},
    dict(FOREIGN, **{IN_BAND: 'true'})])
@pytest.mark.parametrize('wanted', [CLOSED, BOTH])
def test_what_is_told_is_taken_back_to_the_letter(before, wanted):
    after = told(before, wanted)
    assert not missing_keys(wanted, after) and after[FAIL] == 'secure'
    assert {key: value for key, value in after.items() if key not in KEYS} == {
        key: value for key, value in before.items() if key not in KEYS}
    assert told(after, wanted) == after and not plan_record(Pif('pif', 'xenbr0', after), wanted)
    assert told(after, {}) == before


def test_one_key_goes_and_the_other_stays():
    both = told({FAIL: 'standalone'}, BOTH)
    one = told(both, {'xsisolate-disable-in-band': 'unset'})
    assert (one[FAIL], one[IN_BAND]) == ('standalone', 'true')
    assert json.loads(one[NOTE_KEY]) == {IN_BAND: None}
    assert told(one, {}) == {FAIL: 'standalone'}


def test_what_others_have_changed_since_is_theirs():
    after = dict(told({}, BOTH), **{FAIL: 'standalone'})
    assert missing_keys(BOTH, after) == [FAIL]
    assert told(after, BOTH)[FAIL] == 'secure'          # while it is wanted, it is ours
    assert told(after, {}) == {FAIL: 'standalone'}


def test_a_bridge_that_is_not_there_says_nothing():
    assert not plan_record(Pif('pif', 'xenbr0', told({}, BOTH)), None)


def test_the_note_is_there_as_long_as_what_it_is_about():
    """Whatever is cut off in the middle can be taken back."""
    for before in ({}, {FAIL: 'standalone'}):
        calls = plan_record(Pif('pif', 'xenbr0', before), BOTH)
        after = apply(before, calls)
        for done in range(len(calls)):
            half = apply(before, calls[:done])
            assert told(half, {}) in (before, {}) and told(half, BOTH) == after
        calls = plan_record(Pif('pif', 'xenbr0', after), {})
        for done in range(len(calls)):
            assert told(told(apply(after, calls[:done]), BOTH), {}) in (before, {})


@pytest.mark.parametrize('note', ['', '[]', '{', '{"vswitch-disable-in-band": 1}', 'null', '"x"'])
def test_a_note_without_sense_is_an_error_and_nothing_is_written(note):
    with pytest.raises(PolicyError, match=NOTE_KEY):
        plan_record(Pif('pif', 'xenbr0', {NOTE_KEY: note}), BOTH)


@pytest.mark.parametrize('before, external_ids, actual, expected', [
    # networkd has made the bridge anew, with what we had it told; nobody has noted anything yet
    ({}, {}, {FAIL: 'secure'}, {'xsisolate-fail-mode': 'standalone'}),
    # a hook was faster, and took that for what was before
    ({}, {'xsisolate-fail-mode': 'secure'}, {FAIL: 'secure'},
     {'xsisolate-fail-mode': 'standalone'}),
    ({}, {'xsisolate-fail-mode': 'secure', 'xsisolate-disable-in-band': 'true'},
     {FAIL: 'secure', IN_BAND: 'true'},
     {'xsisolate-fail-mode': 'standalone', 'xsisolate-disable-in-band': 'unset'}),
    ({IN_BAND: 'false'}, {'xsisolate-disable-in-band': 'true'}, {IN_BAND: 'true'},
     {'xsisolate-disable-in-band': 'false'}),
    # the record was secure before us: so was the bridge
    ({FAIL: 'secure'}, {'xsisolate-fail-mode': 'secure'}, {FAIL: 'secure'}, {}),
    ({}, CLOSED, {FAIL: 'secure'}, {}),
    ({}, {}, {FAIL: 'standalone'}, {})])
def test_notes_of_a_bridge_made_anew_are_corrected(before, external_ids, actual, expected):
    record = told(before, BOTH)
    assert plan_notes(Pif('pif', 'xenbr0', record), external_ids, actual) == expected


def test_without_a_record_of_ours_notes_are_as_they_are():
    assert not plan_notes(Pif('pif', 'xenbr0', {FAIL: 'secure'}), {'xsisolate-fail-mode': 'secure'},
                          {FAIL: 'secure'})


def test_only_this_hosts_pifs_with_bridges_of_their_own():
    networks = {'net': {'bridge': 'xenbr0'}, 'vlan': {'bridge': 'xapi1'}}
    pifs = {name: {'host': host, 'VLAN': vlan, 'network': network, 'other_config': {}}
            for name, host, vlan, network in [
                ('ours', 'here', '-1', 'net'), ('theirs', 'there', '-1', 'net'),
                ('tagged', 'here', '120', 'vlan'), ('orphan', 'here', '-1', 'gone')]}
    assert find_pifs(pifs, networks, 'here') == [Pif('ours', 'xenbr0', {})]
