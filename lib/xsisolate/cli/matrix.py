"""`xsisolate matrix`: who may reach whom, as a table, as JSON, or as a page with pictures."""
import argparse
import errno
import os
import sys
from contextlib import suppress
from typing import Any, Iterator, List, Optional, Sequence

from xsisolate.cli.command import add_command, open_dom0
from xsisolate.cli.output import (Cell, Progress, counted, cut, paint, printable, say, say_json,
                                  screen_width, table, width)
from xsisolate.diagnostics.explain import read_hostname
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.matrix import Matrix, NetworkMatrix, describe, read_matrix, title, words
from xsisolate.diagnostics.matrix_page import make_page
from xsisolate.diagnostics.matrix_refusals import with_refusals
from xsisolate.diagnostics.permissive import list_permissive
from xsisolate.diagnostics.status import exit_code, find_warnings, look_twice
from xsisolate.errors import HostError
from xsisolate.policy.admission import EVERYTHING
from xsisolate.policy.model import IN, OUT
from xsisolate.policy.reachability import Alike, Services
from xsisolate.policy.seal import PORTABLE_WORD

EXAMPLES = '''
examples:
  xsisolate matrix                        a grid per network; sets of VIFs where that is too wide
  xsisolate matrix --html matrix.html     one page with pictures; needs no network and no script
  xsisolate matrix --json | jq '.networks[].vifs[] | {name, reaches}'

It shows what policies say. Exit codes: 3 the configuration is broken, 4 the switch does not carry
it. `xsisolate explain` also asks the switch, of one pair. An unmanaged VM counts by the addresses
that its guest reports through the guest tools. What a permissive VIF lets pass is shown as what
passes, with a ~ or + where policies would refuse all or some of it.
'''
PIPE_WIDTH = 132        # where stdout is not a terminal
ALL, SOME, NOTHING, SELF = '#', 's', '.', '-'
ONLY = {OUT: '>', IN: '<'}      # only the row's VIF may begin, or only the column's
REFUSED = {SOME: '%', NOTHING: '!'}      # and something was refused in the last hour
ALL_OF_IT, SOME_OF_IT = '~', '+'        # of what passes would be refused: a VIF is permissive
NAMES_SHOWN = 8
NAME_WIDTH = 28


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'matrix', 'show who may reach whom on this host, as policies say',
        'Show which VIFs of this host may reach which, by which services, and which go outside.',
        EXAMPLES, 'the matrix')
    parser.add_argument('--html', metavar='FILE', default='',
                        help='write it as one self-contained page; - is stdout')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    with open_dom0() as dom0, Progress('looking at VIFs') as progress:
        inventory = look_twice(dom0, progress.step)
        inventory.check_known()
        matrix = with_refusals(read_matrix(inventory, dom0.store, find_warnings(inventory),
                                           progress.step))
    if arguments.html:
        write_page(arguments.html, make_page(matrix, read_hostname()))
    if arguments.json:
        say_json(describe(matrix))
    elif not arguments.html:
        say(*lines(matrix))
    return exit_code(inventory)


def write_page(path: str, page: str) -> None:
    """Write the page, as a whole or not at all."""
    data = page.encode('utf-8')
    if path == '-':
        sys.stdout.buffer.write(data)
        return
    partial = '%s.%d' % (path, os.getpid())
    try:
        # In a folder that others may write to, this file must be none of theirs.
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(number, 'wb') as file:
            file.write(data)
        os.rename(partial, path)
    except OSError as error:
        if error.errno != errno.EEXIST:
            with suppress(OSError):
                os.unlink(partial)
        raise HostError('%s cannot be written: %s' % (printable(path), error.strerror)) from error


def lines(matrix: Matrix, where: str = 'this host') -> Iterator[str]:
    """Yield the matrix as text."""
    for warning in matrix.warnings:
        yield paint('! ' + printable(warning), 'warn')
    if not matrix.networks:
        yield 'no VIF on any network of ' + where
    for network in matrix.networks:
        yield paint('network %s: %d VIFs' % (network.place.name, len(network.views)), 'bold')
        room = screen_width() or PIPE_WIDTH
        grid = list(grid_lines(network))
        yield from grid if max(map(width, grid)) <= room else table(
            ('SET', 'WHAT', 'VIFS', 'MEMBERS', 'AMONG EACH OTHER', 'REACHES', 'OUTSIDE'),
            [set_row(network, at, alike) for at, alike in enumerate(network.sets)],
            screen_width())
        yield from permissive_lines(network)
        yield from portable_lines(network)
        yield from refused_lines(network)
    for view in matrix.homeless:
        yield '%s %s: %s' % (view.name, printable(view.vm_name), paint(
            printable(view.error), 'bad') if view.unprotected else
            'on no network: ' + printable(view.error))


