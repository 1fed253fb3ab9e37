"""Is Dom0 itself reached through a bridge?"""
from xsisolate.dom0.linux.netdev import find_addresses
from xsisolate.dom0.ovs.ovsdb_rows import Bridge
from xsisolate.typing_compat import Optional


def own_address(bridge: Bridge) -> Optional[str]:
    """Return an address by which Dom0 is reached through a bridge."""
    devices = [interface.name for port in bridge.ports for interface in port.interfaces
               if interface.type == 'internal']
    found = [address for device in [bridge.name] + devices for address in find_addresses(device)]
    return found[0] if found else None
