"""Whatever breaks on the way: one line that says what, and nothing is left at the destination."""
import os
import signal
import time
from typing import Any, Callable

import pytest

from sandbox.barepool import BarePool
from sandbox.xapidb import Refused
from sandbox.xapitransfer import Hangup
from sandbox.xvastream import PIECE

from support.vm_mover import Mover, until

SIZE = 40 * PIECE


@pytest.fixture
def big(alpha: BarePool) -> Any:
    """A VM that takes a moment."""
    return alpha.add_vm('big', (SIZE, SIZE), used=40)


def cut() -> None:
    raise Hangup('cut')


def disk_error() -> None:
    raise Refused('VDI_IO_ERROR', 'Device I/O error')


def full() -> None:
    raise Refused('SR_FULL', '100', '101')


@pytest.mark.parametrize('side, what, words', [
    ('export', cut, 'source: CLIENT_ERROR cut'),
    ('export', disk_error, 'source: VDI_IO_ERROR Device I/O error (a disk could not be read'),
    ('import_', full, 'destination: SR_FULL 100 101 (the storage repository has filled up'),
    ('import_', cut, 'destination: IMPORT_ERROR cut')])
@pytest.mark.parametrize('share', [0, 0.5])
def test_one_side_breaks_off(mover: Mover, alpha: BarePool, beta: BarePool, big: Any, side: str,
                             what: Callable[[], None], words: str, share: float) -> None:
    """At the beginning and in the middle; XAPI's own words reach the admin."""
    faults = (alpha if side == 'export' else beta).faults
    faults.after = int(2 * SIZE * share)
    setattr(faults, side, what)
    line = mover.refused(1, '-sv', 'big')
    assert words in line and line.endswith('Nothing is left on the destination')


@pytest.mark.parametrize('share', [0, 0.9])
def test_a_truncated_stream_is_no_success(mover: Mover, alpha: BarePool, big: Any,
                                          share: float) -> None:
    """Not even where the source says so: the archive's end has not come."""
    alpha.faults.export, alpha.faults.says_success = cut, True
    alpha.faults.after = int(2 * SIZE * share)
    assert 'source: hung up in the middle of the stream' in mover.refused(1, '-sv', 'big')


def test_a_wrong_checksum(mover: Mover, alpha: BarePool, big: Any) -> None:
    alpha.faults.wrong_piece = 20
    line = mover.refused(1, '-sv', 'big')
    assert 'destination: IMPORT_ERROR_SOME_CHECKSUMS_FAILED (a block arrived changed' in line


def test_no_xva_at_all(mover: Mover, alpha: BarePool, big: Any) -> None:
    for raw in (b'hello' * 300, bytes(2048)):
        alpha.faults.raw = raw
        assert 'the source sends no XVA' in mover.refused(1, '-sv', 'big')


@pytest.mark.parametrize('side', ['source', 'destination'])
def test_one_side_stalls(mover: Mover, alpha: BarePool, beta: BarePool, big: Any,
                         side: str) -> None:
    """It neither sends nor takes, and does not hang up: that ends after a time."""
    stop = [True]

    def stall() -> None:
        until(lambda: not stop[0], 'nobody gave up', seconds=60)
    if side == 'source':
        alpha.faults.export, alpha.faults.after = stall, SIZE
    else:
        beta.faults.import_, beta.faults.after = stall, SIZE
    process = mover.start('-sv', 'big', '--stall', '1.5')
    time.sleep(0.1)
    try:
        out, err = '', ''
        until(lambda: process.poll() is not None or any(
            task['status'] == 'cancelled' for pool in (alpha, beta)
            for task in list(pool.db.objects['task'].values())), 'gave up', seconds=40)
    finally:
        stop[0] = False
    ran = mover.wait(process)
    assert ran.code == 1 and '%s: ' % side in ran.err and 'has not moved for 1 s' in ran.err, ran
    until(lambda: not beta.db.objects['VM'] and not beta.db.objects['VDI'], 'left', out + err)


