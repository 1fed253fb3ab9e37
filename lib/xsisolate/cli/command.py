"""What several commands share: their parsers, and the connections to this host."""
import argparse
import os
from contextlib import contextmanager
from typing import Any, Iterator

from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore

VM_HELP = 'name-label, uuid, domid or netdev (vif5.0), and /DEVID for one VIF of several'


def add_command(commands: Any, name: str, text: str, description: str, examples: str,
                json: str = '') -> argparse.ArgumentParser:
    """Add a command with its help and examples; `json`: what its --json prints."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, epilog=examples)
    if json:
        parser.add_argument('--json', action='store_true', help='print %s as JSON' % json)
    return parser


def text_of(argument: str) -> str:
    """Return an argument as its writer meant it; with LC_ALL=C Python 3.6 takes it for ASCII."""
    return os.fsencode(argument).decode('utf-8', 'replace')


@contextmanager
def open_dom0() -> Iterator[HostContext]:
    """Connect to this host's Open vSwitch and xenstore."""
    with Ovsdb() as ovsdb, Xenstore() as store:
        yield HostContext(ovsdb, store, read_configuration())
