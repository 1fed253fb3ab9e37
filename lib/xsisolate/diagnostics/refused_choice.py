"""Which of what was refused is wanted: of which time, and by which policies."""
from xsisolate.errors import UsageError

UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}
PERMISSIVE, ENFORCED = 'permissive', 'enforced'     # policies that let it pass, that did not


def parse_since(text: str) -> float:
    """Return the seconds that `90s`, `10m`, `2h` or `1d` means; nothing: 0, which is all there is.

    >>> parse_since('10m')
    600.0
    """
    if not text:
        return 0.0
    unit = UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdigit() or not 0 < int(text[:-1]) * unit <= 31 * 86400:
        raise UsageError('--since %.20r: expected a time such as 90s, 10m, 2h or 1d' % text)
    return float(int(text[:-1]) * unit)


def parse_only(text: str) -> str:
    """Return which policies' refusals are wanted, as a caller of the plugin has said it."""
    if text not in ('', PERMISSIVE, ENFORCED):
        raise UsageError('only %.20r: expected %s or %s' % (text, PERMISSIVE, ENFORCED))
    return text


def is_wanted(passed: bool, only: str) -> bool:
    """Tell whether refusals are wanted that have passed, or that have not."""
    return only in ('', PERMISSIVE if passed else ENFORCED)
