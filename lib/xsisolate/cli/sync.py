"""`xsisolate sync`: make the switch carry what it should, or show what that would change."""
import argparse
import gc
import sys
from time import monotonic
from typing import Any, Iterator, List, Sequence

from xsisolate.activation.steps import check_called
from xsisolate.cli.command import open_dom0
from xsisolate.cli.output import Progress, say_json
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.resync import choose_bridges, sync_bridges
from xsisolate.diagnostics.resync_report import describe, format_flow
from xsisolate.errors import EXIT_DIFFERENT, worst_exit_code

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
        'others of ours, from xenstore, VIF metadata, configuration and group files. '
        'A host that is not active is not touched.')
    parser.add_argument('--bridge', metavar='B', default='',
                        help='only the bridge that carries this network')
    parser.add_argument('--dry-run', action='store_true',
                        help='change nothing; print the difference as a diff of flows')
    parser.add_argument('--json', action='store_true', help='print the outcome as JSON')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    gc.disable()        # tens of thousands of flows, and no cycle among them
    done: List[BridgeResult] = []
    if not arguments.dry_run:
        check_called()
    with open_dom0() as dom0:
        dom0.configuration.check_valid('no VIF was touched')
        names = choose_bridges(dom0, arguments.bridge)
        began = monotonic()
        with Progress('bridges done', len(names)) as progress:
            for outcome in sync_bridges(dom0, names, arguments.dry_run):
                done.append(outcome)
                if not arguments.json:
                    show(outcome, arguments.dry_run, monotonic() - began)
                progress.step(outcome.bridge)
    if arguments.json:
        say_json([describe(outcome) for outcome in done])
    return exit_code(done, arguments.dry_run)


def exit_code(done: Sequence[BridgeResult], dry_run: bool) -> int:
    """Return the exit code: of what failed the host's failures count most."""
    codes = {outcome.exit_code for outcome in done}
    if dry_run and any(outcome.changed for outcome in done):
        codes.add(EXIT_DIFFERENT)
    return worst_exit_code(codes)


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
