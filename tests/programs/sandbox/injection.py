"""Hooks that die, or stand still, at a call of the test's choice; see injector.py."""
import os
import signal
from contextlib import contextmanager
from typing import Iterator, List, Union

from sandbox.hooks import Call, HookRun, Hooks, Running
from sandbox.process import LabError, wait_until

INJECTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'injector.py')
STOP_S = 20


def start(hooks: Hooks, call: Call, order: str) -> Running:
    """Begin a hook's call with an order for the injector."""
    *interpreter, path = hooks.start_of(call.hook)
    return Running(call.hook, interpreter + [INJECTOR, order, path] + list(call.args),
                   call.environment)


def list_calls(hooks: Hooks, call: Call, log: str = '/run/injector.log') -> List[str]:
    """Make a hook's call in peace and return its calls to the world, in order."""
    if os.path.exists(log):
        os.unlink(log)
    result = hooks.wait(start(hooks, call, 'list:' + log))[0]
    if result.code:
        raise LabError('%s: exit %d: %s' % (call.hook, result.code, result.stderr))
    with open(log, encoding='utf-8') as file:
        return file.read().splitlines()


def hurried(hooks: Hooks, call: Call, setting: str) -> Running:
    """Begin a hook's call with another deadline, such as `hooks.plug.LOCK_DEADLINE_S=2`."""
    return start(hooks, call, 'set:' + setting)


def killed_at(hooks: Hooks, call: Call, number: int) -> HookRun:
    """Make a hook's call, and kill it instead of one of its calls; code 0: it had fewer."""
    return hooks.wait(start(hooks, call, 'kill:%d' % number))[0]


@contextmanager
def stopped_at(hooks: Hooks, call: Call, where: Union[int, str]) -> Iterator[Running]:
    """Hold a hook before one of its calls; it goes on when the block ends.

    A call that has these words in its line must come; one of a high number need not.
    """
    running = start(hooks, call, 'stop:%s' % where)
    try:
        wait_until(lambda: running.is_done() or running.state() == 'T', 'the hook to stop', STOP_S)
        if isinstance(where, str) and running.is_done():
            raise LabError('%s ended without a call of %r' % (call.hook, where))
        yield running
    finally:
        running.signal(signal.SIGCONT)
