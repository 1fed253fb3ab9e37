"""Open vSwitch's database: what is on the bridges, and the ports that we put there.

JSON over a socket, because importing OVS's own `ovs` package costs 40 ms on
Python 3.6, in a script that each VM's boot waits for, and it is not on Dom0's
path. Every change is one transaction that states what it was based on (`wait`
operations). If another program was faster, nothing is changed and we read again.
"""
from time import monotonic

from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.jsonrpc import Conflict, Connection
from xsisolate.dom0.ovs.ovsdb_operations import Operation, Row
from xsisolate.dom0.ovs.ovsdb_rows import (BRIDGE_COLUMNS, INTERFACE_COLUMNS, PORT_COLUMNS,
                                           REMOTE_COLUMNS, TRIAL_BRIDGE)
from xsisolate.dom0.ovs.ovsdb_rows import Bridge as Bridge
from xsisolate.dom0.ovs.ovsdb_rows import NetworkBridge as NetworkBridge
from xsisolate.dom0.ovs.ovsdb_rows import Port as Port
from xsisolate.dom0.ovs.ovsdb_rows import Remote as Remote
from xsisolate.dom0.ovs.ovsdb_rows import (PortNumber, by_name, make_bridge, make_bridges,
                                           make_interface, make_port, make_remotes, resolve_bridge,
                                           select_network)
from xsisolate.dom0.ovs.ovsdb_rows import find_bridge as find_bridge
from xsisolate.dom0.ovs.port_change import PortPlan, look_for_port, plan_port
from xsisolate.dom0.ovs.rundir import find_file
from xsisolate.errors import HostError
from xsisolate.typing_compat import Collection, Dict, List, Mapping, Optional, Sequence, Tuple
from xsisolate.vif_id import VIF_NETDEV

LINK_TIMEOUT_MS = 3000
ATTEMPTS = 20                   # to change what others change at the same time
SECURE = 'secure'               # fail_mode: without flows nothing passes
FAIL_MODE_KEY = 'xsisolate-fail-mode'   # external_ids: what the mode was before we set it
NO_FAIL_MODE = 'none'
SELECT_REMOTES = [wire.select(table, columns) for table, columns in sorted(REMOTE_COLUMNS.items())]


