"""Portable seals and templates: what a VM made of another one may do, by real packets."""
import json
from typing import Any, Dict, Iterator, List

import pytest

from sandbox import seals
from sandbox.pool import Pool, PoolVm

from support.xapi_admin import Admin, data, state, writes

QUICK = True
SEAL = 'xsisolate-seal'
WORDS = {'groups': 'red', 'vif/0/ipv4': '10.9.0.21'}
OWN = ('--groups', 'red', '--ipv4', '10.9.0.21')


def call(pool: Pool, method: str, *args: Any, role: str = 'vm-admin') -> Any:
    """Send a message as another tool does, in the least role."""
    session = pool.db.open_session(role)
    try:
        return pool.db.answer(method, [session, *args])
    finally:
        pool.db.answer('session.logout', [session])


def clone(pool: Pool, vm: PoolVm, name: str, number: int = 21) -> PoolVm:
    """VM.clone, then VM.provision: so XenCenter, `xe vm-install` and Xen Orchestra make a VM."""
    ref = call(pool, 'VM.clone', vm.ref, name)
    call(pool, 'VM.provision', ref)
    return pool.adopt(ref, number)


def modes(pool: Pool, vm: PoolVm) -> List[str]:
    """Return what a VM's VIFs do on its host."""
    reply = pool.call_plugin(pool.record(vm)['resident_on'], 'xsisolate', 'refresh', '',
                             {'vm': vm.uuid})
    return [vif['mode'] for vif in json.loads(reply)['vifs']]


@pytest.fixture
def member(pool: Pool, admin: Admin) -> PoolVm:
    """A VM of the group that copies are to join."""
    vm = pool.start_vm('member', pool.hosts[0], 12)
    admin.fine('set', 'member', '--groups', 'red', '--ipv4', vm.ipv4)
    return vm


@pytest.fixture
def stranger(pool: Pool, admin: Admin) -> PoolVm:
    """A VM of another group."""
    vm = pool.start_vm('stranger', pool.hosts[0], 13)
    admin.fine('set', 'stranger', '--groups', 'blue', '--ipv4', vm.ipv4)
    return vm


@pytest.fixture
def template(pool: Pool) -> Iterator[PoolVm]:
    """A template, beside a VM of the same name."""
    vm = pool.add_vm('web', 21)
    call(pool, 'VM.set_is_a_template', vm.ref, True)
    pool.add_vm('web', 22)
    yield vm


def test_a_vm_of_a_portable_template_is_a_member_at_once(
        pool: Pool, admin: Admin, member: PoolVm, stranger: PoolVm, template: PoolVm) -> None:
    """Nobody has touched it: on its first host, after a reboot, and after a migration."""
    admin.fine('set', 'web', '--template', '--portable', *OWN)
    assert pool.vif(template)['other_config'][SEAL] == seals.portable_seal(0, WORDS)
    vm = clone(pool, template, 'web-1')
    assert pool.vif(vm)['MAC'] != pool.vif(template)['MAC'] and vm.uuid != template.uuid
    pool.start(vm, pool.hosts[0])
    for again in (None, lambda: (pool.stop(vm), pool.start(vm, pool.hosts[0]))):
        again and again()
        assert modes(pool, vm) == ['isolated']
        assert pool.ask(vm, 'ping', member.ipv4)
        assert not pool.ask(vm, 'ping', stranger.ipv4, 0.3)
    pool.migrate(vm, pool.hosts[1])
    assert modes(pool, vm) == ['isolated']
    assert admin.fine('seal', 'web-1', '--check').out.count('portable') == 1


def test_a_vm_of_a_bound_template_waits_for_an_admin(pool: Pool, admin: Admin, member: PoolVm,
                                                     template: PoolVm) -> None:
    said = admin.fine('set', 'web', '--template', *OWN).out
    assert 'quarantined until it is sealed' in said and '--portable' in said
    vm = clone(pool, template, 'web-1')
    pool.start(vm, pool.hosts[0])
    assert modes(pool, vm) == ['quarantined'] and not pool.ask(vm, 'ping', member.ipv4, 0.3)
    admin.fine('seal', 'web-1', '--yes')
    assert pool.ask(vm, 'ping', member.ipv4)
    assert pool.vif(vm)['other_config'][SEAL].startswith('1:')


