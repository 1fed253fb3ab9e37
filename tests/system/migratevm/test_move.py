"""A VM arrives as it was: every piece of its disks, its uuid, MAC addresses and vm-data."""
import subprocess
import tempfile
from pathlib import Path

import pytest

from sandbox.barepool import GIB, BarePool
from sandbox.xvastream import PIECE

from support.vm_mover import Mover, arrived, assert_same_disks, environment, vifs_of

DATA = {'vm-data/colour': 'red', 'vm-data/a': ''}


def test_everything_arrives(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web', (64 * PIECE, 3 * PIECE + 512, 300), used=9, data=DATA)
    ran = mover.fine('-sv', 'web')
    record = arrived(beta, web)
    assert record['uuid'] == web.uuid and record['xenstore_data'] == DATA
    assert [vif['MAC'] for vif in vifs_of(beta)] == [
        alpha.db.objects['VIF'][ref]['MAC'] for ref in web.vifs]
    assert_same_disks(alpha, web, beta)
    assert 'web is at the destination as VM ' + web.uuid in ran.out
    assert 'start only one of the two' in ran.out and web.ref in alpha.db.objects['VM']


@pytest.mark.parametrize('compression', ['gzip', 'zstd'])
def test_compressed_on_the_wire(mover: Mover, alpha: BarePool, beta: BarePool,
                                compression: str) -> None:
    web = alpha.add_vm('web', (40 * PIECE,), used=30)
    ran = mover.fine('-sv', 'web', '--compress', compression, '--json')
    assert_same_disks(alpha, web, beta)
    assert ran.events[-1]['bytes'] < 10 * PIECE     # and it was compressed


def test_a_vm_without_disks(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web', ())
    mover.fine('-sv', web.uuid)
    assert arrived(beta, web)['VBDs'] == []


def test_a_copy_is_another_vm(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web')
    mover.fine('-sv', 'web', '--copy', '--name', 'w2')
    assert arrived(beta, web, 'w2')['uuid'] != web.uuid
    assert vifs_of(beta)[0]['MAC'] != alpha.db.objects['VIF'][web.vifs[0]]['MAC']
    assert_same_disks(alpha, web, beta)
    mover.fine('-sv', 'web', '--copy', '--name', 'w3')      # and again: nothing is taken


def test_names_of_all_kinds(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """A name is anybody's text; with LC_ALL=C it goes to and fro, and stays one line."""
    name = 'Bücher & "web"\n\x1b[2J'
    web = alpha.add_vm('w\u00e9b')
    alpha.db.set('VM', web.ref, name_label=name.replace('\x1b', ''))
    ran = mover.fine('-sv', name.replace('\x1b', ''), '--name', 'B\u00fccher')
    assert arrived(beta, web, 'B\u00fccher')
    assert ran.out.isascii()


@pytest.mark.parametrize('side', ['alpha', 'beta', 'both'])
def test_another_host_sees_the_disks(mover: Mover, alpha: BarePool, beta: BarePool,
                                     side: str) -> None:
    """XAPI answers 302 before the body; the stream goes to the host that it names."""
    for pool in (alpha, beta):
        if side in (pool.name, 'both'):
            pool.sends_to = pool.member(1)
    web = alpha.add_vm('web')
    mover.fine('-sv', 'web')
    assert_same_disks(alpha, web, beta)


def test_the_session_goes_to_no_stranger(mover: Mover, alpha: BarePool) -> None:
    alpha.sends_to = '127.0.0.66'
    alpha.add_vm('web')
    assert '127.0.0.66, which is not a host of its pool' in mover.refused(1, '-sv', 'web')


def test_a_member_is_named(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """A member sends to its master."""
    web = alpha.add_vm('web')
    argv = mover.argv('-sv', 'web')
    for pool in (alpha, beta):
        argv[argv.index(pool.address)] = '%s:%d' % (pool.member(1), pool.port)
    done = subprocess.run(argv, env=environment(), stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0
    assert_same_disks(alpha, web, beta)


def test_empty_files_keep_it_alive(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """XAPI sends one when it has found nothing but zeros for seconds; they take up numbers."""
    web = alpha.add_vm('web', (64 * PIECE,), used=8)
    alpha.faults.quiet_before = (7, 8, 30)
    mover.fine('-sv', 'web')
    assert_same_disks(alpha, web, beta)


def test_on_the_host_itself(alpha: BarePool, beta: BarePool) -> None:
    """Root needs no password there; an export goes over the unix socket as over TLS."""
    web = alpha.add_vm('web')
    with tempfile.TemporaryDirectory() as folder:
        alpha.listen(folder + '/xapi')
        code = ('import sys; from xsisolate.dom0.xapi import transport as xapi; '
                'xapi.SOCKET = sys.argv.pop(1);'
                'from xsisolate.migratevm.cli import main; sys.exit(main())')
        argv = Mover(alpha, beta).argv('-sv', 'web')
        argv[1:3] = ['-c', code, folder + '/xapi']
        argv[argv.index(alpha.address)] = 'localhost'
        env = environment()
        del env['MIGRATEVM_SOURCE_PASSWORD']
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 0
        assert_same_disks(alpha, web, beta)
        alpha.sends_to = alpha.member(1)        # the disks are another host's
        done = subprocess.run([*argv, '--copy', '--name', 'w2'], env=env, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, encoding='utf-8', timeout=60)
        assert done.returncode == 1 and 'only host 127.0.11.2 sees the disks' in done.stderr


def test_a_suspended_vm_takes_its_memory_along(mover: Mover, alpha: BarePool,
                                               beta: BarePool) -> None:
    web = alpha.add_vm('web')
    alpha.suspend(web, 6 * PIECE)
    mover.fine('-sv', 'web')
    record = arrived(beta, web)
    assert record['power_state'] == 'Suspended'
    image = alpha.db.objects['VM'][web.ref]['suspend_VDI']
    assert beta.db.disks.contents[record['suspend_VDI']].sums == (
        alpha.db.disks.contents[image].all_sums())
    assert_same_disks(alpha, web, beta)


def test_a_snapshot_of_a_vm_that_runs(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """The VM runs on; what arrives is a VM of that name, and the snapshot is gone again."""
    web = alpha.add_vm('web', running=True)
    line = mover.refused(2, '-sv', 'web')
    assert 'running' in line and '--snapshot' in line
    mover.fine('-sv', 'web', '--snapshot')
    record = arrived(beta, web)
    assert not record['is_a_template'] and record['uuid'] != web.uuid
    assert_same_disks(alpha, web, beta)
    assert list(alpha.db.objects['VM']) == [web.ref] and len(alpha.db.objects['VDI']) == 1
    assert alpha.db.objects['VM'][web.ref]['power_state'] == 'Running'


def test_json_tells_all(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web', (16 * PIECE,), used=16)
    events = mover.fine('-sv', 'web', '--json').events
    assert [event['event'] for event in events if event['event'] != 'progress'] == [
        'warning', 'plan', 'done']
    plan, done = (next(event for event in events if event['event'] == kind)
                  for kind in ('plan', 'done'))
    assert plan['uuid'] == web.uuid and plan['size'] == 16 * PIECE and plan['method'] == 'stream'
    assert done['uuid'] == web.uuid and done['bytes'] > 16 * PIECE and done['still_at_source']
    last = [event for event in events if event['event'] == 'progress'][-1]
    assert last['percent'] == 100 and last['bytes'] == done['bytes']


def test_progress_says_how_far_it_is(mover: Mover, alpha: BarePool) -> None:
    """By the numbers of the pieces: most of a sparse disk is never sent."""
    alpha.add_vm('web', (16 * GIB, 16 * GIB), used=200)
    ran = mover.fine('-sv', 'web', '--json')
    shares = [event['percent'] for event in ran.events
              if event['event'] == 'progress' and event['percent'] is not None]
    assert shares == sorted(shares) and shares[-1] == 100


def test_dry_run_moves_nothing(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    alpha.add_vm('web')
    before = alpha.state(), beta.state()
    ran = mover.fine('-sv', 'web', '--dry-run')
    assert ran.out.startswith('would move web') and (alpha.state(), beta.state()) == before


def test_storage_is_chosen(mover: Mover, alpha: BarePool, beta: BarePool, tmp_path: Path) -> None:
    web = alpha.add_vm('web')
    fast = beta.add_sr('fast', GIB)
    mover.fine('-sv', 'web', '-ds', 'fast')
    (vdi,) = beta.db.objects['VDI'].values()
    assert vdi['SR'] == fast
    assert_same_disks(alpha, web, beta)
