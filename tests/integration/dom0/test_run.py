"""Programs: what they get, what they say, and that none of them can hold us up."""
import os
import time

import pytest
from sandbox.process import wait_until
from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.errors import HostError


def test_stdout_comes_out_and_nothing_goes_in():
    assert run(['printf', 'häm\n']) == 'häm\n'
    assert run(['cat']) == ''


def test_more_than_a_pipe_holds_comes_out():
    assert run(['head', '-c', str(1 << 20), '/dev/zero']) == '\0' * (1 << 20)


def test_environment_is_ours(monkeypatch):
    monkeypatch.setenv('LD_DEBUG_OUTPUT', 'secret')
    monkeypatch.setenv('OVS_RUNDIR', '/somewhere')
    monkeypatch.delenv('PATH')
    lines = set(run(['env']).splitlines())
    assert {'OVS_RUNDIR=/somewhere', 'LC_ALL=C'} < lines
    assert {line.partition('=')[0] for line in lines} == {'OVS_RUNDIR', 'LC_ALL', 'PATH'}


def test_bytes_that_are_no_utf8_do_not_stop_us():
    assert run(['printf', r'a\377b']) == 'a\ufffdb'


@pytest.mark.parametrize('script, complaint', [
    ('echo why >&2; exit 3', 'exit 3: why'),
    ('echo only here; exit 1', 'exit 1: only here'),
    ('kill -9 $$', 'killed by signal 9'),
    ("printf 'two\\nlines\\033[2J' >&2; exit 1", 'exit 1: two lines [2J'),
])
def test_failure_is_one_line(script, complaint):
    with pytest.raises(CommandFailed) as failure:
        run(['sh', '-c', script])
    assert complaint in str(failure.value)
    assert str(failure.value).isprintable()


def test_message_is_bounded():
    with pytest.raises(HostError) as failure:
        run(['sh', '-c', 'head -c 100000 /dev/zero | tr "\\0" x >&2; exit 1', 'y' * 5000])
    assert len(str(failure.value)) < 600


@pytest.mark.parametrize('argv', [['/no/such/program'], ['/etc/passwd'], ['true', 'a\0b']])
def test_what_cannot_start(argv):
    with pytest.raises(CommandFailed, match='cannot start'):
        run(argv)


@pytest.mark.parametrize('script', [
    '%s',
    'trap "" TERM; %s & wait; %s',
    '%s & exit 0',      # the grandchild holds our pipe
])
def test_deadline_ends_the_program_and_its_children(script):
    nap = 'sleep 30.%d' % os.getpid()
    began = time.monotonic()
    with pytest.raises(CommandFailed, match='no answer within 0.3 s'):
        run(['sh', '-c', script.replace('%s', nap)], timeout=0.3)
    assert time.monotonic() - began < 2
    wait_until(lambda: not runs(nap), 'the end of ' + nap, timeout=1)


def runs(command):
    """Say whether a process with this command line is left."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/cmdline' % pid, 'rb') as words:
                if words.read().rstrip(b'\0').replace(b'\0', b' ') == command.encode():
                    return True
        except OSError:
            continue
    return False
