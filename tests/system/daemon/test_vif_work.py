"""What the daemon does with a VIF: facts read under the lock, and copies that are told."""
import time
from typing import Any

import pytest

from sandbox.injection import stopped_at
from sandbox.process import wait_until
from sandbox.dom0 import Sandbox

from support.reachability import arrives, is_cut_off, is_lost, speech
from support.guarded_host import GUARDED, RED, Around, is_fine, own, shown_error

from sandbox.daemon import Watch
from sandbox.hooks import open_files

pytestmark = GUARDED

LOOK_S = 0.6            # the daemon puts right what is wrong after 0.1 s


@pytest.fixture(scope='module')
def served() -> bool:
    """Hooks are held here in their own process."""
    return False


def waits(watch: Watch, bridge: str = 'xenbr0') -> bool:
    """Tell whether the daemon waits for a bridge's lock."""
    return any(path.endswith('/%s+line' % bridge) for path in open_files(str(watch.pid)))


def test_a_policy_older_than_a_hooks_does_not_win(
        host: Sandbox, around: Around, start: Any, watch: Watch, settled: Any, shout: Any) -> None:
    """The daemon reads that a VIF is unlocked; a hook that it is disabled, and programs first."""
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    refresh = host.hooks.locking_changed(vm.domain, vm.vifs[0])[0]
    shouting = shout(vm)
    with stopped_at(host.hooks, refresh, 'pwrite lock.py') as hook:
        vm.set_policy(own(13, {'mode': 'unlocked'}))
        wait_until(lambda: waits(watch), 'the daemon to have read that, and wait')
        vm.set_vif(locking_mode='disabled')
    done, = host.hooks.wait(hook)
    end = time.monotonic()
    assert done.code == 0 and 'mode=disabled' in done.stderr, done
    time.sleep(LOOK_S)
    heard = shouting.stop()
    print('%d of %d forbidden frames, the last %.2f s after the hook' % (
        heard.number, heard.total, max(heard.last - end, 0)))
    heard.check_none_heard()
    assert is_cut_off(vm, around.friend.address())
    settled()


def test_a_copy_is_told_when_no_hook_runs(host: Sandbox, around: Around, start: Any, watch: Watch,
                                          settled: Any) -> None:
    """Beside a VM that becomes managed, and stops being it, by what an admin writes."""
    original = start(13)
    copy = start(13, mac=original.mac)
    settled()
    original.set_policy(own(13, RED))
    watch.wait_for(' mute ', 'vif=' + copy.netdev(), original.netdev(), original.uuid)
    wait_until(lambda: original.netdev() in shown_error(copy), 'the copy to be told')
    assert is_lost(copy, around.bystander, speech(copy))
    settled()
    original.set_policy({})
    wait_until(lambda: not shown_error(copy), 'the note to go')
    assert arrives(copy, around.bystander, speech(copy))
    settled()
