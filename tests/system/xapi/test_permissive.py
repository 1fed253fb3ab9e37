"""Permissive policies: written, ended, and never where the pool's configuration replaces it."""
import json
from typing import Iterator

import pytest
from sandbox.active import activate, shell
from sandbox.pool import CONFIG, Pool
from sandbox.poolhost import PoolHost

from support.xapi_admin import Admin, Ran, data, until

FILE = '/etc/xsisolate/xsisolate.yaml'
LOOSE = '# all of rack 7\n' + CONFIG + 'permissive: true      # until Monday\n'
FIRM = '# all of rack 7\n' + CONFIG
SEAL = 'xsisolate-seal'
POOL = 'OpaqueRef:pool'


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own, on whose hosts xsisolate is active."""
    with Pool() as pool:
        activate(pool.hosts)
        yield pool


@pytest.fixture
def alpha(pool: Pool) -> Iterator[PoolHost]:
    """A host whose file is permissive, in a pool without a configuration."""
    host = pool.hosts[0]
    host.call('configure', LOOSE)
    yield host
    for one in pool.hosts:
        one.call('configure', CONFIG)
        shell(one, 'rm -f /etc/xsisolate/pool-configuration.json %s.previous' % FILE)
    pool.db.set('pool', POOL, other_config={})


def run(host: PoolHost, *words: str, stdin: str = '') -> Ran:
    """Run the command on a host."""
    done = host.run(*words, stdin=stdin)
    assert 'Traceback' not in done.stderr and 'internal:' not in done.stderr, done
    return Ran(done.returncode, done.stdout, done.stderr)


def file_of(host: PoolHost) -> str:
    """Return a host's configuration."""
    return shell(host, 'cat ' + FILE)


def start_unsealed(pool: Pool, name: str, host: PoolHost, number: int, policy: str = 'red') -> None:
    """Start a VM whose policy nobody has sealed."""
    vm = pool.add_vm(name, number)
    pool.db.set('VM', vm.ref, xenstore_data=data(groups=policy))
    pool.start(vm, host)


# --- a VM ------------------------------------------------------------------------------------


def test_a_vm_is_enforced_by_its_own_policy(pool: Pool, admin: Admin, alpha: PoolHost) -> None:
    web = pool.start_vm('web', alpha, 11)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    before = pool.vif(web)['other_config'][SEAL]
    assert admin('enforce', 'web', '--dry-run').code == 4
    assert pool.vif(web)['other_config'][SEAL] == before
    ran = admin.fine('enforce', 'web')
    assert 'permissive=no' in ran.out and '.0: isolated' in ran.out
    assert pool.vif(web)['other_config'][SEAL].endswith(':enforced')
    assert pool.record(web)['xenstore_data'] == data(groups='red', vif_0_ipv4=web.ipv4,
                                                     permissive='no')
    assert 'nothing to do' in admin.fine('enforce', web.uuid, '--dry-run').out


def test_a_vm_without_a_policy_is_enforced_too(pool: Pool, admin: Admin, alpha: PoolHost) -> None:
    web = pool.start_vm('web', alpha, 11)
    ran = admin.fine('enforce', 'web')
    assert '.0: unlocked' in ran.out and 'VIF 0: nothing is recorded that its policy' in ran.out
    assert pool.record(web)['xenstore_data'] == data(permissive='no')
    assert pool.vif(web)['other_config'][SEAL].endswith(':enforced')


def test_one_vif_of_two(pool: Pool, admin: Admin, alpha: PoolHost) -> None:
    web = pool.start_vm('web', alpha, 11, vifs=2)
    admin.fine('enforce', 'web/1')
    assert pool.record(web)['xenstore_data'] == data(vif_1_permissive='no')
    assert SEAL not in pool.vif(web)['other_config']


def test_what_the_record_has_is_said_before(pool: Pool, admin: Admin) -> None:
    web, db = (pool.start_vm(name, pool.hosts[0], number)
               for name, number in (('web', 11), ('db', 12)))
    admin.fine('set', 'web', '--permissive', 'yes', '--groups', 'red', '--ipv4', web.ipv4)
    pool.ask(web, 'ping', db.ipv4, 0.3)
    ran = admin.fine('enforce', 'web')
    assert 'VIF 0: its policy refuses ' in ran.out and ' of what is recorded (' in ran.out, ran
    assert ran.out.index('what is recorded') < ran.out.index('seal ')


