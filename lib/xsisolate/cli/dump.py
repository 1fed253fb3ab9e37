"""`xsisolate dump`: our flows in words, item by item."""
import argparse
from typing import Any, List, Tuple

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import Progress, paint, printable, say, say_json
from xsisolate.dataplane.resync import choose_bridges
from xsisolate.diagnostics.flow_dump import BridgeDump, describe, lines, read_dump
from xsisolate.diagnostics.inventory import Inventory, VifView, read_inventory
from xsisolate.diagnostics.vm_lookup import find_vm
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, UsageError

EXAMPLES = '''
examples:
  xsisolate dump                      all bridges of this host
  xsisolate dump xenbr0               one bridge, or the bridge that carries a network
  xsisolate dump red1                 what the VM red1 needs, without what every VIF shares
  xsisolate dump xenbr0 red1          of its VIFs those on that bridge

Each flow is shown in words, and below as ovs-ofctl takes it. The words are those of
docs/pipeline.md: stages in place of table numbers, flags in place of the bits of reg15, party,
owner_mac, party_mac, peers and network in place of registers. What an item's title says is what its
header on the switch says. Exit code 4: an item's flows are not those of which its header tells, or
no header tells of a flow.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'dump', 'print our flows in words: stages, flags, groups, VMs',
        'Print the flows of ours that bridges carry, by the item that each belongs to, in words '
        'and as the switch has them.', EXAMPLES, 'the flows')
    parser.add_argument('bridge', metavar='BRIDGE', nargs='?', default='', type=text_of,
                        help='only the bridge that carries this network')
    parser.add_argument('vm', metavar='VM', nargs='?', default='', type=text_of,
                        help='only what this VM needs: ' + VM_HELP)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    bridge, vm = arguments.bridge, arguments.vm
    with open_dom0() as dom0, Progress('looking at VIFs') as progress:
        inventory = read_inventory(dom0, progress.step)
        if bridge and not vm and dom0.ovsdb.find_parent(bridge) is None:
            bridge, vm = '', bridge         # the only word names a VM
        names = choose_bridges(dom0, bridge)
    dumps = [read_dump(inventory, name, views) for name, views in choose(inventory, names, vm)]
    if arguments.json:
        say_json(describe(dumps))
    else:
        show(dumps)
    intact = all(item.intact for dump in dumps for item in dump.items)
    return EXIT_DONE if intact and not any(dump.strays for dump in dumps) else EXIT_DIFFERENT


def choose(inventory: Inventory, names: List[str],
           vm: str) -> List[Tuple[str, Tuple[VifView, ...]]]:
    """Return the bridges to dump, each with a VM's VIFs on it; raise UsageError if it has none."""
    if not vm:
        return [(name, ()) for name in names]
    views = find_vm(inventory, vm)
    found = [(name, tuple(view for view in views if view.bridge == name)) for name in names]
    chosen = [(name, here) for name, here in found if here]
    if not chosen:
        raise UsageError('VM %s has no VIF on %s: its VIFs are on %s' % (
            printable(vm), ', '.join(names) or 'a bridge of Open vSwitch',
            ', '.join(sorted({view.bridge or 'no bridge' for view in views}))))
    return chosen


def show(dumps: List[BridgeDump]) -> None:
    """Print dumps; the lines that tell of a difference stand out."""
    for number, dump in enumerate(dumps):
        if number:
            say('')
        for line in lines(dump):
            text = printable(line)
            say(paint(text, 'bad') if 'NOT THOSE' in line else text if line.startswith(' ')
                else paint(text, 'bold'))
