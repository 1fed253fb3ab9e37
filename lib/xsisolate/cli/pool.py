"""`xsisolate pool ...`: the commands that are about all hosts of the pool at once."""
from importlib import import_module
from typing import Any

MODULES = ('pool_look', 'pool_matrix', 'pool_refused', 'pool_config', 'pool_activate',
           'pool_enforce')
EXAMPLES = '''
examples:
  xsisolate pool status               every host in a row; what is not well comes first
  xsisolate pool doctor               what is wrong on any host, and what to do
  xsisolate pool COMMAND --help       all about one of these commands
'''


def add_parser(commands: Any) -> None:
    """Add the commands to the command line, one level below `pool`."""
    parser = commands.add_parser(
        'pool', help='all hosts of the pool at once: status, doctor, configuration, activate',
        description='Commands about all hosts of the pool. Each host is asked through its XAPI '
        'plugin, side by side, with a deadline for each.', epilog=EXAMPLES)
    below = parser.add_subparsers(dest='pool_command', metavar='COMMAND', title='commands')
    below.required = True
    for name in MODULES:
        import_module('xsisolate.cli.' + name).add_parsers(below)
