"""The two hooks' common door: to the server that waits for calls, or to the hook itself."""
import os

from xsisolate.hints import Sequence
from xsisolate.hookclient import ask_server

HANDED_BACK = '/run/xsisolate/handed-back'      # by `xsisolate deactivate`, see takeover.py


def main(argv: Sequence[str]) -> int:
    """Have the hook run that `argv` names; return its exit code."""
    if len(argv) > 1 and os.path.exists(os.environ.get('XSISOLATE_ROOT', '') + HANDED_BACK):
        from xsisolate.handback import run_stock
        run_stock(argv)
    code = ask_server(argv)
    if code is None:
        from xsisolate.hookcall import run      # what the server has saved us
        code = run(argv)
    return code
