"""`xsisolate pool status`, `doctor` and `sync`: every host of the pool is asked."""
import argparse
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence

from xsisolate.cli.connection import opener
from xsisolate.cli.doctor import lines
from xsisolate.cli.output import (Cell, counted, paint, printable, say, say_json, screen_width,
                                  table)
from xsisolate.cli.pool_connection import add_pool_command, ask_all, say_findings
from xsisolate.errors import EXIT_DIFFERENT, EXIT_HOST, worst_exit_code

if TYPE_CHECKING:
    from xsisolate.admin.pool_call import HostAnswer
    from xsisolate.diagnostics.finding import Finding
    from xsisolate.dom0.xapi.session import Xapi

STATUS_EXAMPLES = '''
examples:
  xsisolate pool status               every host of the pool
  xsisolate pool status --json | jq -r '.hosts[] | select(.error) | .host'

What is not well comes first: hosts that do not answer, have no xsisolate, another release or
another configuration than most, or hooks that are not active. Exit codes: 0 all is well, 1 a host
does not answer or does not protect its VMs, 3 a configuration is broken, 4 hosts differ, or do not
carry what they should. UNSEALED counts VIFs whose seal does not fit, PERMISSIVE those that no
policy holds, WOULD-BE those of them that would be quarantined or disabled.
'''
DOCTOR_EXAMPLES = '''
examples:
  xsisolate pool doctor               what is not well on any host
  xsisolate pool doctor --all         what is well, too
  xsisolate pool doctor --json | jq '.hosts[].findings[]'
'''
SYNC_EXAMPLES = '''
examples:
  xsisolate pool sync --dry-run       what would change on which host; exit code 4 if anything
  xsisolate pool sync                 have every host of the pool reconcile its flows
'''
TITLES = ('HOST', 'VERSION', 'HOOKS', 'DAEMON', 'CONFIGURATION', 'VIFS', 'ISOLATED', 'LOCKED',
          'PERMISSIVE', 'WOULD-BE', 'QUARANTINED', 'UNSEALED', 'LAST ERROR')
SILENT = Cell('?', 'bad')
MASTER = '*'


def add_parsers(below: Any) -> None:
    """Add the commands below `pool`."""
    add_pool_command(
        below, 'status', 'every host in a row: release, hooks, configuration, VIFs, last error',
        'Ask every host of the pool how it is, and show one table. The master has a *.',
        STATUS_EXAMPLES, run_status, 'the hosts and the findings')
    doctor = add_pool_command(
        below, 'doctor', 'examine every host of the pool, and how they differ',
        'Have every host of the pool examine itself, and compare them.', DOCTOR_EXAMPLES,
        run_doctor, 'the findings')
    doctor.add_argument('-a', '--all', action='store_true', help='show what is well, too')
    sync = add_pool_command(
        below, 'sync', 'reconcile the flows on every host of the pool',
        'Have every host of the pool make its bridges carry the flows that its VIFs need.',
        SYNC_EXAMPLES, run_sync, 'the outcome')
    sync.add_argument('--dry-run', action='store_true', help='change nothing; count differences')


# --- status ----------------------------------------------------------------------------------


def run_status(arguments: argparse.Namespace) -> int:
    """Run `pool status`."""
    from xsisolate.admin.host_overview import OVERVIEW, parse_overview
    from xsisolate.diagnostics.doctor import exit_code
    from xsisolate.diagnostics.pool_findings import examine_hosts
    with opener(arguments)() as xapi:
        answers = ask_all(xapi, arguments, 'asking hosts', OVERVIEW, parse=parse_overview)
        findings = [*examine_hosts(answers), *find_unprotected(xapi, answers)]
    if arguments.json:
        say_json({'hosts': [describe_host(answer) for answer in answers],
                  'findings': [finding.describe() for finding in findings]})
    else:
        say_findings(findings)
        say(*table(TITLES, [row(answer) for answer in sort_worst(answers, findings)],
                   screen_width()))
    return exit_code(findings)


def find_unprotected(xapi: 'Xapi', answers: 'Sequence[HostAnswer]') -> 'List[Finding]':
    """Return which sealed VMs run on hosts without xsisolate; XAPI is asked if there are any."""
    from xsisolate.admin.vm_lookup import read_all
    from xsisolate.diagnostics.pool_findings import examine_vms, is_unprotected
    if not any(map(is_unprotected, answers)):
        return []
    return list(examine_vms(answers, read_all(xapi)))


def sort_worst(answers: 'Sequence[HostAnswer]',
               findings: 'Sequence[Finding]') -> 'List[HostAnswer]':
    """Return the hosts, those first with which something is not well."""
    named = {finding.what for finding in findings}
    return sorted(answers, key=lambda answer: (not answer.error,
                                               'host ' + answer.host.name not in named))


