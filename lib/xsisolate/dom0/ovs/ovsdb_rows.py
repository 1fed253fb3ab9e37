"""Open vSwitch's bridges, ports and interfaces as values, made of rows of its database."""
from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.ovsdb_operations import Operation, Row
from xsisolate.typing_compat import (Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence,
                                     Tuple, TypeVar)

IN_BAND_KEY = 'disable-in-band'     # other_config of a bridge
TRIAL_BRIDGE = 'xsi-selftest'       # the self-test's, which belongs to no network
BRIDGE_COLUMNS = ('_uuid', 'name', 'fail_mode', 'protocols',
                  'mcast_snooping_enable', 'external_ids', 'other_config', 'ports', 'controller')
PORT_COLUMNS = ('_uuid', 'name', 'tag', 'trunks', 'vlan_mode', 'fake_bridge',
                'bond_active_slave', 'interfaces', 'external_ids', 'bond_mode')
INTERFACE_COLUMNS = ('_uuid', 'name', 'ofport', 'type', 'external_ids', 'error', 'mac_in_use')
REMOTE_COLUMNS = {
    'Controller': ('_uuid', 'target', 'connection_mode', 'external_ids', 'type',
                   'inactivity_probe'),
    'Manager': ('_uuid', 'target', 'connection_mode', 'external_ids')}


class Interface(NamedTuple):
    """A network device on the switch."""

    name: str
    ofport: Optional[int]       # None: ovs-vswitchd has not looked yet; -1: it failed
    type: str
    external_ids: Mapping[str, str]
    error: Optional[str]
    mac_in_use: Optional[str]


class Port(NamedTuple):
    """A port of a bridge: one interface, or the several of a bond."""

    name: str
    tag: Optional[int]
    trunks: Tuple[int, ...]
    vlan_mode: Optional[str]
    fake_bridge: bool
    bond_active_slave: Optional[str]
    interfaces: Tuple[Interface, ...]
    external_ids: Mapping[str, str]
    bond_mode: Optional[str] = None     # None: active-backup, if it is a bond


class PortNumber(NamedTuple):
    """A VIF's port that a hook for another VIF has no more to know of."""

    name: str
    tag: Optional[int]
    ofport: Optional[int]


class Remote(NamedTuple):
    """A controller of a bridge, or a manager of the database; either may be a listener."""

    table: str                          # Controller, Manager
    uuid: str
    target: str                         # tcp:10.0.0.1:6653, ptcp:, unix:/run/..., none
    connection_mode: Optional[str]      # in-band, out-of-band; None: in-band
    external_ids: Mapping[str, str]
    type: Optional[str] = None          # primary, service; None: as the target suggests
    probe: Optional[int] = None         # inactivity_probe, milliseconds


class Bridge(NamedTuple):
    """A real bridge; fake ones are among its ports.

    Other VIFs' ports may be read by name and number only: then they are among `others` instead.
    """

    name: str
    uuid: str
    fail_mode: Optional[str]
    protocols: Tuple[str, ...]          # empty: OVS's default
    mcast_snooping: bool
    external_ids: Mapping[str, str]
    other_config: Mapping[str, str]
    ports: Tuple[Port, ...]
    controllers: Tuple[Remote, ...] = ()
    managers: Tuple[Remote, ...] = ()   # of the database, so of every bridge
    siblings: Tuple[str, ...] = ()      # the names of all real bridges, this one's too
    others: Tuple[PortNumber, ...] = ()


class NetworkBridge(NamedTuple):
    """What a network's bridge name stands for: a real bridge, and its VLAN if it is fake."""

    bridge: Bridge
    tag: Optional[int]


Named = TypeVar('Named', Port, PortNumber, Interface)


def find_bridge(bridges: Iterable[Bridge], name: str) -> Optional[NetworkBridge]:
    """Return what a network's bridge name stands for; None if OVS has no such bridge."""
    for bridge in bridges:
        if bridge.name == name:
            return NetworkBridge(bridge, None)
        for port in bridge.ports:
            if port.fake_bridge and port.name == name:
                return NetworkBridge(bridge, port.tag)
    return None


