"""relocate: XAPI's own locking moves into vm-data and back, and never is there none."""
import json
from typing import Any, Dict

import pytest

from sandbox.pool import Pool

from support.xapi_admin import Admin, data, state, until, writes

LOCKED: Dict[str, Any] = {'locking_mode': 'locked', 'ipv4_allowed': ['10.9.0.11', '10.9.1.7/24'],
                          'ipv6_allowed': ['fd00:9::11']}
QUICK = True
NOTE = 'xsisolate-relocated'


def start(pool: Pool, **more: Any) -> Any:
    return pool.start_vm('web', pool.hosts[1], 11, **dict(LOCKED, **more))


def test_there_and_back(pool: Pool, admin: Admin) -> None:
    web = start(pool)
    before = state(pool, web)
    assert pool.ask(web, 'ping', '10.9.0.254')
    ran = admin('relocate', 'web', '--dry-run')
    assert ran.code == 4 and 'locking_mode unlocked, was locked' in ran.out
    assert state(pool, web) == before and not writes(pool)
    assert ': locked' in admin.fine('relocate', 'web').out
    after = state(pool, web)
    assert after['data'] == data(mode='locked', vif_0_ipv4='10.9.0.11 10.9.1.0/24',
                                 vif_0_ipv6='fd00:9::11')
    assert [after['vifs'][0][key] for key in LOCKED] == ['unlocked', [], []]
    note = json.loads(pool.vif(web)['other_config'][NOTE])
    assert {key: note[key] for key in LOCKED} == LOCKED
    assert pool.ask(web, 'ping', '10.9.0.254')
    assert admin.fine('seal', 'web', '--check')
    assert admin.fine('relocate', 'web').out.startswith('VIF')      # nothing left to do
    assert 'locking_mode locked' in admin('relocate', 'web', '--undo', '--dry-run').out
    admin.fine('relocate', 'web', '--undo')
    assert state(pool, web) == before
    assert pool.ask(web, 'ping', '10.9.0.254')


def test_every_address_and_a_service_go_there_and_back(pool: Pool, admin: Admin) -> None:
    """XAPI says 0.0.0.0/0 where vm-data says `any`."""
    web = pool.add_vm('web', 11, locking_mode='locked', ipv4_allowed=['0.0.0.0/0'])
    admin.fine('set', 'web', '--allow', 'tcp/443@external')
    before = state(pool, web)
    admin.fine('relocate', 'web')
    assert state(pool, web)['data'] == data(mode='isolated', allow='tcp/443@external',
                                            vif_0_ipv4='any', vif_0_ipv6=',')
    assert admin('seal', 'web', '--check').code == 0
    admin.fine('relocate', 'web', '--undo')
    assert state(pool, web) == before


def test_a_spoofed_address_is_stopped_all_the_way(pool: Pool, admin: Admin) -> None:
    """Before, meanwhile and after; the guest takes another address than it may use."""
    web = start(pool)
    pool.ask(web, 'ip', 'addr add 10.9.0.66/24 dev eth0')

    def spoofs() -> bool:
        return bool(pool.ask(web, 'ping', '10.9.0.254', 0.3, 32, '10.9.0.66'))

    seen = []

    def look(method: str, params: Any, after: bool) -> None:
        if method.startswith('VIF.set_') and after:
            seen.append((method, spoofs()))
    pool.fault = look
    assert not spoofs()
    admin.fine('relocate', 'web')
    assert not spoofs()
    admin.fine('relocate', 'web', '--undo')
    assert not spoofs() and len(seen) == 6 and not any(passed for _, passed in seen), seen


def test_the_policy_comes_first_and_the_lock_goes_last(pool: Pool, admin: Admin) -> None:
    start(pool)
    admin.fine('relocate', 'web')
    order = [method for method, _ in pool.db.calls if method.startswith('VIF.set_') or method in (
        'VM.set_xenstore_data', 'host.call_plugin')]
    hosts = len(pool.hosts)
    assert order[hosts:] == ['VM.set_xenstore_data', 'host.call_plugin', 'VIF.set_locking_mode',
                             'VIF.set_ipv4_allowed', 'VIF.set_ipv6_allowed', 'host.call_plugin']
    del pool.db.calls[:]
    admin.fine('relocate', 'web', '--undo')
    order = [method for method in writes(pool) if 'set_' in method]
    assert order == ['VIF.set_ipv4_allowed', 'VIF.set_ipv6_allowed', 'VIF.set_locking_mode',
                     'VM.set_xenstore_data']


def test_the_stricter_of_two_policies_stays(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, **LOCKED)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', '10.9.0.11')
    before = state(pool, web)
    admin.fine('relocate', '--all')
    assert state(pool, web)['data'] == data(
        mode='isolated', groups='red', vif_0_ipv4='10.9.0.11', vif_0_ipv6='fd00:9::11')
    admin.fine('relocate', '--all', '--undo')
    assert state(pool, web) == before


