"""VIFs that no flow can protect: refused before anything is written, and named on every host."""
import json
from typing import Any, Iterator, Sequence

import pytest

from sandbox.pool import Pool, PoolVm
from sandbox.xapidb import Refused

from support.xapi_admin import Admin, data, state, writes

QUICK = True
SEAL = 'xsisolate-seal'
LOUD = 'NOT PROTECTED'
OWN = ('--groups', 'red', '--ipv4', '10.9.0.11')


@pytest.fixture(scope='module')
def networks(pool: Pool) -> Iterator[Sequence[str]]:
    """An SR-IOV network, and a VLAN of it."""
    kinds = ('network', 'PIF', 'VLAN')
    before = {kind: set(pool.db.objects[kind]) for kind in kinds}
    sriov = pool.add_sriov('fast')
    yield sriov, pool.add_sriov('fast7', sriov)
    for kind in kinds:
        for ref in set(pool.db.objects[kind]) - before[kind]:
            pool.db.remove(kind, ref)


@pytest.fixture(params=[0, 1], ids=['sriov', 'vlan on sriov'])
def fast(request: pytest.FixtureRequest, networks: Sequence[str]) -> str:
    """One of the two."""
    return networks[int(request.param)]


@pytest.fixture
def foreign(pool: Pool) -> Iterator[str]:
    """A network whose bridge XAPI has not made."""
    ref = pool.db.add('network', name_label='mine', bridge='mine0', managed=False,
                      default_locking_mode='unlocked')
    yield ref
    pool.db.remove('network', ref)


@pytest.fixture
def linux_host(pool: Pool) -> Iterator[None]:
    """A pool whose network backend is Linux bridges."""
    ref = pool.refs[pool.hosts[1].name]
    pool.db.set('host', ref, software_version={'network_backend': 'bridge'})
    yield
    pool.db.set('host', ref, software_version={'network_backend': 'openvswitch'})


def refuse_all(pool: Pool, admin: Admin, vm: PoolVm, said: str) -> None:
    """Every command that writes refuses with 3, says why, and writes nothing."""
    pool.db.set('VM', vm.ref, xenstore_data=data(groups='red', vif_0_ipv4='10.9.0.11'))
    before = state(pool, vm)
    for words in (('set', '--replace', *OWN), ('seal', '--yes'), ('seal', '--dry-run'),
                  ('set', '--replace', '--dry-run', *OWN)):
        line = admin.refused(3, words[0], vm.name, *words[1:])
        assert LOUD in line and said in line and '--anyway' in line and vm.uuid in line, line
    ran = admin('seal', '--all', '--yes')
    assert ran.code == 3 and LOUD in ran.err and vm.uuid in ran.err
    assert state(pool, vm) == before and not writes(pool)
    checked = admin('seal', vm.name, '--check')
    assert checked.code == 4 and LOUD in checked.out and said in checked.out
    assert LOUD in admin('seal', '--all', '--check').out
    told = admin('seal', vm.name, '--check', '--json').json[0]
    assert said in told['not_protected'] and told['state'] == 'unsealed'


def test_a_network_of_an_sriov_nic(pool: Pool, admin: Admin, fast: str) -> None:
    vm = pool.add_vm('quick', 11, network=fast)
    refuse_all(pool, admin, vm, 'SR-IOV')
    ran = admin.fine('set', 'quick', '--replace', '--anyway', *OWN)
    assert '! VIF 0 is NOT PROTECTED: ' in ran.out and SEAL in pool.vif(vm)['other_config']
    assert admin('seal', 'quick', '--check').code == 4
    told = admin.fine('set', 'quick', '--replace', '--anyway', *OWN, '--json').json
    assert 'SR-IOV' in told['vifs'][0]['not_protected'] and LOUD in told['warnings'][0]
    admin.fine('unset', 'quick')
    assert not state(pool, vm)['data'] and SEAL not in pool.vif(vm)['other_config']


def test_seal_anyway(pool: Pool, admin: Admin, fast: str) -> None:
    vm = pool.add_vm('quick', 11, network=fast)
    pool.db.set('VM', vm.ref, xenstore_data=data(groups='red', vif_0_ipv4='10.9.0.11'))
    assert LOUD in admin('seal', 'quick', '--anyway', '--dry-run').out
    assert LOUD in admin.fine('seal', 'quick', '--anyway', '--yes').out
    assert SEAL in pool.vif(vm)['other_config']


