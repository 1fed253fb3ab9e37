"""other_config:flow-restore-wait: while it is set a freshly started ovs-vswitchd forwards nothing.

It takes flows and settings as always (ovs-vswitchd.conf.db(5)). One that forwards
already does not look at the key any more, so it may be set at any time.
"""
import json

from xsisolate.dom0.linux.process import run
from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.ovsdb_operations import Operation
from xsisolate.errors import HostError
from xsisolate.typing_compat import List

KEY = 'flow-restore-wait'
DATABASE = 'Open_vSwitch'
FORGET = ['other_config', 'delete', ['set', [KEY]]]
SET = ['other_config', 'insert', ['map', [[KEY, 'true']]]]


def hold() -> None:
    """Have ovs-vswitchd forward nothing when it is started the next time.

    Between stop and start no ovsdb-server runs; then its file is changed, at the
    place where ovsdb-tool and ovs-ctl look for it by themselves.
    """
    operations = [wire.mutate(DATABASE, [], FORGET, SET)]
    try:
        with Ovsdb() as ovsdb:
            ovsdb.transact(operations)
    except HostError:
        _change_file(operations)


def is_held(ovsdb: Ovsdb) -> bool:
    """Tell whether the key is set."""
    rows = ovsdb.transact([wire.select(DATABASE, ('other_config',))])[0]['rows']
    return any(wire.as_dict(row['other_config']).get(KEY) == 'true' for row in rows)


def release(ovsdb: Ovsdb) -> None:
    """Have ovs-vswitchd forward."""
    ovsdb.transact([wire.mutate(DATABASE, [], FORGET)])


def _change_file(operations: List[Operation]) -> None:
    said = run(('ovsdb-tool', 'transact', json.dumps([DATABASE, *operations])))
    if '"error"' in said:
        raise HostError('ovsdb-tool cannot set %s: %.200s' % (KEY, said.strip()))
