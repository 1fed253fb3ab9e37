"""A child of the daemon ends when it is told to, however often it is told."""
import os
import signal
import subprocess
import sys

import pytest

import xsisolate

LIB = os.path.dirname(os.path.dirname(xsisolate.__file__))

# It is told once more while the interpreter shuts down, when an exception would be printed.
CHILD = '''
import atexit, os, signal, threading
from xsisolate.dom0.linux.bound_child import bind_to_daemon
assert bind_to_daemon()
shutdown = threading._shutdown
def told_again():
    os.kill(os.getpid(), signal.{signal})
    shutdown()
threading._shutdown = told_again
print('ready', flush=True)
signal.pause()
'''


@pytest.mark.parametrize('first', ['SIGTERM', 'SIGINT'])
@pytest.mark.parametrize('second', ['SIGTERM', 'SIGINT'])
def test_it_ends_without_a_word(first: str, second: str) -> None:
    with subprocess.Popen([sys.executable, '-c', CHILD.format(signal=second), '2'],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=LIB)) as child:
        assert child.stdout and child.stdout.readline() == b'ready\n'
        child.send_signal(getattr(signal, first))
        said = child.communicate(timeout=20)
    assert said == (b'', b'') and child.returncode == 0
