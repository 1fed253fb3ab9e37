"""The benchmark's table: what was measured, a row each; the same for JSON."""
from statistics import median
from typing import Any, Dict, NamedTuple, Optional, Sequence

HEAD = '%-44s %-7s %6s %9s %9s %9s %7s'
OTHER = '   %6s %9s %9s %9s %10s'


class Row(NamedTuple):
    """What was measured in one way, ours and that of `other`: the stock scripts, a plain switch."""

    title: str
    unit: str
    ours: Sequence[float]
    other: Sequence[float] = ()
    bare: Sequence[float] = ()      # the interpreter's starts in the same turns

    @property
    def starts(self) -> Optional[float]:
        """Ours in starts of the interpreter."""
        return median(self.ours) / median(self.bare) if self.bare else None


class Section(NamedTuple):
    """Rows that were measured together; `other` and `ratio` say what ours are compared with."""

    title: str
    rows: Sequence[Row]
    other: str = 'stock'
    ratio: str = 'stock/ours'

    def ratio_of(self, row: Row) -> Optional[float]:
        """Compare the medians; none where there is nothing to compare with."""
        if not row.other:
            return None
        names = {'ours': median(row.ours), self.other: median(row.other)}
        above, below = (names[name] for name in self.ratio.split('/'))
        return above / below if below else None


def text_of(section: Section) -> str:
    """Return a section as lines of text."""
    lines = [HEAD % (section.title, '', 'rounds', 'median', 'least', 'most', 'starts')
             + OTHER % ('rounds', section.other, 'least', 'most', section.ratio)]
    for row in section.rows:
        line = HEAD % (('  ' + row.title, row.unit) + _figures(row.ours) + (
            _number(row.starts, '%.1f'),))
        if row.other:
            line += OTHER % (_figures(row.other) + (_number(section.ratio_of(row), '%.2f'),))
        lines.append(line)
    return '\n'.join(lines)


def json_of(section: Section) -> Dict[str, Any]:
    """Return a section for JSON."""
    return {'title': section.title, 'other': section.other, 'ratio': section.ratio, 'rows': [
        {'title': row.title, 'unit': row.unit, 'ours': _summary(row.ours),
         'interpreter starts': row.starts, 'other': _summary(row.other) if row.other else None,
         'ratio': section.ratio_of(row)} for row in section.rows]}


def _figures(values: Sequence[float]) -> Any:
    return (len(values),) + tuple(_number(one, '%.4g' if one < 1000 else '%.0f')
                                  for one in (median(values), min(values), max(values)))


def _number(value: Optional[float], form: str) -> str:
    return '' if value is None else form % value


def _summary(values: Sequence[float]) -> Dict[str, Any]:
    return {'median': median(values), 'least': min(values), 'most': max(values),
            'values': list(values)}
