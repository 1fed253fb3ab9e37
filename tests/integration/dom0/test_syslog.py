"""Log lines: what goes to syslog and to stderr."""
import os
import socket
import sys
import syslog
from contextlib import suppress

import pytest
from sandbox.process import run
from xsisolate.dom0.linux.syslog import Log, format_line


@pytest.mark.parametrize('fields, line', [
    ({}, 'hook'),
    ({'vif': 'vif1.0', 'added': 3}, 'hook vif=vif1.0 added=3'),
    ({'error': 'no such file'}, 'hook error="no such file"'),
    ({'error': 'say "no" \\ twice'}, 'hook error="say \\"no\\" \\\\ twice"'),
    ({'group': 'a=b'}, 'hook group="a=b"'),
    ({'group': ''}, 'hook group=""'),
    ({'group': None, 'n': 0}, 'hook n=0'),
    ({'name': 'two\nlines\x1b[2J\x00\x7f'}, 'hook name=two\\nlines\\x1b[2J\\x00\\x7f'),
    ({'name': 'grün\u2028\U0001f600'}, 'hook name=gr\\xfcn\\u2028\\U0001f600'),
    ({'name': '\udcff'}, 'hook name=\\udcff'),
    ({'name': 'x" error="none'}, 'hook name="x\\" error=\\"none"'),
])
def test_line(fields, line):
    assert format_line('hook', **fields) == line


def test_line_is_bounded():
    line = format_line('hook', name='x' * 1000000, other='\n' * 1000000)
    assert len(line) == 900 and line.endswith('...')


def test_event_cannot_forge_a_line():
    assert format_line('a\nb') == 'a\\nb'


@pytest.fixture
def journal(tmp_path):
    """Listen where syslog(3) sends to; the sandbox's /dev is covered while it lasts."""
    run(['mount', '-t', 'tmpfs', 'tmpfs', str(tmp_path)])
    upper, work = tmp_path / 'upper', tmp_path / 'work'
    upper.mkdir()
    work.mkdir()
    run(['mount', '-t', 'overlay', 'overlay', '/dev', '-o',
         'lowerdir=/dev,upperdir=%s,workdir=%s' % (upper, work)])
    with suppress(FileNotFoundError):
        os.unlink('/dev/log')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(2)
        listener.bind('/dev/log')
        yield listener
    syslog.closelog()
    run(['umount', '/dev', str(tmp_path)])


def test_error_reaches_syslog_and_stderr(journal, capsys):
    Log('xsisolate').error('hook failed', vif='vif1.0')
    message = journal.recv(2000)
    assert message.startswith(b'<27>')      # daemon.err
    assert message.rstrip(b'\0').endswith(
        b'xsisolate[%d]: hook failed vif=vif1.0' % os.getpid())
    assert capsys.readouterr().err == 'xsisolate: hook failed vif=vif1.0\n'


def test_percent_signs_are_no_format(journal):
    Log('xsisolate', stderr=False).info('%n%s%d')
    assert b'%n%s%d' in journal.recv(2000)


def test_stderr_may_be_silent_or_gone(capsys, monkeypatch):
    Log('xsisolate', stderr=False).warning('quiet')
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(sys, 'stderr', None)
    Log('xsisolate').info('nobody')
    assert capsys.readouterr().out == ''
    broken = open('/dev/full', 'w')
    monkeypatch.setattr(sys, 'stderr', broken)
    Log('xsisolate').info('full')
    monkeypatch.undo()
    with pytest.raises(OSError):
        broken.close()
