"""`xsisolate pool status, doctor, matrix, sync`: one answer for all hosts, the odd ones first."""
import json
import threading
import time
from typing import Any, Iterator, List, Mapping

import pytest
from sandbox.active import activate, deactivate, shell
from sandbox.pool import CONFIG, Pool
from sandbox.xapidb import Refused

from support.xapi_admin import Admin

QUICK = True


@pytest.fixture(scope='module', autouse=True)
def active(pool: Pool) -> None:
    """Both hosts run xsisolate."""
    activate(pool.hosts)


class Plugins:
    """The plugins of a pool; one host's answers may be replaced."""

    def __init__(self, pool: Pool, patch: pytest.MonkeyPatch) -> None:
        self._pool, self._real = pool, pool.call_plugin
        self._answers: dict = {}
        self.asked: List[str] = []
        patch.setattr(pool, 'call_plugin', self.call)

    def replace(self, host: int, answer: Any) -> None:
        """Have a host answer this: a text, a refusal, or what a function returns."""
        self._answers[self._pool.refs[self._pool.hosts[host].name]] = answer

    def call(self, host: str, plugin: str, fn: str, session: str,
             args: Mapping[str, str]) -> str:
        """Answer in the place of the pool."""
        self.asked.append(fn)
        if host not in self._answers:
            return self._real(host, plugin, fn, session, args)
        answer = self._answers[host]
        if isinstance(answer, Refused):
            raise answer
        return str(answer(self._real(host, plugin, fn, session, args))
                   if callable(answer) else answer)


