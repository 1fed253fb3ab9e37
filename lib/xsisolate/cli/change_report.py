"""How commands show what they have written, or would write."""
from typing import Any, Dict, List, Optional

from xsisolate.admin.steps import Step, find_mute, short
from xsisolate.admin.write import Written, seals_of
from xsisolate.cli.output import Cell, printable, say, table
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY
from xsisolate.policy.seal import format_policy
from xsisolate.policy.vmdata_writer import as_words, natural
from xsisolate.policy.xapi_records import XapiVm

TITLES = ('VIF', 'POLICY', 'SEAL', 'ON THE HOST')


def name_of(vm: XapiVm) -> str:
    """Return a VM's name and uuid, whatever its name is made of."""
    return '%s (%s)' % (printable(vm.name), vm.uuid)


def show_step(step: Step) -> None:
    """Say that a step was done."""
    say('  ' + printable(step.what))


def show(written: Written, dry_run: bool) -> None:
    """Print a table of a VM's VIFs and what they do."""
    vm = written.vm
    if dry_run:
        say('%s: would write' % name_of(vm) if written.steps else '%s: nothing to do' % name_of(vm))
        say(*('  ' + printable(what) for what in written.steps))
    seals, now = seals_of(vm, written.policies), {str(vif['device']): vif for vif in written.hosts}
    rows = [[devid, as_words(policy), short(seals.get(devid)),
             _state(vm, bool(now), now.get(devid))]
            for devid, policy in sorted(written.policies.items(),
                                        key=lambda item: natural(item[0]))]
    say(*table(TITLES, rows), *('! ' + warning for warning in warnings(written)))


def warnings(written: Written) -> List[str]:
    """Return what is legal but probably not meant."""
    vm = written.vm
    return ['VIF %s has no own address, so nothing but DHCP passes: give it its addresses '
            '(xsisolate set %s/%s --ipv4 A --ipv6 A)' % (devid, vm.uuid, devid)
            for devid in find_mute(vm, written.policies)]


def _state(vm: XapiVm, asked: bool, vif: Optional[Dict[str, Any]]) -> Cell:
    if vif is None:
        return Cell('the VM does not run' if not vm.is_live else
                    'not plugged' if asked else 'not asked')
    if vif['applied']:
        return Cell('%s: %s' % (vif['vif'], vif['mode']), 'good')
    return Cell('%s: %s' % (vif['vif'], printable(str(vif['error'] or 'not on its bridge'))), 'bad')


def describe(written: Written, dry_run: bool) -> Dict[str, Any]:
    """Return what came of a change as JSON has it."""
    vm = written.vm
    seals, now = seals_of(vm, written.policies), {str(vif['device']): vif for vif in written.hosts}
    vifs: List[Dict[str, Any]] = [
        {'device': devid, 'policy': format_policy(policy) if policy else None,
         'seal': seals.get(devid), 'host': now.get(devid)}
        for devid, policy in sorted(written.policies.items(), key=lambda item: natural(item[0]))]
    return {'vm': vm.uuid, 'name': vm.name, 'power_state': vm.power_state, 'dry_run': dry_run,
            'written': list(written.steps), 'vifs': vifs, 'warnings': warnings(written)}


def exit_code(written: Written, dry_run: bool) -> int:
    """Return the contract's exit code."""
    if dry_run:
        return EXIT_DIFFERENT if written.steps else EXIT_DONE
    return EXIT_POLICY if written.quarantined else EXIT_DONE
