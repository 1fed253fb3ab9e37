"""Two pictures of a network in SVG: its sets of VIFs with arcs, and every pair as a grid.

Shapes say what colours say: full squares and solid lines for everything, striped
squares and dashed lines for some services only, dots for what passes and would be refused, for
a VIF is permissive. Colours come from the page.
"""
from typing import Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from xsisolate.diagnostics.matrix import NetworkMatrix, title, words
from xsisolate.policy.admission import EVERYTHING
from xsisolate.policy.model import Mode
from xsisolate.policy.reachability import Alike, Services

ROW, LABEL, ARC_GAP, WIDEST_ARC = 24, 480, 22, 420
LABEL_CHARS = 62
ARCS_MAX = 150                  # sets; beyond that only the grid can be read
GRID, GRID_LABEL = 900, 210     # side of the grid and room for its labels, in SVG's units
CELL_MAX, LABELLED = 26, 11     # units: the largest cell, the smallest that gets a label
LINE_EVERY = 5                  # smaller sets have no lines around them
NAMES_SHOWN = 3
NAME_CHARS, CHAR = 26, 7         # of a label; and how wide a character is at most, about

Escape = Callable[[str], str]   # of a text for HTML; a guest or user may choose a name


def shorten(text: str, limit: int) -> str:
    """Return text of at most so many characters."""
    return text if len(text) <= limit else text[:limit - 1] + '\u2026'


def anchor(number: int, at: int) -> str:
    """Return the page's name for a network's set."""
    return 'n%ds%d' % (number, at + 1)


def set_title(network: NetworkMatrix, at: int) -> str:
    """Return a set's line: its number, what it is, and the VIFs in it."""
    alike = network.sets[at]
    names = [network.views[member].vm_name or network.views[member].name
             for member in alike.members[:NAMES_SHOWN]]
    count = ' (%d)' % len(alike.members) if len(alike.members) > 1 else ''
    more = ', \u2026' if len(alike.members) > len(names) else ''
    return '%d \u00b7 %s%s: %s%s' % (at + 1, title(network, alike), count, ', '.join(names), more)


# --- arcs ----------------------------------------------------------------------------------


def draw_arcs(network: NetworkMatrix, number: int, escape: Escape) -> str:
    """Return the sets as rows, and an arc between each two that may talk."""
    top = ROW * 2
    pairs = [(at, other, services) for at, alike in enumerate(network.sets)
             for other, services in alike.reaches if other > at]
    reach = max([other - at for at, other, _ in pairs], default=1)
    height = top + ROW * len(network.sets) + 8
    parts = [
        '<svg class="arcs" viewBox="0 0 %d %d" width="%d" role="img" aria-labelledby="a%d">' % (
            LABEL + ARC_GAP + WIDEST_ARC + 30, height, LABEL + ARC_GAP + WIDEST_ARC + 30, number),
        '<title id="a%d">Sets of VIFs on %s, and which may talk to which</title>' % (
            number, escape(network.place.name))]
    for at, other, services in pairs:
        parts.append(_arc(network, top, at, other, services, reach, escape))
    for at, alike in enumerate(network.sets):
        parts += _row(network, number, top, at, alike, escape)
    parts.append('<text class="axis" x="%d" y="%d" text-anchor="end">outside</text>' % (
        LABEL - 22, ROW))
    parts.append('<text class="axis" x="%d" y="%d" text-anchor="middle">\u2193</text>' % (
        LABEL - 8, ROW))
    return '\n'.join(parts + ['</svg>'])


