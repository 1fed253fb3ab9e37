"""What to call, in which order, to write policies and seals through XAPI.

The seals come first: they alone do not reach xenopsd. VM.set_xenstore_data does reach the domain,
and an event on the VM makes xapi hand xenopsd both. So a change that is cut off in the middle has
either not begun for the host, or the host sees seal and vm-data as they belong together. Each step
knows how to take itself back.
"""
from typing import List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.policy.seal import SEAL_KEY
from xsisolate.policy.xapi_records import TOUCHED_KEY, Call, XapiVif, XapiVm

RELOCATED_KEY = 'xsisolate-relocated'   # in VIF.other_config: what relocate has moved away

Seals = Mapping[str, Optional[str]]     # by device; None: it is to have no seal
Notes = Mapping[str, Optional[str]]     # relocate's, by device; None: it is to have none


class Step(NamedTuple):
    """Something that is done or not done; `undo` may be called whether it was done or not."""

    what: str
    calls: Tuple[Call, ...]
    undo: Tuple[Call, ...] = ()


def write_steps(vm: XapiVm, data: Mapping[str, str], seals: Seals, notes: Notes, now: str,
                force: bool = False) -> Tuple[Step, ...]:
    """Return the steps that give a VM this xenstore_data, and its VIFs seals and notes.

    There are none if nothing is to be done. `force` writes the data once more although XAPI has it
    already: the domain may not.
    """
    steps: List[Step] = []
    for vif in vm.vifs:
        if vif.devid in notes:
            steps += _write_key(vif, RELOCATED_KEY, notes[vif.devid],
                                'VIF %s: %s in other_config' % (vif.devid, RELOCATED_KEY))
        if vif.devid in seals:
            seal = seals[vif.devid]
            steps += _write_key(vif, SEAL_KEY, seal, 'VIF %s: seal %s, was %s' % (
                vif.devid, short(seal), short(vif.seal)))
    if data != vm.data or (force and vm.is_live):
        steps.append(Step('vm-data: ' + _difference(vm.data, data),
                          (Call('VM.set_xenstore_data', (vm.ref, dict(data))),),
                          (Call('VM.set_xenstore_data', (vm.ref, dict(vm.data))),)))
    if steps and vm.is_live:
        # xapi tells xenopsd of the VIFs' other_config with the VM's next event.
        steps.append(Step('VM: %s in other_config, so that xenopsd is told' % TOUCHED_KEY,
                          (Call('VM.remove_from_other_config', (vm.ref, TOUCHED_KEY)),
                           Call('VM.add_to_other_config', (vm.ref, TOUCHED_KEY, now)))))
    return tuple(steps)


def _write_key(vif: XapiVif, key: str, value: Optional[str], what: str) -> List[Step]:
    """Return the step that sets a key of a VIF's other_config, or takes it out."""
    before = vif.other_config.get(key)
    if before == value:
        return []
    return [Step(what, _calls(vif, key, value), _calls(vif, key, before))]


def _calls(vif: XapiVif, key: str, value: Optional[str]) -> Tuple[Call, ...]:
    remove = Call('VIF.remove_from_other_config', (vif.ref, key))
    if value is None:
        return (remove,)
    return (remove, Call('VIF.add_to_other_config', (vif.ref, key, value)))


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Say which keys come, change and go."""
    words = [('+', new.keys() - old.keys()), ('-', old.keys() - new.keys()),
             ('~', {key for key in old.keys() & new.keys() if old[key] != new[key]})]
    return ' '.join(sign + key[len('vm-data/'):] for sign, keys in words
                    for key in sorted(keys)) or 'the same once more'


def short(seal: Optional[str]) -> str:
    """Return the beginning of a seal."""
    return 'none' if seal is None else seal[:14] + '...'
