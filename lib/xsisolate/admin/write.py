"""Write policies through XAPI, have the host apply them, and look whether it has."""
from typing import Callable, List, NamedTuple, Tuple

from xsisolate.admin.host_call import ask_host
from xsisolate.admin.plugin_protocol import AppliedVif
from xsisolate.admin.policy_change import PolicyChange
from xsisolate.admin.steps import Seals, Step
from xsisolate.admin.transaction import Connect, carry_out, check_written
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.errors import HostError
from xsisolate.policy.xapi_records import XapiVm


class ChangeReport(NamedTuple):
    """What came of a change, or would."""

    change: PolicyChange
    written: Tuple[str, ...]            # what was done, or would be, a step each
    vifs: Tuple[AppliedVif, ...] = ()   # what each VIF does now, if the VM runs and was asked

    @property
    def refused(self) -> List[AppliedVif]:
        """The VIFs that do not do what was written."""
        return [vif for vif in self.vifs if not vif.applied]


# What is written is applied by three actors, each of which alone suffices.
# - PolicyWriter asks the host's plugin (host_call.py). Only the plugin can answer, so only so does
#   the command know whether the policy is in force. But a role other than pool-admin may not call
#   it, and the master may not reach the host.
# - The daemon follows vm-data in xenstore and xenopsd's metadata, into which XAPI pushes the seals
#   with the VM's next event. It applies what others write, too, but a host may be without it for a
#   moment: it restarts.
# - The hooks read both when xenopsd or udev runs them: at each plug, and when a locking mode
#   changes, as in `relocate`.
# All three read what is there now under the bridge's lock and program the difference, so the first
# to come does the work, the others find nothing to do, and their order does not matter.
class PolicyWriter(NamedTuple):
    """Carries changes of policies out."""

    xapi: Xapi
    connect: Connect                    # for a second session, when this one is lost
    now: str
    apply: bool = True                  # have the host apply them
    report: Callable[[Step], None] = lambda step: None

    def write(self, change: PolicyChange) -> ChangeReport:
        """Write policies or seals; raise HostError if not all of it could be done."""
        carry_out(self.xapi, change.steps, self.connect, self.report)
        done = change.steps
        now = check_written(self.xapi, change)
        if not now.is_live or not self.apply:
            return make_report(change, done)
        found = self.apply_on_host(now, change.seals)
        if not all(vif.is_sealed for vif in found if vif.device in change.seals):
            # XAPI has had it before we came, but the domain has not: xe does not write that far
            again = change.write_again(now, self.now)
            carry_out(self.xapi, again, self.connect, self.report)
            done += again
            found = self.apply_on_host(now, change.seals)
        return make_report(change, done, found)

    def apply_on_host(self, vm: XapiVm, seals: Seals) -> List[AppliedVif]:
        """Have the host apply what was written; raise HostError that says what stands."""
        self.report(Step('its host is asked to apply it', ()))
        try:
            return ask_host(self.xapi, vm, seals)
        except XapiError as error:
            raise HostError(
                'VM %s: seal and vm-data are written, but its host was not asked to apply them: '
                '%s. Its daemon does so by itself; xsisolate status on the host shows whether it '
                'has (--no-refresh does not ask)' % (vm.uuid, error)) from error


def make_report(change: PolicyChange, steps: Tuple[Step, ...],
                vifs: List[AppliedVif] = []) -> ChangeReport:   # noqa: B006 - never changed
    """Return what is to be told of a change, done or only planned."""
    return ChangeReport(change, tuple(step.what for step in steps), tuple(vifs))