def row(answer: 'HostAnswer') -> List[Any]:
    """Return a host's row of the table."""
    from xsisolate.diagnostics.pool_findings import name_digest
    name = answer.host.name + MASTER * answer.host.is_master
    if answer.error:
        return [Cell(name, 'bad'), *([SILENT] * (len(TITLES) - 2)), printable(answer.error)]
    told = answer.reply
    return [name, printable(told.version),
            Cell('active', 'good') if told.active else Cell('not active', 'bad'),
            Cell(printable(told.daemon), 'good' if told.daemon == 'active' else 'bad'),
            printable(name_digest(told.digest)) + (
                '' if told.source == 'file' else ' (%s)' % printable(told.source)),
            str(sum(told.modes.values())), str(told.modes.get('isolated', 0)),
            str(told.modes.get('locked', 0)),
            Cell(str(told.permissive), 'warn' if told.permissive else ''),
            Cell(str(told.would_be), 'warn' if told.would_be else ''),
            Cell(str(told.quarantined), 'bad' if told.quarantined else ''),
            Cell(str(told.unsealed), 'bad' if told.unsealed else ''),
            printable(told.error) or '-']


def describe_host(answer: 'HostAnswer') -> Dict[str, Any]:
    """Return a host as JSON has it."""
    told: Dict[str, Any] = {} if answer.error else answer.reply.describe()
    last = told.pop('error', '') or None
    return dict(told, last_error=last, host=answer.host.name, uuid=answer.host.uuid,
                master=answer.host.is_master, error=answer.error or None)


# --- doctor ----------------------------------------------------------------------------------


def run_doctor(arguments: argparse.Namespace) -> int:
    """Run `pool doctor`: how the hosts differ, and what each says of itself."""
    from xsisolate.admin.host_overview import DOCTOR, OVERVIEW, parse_overview
    from xsisolate.diagnostics.doctor import exit_code
    from xsisolate.diagnostics.finding import OK, parse_examination
    from xsisolate.diagnostics.pool_findings import examine_hosts
    with opener(arguments)() as xapi:
        overviews = ask_all(xapi, arguments, 'asking hosts', OVERVIEW, parse=parse_overview)
        answers = ask_all(xapi, arguments, 'examining hosts', DOCTOR, parse=parse_examination)
        findings = [*examine_hosts(overviews), *find_unprotected(xapi, overviews)]
    told = [answer for answer in answers if not answer.error]
    if arguments.json:
        say_json({'pool': [finding.describe() for finding in findings],
                  'hosts': [{'host': answer.host.name, 'error': answer.error or None,
                             'findings': [] if answer.error else [
                                 finding.describe() for finding in answer.reply.findings]}
                            for answer in answers]})
    else:
        say_findings(findings)
        for answer in told:
            say(paint('on host %s:' % answer.host.name, 'bold'))
            shown = [finding for finding in answer.reply.findings
                     if arguments.all or finding.state != OK]
            for finding in shown:
                say(*('  ' + line for line in lines(finding)))
            if not shown:
                say('  all is well: %s' % counted(len(answer.reply.findings), 'finding'))
    return worst_exit_code([exit_code(findings), *(answer.reply.code for answer in told),
                            *(EXIT_HOST for answer in answers if answer.error)])


# --- sync ------------------------------------------------------------------------------------


def run_sync(arguments: argparse.Namespace) -> int:
    """Run `pool sync`."""
    from xsisolate.admin.host_overview import SYNC
    from xsisolate.diagnostics.doctor import exit_code
    from xsisolate.diagnostics.pool_findings import explain_silence
    from xsisolate.diagnostics.resync_report import Synced, parse_synced
    options = {'dry_run': 'true'} if arguments.dry_run else {}
    with opener(arguments)() as xapi:
        answers = ask_all(xapi, arguments, 'reconciling hosts', SYNC, options, parse_synced)
    silent = [explain_silence(answer) for answer in answers if answer.error]
    done: List[Synced] = [bridge for answer in answers if not answer.error
                          for bridge in answer.reply]
    if arguments.json:
        say_json({'hosts': [{'host': answer.host.name, 'error': answer.error or None,
                             'bridges': [] if answer.error else [
                                 bridge._asdict() for bridge in answer.reply]}
                            for answer in answers]})
    else:
        say_findings(silent)
        for answer in answers:
            say(*sync_lines(answer, arguments.dry_run) if not answer.error else ())
    return worst_exit_code([exit_code(silent), *(EXIT_HOST for bridge in done if bridge.error),
                            *(EXIT_DIFFERENT for bridge in done
                              if arguments.dry_run and bridge.changes)])


def sync_lines(answer: 'HostAnswer', dry_run: bool) -> Iterator[str]:
    """Yield what became of a host's bridges."""
    if not answer.reply:
        yield '%s: no bridge' % answer.host.name
    for bridge in answer.reply:
        text = paint(printable(bridge.error), 'bad') if bridge.error else (
            '%d flows %s, %d %s, %d settings %s, %d dead ports %s, %d VIFs in quarantine' % (
                bridge.missing, 'missing' if dry_run else 'added',
                bridge.needless, 'too many' if dry_run else 'deleted',
                bridge.settings, 'wrong' if dry_run else 'changed',
                bridge.dead, 'left' if dry_run else 'removed', bridge.quarantined))
        yield '%s: %s: %s' % (answer.host.name, printable(bridge.bridge), text)
