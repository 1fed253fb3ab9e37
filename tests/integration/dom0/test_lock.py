"""One lock per bridge, between real processes."""
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from sandbox.process import run
from xsisolate.dom0.linux.lock import bridge_lock, vif_lock
from xsisolate.errors import HostError
from xsisolate.vif_id import VifId

HOLD = '''
import sys, time
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.vif_id import parse_netdev
with bridge_lock(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
'''


@pytest.fixture
def hold(root):
    """Let other processes hold a bridge's lock."""
    holders = []

    def start(bridge):
        holder = subprocess.Popen([sys.executable, '-c', HOLD, bridge], stdout=subprocess.PIPE,
                                  env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
        holders.append(holder)
        assert holder.stdout.readline() == b'held\n'
        return holder
    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_second_comer_is_told_who_holds_it(hold):
    holder = hold('xenbr0')
    with pytest.raises(HostError, match='bridge xenbr0 .*0.2 s, by process %d$' % holder.pid):
        with bridge_lock('xenbr0', deadline=0.2):
            pass


def test_other_bridges_are_free(hold):
    hold('xenbr0')
    with bridge_lock('xenbr1', deadline=0):
        pass


@pytest.mark.parametrize('end', [signal.SIGKILL, signal.SIGTERM])
def test_dead_holder_lets_go(hold, end):
    holder = hold('xenbr0')
    holder.send_signal(end)
    with bridge_lock('xenbr0', deadline=2):
        pass


def test_one_who_waits_and_hangs_keeps_nobody_else_out(hold, root):
    holder = hold('xenbr0')
    waiter = subprocess.Popen([sys.executable, '-c', HOLD, 'xenbr0'], stdout=subprocess.DEVNULL,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    line = root / 'run/xsisolate/lock/xenbr0+line'
    try:
        while not line.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        with open(str(line)) as file, pytest.raises(BlockingIOError):    # it is the next one
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waiter.send_signal(signal.SIGSTOP)
        holder.kill()
        with bridge_lock('xenbr0', deadline=2):
            pass
    finally:
        waiter.kill()
        waiter.wait()


def test_lock_is_free_after_use_and_after_an_error(root):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), bridge_lock('xenbr0', deadline=0):
            raise ZeroDivisionError
    with bridge_lock('xenbr0', deadline=0):
        pass


def test_own_process_is_locked_out_too(root):
    with bridge_lock('xenbr0'), pytest.raises(HostError, match='process %d' % os.getpid()):
        with bridge_lock('xenbr0', deadline=0):
            pass


def test_children_do_not_inherit_it(root):
    with bridge_lock('xenbr0'):
        child = subprocess.Popen(['sleep', '60'], close_fds=False)
    try:
        with bridge_lock('xenbr0', deadline=0):
            pass
    finally:
        child.kill()
        child.wait()


def test_only_root_may_look(root):
    with bridge_lock('xenbr0'):
        pass
    folder = root / 'run/xsisolate/lock'
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / 'xenbr0').stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize('bridge', ['', '..', 'a/b', '/etc/passwd', 'xenbr0\n', 'x' * 100])
def test_names_that_are_no_path(root, bridge):
    with pytest.raises(HostError, match='not a bridge name'):
        with bridge_lock(bridge):
            pass


def test_link_is_not_followed(root):
    with bridge_lock('xenbr0'):
        pass
    (root / 'run/xsisolate/lock/xenbr1').symlink_to('/etc/passwd')
    with pytest.raises(HostError, match='cannot lock bridge xenbr1'):
        with bridge_lock('xenbr1'):
            pass


def test_folder_cannot_be_made(root):
    (root / 'run').write_text('a file')
    with pytest.raises(HostError, match='cannot lock bridge xenbr0'):
        with bridge_lock('xenbr0'):
            pass


def test_read_only_folder(root):
    run(['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(root)])
    try:
        with pytest.raises(HostError, match='cannot lock bridge xenbr0: .*Read-only'):
            with bridge_lock('xenbr0'):
                pass
    finally:
        run(['umount', str(root)])


def test_full_disk_locks_all_the_same(root):
    run(['mount', '-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', str(root)])
    try:
        (root / 'filler').write_bytes(b'x' * 4096)
        with bridge_lock('xenbr0'), pytest.raises(HostError, match='by process unknown'):
            with bridge_lock('xenbr0', deadline=0):
                pass
    finally:
        run(['umount', str(root)])


def test_waiting_does_not_burn_the_processor(hold):
    hold('xenbr0')
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.monotonic()
    with pytest.raises(HostError):
        with bridge_lock('xenbr0', deadline=0.5):
            pass
    assert time.monotonic() - began < 0.7
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 0.1


# --- VIFs ----------------------------------------------------------------------------------

HOLD_VIF = HOLD.replace('bridge_lock(sys.argv[1])', 'vif_lock(parse_netdev("vif" + sys.argv[1]), 0)'
                        ).replace('bridge_lock', 'vif_lock')


@pytest.fixture
def held_vif(root):
    """Let another process hold vif7.1."""
    holder = subprocess.Popen([sys.executable, '-c', HOLD_VIF, '7.1'], stdout=subprocess.PIPE,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    assert holder.stdout.readline() == b'held\n'
    yield holder
    holder.kill()
    holder.communicate()


def test_hooks_of_a_vif_take_turns(held_vif):
    with pytest.raises(HostError, match='vif7.1 is still locked after 0.1 s'):
        with vif_lock(VifId(7, 1), 0.1):
            pass
    held_vif.kill()
    with vif_lock(VifId(7, 1), 2):
        pass


def test_other_vifs_and_bridges_are_free(held_vif, root):
    for domid, devid in ((7, 0), (7, 2), (6, 1), (8, 1), (7 << 8, 1), (32767, 255)):
        with vif_lock(VifId(domid, devid), 0), bridge_lock('all', 0):
            pass
    assert sorted(os.listdir(os.path.join(root, 'run/xsisolate/lock'))) == ['all', 'all+vifs']


def test_a_vif_is_free_after_an_error(root):
    with pytest.raises(ZeroDivisionError):
        with vif_lock(VifId(1, 0), 0):
            raise ZeroDivisionError
    with vif_lock(VifId(1, 0), 0):
        pass