def test_its_root_has_gained_nothing(pool: Pool, admin: Admin, member: PoolVm,
                                     template: PoolVm) -> None:
    """A copy's root writes another policy, that of another portable seal among them."""
    admin.fine('set', 'web', '--template', '--portable', *OWN)
    other = pool.add_vm('other', 30)
    admin.fine('set', 'other', '--portable', '--mode', 'unlocked')
    vm = clone(pool, template, 'web-1')
    pool.start(vm, pool.hosts[0])
    assert pool.ask(vm, 'ping', member.ipv4)
    before = pool.vif(vm)['other_config']
    for key, value in (('groups', 'blue'), ('allow', 'external'), ('mode', 'unlocked')):
        pool.guest_writes(vm, 'vm-data/xsisolate/' + key, value)
        assert admin('seal', 'web-1', '--check').code == 4
        assert 'portable seal is not that' in admin('seal', 'web-1', '--check').out
    assert pool.vif(vm)['other_config'] == before
    # as XAPI would start it again, with what the guest wrote: the whole policy of another VM
    pool.stop(vm)
    pool.db.set('VM', vm.ref, xenstore_data=dict(pool.record(other)['xenstore_data']))
    pool.start(vm, pool.hosts[0])
    assert modes(pool, vm) == ['quarantined'] and not pool.ask(vm, 'ping', member.ipv4, 0.3)
    line = admin.refused(3, 'set', 'web-1', '--groups', 'red')
    assert vm.uuid in line and 'portable seal' in line


def test_two_copies_with_one_address_are_said_and_kept_apart(
        pool: Pool, admin: Admin, member: PoolVm, template: PoolVm) -> None:
    ran = admin.fine('set', 'web', '--template', '--portable', *OWN, '--json')
    warning, = ran.json['warnings']
    assert 'fixed addresses (10.9.0.21)' in warning and 'every copy claims them' in warning
    assert ran.json['vifs'][0]['portable'] is True and ran.json['template'] is True
    first, second = (clone(pool, template, name) for name in ('web-1', 'web-2'))
    pool.start(first, pool.hosts[0])
    pool.start(second, pool.hosts[0])
    assert modes(pool, first) == ['isolated'] and modes(pool, second) == ['quarantined']
    assert pool.ask(first, 'ping', member.ipv4) and not pool.ask(second, 'ping', member.ipv4, 0.3)


@pytest.mark.parametrize('words, said', [
    (('--groups', 'red'), []), (('--groups', 'red', '--ipv6', 'fd00:9::1'), ['fixed addresses']),
    (('--groups', 'red', '--shared', '10.9.0.9'), ['fixed addresses (10.9.0.9)']),
    (('--ipv4', 'any'), ['fixed addresses (any)']),
    (('--ipv4', '10.9.0.1', '--roles', 'gateway'), ['fixed addresses', 'roles (gateway)'])])
def test_what_copies_would_be_at_odds_about(pool: Pool, admin: Admin, words: Any,
                                            said: Any) -> None:
    pool.add_vm('web', 11)
    found = [line for line in admin.fine('set', 'web', '--portable', *words).out.splitlines()
             if 'the seal is portable' in line]
    assert len(found) == len(said) and all(word in line for word, line in zip(said, found))
    assert not [line for line in admin.fine('set', 'web', '--bound').out.splitlines()
                if 'the seal is portable' in line]


# --- which kind of seal ----------------------------------------------------------------------


def kind(pool: Pool, vm: PoolVm, devid: int = 0) -> str:
    """Return a seal's version."""
    return str(pool.vif(vm, devid)['other_config'].get(SEAL, ''))[:2]


def test_bound_is_the_default_and_a_kind_stays(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, vifs=2)
    admin.fine('set', 'web', '--groups', 'red')
    assert kind(pool, web) == kind(pool, web, 1) == '1:'
    admin.fine('set', 'web/1', '--portable')
    assert kind(pool, web) == '1:' and kind(pool, web, 1) == '2:'
    admin.fine('set', 'web', '--allow', 'tcp/443@external', '--groups', 'blue')
    assert kind(pool, web) == '1:' and kind(pool, web, 1) == '2:'
    admin.fine('unset', 'web', '--groups')
    assert kind(pool, web) == '1:' and kind(pool, web, 1) == '2:'
    admin.fine('set', 'web/1', '--replace', '--groups', 'red')
    assert kind(pool, web, 1) == '1:'
    admin.fine('set', 'web', '--replace', '--portable', '--groups', 'red')
    assert kind(pool, web) == kind(pool, web, 1) == '2:'
    admin.fine('set', 'web', '--bound')
    assert kind(pool, web) == kind(pool, web, 1) == '1:'
    admin.fine('unset', 'web')
    assert not kind(pool, web)


