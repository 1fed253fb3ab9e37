"""What isolates a VM comes along, or an admin hears that it does not."""
import os
import pty
import subprocess
from typing import Any, Dict, Tuple

import pytest

from sandbox.barepool import BarePool, BareVm
from xsisolate.policy.seal import make_seal
from xsisolate.policy.xapi_records import identify, make_vif, make_vm, read_policy

from support.vm_mover import Mover, environment, until, vifs_of

DATA = {'vm-data/xsisolate/groups': 'red', 'vm-data/xsisolate/vif/0/ipv4': '10.9.0.11'}
SEAL = 'xsisolate-seal'


def seal(pool: BarePool, ref: str, portable: bool = False) -> Dict[str, str]:
    """Return the seals that a VM's VIFs need where they are, by their references."""
    objects = pool.db.objects
    record = objects['VM'][ref]
    vifs = [make_vif(vif, objects['VIF'][vif], objects['network'][objects['VIF'][vif]['network']])
            for vif in record['VIFs']]
    vm = make_vm(ref, record, vifs)
    found = {}
    for vif in vm.vifs:
        policy = read_policy(vm, vif)
        assert policy
        found[vif.ref] = make_seal(identify(vm, vif), policy, portable)
    return found


@pytest.fixture
def web(alpha: BarePool) -> BareVm:
    """A VM whose policy is sealed."""
    made = alpha.add_vm('web', data=DATA, macs=('02:00:00:00:01:01', '02:00:00:00:01:02'))
    for ref, text in seal(alpha, made.ref).items():
        alpha.db.set('VIF', ref, other_config={SEAL: text, 'other': 'thing'})
    return made


def ends(pool: BarePool) -> Tuple[str, Dict[str, str], Dict[str, str]]:
    """Return the only VM of a pool, the seals that its VIFs carry, and those that they need."""
    (ref,) = pool.db.objects['VM']
    carried = {vif: pool.db.objects['VIF'][vif]['other_config'].get(SEAL, '')
               for vif in pool.db.objects['VM'][ref]['VIFs']}
    return ref, carried, seal(pool, ref)


def test_a_move_keeps_policy_and_seal(mover: Mover, beta: BarePool, web: BareVm) -> None:
    ran = mover.fine('-sv', 'web')
    _, carried, needed = ends(beta)
    assert carried == needed
    assert ran.out.count('sealed, groups=red ipv4=10.9.0.11') == 2      # before and after
    assert [vif['other_config']['other'] for vif in vifs_of(beta)] == ['thing'] * 2


@pytest.mark.parametrize('words', [('--copy',), ('--copy', '--name', 'w2')])
def test_a_copy_is_quarantined_until_it_is_sealed(mover: Mover, beta: BarePool, web: BareVm,
                                                  words: Any) -> None:
    ran = mover('-sv', 'web', *words)
    assert ran.code == 4 and ran.out.count('will be QUARANTINED') == 2
    _, carried, needed = ends(beta)
    assert carried != needed


def test_reseal_shows_the_policy_and_seals_it(mover: Mover, beta: BarePool, web: BareVm) -> None:
    ran = mover.fine('-sv', 'web', '--copy', '--reseal', '--yes')
    _, carried, needed = ends(beta)
    assert carried == needed
    assert ran.err.count('groups=red') == 2
    assert [vif['other_config']['other'] for vif in vifs_of(beta)] == ['thing'] * 2


@pytest.mark.parametrize('answer, code', [('y', 0), ('', 4), ('n', 4)])
def test_reseal_asks(mover: Mover, beta: BarePool, web: BareVm, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        mover.argv('-sv', 'web', '--copy', '--reseal', '-ds', 'Local storage', '-su', 'root', '-du',
                   'root'), env=environment(), stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding='utf-8')
    os.close(theirs)
    os.write(ours, (answer + '\n').encode() * 2)
    ran = mover.wait(process)
    os.close(ours)
    assert ran.code == code, ran
    assert ran.err.index('groups=red') < ran.err.index('seal this policy anew? [y/N]')


def test_what_a_guest_wrote_meanwhile_is_not_sealed(mover: Mover, alpha: BarePool, beta: BarePool,
                                                    web: BareVm) -> None:
    """The policy at the destination must be the one that was proven before the stream."""
    def write() -> None:
        beta_vm = next(iter(beta.db.objects['VM']))
        beta.db.set('VM', beta_vm, xenstore_data={**DATA, 'vm-data/xsisolate/groups': 'blue'})
    beta.faults.import_ = write
    ran = mover('-sv', 'web', '--copy', '--reseal', '--yes')
    assert ran.code == 4, ran
    _, carried, needed = ends(beta)
    assert carried != needed


def test_an_unproven_policy_is_never_sealed(mover: Mover, alpha: BarePool, beta: BarePool,
                                            web: BareVm) -> None:
    """The guest's root has changed it: that is said before, and it stays in quarantine."""
    alpha.db.set('VM', web.ref, xenstore_data={**DATA, 'vm-data/xsisolate/groups': 'blue'})
    ran = mover('-sv', 'web', '--copy', '--reseal', '--yes')
    assert ran.code == 4 and 'the seal is not that of this policy' in ran.err
    _, carried, needed = ends(beta)
    assert carried != needed


