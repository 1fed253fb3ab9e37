"""`xsisolate watch`: the daemon that keeps flows as they should be."""
import argparse
from typing import Any

from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.library import find_ovs
from xsisolate.errors import EXIT_DONE

EXAMPLES = '''
examples:
  systemctl status xsisolate-watch    how the daemon is
  xsisolate watch                     run it in the foreground, by hand

It runs in the foreground: systemd starts it (xsisolate-watch.service). SIGHUP has every bridge
compared at once, SIGTERM ends it; the flows stay.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'watch', help='keep the flows of this host as they should be, until stopped',
        epilog=EXAMPLES,
        description='Follow Open vSwitch, vm-data, the configuration and the group files, and '
        'reconcile what has changed; put all flows back when ovs-vswitchd has restarted.')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    find_ovs()      # the other commands do without it
    from xsisolate.daemon.loop import Loop
    Loop(Log('xsisolate-watch')).run()
    return EXIT_DONE
