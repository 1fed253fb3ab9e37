"""`xsisolate pool activate`: everything is checked on all hosts, then one changes after the other.

What a host does of it is the plugin's, and tested where packages are installed; here hosts answer
what a test tells them.
"""
import json
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest
from sandbox.active import activate
from sandbox.pool import CONFIG, Pool
from sandbox.xapidb import Refused

from support.xapi_admin import Admin
from xsisolate import __version__
from xsisolate.cli import pool_activate

QUICK = True
STEPS = ['write /etc/xenopsd.conf.d/50-xsisolate.conf', 'start xsisolate-watch.service']


class Plugins:
    """Hosts that say what they would do, and do it."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._real = pool, pool.call_plugin
        self.names = {pool.refs[host.name]: host.name for host in pool.hosts}
        self.would: Dict[str, Dict[str, Any]] = {name: {} for name in self.names.values()}
        self.done: List[Tuple[str, str]] = []
        self.restarted: List[str] = []
        self.fail: Dict[str, Any] = {}

    def call(self, host: str, plugin: str, fn: str, session: str, args: Mapping[str, str]) -> str:
        """Answer as a host's plugin."""
        if fn not in ('activate', 'deactivate'):
            return self._real(host, plugin, fn, session, args)
        name = self.names[host]
        if args.get('dry_run') != 'true':
            self.done.append((fn, name))
        if name in self.fail and (args.get('dry_run') == 'true') is bool(self.fail[name][0]):
            raise Refused(*self.fail[name][1])
        already = (fn, name) in self.done and args.get('dry_run') == 'true'
        return json.dumps(dict({
            'release': __version__, 'steps': [] if already else STEPS, 'problems': [],
            'cut_off': [], 'lost': [], 'danger': '',
            'needs_restart': name not in self.restarted}, **self.would[name]))

    def restart(self, host: str) -> None:
        """Restart a host's toolstack; the master's ends all sessions."""
        self.restarted.append(self.names[host])
        if self._pool.master and host == self._pool.refs[self._pool.master.name]:
            self._pool.db.forget_sessions()


