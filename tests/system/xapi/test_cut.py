"""XAPI goes away, or says no, half-way: nothing is half-written, or the line says what is."""
from typing import Any, Sequence

import pytest

from sandbox.pool import Pool
from sandbox.xapiserver import Cut

from support.xapi_admin import Admin, data, run_here, state, writes

QUICK = True
OWN = ('--ipv4', '10.9.0.11')
WRITES = 5      # calls of `set` that change something, for one VIF of a running VM


def lose(pool: Pool, at: int, after: bool, for_ever: bool) -> None:
    """Cut the connection off at the nth call that writes, or from then on."""
    count = [0]

    def fault(method: str, params: Sequence[Any], is_after: bool) -> None:
        writing = 'other_config' in method or 'xenstore_data' in method
        if for_ever and count[0] > at:
            raise Cut
        if writing and is_after is after:
            count[0] += 1
            if count[0] == at + 1:
                raise Cut
    pool.fault = fault


@pytest.mark.parametrize('after', [False, True])
@pytest.mark.parametrize('at', range(WRITES))
def test_one_call_is_lost(pool: Pool, admin: Admin, at: int, after: bool) -> None:
    """It may have been done, or not: either way it is taken back, over a second connection."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    before = state(pool, web)
    lose(pool, at, after, False)
    line = admin.refused(1, 'set', 'web', '--groups', 'blue')
    assert 'nothing has changed' in line
    assert state(pool, web) == before
    pool.fault = None
    assert admin('seal', 'web', '--check').code == 0


@pytest.mark.parametrize('at', range(WRITES - 2))
def test_xapi_is_gone_for_good(pool: Pool, admin: Admin, at: int) -> None:
    """It cannot be taken back, so the line says what stands, and the same command mends it."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    before = state(pool, web)
    lose(pool, at, True, True)
    ran = run_here(['set', 'web', '--groups', 'blue'],
                   '/proc/%d/root/var/lib/xcp/xapi' % pool.hosts[0].pid)
    pool.fault = None
    pool.db.sessions.clear()
    assert ran.code == 1 and len(ran.err.splitlines()) == 1
    stands, _, left = ran.err.partition('Not begun: ')
    assert 'Half done: ' in stands and left
    changed = state(pool, web)
    assert ('VIF 0: seal' in stands) is (changed != before)
    assert ('vm-data: ~xsisolate/groups' in stands) is (changed['data'] != before['data'])
    assert admin('seal', 'web', '--check').code == (4 if at < 2 else 0)     # 2: vm-data is there
    admin.fine('set', 'web', '--replace', '--groups', 'blue', *OWN)
    assert admin('seal', 'web', '--check').code == 0


def test_no_permission_to_write(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    ran = admin.over_tls('set', 'web', '--groups', 'red', '--fingerprint',
                         pool.fingerprint(pool.hosts[0]), user='reader')
    assert ran.code == 1 and 'RBAC_PERMISSION_DENIED' in ran.err and 'role' in ran.err
    assert 'Nothing was changed' in ran.err and len(ran.err.splitlines()) == 1
    assert not writes(pool) and not state(pool, web)['data']


def test_no_permission_to_ask_the_host(pool: Pool, admin: Admin) -> None:
    """A VM's admin may write, but not call plugins: said, and --no-refresh does without."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    trust = ('--fingerprint', pool.fingerprint(pool.hosts[0]))
    ran = admin.over_tls('set', 'web', '--groups', 'red', *trust, user='tenant')
    assert ran.code == 1 and 'are written, but its host was not asked' in ran.err
    assert state(pool, web)['data'] == data(groups='red')
    assert admin.over_tls('seal', 'web', '--check', *trust, user='reader').code == 0
    ran = admin.over_tls('set', 'web', '--groups', 'blue', '--no-refresh', *trust, user='tenant')
    assert ran.code == 0 and 'not asked' in ran.out
    ran = admin.over_tls('relocate', 'web', *trust, user='operator')
    assert ran.code == 1 and 'RBAC_PERMISSION_DENIED' in ran.err


def test_the_host_has_no_plugin(pool: Pool, admin: Admin) -> None:
    pool.start_vm('web', pool.hosts[0], 11)
    pool.hosts[0].execute(['mv', '/etc/xapi.d/plugins/xsisolate', '/etc/xapi.d/plugins/x'])
    try:
        line = admin.refused(1, 'set', 'web', '--groups', 'red')
    finally:
        pool.hosts[0].execute(['mv', '/etc/xapi.d/plugins/x', '/etc/xapi.d/plugins/xsisolate'])
    assert 'are written' in line and 'XENAPI_PLUGIN_FAILURE' in line


def test_the_vm_goes_while_we_look(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)

    def vanish(method: str, params: Any, after: bool) -> None:
        if method == 'VIF.add_to_other_config' and web.uuid in pool.vms:
            pool.destroy(web)
    pool.fault = vanish
    assert 'HANDLE_INVALID' in admin.refused(1, 'set', 'web', '--groups', 'red')


def test_a_vm_that_moves_meanwhile_is_followed(pool: Pool, admin: Admin) -> None:
    """The host that was asked has it no more: the other is asked."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    moved = []

    def move(method: str, params: Any, after: bool) -> None:
        if method == 'host.call_plugin' and not after and not moved:
            moved.append(method)
            pool.migrate(web, pool.hosts[1], 0)
    pool.fault = move
    ran = admin.fine('set', 'web', '--groups', 'red', *OWN)
    assert moved and ': isolated' in ran.out
    assert [method for method, _ in pool.db.calls].count('host.call_plugin') == 2


def test_a_policy_that_only_the_host_refuses(pool: Pool, admin: Admin) -> None:
    """The VIF is in quarantine: exit code 3, and the reason is there."""
    pool.start_vm('web', pool.hosts[0], 11)
    db = pool.start_vm('db', pool.hosts[0], 12)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    ran = admin('set', 'db', '--groups', 'blue', *OWN)
    assert ran.code == 3 and 'address 10.9.0.11 is already that of' in ran.out
    assert not pool.ask(db, 'ping', '10.9.0.254', 0.3)