def test_what_policies_admit_by_now_is_not_counted(pool: Pool, admin: Admin,
                                                   alpha: PoolHost) -> None:
    """Neither what the VM lacked an entry for, nor what it said before it had an address."""
    web, db = (pool.start_vm(name, alpha, number) for name, number in (('web', 11), ('db', 12)))
    admin.fine('set', 'web', '--mode', 'isolated')
    assert pool.ask(web, 'ping', db.ipv4)
    admin.fine('set', 'web', '--ipv4', web.ipv4, '--ipv6', web.ipv6)
    assert pool.ask(web, 'ping', db.ipv4)
    admin.fine('set', 'web', '--allow', 'icmp@' + db.ipv4)
    rows = [row for row in json.loads(run(alpha, 'refused', '--json').out)['refused']
            if row['vm'] == web.uuid and row['service'].startswith('icmp/')]
    assert {row['reason'] for row in rows} >= {'spoofed IP', 'not a peer on egress'}, rows
    assert {row['because'] for row in rows} == {'policies admit it now'}, rows
    left = [row for row in json.loads(run(alpha, 'refused', '--json').out)['refused']
            if row['vm'] == web.uuid and row['because'] != 'policies admit it now']
    said = ('nothing is recorded that its policy' if not left else
            'its policy refuses %d kind' % len(left))
    assert '(web): ' + said in run(alpha, 'enforce', '--all', '--dry-run').out
    assert 'VIF 0: ' + said in admin('enforce', 'web', '--dry-run').out


