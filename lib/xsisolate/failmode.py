"""`fail_closed`: a bridge that passes nothing while it has no flows.

In Open vSwitch's fail mode `standalone` a bridge without flows, or with a
controller that does not answer, forwards everything. In `secure` it
forwards what flows say; ours then include one that lets the unmanaged talk as
before. What the mode was is kept in the bridge's external_ids, to be put back.
"""
from typing import Optional

from xsisolate.core.policy import is_fail_closed
from xsisolate.dom0.addresses import find_addresses
from xsisolate.dom0.ovsdb import FAIL_MODE_KEY, NO_FAIL_MODE, SECURE, Bridge
from xsisolate.survey import Dom0

UUIDS_KEY = 'xs-network-uuids'      # external_ids: XAPI's networks on the bridge


def settle_fail_mode(dom0: Dom0, bridge: Bridge) -> bool:
    """Have a bridge in the fail mode that the configuration asks for; True if that changed it.

    ovs-vswitchd then drops all flows: the caller programs the bridge at once.
    """
    wanted = is_wanted(dom0, bridge) and not own_address(bridge)
    before = bridge.external_ids.get(FAIL_MODE_KEY)
    if wanted and (before is None or bridge.fail_mode != SECURE):
        dom0.ovsdb.set_fail_mode(bridge.name, SECURE, before or bridge.fail_mode or NO_FAIL_MODE)
        return bridge.fail_mode != SECURE
    if not wanted and before is not None:
        dom0.ovsdb.set_fail_mode(bridge.name, None if before == NO_FAIL_MODE else before, None)
        return before != SECURE
    return False


def why_open(dom0: Dom0, bridge: Bridge) -> str:
    """Return why a bridge may forward what our flows forbid, empty if it cannot."""
    if bridge.fail_mode == SECURE:
        return ''
    address = own_address(bridge)
    if is_wanted(dom0, bridge) and address:
        return ('fail_closed is not possible: the bridge carries Dom0\'s address %s, and without '
                'flows the host could not be reached' % address)
    if bridge.has_controller:
        return ('when its controller does not answer Open vSwitch forwards everything: set '
                'fail_closed: true for the network, or remove the controller')
    return ''


def is_wanted(dom0: Dom0, bridge: Bridge) -> bool:
    """Tell whether the configuration wants a network of this bridge to fail closed."""
    names = [bridge.name] + [port.name for port in bridge.ports if port.fake_bridge]
    uuids = [uuid for port in bridge.ports if port.fake_bridge
             for uuid in port.external_ids.get(UUIDS_KEY, '').split(';')]
    uuids += bridge.external_ids.get(UUIDS_KEY, '').split(';')
    return is_fail_closed(dom0.configuration.config, names + uuids)


def own_address(bridge: Bridge) -> Optional[str]:
    """Return an address by which Dom0 is reached through this bridge."""
    devices = [interface.name for port in bridge.ports for interface in port.interfaces
               if interface.type == 'internal']
    found = [address for device in [bridge.name] + devices for address in find_addresses(device)]
    return found[0] if found else None
