"""`xsisolate hold` and `release`: what openvswitch.service does around its start."""
import argparse
import sys
from time import monotonic
from typing import Any

from xsisolate.cli.sync import exit_code, show
from xsisolate.dataplane.planned_restart import release
from xsisolate.dom0.ovs import restore_wait
from xsisolate.errors import EXIT_DONE

EXAMPLES = '''
examples:
  systemd runs both when openvswitch.service starts (openvswitch.service.d/50-xsisolate.conf).
  By hand, around a restart that systemd does not do:
  xsisolate hold
  kill $(cat /run/openvswitch/ovs-vswitchd.pid); ovs-vswitchd ... --detach
  xsisolate release
'''


def add_parser(commands: Any) -> None:
    """Add both commands to the command line."""
    parser = commands.add_parser(
        'hold', help='have Open vSwitch forward nothing after its next start, until `release`',
        description='Set other_config:flow-restore-wait: an ovs-vswitchd that starts forwards '
        'nothing while it is set; one that runs does not care. Works with and without a running '
        'ovsdb-server.', epilog=EXAMPLES)
    parser.set_defaults(run=run_hold)
    parser = commands.add_parser(
        'release', help='program every bridge, then have Open vSwitch forward',
        description='Reconcile every bridge as `sync` does, without waiting for VIFs in doubt, and '
        'then take other_config:flow-restore-wait away. The VIFs of a bridge that cannot be '
        'programmed are closed: nothing passes from or to them until `sync`, the daemon or a hook '
        'has programmed it.', epilog=EXAMPLES)
    parser.set_defaults(run=run_release)


def run_hold(arguments: argparse.Namespace) -> int:
    """Run `hold`."""
    restore_wait.hold()
    return EXIT_DONE


def run_release(arguments: argparse.Namespace) -> int:
    """Run `release`."""
    began, outcomes = monotonic(), []
    for outcome in release():
        outcomes.append(outcome)
        show(outcome, False, monotonic() - began)
        if outcome.error:
            print('xsisolate: bridge %s: %s' % (
                outcome.bridge, 'its VIFs are closed until it is programmed' if outcome.closed else
                'its VIFs could not be closed: they may be open'), file=sys.stderr, flush=True)
    return exit_code(outcomes, False)
