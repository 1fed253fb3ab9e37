"""`xsisolate pool matrix`: who may reach whom, over all hosts of the pool."""
import argparse
from typing import TYPE_CHECKING, Any, List

from xsisolate.cli.connection import opener
from xsisolate.cli.output import say, say_json
from xsisolate.cli.pool_connection import add_pool_command, ask_all

if TYPE_CHECKING:
    from xsisolate.admin.pool_call import HostAnswer
    from xsisolate.diagnostics.pool_matrix import HostVifs

EXAMPLES = '''
examples:
  xsisolate pool matrix                     a grid per network, over all hosts
  xsisolate pool matrix --html pool.html    one page with pictures for the whole pool

A VIF is written HOST:VIF. A host that does not answer is named first, and its VIFs are missing.
Where hosts have different configurations, that of most hosts counts, and a warning says so. Exit
codes: 1 a host does not answer, 3 a configuration is broken, 4 a switch does not carry it.
'''


def add_parsers(below: Any) -> None:
    """Add the command below `pool`."""
    parser = add_pool_command(
        below, 'matrix', 'show who may reach whom in the whole pool, as policies say',
        'Show which VIFs of the pool may reach which, by which services, and which go outside.',
        EXAMPLES, run, 'the matrix')
    parser.add_argument('--html', metavar='FILE', default='',
                        help='write it as one self-contained page; - is stdout')


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from xsisolate.admin.host_overview import MATRIX
    from xsisolate.admin.pool_call import read_pool
    from xsisolate.cli.matrix import lines, write_page
    from xsisolate.diagnostics.matrix import describe
    from xsisolate.diagnostics.matrix_page import make_page
    from xsisolate.diagnostics.pool_matrix import make_pool_matrix
    from xsisolate.errors import worst_exit_code
    with opener(arguments)() as xapi:
        name = str(read_pool(xapi)['name_label'])
        answers = ask_all(xapi, arguments, 'asking hosts', MATRIX)
    told, warnings, codes = sort_out(answers)
    matrix = make_pool_matrix(told, choose_config(told), warnings)
    if arguments.html:
        write_page(arguments.html, make_page(matrix, 'pool ' + (name or answers[0].host.name)))
    if arguments.json:
        say_json(describe(matrix))
    elif not arguments.html:
        say(*lines(matrix, 'the pool'))
    return worst_exit_code(codes)


def sort_out(answers: 'List[HostAnswer]') -> Any:
    """Return what the hosts say, what must be said of the whole, and exit codes."""
    from xsisolate.diagnostics.pool_findings import explain_silence
    from xsisolate.diagnostics.pool_matrix import parse_host
    from xsisolate.errors import EXIT_DIFFERENT, EXIT_HOST
    told: 'List[HostVifs]' = []
    warnings: List[str] = []
    codes = []
    for answer in answers:
        try:
            if not answer.error:
                told.append(parse_host(answer.host.name, answer.reply))
                continue
        except ValueError as error:
            answer = answer._replace(error='the answer of its plugin cannot be read: %s' % error,
                                     code='NONSENSE')
        finding = explain_silence(answer)
        warnings.append('%s: %s. Its VIFs are missing here; %s' % (
            finding.what, finding.found, finding.advice))
        codes.append(EXIT_HOST)
    if len({one.digest for one in told}) > 1:
        warnings.append('hosts have different configurations (xsisolate pool status): shown is '
                        'what that of most hosts says')
        codes.append(EXIT_DIFFERENT)
    for one in told:
        warnings += ['host %s: %s' % (one.host, text) for text in one.warnings]
        codes.append(one.code)
    return told, warnings, codes


def choose_config(told: 'List[HostVifs]') -> Any:
    """Return the configuration that most hosts have."""
    from xsisolate.policy.model import Config
    if not told:
        return Config()
    digests = [one.digest for one in told]
    return max(told, key=lambda one: digests.count(one.digest)).config
