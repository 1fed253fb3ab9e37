"""`xsisolate relocate`: VIFs' locking moves from XAPI's fields into vm-data, sealed."""
import argparse
import sys
from typing import Any, List

from xsisolate.cli.change_report import describe, exit_code, name_of, show, show_step
from xsisolate.cli.command import text_of
from xsisolate.cli.connection import NOTE, add_options, now, opener
from xsisolate.cli.output import Progress, say, say_json
from xsisolate.errors import XsisolateError, worst_exit_code

EXAMPLES = '''
examples:
  xsisolate relocate web1 --dry-run       show what would be written
  xsisolate relocate --all                every VM of the pool whose VIFs XAPI locks itself
  xsisolate relocate web1 --undo          as it was before

A VIF that XAPI has as locked becomes mode=locked with its addresses in vm-data, sealed; a disabled
one mode=disabled. When its host runs on that, XAPI's locking_mode becomes unlocked and its lists
empty. What they were stands in VIF.other_config:xsisolate-relocated, which a guest cannot write.
xsisolate must answer on every host of the pool. It needs the role pool-admin.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'relocate', help='move XAPI\'s own locking of VIFs into vm-data', epilog=EXAMPLES + NOTE,
        description='Move locking_mode, ipv4_allowed and ipv6_allowed into vm-data, sealed.')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('vm', metavar='VM[/DEVID]', nargs='?',
                       help='uuid or name of a VM; with /DEVID one of its VIFs')
    which.add_argument('--all', action='store_true', help='every VM of the pool')
    parser.add_argument('--undo', action='store_true', help='move it back')
    parser.add_argument('--anyway', action='store_true', help='move it although no flow can '
                        'enforce a policy (SR-IOV, a Linux bridge)')
    parser.add_argument('--dry-run', action='store_true',
                        help='write nothing; show what would be; exit code 4 if anything would')
    parser.add_argument('--json', action='store_true', help='print the outcome as JSON')
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from xsisolate.admin.vm_lookup import Selection, find_target, read_all
    connect = opener(arguments)
    with connect() as xapi:
        targets = ([Selection(vm) for vm in read_all(xapi)] if arguments.all
                   else [find_target(xapi, text_of(arguments.vm))])
        return relocate_all(xapi, connect, targets, arguments)


def relocate_all(xapi: Any, connect: Any, targets: List[Any], arguments: argparse.Namespace) -> int:
    """Move one VM after the other; with --all a failure of one does not stop the rest."""
    from xsisolate.admin.host_call import check_hosts
    codes, done = set(), []
    if not arguments.undo and not arguments.dry_run:
        check_hosts(xapi)
    with Progress('relocating', len(targets)) as progress:
        for target in targets:
            try:
                report = relocate_vm(xapi, connect, target, arguments)
                if report.written or not arguments.all:
                    done.append(report)
                codes.add(exit_code(report, arguments.dry_run))
            except XsisolateError as error:
                if not arguments.all:
                    raise
                say('xsisolate: %s: %s' % (name_of(target.vm), error), file=sys.stderr)
                codes.add(error.exit_code)
            progress.step(target.vm.name)
    if arguments.json:
        say_json([describe(one, arguments.dry_run) for one in done])
    elif not done:
        say('nothing to relocate')
    return worst_exit_code(codes)


def relocate_vm(xapi: Any, connect: Any, target: Any, arguments: argparse.Namespace) -> Any:
    """Move a VM's locking, or show what would be done."""
    from xsisolate.admin.relocate import plan_move, plan_undo, relocate
    from xsisolate.admin.write import PolicyWriter, make_report
    moment = now()
    plan = plan_undo(target, moment) if arguments.undo else plan_move(target, moment,
                                                                      arguments.anyway)
    if arguments.dry_run or not plan.steps:
        report = make_report(plan.change, plan.steps)
    else:
        if not arguments.json:
            say('%s:' % name_of(plan.change.vm))
        tell = (lambda step: None) if arguments.json else show_step
        report = relocate(PolicyWriter(xapi, connect, moment, True, tell), plan)
    if not arguments.json and (plan.steps or not arguments.all):
        show(report, arguments.dry_run)
    return report
