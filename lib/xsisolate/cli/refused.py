"""`xsisolate refused`: what was refused on this host, to whom, how often, and why."""
import argparse
import json
from time import sleep
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import Cell, counted, paint, printable, say, say_json, screen_width, table
from xsisolate.diagnostics.refused import RefusedReader, RefusedView, describe, describe_rows
from xsisolate.diagnostics.refused_choice import ENFORCED, PERMISSIVE, parse_since
from xsisolate.errors import EXIT_DONE

EXAMPLES = '''
examples:
  xsisolate refused                       all that was refused in the last 24 hours, newest first
  xsisolate refused web --since 10m       what web sent, or was sent, in the last ten minutes
  xsisolate refused --follow              print as frames are refused; Ctrl-C ends it
  xsisolate refused --permissive          only what would be refused, if VIFs were not permissive
  xsisolate refused --json | jq -r '.refused[] | select(.reason == "spoofed IP") | .vif'

A row stands for all frames that differ in nothing shown. VIF is the one whose policy refuses
them. VERDICT says whether they were dropped (refused), or would be and have passed, for the VIF is
permissive (passed). SERVICE is the server's port; behind it, < says that the server is the sender.
FRAMES may be some too few: the switch counts from some milliseconds after the first. WHY is the
line of `xsisolate explain`, as policies are now. Of each VIF 32 kinds a minute are recorded as
the sender, and 32 as the receiver of what comes from outside; frames of more kinds are counted
together.
'''
TITLES = ('LAST', 'FRAMES', 'VIF', 'FROM', 'TO', 'SERVICE', 'VERDICT', 'REASON', 'WHY')
PASSED = 'passed: policies would refuse these frames; they have passed, for the VIF is permissive'
NONE = {'': 'nothing was refused', ENFORCED: 'nothing was refused by an enforced policy',
        PERMISSIVE: 'nothing would be refused by a permissive policy'}
SINCE_HELP = 'only what was seen in this time: 90s, 10m, 2h, 1d'
FOLLOW_S = 1.0

Row = Mapping[str, Any]     # as JSON has it


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'refused', 'show what was refused: who, whom, what, how often, and why',
        'Show what policies have refused on this host, newest first: the VIF whose policy it is, '
        'sender, receiver, service, reason and how often.', EXAMPLES, 'the record')
    parser.add_argument('vm', nargs='?', default='', metavar='VM', type=text_of,
                        help='only this VM: ' + VM_HELP)
    add_since(parser)
    add_only(parser)
    parser.add_argument('-f', '--follow', action='store_true',
                        help='print as frames are refused, until interrupted')
    parser.set_defaults(run=run)


def add_since(parser: argparse.ArgumentParser) -> None:
    """Add the option that says of which time."""
    parser.add_argument('--since', metavar='TIME', default='', help=SINCE_HELP)


def add_only(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose refusals."""
    only = parser.add_mutually_exclusive_group()
    only.add_argument('--permissive', dest='only', action='store_const', const=PERMISSIVE,
                      default='', help='only what would be refused and has passed: the VIF is '
                      'permissive')
    only.add_argument('--enforced', dest='only', action='store_const', const=ENFORCED,
                      help='only what was refused, and dropped')


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    since = parse_since(arguments.since)
    with open_dom0() as dom0:
        reader = RefusedReader(dom0)
        view = reader.read(arguments.vm, since, arguments.only)
        if arguments.follow:
            follow(reader, view, arguments)
    told = describe(view)
    if arguments.json:
        say_json(told)
        return EXIT_DONE
    say(*notes(told))
    if view.rows:
        say(*table(TITLES, [cells(row, view.read) for row in told['refused']], screen_width()))
    else:
        say(NONE[arguments.only])
    say(*passed(told['refused']), *beyond(told))
    return EXIT_DONE


def follow(reader: RefusedReader, view: RefusedView, arguments: argparse.Namespace) -> None:
    """Print rows that grow, until interrupted."""
    while True:
        known = _counts(view)
        sleep(FOLLOW_S)
        view = reader.read(arguments.vm, only=arguments.only)
        for one in reversed(view.rows):
            more = one.row.frames - known.get(one.row[:2], 0)
            row, = describe_rows([one])
            if more > 0:
                say(json.dumps(dict(row, more=more), sort_keys=True) if arguments.json
                    else line(row, more))


def _counts(view: RefusedView) -> Dict[Tuple[Any, ...], int]:
    return {one.row[:2]: one.row.frames for one in view.rows}


def line(row: Row, more: int) -> str:
    """Return a row as `--follow` prints it."""
    return '%s to %s %s: %s%s%s (%s)' % (
        name_of(row['source']), name_of(row['target']), service(row),
        paint('would be refused, passed (permissive): ', 'warn') if row['passed'] else '',
        paint(row['reason'], style(row)),
        ', ' + printable(row['because']) if row['because'] else '', counted(more, 'frame'))


def notes(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be known of the record itself."""
    if not told['kept']:
        yield paint('! the daemon keeps no record: this is what the switch remembers, a minute',
                    'warn')
    if told['gap']:
        yield paint('! ovs-vswitchd was started again %s: what it had refused in the %s before is '
                    'not all recorded' % (ago(told['read'] - told['gap'][1]),
                                          span(told['gap'][1] - told['gap'][0])), 'warn')


def passed(rows: Iterable[Row]) -> Iterator[str]:
    """Yield what the verdict `passed` means, if a row has it."""
    if any(row['passed'] for row in rows):
        yield paint(PASSED, 'warn')


def beyond(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what there was no room for."""
    for key, what in (('frames_beyond_the_record', 'refused'),
                      ('passed_beyond_the_record', 'passed')):
        if told[key]:
            yield '%s more %s, of kinds for which the record had no room' % (
                counted(told[key], 'frame'), what)


def cells(row: Row, now: float) -> List[Any]:
    """Return a row of the table."""
    return [ago(now - row['last']), row['frames'], printable(row['owner'] or '-'),
            name_of(row['source']), name_of(row['target']), service(row),
            Cell('passed', 'warn') if row['passed'] else 'refused',
            Cell(row['reason'], style(row)), printable(row['because'] or '')]


def name_of(party: Mapping[str, Any]) -> str:
    """Return what an end is called: a VM by its name, else its address; a forged one by both."""
    return printable(party['name'] or party['address'] or party['mac'])


def style(row: Row) -> str:
    """Return how a reason is shown: what no policy can admit stands out."""
    return '' if row['reason'].endswith('gress') else 'warn'


def service(row: Row) -> str:
    """Return what was said; < where the sender is the server."""
    return str(row['service']) + ' <' * bool(row['answer'])


def ago(seconds: float) -> str:
    """Return how long ago that was.

    >>> ago(0.4), ago(75), ago(7300)
    ('now', '1m 15s ago', '2h 1m ago')
    """
    return 'now' if seconds < 1 else span(seconds) + ' ago'


def span(seconds: float) -> str:
    """Return a time in the two largest units that it has.

    >>> span(3), span(60), span(90000)
    ('3s', '1m', '1d 1h')
    """
    left, words = int(seconds), []
    for unit, size in (('d', 86400), ('h', 3600), ('m', 60), ('s', 1)):
        if left >= size:
            words.append('%d%s' % (left // size, unit))
            left %= size
    return ' '.join(words[:2]) or '0s'