def test_relocate(pool: Pool, admin: Admin, fast: str) -> None:
    vm = pool.add_vm('quick', 11, network=fast, locking_mode='locked',
                     ipv4_allowed=['10.9.0.11'])
    line = admin.refused(3, 'relocate', 'quick')
    assert LOUD in line and '--anyway' in line and not writes(pool)
    assert pool.vif(vm)['locking_mode'] == 'locked'
    assert admin('relocate', '--all').code == 3 and not writes(pool)
    assert LOUD in admin.fine('relocate', 'quick', '--anyway').out
    assert pool.vif(vm)['locking_mode'] == 'unlocked'
    admin.fine('relocate', 'quick', '--undo')
    assert pool.vif(vm)['locking_mode'] == 'locked'


def test_the_other_vif_of_such_a_vm(pool: Pool, admin: Admin, fast: str) -> None:
    """One VIF may be protected: it is named by its device."""
    vm = pool.add_vm('both', 11, vifs=2)
    pool.db.set('VIF', vm.vifs[1], network=fast)
    assert 'device 1: NOT PROTECTED' in admin.refused(3, 'set', 'both', '--groups', 'red')
    assert '! VIF' not in admin.fine('set', 'both/0', *OWN).out
    assert SEAL in pool.vif(vm)['other_config'] and SEAL not in pool.vif(vm, 1)['other_config']
    ran = admin('seal', 'both', '--check')
    assert ran.code == 0 and LOUD in ran.out        # it promises nothing, and is named
    assert LOUD in admin('seal', '--all', '--check').out


def test_a_template(pool: Pool, admin: Admin, fast: str) -> None:
    vm = pool.add_vm('quick', 11, network=fast)
    pool.db.set('VM', vm.ref, is_a_template=True)
    assert LOUD in admin.refused(3, 'set', 'quick', '--template', '--portable', *OWN)
    admin.fine('set', 'quick', '--template', '--portable', '--anyway', *OWN)
    ran = admin('status', 'quick', '--template')
    assert ran.code == 4 and LOUD in ran.out


def test_a_pool_of_linux_bridges(pool: Pool, admin: Admin, linux_host: None) -> None:
    refuse_all(pool, admin, pool.add_vm('web', 11), 'network backend "bridge"')


# --- a bridge that XAPI has not made: the hosts are asked ------------------------------------


def test_a_foreign_bridge_of_the_kernel(pool: Pool, admin: Admin, foreign: str) -> None:
    vm = pool.add_vm('web', 11, network=foreign)
    refuse_all(pool, admin, vm, 'is not one of Open vSwitch')
    host = pool.hosts[1]
    assert host.execute(['ip', 'link', 'add', 'mine0', 'type', 'bridge']).returncode == 0
    try:
        refuse_all(pool, admin, vm, 'mine0 is a Linux bridge')
        assert host.name in admin.refused(3, 'set', 'web', '--replace', *OWN)
    finally:
        host.execute(['ip', 'link', 'del', 'mine0'])


def test_a_foreign_bridge_of_open_vswitch(pool: Pool, admin: Admin, foreign: str) -> None:
    vm = pool.add_vm('web', 11, network=foreign)
    host = pool.hosts[0]
    assert host.execute(['ovs-vsctl', 'add-br', 'mine0']).returncode == 0
    try:
        assert LOUD not in admin.fine('set', 'web', *OWN).out
        assert SEAL in pool.vif(vm)['other_config']
        assert admin.fine('seal', 'web', '--check').code == 0
    finally:
        host.execute(['ovs-vsctl', 'del-br', 'mine0'])


def test_a_host_that_does_not_say(pool: Pool, admin: Admin, foreign: str) -> None:
    """One that is away, or has an older release: it is not known, so nothing is promised."""
    vm = pool.add_vm('web', 11, network=foreign)

    def fault(method: str, params: Any, after: bool) -> None:
        if method == 'host.call_plugin' and not after:
            raise Refused('XENAPI_PLUGIN_FAILURE', 'UNKNOWN_FUNCTION', 'bridges')
    pool.fault = fault
    refuse_all(pool, admin, vm, 'is not known')