def test_a_kind_alone_needs_a_policy(pool: Pool, admin: Admin) -> None:
    pool.add_vm('web', 11)
    assert 'no policy' in admin.refused(2, 'set', 'web', '--portable')
    assert 'nothing to set' in admin.refused(2, 'set', 'web', '--replace', '--portable')
    assert admin('set', 'web', '--portable', '--bound', '--groups', 'red').code == 2
    assert not writes(pool)


def test_a_relocated_vif_keeps_its_kind(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11, locking_mode='locked',
                        ipv4_allowed=['10.9.0.11'])
    admin.fine('set', 'web', '--portable', '--ipv4', '10.9.0.11')
    admin.fine('relocate', 'web')
    assert kind(pool, web) == '2:' and modes(pool, web) == ['locked']
    assert pool.vif(web)['locking_mode'] == 'unlocked'
    admin.fine('relocate', 'web', '--undo')
    assert kind(pool, web) == '2:' and pool.vif(web)['locking_mode'] == 'locked'


def test_seal_makes_either(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 21)
    pool.db.set('VM', web.ref, xenstore_data=data(groups='red', vif_0_ipv4='10.9.0.21'))
    assert admin.fine('seal', 'web', '--print', '--portable').out.strip() == (
        seals.portable_seal(0, WORDS))
    assert '"vm"' not in admin.fine('seal', 'web', '--canonical', '--portable').out
    assert 'every copy' in admin('seal', 'web', '--portable', '--dry-run').out
    assert not writes(pool)
    said = admin.fine('seal', 'web', '--portable', '--yes').out
    assert kind(pool, web) == '2:' and 'fixed addresses' in said and ': isolated' in said
    assert admin.fine('seal', 'web', '--yes').out == 'nothing to seal\n'
    assert admin.fine('seal', 'web', '--print').out.strip() == seals.portable_seal(0, WORDS)
    told = admin.fine('seal', 'web', '--check', '--json').json[0]
    assert told['state'] == 'portable' and told['portable'] is True
    pool.db.set('VM', web.ref, xenstore_data=data(groups='blue', vif_0_ipv4='10.9.0.21'))
    admin.fine('seal', 'web', '--yes')
    assert kind(pool, web) == '1:'
    assert '--portable' in admin.refused(2, 'seal', 'web', '--check', '--portable')
    assert '--all' in admin.refused(2, 'seal', '--all', '--portable', '--yes')


def test_seal_local_prints_either(pool: Pool, process: Admin) -> None:
    pool.start_vm('web', pool.hosts[0], 21)
    process.fine('set', 'web', '--portable', *OWN)
    domid, = [vif['domid'] for vif in process.fine('status', 'web', '--json').json['vifs']]
    local = ('seal', '--local', str(domid), '0')
    assert process.fine(*local, '--print').out.strip() == seals.portable_seal(0, WORDS)
    assert 'portable' in process.fine(*local, '--check').out
    process.fine('set', 'web', '--bound')
    assert process.fine(*local, '--print').out.startswith('1:')
    assert process.fine(*local, '--print', '--portable').out.startswith('2:')


# --- what is shown ---------------------------------------------------------------------------


def test_it_is_shown_everywhere(pool: Pool, process: Admin, member: PoolVm) -> None:
    pool.start_vm('web', pool.hosts[0], 21)
    process.fine('set', 'web', '--portable', *OWN)
    seals_of: Dict[str, str] = {vif['name']: vif['seal'] for vif in process.fine(
        'status', '--json').json['vifs']}
    assert seals_of == {'web': 'portable', 'member': 'sealed'}
    assert ' portable ' in process.fine('status').out
    assert 'every copy of the VM has the same policy: web\n' in process.fine('matrix').out
    network, = process.fine('matrix', '--json').json['networks']
    assert {vif['name']: vif['seal'] for vif in network['vifs']} == seals_of
    assert '<td>portable</td>' in process.fine('matrix', '--html', '-').out
    said = process.fine('explain', 'web', 'member').out
    assert 'REACHES' in said and 'note: web (vif' in said and 'has a portable seal' in said
    assert 'portable' not in process.fine('explain', 'member', '10.9.0.77').out


