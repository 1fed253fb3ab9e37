"""Write policies through XAPI, have the host apply them, and look whether it has."""
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.admin.steps import Step, plan_policies, plan_seals
from xsisolate.admin.vm_lookup import Connect, carry_out, check_written, refresh
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.errors import HostError
from xsisolate.policy.seal import Sealing, make_seal
from xsisolate.policy.vmdata_writer import Policies, replace_policy
from xsisolate.policy.xapi_records import XapiVm, identify

GOOD = (Sealing.SEALED.name.lower(), Sealing.NONE.name.lower())

Seals = Dict[str, Optional[str]]


class Written(NamedTuple):
    """What came of a change, or would."""

    vm: XapiVm                          # as it was before
    policies: Policies
    steps: Tuple[str, ...]              # what was written
    hosts: Tuple[Dict[str, Any], ...] = ()  # what each VIF does now, if the VM runs and was asked

    @property
    def quarantined(self) -> List[Dict[str, Any]]:
        """The VIFs that do not do what was written."""
        return [vif for vif in self.hosts if not vif['applied']]


class Writer(NamedTuple):
    """How changes are made."""

    xapi: Xapi
    connect: Connect                    # for a second session, when this one is lost
    now: str
    apply: bool = True                  # have the host apply them
    report: Callable[[Step], None] = lambda step: None

    def set(self, vm: XapiVm, policies: Policies) -> Written:
        """Give a VM's VIFs these policies and no others."""
        return self._write(vm, policies, replace_policy(vm.data, policies), plan_policies)

    def seal(self, vm: XapiVm, policies: Policies) -> Written:
        """Seal policies that are in vm-data."""
        return self._write(vm, policies, vm.data, plan_seals)

    def _write(self, vm: XapiVm, policies: Policies, data: Mapping[str, str],
               plan: Callable[..., List[Step]]) -> Written:
        seals = seals_of(vm, policies)
        steps = plan(vm, policies, self.now)
        carry_out(self.xapi, steps, self.connect, self.report)
        written = Written(vm, policies, tuple(step.what for step in steps))
        now = check_written(self.xapi, vm, seals, data)
        if not now.is_live or not self.apply:
            return written
        found = self.ask_host(now, seals)
        if any(vif['seal'] not in GOOD for vif in found if str(vif['device']) in seals):
            # XAPI has had it before we came, but the domain has not: xe does not write that far
            more = plan(now, policies, self.now, force=True)
            carry_out(self.xapi, more, self.connect, self.report)
            written = written._replace(steps=written.steps + tuple(step.what for step in more))
            found = self.ask_host(now, seals)
        return written._replace(hosts=tuple(found))

    def ask_host(self, vm: XapiVm, seals: Seals) -> List[Dict[str, Any]]:
        """Have the host apply what was written; raise HostError that says what stands."""
        self.report(Step('its host is asked to apply it', ()))
        try:
            return refresh(self.xapi, vm, seals)
        except XapiError as error:
            raise HostError(
                'VM %s: seal and vm-data are written, but its host was not asked to apply them: '
                '%s. Its daemon does so by itself; xsisolate status on the host shows whether it '
                'has (--no-refresh does not ask)' % (vm.uuid, error)) from error


def seals_of(vm: XapiVm, policies: Policies) -> Seals:
    """Return the seals that policies need, by device."""
    found: Seals = {}
    for vif in vm.vifs:
        if vif.devid in policies:
            policy = policies[vif.devid]
            found[vif.devid] = make_seal(identify(vm, vif), policy) if policy else None
    return found


def plan_only(vm: XapiVm, policies: Policies, steps: Sequence[Step]) -> Written:
    """Return what would be written."""
    return Written(vm, policies, tuple(step.what for step in steps))