def test_a_destination_without_xsisolate(mover: Mover, beta: BarePool, web: BareVm) -> None:
    """An isolated VM would be open there."""
    beta.protected = False
    line = mover.refused(3, '-sv', 'web')
    assert 'beta (not installed)' in line and '--allow-unprotected' in line
    ran = mover.fine('-sv', 'web', '--allow-unprotected')
    assert "the VM's policy is not enforced there" in ran.err


def test_a_destination_that_cannot_be_asked(mover: Mover, alpha: BarePool, beta: BarePool,
                                            web: BareVm, monkeypatch: pytest.MonkeyPatch) -> None:
    """In doubt it counts as one without xsisolate."""
    from sandbox.xapidb import Refused

    def refuse(*_: Any) -> str:
        raise Refused('HOST_OFFLINE', 'beta')
    monkeypatch.setattr(beta, 'call_plugin', refuse)
    assert 'could not be asked: HOST_OFFLINE' in mover.refused(3, '-sv', 'web')


def test_others_hear_of_it_only(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    beta.protected = False
    alpha.add_vm('free')
    ran = mover.fine('-sv', 'free')
    assert 'xsisolate is not known to run on beta' in ran.err
    until(lambda: beta.db.objects['VM'], 'it came')


def test_json_tells_of_it(mover: Mover, web: BareVm) -> None:
    done = mover('-sv', 'web', '--copy', '--json').events[-1]
    assert [one['state'] for one in done['isolation']] == ['changed', 'changed']
    assert done['isolation'][0]['policy'] == {'groups': ['red'], 'ipv4': ['10.9.0.11']}


@pytest.fixture
def golden(alpha: BarePool) -> BareVm:
    """A VM whose policy is sealed so that it fits copies."""
    made = alpha.add_vm('golden', data=DATA, macs=('02:00:00:00:02:01', '02:00:00:00:02:02'))
    for ref, text in seal(alpha, made.ref, True).items():
        alpha.db.set('VIF', ref, other_config={SEAL: text, 'other': 'thing'})
    return made


@pytest.mark.parametrize('words', [(), ('--copy',), ('--copy', '--name', 'g2'), ('--copy', 'live'),
                                   ('live',)])
def test_a_portable_seal_fits_there_too(mover: Mover, alpha: BarePool, beta: BarePool,
                                        golden: BareVm, words: Any) -> None:
    """By an export and an import, with `restore` and without, and by VM.migrate_send."""
    macs = {alpha.db.objects['VIF'][ref]['MAC'] for ref in golden.vifs}
    method = 'live' if 'live' in words else 'stream'
    if method == 'live':
        alpha.db.peers = {pool.db.name: pool.db for pool in (alpha, beta)}
        alpha.db.cannot_migrate = ()
    options = [word for word in words if word != 'live']
    ran = mover.fine('-sv', 'golden', '--method', method, *options)
    (ref,) = beta.db.objects['VM']
    copied = '--copy' in words
    assert {vif['MAC'] for vif in vifs_of(beta)}.isdisjoint(macs) is copied
    assert (beta.db.objects['VM'][ref]['uuid'] != golden.uuid) is copied
    assert [vif['other_config'][SEAL] for vif in vifs_of(beta)] == list(
        seal(beta, ref, True).values())
    assert ran.out.count('portable, groups=red ipv4=10.9.0.11') >= 1
    assert ('portable seals fit the copy' in ran.out) is (copied or method == 'stream')


def test_json_tells_of_a_portable_seal(mover: Mover, golden: BareVm) -> None:
    done = mover.fine('-sv', 'golden', '--copy', '--json').events[-1]
    assert [one['state'] for one in done['isolation']] == ['portable', 'portable']


def test_what_is_not_the_portable_policy_is_quarantined(mover: Mover, alpha: BarePool,
                                                        golden: BareVm) -> None:
    alpha.db.set('VM', golden.ref, xenstore_data={**DATA, 'vm-data/xsisolate/groups': 'blue'})
    ran = mover('-sv', 'golden', '--copy', '--reseal', '--yes')
    assert ran.code == 4 and 'the portable seal is not that' in ran.err


@pytest.mark.parametrize('what', ['sriov', 'vlan', 'linux'])
def test_a_network_that_no_flow_protects(mover: Mover, alpha: BarePool, beta: BarePool,
                                         web: BareVm, what: str) -> None:
    """Its policy would promise what nothing enforces; a VM without one is warned of."""
    master = beta.hosts[0]
    if what == 'linux':
        beta.db.set('host', master, software_version={
            **beta.db.objects['host'][master]['software_version'], 'network_backend': 'bridge'})
    else:
        fast = beta.network if what == 'sriov' else beta.db.add(
            'network', name_label='fast', bridge='xapi9', default_locking_mode='unlocked')
        logical = beta.db.add('PIF', host=master, network=fast, device='eth1',
                              sriov_logical_PIF_of=['OpaqueRef:sriov'])
        if what == 'vlan':
            untagged = beta.db.add('PIF', host=master, network=beta.network, device='eth1',
                                   sriov_logical_PIF_of=[])
            beta.db.add('VLAN', tagged_PIF=logical, untagged_PIF=untagged, tag='7')
    line = mover.refused(3, '-sv', 'web')
    assert 'NOT PROTECTED' in line and '--allow-unprotected' in line
    assert mover.fine('-sv', 'web', '--allow-unprotected').err.count('NOT PROTECTED') == 2
    alpha.add_vm('free')
    assert 'NOT PROTECTED' in mover.fine('-sv', 'free').err
