"""The two questions to XAPI that decide whether the toolstack may be restarted now.

By `xe`, not by our own session: so whoever activates needs no XenAPI module in the host's Python.
"""
from typing import List

from xsisolate.dom0.run import run

XE = '/opt/xensource/bin/xe'
TIMEOUT_S = 60.0        # the pool's master may be busy


def is_ha_enabled() -> bool:
    """Tell whether the pool has high availability: then a toolstack restart fences the host."""
    return run((XE, 'pool-list', 'params=ha-enabled', '--minimal'),
               timeout=TIMEOUT_S).strip() == 'true'


def read_pending_tasks() -> List[str]:
    """Return the names of the pool's tasks that have not ended; a restart would lose them."""
    names = run((XE, 'task-list', 'status=pending', 'params=name-label', '--minimal'),
                timeout=TIMEOUT_S).strip()
    return [name.strip() for name in names.split(',') if name.strip()]
