"""Move VIFs' locking (locking_mode, ipv4_allowed, ipv6_allowed) into vm-data, and back.

The policy comes first: only when the VM's host runs on it does XAPI's own locking go. On the way
back XAPI's locking comes first. So in no moment a VIF is without either.
"""
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from xsisolate.admin.locking import (is_relocatable, plan_relocation, read_note, release_locking,
                                     restore_locking)
from xsisolate.admin.policy_change import PolicyChange, plan_policies, plan_seals
from xsisolate.admin.protection import check_protected
from xsisolate.admin.steps import Step
from xsisolate.admin.transaction import carry_out, check_written, take_back
from xsisolate.admin.vm_lookup import Selection, need_vifs, proven_policies
from xsisolate.admin.write import ChangeReport, PolicyWriter, make_report
from xsisolate.errors import HostError, PolicyError
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import format_policy
from xsisolate.policy.vmdata_writer import Policies, parse_words
from xsisolate.policy.xapi_records import XapiVm


class Relocation(NamedTuple):
    """What moving a VM's locking comes to: first the one half, then the other."""

    change: PolicyChange
    locks: Tuple[Step, ...] = ()    # what becomes of XAPI's own locking
    undo: bool = False

    @property
    def halves(self) -> Tuple[Tuple[Step, ...], Tuple[Step, ...]]:
        """The steps, in their order: the new locking comes before the old one goes."""
        policy = self.change.steps
        return (self.locks, policy) if self.undo else (policy, self.locks)

    @property
    def steps(self) -> Tuple[Step, ...]:
        """All steps, in their order."""
        first, second = self.halves
        return first + second


def plan_move(target: Selection, now: str, anyway: bool = False) -> Relocation:
    """Return how a VM's locking moves into its vm-data.

    Raises PolicyError where no flow could enforce it there, unless it is to be moved `anyway`.
    """
    need_vifs(target)
    vm = target.vm
    before = proven_policies(vm)
    moving = [vif for vif in target.vifs if is_relocatable(vif)]
    if not moving:
        return Relocation(_keep(vm, before, now))
    if not anyway:
        check_protected(vm, moving)
    _check_enforced(vm, before, [vif.devid for vif in moving])
    change = plan_relocation(vm, before, now,
                             [vif.devid for vif in vm.vifs if vif not in moving])
    return Relocation(change, tuple(release_locking(moving)))


def plan_undo(target: Selection, now: str) -> Relocation:
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
        return Relocation(_keep(vm, policies, now), undo=True)
    change = plan_policies(vm._replace(vifs=tuple(restored)), policies, now, dict.fromkeys(notes))
    return Relocation(change, tuple(locks), undo=True)


def _keep(vm: XapiVm, policies: Policies, now: str) -> PolicyChange:
    """Return the change of a VM that has nothing to be moved: its policies are sealed already."""
    return plan_seals(vm, policies, now)._replace(steps=())


def _check_enforced(vm: XapiVm, policies: Policies, moving: Iterable[str]) -> None:
    """Raise PolicyError if a policy that is permissive by itself would hold a VIF alone."""
    for devid in moving:
        policy = policies[devid]
        if policy and policy.permissive:
            raise PolicyError('VM %s device %s: its policy says permissive=yes, so nothing but '
                              'XAPI\'s locking holds it, and that stays: xsisolate enforce %s/%s '
                              'first' % (vm.uuid, devid, vm.uuid, devid))


def _check_unchanged(vm: XapiVm, devid: str, policy: Optional[VifPolicy],
                     note: Mapping[str, Any]) -> None:
    """Raise PolicyError if another policy was set since: an undo would lose it."""
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


def relocate(writer: PolicyWriter, plan: Relocation) -> ChangeReport:
    """Carry a relocation out; raise HostError if not all of it could be done, or was taken back."""
    xapi, change = writer.xapi, plan.change
    first, second = plan.halves
    carry_out(xapi, first, writer.connect, writer.report)
    try:
        if not plan.undo:
            check_running(writer, change)
        carry_out(xapi, second, writer.connect, writer.report)
    except HostError as error:
        take_back(xapi, first, writer.connect, error)
    now = check_written(xapi, change)
    vifs = writer.apply_on_host(now, change.seals) if now.is_live else []
    return make_report(change, plan.steps, vifs)


def check_running(writer: PolicyWriter, change: PolicyChange) -> None:
    """Raise HostError unless a running VM's VIFs run on the policies that were just written."""
    if not change.vm.is_live:
        return
    for vif in writer.apply_on_host(change.vm, change.seals):
        if change.policies.get(vif.device) is not None and not vif.applied:
            raise HostError('VM %s: %s does not run on its policy, so XAPI keeps its locking: %s'
                            % (change.vm.uuid, vif.vif, vif.complaint))
        if change.policies.get(vif.device) is not None and vif.permissive:
            raise HostError('VM %s: %s is permissive, so nothing but XAPI\'s locking holds it, and '
                            'that stays: xsisolate enforce %s first'
                            % (change.vm.uuid, vif.vif, change.vm.uuid))
