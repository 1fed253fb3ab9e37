"""set and unset: what is written where, in which order, and what is left alone."""
import json
from typing import Any

import pytest

from sandbox.pool import Pool

from support.xapi_admin import Admin, data, state, writes

QUICK = True
SEAL = 'xsisolate-seal'
OWN = ('--ipv4', '10.9.0.11', '--ipv6', 'fd00:9::11')
NAMES = ['with spaces', 'it\'s "quoted"', 'new\nline', '\u05e9\u05dc\u05d5\u05dd',
         '\u202egnp.exe', 'a/0', '--all', '\x1b[2J', '*']


def test_a_running_vm(pool: Pool, process: Admin) -> None:
    host, admin = pool.hosts[0], process
    web, db = pool.start_vm('web', host, 11), pool.start_vm('db', host, 12)
    assert pool.ask(web, 'ping', db.ipv4)
    ran = admin.fine('set', 'web', '--groups', 'red', *OWN)
    assert '.0: isolated' in ran.out
    assert pool.record(web)['xenstore_data'] == data(groups='red', vif_0_ipv4='10.9.0.11',
                                                     vif_0_ipv6='fd00:9::11')
    assert host.call('vm_data')[web.uuid]['xsisolate/groups'] == 'red'
    assert pool.vif(web)['other_config'][SEAL].startswith('1:')
    assert not pool.ask(web, 'ping', db.ipv4, 0.3)
    admin.fine('set', db.uuid, '--groups', 'red', '--ipv4', db.ipv4)
    assert pool.ask(web, 'ping', db.ipv4)


def test_the_order_lets_xenopsd_see_both(pool: Pool, admin: Admin) -> None:
    pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--mode', 'disabled')
    assert writes(pool) == ['VIF.remove_from_other_config', 'VIF.add_to_other_config',
                            'VM.set_xenstore_data', 'VM.remove_from_other_config',
                            'VM.add_to_other_config']
    assert [method for method, _ in pool.db.calls].index('host.call_plugin') > max(
        at for at, (method, _) in enumerate(pool.db.calls) if method == 'VM.add_to_other_config')


def test_on_whichever_host_it_runs(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[1], 11)
    assert 'disabled' in admin.fine('set', 'web', '--mode', 'disabled', host=pool.hosts[0]).out
    assert not pool.ask(web, 'ping', '10.9.0.254', 0.3)
    admin.fine('unset', 'web', host=pool.hosts[1])
    assert pool.ask(web, 'ping', '10.9.0.254')
    assert state(pool, web)['data'] == {} and SEAL not in pool.vif(web)['other_config']


