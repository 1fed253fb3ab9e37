"""`xsisolate activate` and `deactivate`: take the hooks over, give them back."""
import argparse
import os
import sys
from typing import Any, List, Optional, Sequence, TextIO

from xsisolate.activation.carry_out import (COMMAND, connect_switch, is_within_reach, take_or_undo,
                                            tell_networkd)
from xsisolate.activation.configuration_file import Permissive, plan_permissive
from xsisolate.activation.preconditions import (against_activating, against_deactivating,
                                                examine_restart)
from xsisolate.activation.steps import (forget_ended, is_active, is_untouched, needs_restart,
                                        plan_steps, will_need_restart)
from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dom0.linux.process import run as run_program
from xsisolate.dom0.linux.syslog import escape
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, UsageError

RESTART = '/opt/xensource/bin/xe-toolstack-restart'
RESTART_TIMEOUT_S = 300.0
EXAMPLES = '''
examples:
  xsisolate {0} --dry-run       show what would be done; exit code 4 if anything would
  xsisolate {0}                 do it; a run that failed half-way is simply run again
  xsisolate {0} --restart-toolstack

xenopsd calls other hooks only after a restart of the toolstack. {0} says when one is needed and
restarts it only when told to, and when no task would be lost; --force loses them.
VMs keep running meanwhile. A host with HA would be fenced: disable HA before.
'''
PERMISSIVE = '''
activate --permissive refuses nothing: it writes permissive: true into xsisolate.yaml before it
touches anything else. What policies would refuse is recorded (xsisolate refused), and passes as
XAPI's own locking mode says. xsisolate enforce ends that.
'''


def add_parser(commands: Any) -> None:
    """Add both commands to the command line."""
    for name, active, text in (
            ('activate', True, 'take the hooks of this host over, also for VIFs that are plugged'),
            ('deactivate', False, 'give the hooks of this host back, and remove all our flows')):
        parser = commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + '.',
            epilog=EXAMPLES.format(name) + PERMISSIVE * active)
        parser.add_argument('--dry-run', action='store_true',
                            help='change nothing; print what would be done')
        parser.add_argument('--restart-toolstack', action='store_true',
                            help='restart the toolstack at the end, if that is needed')
        parser.add_argument('--force', action='store_true',
                            help='restart it although tasks will be lost')
        if active:
            parser.add_argument('--permissive', action='store_true', help='refuse nothing: write '
                                'permissive: true into xsisolate.yaml first')
        parser.set_defaults(run=run, active=active, permissive=False)


def run(arguments: argparse.Namespace) -> int:
    """Run either command."""
    active: bool = arguments.active
    if arguments.force and not arguments.restart_toolstack:
        raise UsageError('%s: --force is about tasks that --restart-toolstack would end: name both'
                         % COMMAND[active])
    configuration = read_configuration()
    if active:
        configuration.check_valid('nothing was changed')
    loose = plan_permissive(configuration) if arguments.permissive else Permissive(configuration)
    for note in loose.notes:
        complain('xsisolate: ' + note)
    if not arguments.dry_run:
        forget_ended()
    if not active and is_untouched() and not is_within_reach():
        print('nothing to do: the hooks are the stock ones, and nothing runs here that has flows')
        return EXIT_DONE
    with connect_switch() as ovsdb, Xenstore() as store:
        dom0 = HostContext(ovsdb, store, loose.configuration)
        steps = [*loose.steps, *plan_steps(dom0, active)]
        problems = list(against_activating() if active else against_deactivating()
                        ) if steps else []
        if will_need_restart(active):
            problems += weigh_restart(arguments)
        if problems:
            return refuse(problems)
        if not steps:
            print('nothing to do: the hooks are %s' % (
                'taken over' if active else 'the stock ones'))
        elif arguments.dry_run:
            for step in steps:
                say('would ' + step.text)
            return EXIT_DIFFERENT
        else:
            take_or_undo(dom0, steps, active, say, complain, loose.put_back)
        if active and not arguments.dry_run:
            tell_networkd(ovsdb, say, complain)
    if not arguments.dry_run:
        restart(arguments.restart_toolstack)
    return EXIT_DONE


def say(text: str, stream: Optional[TextIO] = None) -> None:
    """Print lines of ASCII: rpm's scriptlets have no locale, and a guest may choose some words."""
    for line in text.splitlines():
        print(escape(line), file=stream or sys.stdout, flush=True)


def complain(text: str) -> None:
    """Print lines on stderr."""
    say(text, sys.stderr)


def weigh_restart(arguments: argparse.Namespace) -> List[str]:
    """Say what a restart of the toolstack would do; return why it may not be done as asked."""
    wanted: bool = arguments.restart_toolstack
    if not wanted and not arguments.active:
        return []       # rpm calls this: XAPI may be away
    restart = examine_restart()
    reasons = [restart.danger] if restart.danger else []
    if restart.lost and not arguments.force:
        reasons.append('a restart of the toolstack would lose %s; wait until they have ended%s' % (
            restart.name_lost(), ', or say --force' if wanted else ''))
    elif restart.lost:
        say('xsisolate: --force: the restart of the toolstack loses ' + restart.name_lost(),
            sys.stderr)
    if restart.consoles:
        say('xsisolate: a restart of the toolstack may cut %d connections to consoles: open them '
            'again afterwards' % restart.consoles, sys.stderr)
    if wanted:
        return reasons
    for reason in reasons:
        say('xsisolate: warning: ' + reason, sys.stderr)
    return []


def refuse(problems: Sequence[str]) -> int:
    """Say why nothing was changed."""
    for problem in problems:
        say('xsisolate: ' + problem, sys.stderr)
    say('xsisolate: nothing was changed', sys.stderr)
    return EXIT_HOST


def restart(wanted: bool) -> None:
    """Say that the toolstack must be restarted, or do it if that is wanted."""
    if not needs_restart():
        return
    if not wanted:
        print('The toolstack must be restarted: until then xenopsd calls %s for VIF.move and '
              'VIF.set_locking_mode. When no task runs and HA is off: %s'
              % ('the stock hooks' if is_active() else 'ours, which hand over to the stock ones,',
                 os.path.basename(RESTART)))
        return
    print('restarting the toolstack', flush=True)
    run_program((RESTART,), timeout=RESTART_TIMEOUT_S)
