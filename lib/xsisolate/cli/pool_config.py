"""`xsisolate pool config`: one configuration for all hosts, kept in XAPI."""
import argparse
import difflib
import sys
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Tuple

from xsisolate.cli.connection import opener
from xsisolate.cli.output import paint, printable, say, say_json
from xsisolate.cli.pool_connection import add_pool_command, ask_all
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY, HostError, UsageError

if TYPE_CHECKING:
    from xsisolate.admin.pool_call import HostAnswer
    from xsisolate.admin.pool_config_protocol import Shown
    from xsisolate.dom0.xapi.session import Xapi

EXAMPLES = '''
examples:
  xsisolate pool config show > pool.yaml      the configuration that the pool has
  xsisolate pool config check pool.yaml       have every host say what its release thinks of it
  xsisolate pool config diff pool.yaml        what would change; exit code 4 if anything would
  xsisolate pool config push pool.yaml        check it on all hosts, write it, wait for all
  xsisolate pool config rollback              push the version before as a new one

It lives in XAPI (pool.other_config), signed with the pool's secret: pool-admins alone write what
counts. Each host's daemon takes it over, checks it again, and writes xsisolate.yaml. A host's own
file stays where it says `local: true`. Exit codes: 1 a host does not answer or has not taken it,
3 a mistake, or another administrator was faster, 4 differences.
'''
ACTIONS = ('show', 'check', 'diff', 'push', 'rollback')
WITH_FILE = ('check', 'diff', 'push')


def add_parsers(below: Any) -> None:
    """Add the command below `pool`."""
    parser = add_pool_command(
        below, 'config', 'one configuration for all hosts: show, check, diff, push, rollback',
        'Show, check, compare, write or take back the configuration of the pool.', EXAMPLES, run,
        'the outcome')
    parser.add_argument('action', metavar='ACTION', choices=ACTIONS, help=', '.join(ACTIONS))
    parser.add_argument('file', metavar='FILE', nargs='?', default='',
                        help='of check, diff and push: the configuration; - is stdin')
    parser.add_argument('--dry-run', action='store_true',
                        help='of push and rollback: check and compare only')


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    action = arguments.action
    if bool(arguments.file) is not (action in WITH_FILE):
        raise UsageError('pool config %s: %s' % (action, 'name the FILE' if action in WITH_FILE
                                                 else 'it takes no FILE'))
    if arguments.dry_run and action not in ('push', 'rollback'):
        raise UsageError('pool config %s: --dry-run is for push and rollback' % action)
    text = read_text(arguments.file) if arguments.file else ''
    from xsisolate.cli.pool_push import push, rollback
    with opener(arguments)() as xapi:
        return int({'show': show, 'check': check, 'diff': diff, 'push': push,
                    'rollback': rollback}[action](xapi, arguments, text))


def read_text(path: str) -> str:
    """Return the configuration that a file has."""
    from xsisolate.config.load import decode_config, read_config_text
    if path != '-':
        return read_config_text(path)
    return decode_config(sys.stdin.buffer.read(), 'stdin')      # LC_ALL=C takes it for ASCII


# --- looking ---------------------------------------------------------------------------------


