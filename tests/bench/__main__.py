"""Measure the hooks, sync and data plane in a sandbox; print a table, write JSON and plots.

`--stock FOLDER` (make bench STOCK=FOLDER) measures the stock vif-real and setup-vif-rules
of that folder in the same run, in turns with ours. No figure is a promise: look at the ratios.
"""
import argparse
import json
import os
import platform
import sys
from typing import Any, Dict, List, Optional

from bench.hooking import BRIDGE, Point, Stage, StockHooks
from bench.plane import Pair, count_megaflows, measure_plane
from bench.plot import draw
from demo.scene import GATEWAY
from demo.stopwatch import version_of
from lab.hooks import Hooks
from lab.process import run
from lab.sandbox import Sandbox
from lab.seals import seal

CONFIGURATION = '''\
version: 1
networks:
  %s:
    subnets: ["10.0.0.0/8", "fd00:9::/32"]
    gateways: [{mac: "%s", ipv4: "10.9.0.254", ipv6: "fd00:9::1"}]
''' % (BRIDGE, GATEWAY.mac)
PLAIN_BRIDGE = 'xenbr1'
PLUGS_AT_ONCE = 64
MEGAFLOW_PEERS = 1000


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='bench', description=__doc__.splitlines()[0])
    parser.add_argument('--hook-python', default=os.environ.get('HOOK_PYTHON') or sys.executable,
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
    """Run the benchmark."""
    options = get_parser().parse_args(argv)
    if not os.path.exists(options.hook_python):
        say('no %s: the current Python runs the hooks' % options.hook_python)
        options.hook_python = sys.executable
    options.hook_python = os.path.abspath(options.hook_python)
    hooks = Hooks(options.hook_python)
    stock = StockHooks(options.hook_python, folder=os.path.abspath(options.stock)) \
        if options.stock else None
    with Sandbox(hooks, sealer=seal) as dom0:
        result = measure(dom0, hooks, stock,
                         options.rounds or (5 if options.quick else 21), options.quick)
    result['machine'] = describe(options.hook_python)
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, 'w') as file:
        json.dump(result, file, indent=1, sort_keys=True)
    if options.plots:
        write_plots(options.plots, result)
    return 0


def measure(dom0: Sandbox, hooks: Hooks, stock: Optional[Hooks], rounds: int,
            quick: bool) -> Dict[str, Any]:
    """Measure one thing after the other, and print what comes of it."""
    for bridge in (BRIDGE, PLAIN_BRIDGE):
        dom0.add_bridge(bridge)
    dom0.configure(CONFIGURATION)
    dom0.add_uplink(BRIDGE, GATEWAY)
    result: Dict[str, Any] = {'rounds': rounds}
    say('%s, %s; medians of %d rounds in ms, least and most in brackets; '
        'a busy machine adds to all, so the least say most' % (
        version_of(str(hooks.interpreter)), run(['ovs-vswitchd', '--version']).splitlines()[0],
        rounds))
    plane = packets(dom0, quick)
    result['plane'] = [one._asdict() for one in plane[0]]
    result['megaflows'] = plane[1]
    for one in plane[0]:
        say('%-26s %9.2f plain %9.2f isolated %s   %.2f' % (
            one.title, median_of(one.plain), median_of(one.ours), one.unit, one.ratio))
    say('%-26s %9d' % ('datapath flows, %d peers' % MEGAFLOW_PEERS, plane[1]))
    stage = Stage(dom0, hooks, stock, rounds)
    result['programs'] = stage.programs()
    for label, count in result['programs'].items():
        say('%-34s starts %d programs' % (label, count))
    result['addresses'] = [show(point) for point in stage.by_addresses()]
    vifs, members = (50, 2000) if quick else (200, 8000)
    result['bridge'] = [show(point) for point in stage.by_bridge(
        (0, vifs) if quick else (0, 50, vifs), members)]
    result['flows'] = stage.flows()
    result['sync'] = syncs(stage)
    result['plugs at once'] = at_once(stage, stock)
    return result


def packets(dom0: Sandbox, quick: bool) -> Any:
    """Return what packets cost, and how many datapath flows a thousand peers need."""
    pairs = {}
    for name, bridge, number in (('plain', PLAIN_BRIDGE, 1), ('ours', BRIDGE, 3)):
        vms = []
        for host in (number, number + 1):
            address = '10.9.0.%d' % host
            policy = {'groups': 'red', 'vif/0/ipv4': address} if name == 'ours' else None
            vms.append(dom0.start_vm('vm%d' % host, bridge, ipv4=address + '/8', policy=policy))
        pairs[name] = Pair(*vms)
    measures = measure_plane(dom0, pairs, 3 if quick else 7, 1 if quick else 3)
    megaflows = count_megaflows(dom0, BRIDGE, pairs['ours'].client, MEGAFLOW_PEERS)
    os.unlink('/run/xsisolate/groups/red.json')
    for pair in pairs.values():
        for vm in pair:
            vm.shutdown()
    return measures, megaflows


def show(point: Point) -> Dict[str, Any]:
    """Print a situation's series; return them for JSON."""
    say()
    say(point.title)
    bare = point.series['bare interpreter']
    for label, series in point.series.items():
        say('  %-32s %s   %5.1f interpreter starts; least %.1f' % (
            label, series, series.median / bare.median, min(series.times) / min(bare.times)))
    return {'title': point.title, 'x': point.x,
            'ms': {label: series.times for label, series in point.series.items()}}


def syncs(stage: Stage) -> Dict[str, Any]:
    """Measure syncs of the full bridge: from nothing, and with nothing to do."""
    times: Dict[str, List[float]] = {'from nothing': [], 'nothing to do': []}
    for _ in range(3):
        stage.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', BRIDGE,
                             'cookie=0x5849534f00000000/0xffffffff00000000')
        times['from nothing'].append(stage.sync())
        times['nothing to do'].append(stage.sync())
    say()
    for label, taken in times.items():
        say('sync of %d flows, %-22s %s' % (stage.flows(), label, ' '.join(
            '%.0f' % one for one in taken)))
    return times


def at_once(stage: Stage, stock: Optional[Hooks]) -> Dict[str, float]:
    """Measure many plugs at the same time, on an empty bridge."""
    stage.dom0.ovs.vsctl('del-br', BRIDGE)
    stage.dom0.add_bridge(BRIDGE)
    found = {'ours': stage.at_once(stage.hooks, PLUGS_AT_ONCE)}
    if stock:
        found['stock'] = stage.at_once(stock, PLUGS_AT_ONCE)
    for label, took in found.items():
        say('%d plugs at once, %-6s %.0f ms: %.1f a second' % (
            PLUGS_AT_ONCE, label, took, PLUGS_AT_ONCE * 1000 / took))
    return found


def write_plots(folder: str, result: Dict[str, Any]) -> None:
    """Write the plots: hook time against addresses, and against the bridge's size."""
    os.makedirs(folder, exist_ok=True)
    for name, title, x_title in (
            ('addresses', 'A hook, by the addresses of its VIF', 'addresses of either family'),
            ('bridge', 'A hook, by the bridge', 'other VIFs (40 times as many members elsewhere)')):
        lines: Dict[str, List[Any]] = {}
        for point in result[name]:
            for label, times in point['ms'].items():
                lines.setdefault(label, []).append((point['x'], median_of(times)))
        with open(os.path.join(folder, 'hooks-by-%s.svg' % name), 'w') as file:
            file.write(draw(title, x_title, lines))


def median_of(values: List[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


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
