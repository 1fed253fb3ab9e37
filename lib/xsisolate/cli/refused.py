"""`xsisolate refused`: what was refused on this host, to whom, how often, and why."""
import argparse
import json
from time import sleep, time
from typing import Any, Dict, Iterator, List, Tuple

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import Cell, paint, printable, say, say_json, screen_width, table
from xsisolate.diagnostics.refused import (Refused, RefusedReader, RefusedView, describe,
                                           describe_rows, parse_since)
from xsisolate.errors import EXIT_DONE

EXAMPLES = '''
examples:
  xsisolate refused                       all that was refused in the last 24 hours, newest first
  xsisolate refused web --since 10m       what web sent, or was sent, in the last ten minutes
  xsisolate refused --follow              print as frames are refused; Ctrl-C ends it
  xsisolate refused --json | jq -r '.refused[] | select(.reason == "spoofed IP") | .vif'

A row stands for all frames that differ in nothing shown. SERVICE is the server's port: with < the
server is the sender. FRAMES counts those after the first from the moment at which the switch has
learned to count them, some milliseconds later. WHY is the line of `xsisolate explain`, as policies
are now. Of each VIF 32 kinds are recorded a minute as the sender, and 32 as the receiver of what
comes from elsewhere; frames of more kinds are counted together.
'''
TITLES = ('LAST', 'FRAMES', 'VIF', 'FROM', 'TO', 'SERVICE', 'REASON', 'WHY')
FOLLOW_S = 1.0
FORGED = 'warn'


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'refused', 'show what was refused: who, whom, what, how often, and why',
        'Show what policies have refused on this host, newest first: the VIF whose policy it is, '
        'sender, receiver, service, reason and how often.', EXAMPLES, 'the record')
    parser.add_argument('vm', nargs='?', default='', metavar='VM', type=text_of,
                        help='only this VM: ' + VM_HELP)
    parser.add_argument('--since', metavar='TIME', default='',
                        help='only what was seen in this time: 90s, 10m, 2h, 1d')
    parser.add_argument('--follow', '-f', action='store_true',
                        help='print as frames are refused, until interrupted')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    since = parse_since(arguments.since) if arguments.since else 0.0
    with open_dom0() as dom0:
        reader = RefusedReader(dom0)
        view = reader.read(arguments.vm, since)
        if arguments.follow:
            return follow(reader, view, arguments.vm, arguments.json)
    if arguments.json:
        say_json(describe(view))
        return EXIT_DONE
    say(*notes(view))
    now = time()
    if view.rows:
        say(*table(TITLES, [cells(one, ago(now - one.row.last)) for one in view.rows],
                   screen_width()))
    else:
        say('nothing was refused')
    if view.beyond:
        say('%d frames more, of kinds for which the record had no room' % view.beyond)
    return EXIT_DONE


def follow(reader: RefusedReader, view: RefusedView, vm: str, as_json: bool) -> int:
    """Print rows that grow, for ever."""
    known = _counts(view)
    while True:
        sleep(FOLLOW_S)
        view = reader.read(vm)
        grown = [one for one in reversed(view.rows)
                 if one.row.frames > known.get(one.row[:2], 0)]
        for one in grown:
            if as_json:
                say(*(json.dumps(row, sort_keys=True) for row in describe_rows([one])))
            else:
                say(line(one, one.row.frames - known.get(one.row[:2], 0)))
        known = _counts(view)


def _counts(view: RefusedView) -> Dict[Tuple[Any, ...], int]:
    return {one.row[:2]: one.row.frames for one in view.rows}


def line(one: Refused, more: int) -> str:
    """Return a row as `--follow` prints it."""
    return '%s to %s %s: %s%s (%d %s)' % (
        printable(one.source.shown), printable(one.target.shown), service(one),
        paint(one.row.refusal.reason, style(one)),
        ', ' + printable(one.because) if one.because else '', more,
        'frame' if more == 1 else 'frames')


def notes(view: RefusedView) -> Iterator[str]:
    """Yield what is to be known of the record itself."""
    if not view.kept:
        yield paint('! the daemon keeps no record: this is what the switch remembers, a minute',
                    'warn')
    if view.gap:
        yield paint('! ovs-vswitchd was started again: what it refused in %s is not recorded, at '
                    'most' % span(view.gap[1] - view.gap[0]), 'warn')


def cells(one: Refused, last: str) -> List[Any]:
    """Return a row of the table."""
    return [last, one.row.frames, printable(one.owner) or '-', printable(one.source.shown),
            printable(one.target.shown), service(one), Cell(one.row.refusal.reason, style(one)),
            printable(one.because)]


def style(one: Refused) -> str:
    """Return how a reason is shown: what nobody may do, whatever is written, stands out."""
    return '' if one.row.refusal.reason.endswith('gress') else FORGED


def service(one: Refused) -> str:
    """Return what was said; < where the sender is the server."""
    return one.row.refusal.service + ' <' * one.row.refusal.answer


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


