"""The demo says yes only when all is well, and leaves nothing behind."""
import os
import signal
import subprocess
import sys
from typing import Any, Dict, List

import pytest

from demo.policy import Probe, admits, promised
from demo.rollout import work
from demo.scene import BY_NAME
from sandbox.pythons import ROOT, for_hooks

PROGRAMS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT_S = 300
PING4, UDP6 = Probe('ping', 4), Probe('udp', 6)


def start(*options: str, **more: Any) -> 'subprocess.Popen[str]':
    """Start the demo, its output in pipes."""
    path = os.pathsep.join([PROGRAMS, os.path.join(ROOT, 'lib')])
    environment: Dict[str, str] = dict(os.environ, PYTHONPATH=path)
    return subprocess.Popen([sys.executable, '-m', 'demo', *options], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            encoding='utf-8', **more)


def run(*options: str) -> 'subprocess.CompletedProcess[str]':
    """Run the demo to its end."""
    process = start(*options, stderr=subprocess.DEVNULL)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(options, process.returncode, out)


def namespace_mates(namespace: str) -> List[int]:
    """Return the processes that are in a mount namespace."""
    found = []
    for pid in [int(name) for name in os.listdir('/proc') if name.isdigit()]:
        try:
            if os.readlink('/proc/%d/ns/mnt' % pid) == namespace:
                found.append(pid)
        except OSError:
            pass        # it has ended
    return found


def test_all_is_well() -> None:
    done = run()
    assert done.returncode == 0, done.stdout
    assert 'Everything is as it should be.' in done.stdout.splitlines()[-1]
    assert '88 of 88 pairs as policy says: ok' in done.stdout
    assert '8 of 8 stopped: ok' in done.stdout
    assert '18 of 18 pairs as policy says: ok' in done.stdout
    assert 'red4 and blue4 by way of router: nothing passes  ok' in done.stdout
    assert 'reaches nobody              ok' in done.stdout
    assert 'db is back in its group: ok' in done.stdout
    assert done.stdout.count('9 of 9 conversations work: ok') == 5
    assert done.stdout.count('4 of 4 get through: ok') == 3
    assert done.stdout.count('0 of 4 get through: ok') == 2
    assert done.stdout.count(' 0 lost: ok') == 2
    assert "of all conversations but noisy's: 0 kinds of frames: ok" in done.stdout
    assert done.stdout.count('# xsisolate set ') == 6 + 9
    assert 'app2 migrates to alpha, its lease with it: ok' in done.stdout
    assert 'the hook says: xsisolate-seal of device 0: ' in done.stdout
    assert '\033' not in done.stdout        # no terminal, no colours


def test_sabotage_is_noticed() -> None:
    done = run('--sabotage')
    assert done.returncode == 1
    assert 'NOT everything' in done.stdout.splitlines()[-1]
    assert 'gets through, but must not' in done.stdout
    assert done.stdout.count('GOT THROUGH to') >= 6     # isolated ports hear no floods even so


def test_sabotage_of_a_pool_is_noticed() -> None:
    wrong = [line.text for line in work(for_hooks(), sabotage=True) if not line.fine]
    assert wrong and ' of 4 get through' in wrong[-1]


def test_a_hook_that_cannot_run_is_noticed(tmp_path: Any) -> None:
    broken = tmp_path / 'python'
    broken.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 0 && exit\n'
                      'echo "no such thing" >&2\nexit 3\n')
    broken.chmod(0o755)
    done = run('--hook-python', str(broken))
    assert done.returncode == 1
    assert 'no such thing' in done.stdout and 'Traceback' not in done.stdout


@pytest.mark.parametrize('signal_', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_everything_down(signal_: signal.Signals) -> None:
    process = start(stderr=subprocess.PIPE)
    assert process.stderr and process.stdout
    for line in process.stderr:
        if 'attacks' in line:
            break
    namespace = os.readlink('/proc/%d/ns/mnt' % process.pid)
    assert len(namespace_mates(namespace)) > 10
    process.send_signal(signal_)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert 'interrupted' in out and 'Traceback' not in out
    # the guardian ends what is left, then itself
    assert [pid for pid in namespace_mates(namespace) if is_daemon(pid)] == []


def is_daemon(pid: int) -> bool:
    """Tell whether a process is one of the programs that the sandbox starts."""
    try:
        with open('/proc/%d/comm' % pid) as name:
            return name.read().strip() in ('ovs-vswitchd', 'ovsdb-server', 'oxenstored')
    except OSError:
        return False


@pytest.mark.parametrize('source, target, probe, passes', [
    ('red1', 'red2', PING4, True),          # a common group
    ('red1', 'blue1', PING4, False),
    ('red1', 'outside', UDP6, True),        # external
    ('red1', 'gateway', PING4, True),
    ('red2', 'outside', UDP6, False),
    ('blue1', 'free', UDP6, True),          # by address
    ('blue2', 'free', PING4, False),
    ('locked', 'red1', PING4, False),       # red1 does not admit it
    ('locked', 'free', PING4, True),
    ('free', 'outside', UDP6, True),
])
def test_what_policy_promises(source: str, target: str, probe: Probe, passes: bool) -> None:
    assert (probe in promised()[source, target]) is passes
    assert (probe in promised()[target, source]) is passes


def test_who_may_begin() -> None:
    assert promised()['blue2', 'free'] == {Probe('udp', 4), UDP6}       # by port and direction
    assert not promised()['free', 'blue2']


def test_one_side_alone_does_not_decide() -> None:
    assert admits(BY_NAME['free'], BY_NAME['red1'], PING4)
    assert not admits(BY_NAME['red1'], BY_NAME['free'], PING4)
