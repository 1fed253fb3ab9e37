"""One result of an examination."""
from typing import Any, Dict, NamedTuple

from xsisolate.errors import EXIT_HOST

OK, WARNING, PROBLEM = 'ok', 'warning', 'problem'


class Finding(NamedTuple):
    """What was looked at, what was found and expected, and what to do."""

    what: str
    state: str              # ok, warning or problem
    found: str
    expected: str = ''
    advice: str = ''
    code: int = EXIT_HOST   # exit code, where it is a problem

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        return {'what': self.what, 'state': self.state, 'found': self.found,
                'expected': self.expected or None, 'do': self.advice or None}


def ok(what: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(what, OK, found)


def warning(what: str, found: str, expected: str, advice: str) -> Finding:
    """Return what an admin should know, and can live with."""
    return Finding(what, WARNING, found, expected, advice)


def problem(what: str, found: str, expected: str, advice: str, code: int = EXIT_HOST) -> Finding:
    """Return what must be mended."""
    return Finding(what, PROBLEM, found, expected, advice, code)
