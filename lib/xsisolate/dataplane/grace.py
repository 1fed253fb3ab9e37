"""Grace: a running VIF keeps its policy while an admin may be between two writes.

vm-data and seal are written one after the other, so for a moment they do not
fit. The hook that meets such a moment waits, and changes nothing meanwhile: what
the switch carries was proven when it was programmed. If they still do not fit at
the end, that hook itself puts the VIF into quarantine, so the end needs no other event.
"""
from time import monotonic, sleep

from xsisolate.dataplane.bridge_snapshot import (Dom0, survey_bridge, survey_of, survey_vifs,
                                                 vif_from_facts)
from xsisolate.dataplane.reconcile import read_registry
from xsisolate.dataplane.vif_facts import VifFacts, read_vif
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import find_bridge
from xsisolate.errors import HostError
from xsisolate.planner.retention import keeps_policy
from xsisolate.typing_compat import FrozenSet, List, Sequence
from xsisolate.vif_id import VifId

POLL_S = 0.25


def wait_for_proof(dom0: Dom0, vif_id: VifId, device: str, facts: VifFacts, log: Log) -> VifFacts:
    """Return the facts of a VIF when vm-data and seal fit, or when its grace is over.

    A VIF that is not running, or not on a proven policy, has no grace. Raises
    HostError if the VIF is unplugged meanwhile.
    """
    grace = dom0.configuration.config.grace
    if not grace or not has_grace(dom0, vif_id, facts):
        return facts
    log.warning('in doubt', vif=device, vm=facts.vm_uuid, seconds=grace,
                reason='keeps its last policy so long: ' + facts.policy.reason)
    end = monotonic() + grace
    while monotonic() < end and has_grace(dom0, vif_id, facts):
        sleep(min(POLL_S, max(end - monotonic(), 0)))
        assert dom0.store is not None
        facts = read_vif(dom0.store, vif_id, facts.metadata.vm_uuid, dom0.configuration)
    if not any(device in survey_of(bridge).ofports
               for bridge in dom0.ovsdb.read_bridges()):
        raise HostError('VIF %s was unplugged while its policy was in doubt' % device)
    return facts


def has_grace(dom0: Dom0, vif_id: VifId, facts: VifFacts) -> bool:
    """Tell whether a VIF in doubt runs on a policy that nobody in Dom0 forbids by now."""
    if not facts.policy.unproven:
        return False
    network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
    if network is None:
        return False
    vif = vif_from_facts(facts, survey_of(network.bridge), vif_id)
    return keeps_policy(read_registry(network.bridge.name), vif, dom0.configuration.config)


def wait_for_bridges(dom0: Dom0, names: Sequence[str]) -> FrozenSet[VifId]:
    """Wait until no VIF of these bridges has grace; return those whose grace ended in doubt."""
    end = monotonic() + dom0.configuration.config.grace
    while True:
        found = frozenset(vif for name in names for vif in find_in_grace(dom0, name))
        if not found or monotonic() >= end:
            return found
        sleep(min(POLL_S, max(end - monotonic(), 0)))


def find_in_grace(dom0: Dom0, bridge: str) -> List[VifId]:
    """Return the VIFs of a bridge that have grace.

    A bridge that cannot be looked at says so when it is programmed.
    """
    try:
        survey = survey_bridge(dom0, bridge)
        doubtful = [vif for vif in survey_vifs(dom0, survey) if vif.policy.unproven]
        registry = read_registry(bridge) if doubtful else {}
    except HostError:
        return []
    return [vif.id for vif in doubtful
            if keeps_policy(registry, vif, dom0.configuration.config)]
