"""After a boot, a hook waits a moment until this host has the pool's configuration of today.

While the host was down an administrator may have pushed another one. The daemon's follower asks
XAPI as soon as it answers, which takes a second; only then VMs should start by it. A pool without
a configuration of its own waits for nothing, and without XAPI what was known before serves.
"""
import os
from time import monotonic, sleep

from xsisolate.paths import POOL_ASKED, POOL_CONFIGURATION, rooted

WAIT_S = 10.0
POLL_S = 0.05


def wait_for_pool_configuration(seconds: float = WAIT_S) -> bool:
    """Wait until the follower has asked XAPI since boot; return False if that takes too long."""
    if os.path.exists(rooted(POOL_ASKED)) or not os.path.exists(rooted(POOL_CONFIGURATION)):
        return True
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        if os.path.exists(rooted(POOL_ASKED)):
            return True
        sleep(POLL_S)
    _note_waited()
    return False


def _note_waited() -> None:
    """Have no other hook wait in vain: one has."""
    from xsisolate.dom0.run_files.pool_configuration import note_asked
    from xsisolate.errors import HostError
    try:
        note_asked()
    except HostError:
        pass        # the next one waits, too
