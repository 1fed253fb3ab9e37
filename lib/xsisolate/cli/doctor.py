"""`xsisolate doctor`: examine this host."""
import argparse
from typing import Any, Iterator, List

from xsisolate.cli.command import add_command
from xsisolate.cli.output import Progress, counted, paint, printable, say, say_json
from xsisolate.diagnostics.doctor import describe, examine, exit_code
from xsisolate.diagnostics.finding import OK, PROBLEM, WARNING, Finding

EXAMPLES = '''
examples:
  xsisolate doctor                    all findings, with what to do
  xsisolate doctor --quiet            only what is not well
  xsisolate doctor --json | jq '.findings[] | select(.state != "ok")'

It changes nothing. Exit codes: 0 well (there may be warnings), 1 the host has a problem, 3 a policy
or the configuration has, 4 flows or settings are not as they should be (xsisolate sync).
'''
STYLES = {OK: 'good', WARNING: 'warn', PROBLEM: 'bad'}


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'doctor', 'examine this host: Open vSwitch, hooks, units, VIFs, flows',
        'Examine everything on this host that must be right so that policies hold, and say what '
        'to do about what is not.', EXAMPLES, 'the findings')
    parser.add_argument('-q', '--quiet', action='store_true', help='leave out what is well')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    findings: List[Finding] = []
    with Progress('examining') as progress:
        for finding in examine(progress.step):
            findings.append(finding)
    shown = [finding for finding in findings if not (arguments.quiet and finding.state == OK)]
    if arguments.json:
        say_json(describe(shown))
    else:
        for finding in shown:
            say(*lines(finding))
        counts = [sum(finding.state == state for finding in findings)
                  for state in (OK, WARNING, PROBLEM)]
        say('%d well, %s, %s' % (counts[0], counted(counts[1], 'warning'),
                                 counted(counts[2], 'problem')))
    return exit_code(findings)


def lines(finding: Finding) -> Iterator[str]:
    """Yield a finding, and what to do about it."""
    yield '%s%s %-22s %s' % (paint(finding.state, STYLES[finding.state]),
                             ' ' * (7 - len(finding.state)), finding.what,
                             printable(finding.found))
    if finding.state != OK:
        yield '        expected: %s' % printable(finding.expected)
        yield '        do: %s' % printable(finding.advice)
