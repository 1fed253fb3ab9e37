"""Plots as SVG, without a library: lines over a logarithmic or linear axis."""
from math import log10
from typing import List, Mapping, Sequence, Tuple

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 700, 360, 64, 48, 40, 260
COLOURS = ('#1f6feb', '#2da44e', '#8250df', '#cf222e', '#9a6700', '#57606a', '#1b7c83', '#bf3989')
Line = Sequence[Tuple[float, float]]


def draw(title: str, x_title: str, lines: Mapping[str, Line]) -> str:
    """Return a plot of times in ms, both axes logarithmic; an x of 0 is drawn as 1."""
    points = [(max(x, 1.0), y) for line in lines.values() for x, y in line]
    x_range = _decades([x for x, _ in points])
    y_range = _decades([y for _, y in points])

    def place(x: float, y: float) -> Tuple[float, float]:
        across = (log10(max(x, 1.0)) - x_range[0]) / (x_range[1] - x_range[0])
        up = (log10(y) - y_range[0]) / (y_range[1] - y_range[0])
        return (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - BOTTOM - TOP))

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" '
             'font-size="12">' % (WIDTH, HEIGHT), '<rect width="100%" height="100%" fill="white"/>',
             '<text x="%d" y="20" font-size="14">%s</text>' % (LEFT, title),
             '<text x="%d" y="%d">%s</text>' % (LEFT, HEIGHT - 10, x_title)]
    parts += _grid(place, x_range, y_range)
    for number, (label, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        where = ['%.1f,%.1f' % place(x, y) for x, y in line]
        parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                     % (colour, ' '.join(where)))
        parts += ['<circle r="3" fill="%s" cx="%s" cy="%s"/>' % (colour, *spot.split(','))
                  for spot in where]
        parts.append('<text x="%d" y="%d" fill="%s">%s</text>' % (
            WIDTH - RIGHT + 12, TOP + 18 * number + 10, colour, label))
    return '\n'.join(parts + ['</svg>']) + '\n'


def _decades(values: Sequence[float]) -> Tuple[int, int]:
    low, high = log10(min(values)), log10(max(values))
    least = int(low // 1)
    return least, max(int(-(-high // 1)), least + 1)


def _grid(place: object, x_range: Tuple[int, int], y_range: Tuple[int, int]) -> List[str]:
    assert callable(place)
    lines: List[str] = []
    for power in range(x_range[0], x_range[1] + 1):
        x, bottom = place(10.0 ** power, 10.0 ** y_range[0])
        lines.append('<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%d" stroke="#d0d7de"/>'
                     '<text x="%.1f" y="%.1f">%d</text>'
                     % (x, x, bottom, TOP, x - 4, bottom + 16, 10 ** power))
    for power in range(y_range[0], y_range[1] + 1):
        left, y = place(10.0 ** x_range[0], 10.0 ** power)
        lines.append('<line x1="%.1f" x2="%d" y1="%.1f" y2="%.1f" stroke="#d0d7de"/>'
                     '<text x="8" y="%.1f">%d ms</text>'
                     % (left, WIDTH - RIGHT, y, y, y + 4, 10 ** power))
    return lines
