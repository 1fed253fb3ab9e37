"""The command `xsisolate`: parse the command line, run one command, turn errors into a line."""
import argparse
import sys
from importlib import import_module
from typing import Any, Dict, List, Optional, Sequence, Tuple

from xsisolate import __version__
from xsisolate.errors import EXIT_HOST, XsisolateError

# The modules of this package, each with its commands; all of them together take 80 ms to import.
MODULES: Dict[str, Sequence[str]] = {
    'status': ('status',), 'refused': ('refused',), 'suggest': ('suggest',),
    'explain': ('explain',), 'matrix': ('matrix',),
    'set': ('set', 'unset'), 'enforce': ('enforce',), 'seal': ('seal',),
    'relocate': ('relocate',), 'sync': ('sync',),
    'check': ('check',), 'doctor': ('doctor',), 'activate': ('activate', 'deactivate'),
    'selftest': ('selftest',), 'report': ('report',), 'metrics': ('metrics',),
    'watch': ('watch',), 'dump': ('dump',), 'pool': ('pool',), 'hold_release': ('hold', 'release')}
INTERRUPTED = 130           # as shells have it
EXAMPLES = '''
examples:
  xsisolate status                        every VIF of this host, its policy and its drops
  xsisolate explain red1 red2 tcp/443     may red1 reach red2, and by which rule?
  xsisolate sync --dry-run                does the switch carry what it should?
  xsisolate doctor                        what is wrong on this host, and what to do
  xsisolate selftest                      does this host's switch do what policies say?
  xsisolate COMMAND --help                all about one command

exit codes: 0 done, 1 the host failed, 2 usage, 3 policy or configuration error, 4 differences found
'''


class Parser(argparse.ArgumentParser):
    """A parser that guesses nothing; those of the commands are made of the same class.

    argparse would take `--re` for `--replace`, which forgets a VM's policy, and leaves words
    that a command does not know to the parser of the whole, whose usage does not help.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more,
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Tuple[Any, List[str]]:
        """Parse arguments; any that is left is an error, with the usage of this parser."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error('unrecognized arguments: %s' % ' '.join(left))
        return found, left


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; the exit code is the contract's (errors.py)."""
    words = sys.argv[1:] if argv is None else argv
    arguments = build_parser(words[0] if words else '').parse_args(words)
    arguments.last_word = words[-1]
    try:
        return int(arguments.run(arguments))
    except XsisolateError as error:
        return complain(str(error), error.exit_code)
    except BrokenPipeError:         # the reader has seen enough
        sys.stderr.close()
        return EXIT_HOST
    except KeyboardInterrupt:
        return complain('interrupted', INTERRUPTED)
    except Exception as error:      # a mistake of ours: still one line
        return complain('internal: %r' % error, EXIT_HOST)


def complain(text: str, code: int) -> int:
    """Print a line for a person, and return the exit code."""
    print('xsisolate: ' + text, file=sys.stderr)
    return code


def build_parser(wanted: str = '') -> argparse.ArgumentParser:
    """Return the parser of the whole command line; of one command, if that is one."""
    modules = [name for name, commands in MODULES.items() if wanted in commands] or list(MODULES)
    parser = Parser(prog='xsisolate', epilog=EXAMPLES,
                    description='Network isolation for the VMs of a Xen host.')
    parser.add_argument('--version', action='version', version='xsisolate ' + __version__)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', title='commands')
    commands.required = True
    for name in modules:
        import_module('xsisolate.cli.' + name).add_parser(commands)
    return parser
