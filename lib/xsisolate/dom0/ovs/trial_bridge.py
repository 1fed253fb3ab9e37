"""The bridge of `xsisolate selftest`, which belongs to no network.

No other program of ours looks at it, and the self-test looks at no other: see `Ovsdb`.
"""
from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.ovsdb_operations import Row
from xsisolate.dom0.ovs.ovsdb_rows import TRIAL_BRIDGE as TRIAL_BRIDGE
from xsisolate.errors import HostError
from xsisolate.typing_compat import List, NamedTuple, Optional

NOTE = 'xsisolate-selftest'     # external_ids: by whom the bridge was made


class TrialBridge(NamedTuple):
    """The bridge as the database has it."""

    ours: bool              # the self-test has made it
    ports: List[str]


def find_trial(ovsdb: Ovsdb) -> Optional[TrialBridge]:
    """Return the self-test's bridge, or another that has its name."""
    bridges, ports = _select(
        ovsdb, wire.select('Bridge', ('external_ids', 'ports'), ['name', '==', TRIAL_BRIDGE]),
        wire.select('Port', ('_uuid', 'name')))
    for row in bridges:
        there = {key for _, key in wire.atoms(row['ports'])}
        return TrialBridge(NOTE in wire.as_dict(row['external_ids']), sorted(
            port['name'] for port in ports if wire.uuid(port) in there))
    return None


def usual_datapath(ovsdb: Ovsdb) -> str:
    """Return the type of datapath that most bridges of the host have; '' is the kernel's."""
    rows, = _select(ovsdb, wire.select('Bridge', ('name', 'datapath_type')))
    types = [row['datapath_type'] for row in rows if row['name'] != TRIAL_BRIDGE]
    return max(sorted(set(types)), key=types.count, default='')


def add_trial(ovsdb: Ovsdb, datapath: str) -> None:
    """Make the bridge; raise HostError if ovs-vswitchd cannot."""
    insert = [{'op': 'insert', 'table': 'Interface', 'uuid-name': 'interface',
               'row': {'name': TRIAL_BRIDGE, 'type': 'internal'}},
              {'op': 'insert', 'table': 'Port', 'uuid-name': 'port',
               'row': {'name': TRIAL_BRIDGE, 'interfaces': ['named-uuid', 'interface']}},
              {'op': 'insert', 'table': 'Bridge', 'uuid-name': 'bridge',
               'row': {'name': TRIAL_BRIDGE, 'datapath_type': datapath,
                       'fail_mode': 'standalone', 'external_ids': ['map', [[NOTE, 'true']]],
                       'ports': ['named-uuid', 'port']}},
              wire.mutate('Open_vSwitch', [], ['bridges', 'insert', ['named-uuid', 'bridge']])]
    ovsdb.change(insert)
    rows, = _select(ovsdb, wire.select('Interface', ('ofport', 'error'),
                                       ['name', '==', TRIAL_BRIDGE]))
    if not rows or wire.as_optional(rows[0]['ofport']) in (None, -1):
        raise HostError('bridge %s: ovs-vswitchd cannot make it: %s' % (
            TRIAL_BRIDGE, rows and wire.as_optional(rows[0]['error']) or 'see its log'))


def delete_trial(ovsdb: Ovsdb) -> None:
    """Remove the bridge with all its ports, if it is there."""
    rows, = _select(ovsdb, wire.select('Bridge', ('_uuid',), ['name', '==', TRIAL_BRIDGE]))
    for row in rows:
        ovsdb.change([wire.mutate('Open_vSwitch', [], ['bridges', 'delete', row['_uuid']])])


def _select(ovsdb: Ovsdb, *selects: wire.Operation) -> List[List[Row]]:
    return [result['rows'] for result in ovsdb.transact(selects)]
