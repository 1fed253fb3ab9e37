"""One configuration for all hosts: pushed through XAPI, taken over by daemons, never half."""
import json
import threading
import time
from typing import Any, Dict, Iterator, List

import pytest
from sandbox.active import activate, shell
from sandbox.pool import CONFIG, Pool
from sandbox.poolhost import Daemon, PoolHost
from sandbox.xapidb import Refused

from support.xapi_admin import Ran, run_here, until

FILE = '/etc/xsisolate/xsisolate.yaml'
TAKEN = '/etc/xsisolate/pool-configuration.json'
GRACE = CONFIG.replace('grace: 2', 'grace: %d')
POOL = 'OpaqueRef:pool'


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own: its masters die."""
    with Pool() as pool:
        activate(pool.hosts)
        yield pool


class Hosts:
    """The daemons of both hosts; a test may end one."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.running: Dict[str, Daemon] = {}

    def start(self, host: PoolHost) -> Daemon:
        """Start a host's daemon."""
        self.running[host.name] = daemon = host.start_daemon()
        return daemon

    def stop(self, host: PoolHost) -> None:
        """End it, and look that it has ended well."""
        daemon = self.running.pop(host.name)
        assert daemon.stop() == 0 and 'Traceback' not in daemon.said(), daemon.said()


@pytest.fixture
def hosts(pool: Pool) -> Iterator[Hosts]:
    """Hosts with daemons, and a pool without a configuration of its own, before and after."""
    found = Hosts(pool)
    reset(pool)
    for host in pool.hosts:
        found.start(host)
    for host in pool.hosts:
        until(lambda: following(host), 'the daemon to follow XAPI', 20)
    yield found
    pool.fault = None
    if pool.master is None:
        pool.appoint(pool.hosts[0])
    for host in pool.hosts:
        if host.name in found.running:
            found.stop(host)
    reset(pool)


def reset(pool: Pool) -> None:
    """Forget the pool's configuration everywhere."""
    pool.db.set('pool', POOL, other_config={})
    for host in pool.hosts:
        shell(host, 'rm -f %s %s.previous /run/xsisolate/pool*' % (TAKEN, FILE))
        host.call('configure', CONFIG)


def following(host: PoolHost) -> bool:
    """Tell whether a host's daemon follows XAPI."""
    return '"connected": true' in shell(host, 'cat /run/xsisolate/pool.json || :')


def run(pool: Pool, *words: str, host: int = 0, stdin: str = '') -> Ran:
    """Run `xsisolate pool config ...` on a host."""
    done = pool.hosts[host].run('pool', 'config', *words, stdin=stdin)
    assert 'Traceback' not in done.stderr and 'internal:' not in done.stderr, done
    return Ran(done.returncode, done.stdout, done.stderr)


def push(pool: Pool, text: str, *more: str, host: int = 0) -> Ran:
    """Push a text."""
    return run(pool, 'push', '-', *more, host=host, stdin=text)


def file_of(host: PoolHost, path: str = FILE) -> str:
    """Return a host's configuration."""
    return shell(host, 'cat ' + path)


def keys(pool: Pool) -> List[str]:
    """Return the versions that XAPI has."""
    return sorted(key for key in pool.db.objects['pool'][POOL]['other_config'])


def taken(host: PoolHost) -> Dict[str, Any]:
    """Return what a host has noted."""
    return dict(json.loads(shell(host, 'cat %s || echo {}' % TAKEN)))


def test_push_reaches_every_host(pool: Pool, hosts: Hosts) -> None:
    assert 'no configuration in XAPI' in run(pool, 'show').err
    text = GRACE % 3 + '# gr\xfcn\n'
    ran = push(pool, text, host=1)          # from a member
    assert ran.code == 0, ran
    assert 'version 1 is written' in ran.out and '+grace: 3' in ran.out
    assert all('host %s: version 1 is in place' % host.name in ran.out for host in pool.hosts)
    assert [file_of(host) for host in pool.hosts] == [text, text]
    assert file_of(pool.hosts[0], FILE + '.previous') == CONFIG
    assert keys(pool) == ['xsisolate-config-1']
    shown = run(pool, 'show')
    assert shown.out == text and 'version 1' in shown.err
    assert run(pool, 'diff', '-', stdin=text).code == 0
    ran = run(pool, 'diff', '-', stdin=GRACE % 4)
    assert ran.code == 4 and '-grace: 3' in ran.out and '+grace: 4' in ran.out
    status = pool.hosts[0].run('pool', 'status')
    assert status.returncode == 0 and status.stdout.count('(pool 1)') == 2, status
    assert 'version 1, from XAPI' in pool.hosts[1].run('doctor').stdout