def test_a_disabled_vif_and_those_that_have_no_lock(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, vifs=2, locking_mode='disabled')
    db = pool.add_vm('db', 12)
    admin.fine('relocate', '--all')
    assert state(pool, web)['data'] == data(vif_0_mode='disabled')
    assert NOTE not in pool.vif(web, 1)['other_config'] and not state(pool, db)['data']
    assert pool.vif(web)['locking_mode'] == 'unlocked'
    assert pool.vif(web, 1)['locking_mode'] == 'network_default'


def test_a_policy_that_the_host_refuses_keeps_the_lock(pool: Pool, admin: Admin) -> None:
    """A roster keeps the VM out of its group: only its host knows."""
    web = pool.add_vm('web', 11, **LOCKED)
    admin.fine('set', 'web', '--groups', 'red')
    pool.start(web, pool.hosts[1])
    before = state(pool, web)
    config = pool._config
    pool.hosts[1].call('configure', config + 'groups: {red: {vms: []}}\n')
    try:
        line = admin.refused(1, 'relocate', 'web')
    finally:
        pool.hosts[1].call('configure', config)
    assert 'XAPI keeps its locking' in line and 'taken back' in line and 'roster' in line
    assert state(pool, web) == before


def test_a_host_without_xsisolate(pool: Pool, admin: Admin) -> None:
    web = start(pool)
    before = state(pool, web)
    answer = pool.call_plugin

    def missing(host: str, *rest: Any) -> str:
        from sandbox.xapidb import Refused
        if host == pool.refs['beta']:
            raise Refused('XENAPI_MISSING_PLUGIN', 'xsisolate')
        return answer(host, *rest)
    pool.call_plugin = missing      # type: ignore[method-assign]
    try:
        line = admin.refused(1, 'relocate', 'web')
    finally:
        del pool.call_plugin        # type: ignore[method-assign]
    assert 'beta' in line and 'alpha' not in line and 'Nothing was written' in line
    assert state(pool, web) == before and not writes(pool)


@pytest.mark.parametrize('at', range(9))
def test_cut_off_anywhere(pool: Pool, admin: Admin, at: int) -> None:
    """Whichever call is lost, XAPI's lock or the policy stands, or all is as before."""
    web = pool.add_vm('web', 11, **LOCKED)
    before = state(pool, web)
    count = [0]

    def lose(method: str, params: Any, after: bool) -> None:
        from sandbox.xapiserver import Cut
        if after and ('set_' in method or 'other_config' in method):
            count[0] += 1
            if count[0] == at + 1:
                raise Cut
    pool.fault = lose
    ran = admin('relocate', 'web')
    pool.fault = None
    if ran.code == 0:
        assert count[0] <= at
        return
    assert ran.code == 1 and 'taken back' in ran.err, ran
    until(lambda: state(pool, web) == before, 'everything to be as it was', 1)


def test_an_undo_does_not_lose_what_was_set_since(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, **LOCKED)
    admin.fine('relocate', 'web')
    admin.fine('set', 'web', '--groups', 'red')
    after = state(pool, web)
    assert 'changed since' in admin.refused(3, 'relocate', 'web', '--undo')
    assert state(pool, web) == after


@pytest.mark.parametrize('note', ['', 'x', '[]', '{}', '{"version": 1}', '{"version": 2}',
                                  '{"version":1,"locking_mode":"open","ipv4_allowed":[],'
                                  '"ipv6_allowed":[],"before":null,"after":{}}',
                                  '{"version":1,"locking_mode":"locked","ipv4_allowed":[4],'
                                  '"ipv6_allowed":[],"before":null,"after":{}}'])
def test_a_note_that_makes_no_sense(pool: Pool, admin: Admin, note: str) -> None:
    web = pool.add_vm('web', 11)
    pool.db.set('VIF', web.vifs[0], other_config={NOTE: note})
    assert NOTE in admin.refused(3, 'relocate', 'web', '--undo') and not writes(pool)


def test_all_goes_on_after_a_failure(pool: Pool, admin: Admin) -> None:
    good, bad = pool.add_vm('b', 11, **LOCKED), pool.add_vm('a', 12, **LOCKED)
    pool.db.set('VM', bad.ref, xenstore_data=data(groups='guests-own'))
    ran = admin('relocate', '--all', '--json')
    assert ran.code == 3 and bad.uuid in ran.err and [one['vm'] for one in ran.json] == [good.uuid]
    assert pool.vif(good)['locking_mode'] == 'unlocked'
    assert pool.vif(bad)['locking_mode'] == 'locked'
    assert admin('relocate', '--all', '--undo').code == 3       # bad still is
    assert pool.vif(good)['locking_mode'] == 'locked'
    admin.fine('unset', 'a')
    assert 'nothing to relocate' in admin.fine('relocate', '--all', '--undo').out
