"""`xsisolate metrics`: what this host does, for Prometheus."""
import argparse
import os
import sys
from typing import Any

from xsisolate.cli.command import add_command, open_dom0
from xsisolate.diagnostics.metrics import format_metrics, read_metrics
from xsisolate.dom0.linux.atomic_file import put_file
from xsisolate.errors import EXIT_DONE, UsageError

EXAMPLES = '''
examples:
  xsisolate metrics                       OpenMetrics' text
  xsisolate metrics --write /var/lib/node_exporter/xsisolate.prom
                                          the older text, for node_exporter's textfile collector
  systemctl enable --now xsisolate-metrics.timer
                                          write it every minute; off by default
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'metrics', 'print metrics for Prometheus: frames, refusals, modes, flows, hooks',
        "Print this host's metrics as OpenMetrics' text. Labels hold a VM's uuid and name and the "
        'device, and no address.', EXAMPLES)
    parser.add_argument('--write', metavar='FILE', default='',
                        help="write a file for node_exporter's textfile collector, as a whole")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.write and not arguments.write.endswith('.prom'):
        raise UsageError('--write %.80r: node_exporter reads only files whose names end in .prom'
                         % arguments.write)
    with open_dom0() as dom0:
        samples = read_metrics(dom0)
    if arguments.write:
        put_file(os.path.abspath(arguments.write), format_metrics(samples, openmetrics=False),
                 inside=True)
    else:
        write_text(format_metrics(samples))
    return EXIT_DONE


def write_text(text: str) -> None:
    """Print text in UTF-8, whatever the locale is: OpenMetrics has no other encoding."""
    sys.stdout.flush()
    binary = getattr(sys.stdout, 'buffer', None)
    if binary is None:
        sys.stdout.write(text)
    else:
        binary.write(text.encode('utf-8'))
        binary.flush()
