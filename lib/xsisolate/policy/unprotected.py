"""Networks whose VIFs have no port of Open vSwitch's, so that no flow can enforce a policy.

A VIF of an SR-IOV network is a function of the NIC itself: its frames never come to the host. On
a Linux bridge they do, but ovs-vswitchd does not see them.
"""
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple

LINUX_BACKEND = 'bridge'        # host.software_version:network_backend
NOT_PROTECTED = 'NOT PROTECTED'
SRIOV = 'its network is an SR-IOV network: its frames go through the NIC past Open vSwitch, and ' \
        'no flow sees them'
LINUX_BRIDGE = 'its bridge %s is a Linux bridge, not one of Open vSwitch\'s: no flow sees its ' \
               'frames'

Records = Mapping[str, Mapping[str, Any]]       # by reference
Reasons = Dict[str, str]                        # by the network's reference


class HostBridges(NamedTuple):
    """What a host says of its bridges."""

    host: str                   # its name
    ovs: Iterable[str] = ()     # Open vSwitch's
    linux: Iterable[str] = ()   # the kernel's own
    error: str = ''             # why it does not say


def find_sriov(pifs: Records, vlans: Records) -> Reasons:
    """Return the networks on virtual functions of NICs, and those on a VLAN of such a network."""
    logical = {ref for ref, pif in pifs.items() if pif.get('sriov_logical_PIF_of')}
    tagged = {str(vlan['untagged_PIF']) for vlan in vlans.values()
              if vlan['tagged_PIF'] in logical}
    return {str(pif['network']): SRIOV for ref, pif in pifs.items() if ref in logical | tagged}


def find_linux_backend(hosts: Records) -> str:
    """Return why VIFs of all networks are not protected, '' if they are.

    XAPI lets only hosts with the same backend into a pool.
    """
    names = sorted(str(host['name_label']) for host in hosts.values()
                   if host.get('software_version', {}).get('network_backend') == LINUX_BACKEND)
    return 'host %s forwards by Linux bridges, not by Open vSwitch (network backend "%s"): no ' \
           'flow sees its frames' % (ascii(names[0])[1:-1], LINUX_BACKEND) if names else ''


def is_foreign(network: Mapping[str, Any]) -> bool:
    """Tell whether somebody other than XAPI has made a network's bridge, of whatever kind."""
    return network.get('managed') is False


def why_foreign(bridge: str, said: Iterable[HostBridges]) -> str:
    """Return why a bridge that XAPI has not made carries no flows, '' if it does.

    `said` is what the hosts say on which the VM runs, or may be started.
    """
    found: List[HostBridges] = list(said)
    for one in found:
        if one.error:
            return 'whether its bridge %s is one of Open vSwitch\'s is not known: %s' % (
                bridge, one.error)
        if bridge in one.linux:
            return '%s (host %s)' % (LINUX_BRIDGE % bridge, one.host)
    if any(bridge in one.ovs for one in found):
        return ''
    return 'its bridge %s is not one of Open vSwitch\'s on any host: no flow sees its frames' % (
        bridge)
