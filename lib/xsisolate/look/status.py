"""The state of every VIF of this host."""
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from xsisolate.core.address import format_prefix
from xsisolate.core.seal import format_peer
from xsisolate.dom0.poolstate import PoolState, read_state
from xsisolate.look.inventory import Inventory, VifView, read_inventory
from xsisolate.look.lookup import find_vm
from xsisolate.survey import Dom0

UNSEALED = 'unsealed: accept in xsisolate.yaml: every guest chooses its own policy'


class Status(NamedTuple):
    """What `status` shows."""

    vifs: Tuple[VifView, ...]
    warnings: Tuple[str, ...]       # what concerns more than one VIF
    pool: Optional[PoolState] = None    # None: nobody follows XAPI here


def read_status(dom0: Dom0, vm: str = '',
                step: Callable[[str], None] = lambda name: None) -> Status:
    """Return the state of all VIFs, or of one VM's."""
    inventory = read_inventory(dom0, step)
    views = find_vm(inventory, vm) if vm else inventory.vifs
    return Status(views, find_warnings(inventory), read_state())


def find_warnings(inventory: Inventory) -> Tuple[str, ...]:
    """Return what admins must know of the host as a whole."""
    configuration = inventory.configuration
    found = [configuration.error] if configuration.error else []
    found += [UNSEALED] if configuration.config.accept_unsealed else []
    for name, view in sorted(inventory.bridges.items()):
        found += ['bridge %s: its flows cannot be read: %s' % (name, view.error)
                  ] if view.error else []
        managed = any(one.bridge == name and one.vif.policy.mode for one in inventory.vifs)
        found += ['bridge %s may forward what its flows forbid: %s' % (name, view.exposed)
                  ] if view.exposed and managed else []
    return tuple(found)


def describe(status: Status) -> Dict[str, Any]:
    """Return a status as JSON has it."""
    return {'vifs': [describe_vif(view) for view in status.vifs],
            'warnings': list(status.warnings),
            'pool': status.pool.describe() if status.pool else None}


def describe_vif(view: VifView) -> Dict[str, Any]:
    """Return a VIF as JSON has it."""
    vif, policy, drops = view.vif, view.vif.policy, view.drops
    return {
        'vif': view.name, 'domid': vif.domid, 'devid': vif.devid, 'vm': vif.vm_uuid or None,
        'name': view.vm_name, 'vif_uuid': view.vif_uuid or None, 'mac': vif.mac or None,
        'bridge': view.network or None, 'parent_bridge': view.bridge or None,
        'vlans': sorted(network.network & 0xfff for network in vif.networks),
        'ports': [port.name for port in vif.ports],
        'mode': policy.mode.word, 'locking_mode': vif.locking.mode.word,
        'groups': sorted(policy.groups), 'allow': sorted(map(format_peer, policy.allow)),
        'addresses': [format_prefix(prefix) for prefix in sorted(policy.addresses)],
        'seal': view.seal, 'in_doubt': view.doubt, 'arriving': vif.arriving,
        'error': view.error or None, 'flows': view.flows,
        'spoofed': drops.spoofed if drops else None,
        'isolated': drops.isolated if drops else None}