def test_what_a_host_says_of_its_bridges(pool: Pool) -> None:
    host = pool.hosts[0]
    host.execute(['ip', 'link', 'add', 'plain0', 'type', 'bridge'])
    host.execute(['ovs-vsctl', 'add-br', 'fake5', 'xenbr0', '5'])
    try:
        told = json.loads(pool.call_plugin(pool.refs[host.name], 'xsisolate', 'bridges', '', {}))
    finally:
        host.execute(['ip', 'link', 'del', 'plain0'])
        host.execute(['ovs-vsctl', 'del-br', 'fake5'])
    assert told == {'ovs': ['fake5', 'xenbr0'], 'linux': ['plain0']}


# --- on the host where it runs ---------------------------------------------------------------


@pytest.mark.parametrize('at', [0, 1])
def test_it_is_named_where_it_runs(pool: Pool, process: Admin, networks: Sequence[str],
                                   at: int) -> None:
    """xenopsd makes no backend for a function of a NIC: what the host knows is its metadata."""
    host = pool.hosts[at]
    vm = pool.add_vm('both', 11, vifs=2)
    pool.db.set('VIF', vm.vifs[1], network=networks[0])
    process.fine('set', 'both/0', '--groups', 'red', '--ipv4', '10.9.0.11')
    pool.start(vm, host)
    ran = process.fine('status', host=host)                # named, and nothing was promised
    assert '! NOT PROTECTED, whatever their policies say: vif' in ran.out
    process.fine('set', 'both/1', '--groups', 'blue', '--ipv4', '10.9.0.12', '--anyway')
    pool.push_metadata(vm.ref)
    ran = process('status', host=host)
    assert ran.code == 4 and ran.out.count(LOUD) == 3
    assert 'its policy (isolated blue) is not enforced' in ran.out
    shown = {vif['devid']: vif for vif in process('status', '--json', host=host).json['vifs']}
    assert shown[0]['not_protected'] is None and shown[0]['mode'] == 'isolated'
    assert 'SR-IOV' in shown[1]['not_protected'] and shown[1]['mode'] == 'unlocked'
    assert shown[1]['seal'] == 'sealed' and shown[1]['mac'] == pool.vif(vm, 1)['MAC']
    full = process('status', 'both', host=host)
    assert '  mode          NOT PROTECTED' in full.out
    matrix = process('matrix', host=host)
    assert matrix.code == 4 and matrix.out.count(LOUD) == 2
    assert process('matrix', '--json', host=host).json['not_protected'] == [shown[1]['vif']]
    assert LOUD in process('matrix', '--html', '-', host=host).out
    findings = process('doctor', '--json', host=host).json['findings']
    found, = [one for one in findings if LOUD in one['found']]
    assert found['state'] == 'problem' and shown[1]['vif'] in found['found']
    assert LOUD in process('explain', 'both/1', 'both/0', '--here', host=host).err
    other = pool.hosts[1 - at]
    assert LOUD not in process('status', host=other).out


def test_a_vif_on_a_linux_bridge_is_named_where_it_runs(pool: Pool, process: Admin) -> None:
    """Its network was moved under it; a hook would have refused a managed VIF."""
    host = pool.hosts[0]
    web = pool.start_vm('web', host, 11)
    process.fine('set', 'web', *OWN)
    domid = process.fine('status', 'web', '--json').json['vifs'][0]['domid']
    netdev = 'vif%d.0' % domid
    host.execute(['ovs-vsctl', 'del-port', netdev])
    host.execute(['ip', 'link', 'add', 'plain0', 'type', 'bridge'])
    try:
        host.execute(['ip', 'link', 'set', netdev, 'master', 'plain0'])
        host.call('set_vif', web.uuid, 0, {'bridge': 'plain0'})
        ran = process('status')
        assert ran.code == 4 and 'plain0 is a Linux bridge' in ran.out and LOUD in ran.out
        findings = process('doctor', '--json').json['findings']
        assert [one['state'] for one in findings if LOUD in one['found']] == ['problem']
    finally:
        host.call('set_vif', web.uuid, 0, {'bridge': 'xenbr0'})
        host.execute(['ip', 'link', 'del', 'plain0'])
