"""Runs a hook, or the daemon, and ends or stops it at one of its calls to the world; or in a hurry.

    injector.py kill:17 HOOK ...    SIGKILL instead of the 17th call
    injector.py late:17 HOOK ...    the same, counted from SIGUSR2 on
    injector.py stop:17 HOOK ...    SIGSTOP before it: the test does something, then SIGCONT
    injector.py stop:WORDS HOOK ... SIGSTOP before the first call that has these words in the list
    injector.py list:FILE HOOK ...  write down every call: what is called, and from where
    injector.py set:dom0.ovs.flow_table.TIMEOUT_S=2 HOOK ...      with another value of a constant

The number of a call varies from run to run: a reply may come in one piece or in two.

The product has no line for this, and what is tested is what is shipped: calls are seen by
Python's own profiler, so none can be forgotten when the hooks change.
"""
import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

LIB = os.path.join(os.path.abspath(__file__).rsplit('/tests/', 1)[0], 'lib')
MODULES = ('fcntl', '_posixsubprocess', 'select', 'io', '_io')
TYPES = ('_socket', 'socket', '_io')    # of whose methods each is a call to the world
# posix functions that only compute
PURE = ('fspath', 'getpid', 'WIFSIGNALED', 'WIFEXITED', 'WIFSTOPPED', 'WEXITSTATUS', 'WTERMSIG',
        'WSTOPSIG', 'waitstatus_to_exitcode', 'register_at_fork', 'cpu_count', '_path_normpath',
        '_path_splitroot', '_path_splitroot_ex', 'get_terminal_size')


class Injector:
    """Counts calls, and does what it is told at one of them."""

    def __init__(self, order: str) -> None:
        word, _, argument = order.partition(':')
        self._signal = {'kill': signal.SIGKILL, 'late': signal.SIGKILL,
                        'stop': signal.SIGSTOP}.get(word, signal.SIGABRT)
        self._number = int(argument) if argument.isdigit() else 0
        self._words = '' if self._number or word == 'list' else argument
        self._log = -1 if word != 'list' else os.open(argument, os.O_WRONLY | os.O_CREAT
                                                      | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._count = 0
        if word == 'late':
            self._count = -sys.maxsize
            signal.signal(signal.SIGUSR2, self._begin)

    def _begin(self, *_: Any) -> None:
        self._count = 0

    def look(self, frame: FrameType, event: str, function: Any) -> None:
        """Be told of an event by the interpreter."""
        place = frame.f_code
        if event != 'c_call' or place.co_filename.startswith('<frozen') or not is_io(function):
            return      # an import is no step of the hook's
        self._count += 1
        line = '%s %s:%d' % (name_of(function), os.path.basename(place.co_filename),
                             frame.f_lineno)
        if self._log >= 0:
            os.write(self._log, (line + '\n').encode())
        elif self._count == self._number or self._words and self._words in line:
            self._words = ''
            os.kill(os.getpid(), self._signal)


def is_io(function: Any) -> bool:
    """Tell whether a built-in function reaches beyond the process."""
    module, owner = getattr(function, '__module__', None), getattr(function, '__self__', None)
    if module == 'posix':
        return function.__name__ not in PURE
    return (module in MODULES or name_of(function) == 'time.sleep'
            or type(owner).__module__ in TYPES)


def name_of(function: Any) -> str:
    """Return `posix.open`, `socket.recv`."""
    owner = getattr(function, '__self__', None)
    where = getattr(function, '__module__', None) or type(owner).__name__
    return '%s.%s' % (where, function.__name__)


def set_constant(setting: str) -> None:
    """Set a constant of the library, which must be there, to a number."""
    name, _, value = setting.partition('=')
    module, _, constant = name.rpartition('.')
    sys.path.insert(0, LIB)
    library = importlib.import_module('xsisolate.' + module)
    getattr(library, constant)
    setattr(library, constant, float(value))


def main() -> None:
    """Be the hook."""
    order, path = sys.argv[1:3]
    del sys.argv[:2]
    sys.path[0] = os.path.dirname(path)     # not this folder, which has an ovs.py
    with open(path, encoding='utf-8') as file:
        program = compile(file.read(), path, 'exec')
    word, _, argument = order.partition(':')
    if word == 'set':
        set_constant(argument)
    else:
        sys.setprofile(Injector(order).look)
    exec(program, {'__name__': '__main__', '__file__': path})


if __name__ == '__main__':
    main()
