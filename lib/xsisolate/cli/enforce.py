"""`xsisolate enforce`: an end to permissive, for a VM, for a network, or on all of this host."""
import argparse
from shlex import quote
from typing import TYPE_CHECKING, Any, Iterable, Sequence, Tuple

from xsisolate.cli.command import text_of
from xsisolate.cli.output import counted, paint, printable, say
from xsisolate.errors import (EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY, HostError, UsageError,
                              worst_exit_code)

if TYPE_CHECKING:       # slow to import, and not needed by each form of the command
    from xsisolate.activation.configuration_file import FileChange
    from xsisolate.admin.vm_lookup import Selection
    from xsisolate.config.host_config import Configuration
    from xsisolate.dataplane.context import HostContext
    from xsisolate.diagnostics.enforcing import Change
    from xsisolate.dom0.xapi.session import Xapi
    from xsisolate.policy.model import EffectivePolicy

EXAMPLES = '''
examples:
  xsisolate enforce web1                  permissive=no in the policy of web1, sealed
  xsisolate enforce web1/1                of its second VIF only
  xsisolate enforce --network xapi3       permissive: false for this network, in xsisolate.yaml
  xsisolate enforce --all                 no permissive: true in xsisolate.yaml any more
  xsisolate enforce --all --dry-run       which VIFs that is about; exit code 4 if any

Look at what is recorded before: xsisolate refused shows what will not pass any more, and xsisolate
suggest what policies lack. Where the pool has one configuration, xsisolate pool enforce edits it.
A VM whose own policy says permissive=yes stays permissive until it is named itself.
'''
VM_ONLY = ('host', 'password_file', 'ca', 'fingerprint', 'insecure', 'no_refresh', 'json')


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    from xsisolate.cli.connection import NOTE, add_options
    from xsisolate.cli.set import add_writing
    parser = commands.add_parser(
        'enforce', help='end permissive, for a VM, a network or all: what is refused is stopped',
        epilog=EXAMPLES + NOTE, description='Have policies that were permissive refuse what they '
        'do not admit, and say of each VIF what that comes to.')
    parser.add_argument('vm', nargs='?', default='', metavar='VM[/DEVID]', type=text_of,
                        help='uuid or name of a VM; with /DEVID one of its VIFs')
    add_scope(parser, 'this host\'s xsisolate.yaml')
    add_writing(parser)
    add_options(parser)
    parser.set_defaults(run=run, template=False)


def add_scope(parser: argparse.ArgumentParser, where: str) -> None:
    """Add the options that say of which VIFs."""
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument('--network', metavar='NAME', default='', type=text_of,
                       help='write permissive: false for this network into %s; NAME is its bridge, '
                       'uuid or name-label' % where)
    scope.add_argument('--all', action='store_true',
                       help='take each permissive: true out of ' + where)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    whole = bool(arguments.network or arguments.all)
    if bool(arguments.vm) is whole:
        raise UsageError('enforce: name a VM, --network NAME or --all, and one of them only')
    if whole:
        given = [name for name in VM_ONLY if getattr(arguments, name)]
        if given:
            raise UsageError('enforce: --%s is for a VM; --network and --all are about this host, '
                             'and xsisolate pool enforce about a pool' % given[0].replace('_', '-'))
        return enforce_here(arguments)
    from xsisolate.cli.set import change_policies
    return change_policies(arguments, {'permissive': 'no'}, [], False, tell=(
        lambda xapi, target: None if arguments.json or arguments.no_refresh
        else tell_spared(xapi, target)))


# --- a VM ------------------------------------------------------------------------------------


def tell_spared(xapi: 'Xapi', target: 'Selection') -> None:
    """Say what is recorded of the VIFs that are to be enforced."""
    from xsisolate.admin.host_call import ask_refused
    if not target.vm.is_live:
        return
    try:
        rows = ask_refused(xapi, target.vm)
    except HostError as error:
        say('  what was refused so far is not known: ' + printable(str(error)))
        return
    for vif in target.vifs:
        own = [row for row in rows if str(row['vif']).endswith('.' + vif.devid)
               and row['vm'] == target.vm.uuid]
        say('  VIF %s: %s' % (vif.devid, recorded(len(own), sum(row['frames'] for row in own))))


def recorded(kinds: int, frames: int) -> str:
    """Return in words what the record has.

    >>> recorded(2, 7)
    'its policy refuses 2 kinds of what is recorded (7 frames): xsisolate refused shows them'
    """
    if not kinds:
        return 'nothing is recorded that its policy refuses'
    return 'its policy refuses %s of what is recorded (%s): xsisolate refused shows them' % (
        counted(kinds, 'kind'), counted(frames, 'frame'))


