"""What `xsisolate pool activate` and `deactivate` ask of a host's plugin, and what that answers."""
from typing import Any, Dict, NamedTuple, Tuple

ACTIVATE, DEACTIVATE = 'activate', 'deactivate'


class HookChange(NamedTuple):
    """What a host would do, or has done, until its hooks are ours, or are not."""

    release: str
    steps: Tuple[str, ...]          # in words
    problems: Tuple[str, ...]       # why it may not be done now
    cut_off: Tuple[str, ...]        # VIFs that would be in quarantine, and why
    lost: Tuple[str, ...]           # tasks that a restart of the toolstack would end
    danger: str                     # why the toolstack must not be restarted; '' if it may be
    needs_restart: bool             # the xenopsd that runs will call other hooks until then

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in self._asdict().items()}


def parse_change(reply: Any) -> HookChange:
    """Return a plugin's answer; raise ValueError if it cannot be read."""
    try:
        values: Any = {name: tuple(reply[name]) if isinstance(reply[name], list) else reply[name]
                       for name in HookChange._fields}
        found = HookChange(**values)
        lists = found.steps, found.problems, found.cut_off, found.lost
        if not all(isinstance(one, tuple) for one in lists) or not all(
                isinstance(text, str) for one in lists for text in one):
            raise ValueError('steps, problems, cut_off, lost: not lists of texts')
        if not isinstance(found.release, str) or not isinstance(found.danger, str) or (
                type(found.needs_restart) is not bool):
            raise ValueError('release, danger, needs_restart: not of their types')
    except (KeyError, TypeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None
    return found