# --- templates and snapshots by name and uuid ------------------------------------------------


def test_template_and_vm_of_one_name_are_told_apart(pool: Pool, admin: Admin,
                                                    template: PoolVm) -> None:
    vm = next(one for one in pool.vms.values() if one.name == 'web' and one is not template)
    admin.fine('set', 'web', '--groups', 'red')
    assert kind(pool, vm) == '1:' and not kind(pool, template)
    admin.fine('set', 'web', '--template', '--groups', 'blue', '--portable')
    assert kind(pool, vm) == '1:' and kind(pool, template) == '2:'
    for name in ('web', template.uuid):
        assert 'groups=blue' in admin.fine('seal', name, '--template', '--check').out
    assert 'groups=red' in admin.fine('seal', 'web', '--check').out
    assert 'groups=blue' in admin.fine('seal', '--all', '--template', '--check').out
    assert 'groups=blue' not in admin.fine('seal', '--all', '--check').out
    admin.fine('unset', 'web', '--template')
    assert kind(pool, vm) == '1:' and not kind(pool, template)
    assert state(pool, template)['data'] == {}


def test_what_is_not_a_template_is_not_found(pool: Pool, admin: Admin, template: PoolVm) -> None:
    vm = pool.add_vm('plain', 23)
    call(pool, 'VM.set_name_label', template.ref, 'golden')
    assert 'leave out --template' in admin.refused(2, 'set', 'plain', '--template', '--mode',
                                                   'locked')
    assert 'leave out --template' in admin.refused(2, 'set', vm.uuid, '--template', '--mode',
                                                   'locked')
    assert 'add --template' in admin.refused(2, 'set', 'golden', '--mode', 'locked')
    for words in (('set', 'nobody', '--mode', 'locked'), ('unset', 'nobody'),
                  ('seal', 'nobody', '--check'), ('status', 'nobody')):
        assert 'no template and no snapshot' in admin.refused(2, *words, '--template')
    assert 'has no VIF 3' in admin.refused(2, 'set', 'golden/3', '--template', '--mode', 'locked')
    twin = pool.add_vm('golden', 24)
    call(pool, 'VM.set_is_a_template', twin.ref, True)
    line = admin.refused(2, 'set', 'golden', '--template', '--mode', 'locked')
    assert template.uuid in line and twin.uuid in line
    assert set(writes(pool)) == {'VM.set_is_a_template', 'VM.set_name_label'}      # the test's own


def test_a_snapshot_by_name(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 21)
    admin.fine('set', 'web', *OWN)
    ref = call(pool, 'VM.snapshot', web.ref, 'before', [], role='vm-power-admin')
    snapshot = pool.adopt(ref, 21)
    assert kind(pool, snapshot) == '1:'
    assert admin('seal', 'before', '--template', '--check').code == 4     # it has another uuid
    admin.fine('seal', 'before', '--template', '--portable', '--yes')
    assert kind(pool, snapshot) == '2:' and kind(pool, web) == '1:'
    clone(pool, snapshot, 'web-2')
    assert admin.fine('seal', 'web-2', '--check').out.count('portable') == 1


def test_status_of_a_template(pool: Pool, process: Admin, template: PoolVm) -> None:
    assert 'has no policy' in process.fine('status', 'web', '--template').out
    process.fine('set', 'web', '--template', '--groups', 'red')
    ran = process('status', 'web', '--template')
    assert ran.code == 4 and 'quarantined until it is sealed' in ran.out
    process.fine('set', 'web', '--template', '--portable')
    for name in ('web', template.uuid):
        said = process.fine('status', name, '--template').out
        assert 'template web (%s)' % template.uuid in said and 'groups=red' in said
        assert 'has this policy: the seal is portable' in said
    told = process.fine('status', 'web', '--template', '--json').json
    assert told['template'] == template.uuid and told['vifs'][0]['good'] is True
    assert told['vifs'][0]['seal'] == 'portable' and told['vifs'][0]['mode'] == 'isolated'
    pool.db.set('VM', template.ref, xenstore_data=data(groups='blue'))
    ran = process('status', 'web', '--template')
    assert ran.code == 4 and 'is quarantined: ' in ran.out
    pool.db.set('VM', template.ref, xenstore_data=data(groups='R?D'))
    assert process('status', 'web', '--template').code == 4
    assert 'name the template' in process.refused(2, 'status', '--template')


