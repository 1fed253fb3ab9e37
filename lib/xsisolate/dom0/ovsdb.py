"""Open vSwitch's database: what is on the bridges, and the ports that we put there.

JSON over a socket, because importing OVS's own `ovs` package costs 40 ms on
Python 3.6, in a script that each VM's boot waits for, and it is not on Dom0's
path. Every change is one transaction that states what it was based on (`wait`
operations): if somebody else was faster nothing happens and we look again.
"""
import os
from time import monotonic

from xsisolate.dom0 import rfc7047 as wire
from xsisolate.dom0.jsonrpc import Conflict, Connection
from xsisolate.dom0.ovsport import PortPlan, look_for_port, plan_port
from xsisolate.dom0.rfc7047 import Operation, Row
from xsisolate.errors import HostError
from xsisolate.hints import (Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple,
                             TypeVar)

FOLDERS = ('/run/openvswitch', '/var/run/openvswitch')
LINK_TIMEOUT_MS = 3000
ATTEMPTS = 20                   # to change what others change at the same time
SECURE = 'secure'               # fail_mode: without flows nothing passes
FAIL_MODE_KEY = 'xsisolate-fail-mode'   # external_ids: what the mode was before we set it
NO_FAIL_MODE = 'none'

BRIDGE_COLUMNS = ('_uuid', 'name', 'fail_mode', 'protocols', 'datapath_type',
                  'mcast_snooping_enable', 'external_ids', 'other_config', 'ports', 'controller')
PORT_COLUMNS = ('_uuid', 'name', 'tag', 'trunks', 'vlan_mode', 'fake_bridge',
                'bond_active_slave', 'interfaces', 'external_ids', 'bond_mode')
INTERFACE_COLUMNS = ('_uuid', 'name', 'ofport', 'type', 'external_ids', 'error', 'mac_in_use')


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


class Bridge(NamedTuple):
    """A real bridge; fake ones are among its ports."""

    name: str
    uuid: str
    fail_mode: Optional[str]
    protocols: Tuple[str, ...]          # empty: OVS's default
    datapath_type: str
    mcast_snooping: bool
    external_ids: Mapping[str, str]
    other_config: Mapping[str, str]
    ports: Tuple[Port, ...]
    has_controller: bool = False


class NetworkBridge(NamedTuple):
    """What a network's bridge name stands for: a real bridge, and its VLAN if it is fake."""

    bridge: Bridge
    tag: Optional[int]


Named = TypeVar('Named', Port, Interface)


def find_bridge(bridges: Iterable[Bridge], name: str) -> Optional[NetworkBridge]:
    """Return what a network's bridge name stands for; None if OVS has no such bridge."""
    for bridge in bridges:
        if bridge.name == name:
            return NetworkBridge(bridge, None)
        for port in bridge.ports:
            if port.fake_bridge and port.name == name:
                return NetworkBridge(bridge, port.tag)
    return None


