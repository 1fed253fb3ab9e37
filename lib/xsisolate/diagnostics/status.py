"""The state of every VIF of this host."""
from time import sleep
from time import localtime, strftime
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.inventory import Inventory, VifView, read_inventory
from xsisolate.diagnostics.origins import Origin, find_origins, list_learners
from xsisolate.diagnostics.permissive import warn_of_permissive
from xsisolate.diagnostics.vm_lookup import find_vm
from xsisolate.dom0.run_files.pool_state import PoolState, read_state
from xsisolate.dom0.run_files.vif_leases import is_learning
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, EXIT_POLICY
from xsisolate.policy.address import format_prefix
from xsisolate.policy.seal import format_peer
from xsisolate.policy.unprotected import NOT_PROTECTED

UNSEALED = 'unsealed: accept in xsisolate.yaml: every guest chooses its own policy'
PAUSE_S = 0.5           # a hook that is just programming a VIF is done by then
SHOWN = 8               # VIFs in a warning


NOT_LEARNING = ('the daemon does not run, so nothing is learned of leases (%s ...): addresses that '
                'are known stay until their leases end; systemctl start xsisolate-watch')


class Status(NamedTuple):
    """What `status` shows."""

    vifs: Tuple[VifView, ...]
    warnings: Tuple[str, ...]       # what concerns more than one VIF
    pool: Optional[PoolState] = None    # None: no daemon follows XAPI here
    code: int = EXIT_DONE           # what is wrong with what is shown


def read_status(dom0: HostContext, vm: str = '',
                step: Callable[[str], None] = lambda name: None) -> Status:
    """Return the state of all VIFs, or of one VM's."""
    inventory = look_twice(dom0, step)
    views = find_vm(inventory, vm) if vm else inventory.vifs
    return Status(views, find_warnings(inventory), read_state(), exit_code(inventory))


def look_twice(dom0: HostContext, step: Callable[[str], None] = lambda name: None) -> Inventory:
    """Return this host's VIFs; what is missing was missing twice: a hook may be at work."""
    inventory = read_inventory(dom0, step)
    if not inventory.is_carried:
        sleep(PAUSE_S)
        inventory = inventory.meet(read_inventory(dom0, step))
    return inventory


def find_warnings(inventory: Inventory) -> Tuple[str, ...]:
    """Return what admins must know of the host as a whole."""
    found = [str(inventory.broken)] if inventory.broken else []
    found += [UNSEALED] if inventory.configuration.config.accept_unsealed else []
    open_ones = [view.name for view in inventory.unprotected]
    found += ['%s, whatever their policies say: %s%s: no flow sees the frames of an SR-IOV network '
              'or of a Linux bridge' % (NOT_PROTECTED, ' '.join(open_ones[:SHOWN]),
                                        ' ...' * (len(open_ones) > SHOWN))] if open_ones else []
    found += warn_of_permissive(inventory.vifs)
    learners = list_learners(inventory.vifs)
    found += [NOT_LEARNING % ' '.join(learners[:SHOWN])] if learners and not is_learning() else []
    found += ['%s: %s' % (view.name, view.vif.complaint) for view in inventory.vifs
              if view.vif.complaint]
    for name, view in sorted(inventory.bridges.items()):
        found += ['bridge %s: its flows cannot be read: %s' % (name, view.error)
                  ] if view.error else []
        managed = _is_managed(inventory, name)
        found += ['bridge %s may forward what its flows forbid: %s' % (name, view.exposed)
                  ] if view.exposed and managed else []
        lacking = [one.name for one in inventory.lacking if one.bridge == name]
        found += ['bridge %s does not carry what policies need%s%s: xsisolate sync mends it' % (
            name, ' of %s' % ' '.join(lacking[:SHOWN]) if lacking else '',
            ' ...' * (len(lacking) > SHOWN))] if lacking or view.stale else []
    return tuple(found)


def exit_code(inventory: Inventory) -> int:
    """Return what is wrong with what is shown: something is not known, or not as it should be."""
    unread = any(view.error and _is_managed(inventory, name)
                 for name, view in inventory.bridges.items())
    return EXIT_HOST if unread else EXIT_POLICY if inventory.broken else (
        EXIT_DONE if inventory.is_carried and not any(
            view.unprotected and view.unprotected.is_promised for view in inventory.vifs)
        else EXIT_DIFFERENT)


def _is_managed(inventory: Inventory, bridge: str) -> bool:
    return any(one.bridge == bridge and one.vif.policy.mode for one in inventory.vifs)


def describe(status: Status) -> Dict[str, Any]:
    """Return a status as JSON has it."""
    return {'vifs': [describe_vif(view) for view in status.vifs],
            'warnings': list(status.warnings),
            'pool': status.pool.describe() if status.pool else None}


def format_origin(origin: Origin) -> str:
    """Return where an address comes from: `dhcp until 2026-11-29 14:05:00 from 10.9.0.2`."""
    if not origin.until:
        return origin.word
    return '%s until %s from %s' % (origin.word, strftime('%Y-%m-%d %H:%M:%S', localtime(
        origin.until)), origin.server)


def describe_vif(view: VifView) -> Dict[str, Any]:
    """Return a VIF as JSON has it."""
    vif, policy, drops = view.vif, view.vif.policy, view.drops
    return {
        'vif': view.name, 'domid': vif.id.domid, 'devid': vif.id.devid, 'vm': vif.vm_uuid or None,
        'name': view.vm_name, 'vif_uuid': view.vif_uuid or None, 'mac': vif.mac or None,
        'bridge': view.network or None, 'parent_bridge': view.bridge or None,
        'vlans': sorted(network.network & 0xfff for network in vif.networks),
        'ports': [port.name for port in vif.ports],
        'mode': policy.mode.word, 'permissive': policy.permissive,
        'would_be': policy.would_be or None, 'locking_mode': vif.locking.mode.word,
        'groups': sorted(policy.groups), 'allow': sorted(map(format_peer, policy.allow)),
        'addresses': [format_prefix(prefix) for prefix in sorted(policy.addresses)],
        'origins': {format_prefix(prefix): format_origin(origin)
                    for prefix, origin in sorted(find_origins(vif).items())},
        'sources': ['%s=%s' % (source.key, source.word) for source in sorted(policy.sources)],
        'unbound': list(view.unbound),
        'shared': [format_prefix(prefix) for prefix in sorted(policy.shared)],
        'roles': sorted(policy.roles), 'additional_macs': sorted(policy.macs),
        'seal': view.seal, 'in_doubt': view.doubt,
        'arriving': vif.arriving, 'error': view.error or None,
        'not_protected': view.unprotected.reason if view.unprotected else None, 'flows': view.flows,
        'carried': view.carried,
        'spoofed': drops.spoofed if drops else None,
        'isolated': drops.isolated if drops else None}
