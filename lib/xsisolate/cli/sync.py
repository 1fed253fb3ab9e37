"""`xsisolate sync`: make the switch carry what it should, or show what that would change."""
import argparse
import gc
import json
import sys
from time import monotonic
from typing import Any, Dict, Iterator, List, Sequence

from xsisolate.cli.output import Progress
from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.resync import choose_bridges, sync_bridges
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, EXIT_POLICY, ConfigError
from xsisolate.openflow.flow import Flow

EXAMPLES = '''
examples:
  xsisolate sync                      all bridges of this host
  xsisolate sync --dry-run            show the difference only; exit code 4 if there is one
  xsisolate sync --bridge xapi3       the bridge that carries the network xapi3
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'sync', help='reconcile the flows of every VIF on this host', epilog=EXAMPLES,
        description='Make every bridge of this host carry the flows that its VIFs need and no '
        'others of ours, from xenstore, VIF metadata, configuration and group files.')
    parser.add_argument('--bridge', metavar='B', default='',
                        help='only the bridge that carries this network')
    parser.add_argument('--dry-run', action='store_true',
                        help='change nothing; print the difference as a diff of flows')
    parser.add_argument('--json', action='store_true', help='print the outcome as JSON')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    gc.disable()        # tens of thousands of flows, and no cycle among them
    configuration = read_configuration()
    if configuration.error:
        raise ConfigError('%s; no VIF was touched' % configuration.error)
    done: List[BridgeResult] = []
    with Ovsdb() as ovsdb, Xenstore() as store:
        dom0 = HostContext(ovsdb, store, configuration)
        names = choose_bridges(dom0, arguments.bridge)
        began = monotonic()
        with Progress('bridges done', len(names)) as progress:
            for outcome in sync_bridges(dom0, names, arguments.dry_run):
                done.append(outcome)
                if not arguments.json:
                    show(outcome, arguments.dry_run, monotonic() - began)
                progress.step(outcome.bridge)
    if arguments.json:
        print(json.dumps([describe(outcome) for outcome in done], indent=2, sort_keys=True))
    return exit_code(done, arguments.dry_run)


def exit_code(done: Sequence[BridgeResult], dry_run: bool) -> int:
    """Return the exit code: of what failed the host's failures count most."""
    codes = {outcome.exit_code for outcome in done}
    if dry_run and any(outcome.changed for outcome in done):
        codes.add(EXIT_DIFFERENT)
    return next((code for code in (EXIT_HOST, EXIT_POLICY, EXIT_DIFFERENT) if code in codes),
                EXIT_DONE)


def show(outcome: BridgeResult, dry_run: bool, seconds: float) -> None:
    """Print what became of a bridge, in a dry run as a diff."""
    if outcome.error:
        print('xsisolate: bridge %s: %s' % (outcome.bridge, outcome.error), file=sys.stderr)
        return
    if dry_run and outcome.changed:
        print('\n'.join(diff_lines(outcome)))
    print('%s%s: %d VIFs, %d quarantined; %d flows %s, %d %s, %d settings %s, %d dead ports %s '
          '(%.1f s)' % (
              '# ' if dry_run else '', outcome.bridge, len(outcome.vifs),
              len(outcome.quarantined), len(outcome.diff.add), 'missing' if dry_run else 'added',
              len(outcome.diff.delete), 'too many' if dry_run else 'deleted',
              len(outcome.settings), 'wrong' if dry_run else 'changed', len(outcome.dead),
              'left' if dry_run else 'removed', seconds), flush=True)
    for vif in outcome.quarantined:
        print('%squarantined %s: %s' % ('# ' if dry_run else '  ', vif.id,
                                             vif.policy.reason))
    for vif in outcome.mute:
        print('%smute %s: %s' % ('# ' if dry_run else '  ', vif.id, vif.mute))


def diff_lines(outcome: BridgeResult) -> Iterator[str]:
    """Yield a bridge's differences as a unified diff has them: - is there, + should be."""
    yield '--- %s as it is' % outcome.bridge
    yield '+++ %s as it should be' % outcome.bridge
    for port in outcome.dead:
        yield '-port %s' % port
    for what, actual, desired in outcome.settings:
        yield '-%s=%s' % (what, actual)
        yield '+%s=%s' % (what, desired)
    signed = [(flow, '-') for flow in outcome.diff.delete] + [
        (flow, '+') for flow in outcome.diff.add]
    for flow, sign in sorted(signed, key=lambda item: (item[0].table, -item[0].priority,
                                                      item[0].match, item[1] == '+')):
        yield sign + format_flow(flow)


def format_flow(flow: Flow) -> str:
    """Return a flow as `ovs-ofctl dump-flows` prints it."""
    return 'cookie=0x%x, table=%d, priority=%d%s actions=%s' % (
        flow.cookie, flow.table, flow.priority, flow.match and ',' + flow.match, flow.actions)


def describe(outcome: BridgeResult) -> Dict[str, Any]:
    """Return a bridge's outcome as JSON has it."""
    return {'bridge': outcome.bridge, 'error': outcome.error or None,
            'vifs': len(outcome.vifs), 'dead_ports': list(outcome.dead),
            'quarantined': {vif.id.vif: vif.policy.reason
                            for vif in outcome.quarantined},
            'mute': {vif.id.vif: vif.mute for vif in outcome.mute},
            'missing': [format_flow(flow) for flow in outcome.diff.add],
            'settings': [setting._asdict() for setting in outcome.settings],
            'surplus': [format_flow(flow) for flow in outcome.diff.delete]}
