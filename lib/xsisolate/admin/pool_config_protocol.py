"""What `xsisolate pool config` asks of a host's plugin, and what that answers: both ends."""
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

SHOW, CHECK, PUSH, STATE = 'config_show', 'config_check', 'config_push', 'config_state'
CONFLICT = 'XSISOLATE_CONFLICT'     # the failure of a push that came second
REMARKS_MAX = 100

Remarks = Tuple[Tuple[int, str], ...]       # line, text


class Shown(NamedTuple):
    """The pool's configuration as a host reads it in XAPI; 0: there is none."""

    version: int
    packed: str                     # its text, as config/stored.py packs it
    previous: int
    previous_packed: str
    refused: Mapping[str, str]      # versions that do not count, and why

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return dict(self._asdict(), refused=dict(self.refused))


class Judged(NamedTuple):
    """What a host's release says of a configuration."""

    release: str
    errors: Remarks
    warnings: Remarks

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return self._asdict()


class HostState(NamedTuple):
    """What a host has of the pool's configuration."""

    taken: int              # the version that its file is; 0: none
    wanted: int             # the one that it has seen in XAPI
    digest: str             # of its file
    local: bool             # it keeps its own file
    error: str

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return self._asdict()


def parse_shown(reply: Any) -> Shown:
    """Return a plugin's answer to SHOW; raise ValueError."""
    found: Shown = _parse(Shown, reply, (int, str, int, str, dict))
    if not all(isinstance(text, str) for pair in found.refused.items() for text in pair):
        raise ValueError('refused: not texts')
    return found


def parse_judged(reply: Any) -> Judged:
    """Return a plugin's answer to CHECK; raise ValueError."""
    found: Judged = _parse(Judged, reply, (str, list, list))
    return found._replace(errors=_remarks(found.errors), warnings=_remarks(found.warnings))


def parse_state(reply: Any) -> HostState:
    """Return a plugin's answer to STATE; raise ValueError."""
    found: HostState = _parse(HostState, reply, (int, int, str, bool, str))
    return found


def _parse(kind: Any, reply: Any, types: Tuple[type, ...]) -> Any:
    try:
        values = [reply[field] for field in kind._fields]
    except (KeyError, TypeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None
    for field, value, wanted in zip(kind._fields, values, types):
        if type(value) is not wanted:
            raise ValueError('%s: not of type %s: %.40r' % (field, wanted.__name__, value))
    return kind(*values)


def _remarks(items: Any) -> Remarks:
    found: List[Tuple[int, str]] = []
    for item in items[:REMARKS_MAX]:
        try:
            line, text = item
        except (TypeError, ValueError):
            raise ValueError('not a remark: %.60r' % (item,)) from None
        if type(line) is not int or not isinstance(text, str):
            raise ValueError('not a remark: %.60r' % (item,))
        found.append((line, text))
    return tuple(found)
