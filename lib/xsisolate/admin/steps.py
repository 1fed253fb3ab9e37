"""What to call, in which order, to give a VM's VIFs other policies.

The seals come first: they alone do not reach xenopsd. VM.set_xenstore_data does reach the domain,
and an event on the VM makes xapi hand xenopsd both. So whatever is cut off in the middle has either
not begun for the host, or the host sees seal and vm-data as they belong together. Each step knows
how to take itself back.
"""
import json
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.errors import PolicyError
from xsisolate.policy.model import Config, EffectivePolicy, Mode, Network, VifPolicy
from xsisolate.policy.resolve import resolve_policy
from xsisolate.policy.seal import SEAL_KEY, format_policy, make_seal
from xsisolate.policy.vmdata_writer import Policies, replace_policy
from xsisolate.policy.xapi_records import (LOCKED, MODES, UNLOCKED, Call, XapiVif, XapiVm,
                                           identify, read_policy)

TOUCHED_KEY = 'xsisolate-changed'       # in VM.other_config; its value is a date for people
RELOCATED_KEY = 'xsisolate-relocated'   # in VIF.other_config: what relocate has moved away


class Step(NamedTuple):
    """Something that is done or not done; `undo` may be called whether it was done or not."""

    what: str
    calls: Tuple[Call, ...]
    undo: Tuple[Call, ...] = ()


def plan_policies(vm: XapiVm, policies: Policies, now: str, force: bool = False) -> List[Step]:
    """Return the steps that give a VM's VIFs these policies; none if nothing is to be done.

    `policies` names every VIF of the VM; one with None ends without policy and seal. `force`
    writes vm-data once more although XAPI has it already: the domain may not.
    """
    check_policies(vm, policies)
    return _plan(vm, policies, replace_policy(vm.data, policies), {}, now, force)


def plan_seals(vm: XapiVm, policies: Policies, now: str, force: bool = False) -> List[Step]:
    """Return the steps that seal policies which stand in vm-data, and leave vm-data as it is."""
    for vif in vm.vifs:
        if vif.devid in policies:
            _check(vm, vif, policies[vif.devid])
    return _plan(vm, policies, vm.data, {}, now, force)


def _plan(vm: XapiVm, policies: Policies, data: Mapping[str, str],
          notes: Mapping[str, Optional[str]], now: str, force: bool) -> List[Step]:
    steps: List[Step] = []
    for vif in vm.vifs:
        if vif.devid not in policies:
            continue
        if vif.devid in notes:
            steps += _write_key(vif, RELOCATED_KEY, notes[vif.devid],
                                'VIF %s: %s in other_config' % (vif.devid, RELOCATED_KEY))
        policy = policies[vif.devid]
        seal = make_seal(identify(vm, vif), policy) if policy else None
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
    return steps


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


def check_policies(vm: XapiVm, policies: Policies) -> None:
    """Raise PolicyError unless vm-data made of these policies reads back as they are."""
    after = vm._replace(data=replace_policy(vm.data, policies))
    for vif in vm.vifs:
        if read_policy(after, vif) != policies[vif.devid]:
            raise PolicyError('VM %s device %s: the policy does not read back as it was meant: '
                              'nothing was written' % (vm.uuid, vif.devid))
        _check(vm, vif, policies[vif.devid])


def find_mute(vm: XapiVm, policies: Policies) -> List[str]:
    """Return the devices whose VIFs will pass nothing but DHCP, for they own no address."""
    effective = {vif.devid: _check(vm, vif, policies[vif.devid])
                 for vif in vm.vifs if policies.get(vif.devid)}
    return [devid for devid, policy in effective.items()
            if policy.mode in (Mode.LOCKED, Mode.ISOLATED) and not policy.addresses]


def _check(vm: XapiVm, vif: XapiVif, policy: Optional[VifPolicy]) -> EffectivePolicy:
    """Return what a policy comes to; raise PolicyError if the host would refuse it.

    That is as far as XAPI can tell: it knows nothing of the host's configuration.
    """
    identity = identify(vm, vif)
    try:
        return resolve_policy(identity, make_seal(identity, policy) if policy else None,
                              vif.locking, policy, Config(), Network())
    except PolicyError as error:
        raise PolicyError('VM %s device %s: %s' % (vm.uuid, vif.devid, error)) from None


# --- relocation ------------------------------------------------------------------------------


def relocated_policy(vm: XapiVm, vif: XapiVif, before: Optional[VifPolicy]) -> VifPolicy:
    """Return a VIF's policy with XAPI's own locking in it: the stricter of the two counts."""
    written, locking = before or VifPolicy(), vif.locking
    effective = resolve_policy(identify(vm, vif), None, locking, before,
                               Config(accept_unsealed=True), Network())
    lists = (locking.ipv4, locking.ipv6) if locking.mode is Mode.LOCKED else (None, None)
    return VifPolicy(effective.mode, written.groups, written.allow,
                     lists[0] if written.ipv4 is None else written.ipv4,
                     lists[1] if written.ipv6 is None else written.ipv6)