# --- what other tools do ---------------------------------------------------------------------


@pytest.mark.parametrize('method', ['VM.clone', 'VM.copy'])
@pytest.mark.parametrize('portable', [True, False])
def test_a_clone_and_a_full_copy(pool: Pool, admin: Admin, method: str, portable: bool) -> None:
    """vm-data and VIF.other_config come along; uuid and MAC addresses are new."""
    web = pool.add_vm('web', 21)
    admin.fine('set', 'web', *OWN, *['--portable'] * portable)
    args = [web.ref, 'web-2'] + ['OpaqueRef:NULL'] * (method == 'VM.copy')
    copy = pool.adopt(call(pool, method, *args), 21)
    assert pool.record(copy)['xenstore_data'] == pool.record(web)['xenstore_data']
    assert pool.vif(copy)['other_config'] == pool.vif(web)['other_config']
    assert pool.vif(copy)['MAC'] != pool.vif(web)['MAC'] and copy.uuid != web.uuid
    assert not pool.record(copy)['is_a_template']
    assert admin('seal', 'web-2', '--check').code == (0 if portable else 4)


def test_a_tool_that_makes_the_vifs_anew(pool: Pool, admin: Admin, member: PoolVm,
                                         template: PoolVm) -> None:
    """So do Xen Orchestra's `vm.create` and its Terraform provider: no seal of any kind is left."""
    admin.fine('set', 'web', '--template', '--portable', *OWN)
    vm = clone(pool, template, 'web-1')
    vif = pool.vif(vm)
    call(pool, 'VIF.destroy', vm.vifs[0])
    call(pool, 'VIF.create', {'device': '0', 'network': vif['network'], 'VM': vm.ref, 'MAC': '',
                              'other_config': {}, 'locking_mode': 'network_default'})
    vm = pool.adopt(vm.ref, 21)
    assert not kind(pool, vm)
    pool.start(vm, pool.hosts[0])
    assert modes(pool, vm) == ['quarantined'] and not pool.ask(vm, 'ping', member.ipv4, 0.3)
    assert 'unsealed' in admin('seal', 'web-1', '--check').out


@pytest.mark.parametrize('mac', ['kept', 'new'])
@pytest.mark.parametrize('portable', [True, False])
def test_a_delta_backup_restored(pool: Pool, admin: Admin, portable: bool, mac: str) -> None:
    """Xen Orchestra creates VM and VIFs from the records that it has kept: a new uuid only."""
    web = pool.add_vm('web', 21)
    admin.fine('set', 'web', *OWN, *['--portable'] * portable)
    record, uuid = pool.vif(web), web.uuid
    made = pool.add_vm('restored', 21, vifs=0)
    pool.db.set('VM', made.ref, xenstore_data=dict(pool.record(web)['xenstore_data']),
                other_config={'mac_seed': 'another'})
    call(pool, 'VIF.create', {**record, 'VM': made.ref,
                              'MAC': record['MAC'] if mac == 'kept' else ''})
    restored = pool.adopt(made.ref, 21)
    assert (pool.vif(restored)['MAC'] == record['MAC']) is (mac == 'kept')
    assert admin('seal', 'restored', '--check').code == (0 if portable else 4)
    pool.destroy(web)
    if portable or mac == 'kept':
        admin.fine('seal', 'restored', '--from', uuid)
    else:
        admin.refused(3, 'seal', 'restored', '--from', uuid)


# --- seal --from, and seal --all --yes: what is proven, and what is not ----------------------


def test_from_a_template_whose_vifs_were_made_anew(pool: Pool, admin: Admin, member: PoolVm,
                                                   template: PoolVm) -> None:
    """What Terraform leaves, sealed by one command that asks nothing."""
    admin.fine('set', 'web', '--template', '--portable', *OWN)
    vm = clone(pool, template, 'web-1')
    call(pool, 'VIF.destroy', vm.vifs[0])
    call(pool, 'VIF.create', {'device': '0', 'network': pool.network, 'VM': vm.ref, 'MAC': '',
                              'other_config': {}, 'locking_mode': 'network_default'})
    vm = pool.adopt(vm.ref, 21)
    pool.start(vm, pool.hosts[0])
    before = len(writes(pool))
    assert admin('seal', 'web-1', '--from', template.uuid, '--dry-run').code == 4
    assert len(writes(pool)) == before
    assert ': isolated' in admin.fine('seal', 'web-1', '--from', template.uuid).out
    assert kind(pool, vm) == '1:' and pool.ask(vm, 'ping', member.ipv4)
    admin.fine('seal', 'web-1', '--from', template.uuid, '--portable')
    assert kind(pool, vm) == '2:'


