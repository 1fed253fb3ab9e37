"""The two questions to XAPI that decide whether the toolstack may be restarted now.

By `xe`, not by our own session: so whoever activates needs no XenAPI module in the host's Python.
"""
import re
from typing import List

from xsisolate.dom0.run import run

XE = '/opt/xensource/bin/xe'
TIMEOUT_S = 60.0        # the pool's master may be busy


def is_ha_enabled() -> bool:
    """Tell whether the pool has high availability: then a toolstack restart fences the host."""
    return run((XE, 'pool-list', 'params=ha-enabled', '--minimal'),
               timeout=TIMEOUT_S).strip() == 'true'


def read_pending_tasks() -> List[str]:
    """Return the names of the pool's tasks that have not ended; a restart would lose them.

    A task need not have a name, and a name may have commas: what counts is the uuids.
    """
    uuids, names = _ask_tasks('uuid'), _ask_tasks('name-label')
    if len(uuids) != len(names):        # one has ended between the questions
        return uuids
    return [name or uuid for uuid, name in zip(uuids, names)]


def _ask_tasks(what: str) -> List[str]:
    """Return a field of each pending task; `xe --minimal` puts a backslash before its commas."""
    text = run((XE, 'task-list', 'status=pending', 'params=' + what, '--minimal'),
               timeout=TIMEOUT_S).rstrip('\n')
    fields = re.split(r'(?<!\\),', text)
    return [field.replace('\\,', ',').strip() for field in fields] if text else []
