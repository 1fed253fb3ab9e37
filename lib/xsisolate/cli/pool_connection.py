"""What the commands about the pool share: options, and a question to all hosts."""
import argparse
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Sequence

from xsisolate.cli.command import add_command
from xsisolate.cli.connection import NOTE, add_options
from xsisolate.cli.doctor import lines
from xsisolate.cli.output import Progress, say

if TYPE_CHECKING:       # TLS and XML cost 60 ms
    from xsisolate.admin.pool_call import HostAnswer
    from xsisolate.diagnostics.finding import Finding
    from xsisolate.dom0.xapi.session import Xapi

DEADLINE_S = 30.0
DEADLINE_MOST_S = 600.0


def add_pool_command(below: Any, name: str, text: str, description: str, examples: str,
                     run: Callable[[argparse.Namespace], int],
                     json: str = '') -> argparse.ArgumentParser:
    """Add a command below `pool`, with the options that all of them have."""
    parser = add_command(below, name, text, description, examples + NOTE, json)
    parser.add_argument('--timeout', metavar='S', type=parse_seconds, default=DEADLINE_S,
                        help='how long each host may take to answer (default: %d s)' % DEADLINE_S)
    add_options(parser)
    parser.set_defaults(run=run)
    return parser


def parse_seconds(text: str) -> float:
    """Return a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= DEADLINE_MOST_S:
        raise argparse.ArgumentTypeError('not a number of seconds, 1 to %d: %.20r'
                                         % (DEADLINE_MOST_S, text))
    return seconds


def ask_all(xapi: 'Xapi', arguments: argparse.Namespace, what: str, function: str,
            options: Mapping[str, str] = {},
            parse: Callable[[Any], Any] = lambda reply: reply) -> 'List[HostAnswer]':
    """Ask every host of the pool, and show how far that is."""
    from xsisolate.admin.pool_call import ask_hosts, list_hosts
    hosts = list_hosts(xapi)
    with Progress(what, len(hosts)) as progress:
        return ask_hosts(xapi, hosts, function, options, parse, arguments.timeout, progress.step)


def say_findings(findings: 'Sequence[Finding]') -> None:
    """Print what is not well, and what to do about it."""
    for finding in findings:
        say(*lines(finding))

