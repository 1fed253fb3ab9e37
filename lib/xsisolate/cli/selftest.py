"""`xsisolate selftest`: does this host's switch do what policies say?"""
import argparse
import signal
from statistics import median
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from xsisolate.cli.command import add_command
from xsisolate.cli.output import Cell, Progress, paint, printable, say, say_json, table
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE
from xsisolate.selftest.probes import Tried, cells
from xsisolate.selftest.report import Measured, Report, describe
from xsisolate.selftest.run import run as try_all

EXAMPLES = '''
examples:
  xsisolate selftest                  about half a minute; VMs may run
  xsisolate selftest --full           and the whole corpus of frames, in a few minutes
  xsisolate selftest --json | jq '.outcomes[] | select(.fine | not)'

It makes the bridge xsi-selftest with VIFs of domains that cannot exist, tries it with real frames
and takes it away. It touches no other bridge, no VM, and neither XAPI nor xenstore.
Exit codes: 0 all is as it should be, 4 something differs, 1 it could not be tried.
'''
ALL, NOTHING, SOME, WRONG = 'y', '.', 's', '!'
LEGEND = ('%s all (ping, udp/53, tcp/22; IPv4 and IPv6)   %s nothing   %s some   '
          '%s not as policies say')
SHOWN = 8           # of what differs in an area


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'selftest', 'try on this host whether the switch does what policies say',
        'Make a bridge with parties of every kind, program it by the library that the hooks use, '
        'send real frames, and compare what becomes of each with what policies say.', EXAMPLES,
        'what was tried')
    parser.add_argument('--full', action='store_true',
                        help='send the whole corpus of frames as well, and measure longer')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    for ending in (signal.SIGTERM, signal.SIGHUP):      # the bridge is taken away before we go
        signal.signal(ending, signal.default_int_handler)
    with Progress('selftest') as progress:
        report = try_all(arguments.full, progress.step)
    if arguments.json:
        say_json(describe(report))
    else:
        say(*_lines(report))
    return EXIT_DONE if report.fine else EXIT_DIFFERENT


def _lines(report: Report) -> Iterator[str]:
    """Yield the report for a person."""
    for name, fact in report.host.facts.items():
        yield '%-14s %s' % (name, printable(fact))
    yield '%-14s %s' % ('features', ', '.join('%s: %s' % (one.name, printable(one.found))
                                              for one in report.host.features))
    yield ''
    yield from _matrix(report)
    yield ''
    yield from _outcomes(report)
    yield ''
    yield from _measures(report)
    yield ''
    yield '%s (%.0f s)' % (
        paint('Everything is as it should be.', 'good') if report.fine else
        paint('NOT everything is as it should be: %d of %d differ.' % (
            len(report.wrong), len(report.outcomes)), 'bad'), report.seconds)


def _matrix(report: Report) -> List[str]:
    """Return who reached whom, as it was tried."""
    pairs = cells(report.tried)
    titles = ['from, to', *report.names]
    rows = [[Cell(source, 'bold')] + [_cell(pairs, source, target) for target in report.names]
            for source in report.names]
    return table(titles, rows) + [LEGEND % (ALL, NOTHING, SOME, WRONG)]


def _cell(pairs: Dict[Tuple[str, str], List[Tried]], source: str, target: str) -> Cell:
    tried = pairs.get((source, target))
    if not tried:
        return Cell(' ')
    passed = sum(one.passed for one in tried)
    symbol = ALL if passed == len(tried) else SOME if passed else NOTHING
    if any(one.wrong for one in tried):
        return Cell(symbol + WRONG, 'bad')
    return Cell(symbol, 'good' if passed else 'dim')


def _outcomes(report: Report) -> List[str]:
    """Return what was tried; of plugs and of differences not all."""
    shown = [one for one in report.outcomes if one.fine and one.area != 'plug']
    plugs = [one for one in report.outcomes if one.area == 'plug']
    rows: List[Sequence[Any]] = [
        ['plug', '%d VIFs' % len(plugs), 'each in its mode', Cell('%d so' % sum(
            one.fine for one in plugs), 'good')]]
    rows += [[one.area, one.what, one.policy, Cell(one.found, 'good')] for one in shown]
    few = [one for area in sorted({one.area for one in report.wrong})
           for one in [one for one in report.wrong if one.area == area][:SHOWN]]
    rows += [[one.area, printable(one.what), printable(one.policy),
              Cell(printable(one.found), 'bad')] for one in few]
    more = len(report.wrong) - len(few)
    return table(['area', 'what', 'policy says', 'this host did'], rows) + [
        'and %d more that differ: see --json' % more] * (more > 0)


def _measures(report: Report) -> List[str]:
    """Return what things cost."""
    rows = [[one.what, _shown(one)] for one in report.measured]
    managed, unmanaged = report.speeds['managed'], report.speeds['unmanaged']
    rows += [['TCP, managed pair', '%.0f Mbit/s, unmanaged %.0f: %.0f %%' % (
        managed.throughput, unmanaged.throughput,
        100 * managed.throughput / max(unmanaged.throughput, 0.1))],
        ['UDP there and back, managed pair', '%.0f us, unmanaged %.0f' % (
            managed.latency, unmanaged.latency)]]
    return table(['measured', ''], rows)


def _shown(one: Measured) -> str:
    if len(one.values) == 1:
        return '%.0f %s' % (one.values[0], one.unit)
    return '%.0f %s (median of %d; %.0f to %.0f)' % (
        median(one.values), one.unit, len(one.values), min(one.values), max(one.values))
