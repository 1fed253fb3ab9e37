"""Grace: a running VIF keeps its policy while an admin may be between two writes.

vm-data and seal are written one after the other, so for a moment they do not
fit. The hook that meets such a moment waits, and changes nothing meanwhile: what
the switch carries was proven when it was programmed. If they still do not fit at
the end, that hook itself puts the VIF into quarantine, so the end needs no other event.
"""
from time import monotonic, sleep

from xsisolate.dataplane.bridge_snapshot import (make_snapshot, read_snapshot, read_vifs,
                                                 vif_from_facts)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dataplane.vif_facts import VifFacts, read_vif
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import find_bridge
from xsisolate.errors import HostError
from xsisolate.planner.retention import keeps_policy
from xsisolate.typing_compat import FrozenSet, List, Sequence
from xsisolate.vif_id import VifId

POLL_S = 0.25


def wait_for_proof(host: HostContext, vif_id: VifId, device: str, facts: VifFacts,
                   log: Log) -> VifFacts:
    """Return the facts of a VIF when vm-data and seal fit, or when its grace is over.

    A VIF that is not running, or not on a proven policy, has no grace. Raises
    HostError if the VIF is unplugged meanwhile.
    """
    grace = host.configuration.config.grace
    if not grace or not has_grace(host, vif_id, facts):
        return facts
    log.warning('in doubt', vif=device, vm=facts.vm_uuid, seconds=grace,
                reason='keeps its last policy meanwhile: ' + facts.policy.reason)
    end = monotonic() + grace
    while monotonic() < end and has_grace(host, vif_id, facts):
        sleep(min(POLL_S, max(end - monotonic(), 0)))
        facts = read_vif(host.store, vif_id, facts.metadata.vm_uuid, host.configuration)
    if not any(device in make_snapshot(bridge).ofports
               for bridge in host.ovsdb.read_bridges()):
        raise HostError('VIF %s was unplugged while its policy was in doubt' % device)
    return facts


def has_grace(host: HostContext, vif_id: VifId, facts: VifFacts) -> bool:
    """Tell whether a VIF in doubt runs on a policy that nothing in Dom0 forbids by now."""
    if not facts.policy.unproven:
        return False
    network = find_bridge(host.ovsdb.read_bridges(), facts.metadata.bridge)
    if network is None:
        return False
    vif = vif_from_facts(facts, make_snapshot(network.bridge), vif_id)
    return keeps_policy(read_registry(network.bridge.name), vif, host.configuration.config)


def wait_for_bridges(host: HostContext, names: Sequence[str]) -> FrozenSet[VifId]:
    """Wait until no VIF of these bridges has grace; return VIFs still in doubt at its end."""
    end = monotonic() + host.configuration.config.grace
    while True:
        found = frozenset(vif for name in names for vif in find_in_grace(host, name))
        if not found or monotonic() >= end:
            return found
        sleep(min(POLL_S, max(end - monotonic(), 0)))


def find_in_grace(host: HostContext, bridge: str) -> List[VifId]:
    """Return the VIFs of a bridge that have grace.

    A bridge that cannot be looked at says so when it is programmed.
    """
    try:
        snapshot = read_snapshot(host, bridge)
        doubtful = [vif for vif in read_vifs(host, snapshot) if vif.policy.unproven]
        registry = read_registry(bridge) if doubtful else {}
    except HostError:
        return []
    return [vif.id for vif in doubtful
            if keeps_policy(registry, vif, host.configuration.config)]