def _row(network: NetworkMatrix, number: int, top: int, at: int, alike: Alike,
         escape: Escape) -> Iterator[str]:
    y = top + ROW * at + ROW // 2
    first = alike.members[0]
    among, less = dict(alike.reaches).get(at, frozenset()), dict(alike.would).get(at)
    out, less_out = network.outside[first], network.less_outside(first)
    text = set_title(network, at)
    yield '<a href="#%s"><title>%s</title>' % (anchor(number, at), escape(
        '%s. Among each other: %s. Outside: %s' % (text, _say(among, less), _say(out, less_out))))
    yield '<text class="row" x="%d" y="%d" text-anchor="end">%s</text></a>' % (
        LABEL - 22, y + 4, escape(shorten(text, LABEL_CHARS)))
    yield _mark(LABEL - 8, y, out, 'out' + _passed(less_out))
    if alike.mode > Mode.ISOLATED:
        yield '<path class="closed" d="M%d %dl10 10m0 -10l-10 10"/>' % (LABEL + 5, y - 5)
    elif len(alike.members) > 1:
        yield _mark(LABEL + 10, y, among, 'in' + _passed(less))
    else:
        yield '<circle class="alone" cx="%d" cy="%d" r="3"/>' % (LABEL + 10, y)


def _mark(x: int, y: int, services: Services, kind: str) -> str:
    """Return a square: full, striped or empty."""
    return '<rect class="mark %s %s" x="%d" y="%d" width="10" height="10"/>' % (
        kind, _kind(services), x - 5, y - 5)


