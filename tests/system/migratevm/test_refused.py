"""What would go wrong is found before the first byte, and nothing is sent."""
from typing import Any, Callable

import pytest

from sandbox.barepool import BarePool
from sandbox.xvastream import PIECE

from support.vm_mover import Mover

MAC = '02:00:00:00:00:99'


def nothing_sent(mover: Mover, code: int, *words: str) -> str:
    """Run it; no handler is asked for anything, and no task is made."""
    line = mover.refused(code, '-sv', 'web', *words)
    assert not [method for pool in (mover.source, mover.destination)
                for method, _ in pool.db.calls if method == 'task.create']
    return line


def small(alpha: BarePool, beta: BarePool) -> None:
    beta.db.set('SR', beta.sr, physical_size=str(3 * PIECE))


def name(alpha: BarePool, beta: BarePool) -> None:
    beta.add_vm('web')


def mac(alpha: BarePool, beta: BarePool) -> None:
    beta.add_vm('other', macs=[MAC.upper()])


def uuid(alpha: BarePool, beta: BarePool) -> None:
    web = next(iter(alpha.db.objects['VM'].values()))
    beta.add_vm('other', uuid=web['uuid'])


def seed(alpha: BarePool, beta: BarePool) -> None:
    web = next(iter(alpha.db.objects['VM'].values()))
    beta.add_vm('other', other_config=dict(web['other_config']))


def old(alpha: BarePool, beta: BarePool) -> None:
    beta.db.set('host', beta.hosts[0], software_version={'platform_version': '3.2.1'})


def same(alpha: BarePool, beta: BarePool) -> None:
    pools = [next(iter(pool.db.objects['pool'])) for pool in (alpha, beta)]
    beta.db.set('pool', pools[1], uuid=alpha.db.objects['pool'][pools[0]]['uuid'])


def iso(alpha: BarePool, beta: BarePool) -> None:
    beta.db.set('SR', beta.sr, content_type='iso')


def no_default(alpha: BarePool, beta: BarePool) -> None:
    beta.db.set('pool', next(iter(beta.db.objects['pool'])), default_SR='OpaqueRef:NULL')


def twins(alpha: BarePool, beta: BarePool) -> None:
    alpha.add_vm('web')


def template(alpha: BarePool, beta: BarePool) -> None:
    alpha.db.set('VM', next(iter(alpha.db.objects['VM'])), is_a_template=True)


def running(alpha: BarePool, beta: BarePool) -> None:
    alpha.db.set('VM', next(iter(alpha.db.objects['VM'])), power_state='Running')


@pytest.mark.parametrize('what, code, words', [
    (small, 1, 'Local storage is too small: the disks need 5.0 MiB there, 3.0 MiB are free'),
    (name, 1, 'the destination has a VM web already'), (mac, 1, MAC + ' is taken'),
    (uuid, 1, 'already, as other'), (seed, 1, 'has the same MAC seed'),
    (old, 1, 'too old: its platform is 3.2.1, the source has 3.4.0'),
    (same, 1, 'are the same pool'), (iso, 1, 'is for ISO images'),
    (no_default, 2, 'has no default storage repository: name one with -ds'),
    (twins, 2, '2 VMs have the name web: say the uuid'), (template, 2, 'no VM has the'),
    (running, 2, 'the VM is running, and a stream needs it halted')])
def test_found_before_the_first_byte(mover: Mover, alpha: BarePool, beta: BarePool,
                                     what: Callable[[BarePool, BarePool], None], code: int,
                                     words: str) -> None:
    alpha.add_vm('web', macs=[MAC])
    what(alpha, beta)
    assert words in nothing_sent(mover, code)


@pytest.mark.parametrize('what, words', [
    (name, ('--name', 'web2')), (mac, ('--copy',)), (uuid, ('--copy',)), (seed, ('--copy',))])
def test_and_there_is_a_way_out(mover: Mover, alpha: BarePool, beta: BarePool, what: Any,
                                words: Any) -> None:
    """What the message says to do does it."""
    alpha.add_vm('web', macs=[MAC])
    what(alpha, beta)
    mover.fine('-sv', 'web', *words)


def test_storage_that_is_thick_needs_all(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    alpha.add_vm('web', (64 * PIECE,), used=2)
    for kind, code in (('lvm', 1), ('ext', 0)):
        beta.db.set('SR', beta.sr, type=kind, physical_size=str(32 * PIECE))
        ran = mover('-sv', 'web', '--dry-run')
        assert ran.code == code, ran


def test_all_of_it_at_once(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    alpha.add_vm('web', macs=[MAC])
    for what in (name, mac, small):
        what(alpha, beta)
    line = nothing_sent(mover, 1)
    assert all(word in line for word in ('too small', 'a VM web already', 'is taken'))


def test_a_network_that_is_not_there(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """XAPI makes one of that name, which leads nowhere: an admin should know before."""
    alpha.add_vm('web')
    alpha.db.set('network', alpha.network, name_label='Elsewhere')
    ran = mover.fine('-sv', 'web')
    assert 'the destination has no network Elsewhere' in ran.err
    assert 'Elsewhere' in [one['name_label'] for one in beta.db.objects['network'].values()]


@pytest.mark.parametrize('words, said', [
    (('-sv', 'nobody'), 'no VM has the uuid or name nobody'),
    (('-sv', '00000000-0000-0000-0000-000000000000'), 'no VM has the uuid'), ((), 'which VM?'),
    (('-sv', 'web', '-ds', 'nowhere'), 'no storage repository has the uuid or name nowhere'),
    (('-sv', 'web', '--yes'), '--yes is for --reseal'),
    (('-sv', 'web', '--reseal'), '--reseal asks on a terminal'),
    (('-sv', 'web', '--method', 'live', '--snapshot'), 'are for a stream'),
    (('-sv', 'web', '--ca', '/etc/hosts'), '--ca or --fingerprint')])
def test_usage(mover: Mover, alpha: BarePool, words: Any, said: str) -> None:
    alpha.add_vm('web')
    assert said in mover.refused(2, *words)