def grid_lines(network: NetworkMatrix) -> Iterator[str]:
    """Yield every pair as a letter, and what the letters mean."""
    count = len(network.views)
    size = len(str(count))
    names = [cut(printable(view.vm_name) or view.name, NAME_WIDTH) for view in network.views]
    longest = max(map(width, names))
    head = ' '.join('%*d' % (size, at + 1) for at in range(count))
    yield '  %s  %s  %s' % (' ' * (longest + size + 1), head, 'outside')
    for at, name in enumerate(names):
        cells = [SELF if at == other else pair_letter(network, at, other)
                 for other in range(count)]
        yield '  %*d %s%s  %s  %s' % (
            size, at + 1, name, ' ' * (longest - width(name)),
            ' '.join(cell.rjust(size) for cell in cells), outside_letter(network, at))
    yield '  %s everything   %s some services (--json, explain)   %s nothing' % (ALL, SOME, NOTHING)
    if any(service.direction for found in (*network.outside, *(
            services for links in network.links for services in links.values()))
           for service in found):
        yield '  %s only the left one may begin   %s only the upper one' % (ONLY[OUT], ONLY[IN])
    if any(network.would) or network.outside != network.would_outside:
        yield '  %s passes and would be refused, a VIF is permissive   %s some of it would be' % (
            ALL_OF_IT, SOME_OF_IT)
    if any(network.refused):
        yield '  %s nothing, %s some services: and frames were refused in the last hour ' \
            '(xsisolate refused)' % (REFUSED[NOTHING], REFUSED[SOME])


def refused_lines(network: NetworkMatrix) -> Iterator[str]:
    """Yield how many pairs were refused something in the last hour."""
    pairs = sum(map(len, network.refused))
    if pairs:
        yield '  %s refused something in the last hour: xsisolate refused --since 1h' % counted(
            pairs, 'pair')
    pairs = sum(map(len, network.passed))
    if pairs:
        yield '  of %s frames passed in the last hour that would be refused: xsisolate refused ' \
            '--permissive --since 1h' % counted(pairs, 'pair')


def permissive_lines(network: NetworkMatrix) -> Iterator[str]:
    """Yield which VIFs no policy holds."""
    found = list_permissive(network.views)
    if found:
        yield paint('  permissive, so their policies protect nobody: ' + some_names(found), 'warn')


def some_names(views: Sequence[VifView]) -> str:
    """Return the first VMs' names."""
    names = [cut(printable(view.vm_name) or view.name, NAME_WIDTH) for view in views]
    return ' '.join(names[:NAMES_SHOWN]) + ' ...' * (len(names) > NAMES_SHOWN)


def portable_lines(network: NetworkMatrix) -> Iterator[str]:
    """Yield which VIFs have policies that every copy of their VM has."""
    found = [view for view in network.views if view.seal == PORTABLE_WORD]
    if found:
        yield '  portable seals, so every copy of the VM has the same policy: %s' % (
            some_names(found))


def pair_letter(network: NetworkMatrix, at: int, other: int) -> str:
    """Return the letter for a pair; what was refused is marked where not all may be said.

    Where a permissive VIF lets pass what policies refuse, that is more important.
    """
    if other in network.would[at]:
        return would_letter(network.would[at][other])
    found = letter(network.links[at].get(other, frozenset()))
    return REFUSED.get(found, found) if network.refusals(at, other) else found


def outside_letter(network: NetworkMatrix, at: int) -> str:
    """Return the letter for what a VIF and the outside may say."""
    less_than_passes = network.less_outside(at)
    return letter(network.outside[at]) if less_than_passes is None else would_letter(
        less_than_passes)


def would_letter(services: Services) -> str:
    """Return the letter for what passes, where policies would let less pass."""
    return SOME_OF_IT if services else ALL_OF_IT


def letter(services: Services) -> str:
    """Return the letter for what may be said."""
    if EVERYTHING in services:
        return ALL
    directions = {service.direction for service in services}
    return ONLY.get(directions.pop(), SOME) if len(directions) == 1 else (
        SOME if directions else NOTHING)


def set_row(network: NetworkMatrix, at: int, alike: Alike) -> List[Any]:
    """Return a set of VIFs as a row of a table."""
    first, would = alike.members[0], dict(alike.would)
    among = dict(alike.reaches).get(at, frozenset())
    reaches = ['%d%s%s' % (other + 1, '' if EVERYTHING in services else
                           ' (%s)' % ' '.join(words(services)), less(would.get(other)))
               for other, services in alike.reaches if other != at]
    return [at + 1, Cell(title(network, alike), 'bold'), len(alike.members),
            some_names([network.views[member] for member in alike.members]),
            said(among) + less(would.get(at)) if len(alike.members) > 1 else '-',
            ', '.join(reaches) or 'none',
            said(network.outside[first]) + less(network.less_outside(first))]


def said(services: Services) -> str:
    """Return services in words."""
    return ' '.join(words(services)) or 'nothing'


def less(would: Optional[Services]) -> str:
    """Return what would be left of what passes, were VIFs not permissive; None: all."""
    return '' if would is None else ' (would be %s)' % said(would)