class Ovsdb(Connection):
    """A connection to Open vSwitch's database; every call ends within `timeout` seconds."""

    def __init__(self, timeout: float = 10.0) -> None:
        super().__init__(_socket_path(), 'Open_vSwitch', timeout)

    def read_bridges(self) -> Tuple[Bridge, ...]:
        """Return every bridge with its ports and interfaces, as of one moment."""
        bridges, ports, interfaces = self._select(
            wire.select('Bridge', BRIDGE_COLUMNS), wire.select('Port', PORT_COLUMNS),
            wire.select('Interface', INTERFACE_COLUMNS))
        by_uuid = {wire.uuid(row): _interface(row) for row in interfaces}
        ports_by_uuid = {wire.uuid(row): _port(row, by_uuid) for row in ports}
        return tuple(sorted((_bridge(row, ports_by_uuid) for row in bridges), key=_name))

    def ensure_port(self, bridge_name: str, port: str, external_ids: Mapping[str, str],
                    trunks: Optional[Sequence[int]] = None, tag: Optional[int] = None, *,
                    deadline: float = 10.0) -> int:
        """Have a port on a network's bridge, real or fake, and return its OpenFlow number.

        What is as it should be is not touched, nor are foreign external_ids. A `tag`
        overrides the fake bridge's VLAN; with `trunks` None they stay as they are.
        A port that we made and that does not work is taken away again: later, with
        nobody watching, ovs-vswitchd might make it work without a single flow.
        """
        end = monotonic() + deadline
        plan, results = self._change_port(bridge_name, port, external_ids, trunks, tag)
        if plan.ofport is not None:
            return plan.ofport
        try:
            return self._wait_for_ofport(port, wire.next_cfg(results), end)
        except HostError:
            if plan.created:
                self.delete_port(port)
            raise

    def delete_port(self, port: str) -> bool:
        """Take a port off its bridge; False if there was none.

        Does not wait for ovs-vswitchd: what is gone from the database stays gone.
        """
        rows, = self._select(wire.select('Port', ('_uuid',), ['name', '==', port]))
        for row in rows:
            self.transact([wire.mutate('Bridge', [['ports', 'includes', row['_uuid']]],
                                        ['ports', 'delete', row['_uuid']])] + wire.bump())
        return bool(rows)

    def wait_for_link_down(self, interface: str) -> None:
        """Wait until ovs-vswitchd has noticed that an Interface's link is down.

        When it takes the device off a bridge or onto one it writes back the flags
        that it remembers: a link that was just set down would come up again.
        """
        try:
            self.transact([{'op': 'wait', 'table': 'Interface', 'columns': ['admin_state'],
                            'where': [['name', '==', interface]], 'until': '!=',
                            'rows': [{'admin_state': 'up'}], 'timeout': LINK_TIMEOUT_MS}])
        except Conflict as error:
            raise HostError('ovs-vswitchd does not notice that %s is down' % interface) from error

    def wait_for_vswitchd(self) -> None:
        """Wait until ovs-vswitchd has done all that it was asked for: ports have their numbers."""
        rows, = self._select(wire.select('Open_vSwitch', ('next_cfg', 'cur_cfg')))
        if rows and rows[0]['cur_cfg'] < rows[0]['next_cfg']:
            self._wait_for_vswitchd(rows[0]['next_cfg'], monotonic() + self.timeout)

    def set_external_ids(self, interface: str, values: Mapping[str, Optional[str]]) -> None:
        """Set an Interface's external_ids, and remove those that are None; others stay."""
        done = self.transact([wire.merge([['name', '==', interface]], values)])
        if not done[0].get('count'):
            raise HostError('Open vSwitch has no interface %s' % interface)

    def add_protocols(self, bridge: str, protocols: Sequence[str]) -> bool:
        """Let a bridge speak these OpenFlow versions too; True if it had to be told.

        An empty column means OVS's default, which is wide: adding to it would narrow it.
        """
        rows, = self._select(wire.select('Bridge', ('_uuid', 'protocols'), ['name', '==', bridge]))
        if not rows:
            raise HostError('Open vSwitch has no bridge %s' % bridge)
        spoken = wire.as_set(rows[0]['protocols'])
        missing = [protocol for protocol in protocols if protocol not in spoken]
        if not spoken or not missing:
            return False
        done = self.transact([
            wire.mutate('Bridge', [['_uuid', '==', rows[0]['_uuid']],
                                   ['protocols', '!=', wire.EMPTY]],
                        ['protocols', 'insert', ['set', missing]])] + wire.bump())
        self._wait_for_vswitchd(wire.next_cfg(done), monotonic() + self.timeout)
        return True

    def set_fail_mode(self, bridge: str, mode: Optional[str], before: Optional[str]) -> None:
        """Set a bridge's fail mode, and note what it was; None: nothing, and no note.

        Waits for ovs-vswitchd, which drops all flows of the bridge when this changes.
        """
        where = [['name', '==', bridge]]
        done = self.transact([
            {'op': 'update', 'table': 'Bridge', 'where': where,
             'row': {'fail_mode': mode if mode else wire.EMPTY}},
            wire.merge(where, {FAIL_MODE_KEY: before}, 'Bridge')] + wire.bump())
        if not done[0].get('count'):
            raise HostError('Open vSwitch has no bridge %s' % bridge)
        self._wait_for_vswitchd(wire.next_cfg(done), monotonic() + self.timeout)

    def _change_port(self, bridge_name: str, port: str, external_ids: Mapping[str, str],
                     trunks: Optional[Sequence[int]],
                     tag: Optional[int]) -> Tuple[PortPlan, List[Row]]:
        """Look and change until nobody comes between; return the plan and its results."""
        for attempt in range(ATTEMPTS):
            found = self._select(*look_for_port(bridge_name, port))
            plan = plan_port(bridge_name, port, external_ids, trunks, tag, found)
            try:
                return plan, self.transact(plan.operations) if plan.operations else []
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError('not reached')

    def _wait_for_ofport(self, port: str, config: int, end: float) -> int:
        """Wait for ovs-vswitchd; return the port's OpenFlow number."""
        self._wait_for_vswitchd(config, end)
        rows, = self._select(wire.select('Interface', INTERFACE_COLUMNS, ['name', '==', port]))
        interface = _interface(rows[0]) if rows else None
        if not interface:
            raise HostError('port %s: somebody removed it from Open vSwitch' % port)
        if interface.error or not interface.ofport or interface.ofport < 0:
            raise HostError('port %s: Open vSwitch has no number for it: %s'
                            % (port, interface.error or 'no reason given'))
        return interface.ofport

    def _wait_for_vswitchd(self, config: int, end: float) -> None:
        """Wait until ovs-vswitchd has done what the database asked for."""
        left = max(end - monotonic(), 0.001)
        try:
            self.transact([{'op': 'wait', 'table': 'Open_vSwitch', 'columns': ['cur_cfg'],
                            'where': [['cur_cfg', '>=', config]], 'until': '!=', 'rows': [],
                            'timeout': int(left * 1000)}], timeout=left + 1)
        except Conflict as error:
            raise HostError('ovs-vswitchd did not take up the change in time') from error

    def _select(self, *selects: Operation) -> List[List[Row]]:
        """Return the rows of each select, all as of one moment."""
        return [result['rows'] for result in self.transact(selects)]


