"""What a hook says: the lines that it writes, and the one line that counts."""
import re
from typing import List

from sandbox.hooks import HookRun

UNSEALED = ': unsealed '


def lines(result: HookRun) -> List[str]:
    """Return the lines a hook wrote, less the warning that vm-data is trusted."""
    text = result.stdout + result.stderr
    assert 'Traceback' not in text, text
    return [line for line in text.splitlines() if UNSEALED not in line]


def the_line(result: HookRun, *words: str) -> str:
    """Return the only line a hook wrote, which has these words in it."""
    said = lines(result)
    assert len(said) == 1, said
    missing = [word for word in words if word not in said[0]]
    assert not missing, (missing, said[0])
    return said[0]


def changes(result: HookRun) -> str:
    """Return how many flows a hook says it added and deleted, as '3 0'."""
    found = re.search(r' added=(\d+) deleted=(\d+)', result.stderr)
    assert found, result
    return ' '.join(found.groups())
