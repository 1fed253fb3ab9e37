"""`xsisolate suggest`: what to write so that what was refused is admitted."""
import argparse
from typing import Any, Iterator

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import counted, paint, printable, say, say_json
from xsisolate.cli.refused import add_since
from xsisolate.diagnostics.refused import RefusedReader
from xsisolate.diagnostics.refused_choice import parse_since
from xsisolate.diagnostics.suggest import Suggested, describe, suggest
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.errors import EXIT_DONE
from xsisolate.policy.seal import format_peer

EXAMPLES = '''
examples:
  xsisolate suggest                           for all VMs of this host, of the last 24 hours
  xsisolate suggest web --since 1h            for web, and for whom it talks with
  xsisolate suggest --except scanner --except 10.9.0.66    nothing that admits these
  xsisolate suggest --group-by subnet         whole subnets of the network instead of addresses
  xsisolate suggest --directions              out: and in:, where one end alone opened connections
  xsisolate suggest --json | jq -r '.suggestions[].command'

Read it before you run it: whoever was refused may be an attacker. Forgeries are listed and never
suggested. It suggests what was recorded, no more: an enforced policy that refuses ARP hides what
would have followed. A permissive one hides nothing, for all passes: write what it lacks, then
enforce it.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'suggest', 'say what to write so that what was refused is admitted',
        'Say which entries the allow lists of VMs lack so that they admit what was refused, and '
        'print the commands that write them.', EXAMPLES, 'the suggestions')
    parser.add_argument('vm', nargs='?', default='', metavar='VM', type=text_of,
                        help='only what this VM has part in: ' + VM_HELP)
    add_since(parser)
    parser.add_argument('--group-by', choices=('address', 'subnet'), default='address',
                        help='what an entry is about; address: as few as hold the addresses')
    parser.add_argument('--except', metavar='VM|ADDRESS', dest='without', action='append',
                        default=[], type=text_of, help='nothing about what this VM or address has '
                        'part in; may be repeated')
    parser.add_argument('--directions', action='store_true',
                        help='say who may begin (out:, in:) of TCP, where only one end did')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    since = parse_since(arguments.since)
    with open_dom0() as dom0:
        found = suggest(RefusedReader(dom0), arguments.vm, since, arguments.group_by == 'subnet',
                        arguments.without, arguments.directions)
    if arguments.json:
        say_json(describe(found))
    else:
        say(*lines(found))
    return EXIT_DONE


def lines(found: Suggested) -> Iterator[str]:
    """Yield what is suggested, and what is not."""
    for one in found.suggestions:
        yield paint('%s%s lacks' % (printable(label(one.view)),
                                    ' is permissive, and' * one.view.vif.policy.permissive), 'bold')
        for peer in sorted(one.add, key=format_peer):
            yield '  %s%s' % (format_peer(peer), '' if peer.service else
                              '    (only ARP was seen: which service is not known)')
        yield '  ' + printable(one.command)
    if not found.suggestions:
        yield 'nothing to suggest'
    for pair in found.both_ways:
        yield '%s and %s open connections to each other: a common group would admit all between ' \
            'them' % tuple(map(printable, pair))
    if found.never:
        yield paint('not to be admitted by an allow list', 'bold')
    for never in found.never:
        why = ': ' + printable(never.because) if never.because else ''
        yield '  %s: %s, %s%s%s' % (
            printable(never.owner or 'nobody'), paint(never.reason, 'warn'),
            counted(never.frames, 'frame'), ' that passed (permissive)' * never.passed, why)