@pytest.fixture
def plugins(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Hosts on which nothing is changed in truth."""
    activate(pool.hosts)
    found = Plugins(pool)
    monkeypatch.setattr(pool, 'call_plugin', found.call)
    monkeypatch.setattr(pool, 'restart_agent', found.restart)
    monkeypatch.setattr(pool_activate, 'POLL_S', 0.1)
    yield found
    pool.db.set('pool', 'OpaqueRef:pool', ha_enabled=False)


@pytest.mark.parametrize('command', ['activate', 'deactivate'])
def test_one_after_the_other_the_master_first(pool: Pool, admin: Admin, plugins: Plugins,
                                              command: str) -> None:
    ran = admin.fine('pool', command, host=pool.hosts[1])
    assert plugins.done == [(command, 'alpha'), (command, 'beta')]
    lines = ran.out.splitlines()
    assert lines[-2].startswith('1/2 alpha: ') and lines[-1].startswith('2/2 beta: ')
    assert 'toolstack must be restarted' in lines[-1] and not plugins.restarted
    assert '  would ' + STEPS[0] in lines


def test_a_dry_run_touches_nothing(admin: Admin, plugins: Plugins) -> None:
    ran = admin('pool', 'activate', '--dry-run')
    assert ran.code == 4 and not plugins.done and 'alpha: 2 steps' in ran.out
    for name in plugins.would:
        plugins.would[name] = {'steps': [], 'needs_restart': False}
    assert admin.fine('pool', 'activate', '--dry-run').out.count('nothing to do') == 2


PROBLEMS: Dict[str, Tuple[Dict[str, Any], str, Tuple[str, ...]]] = {
    'problem': ({'problems': ['xenopsd calls a stranger']}, 'calls a stranger', ()),
    'cut off': ({'cut_off': ['vif7.0: the seal does not fit']}, '1 VIF would be cut off', ()),
    'release': ({'release': '0.0.1'}, 'different releases', ()),
    'tasks': ({'lost': ['VM.migrate']}, 'lose 1 task', ('--restart-toolstack',)),
    'danger': ({'danger': 'HA is enabled'}, 'HA is enabled', ('--restart-toolstack',))}


@pytest.mark.parametrize('would, said, words', PROBLEMS.values(), ids=list(PROBLEMS))
def test_what_speaks_against_it_on_any_host_stops_all(admin: Admin, plugins: Plugins, would: Any,
                                                      said: str, words: Any) -> None:
    plugins.would['beta'] = would
    ran = admin('pool', 'activate', *words)
    assert ran.code == 1 and said in ran.out and 'no host was touched' in ran.out, ran
    assert not plugins.done and not plugins.restarted
    if set(would) <= {'cut_off', 'release', 'lost'}:
        assert admin('pool', 'activate', *words, '--force').code == 0 and len(plugins.done) == 2


@pytest.mark.parametrize('details', [
    ('XENAPI_MISSING_PLUGIN', 'xsisolate'), ('HOST_OFFLINE', 'x'), ('XSISOLATE_POLICY', 'broken'),
    ('UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'activate')])
def test_a_host_that_cannot_be_asked_stops_all(admin: Admin, plugins: Plugins,
                                               details: Any) -> None:
    plugins.fail['beta'] = (True, details)
    for more in ((), ('--force',)):
        ran = admin('pool', 'activate', *more)
        assert ran.code == 1 and 'host beta' in ran.out and not plugins.done
        assert 'no host was touched' in ran.out


def test_ha_and_configuration_are_looked_at(pool: Pool, admin: Admin, plugins: Plugins) -> None:
    pool.db.set('pool', 'OpaqueRef:pool', ha_enabled=True)
    ran = admin('pool', 'activate', '--restart-toolstack')
    assert ran.code == 1 and 'HA is enabled' in ran.out and not plugins.done
    pool.db.set('pool', 'OpaqueRef:pool', ha_enabled=False)
    pool.hosts[1].call('configure', CONFIG + '# another\n')
    try:
        ran = admin('pool', 'activate')
        assert ran.code == 1 and 'xsisolate.yaml differs on beta' in ran.out and not plugins.done
    finally:
        pool.hosts[1].call('configure', CONFIG)


def test_it_stops_at_the_first_failure_and_is_run_again(admin: Admin, plugins: Plugins) -> None:
    plugins.fail['alpha'] = (False, ('XSISOLATE_FAILED', 'ovsdb-server cannot be reached'))
    ran = admin('pool', 'activate')
    assert ran.code == 1 and plugins.done == [('activate', 'alpha')]
    assert 'failed: ' in ran.out and 'ovsdb-server' in ran.out
    assert 'done: no host. Failed: alpha' in ran.out and 'Not touched: beta' in ran.out
    plugins.fail = {'beta': plugins.fail['alpha']}
    ran = admin('pool', 'activate')
    assert ran.code == 1 and 'done: alpha. Failed: beta' in ran.out
    plugins.fail = {}
    assert admin('pool', 'activate').code == 0 and plugins.done[-1] == ('activate', 'beta')


def test_toolstacks_are_restarted_each_before_the_next_host(pool: Pool, admin: Admin,
                                                            plugins: Plugins) -> None:
    order: List[str] = []
    real: Callable[..., None] = plugins.restart
    plugins.restarted = []

    def note(host: str) -> None:
        order.append('%s after %d' % (plugins.names[host], len(plugins.done)))
        real(host)
    pool.restart_agent = note       # type: ignore[method-assign]
    ran = admin.fine('pool', 'activate', '--restart-toolstack')
    assert order == ['alpha after 1', 'beta after 2']
    assert ran.out.count('its toolstack is restarted') == 2
    assert not [call for call, _ in pool.db.calls if call.startswith('Async')]


def test_a_toolstack_that_does_not_come_back(admin: Admin, plugins: Plugins,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_activate, 'RESTART_S', 1.0)
    plugins.would['alpha'] = {'needs_restart': True}
    ran = admin('pool', 'activate', '--restart-toolstack')
    assert ran.code == 1 and 'still has to be restarted' in ran.out
    assert plugins.done == [('activate', 'alpha')] and 'Not touched: beta' in ran.out


@pytest.mark.parametrize('answer', ['{}', '[]', '{"release": 1}'])
def test_nonsense(pool: Pool, admin: Admin, plugins: Plugins, monkeypatch: pytest.MonkeyPatch,
                  answer: str) -> None:
    real = plugins.call
    monkeypatch.setattr(pool, 'call_plugin', lambda host, plugin, fn, *more: answer
                        if fn == 'activate' and host == pool.refs['beta']
                        else real(host, plugin, fn, *more))
    ran = admin('pool', 'activate')
    assert ran.code == 1 and 'cannot be read' in ran.out and not plugins.done


# --- permissive: the pool's configuration says so before any host is touched -------------------

LOOSE = CONFIG.replace('version: 1\n', 'version: 1\npermissive: true\n')
PACKED = 'xsisolate-config-%d'


@pytest.fixture
def unwritten(pool: Pool) -> Iterator[None]:
    """A pool without a configuration in XAPI, before and after."""
    yield
    pool.db.set('pool', 'OpaqueRef:pool', other_config={})
    for host in pool.hosts:
        host.call('configure', CONFIG)


def stored(pool: Pool) -> List[str]:
    """Return the versions that XAPI has."""
    return sorted(pool.db.objects['pool']['OpaqueRef:pool']['other_config'])


def test_permissive_is_written_to_the_pool_before_the_first_host(
        pool: Pool, process: Admin, plugins: Plugins, unwritten: None,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts have the file of the host that is asked: it becomes the pool's, and permissive."""
    asked: List[Tuple[str, bool, int]] = []
    real = plugins.call

    def note(host: str, plugin: str, fn: str, session: str, args: Mapping[str, str]) -> str:
        if fn == 'activate':
            assert args.get('permissive') == 'true'
            asked.append((plugins.names[host], args.get('dry_run') == 'true', len(stored(pool))))
        return real(host, plugin, fn, session, args)
    monkeypatch.setattr(pool, 'call_plugin', note)
    ran = process('pool', 'activate', '--permissive', '--dry-run')
    assert ran.code == 4 and '+permissive: true' in ran.out and not stored(pool), ran
    assert 'protects nobody' in ran.out
    del asked[:]
    ran = process.fine('pool', 'activate', '--permissive')
    assert 'version 1 is written' in ran.out and plugins.done[-1] == ('activate', 'beta')
    assert sorted(asked[:2]) == [('alpha', True, 0), ('beta', True, 0)]
    assert asked[2:] == [('alpha', False, 1), ('beta', False, 1)]
    assert process('pool', 'config', 'show').out == LOOSE
    ran = process.fine('pool', 'activate', '--permissive')
    assert 'says permissive: true already, in version 1' in ran.out
    assert stored(pool) == [PACKED % 1]


def test_what_the_pool_has_is_edited(pool: Pool, process: Admin, plugins: Plugins,
                                     unwritten: None) -> None:
    text = '# of the pool\n' + CONFIG
    done = pool.hosts[0].run('pool', 'config', 'push', '-', '--timeout', '1', stdin=text)
    assert 'version 1 is written' in done.stdout
    process.fine('pool', 'activate', '--permissive')
    assert process('pool', 'config', 'show').out == '# of the pool\n' + LOOSE


def test_the_first_configuration_does_not_say_less_than_files_did(
        pool: Pool, process: Admin, plugins: Plugins, unwritten: None) -> None:
    for host in pool.hosts:
        host.call('configure', CONFIG + '# of %s\n' % host.name)
    ran = process('pool', 'activate', '--permissive', '--force')
    assert ran.code == 3 and 'not all as this host\'s' in ran.err and not plugins.done
    assert not stored(pool)


def test_a_host_that_knows_nothing_of_permissive_stops_all(
        pool: Pool, process: Admin, plugins: Plugins, unwritten: None) -> None:
    plugins.fail['beta'] = (True, ('XSISOLATE_USAGE', 'unknown: permissive; it takes [dry_run]'))
    ran = process('pool', 'activate', '--permissive')
    assert ran.code == 1 and 'unknown: permissive' in ran.out and not plugins.done
    assert not stored(pool)
    assert process('pool', 'deactivate', '--permissive').code == 2
