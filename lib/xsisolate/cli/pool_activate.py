"""`xsisolate pool activate` and `deactivate`: all hosts, one after the other, the master first."""
import argparse
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence

from xsisolate.cli.connection import Opener, opener
from xsisolate.cli.output import Progress, counted, paint, printable, say
from xsisolate.cli.pool_connection import add_pool_command, ask_all, say_findings
from xsisolate.cli.pool_permissive import make_permissive
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, HostError

if TYPE_CHECKING:
    from xsisolate.admin.pool_call import HostAnswer, PoolHost
    from xsisolate.dom0.xapi.session import Xapi

EXAMPLES = '''
examples:
  xsisolate pool {0} --dry-run       what every host would do; exit code 4 if anything
  xsisolate pool {0}                 do it; a run that has stopped is simply run again
  xsisolate pool {0} --restart-toolstack

All hosts are checked before the first is touched. The run stops at the first host that fails, and
says what stands. VMs keep running meanwhile.
'''
PERMISSIVE = '''
pool activate --permissive refuses nothing: it writes permissive: true into the pool's
configuration, and has each host write it into its file before the host touches anything else. What
policies would refuse is recorded (xsisolate pool refused), and passes as XAPI's own locking mode
says. xsisolate pool enforce ends that.
'''
CHANGE_S = 300.0            # for one host: thousands of flows, and units that start
RESTART_S = 300.0           # until a host's toolstack is back; XAPI waits 10 s before it begins
POLL_S = 2.0
WORDS = {True: ('activate', 'active'), False: ('deactivate', 'not active')}


def add_parsers(below: Any) -> None:
    """Add both commands below `pool`."""
    for active, text in ((True, 'take the hooks over on all hosts, one after the other'),
                         (False, 'give the hooks back on all hosts, one after the other')):
        name = WORDS[active][0]
        parser = add_pool_command(
            below, name, text, text[0].upper() + text[1:] + ', the master first.',
            EXAMPLES.format(name) + PERMISSIVE * active, run)
        parser.add_argument('--dry-run', action='store_true',
                            help='change nothing; print what every host would do')
        parser.add_argument('--restart-toolstack', action='store_true',
                            help='restart the toolstack of each host that needs it')
        parser.add_argument('--force', action='store_true',
                            help='go on although VIFs will be cut off, tasks will be lost, or '
                            'hosts differ')
        if active:
            parser.add_argument('--permissive', action='store_true', help='refuse nothing: write '
                                'permissive: true into the pool\'s configuration first')
        parser.set_defaults(active=active, permissive=False, json=False,
                            file='the pool\'s configuration')


def run(arguments: argparse.Namespace) -> int:
    """Run either command."""
    active: bool = arguments.active
    connect = opener(arguments)
    with connect() as xapi:
        answers = look(xapi, arguments)
        if not answers:
            return EXIT_HOST
        code = make_permissive(xapi, arguments) if arguments.permissive else EXIT_DONE
        if arguments.dry_run and code in (EXIT_DONE, EXIT_DIFFERENT):
            return EXIT_DIFFERENT if any(answer.reply.steps for answer in answers) else code
        if code:
            say('no host was touched')
            return code
        hosts = [answer.host for answer in answers]
    for number, host in enumerate(hosts, 1):
        try:
            say('%d/%d %s: %s' % (number, len(hosts), host.name, change(connect, host, arguments)))
        except HostError as error:
            say('%d/%d %s: %s: %s' % (number, len(hosts), host.name, paint('failed', 'bad'),
                                      printable(str(error))))
            say(*what_stands(hosts, number, active))
            return EXIT_HOST
    return EXIT_DONE


def look(xapi: 'Xapi', arguments: argparse.Namespace) -> 'List[HostAnswer]':
    """Ask all hosts what they would do, and print it; return nothing if it must not be done."""
    from xsisolate.admin.activation_protocol import ACTIVATE, DEACTIVATE, parse_change
    from xsisolate.admin.pool_call import read_pool
    from xsisolate.diagnostics.pool_findings import explain_silence
    active: bool = arguments.active
    answers = ask_all(xapi, arguments, 'checking hosts', ACTIVATE if active else DEACTIVATE,
                      dict(options(arguments), dry_run='true'), parse_change)
    silent = [explain_silence(answer) for answer in answers if answer.error]
    say_findings(silent)
    told = [answer for answer in answers if not answer.error]
    reasons = {answer.host.name: list(why_not(answer, arguments)) for answer in told}
    whole = list(why_not_all(told, arguments, bool(read_pool(xapi)['ha_enabled'])))
    if active and not silent:
        whole += differences(xapi, arguments)
    for answer in told:
        say(*host_lines(answer, reasons[answer.host.name]))
    for reason in whole:
        say('%s %s' % (paint('problem', 'bad'), printable(reason)))
    if silent or any(reasons.values()) or whole:
        say('no host was touched')
        return []
    return told


def options(arguments: argparse.Namespace) -> Dict[str, str]:
    """Return what a host is told beside: a release that knows nothing of permissive refuses it."""
    return {'permissive': 'true'} if arguments.permissive else {}