def test_two_versions_are_kept_and_the_one_before_comes_back(pool: Pool, hosts: Hosts) -> None:
    assert run(pool, 'rollback').code == 2
    for grace in (3, 4, 5):
        assert push(pool, GRACE % grace).code == 0
    assert keys(pool) == ['xsisolate-config-2', 'xsisolate-config-3']
    ran = run(pool, 'rollback', '--dry-run')
    assert ran.code == 4 and 'version 2' in ran.out and keys(pool)[-1] == 'xsisolate-config-3'
    ran = run(pool, 'rollback')
    assert ran.code == 0 and 'version 4 is written' in ran.out
    assert all(file_of(host) == GRACE % 4 for host in pool.hosts)
    assert keys(pool) == ['xsisolate-config-3', 'xsisolate-config-4']


@pytest.mark.parametrize('text, said', [
    ('version: 2\n', 'version'), ('version: 1\nlocal: true\n', 'local: true is for a host'),
    ('version: 1\nnetworks: {nowhere: {}}\n', 'nowhere'), ('{', 'parsing'), ('', 'empty')])
def test_a_mistake_is_not_written(pool: Pool, hosts: Hosts, text: str, said: str) -> None:
    for action in ('check', 'push'):
        ran = run(pool, action, '-', stdin=text)
        assert ran.code == 3 and 'error' in ran.out and said in ran.out, ran
    assert not keys(pool) and file_of(pool.hosts[0]) == CONFIG


