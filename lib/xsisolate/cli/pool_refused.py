"""`xsisolate pool refused`: what was refused on every host of the pool, in one table."""
import argparse
from typing import Any, Mapping

from xsisolate.cli.command import text_of
from xsisolate.cli.connection import opener
from xsisolate.cli.output import printable, say, say_json, screen_width, table
from xsisolate.cli.pool_connection import add_pool_command, ask_all, say_findings
from xsisolate.cli.refused import (NONE, TITLES, add_only, add_since, beyond, cells, notes,
                                   passed)
from xsisolate.errors import EXIT_HOST, worst_exit_code

EXAMPLES = '''
examples:
  xsisolate pool refused --since 10m          of ten minutes, newest first
  xsisolate pool refused --vm web             of one VM, on whichever hosts it was
  xsisolate pool refused --json | jq -r '.hosts[] | .refused[] | .reason' | sort | uniq -c
'''


def add_parsers(below: Any) -> None:
    """Add the command below `pool`."""
    parser = add_pool_command(
        below, 'refused', 'what was refused on any host: who, whom, what, how often, and why',
        'Ask every host of the pool what it has refused, and show one table.', EXAMPLES, run,
        'the records')
    add_since(parser)
    add_only(parser)
    parser.add_argument('--vm', metavar='VM', default='', type=text_of,
                        help='only this VM: its name-label or uuid')


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from xsisolate.admin.host_overview import REFUSED
    from xsisolate.diagnostics.pool_findings import explain_silence
    from xsisolate.diagnostics.refused_choice import parse_since
    parse_since(arguments.since)
    asked = {'since': arguments.since, 'only': arguments.only}
    options = {name: value for name, value in asked.items() if value}
    with opener(arguments)() as xapi:
        answers = ask_all(xapi, arguments, 'asking hosts', REFUSED, options,
                          lambda reply: parse_reply(reply, arguments.vm))
    silent = [explain_silence(answer) for answer in answers if answer.error]
    told = [answer for answer in answers if not answer.error]
    if arguments.json:
        say_json({'hosts': [dict({} if answer.error else answer.reply, host=answer.host.name,
                                 error=answer.error or None) for answer in answers]})
    else:
        say_findings(silent)
        for answer in told:
            say(*('%s: %s' % (printable(answer.host.name), line)
                  for line in (*notes(answer.reply), *beyond(answer.reply))))
        rows = sorted(((row['last'], answer, row) for answer in told
                       for row in answer.reply['refused']), key=_last, reverse=True)
        say(*(table(('HOST', *TITLES), [
            [printable(answer.host.name), *cells(row, answer.reply['read'])]
            for _, answer, row in rows], screen_width()) if rows else [NONE[arguments.only]]))
        say(*passed(row for _, _, row in rows))
    return worst_exit_code([EXIT_HOST for _ in silent])


def parse_reply(reply: Any, vm: str) -> Mapping[str, Any]:
    """Return a host's answer, with the rows of a VM, or all; raise if it makes no sense."""
    try:
        rows = [row for row in reply['refused'] if not vm or vm in [
            row[end][key] for end in ('source', 'target') for key in ('name', 'vm')]]
        for row in rows:
            cells(row, float(reply['read']))
        return _described(reply, rows, vm)
    except (KeyError, AttributeError, IndexError) as error:
        raise ValueError('it lacks %r' % error) from None


def _described(reply: Any, rows: Any, vm: str) -> Mapping[str, Any]:
    return {'refused': rows, 'read': float(reply['read']), 'kept': bool(reply['kept']),
            'gap': reply['gap'] and (float(reply['gap'][0]), float(reply['gap'][1])),
            'frames_beyond_the_record': 0 if vm else int(reply['frames_beyond_the_record']),
            # releases before the first did not tell these from the others
            'passed_beyond_the_record': 0 if vm else int(reply.get('passed_beyond_the_record', 0))}


def _last(row: Any) -> float:
    return float(row[0])
