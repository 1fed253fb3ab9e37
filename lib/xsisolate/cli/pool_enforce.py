"""`xsisolate pool enforce`: an end to permissive in the pool's configuration, on all hosts."""
import argparse
from typing import TYPE_CHECKING, Any, Iterator, List

from xsisolate.cli.connection import opener
from xsisolate.cli.enforce import add_scope, recorded, stays_permissive
from xsisolate.cli.output import printable, say
from xsisolate.cli.pool_config import read_shown, unpack_text
from xsisolate.cli.pool_connection import add_pool_command, ask_all
from xsisolate.cli.pool_push import write
from xsisolate.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from xsisolate.dom0.xapi.session import Xapi
    from xsisolate.policy.model import PoolNetwork

EXAMPLES = '''
examples:
  xsisolate pool enforce --network Tenants    permissive: false for this network, on all hosts
  xsisolate pool enforce --all                no permissive: true in the configuration any more
  xsisolate pool enforce --all --dry-run      what would be written; exit code 4

It edits the pool's configuration in XAPI and leaves the rest of its text as it is. Each host takes
it over as after xsisolate pool config push, and enforces then. xsisolate pool config rollback takes
it back. A VM whose own policy says permissive=yes stays permissive: xsisolate enforce VM.
'''


def add_parsers(below: Any) -> None:
    """Add the command below `pool`."""
    parser = add_pool_command(
        below, 'enforce', 'end permissive in the pool\'s configuration: for a network, or for all',
        'Have the policies of a network, or all of them, refuse what they do not admit, on all '
        'hosts.', EXAMPLES, run)
    add_scope(parser, 'the pool\'s configuration')
    parser.add_argument('--dry-run', action='store_true',
                        help='check and compare only; exit code 4 if anything would be written')
    parser.set_defaults(json=False, file='the pool\'s configuration')


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if not arguments.network and not arguments.all:
        raise UsageError('pool enforce: name --network NAME, or --all; a VM is enforced by '
                         'xsisolate enforce VM')
    from xsisolate.config.edit import enforce
    with opener(arguments)() as xapi:
        shown = read_shown(xapi, arguments)
        if not shown.version:
            raise UsageError('pool enforce: the pool has no configuration in XAPI, so each host '
                             'has its own file: xsisolate enforce on each host, or write one for '
                             'all (xsisolate pool config push FILE)')
        text = unpack_text(shown.packed)
        networks = read_networks(xapi)
        after = enforce(text, arguments.file, arguments.network, networks)
        if arguments.all:
            say(*own_word(xapi))
        if after == text:
            say('nothing to do: version %d of the pool\'s configuration says nothing else'
                % shown.version)
            return EXIT_DONE
        bridges = [one.bridge for one in networks if arguments.network in (
            one.bridge, one.uuid, one.label)]
        say(*spared(xapi, arguments, bridges))
        return write(xapi, arguments, shown, after)


def read_networks(xapi: 'Xapi') -> 'List[PoolNetwork]':
    """Return the pool's networks."""
    from xsisolate.policy.xapi_records import make_network
    return list(map(make_network, xapi.call('network.get_all_records').values()))


def own_word(xapi: 'Xapi') -> Iterator[str]:
    """Yield which VIFs stay permissive, because their own policies say so."""
    from xsisolate.admin.vm_lookup import read_all
    from xsisolate.policy.seal import Sealing
    from xsisolate.policy.xapi_records import judge_vif
    for vm in read_all(xapi):
        for vif in vm.vifs:
            state, policy, _ = judge_vif(vm, vif)
            if state is Sealing.SEALED and policy and policy.permissive:
                yield stays_permissive('%s (%s/%s)' % (printable(vm.name), vm.uuid, vif.devid),
                                       vm.uuid, vif.devid)


def spared(xapi: 'Xapi', arguments: argparse.Namespace, bridges: List[str]) -> Iterator[str]:
    """Yield what hosts have recorded that policies refuse; `bridges`: of a network, or of all."""
    from xsisolate.admin.host_call import parse_owned
    from xsisolate.admin.host_overview import REFUSED
    for answer in ask_all(xapi, arguments, 'asking hosts', REFUSED, parse=parse_owned):
        name = printable(answer.host.name)
        if answer.error:
            yield '%s: what was refused so far is not known: %s' % (name, printable(answer.error))
            continue
        rows = [row for row in answer.reply if not bridges or row['network'] in bridges]
        for vif in sorted({row['owner'] for row in rows}):
            own = [row['frames'] for row in rows if row['owner'] == vif]
            yield '%s: %s: %s' % (name, printable(str(vif)), recorded(len(own), sum(own)))