def test_a_mistake_that_one_release_alone_sees(pool: Pool, hosts: Hosts,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    real = pool.call_plugin

    def older(host: str, plugin: str, fn: str, session: str, args: Any) -> str:
        if fn == 'config_check' and host == pool.refs['beta']:
            return json.dumps({'release': '0.0.9', 'warnings': [],
                               'errors': [[2, 'grace: unknown key']]})
        return real(host, plugin, fn, session, args)
    monkeypatch.setattr(pool, 'call_plugin', older)
    ran = push(pool, GRACE % 3)
    assert ran.code == 3 and not keys(pool)
    assert '-:2: error: grace: unknown key; so says beta (xsisolate 0.0.9)' in ran.out


def test_a_version_that_is_not_valid_on_a_host_is_not_taken_there(pool: Pool,
                                                                  hosts: Hosts) -> None:
    """A host with another release, or that was down when the others were asked."""
    from xsisolate.config.stored import format_stored, pack
    from sandbox.poolhost import POOL_SECRET
    assert push(pool, GRACE % 3).code == 0
    value = format_stored(2, pack('version: 9\n'), pool.db.objects['pool'][POOL]['uuid'],
                          POOL_SECRET.encode())
    pool.db.set('pool', POOL, other_config={
        **pool.db.objects['pool'][POOL]['other_config'], 'xsisolate-config-2': value})
    until(lambda: taken(pool.hosts[1]).get('error'), 'the host to have judged it')
    assert 'version 2 is not valid on this host: line 1: version' in taken(pool.hosts[1])['error']
    assert file_of(pool.hosts[1]) == GRACE % 3
    status = pool.hosts[0].run('pool', 'status')
    assert status.returncode == 4 and 'version 2 is not valid' in status.stdout
    assert 'version 2 is not valid' in pool.hosts[1].run('doctor').stdout
    assert push(pool, GRACE % 4).code == 0      # what is pushed then is version 3


def test_two_push_at_once(pool: Pool, hosts: Hosts) -> None:
    met = threading.Barrier(2, timeout=20)

    def meet(method: str, params: Any, is_after: bool) -> None:
        if method == 'pool.add_to_other_config' and not is_after:
            met.wait()
    pool.fault = meet
    ran: List[Ran] = []
    pushing = [threading.Thread(target=lambda grace=grace: ran.append(  # type: ignore[misc]
        push(pool, GRACE % grace, host=grace % 2))) for grace in (3, 4)]
    for thread in pushing:
        thread.start()
    for thread in pushing:
        thread.join(60)
    pool.fault = None
    lost, = [one for one in ran if one.code == 3]
    won, = [one for one in ran if one.code == 0]
    assert 'another administrator has pushed version 1' in lost.err, lost
    assert keys(pool) == ['xsisolate-config-1'] and 'version 1 is in place' in won.out
    graces = {file_of(host) for host in pool.hosts}
    assert len(graces) == 1 and run(pool, 'show').out in graces


def test_a_push_that_comes_too_late(pool: Pool, hosts: Hosts) -> None:
    assert push(pool, GRACE % 3).code == 0
    done = pool.call_plugin
    with pytest.raises(Refused) as found:
        from xsisolate.config.stored import pack
        done(pool.refs['alpha'], 'xsisolate', 'config_push', 'x',
             {'packed': pack(GRACE % 9), 'base': '0'})
    code, line = found.value.details
    assert code == 'XSISOLATE_CONFLICT' and 'has version 1' in line


def test_what_is_not_signed_does_not_count(pool: Pool, hosts: Hosts) -> None:
    """A pool-operator may write pool.other_config."""
    from xsisolate.config.stored import format_stored, pack
    assert push(pool, GRACE % 3).code == 0
    before = dict(pool.db.objects['pool'][POOL]['other_config'])
    forged = format_stored(2, pack('version: 1\nunsealed: accept\n'),
                           pool.db.objects['pool'][POOL]['uuid'], b'a secret of my own making')
    pool.db.set('pool', POOL, other_config={**before, 'xsisolate-config-2': forged})
    until(lambda: 'not signed' in taken(pool.hosts[1]).get('error', ''), 'the host to have seen it')
    assert file_of(pool.hosts[1]) == GRACE % 3
    assert 'xsisolate-config-2 does not count' in run(pool, 'show').err
    ran = push(pool, GRACE % 4)
    assert ran.code == 0 and 'version 2 is written' in ran.out, ran


def test_an_older_version_that_is_put_back_does_not_count(pool: Pool, hosts: Hosts) -> None:
    assert push(pool, GRACE % 3).code == 0
    before = dict(pool.db.objects['pool'][POOL]['other_config'])
    assert push(pool, GRACE % 4).code == 0
    for other_config in (before, {}):
        pool.db.set('pool', POOL, other_config=other_config)
        until(lambda: 'push' in taken(pool.hosts[1]).get('error', ''), 'the host to complain')
        assert file_of(pool.hosts[1]) == GRACE % 4
        pool.db.set('pool', POOL, other_config={})


def test_a_file_that_is_edited_by_hand_is_set_right(pool: Pool, hosts: Hosts) -> None:
    assert push(pool, GRACE % 3).code == 0
    for text in (GRACE % 7, 'version: 9\n', '{', None):
        if text is None:
            shell(pool.hosts[1], 'rm ' + FILE)
        else:
            pool.hosts[1].call('configure', text)
        until(lambda: shell(pool.hosts[1], 'cat %s || :' % FILE) == GRACE % 3,
              'the file to be the pool\'s again', 12)
        if text is not None:
            assert file_of(pool.hosts[1], FILE + '.previous') == text


@pytest.mark.parametrize('text', [GRACE % 9 + 'local: true\n', 'version: 9\nlocal: true  # mine\n'])
def test_a_local_file_stays(pool: Pool, hosts: Hosts, text: str) -> None:
    pool.hosts[1].call('configure', text)
    ran = push(pool, GRACE % 3)
    assert ran.code == 0 and 'host beta: keeps its own file, which says local: true' in ran.out
    assert file_of(pool.hosts[1]) == text and file_of(pool.hosts[0]) == GRACE % 3
    assert 'local: true: it stays' in pool.hosts[1].run('doctor').stdout
    status = pool.hosts[0].run('pool', 'status')
    assert status.returncode in (3, 4) and 'host beta' in status.stdout.splitlines()[0]
    assert '(local)' in status.stdout
    pool.hosts[1].call('configure', CONFIG)
    until(lambda: file_of(pool.hosts[1]) == GRACE % 3, 'the host to take the pool\'s', 12)


def test_a_host_that_was_down_takes_it_before_its_vms_start(
        pool: Pool, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert push(pool, GRACE % 3).code == 0
    hosts.stop(pool.hosts[1])
    ran = push(pool, GRACE % 4, '--timeout', '3')
    assert ran.code == 1 and 'host beta: has not taken version 2' in ran.out
    assert file_of(pool.hosts[1]) == GRACE % 3
    shell(pool.hosts[1], 'rm /run/xsisolate/pool-configuration-asked')      # it has booted

    vm = pool.add_vm('early', 11)
    # it holds the database's lock until the host, which is busy with the VM, answers
    monkeypatch.setattr(pool, '_hear_host', lambda host: None)
    starting = threading.Thread(target=pool.start, args=(vm, pool.hosts[1]))
    starting.start()
    starting.join(2)
    assert starting.is_alive()          # its hook waits for the daemon
    hosts.start(pool.hosts[1])
    starting.join(20)
    try:
        assert not starting.is_alive() and file_of(pool.hosts[1]) == GRACE % 4
    finally:
        pool.destroy(vm)


def test_without_xapi_hooks_go_on_with_what_is_known(pool: Pool, hosts: Hosts) -> None:
    assert push(pool, GRACE % 3).code == 0
    hosts.stop(pool.hosts[1])
    shell(pool.hosts[1], 'rm /run/xsisolate/pool-configuration-asked')
    began = time.monotonic()
    vm = pool.start_vm('first', pool.hosts[1], 11)
    first = time.monotonic() - began
    began = time.monotonic()
    other = pool.start_vm('second', pool.hosts[1], 12)
    second = time.monotonic() - began
    for one in (vm, other):
        pool.destroy(one)
    assert first > 10 and second < 6, (first, second)
    assert file_of(pool.hosts[1]) == GRACE % 3


def test_a_master_that_dies_in_the_middle(pool: Pool, hosts: Hosts) -> None:
    pool.cut('pool.add_to_other_config', after=True)
    ran = push(pool, GRACE % 3)         # it is written, and its writer does not hear of it
    assert ran.code == 1 and 'connection' in ran.err.lower() + ran.out, ran
    pool.fault = None
    assert keys(pool) == ['xsisolate-config-1'] and run(pool, 'show').out == GRACE % 3
    until(lambda: file_of(pool.hosts[1]) == GRACE % 3, 'the host to take it', 12)
    pool.cut('host.call_plugin', times=9)
    ran = push(pool, GRACE % 4)
    pool.fault = None
    assert ran.code == 1 and keys(pool) == ['xsisolate-config-1'], ran


def test_roles(pool: Pool, hosts: Hosts, tmp_path: Any) -> None:
    (tmp_path / 'x.yaml').write_text(GRACE % 3)
    place = '%s:%d' % (pool.address(pool.hosts[0]), pool.port)
    prints = ['--fingerprint', pool.fingerprint(pool.hosts[0])]
    from sandbox.xapidb import PASSWORD
    for user in ('operator', 'tenant', 'reader'):
        ran = run_here(['pool', 'config', 'push', str(tmp_path / 'x.yaml'), '--host', place,
                        '--user', user, *prints], '/nowhere', PASSWORD)
        assert ran.code == 1 and 'pool-admin' in ran.err and not keys(pool), ran
    ran = run_here(['pool', 'config', 'push', str(tmp_path / 'x.yaml'), '--host', place, *prints],
                   '/nowhere', PASSWORD)
    assert ran.code == 0 and 'beta: version 1 is in place' in ran.out, ran


def test_too_large(pool: Pool, hosts: Hosts) -> None:
    import random
    draw = random.Random(1)
    text = 'version: 1\n' + ''.join('# %x\n' % draw.getrandbits(400) for _ in range(1500))
    ran = push(pool, text)
    assert ran.code == 3 and 'the pool\'s record takes' in ran.err and not keys(pool), ran


def test_a_bridges_name_is_remarked_upon(pool: Pool, hosts: Hosts) -> None:
    text = CONFIG.replace('"*"', 'xenbr0')
    ran = run(pool, 'check', '-', stdin=text)
    assert ran.code == 0 and 'a bridge\'s name' in ran.out, ran
    uuid = pool.db.objects['network'][pool.network]['uuid']
    assert 'uuid %s' % uuid in ran.out
    for key in (uuid, 'Tenants'):
        ran = run(pool, 'check', '-', stdin=CONFIG.replace('"*"', key))
        assert ran.code == 0 and 'bridge' not in ran.out, ran


@pytest.mark.parametrize('words', [('push',), ('show', 'x'), ('nonsense',), (),
                                   ('check', 'x', '--dry-run')])
def test_usage(pool: Pool, words: Any) -> None:
    assert run(pool, *words).code == 2

