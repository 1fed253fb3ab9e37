"""The questions to XAPI that decide whether the toolstack may be restarted now.

It uses `xe`, so that `activate` does not need the XenAPI module in the host's Python.
"""
import re
from typing import List

from xsisolate.dom0.linux.process import run

XE = '/opt/xensource/bin/xe'
TIMEOUT_S = 60.0        # the pool's master may be busy


def is_ha_enabled() -> bool:
    """Tell whether the pool has high availability: then a toolstack restart fences the host."""
    return _ask('pool-list', 'params=ha-enabled') == 'true'


def read_ended_tasks(host_uuid: str) -> List[str]:
    """Return the names of the pending tasks that a restart of this host's toolstack would end.

    XAPI keeps tasks in its master's memory: when the master's xapi starts, it destroys all tasks of
    the pool; when a member's xapi does, the master destroys the tasks that are resident on it.
    A task that is forwarded to a member is resident there. (cancel_tasks.ml, message_forwarding.ml)
    """
    master = _ask('pool-list', 'params=master')
    where = () if master == host_uuid else ('resident-on=' + host_uuid,)
    # A task need not have a name, and a name may have commas: what counts is the uuids.
    uuids, names = _ask_tasks('uuid', *where), _ask_tasks('name-label', *where)
    if len(uuids) != len(names):        # one has ended between the questions
        return uuids
    return [name or uuid for uuid, name in zip(uuids, names)]


def _ask(*words: str) -> str:
    return run((XE, *words, '--minimal'), timeout=TIMEOUT_S).strip()


def _ask_tasks(what: str, *where: str) -> List[str]:
    """Return a field of each pending task; `xe --minimal` puts a backslash before its commas."""
    text = run((XE, 'task-list', 'status=pending', *where, 'params=' + what, '--minimal'),
               timeout=TIMEOUT_S).rstrip('\n')
    fields = re.split(r'(?<!\\),', text)
    return [field.replace('\\,', ',').strip() for field in fields] if text else []
