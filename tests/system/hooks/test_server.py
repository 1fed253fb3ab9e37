"""The hooks' server does what the hook would have done, and without it the hook does it.

Most of this needs no switch: the stub in place of the library's hooks/call.py notes who ran what.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from bench.crowd import Crowd, isolated, plug_call, refresh_call, unplug_call
from sandbox.hooks import REPOSITORY, Call, Hooks
from sandbox.hookserver import HookServer, hidden
from sandbox.process import has_ended, wait_until
from sandbox.dom0 import Sandbox
from sandbox.toolstack import private
from xsisolate.hooks.client import PATIENCE_S, SOCKET

from support.switch import our_flows, ports
from support.resync import sync

STUB = '''
import json, os, subprocess, sys, time
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
def run(argv):
    note = {'pid': os.getpid(), 'parent': os.getppid(), 'argv': list(argv), 'cwd': os.getcwd(),
            'environ': dict(os.environ), 'stdin': sys.stdin.read(), 'arguments': sys.argv,
            'open': sorted(map(int, os.listdir('/proc/self/fd'))),
            'child': subprocess.call(['/bin/sh', '-c', 'exit 7'])}
    with open(os.path.join(HERE, 'notes'), 'a') as file:
        file.write(json.dumps(note) + '\\n')
    for text, stream in (('to stdout', sys.stdout), ('to stderr', sys.stderr)):
        try:
            print(text, file=stream)
        except OSError:
            pass        # as our log does
    while os.path.exists(os.path.join(HERE, 'wait')):
        time.sleep(0.002)
    return 42
'''
CALL = Call('vif', ('online', 'type_if=vif'),
            {'XENBUS_PATH': 'backend/vif/1/0', 'ODD': 'a=b\udcff'})


class Release:
    """A copy of the hooks and their library, to be spoiled."""

    def __init__(self, folder: Path, interpreter: str) -> None:
        for name in ('hooks', 'lib'):
            shutil.copytree(os.path.join(REPOSITORY, name), str(folder / name),
                            ignore=shutil.ignore_patterns('__pycache__'))
        self.package = folder / 'lib' / 'xsisolate'
        self.hooks = Hooks(interpreter, folder=str(folder / 'hooks'))

    def replace_call(self, text: str) -> None:
        """Let the library do something else for a call."""
        (self.package / 'hooks' / 'call.py').write_text(text)

    def notes(self) -> List[Dict[str, Any]]:
        """Return what the stub has noted, once for each run."""
        path = self.package / 'notes'
        return [json.loads(line) for line in path.read_text().splitlines()] \
            if path.exists() else []

    def hold(self, wanted: bool) -> None:
        """Have the stub wait before it ends, or go on."""
        if wanted:
            (self.package / 'wait').write_text('')
        else:
            (self.package / 'wait').unlink()


@pytest.fixture
def make_release(host: Sandbox, tmp_path: Path) -> Callable[[str], Release]:
    """Copy the release."""
    def make(name: str) -> Release:
        return Release(tmp_path / name, str(host.hooks.interpreter))
    return make


@pytest.fixture
def stub(make_release: Callable[[str], Release]) -> Release:
    """A release that only notes."""
    release = make_release('stub')
    release.replace_call(STUB)
    return release


@pytest.fixture
def server(stub: Release) -> Iterator[HookServer]:
    """Its server."""
    with HookServer(stub.hooks) as running:
        yield running
        assert not running.said().splitlines()[1:]


@pytest.fixture(scope='module')
def served() -> bool:
    """These tests have servers of their own."""
    return False


def test_who_works_is_a_child_that_looks_like_the_hook(stub: Release, server: HookServer) -> None:
    done, = stub.hooks.run(CALL)
    assert (done.code, done.stdout, done.stderr) == (42, 'to stdout\n', 'to stderr\n')
    note, = stub.notes()
    assert note['parent'] == server.pid
    assert note['argv'] == [stub.hooks.path('vif'), 'online', 'type_if=vif']
    inherited = {name: value for name, value in note['environ'].items() if name != 'LC_CTYPE'}
    assert inherited == CALL.environment and note['cwd'] == '/' and note['stdin'] == ''
    assert note['child'] == 7       # and not 0, as if children's ends were nobody's business
    # its streams, the connection, the folder that it reads, and what Python keeps for itself
    assert len(note['open']) <= 6 and note['open'][:3] == [0, 1, 2]
    wait_until(lambda: has_ended(note['pid']), 'the child to end')
    assert not server.children()


def test_calls_do_not_see_each_other(stub: Release, server: HookServer) -> None:
    stub.hold(True)
    running = [stub.hooks.start(CALL._replace(environment={'NUMBER': str(number)}))
               for number in range(40)]
    wait_until(lambda: len(stub.notes()) == len(running), 'all calls to be under way')
    stub.hold(False)
    assert all(one.code == 42 for one in stub.hooks.wait(*running))
    assert {note['environ']['NUMBER'] for note in stub.notes()} == set(map(str, range(40)))
    assert len({note['pid'] for note in stub.notes()}) == 40
    wait_until(lambda: not server.children(), 'the children to end')
    with open('/proc/%d/task/%d/children' % (server.pid, server.pid)) as file:
        assert not file.read().split()      # not even the dead


def alone(stub: Release) -> None:
    """Check that the last call was run by the hook itself."""
    assert stub.notes()[-1]['argv'][0] == stub.notes()[-1]['arguments'][0]


def test_without_a_server_the_hook_does_it(stub: Release) -> None:
    with HookServer(stub.hooks):
        pass
    assert os.path.exists(SOCKET)       # nobody listens there
    for _ in range(2):
        done, = stub.hooks.run(CALL)
        assert (done.code, done.stdout) == (42, 'to stdout\n')
        alone(stub)
        if os.path.exists(SOCKET):
            os.unlink(SOCKET)


def test_a_server_that_stands_still_is_not_waited_for_and_does_nothing_later(
        stub: Release, server: HookServer) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        done, = stub.hooks.run(CALL)
        assert done.code == 42 and 2 <= done.seconds < 6
        alone(stub)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    done, = stub.hooks.run(CALL)        # the server has had that first call before this one
    assert done.code == 42 and len(stub.notes()) == 2
    assert stub.notes()[1]['parent'] == server.pid
    wait_until(lambda: not server.children(), 'the child whose caller has gone')
    assert len(stub.notes()) == 2


def test_a_server_of_another_release_does_nothing(
        stub: Release, server: HookServer, make_release: Callable[[str], Release]) -> None:
    other = make_release('other')
    other.replace_call(STUB)
    done, = other.hooks.run(CALL)
    assert done.code == 42 and not stub.notes()
    alone(other)


def test_what_is_too_much_for_a_message_the_hook_does(stub: Release, server: HookServer) -> None:
    for size in (70000, 110000):
        done, = stub.hooks.run(CALL._replace(environment={'LONG': 'x' * size}))
        assert done.code == 42
        alone(stub)
        assert len(stub.notes()[-1]['environ']['LONG']) == size


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_nobody_needs_to_listen_to_what_is_said(stub: Release, server: HookServer,
                                                stream: str) -> None:
    """A reader that has gone is no reason to run a call again."""
    reader, writer = os.pipe()
    os.close(reader)
    with open('/dev/full', 'w') as full:
        for broken in (writer, full):
            streams = dict({'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL},
                           **{stream: broken})
            code = subprocess.call(stub.hooks.start_of('vif') + list(CALL.args), cwd='/',
                                   env=dict(CALL.environment), **streams)
            assert code == 42
            with hidden():      # and without a server
                assert subprocess.call(stub.hooks.start_of('vif') + list(CALL.args), cwd='/',
                                       env=dict(CALL.environment), **streams) == 42
    os.close(writer)
    assert [note['parent'] == server.pid for note in stub.notes()] == [True, False] * 2


def test_a_worker_that_dies_is_replaced_by_the_hook(stub: Release, server: HookServer) -> None:
    stub.hold(True)
    running = stub.hooks.start(CALL)
    wait_until(stub.notes, 'the call to begin')
    os.kill(stub.notes()[0]['pid'], signal.SIGKILL)
    wait_until(lambda: len(stub.notes()) == 2, 'the call to begin once more')
    stub.hold(False)
    done, = stub.hooks.wait(running)
    assert done.code == 42
    alone(stub)


def test_a_hook_that_is_killed_leaves_nothing_half_done(stub: Release, server: HookServer) -> None:
    stub.hold(True)
    running = stub.hooks.start(CALL)
    wait_until(stub.notes, 'the call to begin')
    running.signal(signal.SIGKILL)
    stub.hooks.wait(running)
    assert server.children() == [stub.notes()[0]['pid']]        # goes on
    stub.hold(False)
    wait_until(lambda: not server.children(), 'the call to end')


def test_a_server_that_ends_lets_its_calls_end(stub: Release) -> None:
    server = HookServer(stub.hooks)
    server.__enter__()
    try:
        stub.hold(True)
        running = stub.hooks.start(CALL)
        wait_until(stub.notes, 'the call to begin')
    finally:
        server.kill()
    alone = stub.hooks.start(CALL)      # and does not wait for anybody
    wait_until(lambda: len(stub.notes()) == 2, 'the second call to begin', PATIENCE_S - 0.5)
    with HookServer(stub.hooks) as other:       # takes its place
        stub.hold(False)
        assert [done.code for done in stub.hooks.wait(running, alone)] == [42, 42]
        stub.hooks.run(CALL)
        assert len(stub.notes()) == 3 and stub.notes()[2]['parent'] == other.pid


@pytest.mark.any_python
def test_only_root_is_served(stub: Release, server: HookServer) -> None:
    code = ('import os, socket, sys; os.setuid(65534); '
            's = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])')
    said = subprocess.run([sys.executable, '-c', code, SOCKET], stderr=subprocess.PIPE,
                          encoding='utf-8')
    assert said.returncode and 'PermissionError' in said.stderr
    assert subprocess.run([sys.executable, '-c', code.replace('os.setuid(65534)', 'pass'),
                           SOCKET]).returncode == 0
    assert not stub.notes()


def ask(*words: str, streams: int = 3) -> socket.socket:
    """Send the server a message of these words, and so many streams."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(5)
    client.connect(SOCKET)
    rights = array('i', [0, 1, 2][:streams])
    client.sendmsg(['\0'.join(words).encode()],
                   [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if streams else [])
    return client


@pytest.mark.any_python
def test_nonsense_harms_nobody(stub: Release, server: HookServer) -> None:
    own = os.path.dirname(str(stub.package))
    for words, streams, answer in (((), 0, b''), (('x',), 3, b''), (('a', 'b', 'c'), 3, b''),
                                   ((own, '1', 'vif'), 0, b'other'), ((own, '1', 'vif'), 2,
                                                                      b'other')):
        with ask(*words, streams=streams) as client:
            assert client.recv(9) == answer, words
    assert not stub.notes() and stub.hooks.run(CALL)[0].code == 42


@pytest.mark.any_python
def test_nothing_is_done_without_the_callers_word(stub: Release, server: HookServer) -> None:
    for word in (b'', b'no'):
        with ask(os.path.dirname(str(stub.package)), '1', 'vif') as client:
            assert client.recv(9) == b'ready'
            if word:
                client.send(word)
    wait_until(lambda: not server.children(), 'the children to end')
    assert not stub.notes()


# --- with a switch -------------------------------------------------------------------------


def test_real_calls_are_served(host: Sandbox, make_release: Callable[[str], Release]) -> None:
    """A release whose hooks cannot work any more, and whose server has everything it needs."""
    release, crowd = make_release('real'), Crowd(host, 'xenbr0')
    one, = crowd.add([isolated(1)])
    host.store.write(private(one.domain.uuid, 0) + '/setup-vif-rules',
                     release.hooks.path('setup-vif-rules'))
    plug, refresh, unplug = (make(release.hooks, one)
                             for make in (plug_call, refresh_call, unplug_call))
    with HookServer(release.hooks):
        for file in release.package.rglob('*.py'):
            if file.name not in ('__init__.py', 'entry.py', 'client.py', 'typing_compat.py',
                                 'paths.py'):
                file.unlink()
        for call in (plug, refresh):
            done, = release.hooks.run(call)
            assert done.code == 0 and ' hook vif=' in done.stderr
            assert ports(host) == [one.device] and our_flows(host)
            sync('--dry-run')
        done, = release.hooks.run(plug._replace(environment={}))
        assert done.code == 2 and 'usage: vif' in done.stderr
        assert release.hooks.run(unplug)[0].code == 0
        assert not our_flows(host) and not ports(host)
    done, = release.hooks.run(refresh)
    assert done.code == 1 and "cannot import name 'call'" in done.stderr
    crowd.remove([one])


def test_sixty_at_once(host: Sandbox) -> None:
    crowd = Crowd(host, 'xenbr0')
    many = crowd.add([isolated(number) for number in range(60)])
    with HookServer(host.hooks) as server:
        done = host.hooks.run(*[plug_call(host.hooks, one) for one in many])
        assert all(one.code == 0 for one in done), [one for one in done if one.code]
        assert len(ports(host)) == 60
        done = host.hooks.run(*[unplug_call(host.hooks, one) for one in many])
        assert all(one.code == 0 for one in done)
        wait_until(lambda: not server.children(), 'the children to end')
    assert not our_flows(host) and not ports(host)
    crowd.remove(many)