def _bridge(row: Row, ports: Mapping[str, Port]) -> Bridge:
    return Bridge(name=row['name'], uuid=wire.uuid(row),
                  fail_mode=wire.as_optional(row['fail_mode']),
                  protocols=tuple(sorted(wire.as_set(row['protocols']))),
                  datapath_type=row['datapath_type'], mcast_snooping=row['mcast_snooping_enable'],
                  external_ids=wire.as_dict(row['external_ids']),
                  other_config=wire.as_dict(row['other_config']),
                  ports=_referred(row['ports'], ports),
                  has_controller=row['controller'] != wire.EMPTY)


def _port(row: Row, interfaces: Mapping[str, Interface]) -> Port:
    return Port(name=row['name'], tag=wire.as_optional(row['tag']),
                trunks=tuple(sorted(wire.as_set(row['trunks']))),
                vlan_mode=wire.as_optional(row['vlan_mode']), fake_bridge=row['fake_bridge'],
                bond_active_slave=wire.as_optional(row['bond_active_slave']),
                interfaces=_referred(row['interfaces'], interfaces),
                external_ids=wire.as_dict(row['external_ids']),
                bond_mode=wire.as_optional(row['bond_mode']))


def _interface(row: Row) -> Interface:
    return Interface(name=row['name'], ofport=wire.as_optional(row['ofport']), type=row['type'],
                     external_ids=wire.as_dict(row['external_ids']),
                     error=wire.as_optional(row['error']),
                     mac_in_use=wire.as_optional(row['mac_in_use']))


def _referred(value: Any, rows: Mapping[str, Named]) -> Tuple[Named, ...]:
    """Return the rows that a column refers to, by name."""
    return tuple(sorted((rows[key] for _, key in wire.atoms(value) if key in rows), key=_name))


def _name(row: Any) -> str:
    return str(row.name)


def _socket_path() -> str:
    """Return where ovsdb-server listens."""
    named = os.environ.get('OVS_RUNDIR')
    paths = [folder + '/db.sock' for folder in ((named,) if named else FOLDERS)]
    return next((path for path in paths if os.path.exists(path)), paths[0])
