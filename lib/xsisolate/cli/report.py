"""`xsisolate report`: what a public issue needs of this host, with everything of its own hidden."""
import argparse
import io
from contextlib import redirect_stdout
from typing import Any, Callable, List

from xsisolate.cli import selftest
from xsisolate.cli.command import add_command
from xsisolate.cli.doctor import lines
from xsisolate.cli.output import Progress, say
from xsisolate.diagnostics.doctor import examine
from xsisolate.diagnostics.host_report import Section, report_host
from xsisolate.errors import EXIT_DONE

EXAMPLES = '''
examples:
  xsisolate report >report.txt
  xsisolate report --selftest >report.txt     and what the self-test says

uuids, MAC and IP addresses, names of VMs, groups, networks and this host are replaced, the same by
the same. Bridges and devices keep their names. Read it before you attach it to an issue.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'report', 'print what an issue needs of this host, its own names hidden',
        'Print versions, findings of doctor, configuration, flows and log, with everything '
        'replaced that tells this host from others.', EXAMPLES)
    parser.add_argument('--selftest', action='store_true', help='run the self-test as well')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    sections: List[Section] = [Section('doctor', _examine)]
    if arguments.selftest:
        sections.append(Section('selftest', _try))
    with Progress('report') as progress:
        for piece in report_host(sections):
            progress.step(piece.split('\n', 1)[0])
            say(piece)
    return EXIT_DONE


def _examine() -> str:
    return '\n'.join(line for finding in examine() for line in lines(finding))


def _try() -> str:
    return _said(lambda: selftest.run(argparse.Namespace(full=False, json=False)))


def _said(call: Callable[[], int]) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = call()
    return '%s\nexit code %d' % (out.getvalue(), code)
