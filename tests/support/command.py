"""How tests run the command, in this process, and what they look at."""
import io
import json
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, Iterator, List, NamedTuple, Optional

from xsisolate import cli
from xsisolate.cli.command import open_dom0
from xsisolate.dataplane.context import HostContext

DONE, FAILED, USAGE, BROKEN, DIFFERENT = range(5)


class Outcome(NamedTuple):
    """What the command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> List[str]:
        """What it printed, line by line."""
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def xsisolate(*arguments: str, code: Optional[int] = DONE) -> Outcome:
    """Run the command; check its exit code (None: any), and that it never shows a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            result = cli.main(list(arguments))
        except SystemExit as end:       # argparse
            result = end.code if isinstance(end.code, int) else 1
    outcome = Outcome(result, out.getvalue(), err.getvalue())
    assert code in (outcome.code, None) and 'Traceback' not in outcome.err, outcome
    return outcome


@contextmanager
def connected() -> Iterator[HostContext]:
    """Connect to the sandbox as commands do."""
    with open_dom0() as dom0:
        yield dom0
