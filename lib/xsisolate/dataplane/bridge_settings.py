"""What a bridge must be set to: OpenFlow versions that serve us, `fail_closed`, no in-band flows.

A controller may have restricted the versions; ours are added, none is removed.

In Open vSwitch's fail mode `standalone` a bridge without flows, or with a
controller that does not answer, forwards everything. In `secure` it forwards
what flows say; ours then include one that lets the unmanaged talk as before.
What the mode was is kept in the bridge's external_ids, to be put back.
"""
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.in_band import Deviation as Deviation
from xsisolate.dataplane.in_band import find_changes
from xsisolate.dataplane.own_address import own_address
from xsisolate.dataplane.remotes import failing_open, in_band_remotes, name_all, open_remotes
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.ovsdb import FAIL_MODE_KEY, NO_FAIL_MODE, SECURE, Bridge
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.errors import ConfigError
from xsisolate.policy.resolve import is_fail_closed
from xsisolate.typing_compat import List, Optional, Sequence, Tuple
from xsisolate.vif_id import UUID

UUIDS_KEY = 'xs-network-uuids'      # external_ids: XAPI's networks on the bridge


def deviating(host: HostContext, bridge: Bridge, managed: bool) -> Tuple[Deviation, ...]:
    """Return what must be set on a bridge, with managed VIFs or without, other than it is."""
    found = [] if speaks_ours(bridge) else [Deviation(
        'protocols', ','.join(bridge.protocols),
        ','.join(sorted({*bridge.protocols, *flow_table.PROTOCOLS})))]
    actual, desired = _fail_mode(bridge), _desired_fail_mode(host, bridge)
    if actual != desired:
        found.append(Deviation('fail_mode', actual[0], desired[0]))
    return (*found, *[change.setting for change in find_changes(host.ovsdb, bridge, managed)])


def settle(host: HostContext, bridge: Bridge, managed: bool) -> str:
    """Set a bridge as it must be; return the remotes that have, or would have had, it open.

    When the fail mode changes ovs-vswitchd drops all flows: the caller programs it at once.
    """
    silenced = set_in_band(host, bridge, managed)
    if not speaks_ours(bridge):
        host.ovsdb.add_protocols(bridge.name, flow_table.PROTOCOLS)
    mode, before = _desired_fail_mode(host, bridge)
    if _fail_mode(bridge) != (mode, before):
        host.ovsdb.set_fail_mode(bridge.name, None if mode == NO_FAIL_MODE else mode, before)
    return silenced


def set_in_band(host: HostContext, bridge: Bridge, managed: bool) -> str:
    """Have no remote open a managed bridge; return the remotes that something was set for."""
    operations = [operation for change in find_changes(host.ovsdb, bridge, managed)
                  for operation in change.operations]
    if operations:
        host.ovsdb.change(operations)
    return name_all(in_band_remotes(bridge)) if operations and managed else ''


def speaks_ours(bridge: Bridge) -> bool:
    """Tell whether a bridge allows the OpenFlow versions that we need; no list: the default."""
    return not bridge.protocols or set(flow_table.PROTOCOLS) <= set(bridge.protocols)


def _fail_mode(bridge: Bridge) -> Tuple[str, Optional[str]]:
    """Return the fail mode, and what external_ids say that it was before us."""
    return bridge.fail_mode or NO_FAIL_MODE, bridge.external_ids.get(FAIL_MODE_KEY)


def _desired_fail_mode(host: HostContext, bridge: Bridge) -> Tuple[str, Optional[str]]:
    """Return both as they must be."""
    mode, before = _fail_mode(bridge)
    if host.configuration.error:
        return mode, before         # what the configuration wants is not known
    if is_wanted(host, bridge) and not own_address(bridge):
        return SECURE, before or mode
    return (mode, None) if before is None else (before, None)


def why_open(host: HostContext, bridge: Bridge) -> str:
    """Return why a bridge may forward what our flows forbid, empty if it cannot."""
    remotes = open_remotes(bridge)
    if remotes:
        return ('in-band control lets TCP and ARP with the address of its %s pass, by flows of '
                'ovs-vswitchd above all others: run xsisolate sync, which switches it off'
                % name_all(remotes))
    if bridge.fail_mode == SECURE:
        return ''
    address = own_address(bridge)
    if is_wanted(host, bridge) and address:
        return ('fail_closed is not possible: the bridge carries Dom0\'s address %s, and without '
                'flows the host could not be reached' % address)
    controllers = failing_open(bridge)
    if controllers:
        return ('when its %s does not answer Open vSwitch forwards everything: set '
                'fail_closed: true for the network, or remove the controller'
                % name_all(controllers))
    return ''


def is_wanted(host: HostContext, bridge: Bridge) -> bool:
    """Tell whether the configuration wants a network of this bridge to fail closed."""
    config = host.configuration.config
    names = [bridge.name] + [port.name for port in bridge.ports if port.fake_bridge]
    uuids = bridge.external_ids.get(UUIDS_KEY, '').split(';')
    if any(UUID.fullmatch(name) for name in config.networks):
        uuids += _uuids_in_xapi(names)
    return is_fail_closed(config, names + uuids)


def _uuids_in_xapi(bridges: Sequence[str]) -> List[str]:
    """Return the uuids of networks by their bridges' names, as far as XAPI was heard.

    networkd writes down on a bridge its own network and that of the VLAN which was plugged last.
    """
    try:
        return [network.uuid for network in read_networks() or () if network.bridge in bridges]
    except ConfigError:
        return []
