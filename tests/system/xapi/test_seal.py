"""seal VM: what other tools have written to vm-data, shown, asked about, sealed, checked."""
import os
import pty
import subprocess
from typing import Any

import pytest

from sandbox import seals
from sandbox.pool import Pool

from support.xapi_admin import Admin, data, state, writes

QUICK = True
SEAL = 'xsisolate-seal'
POLICY = data(groups='red', vif_0_ipv4='10.9.0.11')
WORDS = {'groups': 'red', 'vif/0/ipv4': '10.9.0.11'}


def expected(pool: Pool, vm: Any, words: Any, devid: int = 0) -> str:
    """Return the seal as an implementation that shares no code with the product makes it."""
    return seals.seal(vm.uuid, pool._guest_vifs(vm)[devid].record, words)


def test_what_xe_wrote_is_sealed_and_reaches_the_domain(pool: Pool, admin: Admin) -> None:
    """xe vm-param-set changes the database only: the domain gets it with the seal."""
    web = pool.start_vm('web', pool.hosts[1], 11)
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    assert pool.hosts[1].call('vm_data')[web.uuid] == {}
    ran = admin.fine('seal', 'web', '--yes')
    assert ': isolated' in ran.out
    assert pool.vif(web)['other_config'][SEAL] == expected(pool, web, WORDS)
    assert pool.hosts[1].call('vm_data')[web.uuid] == {
        'xsisolate/groups': 'red', 'xsisolate/vif/0/ipv4': '10.9.0.11'}
    assert pool.record(web)['xenstore_data'] == POLICY
    assert admin.fine('seal', 'web', '--yes').out == 'nothing to seal\n'


def test_print_and_canonical_write_nothing(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, vifs=2)
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    assert admin.fine('seal', 'web/0', '--print').out == expected(pool, web, WORDS) + '\n'
    assert len(admin.fine('seal', 'web', '--print').out.splitlines()) == 2
    assert '"ipv4":["10.9.0.11"]' in admin.fine('seal', 'web/0', '--canonical').out
    told = admin.fine('seal', 'web', '--print', '--json').json
    assert [vif['state'] for vif in told] == ['unsealed', 'unsealed']
    assert told[0]['seal'] == expected(pool, web, WORDS) and not writes(pool)


def test_check(pool: Pool, admin: Admin) -> None:
    web, db = pool.add_vm('web', 11), pool.add_vm('db', 12)
    assert admin('seal', 'web', '--check').code == 0
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    ran = admin('seal', 'web', '--check')
    assert ran.code == 4 and 'unsealed' in ran.out
    admin.fine('seal', 'web', '--yes')
    assert 'sealed' in admin.fine('seal', 'web', '--check').out
    pool.db.set('VM', web.ref, xenstore_data=dict(POLICY, **data(groups='blue')))
    told = admin('seal', '--all', '--check', '--json')
    assert told.code == 4 and [vif['vm'] for vif in told.json] == [web.uuid]
    assert told.json[0]['state'] == 'changed' and 'an admin meant' in told.json[0]['error']
    assert db.uuid not in told.out


def test_dry_run(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    assert admin.fine('seal', '--all', '--dry-run').out == 'nothing to seal\n'
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    ran = admin('seal', '--all', '--dry-run')
    assert ran.code == 4 and 'groups=red ipv4=10.9.0.11' in ran.out and not writes(pool)


def test_nobody_can_be_asked(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    for words in (['web'], ['--all'], ['web', '--json']):
        assert '--yes' in admin.refused(2, 'seal', *words)
    assert not writes(pool)


@pytest.mark.parametrize('answer, sealed', [('y', True), ('n', False), ('', False)])
def test_it_asks(pool: Pool, admin: Admin, answer: str, sealed: bool) -> None:
    web = pool.add_vm('web', 11)
    pool.db.set('VM', web.ref, xenstore_data=POLICY)
    host = pool.hosts[0]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, 'r+b', buffering=0) as terminal:
        child = subprocess.Popen(host.argv(host.python, '-m', 'xsisolate', 'seal', '--all'),
                                 env=host.environment(), cwd='/', stdin=theirs,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 encoding='utf-8')
        os.close(theirs)
        terminal.write(answer.encode() + b'\n')
        out, _ = child.communicate(timeout=30)
    assert child.returncode == (0 if sealed else 4)
    assert 'groups=red ipv4=10.9.0.11' in out and 'seal it? [y/N]' in out
    assert (SEAL in pool.vif(web)['other_config']) is sealed


def test_what_is_shown_is_sealed(pool: Pool, admin: Admin) -> None:
    """Between question and answer the guest writes: its VIF is quarantined, not the new policy."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    pool.db.set('VM', web.ref, xenstore_data=POLICY)

    def meddle(method: str, params: Any, after: bool) -> None:
        if method == 'VIF.add_to_other_config' and after:
            pool.db.set('VM', web.ref, xenstore_data=dict(POLICY, **data(groups='blue')))
    pool.fault = meddle
    ran = admin('seal', 'web', '--yes')
    assert ran.code == 1 and 'another program or administrator writes' in ran.err
    assert pool.vif(web)['other_config'][SEAL] == expected(pool, web, WORDS)


def test_all_goes_on_after_a_failure(pool: Pool, admin: Admin) -> None:
    names = ['a', 'b', 'c']
    vms = [pool.add_vm(name, 11) for name in names]
    for vm, group in zip(vms, ('red', 'R?D', 'blue')):
        pool.db.set('VM', vm.ref, xenstore_data=data(groups=group))
    ran = admin('seal', '--all', '--yes')
    assert ran.code == 3 and len(ran.err.splitlines()) == 1 and vms[1].uuid in ran.err
    assert [SEAL in pool.vif(vm)['other_config'] for vm in vms] == [True, False, True]


def test_a_seal_without_policy_is_no_policy(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    admin.fine('set', 'web', '--groups', 'red')
    pool.db.set('VM', web.ref, xenstore_data={})
    assert 'missing' in admin('seal', 'web', '--check').out
    ran = admin('seal', 'web', '--yes')
    assert ran.code == 3 and 'no policy' in ran.err
    admin.fine('unset', 'web')
    assert admin.fine('seal', 'web', '--check').out and not state(pool, web)['data']


def test_usage(pool: Pool, admin: Admin) -> None:
    for words in ([], ['--local', '1', '0'], ['web', '--all'], ['web', '--print', '--check'],
                  ['--local', '1', '0', '--print', '--dry-run'],
                  ['--local', '1', '0', '--check', '--host', 'x']):
        assert admin('seal', *words).code == 2
