"""What the daemon must know of Open vSwitch's database, followed with OVS's own IDL."""
import os
from typing import Any, Dict, Mapping, NamedTuple, Tuple

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller
import ovs.stream

from xsisolate.dom0.ovs.ovsdb_rows import IN_BAND_KEY, TRIAL_BRIDGE
from xsisolate.dom0.ovs.rundir import find_file
from xsisolate.errors import HostError
from xsisolate.vif_id import VIF_NETDEV

DATABASE = 'Open_vSwitch'
COLUMNS = {
    'Open_vSwitch': ['bridges', 'manager_options'],
    'Bridge': ['name', 'ports', 'controller', 'fail_mode', 'protocols', 'mcast_snooping_enable',
               'other_config'],
    'Port': ['name', 'interfaces', 'tag', 'trunks', 'vlan_mode', 'fake_bridge',
             'bond_active_slave', 'bond_mode'],
    'Interface': ['name', 'ofport', 'type'],
    # The IDL follows references to tables that it knows only.
    'Controller': ['target', 'connection_mode', 'type'],
    'Manager': ['target', 'connection_mode'],
}


class BridgeState(NamedTuple):
    """A bridge as far as our flows depend on it."""

    shape: Tuple[Any, ...]              # all but the VIFs' ports
    vifs: Mapping[str, Tuple[Any, ...]]     # by netdev: number and VLANs of its port
    remotes: Tuple[Any, ...] = ()       # what in-band control depends on


class Database:
    """A follower of the database; `run` says when something has changed."""

    def __init__(self) -> None:
        self.trouble = ''       # why there is no connection, while there has never been one
        self._idl: Any = None

    def run(self) -> bool:
        """Take in what the server has sent; True if anything changed."""
        if self._idl is None:
            try:
                self._idl = _connect()
            except HostError as error:
                self.trouble = str(error)
                return False
            self.trouble = ''
        return bool(self._idl.run())

    def wait(self, poller: Any) -> None:
        """Have a poller wake up when there is more; not for a server that never was there."""
        if self._idl is not None:
            self._idl.wait(poller)

    @property
    def is_complete(self) -> bool:
        """Tell whether the database has been read at all."""
        return self._idl is not None and bool(self._idl.has_ever_connected())

    def bridges(self) -> Dict[str, BridgeState]:
        """Return every bridge's state by name, without the self-test's."""
        managers = tuple(sorted((row.target, tuple(row.connection_mode))
                                for row in self._idl.tables['Manager'].rows.values()))
        return {row.name: _state(row, managers)
                for row in self._idl.tables['Bridge'].rows.values() if row.name != TRIAL_BRIDGE}


def _state(bridge: Any, managers: Tuple[Any, ...]) -> BridgeState:
    vifs: Dict[str, Tuple[Any, ...]] = {}
    others = []
    for port in bridge.ports:
        vlans = (tuple(port.tag), tuple(port.trunks), tuple(port.vlan_mode))
        links = tuple(sorted((link.name, tuple(link.ofport), link.type)
                             for link in port.interfaces))
        if VIF_NETDEV.fullmatch(port.name):
            vifs[port.name] = (links, vlans)
        else:
            others.append((port.name, links, vlans, bool(port.fake_bridge),
                tuple(port.bond_active_slave), tuple(port.bond_mode)))
    controllers = tuple(sorted((row.target, tuple(row.connection_mode), tuple(row.type))
                               for row in bridge.controller))
    shape = (tuple(sorted(others)), tuple(bridge.fail_mode),
             tuple(sorted(bridge.protocols)), bool(bridge.mcast_snooping_enable))
    remotes = (bridge.other_config.get(IN_BAND_KEY), controllers, managers)
    return BridgeState(shape, vifs, remotes)


def _connect() -> Any:
    """Return an IDL for those columns that we need."""
    remote = 'unix:' + find_file('db.sock')
    helper = ovs.db.idl.SchemaHelper(schema_json=_fetch_schema(remote))
    for table, columns in COLUMNS.items():
        helper.register_columns(table, columns)
    return ovs.db.idl.Idl(remote, helper, leader_only=False)


def _fetch_schema(remote: str) -> Any:
    """Return the schema, as this very server has it."""
    error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(remote))
    if error:
        raise HostError('ovsdb-server cannot be reached at %s: %s' % (remote, os.strerror(error)))
    connection = ovs.jsonrpc.Connection(stream)
    try:
        error, reply = connection.transact_block(
            ovs.jsonrpc.Message.create_request('get_schema', [DATABASE]))
        if error or reply.error:
            raise HostError('ovsdb-server does not tell its schema: %s' % (reply and reply.error))
        return reply.result
    finally:
        connection.close()