@pytest.mark.parametrize('side', ['source', 'destination'])
@pytest.mark.parametrize('share', [0.05, 0.8])
def test_one_side_dies(mover: Mover, alpha: BarePool, beta: BarePool, big: Any, side: str,
                       share: float) -> None:
    """As after a power cut: nobody there answers any more."""
    dying, other = (alpha, beta) if side == 'source' else (beta, alpha)
    before = other.state()

    def die() -> None:
        dying.die_soon()
        time.sleep(30)
    dying.faults.after = int(2 * SIZE * share)
    setattr(dying.faults, 'export' if side == 'source' else 'import_', die)
    ran = mover('-sv', 'big')
    last = ran.err.splitlines()[-1]
    assert ran.code == 1 and last.startswith('migratevm: %s: ' % side), ran
    if side == 'source':
        assert last.endswith('Nothing is left on the destination')
    else:
        assert 'could not be asked what it has kept' in last and 'xe vm-uninstall' in last
    until(lambda: other.state() == before, 'left', repr((other.state(), before)))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(mover: Mover, alpha: BarePool, beta: BarePool, big: Any,
                     number: signal.Signals) -> None:
    """Both tasks are cancelled and destroyed; a second Ctrl-C does not disturb that."""
    before = alpha.state(), beta.state()
    alpha.faults.export, alpha.faults.after = (lambda: time.sleep(0.1)), SIZE
    process = mover.start('-sv', 'big')
    until(lambda: beta.db.objects['VDI'], 'nothing begins')
    os.kill(process.pid, number)
    time.sleep(0.1)
    if process.poll() is None:
        os.kill(process.pid, number)
    ran = mover.wait(process)
    assert ran.code == 130, ran
    assert ran.err.splitlines()[-1].endswith('interrupted. Nothing is left on the destination')
    until(lambda: (alpha.state(), beta.state()) == before, 'left', str(ran))


def test_killed(mover: Mover, beta: BarePool, alpha: BarePool, big: Any) -> None:
    """Nobody can clean up after SIGKILL but XAPI, which sees the stream break off."""
    alpha.faults.export, alpha.faults.after = (lambda: time.sleep(0.1)), SIZE
    process = mover.start('-sv', 'big')
    until(lambda: beta.db.objects['VDI'], 'nothing begins')
    process.kill()
    process.communicate()
    until(lambda: not beta.db.objects['VM'] and not beta.db.objects['VDI'], 'left')


def test_a_leftover_of_xapi_is_removed(mover: Mover, alpha: BarePool, beta: BarePool,
                                       big: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should XAPI fail to remove what it has made, the mover does."""
    from sandbox.xapitransfer import Importer
    monkeypatch.setattr(Importer, 'undo', lambda self: None)
    beta.faults.import_, beta.faults.after = full, SIZE
    ran = mover('-sv', 'big')
    assert ran.code == 1 and 'Nothing is left on the destination' in ran.err
    assert not beta.db.objects['VM'] and not beta.db.objects['VDI']


def test_a_leftover_is_removed_after_ctrl_c_too(mover: Mover, alpha: BarePool, beta: BarePool,
                                                big: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.xapitransfer import Importer
    monkeypatch.setattr(Importer, 'undo', lambda self: None)
    alpha.faults.export, alpha.faults.after = (lambda: time.sleep(0.1)), SIZE
    process = mover.start('-sv', 'big')
    until(lambda: beta.db.objects['VDI'], 'nothing begins')
    os.kill(process.pid, signal.SIGINT)
    assert mover.wait(process).code == 130
    assert not beta.db.objects['VM'] and not beta.db.objects['VDI']


def test_a_snapshot_does_not_outlive_a_failure(mover: Mover, alpha: BarePool) -> None:
    alpha.add_vm('busy', (SIZE,), used=30, running=True)
    alpha.faults.export, alpha.faults.after = cut, SIZE // 2
    mover.refused(1, '-sv', 'busy', '--snapshot')


def test_a_proxy_that_chunks(mover: Mover, alpha: BarePool, beta: BarePool, big: Any,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """403 comes at once, and is an error."""
    from sandbox.xapitransfer import Handlers, say

    def refuse(self: Any, task: str, query: Any, headers: Any, source: Any, send: Any) -> str:
        say(send, '403 Forbidden')
        raise Refused('IMPORT_ERROR_CANNOT_HANDLE_CHUNKED')
    monkeypatch.setattr(Handlers, 'import_', refuse)
    assert 'PUT /import on 127.0.12.1' in mover.refused(1, '-sv', 'big')
