"""`xsisolate check`: validate the configuration, offline."""
import argparse
import os
import sys
from typing import Any, Iterable, Tuple

from xsisolate.cli.command import add_command, open_dom0
from xsisolate.cli.output import counted, paint, printable, say, say_json
from xsisolate.config.check import check_text, describe
from xsisolate.config.load import config_file, read_config_text
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.diagnostics.inventory import read_inventory
from xsisolate.diagnostics.network_check import check_networks, find_machines
from xsisolate.errors import EXIT_DONE, EXIT_POLICY, HostError
from xsisolate.policy.model import Config

EXAMPLES = '''
examples:
  xsisolate check                     the configuration of this host
  xsisolate check new.yaml            before it is put in place
  ssh host cat x.yaml | xsisolate check -

All mistakes are shown, each with its line (but of mistakes in YAML itself the first only), and
then what is legal but probably not meant, on a host also by the VIFs that are there. Exit code 3
if there is a mistake.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'check', 'validate the configuration, offline, with line numbers',
        'Validate xsisolate.yaml without touching anything.', EXAMPLES, 'the remarks')
    parser.add_argument('file', metavar='FILE', nargs='?', default='',
                        help='the file to look at; without it the host\'s; - is stdin')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    path = arguments.file or config_file()
    name = printable(path, 'ascii')
    if not arguments.file and not os.path.exists(path):
        return tell_missing(arguments.json, name)
    checked = check_text(sys.stdin.read() if path == '-' else read_config_text(path), name,
                         read_networks(), look_at_host)
    if arguments.json:
        say_json(describe(name, checked))
    else:
        for remark in checked.errors:
            say('%s:%d: %s: %s' % (name, remark.line, paint('error', 'bad'),
                                   printable(remark.text)))
        for remark in checked.warnings:
            say('%s:%d: %s: %s' % (name, remark.line, paint('warning', 'warn'),
                                   printable(remark.text)))
        say('%s: %s' % (name, paint(counted(len(checked.errors), 'error'), 'bad') if checked.errors
                        else paint('valid', 'good'))
            + (', ' + counted(len(checked.warnings), 'warning') if checked.warnings else ''))
    return EXIT_POLICY if checked.errors else EXIT_DONE


def look_at_host(config: Config) -> Iterable[Tuple[str, str, str]]:
    """Return what a configuration says of this host's VIFs; elsewhere there is nothing to say."""
    try:
        with open_dom0() as dom0:
            return tuple(check_networks(config, find_machines(read_inventory(dom0), config)))
    except HostError:
        return ()


def tell_missing(as_json: bool, name: str) -> int:
    """Say that there is no file: that is fine."""
    if as_json:
        say_json({'file': None, 'errors': [], 'warnings': []})
    else:
        say('%s: there is none: the defaults apply' % name)
    return EXIT_DONE