def why_not(answer: 'HostAnswer', arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what speaks against changing a host."""
    told = answer.reply
    yield from told.problems
    if told.cut_off and not arguments.force:
        yield ('%s would be cut off: %s: correct their policies, or seal them; --force goes on'
               % (counted(len(told.cut_off), 'VIF'), '; '.join(told.cut_off[:5])))
    if arguments.restart_toolstack and told.needs_restart:
        if told.danger:
            yield told.danger
        if told.lost and not arguments.force:
            yield ('a restart of its toolstack would lose %s (xe task-list): %s: wait until they '
                   'have ended; --force loses them' % (counted(len(told.lost), 'task'),
                                                       ', '.join(told.lost[:5])))


def why_not_all(told: 'Sequence[HostAnswer]', arguments: argparse.Namespace,
                ha_enabled: bool) -> Iterator[str]:
    """Yield what speaks against changing the pool."""
    releases = {answer.reply.release for answer in told}
    if len(releases) > 1 and not arguments.force:
        yield ('hosts have different releases of xsisolate (%s): install one on all, or say '
               '--force' % ', '.join(sorted(releases)))
    if ha_enabled and arguments.restart_toolstack and any(
            answer.reply.needs_restart for answer in told):
        yield ('HA is enabled: a restart of the toolstack would fence hosts; disable it first (xe '
               'pool-ha-disable), enable it again afterwards')


def differences(xapi: 'Xapi', arguments: argparse.Namespace) -> List[str]:
    """Return which hosts have another configuration than most."""
    from xsisolate.admin.host_overview import OVERVIEW, parse_overview
    from xsisolate.diagnostics.pool_findings import find_common
    answers = ask_all(xapi, arguments, 'asking hosts', OVERVIEW, parse=parse_overview)
    common = find_common(answers)
    if arguments.force or common is None:
        return []
    others = [answer.host.name for answer in answers if not answer.error
              and answer.reply.digest != common.digest]
    return ['xsisolate.yaml differs on %s (xsisolate pool status): push one for all (xsisolate '
            'pool config push), or say --force' % ', '.join(others)] if others else []


def host_lines(answer: 'HostAnswer', reasons: Sequence[str]) -> Iterator[str]:
    """Yield what a host would do, and what speaks against it."""
    told = answer.reply
    yield '%s: %s%s' % (answer.host.name, counted(len(told.steps), 'step') if told.steps
                        else 'nothing to do', ', then a restart of its toolstack'
                        if told.needs_restart else '')
    for step in told.steps:
        yield '  would ' + printable(step)
    for vif in told.cut_off:
        yield '  %s %s' % (paint('QUARANTINE', 'bad'), printable(vif))
    for reason in reasons:
        yield '  %s %s' % (paint('problem', 'bad'), printable(reason))


def change(connect: Opener, host: 'PoolHost', arguments: argparse.Namespace) -> str:
    """Change one host; return what it is now, in words."""
    from xsisolate.admin.activation_protocol import ACTIVATE, DEACTIVATE, parse_change
    from xsisolate.admin.pool_call import ask_one
    active: bool = arguments.active
    with connect() as xapi:
        told = ask_one(xapi, host, ACTIVATE if active else DEACTIVATE, options(arguments),
                       parse_change, CHANGE_S)
        text = '%s, %s' % (paint(WORDS[active][1], 'good'), counted(len(told.steps), 'step'))
        if not told.needs_restart:
            return text
        if not arguments.restart_toolstack:
            return text + ('. Its toolstack must be restarted: until then VIF.move and '
                           'VIF.set_locking_mode call the hooks of before (xe '
                           'host-restart-agent, or --restart-toolstack)')
        xapi.call('host.restart_agent', host.ref)
    wait_for_toolstack(connect, host, active)
    return text + ', its toolstack is restarted'


def wait_for_toolstack(connect: Opener, host: 'PoolHost', active: bool) -> None:
    """Wait until a host's new toolstack calls the right hooks; raise HostError."""
    from xsisolate.admin.activation_protocol import ACTIVATE, DEACTIVATE, parse_change
    from xsisolate.admin.pool_call import ask_one
    deadline, error = monotonic() + RESTART_S, 'its toolstack still has to be restarted'
    with Progress('waiting for the toolstack of ' + host.name) as progress:
        while monotonic() < deadline:
            sleep(POLL_S)
            progress.step()
            try:
                with connect() as xapi:     # the master's restart ends all sessions
                    told = ask_one(xapi, host, ACTIVATE if active else DEACTIVATE,
                                   {'dry_run': 'true'}, parse_change)
            except HostError as failure:
                error = str(failure)
                continue
            if not told.needs_restart:
                return
            error = 'its toolstack still has to be restarted'
    raise HostError('%g s after host.restart_agent: %s; the hooks are %s, and xe-toolstack-restart '
                    'on that host does the rest' % (RESTART_S, error, WORDS[active][1]))


def what_stands(hosts: 'Sequence[PoolHost]', failed: int, active: bool) -> Iterator[str]:
    """Yield what a run that has stopped leaves."""
    command = WORDS[active][0]
    done = ', '.join(host.name for host in hosts[:failed - 1]) or 'no host'
    rest = ', '.join(host.name for host in hosts[failed:]) or 'no other host'
    yield 'done: %s. Failed: %s, see xsisolate doctor there. Not touched: %s' % (
        done, hosts[failed - 1].name, rest)
    yield 'correct it and run xsisolate pool %s again: it does only what is missing' % command

