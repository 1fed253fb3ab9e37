"""One result of an examination."""
from typing import Any, Dict, NamedTuple, Tuple

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


class Examination(NamedTuple):
    """What another host's doctor has said."""

    findings: Tuple[Finding, ...]
    code: int               # its exit code


def parse_examination(reply: Any) -> Examination:
    """Return another host's findings; raise ValueError if they cannot be read."""
    try:
        findings = tuple(Finding(str(one['what']), str(one['state']), str(one['found']),
                                 str(one['expected'] or ''), str(one['do'] or ''))
                         for one in reply['findings'])
        strange = [one.state for one in findings if one.state not in (OK, WARNING, PROBLEM)]
        if strange or type(reply['code']) is not int:
            raise ValueError('neither ok, warning nor problem, or code is not a number: %.60r'
                             % (strange[:1] or [reply['code']]))
        return Examination(findings, reply['code'])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None


def ok(what: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(what, OK, found)


def warning(what: str, found: str, expected: str, advice: str) -> Finding:
    """Return what an admin should know, and can live with."""
    return Finding(what, WARNING, found, expected, advice)


def problem(what: str, found: str, expected: str, advice: str, code: int = EXIT_HOST) -> Finding:
    """Return what must be mended."""
    return Finding(what, PROBLEM, found, expected, advice, code)