@pytest.mark.parametrize('portable', [True, False])
@pytest.mark.parametrize('changed', ['', 'groups', 'allow', 'vif/0/ipv4', 'mode'])
def test_from_proves_or_refuses(pool: Pool, admin: Admin, portable: bool, changed: str) -> None:
    web = pool.add_vm('web', 21)
    admin.fine('set', 'web', *OWN, *['--portable'] * portable)
    copy = pool.adopt(call(pool, 'VM.clone', web.ref, 'copy'), 21)
    # what the original's guest writes since does not matter: its seal is what was meant
    pool.db.set('VM', web.ref, xenstore_data=data(groups='blue'))
    if changed:
        value = {'vif/0/ipv4': '10.9.0.99', 'mode': 'disabled', 'allow': 'external'}.get(
            changed, 'blue')
        pool.db.set('VM', copy.ref, xenstore_data={
            **pool.record(copy)['xenstore_data'], 'vm-data/xsisolate/' + changed: value})
        before = state(pool, copy)
        line = admin.refused(3, 'seal', 'copy', '--from', web.uuid)
        assert 'no seal proves' in line and copy.uuid in line and state(pool, copy) == before
        return
    admin.fine('seal', 'copy', '--from', web.uuid)
    assert kind(pool, copy) == '1:' and admin('seal', 'copy', '--check').code == 0


def test_from_an_original_that_is_gone(pool: Pool, admin: Admin) -> None:
    """A restore that kept the MAC address carries the proof; one with another has none."""
    web = pool.add_vm('web', 21)
    admin.fine('set', 'web', *OWN)
    kept, new = (pool.adopt(call(pool, 'VM.clone', web.ref, name), 21) for name in ('kept', 'new'))
    pool.db.set('VIF', kept.vifs[0], MAC=pool.vif(web)['MAC'])
    uuid = web.uuid
    pool.destroy(web)
    line = admin.refused(3, 'seal', 'new', '--from', uuid)
    assert 'XAPI does not have any more' in line and new.uuid in line
    admin.fine('seal', 'kept', '--from', uuid)
    assert admin('seal', 'kept', '--check').code == 0 and admin('seal', 'new', '--check').code == 4
    assert 'no seal proves' in admin.refused(3, 'seal', 'kept', '--from', new.uuid)


def test_from_usage(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 21)
    for words in (['web', '--from', 'web'], ['--all', '--from', web.uuid],
                  ['web', '--from', web.uuid, '--check'], ['web', '--from', web.uuid, '--print'],
                  ['web', '--from', '']):
        admin.refused(2, 'seal', *words)
    assert 'no policy' in admin.refused(3, 'seal', 'web', '--from', web.uuid)
    assert not writes(pool)


def test_all_blesses_no_policy_that_a_seal_contradicts(pool: Pool, admin: Admin) -> None:
    web, copy, bad, fresh = (pool.add_vm(name, 20 + at) for at, name in enumerate(
        ('web', 'copy', 'bad', 'fresh')))
    admin.fine('set', 'web', *OWN)
    for vm in (copy, bad):
        pool.db.set('VM', vm.ref, xenstore_data=dict(pool.record(web)['xenstore_data']))
        pool.db.set('VIF', vm.vifs[0], other_config=dict(pool.vif(web)['other_config']))
    pool.db.set('VM', bad.ref, xenstore_data=data(groups='blue', allow='external'))
    pool.db.set('VM', fresh.ref, xenstore_data=data(groups='green'))
    said = admin('seal', '--all', '--dry-run').out
    assert 'it is that of web (%s), whose seal proves it' % web.uuid in said
    ran = admin('seal', '--all', '--yes')
    assert ran.code == 3
    line, = ran.err.splitlines()
    assert bad.uuid in line and 'groups=blue' in line and 'xsisolate seal ' + bad.uuid in line
    assert [admin('seal', name, '--check').code for name in ('web', 'copy', 'bad', 'fresh')] == [
        0, 0, 4, 0]
    admin.fine('seal', 'bad', '--yes')
    assert admin.fine('seal', '--all', '--yes').out == 'nothing to seal\n'
