"""Hosts on which xsisolate is installed and not active: what an admin writes leaves them alone."""
from typing import Iterator

import pytest
from sandbox.installed import install, restart_toolstack
from sandbox.pool import CONFIG, Pool

from support.xapi_admin import Admin, data

STRICT = CONFIG.replace('  "*":\n', '  "*":\n    default: isolated\n')


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own, which runs on the stock hooks."""
    with Pool(STRICT) as pool:
        install(pool.hosts)
        yield pool


def test_sync_touches_no_flow(pool: Pool, admin: Admin) -> None:
    """Neither on the host nor for the pool; what it would do can be seen."""
    beta = pool.hosts[1]
    pool.start_vm('old', beta, 14)
    before = beta.call('flows')
    ran = beta.run('sync')
    assert ran.returncode == 1 and 'not active on this host' in ran.stderr, ran
    assert beta.run('sync', '--dry-run').returncode == 4
    ran = admin('pool', 'sync')
    assert ran.code == 1 and ran.out.count('not active on this host') == 2, ran
    assert beta.call('flows') == before


def test_a_policy_is_written_and_waits_for_activate(pool: Pool, admin: Admin) -> None:
    alpha = pool.hosts[0]
    web, db = (pool.start_vm(name, alpha, number) for name, number in (('web', 11), ('db', 12)))
    ran = admin('set', 'web', '--groups', 'red', '--ipv4', web.ipv4)
    assert ran.code == 3 and '.0: not applied: xsisolate is not active on this host' in ran.out, ran
    assert pool.record(web)['xenstore_data'] == data(groups='red', vif_0_ipv4=web.ipv4)
    assert pool.ask(web, 'ping', db.ipv4) and not [
        flow for flow in alpha.call('flows') if '0x5849534f' in flow]
    assert alpha.run('activate').returncode == 0
    restart_toolstack(alpha)
    assert not pool.ask(web, 'ping', db.ipv4, 0.3)
    ran = admin.fine('set', 'web', '--ipv6', web.ipv6)
    assert '.0: isolated' in ran.out


def test_xapis_lock_stays(pool: Pool, admin: Admin) -> None:
    """On beta nothing would hold a VIF that XAPI does not lock any more."""
    web = pool.start_vm('locked', pool.hosts[1], 13, locking_mode='locked',
                        ipv4_allowed=['10.9.0.13'])
    ran = admin('relocate', 'locked')
    assert ran.code == 1 and 'not active on this host' in ran.err, ran
    assert pool.vif(web)['locking_mode'] == 'locked'
