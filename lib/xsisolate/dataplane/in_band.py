"""In-band control: Open vSwitch's own flows for its controllers and managers, switched off.

For each of them that it connects to over TCP or TLS, ovs-vswitchd puts flows above all others
on every bridge, whatever the fail mode, whether it answers or not: TCP from and to its address
and port, and ARP in its name, pass from any port to any other. No OpenFlow dump shows them.

A bridge with managed VIFs has none of that: `disable-in-band` on the bridge, whatever remotes
come. xcp-networkd takes that key away each time it creates a bridge, so the remotes themselves
are `out-of-band`, too; ovs-vswitchd uses that for nothing else. What both were is kept in
external_ids, to be put back when no VIF of the bridge, or of any bridge, is managed any more.
"""
from xsisolate.dataplane.own_address import own_address
from xsisolate.dataplane.remotes import IN_BAND_NOTE, OFF, OUT, forwards, is_noted, is_off, may_open
from xsisolate.dom0.ovs import ovsdb_operations as wire
from xsisolate.dom0.ovs.ovsdb import Bridge, Ovsdb, Remote
from xsisolate.dom0.ovs.ovsdb_operations import Operation
from xsisolate.dom0.ovs.ovsdb_rows import IN_BAND_KEY
from xsisolate.typing_compat import Iterable, Iterator, NamedTuple, Tuple

MODE_NOTE = 'xsisolate-connection-mode'     # external_ids of a remote: what that was before us
UNSET = 'unset'


class Deviation(NamedTuple):
    """Something beside the flows that is not as it should be."""

    what: str
    actual: str
    desired: str


class Change(NamedTuple):
    """A setting, and what makes it as it should be."""

    setting: Deviation
    operations: Tuple[Operation, ...]


def find_changes(ovsdb: Ovsdb, bridge: Bridge, managed: bool) -> Iterator[Change]:
    """Yield what must be set so that no remote opens a bridge, or what must be put back."""
    yield from _bridge_changes(bridge, managed)
    yield from _remote_changes(bridge.controllers, managed)
    shared = [remote for remote in bridge.managers if _is_wrong(remote, managed)]
    if shared:
        others = [other for other in ovsdb.read_bridges() if other.uuid != bridge.uuid]
        if not any(map(leans_on_in_band if managed else is_noted, others)):
            yield from _remote_changes(shared, managed)


def leans_on_in_band(bridge: Bridge) -> bool:
    """Tell whether Dom0 may need in-band control to reach a manager over a bridge of others.

    That is one that forwards nothing by itself, with an address of Dom0's and no flow of ours.
    """
    return not (is_noted(bridge) or is_off(bridge) or forwards(bridge)) and bool(
        own_address(bridge))


def _bridge_changes(bridge: Bridge, managed: bool) -> Iterator[Change]:
    actual, before = bridge.other_config.get(IN_BAND_KEY), bridge.external_ids.get(IN_BAND_NOTE)
    if managed:
        wrong = before is None or not is_off(bridge)
        desired, note = OFF, before or actual or UNSET
    else:
        wrong = before is not None
        desired, note = before or UNSET, None
    if wrong:
        where = [['_uuid', '==', ['uuid', bridge.uuid]]]
        yield Change(Deviation('other_config:' + IN_BAND_KEY, actual or UNSET, desired), (
            wire.merge(where, {IN_BAND_KEY: None if desired == UNSET else desired}, 'Bridge',
                       'other_config'),
            wire.merge(where, {IN_BAND_NOTE: note}, 'Bridge')))


def _remote_changes(remotes: Iterable[Remote], managed: bool) -> Iterator[Change]:
    for remote in remotes:
        if _is_wrong(remote, managed):
            actual = remote.connection_mode or UNSET
            desired = OUT if managed else remote.external_ids[MODE_NOTE]
            where = [['_uuid', '==', ['uuid', remote.uuid]]]
            yield Change(
                Deviation('%s %s connection_mode' % (remote.table, remote.target), actual, desired),
                ({'op': 'update', 'table': remote.table, 'where': where, 'row': {
                    'connection_mode': wire.EMPTY if desired == UNSET else desired}},
                 wire.merge(where, {MODE_NOTE: actual if managed else None}, remote.table)))


def _is_wrong(remote: Remote, managed: bool) -> bool:
    """Tell whether a remote could open a managed bridge, or has a note of ours that is over."""
    if managed:
        return may_open(remote) and remote.connection_mode != OUT
    return MODE_NOTE in remote.external_ids
