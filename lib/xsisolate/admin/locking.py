"""XAPI's own locking of a VIF (locking_mode and its lists): moved into the policy, and back."""
import json
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from xsisolate.admin.policy_change import PolicyChange, plan_policies, without_slaac
from xsisolate.admin.steps import RELOCATED_KEY, Step
from xsisolate.errors import PolicyError
from xsisolate.policy.model import Config, Mode, Network, VifPolicy
from xsisolate.policy.resolve import resolve_policy
from xsisolate.policy.seal import format_policy
from xsisolate.policy.vmdata_writer import Policies
from xsisolate.policy.xapi_records import (LOCKED, MODES, UNLOCKED, Call, XapiVif, XapiVm,
                                           identify)


def relocated_policy(vm: XapiVm, vif: XapiVif, before: Optional[VifPolicy]) -> VifPolicy:
    """Return a VIF's policy with XAPI's own locking in it: the stricter of the two counts."""
    written, locking = before or VifPolicy(), vif.locking
    if written.sources and locking.mode is Mode.LOCKED:
        raise PolicyError('VM %s device %s: XAPI\'s lists limit what %s may give it, which no '
                          'policy of ours can say: keep XAPI\'s lock, or list its addresses' % (
                              vm.uuid, vif.devid, ' and '.join(sorted(
                                  source.word for source in written.sources))))
    effective = resolve_policy(identify(vm, vif), None, locking, without_slaac(before),
                               Config(accept_unsealed=True), Network())
    lists = (locking.ipv4, locking.ipv6) if locking.mode is Mode.LOCKED else (None, None)
    return written._replace(mode=effective.mode,
                            ipv4=lists[0] if written.ipv4 is None else written.ipv4,
                            ipv6=lists[1] if written.ipv6 is None else written.ipv6)


def is_relocatable(vif: XapiVif) -> bool:
    """Tell whether XAPI's locking mode is set on the VIF itself, and says anything."""
    return MODES.get(vif.locking_mode, Mode.UNLOCKED) is not Mode.UNLOCKED


def plan_relocation(vm: XapiVm, before: Policies, now: str,
                    staying: Sequence[str] = ()) -> PolicyChange:
    """Return how a VM's policies get its VIFs' locking moved in.

    `before` are the policies of all VIFs; the devices `staying` keep theirs. XAPI's own locking is
    left as it is: see release_locking.
    """
    after: Dict[str, Optional[VifPolicy]] = dict(before)
    notes: Dict[str, Optional[str]] = {}
    for vif in vm.vifs:
        if vif.devid not in staying:
            policy = after[vif.devid] = relocated_policy(vm, vif, before[vif.devid])
            notes[vif.devid] = _remember(vif, before[vif.devid], policy)
    return plan_policies(vm, after, now, notes)


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
            raise ValueError('not a note of relocate, version 1')
        return {**note, 'before': note['before'], 'after': note['after']}
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError('VM %s device %s: VIF.other_config:%s cannot be read (%s): put '
                          'locking_mode and the lists back by hand'
                          % (vm.uuid, vif.devid, RELOCATED_KEY, error)) from None
