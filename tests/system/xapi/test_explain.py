"""`explain` across hosts: each end's host is asked through its plugin, as `set` finds it."""
import json
from typing import Iterator

import pytest

from sandbox.pool import Pool, PoolVm
from sandbox.poolhost import PoolHost

from support.xapi_admin import Admin


@pytest.fixture
def web(pool: Pool, admin: Admin) -> PoolVm:
    """A VM on the first host."""
    vm = pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red', '--allow', '10.9.0.12', '--ipv4', vm.ipv4)
    return vm


@pytest.fixture
def db(pool: Pool, admin: Admin) -> PoolVm:
    """A VM on the second host."""
    vm = pool.start_vm('db', pool.hosts[1], 12)
    admin.fine('set', 'db', '--groups', 'red', '--ipv4', vm.ipv4, '--allow', '10.9.0.11;tcp/22')
    return vm


@pytest.fixture
def files(pool: Pool) -> Iterator[None]:
    """The hosts' files of group red, as their daemons would write them."""
    network = str(next(iter(pool.db.objects['network'].values()))['uuid'])
    for host, number in zip(pool.hosts, (12, 11)):
        text = json.dumps({'version': 1, 'members': [{
            'network': network, 'mac': '02:00:00:00:00:%02x' % number,
            'addresses': ['10.9.0.%d' % number]}]})
        host.execute(['sh', '-c', 'mkdir -p /run/xsisolate/groups; cat > /run/xsisolate/groups/'
                      'red.json'], stdin=text)
    yield
    for host in pool.hosts:
        host.execute(['rm', '-f', '/run/xsisolate/groups/red.json'])


def test_a_vm_of_another_host_is_asked_about_there(admin: Admin, web: PoolVm, db: PoolVm) -> None:
    """This host lets it out, the other one lets it in: together that is an answer."""
    said = admin.fine('explain', 'web', 'db', 'tcp/22')
    lines = said.out.splitlines()
    assert lines[0].startswith('web (vif') and ' to db (vif' in lines[0]
    assert lines[0].endswith(', tcp/22: REACHES')
    assert [line.split()[-2:] for line in lines if ' answers:' in line][1] == ['beta', 'answers:']
    assert lines[-1] == 'policy and switch agree'
    found = admin.fine('explain', '--json', db.uuid, 'web/0').json
    assert (found['verdict'], found['reaches']) == ('stopped', False)   # it may only answer
    assert found['host'] == 'beta' and found['stopped_by'].endswith(', egress')
    assert [answer['verdict'] for answer in found['answers']] == ['stopped', 'reaches']


def test_the_other_hosts_rules_count(pool: Pool, admin: Admin, web: PoolVm, db: PoolVm,
                                     files: None) -> None:
    """Here a group may say everything, there tcp/22 only: what this host knows is not enough."""
    admin.fine('set', 'web', '--allow', ''), admin.fine('set', 'db', '--allow', '')
    beta: PoolHost = pool.hosts[1]
    beta.call('configure', pool._config + 'groups: {red: {rules: [tcp/22]}}\n')
    for host in pool.hosts:
        assert host.run('sync').returncode == 0
    try:
        said = admin.fine('explain', 'web', 'db', 'tcp/443').out.splitlines()[0]
        assert ': DOES NOT REACH, stopped on another host (beta) by db (' in said
        assert admin.fine('explain', 'web', 'db', 'tcp/22', '--json').json['verdict'] == 'reaches'
        # of an address this host can tell only that it leaves
        said = admin.fine('explain', 'web', db.ipv4, 'tcp/443').out.splitlines()[0]
        assert 'LEAVES THIS HOST towards the host of 02:' in said
        assert 'what that host admits is up to its own rules' in said
    finally:
        beta.call('configure', pool._config)
        assert beta.run('sync').returncode == 0


def test_two_vms_of_another_host(pool: Pool, admin: Admin, db: PoolVm) -> None:
    pool.start_vm('log', pool.hosts[1], 13)
    admin.fine('set', 'log', '--groups', 'red', '--ipv4', '10.9.0.13')
    said = admin.fine('explain', 'db', 'log').out.splitlines()
    assert said[0].endswith(': REACHES') and said[1] == '  host beta answers:'
    found = admin.fine('explain', 'log', '10.9.0.12', '--json').json
    assert found['asked'] and found['host'] == 'beta' and found['verdict'] == 'reaches'
    assert admin.fine('explain', 'db', '192.0.2.1', '--json').json['verdict'] == 'stopped'


def test_who_is_nowhere(pool: Pool, admin: Admin, web: PoolVm) -> None:
    pool.add_vm('idle', 14)
    line = admin.refused(2, 'explain', 'web', 'idle')
    assert "VM 'idle'" in line and 'runs on no host: it is Halted' in line
    line = admin.refused(2, 'explain', 'web', 'nobody')
    assert "no VM of this host with a VIF is called 'nobody'" in line
    assert 'in the pool: no VM has the uuid or name' in line
    assert 'in the pool' not in admin.refused(2, 'explain', 'web', 'nobody', '--here')
    pool.start_vm('bare', pool.hosts[1], 15)
    line = admin.refused(2, 'explain', 'web', 'bare')
    assert 'no policy says which IPv4 address' in line
    found = admin.fine('explain', 'web', 'bare', '--target-address', '10.9.0.15', '--json').json
    assert found['verdict'] == 'stopped' and found['answers'][1]['verdict'] == 'reaches'
