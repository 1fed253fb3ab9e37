"""What to do in OVSDB about a port: the rows found and the port wanted in, operations out."""
from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.ovsdb_operations import Operation, Row
from xsisolate.errors import HostError
from xsisolate.typing_compat import (Iterable, Iterator, List, Mapping, NamedTuple, Optional,
                                     Sequence)


class PortPlan(NamedTuple):
    """What is to be done about a port."""

    operations: Sequence[Operation] = ()
    ofport: Optional[int] = None        # None: ovs-vswitchd has something to do first
    created: bool = False


def look_for_port(bridge_name: str, port: str) -> List[Operation]:
    """Return the selects for what `plan_port` has to know."""
    return [wire.select('Bridge', ('_uuid', 'name', 'ports')),
            wire.select('Port', ('_uuid', 'tag'), ['name', '==', bridge_name],
                   ['fake_bridge', '==', True]),
            wire.select('Port', ('_uuid', 'tag', 'trunks'), ['name', '==', port]),
            wire.select('Interface', ('_uuid', 'name', 'ofport', 'error', 'external_ids'),
                   ['name', '==', port]), wire.select('Open_vSwitch', ('cur_cfg', 'next_cfg'))]


def plan_port(bridge_name: str, port: str, external_ids: Mapping[str, str],
              trunks: Optional[Sequence[int]], found: Sequence[Sequence[Row]]) -> PortPlan:
    """Return the operations that make the port as it should be, none if it is."""
    bridges, fakes, ports, interfaces, switch = found
    parent = _parent(bridges, bridge_name, fakes)
    guards = [wire.unchanged('Bridge', parent, 'name')]
    wanted: Row = {'tag': wire.EMPTY}
    if parent['name'] != bridge_name:
        guards.append(wire.unchanged('Port', fakes[0], 'tag'))
        wanted['tag'] = fakes[0]['tag']
    if trunks is not None:
        wanted['trunks'] = ['set', sorted(trunks)]
    if not ports:
        return PortPlan(guards + _create(parent, port, external_ids, wanted) + wire.bump(),
                        created=True)
    if not interfaces:
        raise HostError('port %s: Open vSwitch has it without an interface' % port)
    guards.append(wire.unchanged('Port', ports[0], *wanted))
    changes = list(_moves(bridges, parent, ports[0])) + list(_updates(ports[0], wanted))
    return _plan_change(guards, changes, interfaces[0], external_ids, _is_settled(switch))


def _is_settled(switch: Sequence[Row]) -> bool:
    """Tell whether ovs-vswitchd has done all that it was asked for.

    Until then a port may have the number that it had on another bridge: a hook that
    moved it was killed before it had waited.
    """
    return bool(switch) and switch[0]['cur_cfg'] >= switch[0]['next_cfg']


def _plan_change(guards: List[Operation], changes: List[Operation], row: Row,
                 external_ids: Mapping[str, str], settled: bool) -> PortPlan:
    """Return the operations for a port that exists, and its number if that is settled."""
    ofport = wire.as_optional(row['ofport']) or -1
    works = settled and ofport > 0 and wire.as_optional(row['error']) is None
    current = wire.as_dict(row['external_ids'])
    ids = {key: value for key, value in external_ids.items() if current.get(key) != value}
    merging = [wire.merge([['_uuid', '==', row['_uuid']]], ids)] if ids else []
    if changes or not works:
        return PortPlan(guards + changes + merging + wire.bump())
    return PortPlan(guards + merging if merging else (), ofport=ofport)


def _parent(bridges: Iterable[Row], name: str, fakes: Sequence[Row]) -> Row:
    """Return the real bridge behind a network's bridge name."""
    for bridge in bridges:
        if bridge['name'] == name:
            return bridge
        if any(fake['_uuid'] in wire.atoms(bridge['ports']) for fake in fakes):
            return bridge
    raise HostError('Open vSwitch has no bridge %s' % name)


def _create(parent: Row, port: str, external_ids: Mapping[str, str],
            wanted: Row) -> List[Operation]:
    """Return the operations that put a new port on a bridge."""
    return [{'op': 'insert', 'table': 'Interface', 'uuid-name': 'interface',
             'row': {'name': port, 'external_ids': ['map', sorted(external_ids.items())]}},
            {'op': 'insert', 'table': 'Port', 'uuid-name': 'port',
             'row': dict(wanted, name=port, interfaces=['named-uuid', 'interface'])},
            wire.mutate('Bridge', [['_uuid', '==', parent['_uuid']]],
                        ['ports', 'insert', ['named-uuid', 'port']])]


def _moves(bridges: Iterable[Row], parent: Row, port: Row) -> Iterator[Operation]:
    """Yield the operations that take a port from any other bridge to its own."""
    on = ['ports', 'includes', port['_uuid']]
    for home in bridges:
        if home is not parent and port['_uuid'] in wire.atoms(home['ports']):
            yield wire.unchanged('Bridge', home, 'name', where=[on])
            yield wire.mutate('Bridge', [['_uuid', '==', home['_uuid']]],
                              ['ports', 'delete', port['_uuid']])
    if port['_uuid'] not in wire.atoms(parent['ports']):
        yield wire.mutate('Bridge', [['_uuid', '==', parent['_uuid']]],
                          ['ports', 'insert', port['_uuid']])


def _updates(port: Row, wanted: Row) -> Iterator[Operation]:
    """Yield the operation that sets those of a port's columns that differ."""
    different = {column: value for column, value in wanted.items()
                 if wire.as_set(value) != wire.as_set(port[column])}
    if different:
        yield {'op': 'update', 'table': 'Port', 'where': [['_uuid', '==', port['_uuid']]],
               'row': different}