@pytest.fixture
def plugins(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """The plugins, to be replaced by a test."""
    yield Plugins(pool, monkeypatch)


def test_a_pool_that_is_well(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    pool.start_vm('free', pool.hosts[1], 12)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    said = admin.fine('pool', 'status').out.splitlines()
    assert said[0].split()[:3] == ['HOST', 'VERSION', 'HOOKS'] and len(said) == 3
    rows = {line.split()[0]: line.split() for line in said[1:]}
    assert set(rows) == {'alpha*', 'beta'}
    assert rows['alpha*'][2:4] == rows['beta'][2:4] == ['active', 'active']
    assert rows['alpha*'][4] == rows['beta'][4] and len(rows['beta'][4]) == 12
    assert rows['alpha*'][5:9] == ['1', '1', '0', '0'] and rows['beta'][5:7] == ['1', '0']
    told = admin.fine('pool', 'status', '--json').json
    assert not told['findings'] and [one['host'] for one in told['hosts']] == ['alpha', 'beta']
    assert told['hosts'][0]['modes'] == {'isolated': 1} and told['hosts'][0]['master'] is True


def test_from_a_member_and_from_another_machine(pool: Pool, admin: Admin) -> None:
    here = admin.fine('pool', 'status', '--json', host=pool.hosts[1]).json
    prints = [text for host in pool.hosts for text in ('--fingerprint', pool.fingerprint(host))]
    there = admin.over_tls('pool', 'status', '--json', *prints)
    assert there.code == 0 and there.json == here
    ran = admin.over_tls('pool', 'status', *prints, user='operator')
    assert ran.code == 1 and 'pool-admin' in ran.err and not ran.out


@pytest.mark.parametrize('details, found', [
    (('XENAPI_MISSING_PLUGIN', 'xsisolate'), 'has no xsisolate: no VM is protected on it'),
    (('HOST_OFFLINE', 'OpaqueRef:x'), 'is down'),
    (('UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'overview'), 'has an older xsisolate'),
    (('XSISOLATE_FAILED', 'ovsdb-server cannot be reached'), 'ovsdb-server cannot be reached')])
def test_a_host_that_says_no_is_named_first(pool: Pool, admin: Admin, plugins: Plugins,
                                            details: Any, found: str) -> None:
    plugins.replace(1, Refused(*details))
    for command in ('status', 'doctor'):
        ran = admin('pool', command)
        assert ran.code == 1
        assert ran.out.startswith('problem host beta') and found in ran.out.splitlines()[0]
        assert 'expected: ' in ran.out and 'do: ' in ran.out
    lines = admin('pool', 'status').out.splitlines()
    titles = next(at for at, line in enumerate(lines) if line.startswith('HOST'))
    assert lines[titles + 1].startswith('beta ') and lines[titles + 2].startswith('alpha*')
    told = admin('pool', 'status', '--json').json
    assert told['hosts'][1]['error'] and not told['hosts'][0]['error']


def test_sealed_vms_on_a_host_without_it_are_not_protected(pool: Pool, admin: Admin,
                                                           plugins: Plugins) -> None:
    web = pool.start_vm('web', pool.hosts[1], 11)
    pool.start_vm('free', pool.hosts[1], 12)
    safe = pool.start_vm('safe', pool.hosts[0], 13)
    for vm in (web, safe):
        admin.fine('set', vm.name, '--groups', 'red', '--ipv4', vm.ipv4)
    plugins.replace(1, Refused('XENAPI_MISSING_PLUGIN', 'xsisolate'))
    for command in ('status', 'doctor'):
        ran = admin('pool', command)
        assert ran.code == 1
        assert 'NOT PROTECTED: 1 sealed VMs: \'web\' (%s)' % web.uuid in ran.out, ran.out
    plugins.replace(1, lambda answer: json.dumps(dict(json.loads(answer), active=False)))
    assert 'NOT PROTECTED' in admin('pool', 'status').out


@pytest.mark.parametrize('nonsense', [
    'x', '[]', '{}', 'null', '{"version": 1}', '[' * 5000,
    '{"version": "1", "active": "yes", "daemon": "", "digest": "", "source": "", "modes": {}, '
    '"unsealed": 0, "error": "", "warnings": [], "code": 0}',
    '{"version": "1", "active": true, "daemon": "", "digest": "", "source": "", "modes": '
    '{"isolated": -1}, "unsealed": 0, "error": "", "warnings": [], "code": 0}'])
def test_a_host_that_answers_nonsense(admin: Admin, plugins: Plugins, nonsense: str) -> None:
    plugins.replace(1, nonsense)
    for command in ('status', 'doctor', 'sync', 'matrix'):
        ran = admin('pool', command)
        if command == 'sync' and nonsense == '[]':
            continue        # a host without bridges may say that
        assert ran.code == 1 and 'host beta' in ran.out and 'cannot be read' in ran.out, ran
        assert 'alpha' in ran.out or command == 'matrix'


def test_what_a_host_says_is_shown_harmlessly(admin: Admin, plugins: Plugins) -> None:
    def evil(answer: str) -> str:
        return json.dumps(dict(json.loads(answer), version='\x1b[2J\n1', error='a\nb\u202e'))
    plugins.replace(1, evil)
    ran = admin('pool', 'status')
    assert ran.code == 4 and '\x1b' not in ran.out and '\u202e' not in ran.out


def test_hosts_are_asked_side_by_side_and_a_slow_one_is_left_behind(
        pool: Pool, admin: Admin, plugins: Plugins) -> None:
    met = threading.Barrier(2, timeout=5)

    def wait(answer: str) -> str:
        met.wait()
        return answer
    plugins.replace(0, wait)
    plugins.replace(1, wait)
    admin.fine('pool', 'status')       # each waits until the other was asked, too

    def slow(answer: str) -> str:
        time.sleep(4)
        return answer
    plugins.replace(0, lambda answer: answer)
    plugins.replace(1, slow)
    began = time.monotonic()
    ran = admin('pool', 'status', '--timeout', '1')
    assert ran.code == 1 and time.monotonic() - began < 3.5
    assert 'problem host beta' in ran.out.splitlines()[0] and 'within 1 s' in ran.out
    time.sleep(3)       # until the pool has done with it


def test_another_release(admin: Admin, plugins: Plugins) -> None:
    plugins.replace(1, lambda answer: json.dumps(dict(json.loads(answer), version='9.9.9',
                                                      more='than we know')))
    ran = admin('pool', 'status')
    assert ran.code == 4 and ran.out.startswith('problem host beta')
    assert 'xsisolate 9.9.9' in ran.out.splitlines()[0]


def test_another_configuration(pool: Pool, admin: Admin) -> None:
    pool.hosts[1].call('configure', CONFIG + '# another\n')
    try:
        for command in ('status', 'doctor'):
            ran = admin('pool', command)
            assert ran.code & 4 or ran.code == 1
            assert ran.out.startswith('problem host beta'), ran.out
            assert 'xsisolate.yaml is' in ran.out.splitlines()[0]
        assert admin('pool', 'status').code == 4
        ran = admin('pool', 'matrix')
        assert ran.code == 4 and 'different configurations' in ran.out
    finally:
        pool.hosts[1].call('configure', CONFIG)


def test_a_broken_configuration(pool: Pool, admin: Admin) -> None:
    pool.hosts[1].call('configure', 'version: 2\n')
    try:
        ran = admin('pool', 'status')
        assert ran.code == 3 and 'host beta' in ran.out and 'version' in ran.out
    finally:
        pool.hosts[1].call('configure', CONFIG)


def test_hooks_and_daemon_that_are_not_active(pool: Pool, admin: Admin) -> None:
    shell(pool.hosts[1], 'touch /run/units.down')
    try:
        ran = admin('pool', 'status')
        assert ran.code == 1 and 'xsisolate-watch.service is inactive' in ran.out
        deactivate(pool.hosts[1])
        ran = admin('pool', 'status')
        assert ran.code == 1 and ran.out.startswith('problem host beta')
        assert 'installed and not active' in ran.out
    finally:
        shell(pool.hosts[1], 'rm /run/units.down')
        activate(pool.hosts)


def test_quarantine_and_seals_are_counted(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    pool.start(web, pool.hosts[1])
    pool.guest_writes(web, 'vm-data/xsisolate/groups', 'blue')
    told = admin('pool', 'status', '--json').json['hosts'][1]
    assert told['unsealed'] == 1 and 'xsisolate-seal' in told['last_error']


def test_doctor_tells_what_each_host_says(pool: Pool, admin: Admin) -> None:
    ran = admin('pool', 'doctor')
    assert 'on host alpha:' in ran.out and 'on host beta:' in ran.out
    told = admin('pool', 'doctor', '--json').json
    assert [one['host'] for one in told['hosts']] == ['alpha', 'beta']
    found = {one['what'] for one in told['hosts'][1]['findings']}
    assert {'ovs-vswitchd', 'configuration'} <= found
    assert len(admin('pool', 'doctor', '--all').out) > len(ran.out)


def test_sync(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[1], 11)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    before = sorted(pool.hosts[1].call('flows'))
    pool.hosts[1].call('ovs', 'ofctl', 'del-flows', 'xenbr0', 'cookie=0x5849534f00000000/'
                       '0xffffffff00000000')
    assert admin('pool', 'status').code == 4
    ran = admin('pool', 'sync', '--dry-run')
    assert ran.code == 4 and 'beta: xenbr0: ' in ran.out and 'flows missing' in ran.out
    assert sorted(pool.hosts[1].call('flows')) != before
    ran = admin('pool', 'sync')
    assert ran.code == 0 and sorted(pool.hosts[1].call('flows')) == before
    assert admin.fine('pool', 'sync', '--dry-run', '--json').json['hosts'][1]['bridges'][0][
        'missing'] == 0


def test_matrix_spans_hosts(pool: Pool, admin: Admin, tmp_path: Any) -> None:
    for number, (name, host, groups) in enumerate((
            ('web', 0, 'red'), ('db', 1, 'red'), ('other', 1, 'blue'))):
        vm = pool.start_vm(name, pool.hosts[host], 11 + number)
        admin.fine('set', name, '--groups', groups, '--ipv4', vm.ipv4)
    told = admin.fine('pool', 'matrix', '--json').json
    network, = told['networks']
    vifs = {vif['name']: vif for vif in network['vifs']}
    assert set(vifs) == {'web', 'db', 'other'}
    assert vifs['web']['vif'].startswith('alpha:vif') and vifs['db']['vif'].startswith('beta:vif')
    assert vifs['web']['reaches'] == {vifs['db']['vif']: ['everything']}
    assert vifs['other']['reaches'] == {}
    said = admin.fine('pool', 'matrix').out
    assert 'network xenbr0: 3 VIFs' in said
    admin.fine('pool', 'matrix', '--html', str(tmp_path / 'x.html'))
    page = (tmp_path / 'x.html').read_text()
    assert 'beta:vif' in page and 'on <bdi>pool lab</bdi>' in page


def test_matrix_without_a_host(admin: Admin, plugins: Plugins) -> None:
    plugins.replace(1, Refused('XENAPI_MISSING_PLUGIN', 'xsisolate'))
    ran = admin('pool', 'matrix')
    assert ran.code == 1 and ran.out.startswith('! host beta: has no xsisolate')


def test_the_master_dies_in_the_middle(pool: Pool, admin: Admin) -> None:
    pool.cut('host.call_plugin', times=2)
    ran = admin('pool', 'status')
    pool.fault = None
    assert ran.code == 1 and ran.out.count('no connection') >= 2


@pytest.mark.parametrize('words', [(), ('nonsense',), ('status', 'x'), ('status', '--timeout', '0'),
                                   ('status', '--timeout', 'nan'), ('status', '--ca', 'x')])
def test_usage(admin: Admin, words: Any) -> None:
    assert admin('pool', *words).code == 2


def test_refused_on_any_host(pool: Pool, admin: Admin, plugins: Plugins) -> None:
    """One table of all hosts; a host that does not answer is named, and the others are shown."""
    for host, number in zip(pool.hosts, (11, 12)):
        vm = pool.start_vm('web%d' % number, host, number)
        admin.fine('set', vm.name, '--groups', 'red', '--ipv4', vm.ipv4)
        pool.ask(vm, 'ping', '10.9.0.99', 0.2)
    said = admin.fine('pool', 'refused', '--since', '5m').out
    rows = [line.split() for line in said.splitlines() if ' arp ' in line]
    assert {(row[0], row[-1]) for row in rows} and {row[0] for row in rows} == {'alpha', 'beta'}
    one = admin.fine('pool', 'refused', '--vm', 'web11').out
    assert 'web11' in one and 'web12' not in one
    told = admin.fine('pool', 'refused', '--json').json
    assert [host['host'] for host in told['hosts']] == ['alpha', 'beta']
    assert all(host['refused'] and not host['error'] for host in told['hosts'])
    assert 'web11' in admin.fine('pool', 'refused', '--enforced').out
    assert 'nothing would be refused by a permissive policy' in admin.fine(
        'pool', 'refused', '--permissive').out
    plugins.replace(1, lambda reply: reply.replace('"passed": false', '"passed": true'))
    rows = [line.split() for line in admin.fine('pool', 'refused').out.splitlines()]
    assert {row[0] for row in rows if 'passed' in row} == {'beta'}
    assert {row[0] for row in rows if 'refused' in row[1:]} == {'alpha'}
    assert rows[-1][:2] == ['passed:', 'policies']
    for nonsense in ('{}', '[]', '{"refused": [{}], "read": 1}'):
        plugins.replace(1, nonsense)
        ran = admin('pool', 'refused')
        assert ran.code == 1 and 'host beta' in ran.out and 'web11' in ran.out, ran
    assert admin('pool', 'refused', '--since', 'soon').code == 2