def select_network(name: str) -> List[Operation]:
    """Return the selects for what `resolve_bridge` has to know."""
    return [wire.select('Bridge', BRIDGE_COLUMNS),
            wire.select('Port', PORT_COLUMNS, ['name', '==', name], ['fake_bridge', '==', True])]


def resolve_bridge(name: str, bridges: Sequence[Row],
                   fakes: Iterable[Row]) -> Optional[NetworkBridge]:
    """Return what a name stands for, from the rows of bridges and of fake bridges' ports."""
    ports = {wire.uuid(row): make_port(row, {}) for row in fakes}
    return find_bridge(make_bridges(bridges, ports), name)


def make_bridges(rows: Sequence[Row], ports: Mapping[str, Port], remotes: Iterable[Remote] = (),
                 others: Optional[Mapping[str, PortNumber]] = None) -> Tuple[Bridge, ...]:
    """Return all bridges in order; `ports` by their rows' uuid, `remotes` are the whole host's."""
    names = tuple(sorted([row['name'] for row in rows]))
    return tuple(sorted([make_bridge(row, ports, remotes)._replace(
        siblings=names, others=_referred(row['ports'], others or {}))
        for row in rows], key=by_name))


def make_bridge(row: Row, ports: Mapping[str, Port], remotes: Iterable[Remote] = ()) -> Bridge:
    """Return a bridge; `ports` by their rows' uuid, `remotes` are the whole host's."""
    own = {key for _, key in wire.atoms(row['controller'])}
    return Bridge(name=row['name'], uuid=wire.uuid(row),
                  fail_mode=wire.as_optional(row['fail_mode']),
                  protocols=tuple(sorted(wire.as_set(row['protocols']))),
                  mcast_snooping=row['mcast_snooping_enable'],
                  external_ids=wire.as_dict(row['external_ids']),
                  other_config=wire.as_dict(row['other_config']),
                  ports=_referred(row['ports'], ports),
                  controllers=tuple(one for one in remotes if one.uuid in own),
                  managers=tuple(one for one in remotes if one.table == 'Manager'))


def make_port(row: Row, interfaces: Mapping[str, Interface]) -> Port:
    """Return a port; `interfaces` by their rows' uuid."""
    return Port(name=row['name'], tag=wire.as_optional(row['tag']),
                trunks=tuple(sorted(wire.as_set(row['trunks']))),
                vlan_mode=wire.as_optional(row['vlan_mode']), fake_bridge=row['fake_bridge'],
                bond_active_slave=wire.as_optional(row['bond_active_slave']),
                interfaces=_referred(row['interfaces'], interfaces),
                external_ids=wire.as_dict(row['external_ids']),
                bond_mode=wire.as_optional(row['bond_mode']))


def make_interface(row: Row) -> Interface:
    """Return an interface."""
    return Interface(name=row['name'], ofport=wire.as_optional(row['ofport']), type=row['type'],
                     external_ids=wire.as_dict(row['external_ids']),
                     error=wire.as_optional(row['error']),
                     mac_in_use=wire.as_optional(row['mac_in_use']))


def make_remotes(controllers: Iterable[Row], managers: Iterable[Row]) -> Tuple[Remote, ...]:
    """Return all controllers and managers, sorted by target."""
    found = [Remote(table, wire.uuid(row), row['target'],
                    wire.as_optional(row['connection_mode']), wire.as_dict(row['external_ids']),
                    wire.as_optional(row.get('type', wire.EMPTY)),
                    wire.as_optional(row.get('inactivity_probe', wire.EMPTY)))
             for table, rows in (('Controller', controllers), ('Manager', managers))
             for row in rows]
    return tuple(sorted(found, key=lambda one: (one.table, one.target, one.uuid)))


def _referred(value: Any, rows: Mapping[str, Named]) -> Tuple[Named, ...]:
    """Return the rows that a column refers to, by name."""
    return tuple(sorted((rows[key] for _, key in wire.atoms(value) if key in rows), key=by_name))


def by_name(row: Any) -> str:
    """Return what things with a name are sorted by."""
    return str(row.name)