def is_relocatable(vif: XapiVif) -> bool:
    """Tell whether XAPI's locking mode is set on the VIF itself, and says anything."""
    return MODES.get(vif.locking_mode, Mode.UNLOCKED) is not Mode.UNLOCKED


def plan_relocation(vm: XapiVm, before: Policies, now: str,
                    staying: Sequence[str] = ()) -> Tuple[Policies, List[Step]]:
    """Return a VM's policies with its VIFs' locking moved in, and the steps that write them.

    `before` are the policies of all VIFs; the devices `staying` keep theirs. XAPI's own locking is
    left as it is: see release_locking.
    """
    after: Dict[str, Optional[VifPolicy]] = dict(before)
    notes: Dict[str, Optional[str]] = {}
    for vif in vm.vifs:
        if vif.devid not in staying:
            policy = after[vif.devid] = relocated_policy(vm, vif, before[vif.devid])
            notes[vif.devid] = _remember(vif, before[vif.devid], policy)
    check_policies(vm, after)
    return after, _plan(vm, after, replace_policy(vm.data, after), notes, now, False)


def _remember(vif: XapiVif, before: Optional[VifPolicy], after: VifPolicy) -> str:
    """Return what an undo has to know."""
    return json.dumps({'version': 1, 'locking_mode': vif.locking_mode,
                       'ipv4_allowed': list(vif.ipv4_allowed),
                       'ipv6_allowed': list(vif.ipv6_allowed),
                       'before': None if before is None else format_policy(before),
                       'after': format_policy(after)}, sort_keys=True)


def release_locking(vifs: Sequence[XapiVif]) -> Iterator[Step]:
    """Yield the steps that leave these VIFs to their policies alone."""
    for vif in vifs:
        yield Step('VIF %s: locking_mode unlocked, was %s' % (vif.devid, vif.locking_mode),
                   _lock(vif, UNLOCKED, (), ()),
                   _lock(vif, vif.locking_mode, vif.ipv4_allowed, vif.ipv6_allowed))


def restore_locking(vif: XapiVif, record: Mapping[str, Any]) -> Step:
    """Return the step that gives a VIF the locking back that relocate has moved away."""
    mode, ipv4, ipv6 = (record[key] for key in ('locking_mode', 'ipv4_allowed', 'ipv6_allowed'))
    return Step('VIF %s: locking_mode %s, was %s' % (vif.devid, mode, vif.locking_mode),
                _lock(vif, mode, ipv4, ipv6),
                _lock(vif, vif.locking_mode, vif.ipv4_allowed, vif.ipv6_allowed))


def _lock(vif: XapiVif, mode: str, ipv4: Sequence[str], ipv6: Sequence[str]) -> Tuple[Call, ...]:
    """Return the calls that set a VIF's locking; in no moment it is wider than before and after."""
    lists = (Call('VIF.set_ipv4_allowed', (vif.ref, list(ipv4))),
             Call('VIF.set_ipv6_allowed', (vif.ref, list(ipv6))))
    turn = (Call('VIF.set_locking_mode', (vif.ref, mode)),)
    return lists + turn if mode == LOCKED else turn + lists


def read_note(vm: XapiVm, vif: XapiVif) -> Optional[Mapping[str, Any]]:
    """Return what relocate has noted of a VIF, None if nothing; raise PolicyError."""
    text = vif.other_config.get(RELOCATED_KEY)
    if text is None:
        return None
    try:
        note = json.loads(text)
        modes, lists = {*MODES, 'network_default'}, (note['ipv4_allowed'], note['ipv6_allowed'])
        if note['version'] != 1 or note['locking_mode'] not in modes or not all(
                isinstance(item, str) for items in lists for item in items):
            raise ValueError('no note of relocate, version 1')
        return {**note, 'before': note['before'], 'after': note['after']}
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError('VM %s device %s: VIF.other_config:%s cannot be read (%s): put '
                          'locking_mode and the lists back by hand'
                          % (vm.uuid, vif.devid, RELOCATED_KEY, error)) from None


def plan_return(vm: XapiVm, before: Policies, notes: Mapping[str, Mapping[str, Any]],
                now: str) -> List[Step]:
    """Return the steps that give VIFs their policies from before relocate back, and forget it."""
    check_policies(vm, before)
    return _plan(vm, before, replace_policy(vm.data, before), dict.fromkeys(notes), now, False)
