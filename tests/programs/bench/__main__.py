"""Measure the hooks, sync and data plane in a sandbox; print a table, write JSON and plots.

`--stock FOLDER` (make bench STOCK=FOLDER) measures the stock vif-real and setup-vif-rules
of that folder in the same run, in turns with ours. No figure is a promise: look at the ratios.
"""
import argparse
import json
import os
import platform
import sys
import time
from statistics import median
from typing import Any, Dict, List, Optional, Sequence, Tuple

from bench.hooking import BRIDGE, CONFIGURATION, Point, Stage
from bench.loss import measure_loss
from bench.plane import Pair, count_megaflows, measure_plane
from bench.plot import draw
from bench.stock import StockHooks
from bench.table import Row, Section, json_of, text_of
from demo.scene import GATEWAY
from demo.stopwatch import version_of
from sandbox.hooks import Hooks
from sandbox.hookserver import HookServer
from sandbox.process import LabError, run
from sandbox.pythons import for_hooks
from sandbox.dom0 import Sandbox
from sandbox.seals import seal

PLAIN_BRIDGE = 'xenbr1'
STOCK_BRIDGE = 'xenbr2'     # of the VMs that the stock scripts plug
PLUGS_AT_ONCE = 64
MEGAFLOW_PEERS = 1000


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='bench', description=__doc__.splitlines()[0])
    parser.add_argument('--hook-python', default=for_hooks(),
                        help='the interpreter that runs the hooks')
    parser.add_argument('--quick', action='store_true', help='in about a minute: fewer rounds')
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='how often everything is done: 21, or 5 if quick')
    parser.add_argument('--stock', metavar='FOLDER', default='',
                        help='a folder with the stock vif-real, setup-vif-rules and common.py')
    parser.add_argument('--json', metavar='FILE', default='.cache/bench.json',
                        help='where the figures go')
    parser.add_argument('--plots', metavar='FOLDER', default='', help='where plots go, if wanted')
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Run the benchmark; exit code 1 when something could not be measured."""
    try:
        return bench(get_parser().parse_args(argv))
    except LabError as error:
        print('bench: %s' % error, file=sys.stderr)
        return 1


def bench(options: argparse.Namespace) -> int:
    """Measure in a sandbox, write JSON and plots."""
    options.hook_python = os.path.abspath(options.hook_python)
    hooks = Hooks(options.hook_python)
    stock = StockHooks(options.hook_python, os.path.abspath(options.stock)) \
        if options.stock else None
    began = time.monotonic()
    with Sandbox(hooks, sealer=seal) as dom0, HookServer(hooks):
        if stock:
            stock.install()
        result, points = measure(dom0, hooks, stock, options.rounds or (
            5 if options.quick else 21), options.quick)
    result['machine'] = describe(options.hook_python)
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, 'w') as file:
        json.dump(result, file, indent=1, sort_keys=True)
    if options.plots:
        write_plots(options.plots, points)
    say()
    say('%.0f s; %s has it as JSON' % (time.monotonic() - began, options.json))
    return 0


def measure(dom0: Sandbox, hooks: Hooks, stock: Optional[StockHooks], rounds: int,
            quick: bool) -> Tuple[Dict[str, Any], Dict[str, List[Point]]]:
    """Measure one thing after the other, and print what comes of it; return that, and points."""
    for bridge in (BRIDGE, PLAIN_BRIDGE, STOCK_BRIDGE):
        dom0.add_bridge(bridge)
    dom0.configure(CONFIGURATION)
    dom0.add_uplink(BRIDGE, GATEWAY)
    sections: List[Dict[str, Any]] = []

    def show(title: str, rows: Sequence[Row], *compared: str) -> None:
        section = Section(title, rows, *compared)
        say()
        say(text_of(section))
        sections.append(json_of(section))

    say('%s, %s; a busy machine adds to all times, so the least say most; starts: median in starts '
        'of the interpreter' % (version_of(str(hooks.interpreter)),
                                run(['ovs-vswitchd', '--version']).splitlines()[0]))
    rows, followed, megaflows = packets(dom0, quick)
    show('packets, against plain NORMAL', rows, 'plain', 'ours/plain')
    show('packets of connections that are followed', followed, 'group', 'ours/group')
    show('packets, from a VM that runs', [
        Row('datapath flows, %d peers' % MEGAFLOW_PEERS, 'flows', [megaflows]),
        measure_loss(dom0, BRIDGE, stock, STOCK_BRIDGE, 3 if quick else 9)])
    stage = Stage(dom0, hooks, stock, rounds)
    show('programs', stage.programs())
    vifs, members = (50, 2000) if quick else (200, 8000)
    points = {'addresses': stage.by_addresses(), 'bridge': []}
    for point in points['addresses']:
        show(point.title, point.rows)
    points['bridge'] = stage.by_bridge((0, vifs) if quick else (0, 50, vifs), members)
    for point in points['bridge']:
        show(point.title, point.rows)
    flows = stage.flows()
    show('%d flows' % flows, stage.syncs(3 if quick else 5))
    rows, words = stage.at_once(PLUGS_AT_ONCE, 1 if quick else 3)
    show('an empty bridge', rows)
    say(words)
    return {'sections': sections, 'flows': flows, 'plugs at once': words}, points


def packets(dom0: Sandbox, quick: bool) -> Tuple[List[Row], List[Row], int]:
    """Return what packets cost, what directions do, and the datapath flows of a thousand peers."""
    pairs = {}
    red = {'groups': 'red'}
    for name, bridge, number, policies in (
            ('plain', PLAIN_BRIDGE, 1, (None, None)), ('ours', BRIDGE, 3, (red, red)),
            ('followed', BRIDGE, 5, ({'mode': 'isolated', 'allow': 'out:10.9.0.6 in:10.9.0.6'},
                                     {'mode': 'isolated', 'allow': 'in:10.9.0.5 out:10.9.0.5'}))):
        vms = []
        for host, policy in zip((number, number + 1), policies):
            address = '10.9.0.%d' % host
            policy = policy and {**policy, 'vif/0/ipv4': address}
            vms.append(dom0.start_vm('vm%d' % host, bridge, ipv4=address + '/8', policy=policy))
        pairs[name] = Pair(*vms)
    measures, followed = measure_plane(pairs, 3 if quick else 7, 1 if quick else 3)
    megaflows = count_megaflows(dom0, BRIDGE, pairs['ours'].client, MEGAFLOW_PEERS)
    os.unlink('/run/xsisolate/groups/red.json')
    for pair in pairs.values():
        for vm in pair:
            vm.shutdown()
    return measures, followed, megaflows


def write_plots(folder: str, points: Dict[str, List[Point]]) -> None:
    """Write the plots: hook time against addresses, and against the bridge's size."""
    os.makedirs(folder, exist_ok=True)
    for name, title, x_title in (
            ('addresses', 'A hook, by the addresses of its VIF', 'addresses of either family'),
            ('bridge', 'A hook, by the bridge', 'other VIFs (40 times as many members elsewhere)')):
        lines: Dict[str, List[Tuple[float, float]]] = {}
        for point in points[name]:
            for label, times in point.times.items():
                lines.setdefault(label, []).append((point.x, median(times)))
        with open(os.path.join(folder, 'hooks-by-%s.svg' % name), 'w') as file:
            file.write(draw(title, x_title, lines))


def describe(interpreter: str) -> Dict[str, str]:
    """Return the machine and the versions."""
    with open('/proc/cpuinfo') as file:
        models = [line.split(':')[1].strip() for line in file if line.startswith('model name')]
    return {'cpu': '%d x %s' % (len(models), (models or ['?'])[0]), 'kernel': platform.release(),
            'python': version_of(interpreter),
            'open vswitch': run(['ovs-vswitchd', '--version']).splitlines()[0]}


def say(line: str = '') -> None:
    """Print a line of the result."""
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
