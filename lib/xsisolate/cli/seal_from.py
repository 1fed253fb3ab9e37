"""`xsisolate seal --from OLD VM`: a copy is sealed if its policy is proven to be the original's."""
import argparse
from typing import Any, Optional

from xsisolate.cli.change_report import describe, exit_code, name_of, show, show_step
from xsisolate.cli.command import text_of
from xsisolate.cli.connection import now, opener
from xsisolate.cli.output import say, say_json
from xsisolate.errors import PolicyError, UsageError
from xsisolate.policy.address import quoted
from xsisolate.policy.xapi_records import XapiVm, read_policy
from xsisolate.vif_id import UUID


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from xsisolate.admin.policy_change import plan_seals
    from xsisolate.admin.protection import check_protected
    from xsisolate.admin.vm_lookup import find_target, need_vifs
    from xsisolate.admin.write import PolicyWriter, make_report
    for name in ('print', 'canonical', 'check'):
        if getattr(arguments, name):
            raise UsageError('seal --from seals what is proven: leave out --' + name)
    uuid, connect, moment = text_of(arguments.proof).lower(), opener(arguments), now()
    if not UUID.fullmatch(uuid):
        raise UsageError('seal --from: not the uuid of a VM or template: %s' % quoted(uuid))
    with connect() as xapi:
        target = find_target(xapi, text_of(arguments.vm), arguments.template)
        need_vifs(target)
        policies = prove(target, uuid, find_by_uuid(xapi, uuid))
        if not arguments.anyway:
            check_protected(target.vm, target.vifs)
        change = plan_seals(target.vm, policies, moment,
                            {vif.devid: arguments.portable for vif in target.vifs})
        if not arguments.json and not arguments.dry_run:
            say('%s:' % name_of(target.vm))
        report = make_report(change, change.steps) if arguments.dry_run else PolicyWriter(
            xapi, connect, moment, not arguments.no_refresh,
            (lambda step: None) if arguments.json else show_step).write(change)
    if arguments.json:
        say_json(describe(report, arguments.dry_run))
    else:
        show(report, arguments.dry_run)
    return exit_code(report, arguments.dry_run)


def find_by_uuid(xapi: Any, uuid: str) -> Optional[XapiVm]:
    """Return the original, None if XAPI does not have it any more."""
    from xsisolate.admin.vm_lookup import read_vm
    from xsisolate.dom0.xapi.vms import find_vms
    found = find_vms(xapi, uuid)
    return read_vm(xapi, found[0]) if len(found) == 1 else None


def prove(target: Any, uuid: str, original: Optional[XapiVm]) -> Any:
    """Return the policies of a copy's VIFs; raise PolicyError unless all are the original's."""
    from xsisolate.admin.proof import is_policy_of
    found = {}
    for vif in target.vifs:
        policy = read_policy(target.vm, vif)
        if policy is None or not is_policy_of(uuid, original, vif, policy):
            raise PolicyError(
                'VM %s (%s) device %s: %s. Nothing was sealed. Look at it (xsisolate seal %s '
                '--canonical); then seal it without --from, or write the policy again '
                '(xsisolate set)' % (
                    quoted(target.vm.name), target.vm.uuid, vif.devid,
                    'its vm-data has no policy' if policy is None else
                    'no seal proves that its policy is the one that was sealed for %s%s' % (
                        uuid, '' if original else ', which XAPI does not have any more: the copy '
                        'would have to carry that seal and the MAC address that it was made for'),
                    target.vm.uuid))
        found[vif.devid] = policy
    return found