def stays_permissive(name: str, vm_uuid: str, devid: str) -> str:
    """Return what is said of a VIF that no configuration makes permissive, and that is so."""
    return ('%s: stays permissive, because its own policy says permissive=yes: xsisolate enforce '
            '%s/%s' % (name, vm_uuid, devid))


# --- this host -------------------------------------------------------------------------------


def enforce_here(arguments: argparse.Namespace) -> int:
    """Edit this host's xsisolate.yaml, and bring its VIFs up to date."""
    from xsisolate.activation.configuration_file import plan_edit
    from xsisolate.activation.steps import is_active
    from xsisolate.config.edit import enforce
    from xsisolate.config.host_config import read_configuration
    from xsisolate.dom0.run_files.pool_networks import may_be_bridge, read_networks
    configuration = read_configuration()
    configuration.check_valid('nothing was changed')
    networks = read_networks() if arguments.network else None
    change = plan_edit(lambda text, file: enforce(text, file, arguments.network, networks,
                                                  may_be_bridge),
                       'xsisolate pool enforce ' + (
                           '--network ' + quote(arguments.network) if arguments.network
                           else '--all'))
    if not is_active():
        say('xsisolate is not active on this host, so nothing is refused here until xsisolate '
            'activate')
        return write(change, arguments.dry_run)
    return apply(change, configuration, arguments.dry_run)


def write(change: 'FileChange', dry_run: bool) -> int:
    """Write the file, or say that it would be written."""
    if not change.is_needed:
        say('%s: nothing to do' % change.path)
        return EXIT_DONE
    if dry_run:
        say('%s: would be written' % change.path)
        return EXIT_DIFFERENT
    change.write()
    say('%s: is written' % change.path)
    return EXIT_DONE


def apply(change: 'FileChange', configuration: 'Configuration', dry_run: bool) -> int:
    """Write the file, reconcile the bridges, and say of each VIF what it is now."""
    from xsisolate.cli.command import open_dom0
    from xsisolate.config.host_config import Configuration, read_configuration, with_uuids
    from xsisolate.config.load import parse_config
    from xsisolate.diagnostics.enforcing import compare
    after = Configuration(with_uuids(parse_config(change.after, change.path)))
    with open_dom0() as dom0:
        changes = compare(dom0._replace(configuration=configuration), after)
        ended = [one for one in changes if one.ends]
        for one in ended:
            say('%s: %s' % (name_of(one), recorded(*one.spared)))
        code = write(change, dry_run)
        codes = [code, *tell(dom0._replace(
            configuration=after if dry_run else read_configuration()), ended, dry_run)]
    for one in changes:
        if one.by_itself and not one.ends:
            say(stays_permissive(name_of(one), one.vif.vm_uuid, str(one.vif.id.devid)))
    return worst_exit_code(codes)


def tell(dom0: 'HostContext', ended: 'Sequence[Change]', dry_run: bool) -> Iterable[int]:
    """Reconcile the bridges; say what each VIF is, or would be; yield exit codes."""
    from xsisolate.dataplane.resync import choose_bridges, sync_bridges
    names = {one.vif.id: name_of(one) for one in ended}
    for outcome in sync_bridges(dom0, choose_bridges(dom0, ''), dry_run) if ended else ():
        if outcome.error:
            say('bridge %s: %s: %s' % (outcome.bridge, paint('failed', 'bad'),
                                       printable(outcome.error)))
        yield outcome.exit_code
        for vif in outcome.vifs:
            if vif.id in names:
                text, code = state(vif.policy, vif.error, dry_run)
                say('%s: %s' % (names[vif.id], text))
                yield code


def state(policy: 'EffectivePolicy', error: str, dry_run: bool) -> Tuple[str, int]:
    """Return in words what a VIF is that was permissive, and the exit code."""
    from xsisolate.policy.model import Mode
    is_bad = policy.mode is Mode.QUARANTINED
    text = '%s %s' % ('would be' if dry_run else 'is', paint(policy.mode.word,
                                                             'bad' if is_bad else 'good'))
    return text + (': ' + printable(error) if error else ''), EXIT_POLICY if is_bad else EXIT_DONE


def name_of(change: 'Change') -> str:
    """Return what a VIF is called."""
    return '%s (%s)' % (change.vif.id, printable(change.vm_name or change.vif.vm_uuid))