class Ovsdb(Connection):
    """A connection to Open vSwitch's database; every call ends within `timeout` seconds.

    It shows all bridges but the self-test's, or with `trial` that one alone, without managers.
    """

    def __init__(self, timeout: float = 10.0, trial: bool = False) -> None:
        super().__init__(find_file('db.sock'), 'Open_vSwitch', timeout)
        self._trial = trial

    def read_bridges(self) -> Tuple[Bridge, ...]:
        """Return every bridge with its ports and interfaces, as of one moment."""
        bridges, ports, interfaces, *remotes = self._select(
            wire.select('Bridge', BRIDGE_COLUMNS), wire.select('Port', PORT_COLUMNS),
            wire.select('Interface', INTERFACE_COLUMNS), *SELECT_REMOTES)
        by_uuid = {wire.uuid(row): make_interface(row) for row in interfaces}
        ports_by_uuid = {wire.uuid(row): make_port(row, by_uuid) for row in ports}
        return make_bridges(bridges, ports_by_uuid, make_remotes(*remotes))

    def read_bridge_rows(self) -> Tuple[Bridge, ...]:
        """Return every bridge without its ports."""
        bridges, = self._select(wire.select('Bridge', BRIDGE_COLUMNS))
        return tuple(sorted((make_bridge(row, {}) for row in bridges), key=by_name))

    def read_bridges_for(self, devices: Collection[str]) -> Tuple[Bridge, ...]:
        """Return every bridge with its ports, as a hook for these VIF netdevs needs them.

        Of other VIFs' ports there are only numbers: a bridge has hundreds, and reading all that
        is to be known of them takes longer than all else that a hook does.
        """
        bridges, ports, numbers, *remotes = self._select(
            wire.select('Bridge', BRIDGE_COLUMNS), wire.select('Port', ('_uuid', 'name', 'tag')),
            wire.select('Interface', ('name', 'ofport')), *SELECT_REMOTES)
        known = {row['name']: wire.as_optional(row['ofport']) for row in numbers}
        others: Dict[str, PortNumber] = {}
        whole: List[Row] = []
        for row in ports:
            name = row['name']
            if name in devices or not VIF_NETDEV.fullmatch(name):
                whole.append(row)
            elif name in known:
                others[wire.uuid(row)] = PortNumber(name, wire.as_optional(row['tag']),
                                                    known[name])
        interfaces = [name for name in known
                      if name in devices or not VIF_NETDEV.fullmatch(name)]
        return make_bridges(bridges, self._read_whole(whole, interfaces), make_remotes(*remotes),
                            others)

    def _read_whole(self, ports: Sequence[Row], interfaces: Sequence[str]) -> Dict[str, Port]:
        """Return all that is to be known of some ports, by their uuid."""
        results = self._select(
            *[wire.select('Interface', INTERFACE_COLUMNS, ['name', '==', name])
              for name in interfaces],
            *[wire.select('Port', PORT_COLUMNS, ['_uuid', '==', row['_uuid']]) for row in ports])
        by_uuid = {wire.uuid(row): make_interface(row)
                   for rows in results[:len(interfaces)] for row in rows}
        return {wire.uuid(row): make_port(row, by_uuid)
                for rows in results[len(interfaces):] for row in rows}

    def find_parent(self, name: str) -> Optional[str]:
        """Return the real bridge of a network's bridge, None if Open vSwitch has no such."""
        network = resolve_bridge(name, *self._select(*select_network(name)))
        return network.bridge.name if network else None

    def ensure_port(self, bridge_name: str, port: str, external_ids: Mapping[str, str],
                    trunks: Optional[Sequence[int]] = None, *, deadline: float = 10.0) -> int:
        """Have a port on a network's bridge, real or fake, and return its OpenFlow number.

        Columns that are right are not touched. Foreign external_ids stay. With `trunks` None the
        port's trunks stay.
        A port that we made and that does not work is taken away again. Otherwise ovs-vswitchd might
        make it work later, when no hook watches, without a single flow.
        """
        end = monotonic() + deadline
        plan, results = self._change_port(bridge_name, port, external_ids, trunks)
        if plan.ofport is not None:
            return plan.ofport
        try:
            return self._wait_for_ofport(port, wire.next_cfg(results), end)
        except HostError:
            if plan.created:
                self.delete_port(port)
            raise

    def read_ports(self, bridge: Bridge, names: Collection[str]) -> Bridge:
        """Return a bridge with all of these ports as they are now; they are VIFs', and on it."""
        rows = self._select(*[operation for name in names for operation in (
            wire.select('Port', PORT_COLUMNS, ['name', '==', name]),
            wire.select('Interface', INTERFACE_COLUMNS, ['name', '==', name]))])
        found = [make_port(row, {wire.uuid(other): make_interface(other) for other in interfaces})
                 for ports, interfaces in zip(rows[::2], rows[1::2]) for row in ports]
        rest = [port for port in bridge.ports if port.name not in names]
        return bridge._replace(ports=tuple(sorted(rest + found, key=by_name)), others=tuple(
            [port for port in bridge.others if port.name not in names]))

    def ofports_on(self, bridge: str, names: Collection[str]) -> Mapping[str, Optional[int]]:
        """Return the OpenFlow numbers of those of these VIFs' netdevs that are on a bridge now."""
        bridges, *rows = self._select(
            wire.select('Bridge', ('ports',), ['name', '==', bridge]),
            *[operation for name in names for operation in (
                wire.select('Port', ('_uuid', 'name'), ['name', '==', name]),
                wire.select('Interface', ('ofport',), ['name', '==', name]))])
        there = {port[1] for row in bridges for port in wire.atoms(row['ports'])}
        return {port['name']: wire.as_optional(interface['ofport'])
                for ports, interfaces in zip(rows[::2], rows[1::2])
                for port, interface in zip(ports, interfaces) if wire.uuid(port) in there}

    def find_by_macs(self, macs: Collection[str]) -> List[str]:
        """Return the Interfaces of VIFs that have one of these MAC addresses."""
        rows = self._select(*[wire.select('Interface', ('name',), [
            'external_ids', 'includes', ['map', [['attached-mac', text]]]])
            for mac in sorted(macs) for text in (mac, mac.upper())])    # the stock hooks' too
        return [row['name'] for found in rows for row in found
                if VIF_NETDEV.fullmatch(row['name'])]

    def delete_port(self, port: str, bridge: str = '') -> bool:
        """Take a port off its bridge, or off this one only; False if there was none.

        Does not wait for ovs-vswitchd: what is gone from the database stays gone.
        """
        rows, = self._select(wire.select('Port', ('_uuid',), ['name', '==', port]))
        for row in rows:
            where = [['ports', 'includes', row['_uuid']]] + [['name', '==', bridge]] * bool(bridge)
            self.transact([wire.mutate('Bridge', where, ['ports', 'delete', row['_uuid']])]
                          + wire.bump())
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
        """Set an Interface's external_ids, and remove the keys that are None; others stay."""
        done = self.transact([wire.merge([['name', '==', interface]], values)])
        if not done[0].get('count'):
            raise HostError('Open vSwitch has no interface %s' % interface)

    def set_bridge_notes(self, bridge: str, values: Mapping[str, str]) -> None:
        """Set some of a bridge's external_ids; others stay."""
        self.transact([wire.merge([['name', '==', bridge]], values, 'Bridge')])

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

    def change(self, operations: Sequence[Operation]) -> None:
        """Change rows in one transaction, and wait until ovs-vswitchd has taken that in."""
        done = self.transact([*operations, *wire.bump()])
        self._wait_for_vswitchd(wire.next_cfg(done), monotonic() + self.timeout)

    def _change_port(self, bridge_name: str, port: str, external_ids: Mapping[str, str],
                     trunks: Optional[Sequence[int]]) -> Tuple[PortPlan, List[Row]]:
        """Read and change until no other writer comes between; return the plan and its results."""
        for attempt in range(ATTEMPTS):
            found = self._select(*look_for_port(bridge_name, port))
            plan = plan_port(bridge_name, port, external_ids, trunks, found)
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
        interface = make_interface(rows[0]) if rows else None
        if not interface:
            raise HostError('port %s: another program removed it from Open vSwitch' % port)
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
        return [self._sift(select['table'], result['rows'])
                for select, result in zip(selects, self.transact(selects))]

    def _sift(self, table: str, rows: List[Row]) -> List[Row]:
        """Return the rows of a table that this connection shows."""
        if table == 'Bridge':
            return [row for row in rows
                    if 'name' not in row or (row['name'] == TRIAL_BRIDGE) is self._trial]
        return [] if table == 'Manager' and self._trial else rows