def _arc(network: NetworkMatrix, top: int, at: int, other: int, services: Services, reach: int,
         escape: Escape) -> str:
    first, last = (top + ROW * row + ROW // 2 for row in (at, other))
    x = LABEL + ARC_GAP
    # A Bezier curve comes to three quarters of where its handles are.
    step = min(ROW, WIDEST_ARC / reach)
    bulge = x + (ROW + step * (other - at)) * 4 // 3
    less = dict(network.sets[at].would).get(other)
    told = '%s and %s: %s' % (set_title(network, at), set_title(network, other),
                              _say(services, less))
    return '<path class="arc %s" d="M%d %dC%d %d %d %d %d %d"><title>%s</title></path>' % (
        _kind(services) + _passed(less), x, first, bulge, first, bulge, last, x, last, escape(told))


def _kind(services: Services) -> str:
    return 'all' if EVERYTHING in services else 'some' if services else 'none'


def _passed(would: Optional[Services]) -> str:
    """Return the class of what passes and would be refused, all or some of it."""
    return '' if would is None else ' would'


def _say(services: Services, would: Optional[Services] = None) -> str:
    return (', '.join(words(services)) or 'nothing') + (
        '' if would is None else '; would be %s, were no VIF permissive' % _say(would))


# --- grid ----------------------------------------------------------------------------------


def draw_grid(network: NetworkMatrix, number: int, escape: Escape) -> str:
    """Return every pair of VIFs as a cell of a grid, blocks of equal cells in one piece."""
    count = len(network.views)
    cell = min(CELL_MAX, GRID / count)
    side = cell * count
    longest = max(len(shorten(view.vm_name or view.name, NAME_CHARS)) for view in network.views)
    head = CHAR * longest + 20 if _labels_every(cell) else 40
    parts = [
        '<svg class="grid" viewBox="0 0 %.0f %.0f" width="%.0f" role="img" '
        'aria-labelledby="g%d">' % (GRID_LABEL + side + 4, head + side + 4,
                                    GRID_LABEL + side + 4, number),
        '<title id="g%d">Every pair of %d VIFs on %s: may the row\'s reach the column\'s?</title>'
        % (number, count, escape(network.place.name)),
        '<g transform="translate(%d %d)">' % (GRID_LABEL, head),
        '<rect class="paper" width="%.2f" height="%.2f"/>' % (side, side)]
    blocks = _blocks(network)
    for kind in ('all', 'some', 'would'):
        path = ''.join('M%.2f %.2fh%.2fv%.2fh-%.2fz' % (
            left * cell, top * cell, wide * cell, high * cell, wide * cell)
            for block_kind, top, left, high, wide in blocks if block_kind == kind)
        if path:
            parts.append('<path class="cells %s" d="%s"/>' % (kind, path))
    parts.append('<path class="lines" d="%s"/>' % ''.join(_lines(network, cell, side)))
    parts.append('<path class="self" d="M0 0L%.2f %.2f"/>' % (side, side))
    parts += _rings(network, network.refused, cell, ('refused', 'refused'), escape)
    parts += _rings(network, network.passed, cell,
                    ('refused passed', 'passed and would be refused'), escape)
    parts += _labels(network, number, cell, escape)
    return '\n'.join(parts + ['</g></svg>'])


def _rings(network: NetworkMatrix, counts: Sequence[Mapping[int, int]], cell: float,
           what: Tuple[str, str], escape: Escape) -> Iterator[str]:
    """Yield a ring on each pair of which frames were refused, or would be, in the last hour."""
    names = [escape(shorten(view.vm_name or view.name, NAME_CHARS)) for view in network.views]
    for at, others in enumerate(counts):
        for other, frames in sorted(others.items()):
            yield ('<circle class="%s" cx="%.2f" cy="%.2f" r="%.2f"><title>%s to %s: %d '
                   '%s in the last hour</title></circle>' % (
                       what[0], (other + 0.5) * cell, (at + 0.5) * cell, max(cell * 0.3, 1.2),
                       names[at], names[other], frames, what[1]))


def _labels_every(cell: float) -> bool:
    return cell >= LABELLED


def _blocks(network: NetworkMatrix) -> List[Tuple[str, int, int, int, int]]:
    """Return (kind, first row, first column, rows, columns) of all cells that are not empty."""
    found = []
    for alike in network.sets:
        kinds = [(_kind(services), other) for other, services in alike.reaches]
        for kind, other in kinds + [('would', other) for other, _ in alike.would]:
            there = network.sets[other].members
            found.append((kind, alike.members[0], there[0], len(alike.members), len(there)))
    return found


def _lines(network: NetworkMatrix, cell: float, side: float) -> Iterator[str]:
    """Yield the lines between sets, or between VIFs where there is room for them."""
    count = len(network.views)
    places = range(count + 1) if _labels_every(cell) else [0, count] + [
        edge for alike in network.sets if len(alike.members) * cell >= LINE_EVERY
        for edge in (alike.members[0], alike.members[-1] + 1)]
    for place in sorted(set(places)):
        yield 'M0 %.2fh%.2fM%.2f 0v%.2f' % (place * cell, side, place * cell, side)


def _labels(network: NetworkMatrix, number: int, cell: float, escape: Escape) -> Iterator[str]:
    """Yield names: of every VIF if there is room, else of the sets that are large enough."""
    for at, alike in enumerate(network.sets):
        link = '<a href="#%s">' % anchor(number, at)
        if _labels_every(cell):
            for member in alike.members:
                view = network.views[member]
                name = escape(shorten(view.vm_name or view.name, NAME_CHARS))
                middle = (member + 0.5) * cell
                yield '%s<text x="-8" y="%.1f" text-anchor="end">%s</text></a>' % (
                    link, middle + 4, name)
                yield '<text transform="translate(%.1f -8)rotate(-90)">%s</text>' % (
                    middle + 4, name)
        elif cell * len(alike.members) >= LABELLED:
            middle = (alike.members[0] + len(alike.members) / 2) * cell
            text = shorten('%d \u00b7 %s (%d)' % (
                at + 1, title(network, alike), len(alike.members)), 30)
            yield '%s<text x="-8" y="%.1f" text-anchor="end">%s</text></a>' % (
                link, middle + 4, escape(text))
            yield '<text x="%.1f" y="-8" text-anchor="middle">%d</text>' % (middle, at + 1)


def count_kinds(network: NetworkMatrix) -> Mapping[str, int]:
    """Return how many pairs of different VIFs may say everything, some things, nothing."""
    counts = {'all': 0, 'some': 0, 'none': 0}
    for at, row in enumerate(network.links):
        for other in range(at):
            counts[_kind(row.get(other, frozenset()))] += 1
    return counts
