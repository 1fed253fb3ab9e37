"""XAPI's own migration, where it allows that: of a VM that runs, too."""
import os
import signal
import time

import pytest

from sandbox.barepool import BarePool

from support.vm_mover import Mover, arrived, until, vifs_of


@pytest.fixture(autouse=True)
def acquainted(alpha: BarePool, beta: BarePool) -> None:
    """XAPI says yes."""
    alpha.db.peers = {pool.db.name: pool.db for pool in (alpha, beta)}
    alpha.db.cannot_migrate = ()


@pytest.mark.parametrize('method', ['live', 'auto'])
@pytest.mark.parametrize('running', [True, False])
def test_it_is_there_and_no_more_here(mover: Mover, alpha: BarePool, beta: BarePool, method: str,
                                      running: bool) -> None:
    web = alpha.add_vm('web', running=running)
    macs = [alpha.db.objects['VIF'][ref]['MAC'] for ref in web.vifs]
    ran = mover.fine('-sv', 'web', '--method', method)
    record = arrived(beta, web)
    assert record['uuid'] == web.uuid
    assert record['power_state'] == ('Running' if running else 'Halted')
    assert [vif['MAC'] for vif in vifs_of(beta)] == macs
    assert not alpha.db.objects['VM'] and 'still at the source' not in ran.out


def test_stream_means_stream(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web')
    mover.fine('-sv', 'web', '--method', 'stream')
    assert web.ref in alpha.db.objects['VM'] and beta.find(web.uuid)


def test_where_xapi_says_no(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """auto says why, and streams; live refuses; a VM that runs hears both reasons."""
    web = alpha.add_vm('web')
    alpha.db.cannot_migrate = ('VDI_CBT_ENABLED', 'OpaqueRef:vdi')
    line = mover.refused(1, '-sv', 'web', '--method', 'live')
    assert 'VDI_CBT_ENABLED' in line and 'xe vdi-disable-cbt' in line
    assert 'VDI_CBT_ENABLED' in mover.fine('-sv', 'web').err
    alpha.add_vm('busy', running=True)
    ran = mover('-sv', 'busy')
    assert ran.code == 2 and 'VDI_CBT_ENABLED' in ran.err and '--snapshot' in ran.err
    assert web.ref in alpha.db.objects['VM'] and beta.find(web.uuid)


def test_a_copy(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    web = alpha.add_vm('web')
    mover.fine('-sv', 'web', '--copy', '--method', 'live', '--name', 'w2')
    assert arrived(beta, web, 'w2')['uuid'] != web.uuid and web.ref in alpha.db.objects['VM']
    alpha.add_vm('busy', running=True)
    assert 'do not run' in mover.refused(1, '-sv', 'busy', '--copy', '--method', 'live')


def test_snapshots_and_their_nics(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """XAPI wants to know where the snapshots' VIFs belong, too."""
    web = alpha.add_vm('web')
    alpha.db._VM_snapshot('', web.ref, 'before', [])
    mover.fine('-sv', 'web', '--method', 'live')
    sent = next(args for method, args in alpha.db.calls if method == 'Async.VM.migrate_send')
    assert len(sent[4]) == 2


def test_a_missing_network(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    alpha.add_vm('web')
    beta.db.set('network', beta.network, name_label='Else')
    assert 'has no network Tenants' in mover.refused(1, '-sv', 'web', '--method', 'live')


def test_interrupted(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """The task is cancelled, and the VM stays where it was."""
    web = alpha.add_vm('web', running=True)
    before = beta.state()
    alpha.db.migration = lambda task: time.sleep(1)
    process = mover.start('-sv', 'web')
    until(lambda: alpha.db.objects['task'], 'no task', seconds=20)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    ran = mover.wait(process)
    assert ran.code == 130 and 'still at the source' in ran.err, ran
    assert web.ref in alpha.db.objects['VM'] and beta.state() == before


def test_a_failure_on_the_way(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    from sandbox.xapidb import Refused

    def fail(task: str) -> None:
        raise Refused('VDI_IO_ERROR', 'Device I/O error')
    alpha.add_vm('web', running=True)
    alpha.db.migration = fail
    assert 'VM.migrate_send: VDI_IO_ERROR' in mover.refused(1, '-sv', 'web')
