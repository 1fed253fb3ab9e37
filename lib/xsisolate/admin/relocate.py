"""Move VIFs' locking (locking_mode, ipv4_allowed, ipv6_allowed) into vm-data, and back.

The policy comes first: only when the VM's host runs on it does XAPI's own locking go. On the way
back XAPI's locking comes first. So in no moment a VIF is without either.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.admin.steps import (Step, is_relocatable, plan_relocation, plan_return, read_note,
                                   release_locking, restore_locking)
from xsisolate.admin.vm_lookup import (PLUGIN, Target, carry_out, check_written, need_vifs,
                                       proven_policies, take_back)
from xsisolate.admin.write import Seals, Writer, Written, seals_of
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.errors import HostError, PolicyError
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import format_policy
from xsisolate.policy.vmdata_writer import Policies, parse_words, replace_policy
from xsisolate.policy.xapi_records import XapiVm


class Move(NamedTuple):
    """What relocating a VM comes to: first the one half, then the other."""

    vm: XapiVm
    policies: Policies
    first: Tuple[Step, ...]
    second: Tuple[Step, ...]


def plan_move(target: Target, now: str) -> Move:
    """Return how a VM's locking moves into its vm-data."""
    need_vifs(target)
    vm = target.vm
    before = proven_policies(vm)
    moving = [vif for vif in target.vifs if is_relocatable(vif)]
    if not moving:
        return Move(vm, before, (), ())
    policies, steps = plan_relocation(vm, before, now,
                                      [vif.devid for vif in vm.vifs if vif not in moving])
    return Move(vm, policies, tuple(steps), tuple(release_locking(moving)))


def plan_undo(target: Target, now: str) -> Move:
    """Return how a VM's locking moves back into XAPI."""
    need_vifs(target)
    vm = target.vm
    notes = {vif.devid: note for vif in target.vifs for note in [read_note(vm, vif)] if note}
    policies: Dict[str, Optional[VifPolicy]] = proven_policies(vm)
    restored = []
    locks = []
    for vif in vm.vifs:
        note = notes.get(vif.devid)
        if note is None:
            restored.append(vif)
            continue
        _check_unchanged(vm, vif.devid, policies[vif.devid], note)
        policies[vif.devid] = _policy_of(note['before'], vif.devid)
        locks.append(restore_locking(vif, note))
        restored.append(vif._replace(locking_mode=note['locking_mode'],
                                     ipv4_allowed=tuple(note['ipv4_allowed']),
                                     ipv6_allowed=tuple(note['ipv6_allowed'])))
    if not notes:
        return Move(vm, policies, (), ())
    steps = plan_return(vm._replace(vifs=tuple(restored)), policies, notes, now)
    return Move(vm, policies, tuple(locks), tuple(steps))


def _check_unchanged(vm: XapiVm, devid: str, policy: Optional[VifPolicy],
                     note: Mapping[str, Any]) -> None:
    """Raise PolicyError if somebody has set another policy since: an undo would lose it."""
    if format_policy(policy or VifPolicy()) != note['after']:
        raise PolicyError('VM %s device %s: its policy was changed since it was relocated, and an '
                          'undo would lose that: set locking_mode in XAPI, or write the '
                          'policy as it was' % (vm.uuid, devid))


def _policy_of(keys: Optional[Mapping[str, Any]], devid: str) -> Optional[VifPolicy]:
    """Return the policy in a note of ours."""
    if keys is None:
        return None
    return parse_words({name: value if isinstance(value, str) else ' '.join(value)
                        for name, value in keys.items()}, devid)


def check_hosts(xapi: Xapi) -> None:
    """Raise HostError unless xsisolate answers on every host: a VM may start on any of them."""
    silent = []
    for ref, record in sorted(xapi.call('host.get_all_records').items(),
                              key=lambda item: str(item[1]['name_label'])):
        try:
            xapi.call('host.call_plugin', ref, PLUGIN, 'groups', {})
        except XapiError as error:
            silent.append('%s: %s' % (ascii(str(record['name_label']))[1:-1], error))
    if silent:
        raise HostError('without XAPI\'s locking only xsisolate keeps VIFs locked, and it does not '
                        'answer on every host: %s. Nothing was written' % '; '.join(silent))


def move(writer: Writer, plan: Move, undo: bool) -> Written:
    """Carry out a move; raise HostError if not all of it could be done, or was taken back."""
    xapi, seals = writer.xapi, seals_of(plan.vm, plan.policies)
    carry_out(xapi, plan.first, writer.connect, writer.report)
    try:
        if not undo:
            check_running(writer, plan.vm, seals, plan.policies)
        carry_out(xapi, plan.second, writer.connect, writer.report)
    except HostError as error:
        take_back(xapi, plan.first, writer.connect, error)
    now = check_written(xapi, plan.vm, seals, replace_policy(plan.vm.data, plan.policies))
    hosts: List[Dict[str, Any]] = writer.ask_host(now, seals) if now.is_live else []
    return Written(plan.vm, plan.policies,
                   tuple(step.what for step in plan.first + plan.second), tuple(hosts))


def check_running(writer: Writer, vm: XapiVm, seals: Seals, policies: Policies) -> None:
    """Raise HostError unless a running VM's VIFs run on the policies that were just written."""
    if not vm.is_live:
        return
    for vif in writer.ask_host(vm, seals):
        policy = policies.get(str(vif['device']))
        if policy is not None and not vif['applied']:
            raise HostError('VM %s: %s does not run on its policy, so XAPI keeps its locking: %s'
                            % (vm.uuid, vif['vif'], vif['error'] or 'it is not on its bridge'))
