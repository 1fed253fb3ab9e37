"""How commands show what they have written, or would write."""
from typing import Any, Dict, Iterator, List, Optional, Tuple

from xsisolate.admin.plugin_protocol import AppliedVif
from xsisolate.admin.protection import find_unprotected
from xsisolate.admin.steps import Step, short
from xsisolate.admin.write import ChangeReport
from xsisolate.cli.output import Cell, printable, say, table
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY
from xsisolate.policy.address import format_own
from xsisolate.policy.model import Mode, VifPolicy
from xsisolate.policy.seal import format_policy
from xsisolate.policy.unprotected import NOT_PROTECTED
from xsisolate.policy.vmdata_writer import as_words, natural
from xsisolate.policy.xapi_records import XapiVm

SHOWN = 4               # addresses in a warning
TITLES = ('VIF', 'POLICY', 'SEAL', 'ON THE HOST')


def name_of(vm: XapiVm) -> str:
    """Return a VM's name and uuid, whatever its name is made of."""
    return '%s (%s)' % (printable(vm.name), vm.uuid)


def show_step(step: Step) -> None:
    """Say that a step was done."""
    say('  ' + printable(step.what))


def show(report: ChangeReport, dry_run: bool) -> None:
    """Print a table of a VM's VIFs and what they do."""
    vm = report.change.vm
    if dry_run:
        say('%s: %s' % (name_of(vm), 'would write' if report.written else 'nothing to do'))
        say(*('  ' + printable(what) for what in report.written))
    rows = [[devid, as_words(policy), short(report.change.seals.get(devid)),
             _state(vm, devid, bool(report.vifs), vif)] for devid, policy, vif in _rows(report)]
    say(*table(TITLES, rows), *('! ' + warning for warning in warnings(report)))


def show_vif(vif: AppliedVif) -> Cell:
    """Return what a VIF does on its host."""
    if not vif.applied:
        return Cell('%s: %s' % (vif.vif, printable(vif.complaint)), 'bad')
    if not vif.permissive or (vif.mode is Mode.UNLOCKED and not vif.error):
        return Cell('%s: %s' % (vif.vif, vif.mode.word), 'good')
    return Cell('%s: %s, permissive%s' % (vif.vif, vif.mode.word, vif.error and
                                          ', would be ' + printable(vif.error)), 'warn')


def warnings(report: ChangeReport) -> List[str]:
    """Return what is legal but probably not meant."""
    change = report.change
    uuid = change.vm.uuid
    found = ['VIF %s has no own address, so nothing but DHCP passes: give it its addresses '
             '(xsisolate set %s/%s --ipv4 A --ipv6 A)' % (devid, uuid, devid)
             for devid in change.mute]
    found += ['VIF %s is %s: %s' % (vif.devid, NOT_PROTECTED, vif.unprotected)
              for vif in find_unprotected(change.vm.vifs) if change.policies.get(vif.devid)]
    found += ['VIF %s is permissive: what its policy refuses is recorded and passes, until '
              'xsisolate enforce %s/%s' % (devid, uuid, devid)
              for devid, policy in change.policies.items() if policy and policy.permissive]
    for devid in change.portable:
        found += _of_copies(devid, change.policies[devid] or VifPolicy())
    bound = [devid for devid, seal in change.seals.items()
             if seal and devid not in change.portable]
    if change.vm.is_template and bound:
        found.append('the seal of VIF %s fits this template alone: a VM that is made of it is '
                     'quarantined until it is sealed; --portable seals fit such VMs, too'
                     % ', '.join(bound))
    return found


def _of_copies(devid: str, policy: VifPolicy) -> List[str]:
    """Return what copies of a VIF with a portable seal will be at odds about."""
    fixed = sorted((policy.ipv4 or frozenset()) | (policy.ipv6 or frozenset())
                   | (policy.shared or frozenset()))
    found = ['VIF %s: the seal is portable, and the policy has fixed addresses (%s%s): every copy '
             'claims them, and of two that run on one network the later one is quarantined'
             % (devid, ', '.join(map(format_own, fixed[:SHOWN])), ' ...' * (len(fixed) > SHOWN))
             ] if fixed else []
    return found + (['VIF %s: the seal is portable, and the policy has roles (%s): every copy is '
                     'that for its network' % (devid, ', '.join(sorted(policy.roles)))]
                    if policy.roles else [])


def _rows(report: ChangeReport) -> Iterator[
        Tuple[str, Optional[VifPolicy], Optional[AppliedVif]]]:
    """Yield each VIF with its policy and what it does now, in order of the devices."""
    now = {vif.device: vif for vif in report.vifs}
    for devid, policy in sorted(report.change.policies.items(), key=lambda item: natural(item[0])):
        yield devid, policy, now.get(devid)


def _state(vm: XapiVm, devid: str, asked: bool, vif: Optional[AppliedVif]) -> Cell:
    if any(one.devid == devid for one in find_unprotected(vm.vifs)):
        return Cell(NOT_PROTECTED, 'bad')
    if vif is None:
        return Cell('a template does not run' if vm.is_template else
                    'the VM does not run' if not vm.is_live else
                    'not plugged' if asked else 'not asked')
    return show_vif(vif)


def describe(report: ChangeReport, dry_run: bool) -> Dict[str, Any]:
    """Return what came of a change as JSON has it."""
    vm = report.change.vm
    unprotected = {vif.devid: vif.unprotected for vif in find_unprotected(vm.vifs)}
    vifs: List[Dict[str, Any]] = [
        {'device': devid, 'policy': format_policy(policy) if policy else None,
         'seal': report.change.seals.get(devid), 'portable': devid in report.change.portable,
         'not_protected': unprotected.get(devid), 'host': vif.describe() if vif else None}
        for devid, policy, vif in _rows(report)]
    return {'vm': vm.uuid, 'name': vm.name, 'template': vm.is_template,
            'power_state': vm.power_state, 'dry_run': dry_run, 'written': list(report.written),
            'vifs': vifs, 'warnings': warnings(report)}


def exit_code(report: ChangeReport, dry_run: bool) -> int:
    """Return the contract's exit code."""
    if dry_run:
        return EXIT_DIFFERENT if report.written else EXIT_DONE
    return EXIT_POLICY if report.refused else EXIT_DONE