def test_a_halted_vm(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    ran = admin.fine('set', 'web', '--groups', 'red', *OWN)
    assert 'does not run' in ran.out
    assert writes(pool) == ['VIF.remove_from_other_config', 'VIF.add_to_other_config',
                            'VM.set_xenstore_data']
    pool.start(web, pool.hosts[0])
    assert not pool.ask(web, 'ping', '10.9.0.254', 0.3)     # isolated, and not quarantined:
    assert admin('seal', 'web', '--check').code == 0
    assert [vif['mode'] for vif in refreshed(pool, web)] == ['isolated']


def refreshed(pool: Pool, vm: Any) -> Any:
    return json.loads(pool.call_plugin(pool.record(vm)['resident_on'], 'xsisolate', 'refresh', '',
                                       {'vm': vm.uuid}))['vifs']


def test_what_else_the_guest_wrote_survives(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    pool.guest_writes(web, 'vm-data/kubernetes/joined', 'yes; "quoted"\nand more')
    pool.db.set('VM', web.ref, xenstore_data=dict(pool.record(web)['xenstore_data'], FIST='x'))
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    assert pool.record(web)['xenstore_data']['vm-data/kubernetes/joined'] == (
        'yes; "quoted"\nand more')
    assert pool.record(web)['xenstore_data']['FIST'] == 'x'
    assert pool.hosts[0].call('vm_data')[web.uuid]['kubernetes/joined'] == (
        'yes; "quoted"\nand more')


@pytest.mark.parametrize('key, value', [
    ('groups', 'blue'), ('allow', '0.0.0.0/0'), ('vif/0/allow', 'external'),
    ('vif/0/mode', 'locked'),
    ('nonsense', 'x'), ('allow/deeper', 'x')])
def test_what_a_guest_wrote_is_not_blessed(pool: Pool, admin: Admin, key: str,
                                           value: str) -> None:
    """The policy before it is proven, and not any more: set refuses, and writes nothing."""
    web = pool.add_vm('web', 11)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    pool.start(web, pool.hosts[0])
    pool.guest_writes(web, 'vm-data/xsisolate/' + key, value)
    before = state(pool, web)
    del pool.db.calls[:]
    line = admin.refused(3, 'set', 'web', '--ipv4', '10.9.0.99')
    assert web.uuid in line and '--replace' in line and not writes(pool)
    assert state(pool, web) == before
    admin.fine('set', 'web', '--replace', '--groups', 'green', *OWN)
    assert state(pool, web)['data'] == data(groups='green', vif_0_ipv4='10.9.0.11',
                                            vif_0_ipv6='fd00:9::11')


def test_a_key_that_no_seal_covers_goes(pool: Pool, admin: Admin) -> None:
    """A guest adds a VM-wide key that each VIF's own key replaces: sealed, and yet the guest's."""
    web = pool.add_vm('web', 11, vifs=2)
    admin.fine('set', '--allow', '10.9.0.1', 'web/0')
    admin.fine('set', '--allow', '10.9.0.2', 'web/1')
    pool.start(web, pool.hosts[0])
    pool.guest_writes(web, 'vm-data/xsisolate/allow', '0.0.0.0/0')
    pool.guest_writes(web, 'vm-data/xsisolate/vif/7/mode', 'unlocked')
    admin.fine('unset', 'web/0', '--allow')
    assert state(pool, web)['data'] == data(vif_1_allow='10.9.0.2')
    assert SEAL not in pool.vif(web, 0)['other_config']


def test_keys_that_are_not_named_stay(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    admin.fine('set', 'web', '--allow', 'tcp/443@external, 10.0.0.0/8')
    admin.fine('set', 'web', '--groups', '')
    assert state(pool, web)['data'] == data(
        groups=',', allow='10.0.0.0/8 tcp/443@external', vif_0_ipv4='10.9.0.11',
        vif_0_ipv6='fd00:9::11')
    admin.fine('unset', 'web', '--groups', '--allow')
    assert state(pool, web)['data'] == data(vif_0_ipv4='10.9.0.11', vif_0_ipv6='fd00:9::11')
    assert admin('seal', 'web', '--check').code == 0


@pytest.mark.parametrize('words, named', [
    (['web', '--allow', 'external'], ['external']), (['web', '--allow=external'], ['external']),
    (['--allow', 'external, 10.0.0.0/8', 'web'], ['external']),
    (['web', '--allow', 'tcp/80@external external'], ['external']),
    (['web', '--allow', '10.0.0.7'], ['10.0.0.7']),
    (['web', '--allow', 'tcp/22@10.0.0.1,10.0.0.0/8'], ['10.0.0.0/8']),
    (['web', '--allow', 'tcp/22@10.0.0.1, 10.0.0.0/8'], []),
    (['--allow', '10.0.0.7', 'web'], []), (['web', '--allow', '10.0.0.7 tcp/22@10.0.0.1'], []),
    (['web', '--allow', 'tcp/443@external'], []), (['web', '--allow', 'external;tcp/443'], []),
    (['web', '--allow', ''], []), (['web', '--groups', 'external'], [])])
def test_what_a_shell_may_have_cut_is_named(pool: Pool, admin: Admin, words: Any,
                                            named: Any) -> None:
    web = pool.add_vm('web', 11)
    ran = admin('set', *words)
    assert ran.code == 0 and state(pool, web)['data']
    assert [line.split()[2] for line in ran.err.splitlines()] == named
    assert ran.err.count('tcp/443@') == len(named)


@pytest.mark.parametrize('words, mute', [
    (['--groups', 'red'], True), (['--mode', 'locked'], True), (['--allow', '', *OWN[:2]], False),
    (['--groups', 'red', '--ipv6', 'fd00::7'], False), (['--mode', 'disabled'], False),
    (['--ipv4', '', '--groups', 'red'], True)])
def test_a_vif_that_nothing_will_pass_is_named(pool: Pool, admin: Admin, words: Any,
                                               mute: bool) -> None:
    web = pool.add_vm('web', 11)
    advice = '! VIF 0 has no own address, so nothing but DHCP passes: give it its addresses ' \
             '(xsisolate set %s/0 --ipv4 A --ipv6 A)' % web.uuid
    assert (advice in admin('set', 'web', '--dry-run', *words).out) is mute
    assert (advice in admin.fine('set', 'web', *words).out) is mute
    assert [advice[2:]] * mute == admin.fine('set', 'web', *words, '--json').json['warnings']


def test_addresses_that_xapi_knows_are_addresses(pool: Pool, admin: Admin) -> None:
    pool.add_vm('web', 11, locking_mode='locked', ipv4_allowed=['10.9.0.11'])
    assert 'no own address' not in admin.fine('set', 'web', '--groups', 'red').out


def test_every_address_is_owned_by_a_word_only(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    line = admin.refused(3, 'set', 'web', '--ipv4', '0.0.0.0/0')
    assert 'vif/0/ipv4' in line and 'the word any' in line and not writes(pool)
    admin.fine('set', 'web', '--ipv4', 'any', '--ipv6', 'any')
    assert state(pool, web)['data'] == data(vif_0_ipv4='any', vif_0_ipv6='any')
    assert admin('seal', 'web', '--check').code == 0


def test_the_older_spelling_is_read_and_the_newer_one_written(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    old = data(allow='external;tcp/443 fd00::7;udp/53')
    pool.db.set('VM', web.ref, xenstore_data=old)
    assert 'policy: allow=tcp/443@external,udp/53@fd00::7' in admin('seal', 'web', '--dry-run').out
    admin.fine('seal', 'web', '--yes')
    assert state(pool, web)['data'] == old
    seal = pool.vif(web)['other_config'][SEAL]
    admin.fine('set', '--allow', 'external;tcp/443 fd00::7;udp/53', 'web')
    assert state(pool, web)['data'] == data(allow='tcp/443@external udp/53@fd00::7')
    assert pool.vif(web)['other_config'][SEAL] == seal


def test_nobody_stays_nobody_after_a_reboot(pool: Pool, admin: Admin) -> None:
    """An empty list is written so that it does not get lost on its way back into XAPI."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--allow', '', *OWN)
    pool.stop(web)
    pool.start(web, pool.hosts[0])
    assert admin('seal', 'web', '--check').code == 0
    assert [vif['mode'] for vif in refreshed(pool, web)] == ['isolated']


def test_one_vif_of_several(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11, vifs=3)
    admin.fine('set', 'web', '--groups', 'red')
    assert state(pool, web)['data'] == data(groups='red')
    admin.fine('set', 'web/1', '--groups', 'blue')
    assert state(pool, web)['data'] == data(vif_0_groups='red', vif_1_groups='blue',
                                            vif_2_groups='red')
    admin.fine('set', 'web/1', '--groups', 'red')
    assert state(pool, web)['data'] == data(groups='red')
    assert '3 VIFs' in admin.refused(2, 'set', 'web', '--ipv4', '10.9.0.1')
    assert 'no VIF 7' in admin.refused(2, 'set', 'web/7', '--groups', 'x')


def test_a_list_that_is_too_long_for_one_key(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    peers = ['tcp/%d@10.%d.%d.1' % (1000 + n, n // 200, n % 200) for n in range(600)]
    admin.fine('set', 'web', '--allow', ' '.join(peers), *OWN)
    values = {key: value for key, value in state(pool, web)['data'].items() if '/allow' in key}
    assert len(values) == 6 and all(len(value) <= 2048 for value in values.values())
    assert sorted(' '.join(values.values()).split()) == sorted(peers)
    assert admin('seal', 'web', '--check').code == 0


def test_dry_run(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    before = state(pool, web)
    ran = admin('set', 'web', '--groups', 'red', '--dry-run')
    assert ran.code == 4 and '+xsisolate/groups' in ran.out and 'would write' in ran.out
    assert state(pool, web) == before and not writes(pool)
    admin.fine('set', 'web', '--groups', 'red')
    assert admin('set', 'web', '--groups', 'red', '--dry-run').code == 0


def test_the_same_twice_writes_once(pool: Pool, admin: Admin) -> None:
    pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red', *OWN)
    del pool.db.calls[:]
    ran = admin.fine('set', 'web', '--groups', 'red', *OWN)
    assert not writes(pool) and ': isolated' in ran.out


def test_json(pool: Pool, process: Admin) -> None:
    web = pool.start_vm('we"b', pool.hosts[0], 11)
    told = process.fine('set', web.uuid, '--groups', 'red', *OWN, '--json').json
    assert (told['vm'], told['name'], told['dry_run']) == (web.uuid, 'we"b', False)
    vif = told['vifs'][0]
    assert vif['policy'] == {'groups': ['red'], 'ipv4': ['10.9.0.11'], 'ipv6': ['fd00:9::11']}
    assert vif['seal'] == pool.vif(web)['other_config'][SEAL]
    assert vif['host']['applied'] and vif['host']['mode'] == 'isolated'


# --- what does not go ----------------------------------------------------------------------


def test_names(pool: Pool, process: Admin) -> None:
    """Whatever XAPI lets a name be: found, and shown as one line that harms nobody's terminal."""
    vms = {name: pool.add_vm('x', 11) for name in NAMES}
    for name, vm in vms.items():
        pool.db.set('VM', vm.ref, name_label=name)
        if pool.record(vm)['name_label'] != name:
            continue        # what XML cannot carry, XAPI itself has cut off
        ran = process.fine('set', '--groups', 'red', '--', name)
        assert vm.uuid in ran.out.splitlines()[0]
        assert not any(harm in ran.out for harm in ('\x1b', '\u202e', '\nline'))
    told = process.fine('seal', '--all', '--check')
    assert len(told.out.splitlines()) == len(NAMES)     # a title, and all but the one cut off
    assert {vif['name'] for vif in process.fine('seal', '--all', '--check', '--json').json} == (
        set(NAMES) - {'\x1b[2J'})


def test_an_unknown_vm(pool: Pool, process: Admin) -> None:
    admin = process
    assert "'nobody\\n'" in admin.refused(2, 'set', 'nobody\n', '--mode', 'locked')
    unknown = '11111111-2222-3333-4444-555555555555'
    assert unknown in admin.refused(2, 'set', unknown, '--mode', 'locked')


def test_an_ambiguous_name(pool: Pool, admin: Admin) -> None:
    twins = [pool.add_vm('twin', 11), pool.add_vm('twin', 12)]
    line = admin.refused(2, 'set', 'twin', '--mode', 'locked')
    assert all(vm.uuid in line for vm in twins)
    admin.fine('set', twins[0].uuid, '--mode', 'locked')
    assert SEAL not in pool.vif(twins[1])['other_config']


def test_templates_and_snapshots_are_no_vms(pool: Pool, admin: Admin) -> None:
    web, snapshot = pool.add_vm('web', 11), pool.add_vm('web', 11)
    pool.db.set('VM', snapshot.ref, is_a_snapshot=True, is_a_template=True)
    admin.fine('set', 'web', '--mode', 'locked')
    assert SEAL in pool.vif(web)['other_config'] and SEAL not in pool.vif(snapshot)['other_config']


def test_a_vm_without_vifs(pool: Pool, admin: Admin) -> None:
    pool.add_vm('bare', 11, vifs=0)
    for words in (['set', 'bare', '--mode', 'locked'], ['unset', 'bare'], ['seal', 'bare', '--yes'],
                  ['relocate', 'bare']):
        assert 'no VIF' in admin.refused(2, *words)


@pytest.mark.parametrize('words, said', [
    (['--mode', 'open'], "'open' is not a mode"),
    (['--groups', 'Red'], "'Red' is not a group name"),
    (['--ipv4', '10.0.0.300'], 'more than 255'), (['--ipv4', 'fd00::1'], 'ipv6'),
    (['--allow', '10.0.0.1/8'], 'host bits'), (['--allow', 'tcp/0@external'], 'ports'),
    (['--groups', 'a\nb', '--mode', 'lo\ncked'], 'mode'), (['--ipv6', '\u0661'], 'ipv6')])
def test_a_policy_that_is_wrong(pool: Pool, admin: Admin, words: Any, said: str) -> None:
    web = pool.add_vm('web', 11)
    assert said in admin.refused(3, 'set', 'web', *words)
    assert not writes(pool) and not state(pool, web)['data']


def test_addresses_outside_xapis_fence(pool: Pool, admin: Admin) -> None:
    pool.add_vm('web', 11, locking_mode='locked', ipv4_allowed=['10.9.0.11'])
    assert 'ipv4_allowed' in admin.refused(3, 'set', 'web', '--ipv4', '10.9.0.12')
    assert not writes(pool)
    admin.fine('set', 'web', '--ipv4', '10.9.0.11')


def test_usage(pool: Pool, process: Admin) -> None:
    admin = process
    pool.add_vm('web', 11)
    assert 'nothing to set' in admin.refused(2, 'set', 'web')
    assert '--host' in admin.refused(2, 'set', 'web', '--mode', 'locked', '--insecure')
    for command in ('set', 'unset', 'seal', 'relocate'):
        text = admin.fine(command, '--help').out
        assert 'examples:' in text and '--dry-run' in text and 'XSISOLATE_PASSWORD' in text