def show(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> int:
    """Print the pool's configuration."""
    shown = read_shown(xapi, arguments)
    text = unpack_text(shown.packed)
    if arguments.json:
        say_json({'version': shown.version or None, 'text': text if shown.version else None,
                  'previous': shown.previous or None, 'refused': dict(shown.refused)})
        return EXIT_DONE
    warn_refused(shown)
    if not shown.version:
        note('the pool has no configuration in XAPI: each host has its own file')
        return EXIT_DONE
    note('version %d, SHA-256 %s, the version before is %s' % (
        shown.version, digest(text)[:12], shown.previous or 'not kept'))
    print_text(text)
    return EXIT_DONE


def print_text(text: str) -> None:
    """Print a configuration, byte by byte where it goes into a file."""
    raw = getattr(sys.stdout, 'buffer', None)
    if sys.stdout.isatty() or raw is None:
        say(*map(printable, text.rstrip('\n').split('\n')))
    else:
        raw.write(text.encode('utf-8'))


def check(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> int:
    """Have all hosts judge a configuration."""
    said, code = judge(xapi, arguments, text)
    if arguments.json:
        say_json(said)
    elif not code:
        say('%s: %s on %d hosts' % (printable(arguments.file), paint('valid', 'good'),
                                    sum(not host['error'] for host in said['hosts'])))
    return code


def diff(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> int:
    """Show how a configuration differs from the pool's."""
    shown = read_shown(xapi, arguments)
    return compare(shown, text, arguments.json)


def compare(shown: 'Shown', text: str, as_json: bool) -> int:
    """Print a diff; return the exit code."""
    before = unpack_text(shown.packed)
    lines = [line.rstrip('\n') for line in difflib.unified_diff(
        before.splitlines(), text.splitlines(),
        'version %d' % shown.version if shown.version else 'no configuration', 'new', lineterm='')]
    if as_json:
        say_json({'version': shown.version or None, 'diff': lines})
    else:
        say(*map(printable, lines))
    return EXIT_DIFFERENT if text != before or not shown.version else EXIT_DONE


# --- what they share -------------------------------------------------------------------------


def read_shown(xapi: 'Xapi', arguments: argparse.Namespace) -> 'Shown':
    """Return the pool's configuration, as its master reads it."""
    from xsisolate.admin.pool_call import ask_one, list_hosts
    from xsisolate.admin.pool_config_protocol import SHOW, parse_shown
    found: 'Shown' = ask_one(xapi, list_hosts(xapi)[0], SHOW, {}, parse_shown, arguments.timeout)
    return found


def judge(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> Tuple[Dict[str, Any], int]:
    """Have every host judge a text; print what they say; return it, and the exit code."""
    from xsisolate.admin.pool_config_protocol import CHECK, parse_judged
    from xsisolate.config.stored import pack
    answers = ask_all(xapi, arguments, 'checking on hosts', CHECK, {'packed': pack(text)},
                      parse_judged)
    told = [answer for answer in answers if not answer.error]
    if not told:
        raise HostError('no host of the pool judges it: ' + '; '.join(
            'host %s: %s' % (answer.host.name, answer.error) for answer in answers))
    name = printable(arguments.file or 'the version before')
    if not arguments.json:
        for answer in answers:
            if answer.error:
                say('%s: host %s: %s. It was not asked, and checks the configuration itself when '
                    'it takes it' % (paint('warning', 'warn'), answer.host.name,
                                     printable(answer.error)))
        say(*remark_lines(name, told))
    code = EXIT_POLICY if any(answer.reply.errors for answer in told) else EXIT_DONE
    return {'hosts': [dict({} if answer.error else answer.reply.describe(), host=answer.host.name,
                           error=answer.error or None) for answer in answers]}, code


def remark_lines(name: str, told: 'Sequence[HostAnswer]') -> Iterator[str]:
    """Yield what hosts say of a text, what all of them say without their names."""
    for kind, style in (('errors', 'bad'), ('warnings', 'warn')):
        hosts: Dict[Tuple[int, str], List[str]] = {}
        for answer in told:
            for remark in getattr(answer.reply, kind):
                hosts.setdefault(remark, []).append('%s (xsisolate %s)' % (
                    answer.host.name, printable(answer.reply.release)))
        for (line, text), names in sorted(hosts.items()):
            yield '%s:%d: %s: %s%s' % (name, line, paint(kind[:-1], style), printable(text),
                                       '' if len(names) == len(told) else
                                       '; so says ' + ', '.join(names))


def warn_refused(shown: 'Shown') -> None:
    """Say which keys in XAPI do not count."""
    for version, why in sorted(shown.refused.items()):
        note('pool.other_config:xsisolate-config-%s does not count: %s' % (
            printable(version), printable(why)))


def unpack_text(packed: str) -> str:
    """Return a text as a host has sent it."""
    from xsisolate.config.stored import unpack
    return unpack(packed) if packed else ''


def digest(text: str) -> str:
    """Return the SHA-256 of a file with this text."""
    from hashlib import sha256
    return sha256(text.encode('utf-8')).hexdigest()


def note(text: str) -> None:
    """Say something that is not the answer."""
    say('xsisolate: ' + text, file=sys.stderr)