def test_permissive_is_a_key_as_others_are(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    ran = admin.fine('set', 'web', '--permissive', 'yes', '--groups', 'red', '--ipv4', web.ipv4)
    assert 'permissive=yes' in ran.out and '! VIF 0 is permissive' in ran.out
    assert 'xsisolate enforce %s/0' % web.uuid in ran.out
    assert not pool.vif(web)['other_config'][SEAL].endswith(':enforced')
    assert 'neither yes nor no' in admin.refused(3, 'set', 'web', '--permissive', 'perhaps')
    admin.fine('unset', 'web', '--permissive')
    assert pool.record(web)['xenstore_data'] == data(groups='red', vif_0_ipv4=web.ipv4)


def test_what_a_guest_may_have_written_is_not_enforced(pool: Pool, admin: Admin,
                                                       alpha: PoolHost) -> None:
    start_unsealed(pool, 'web', alpha, 11)
    assert 'Nothing was written' in admin.refused(3, 'enforce', 'web')


@pytest.mark.parametrize('words', [
    (), ('web', '--all'), ('web', '--network', 'xenbr0'), ('--all', '--network', 'xenbr0'),
    ('--all', '--json'), ('--network', 'xenbr0', '--host', 'x'), ('--all', '--no-refresh')])
def test_usage(pool: Pool, alpha: PoolHost, words: Iterator[str]) -> None:
    ran = run(alpha, 'enforce', *words)
    assert ran.code == 2 and file_of(alpha) == LOOSE, ran


def test_xapis_lock_stays_while_nothing_else_holds_a_vif(pool: Pool, admin: Admin,
                                                         alpha: PoolHost) -> None:
    web = pool.start_vm('web', alpha, 11)
    pool.db.set('VIF', web.vifs[0], locking_mode='locked', ipv4_allowed=[web.ipv4])
    admin.fine('set', 'web', '--permissive', 'yes')
    said = admin.refused(3, 'relocate', 'web')
    assert 'permissive=yes' in said and 'xsisolate enforce %s/0' % web.uuid in said
    admin.fine('unset', 'web')
    ran = admin('relocate', 'web')          # its host is permissive
    assert ran.code == 1 and 'is permissive, so nothing but' in ran.err, ran
    assert pool.vif(web)['locking_mode'] == 'locked' and not pool.record(web)['xenstore_data']
    admin.fine('enforce', 'web')
    admin.fine('relocate', 'web')
    assert pool.vif(web)['locking_mode'] == 'unlocked'
    assert pool.record(web)['xenstore_data']['vm-data/xsisolate/permissive'] == 'no'


def test_set_says_what_a_permissive_vif_would_be(pool: Pool, admin: Admin,
                                                 alpha: PoolHost) -> None:
    alpha.call('configure', LOOSE + 'groups: {red: {vms: []}}\n')
    web = pool.start_vm('web', alpha, 11)
    ran = admin.fine('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    assert '.0: unlocked, permissive, would be quarantined: groups: red admits only' in ran.out
    assert pool.ask(web, 'ping', '10.9.0.254')


# --- a host ----------------------------------------------------------------------------------


def test_all_of_a_host(pool: Pool, admin: Admin, alpha: PoolHost) -> None:
    """Its comments stay; who is not sealed has passed until now, and is quarantined."""
    start_unsealed(pool, 'stray', alpha, 11)
    own = pool.start_vm('own', alpha, 12)
    admin.fine('set', 'own', '--permissive', 'yes', '--groups', 'red', '--ipv4', own.ipv4)
    stray = next(vm for vm in pool.vms.values() if vm.name == 'stray')
    assert pool.ask(stray, 'ping', '10.9.0.254')
    ran = run(alpha, 'enforce', '--all', '--dry-run')
    assert ran.code == 3 and 'would be quarantined: xsisolate-seal' in ran.out, ran
    assert '%s: would be written' % FILE in ran.out
    assert '(own): stays permissive, because its own policy says permissive=yes' in ran.out
    assert file_of(alpha) == LOOSE and pool.ask(stray, 'ping', '10.9.0.254')
    ran = run(alpha, 'enforce', '--all')
    assert ran.code == 3 and '(stray): is quarantined: xsisolate-seal' in ran.out, ran
    assert '(stray): nothing is recorded that its policy refuses' in ran.out
    assert file_of(alpha) == FIRM and not pool.ask(stray, 'ping', '10.9.0.254', 0.3)
    ran = run(alpha, 'enforce', '--all')
    assert ran.code == 0 and 'nothing to do' in ran.out and '(own): stays' in ran.out


@pytest.mark.parametrize('groups', ['R?D', 'red'])
def test_status_says_of_a_template_what_copies_would_be(pool: Pool, alpha: PoolHost,
                                                        groups: str) -> None:
    """Be its vm-data malformed or not sealed."""
    template = pool.add_vm('golden', 31)
    pool.db.set('VM', template.ref, xenstore_data=data(groups=groups), is_a_template=True)
    ran = run(alpha, 'status', 'golden', '--template')
    assert ran.code == 4 and 'would be quarantined: ' in ran.out, ran
    assert 'it is unlocked, for its network is permissive' in ran.out
    alpha.call('configure', FIRM)
    ran = run(alpha, 'status', 'golden', '--template')
    assert ran.code == 4 and 'is quarantined: ' in ran.out, ran


def test_a_network_that_others_share_their_entry_with(pool: Pool, alpha: PoolHost) -> None:
    """An entry of its own would take away what '*' says of it: that is for an admin to write."""
    ran = run(alpha, 'enforce', '--network', 'xenbr0')
    assert ran.code == 3 and "what '*' says counts for it" in ran.err and file_of(alpha) == LOOSE


def test_a_network(pool: Pool, alpha: PoolHost) -> None:
    alpha.call('configure', 'version: 1\npermissive: true\n')
    start_unsealed(pool, 'stray', alpha, 11)
    ran = run(alpha, 'enforce', '--network', 'xapi9')
    assert ran.code == 2 and "'xapi9' is neither in the configuration nor" in ran.err
    ran = run(alpha, 'enforce', '--network', 'xenbr0')
    assert ran.code == 3 and '(stray): is quarantined' in ran.out, ran
    assert file_of(alpha) == ('version: 1\npermissive: true\nnetworks:\n  xenbr0:\n'
                              '    permissive: false\n')
    assert '2: warning: permissive: true protects nobody' in run(alpha, 'check', FILE).out


def test_the_pools_configuration_would_replace_it(pool: Pool, alpha: PoolHost) -> None:
    """And without local: true nothing is written that a host takes back a moment later."""
    assert run(alpha, 'pool', 'config', 'push', '-', '--timeout', '1', stdin=CONFIG).out
    ran = run(alpha, 'activate', '--permissive', '--dry-run')
    assert ran.code == 3 and 'xsisolate pool activate --permissive' in ran.err, ran
    assert 'version 1' in ran.err
    alpha.call('configure', LOOSE)
    assert run(alpha, 'pool', 'config', 'push', '-', '--timeout', '1', stdin=LOOSE).out
    ran = run(alpha, 'enforce', '--all')
    assert ran.code == 3 and 'xsisolate pool enforce --all' in ran.err and file_of(alpha) == LOOSE
    alpha.call('configure', LOOSE + 'local: true\n')
    assert run(alpha, 'enforce', '--all').code == 0
    assert file_of(alpha) == FIRM + 'local: true\n'


# --- a pool ----------------------------------------------------------------------------------


def test_a_pool_is_enforced_by_its_configuration(pool: Pool, admin: Admin,
                                                 alpha: PoolHost) -> None:
    ran = run(alpha, 'pool', 'enforce', '--all')
    assert ran.code == 2 and 'the pool has no configuration in XAPI' in ran.err
    own = pool.start_vm('own', alpha, 12)
    admin.fine('set', 'own', '--permissive', 'yes')
    daemons = [host.start_daemon() for host in pool.hosts]
    try:
        for host in pool.hosts:
            until(lambda: '"connected": true' in shell(host, 'cat /run/xsisolate/pool.json || :'),
                  'the daemon to follow XAPI', 20)
        assert run(alpha, 'pool', 'config', 'push', '-', stdin=LOOSE).code == 0
        ran = run(alpha, 'pool', 'enforce', '--all', '--dry-run')
        assert ran.code == 4 and '-permissive: true' in ran.out, ran
        assert 'own (%s/0): stays permissive' % own.uuid in ran.out
        assert [file_of(host) for host in pool.hosts] == [LOOSE, LOOSE]
        ran = run(alpha, 'pool', 'enforce', '--all')
        assert ran.code == 0 and ran.out.count('version 2 is in place') == 2, ran
        assert [file_of(host) for host in pool.hosts] == [FIRM, FIRM]
        ran = run(alpha, 'pool', 'enforce', '--all')
        assert ran.code == 0 and 'nothing to do: version 2' in ran.out
        ran = run(alpha, 'pool', 'enforce', '--network', '*')
        assert ran.code == 0 and 'version 3 is written' in ran.out, ran
        assert '    permissive: false\n' in file_of(pool.hosts[1])
        ran = run(alpha, 'pool', 'enforce', '--network', 'nowhere')
        assert ran.code == 2 and "'nowhere' is neither in the configuration" in ran.err
    finally:
        for daemon in daemons:
            daemon.stop()
