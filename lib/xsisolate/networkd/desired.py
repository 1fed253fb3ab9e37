"""What xcp-networkd must be told so that it leaves bridges as we set them: pure, values in and out.

At each PIF's plug networkd sets fail mode and in-band control of the bridge to what XAPI's records
say, or else to its defaults. Of pool, network and PIF the PIF has the last word, and it is one
host's own: a network's record would also set bridges of hosts without xsisolate.
What a bridge was set to by us stands in its external_ids, and exactly that is told; what the
record said before stands beside it, in one note.
"""
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.errors import PolicyError
from xsisolate.policy.xapi_records import Call

NOTE_KEY = 'xsisolate-before'       # in PIF.other_config: {key: what it was, or null}
NO_VLAN = '-1'


class Told(NamedTuple):
    """A key that networkd reads, what it must say, and where we note that we set a bridge so."""

    key: str            # in other_config of XAPI's record
    value: str
    note: str           # in the bridge's external_ids: what the bridge was set to before
    default: str        # what networkd sets, in the note's words, if no record says anything


TOLD = (Told('vswitch-controller-fail-mode', 'secure', 'xsisolate-fail-mode', 'standalone'),
        Told('vswitch-disable-in-band', 'true', 'xsisolate-disable-in-band', 'unset'))
KEYS = frozenset([one.key for one in TOLD] + [NOTE_KEY])


class Pif(NamedTuple):
    """A PIF of this host that networkd makes a bridge for."""

    ref: str
    bridge: str
    other_config: Mapping[str, str]


def find_pifs(pifs: Mapping[str, Mapping[str, Any]], networks: Mapping[str, Mapping[str, Any]],
              host: str) -> List[Pif]:
    """Return a host's PIFs with real bridges, from XAPI's records by reference."""
    return [Pif(ref, str(networks[record['network']]['bridge']), record['other_config'])
            for ref, record in sorted(pifs.items())
            if record['host'] == host and str(record['VLAN']) == NO_VLAN
            and record['network'] in networks]


def wanted_keys(external_ids: Mapping[str, str]) -> List[str]:
    """Return the keys that networkd must be told for a bridge with these external_ids."""
    return [one.key for one in TOLD if one.note in external_ids]


def missing_keys(external_ids: Mapping[str, str], other_config: Mapping[str, str]) -> List[str]:
    """Return the settings that a PIF's record says wrongly, or not at all."""
    return [one.key for one in TOLD
            if one.note in external_ids and other_config.get(one.key) != one.value]


def plan_record(pif: Pif, external_ids: Optional[Mapping[str, str]]) -> List[Call]:
    """Return the calls that have a PIF's record say what the bridge's external_ids do.

    A bridge that is not there (None) says nothing: its record stays as it is.
    """
    if external_ids is None:
        return []
    after = _desired(pif.other_config, wanted_keys(external_ids))
    changed = [key for key in sorted(KEYS) if pif.other_config.get(key) != after.get(key)]
    # The note comes before what it is about, and goes after it.
    changed.sort(key=lambda key: (key == NOTE_KEY) is not (NOTE_KEY in after))
    return [call for key in changed for call in _calls(pif.ref, key, after.get(key))]


def plan_notes(pif: Pif, external_ids: Mapping[str, str],
               actual: Mapping[str, str]) -> Dict[str, str]:
    """Return the notes in a bridge's external_ids that are not true, with what they must say.

    A bridge that networkd has made anew has our settings from the record from its first moment.
    They are not what was before us. `actual` is what the bridge is set to now, by key.
    """
    before = read_note(pif.other_config)
    found = {}
    for one in TOLD:
        if one.key in before and actual.get(one.key) == one.value:
            true = before[one.key] or one.default
            if external_ids.get(one.note, one.value) == one.value != true:
                found[one.note] = true
    return found


def read_note(other_config: Mapping[str, str]) -> Dict[str, Optional[str]]:
    """Return what a record said before us, by key; raise PolicyError."""
    text = other_config.get(NOTE_KEY)
    if text is None:
        return {}
    try:
        note = json.loads(text)
        if not all(value is None or isinstance(value, str) for value in note.values()):
            raise ValueError('not a string')
        return {one.key: note[one.key] for one in TOLD if one.key in note}
    except (ValueError, AttributeError, TypeError) as error:
        raise PolicyError('PIF.other_config:%s is %.80r, which cannot be read (%s): remove it, and '
                          'set the keys that begin with vswitch- by hand' % (
                              NOTE_KEY, text, error)) from None


def _desired(config: Mapping[str, str], wanted: List[str]) -> Dict[str, str]:
    """Return our keys of a record as they must be."""
    after = {key: value for key, value in config.items() if key in KEYS and key != NOTE_KEY}
    before = read_note(config)
    for one in TOLD:
        if one.key in wanted:
            before.setdefault(one.key, config.get(one.key))
            after[one.key] = one.value
        elif one.key in before:
            old = before.pop(one.key)
            if config.get(one.key) == one.value:        # else others have changed it since
                del after[one.key]
                after.update({one.key: old} if old is not None else {})
    if before:
        after[NOTE_KEY] = json.dumps(before, sort_keys=True)
    return after


def _calls(ref: str, key: str, value: Optional[str]) -> Tuple[Call, ...]:
    remove = Call('PIF.remove_from_other_config', (ref, key))
    return (remove,) if value is None else (
        remove, Call('PIF.add_to_other_config', (ref, key, value)))
