"""Apply a VM's policy on this host now, and tell admin/host_call.py what came of it."""
from time import monotonic, sleep
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from xsisolate.activation.steps import is_stock
from xsisolate.admin.plugin_protocol import AppliedVif
from xsisolate.dataplane.bridge_snapshot import make_snapshot, read_facts
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.program import reconcile_vif
from xsisolate.dataplane.vif_facts import VifFacts, read_identity, read_policy
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs.ovsdb import find_bridge
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError, PolicyError, UnknownVif
from xsisolate.planner.items import Registry
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Identity, Mode, VifPolicy
from xsisolate.policy.permissive import is_permissive
from xsisolate.policy.seal import SEAL_KEY, Sealing, judge
from xsisolate.vif_id import VifId

POLL_S = 0.1
LATE_S = 0.5                # vm-data may be so much later than the seal
LOCK_DEADLINE_S = 30.0
NOT_ACTIVE = 'not applied: xsisolate is not active on this host'

Seals = Mapping[str, Optional[str]]     # by device; None: it is to have neither seal nor policy


class NotHere(HostError):
    """The VM does not run on this host, or not any more."""


def apply_now(dom0: HostContext, vm_uuid: str, seals: Seals, wait: float) -> List[AppliedVif]:
    """Wait until seals and vm-data have arrived here, then bring the VM's VIFs up to date.

    Raises NotHere if this host has no domain of the VM.
    """
    domid, stock = find_domain(dom0.store, vm_uuid), is_stock()
    deadline = monotonic() + wait
    found = []
    for devid in find_devices(dom0.store, domid):
        vif_id = VifId(domid, devid)
        if str(devid) in seals:
            wait_for(dom0.store, vif_id, seals[str(devid)], deadline)
        found.append(_apply(dom0, vif_id, stock))
    return found


def find_domain(store: Xenstore, vm_uuid: str) -> int:
    """Return the domain that is a VM on this host."""
    domains = store.directory('/vm/%s/domains' % vm_uuid) or []
    alive = [int(domid) for domid in domains if domid.isdigit()
             and store.read_text('/local/domain/%s/vm' % domid) == '/vm/' + vm_uuid]
    if not alive:
        raise NotHere('VM %s does not run on this host' % vm_uuid)
    return max(alive)


def find_devices(store: Xenstore, domid: int) -> Sequence[int]:
    """Return the device numbers of a domain's VIFs."""
    names = store.directory('/local/domain/0/backend/vif/%d' % domid) or []
    return sorted(int(name) for name in names if name.isdigit())


def wait_for(store: Xenstore, vif_id: VifId, wanted: Optional[str],
             deadline: float) -> None:
    """Wait until a VIF carries the seal that was written, and vm-data fits it.

    vm-data comes first. When the seal is here and they do not fit, nothing more is on its way.
    """
    arrived = 0.0
    while monotonic() < deadline:
        seal, state = read_state(store, vif_id)
        if seal == wanted:
            if state is (Sealing.SEALED if wanted else Sealing.NONE):
                return
            arrived = arrived or monotonic()
            deadline = min(deadline, arrived + LATE_S)
        sleep(POLL_S)


def read_state(store: Xenstore, vif_id: VifId) -> Tuple[Optional[str], Sealing]:
    """Return a VIF's seal, and how it and vm-data go together."""
    vm_uuid = (store.read_text('/local/domain/%d/vm' % vif_id.domid) or '')[len('/vm/'):]
    metadata, identity, _ = read_identity(store, vm_uuid, vif_id.devid)
    seal = metadata.other_config.get(SEAL_KEY)
    return seal, _judge(store, vif_id.domid, identity, seal)


def _judge(store: Xenstore, domid: int, identity: Identity, seal: Optional[str]) -> Sealing:
    try:
        policy: Optional[VifPolicy] = read_policy(store, domid, identity)
    except PolicyError:
        return Sealing.CHANGED if seal else Sealing.UNSEALED
    return judge(identity, seal, policy)


def _apply(dom0: HostContext, vif_id: VifId, stock: bool) -> AppliedVif:
    """Program a VIF, unless its policy is in doubt: that is for grace to decide, not for us.

    Nor where the `stock` hooks are called: a host that is not activated is not touched.
    """
    name = vif_id.vif
    unknown = 'VIF %s is not known to xenopsd (any more): %s'
    try:
        state = read_state(dom0.store, vif_id)[1]
        facts = read_facts(dom0, vif_id)
    except UnknownVif as error:
        raise HostError(unknown % (name, error)) from error
    network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
    before = AppliedVif(str(vif_id.devid), name, facts.metadata.bridge, state, facts.policy.mode,
                        tuple(sorted(facts.policy.groups)), facts.policy.reason, applied=False)
    if stock:
        return before._replace(error=NOT_ACTIVE)
    if facts.policy.unproven or network is None or not _has_port(network, vif_id):
        return before
    with bridge_lock(network.bridge.name, LOCK_DEADLINE_S) as lock:
        done = reconcile_vif(dom0, vif_id, lock, _in_doubt)
    if not done.vif.is_known:
        raise HostError(unknown % (name, done.vif.policy.reason))
    policy = done.vif.policy
    return before._replace(
        mode=policy.mode, groups=tuple(sorted(policy.groups)),
        error=done.vif.error or policy.would_be,
        permissive=policy.is_loose or _may_be_loose(dom0, facts),
        applied=not done.spared and policy.mode is not Mode.QUARANTINED,
        added=len(done.diff.add), deleted=len(done.diff.delete))


def _may_be_loose(dom0: HostContext, facts: VifFacts) -> bool:
    """Tell whether a VIF that does what XAPI's locking says would do more if that said less."""
    metadata, configuration = facts.metadata, dom0.configuration
    return is_permissive(facts.identity, metadata.other_config.get(SEAL_KEY), None,
                         configuration.config, configuration.find_network(
                             metadata.bridge, metadata.network_uuid))


def _in_doubt(registry: Registry, vif: Vif) -> bool:
    """Spare a VIF whose policy is in doubt, or that has gone meanwhile."""
    return vif.policy.unproven or not vif.is_known


def _has_port(network: Any, vif_id: VifId) -> bool:
    """Tell whether a VIF has a netdev on the bridge; one that is just being plugged has none."""
    ofports = make_snapshot(network.bridge).ofports
    return any(name in ofports for name in vif_id.netdevs)
