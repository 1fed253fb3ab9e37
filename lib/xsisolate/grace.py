"""Grace: a running VIF keeps its policy while an admin may be between two writes.

vm-data and seal are written one after the other, so for a moment they do not
fit. The hook that meets such a moment waits, and changes nothing meanwhile: what
the switch carries was proven when it was programmed. If they still do not fit at
the end, that hook itself puts the VIF into quarantine, so the end needs no other event.
"""
from time import monotonic, sleep
from typing import List, Optional, Sequence

from xsisolate.core.event import Event
from xsisolate.core.facts import EndpointFacts, parse_facts, parse_port_facts
from xsisolate.core.items import Registry
from xsisolate.core.plan import port_key
from xsisolate.core.policy import is_within
from xsisolate.core.topology import vif_ofports
from xsisolate.core.vif import split_port
from xsisolate.core.vmdata import MODES
from xsisolate.dom0.ovsdb import find_bridge
from xsisolate.dom0.syslog import Log
from xsisolate.errors import HostError, UnknownVif
from xsisolate.gather import VifFacts, read_vif
from xsisolate.reconcile import read_registry
from xsisolate.survey import Dom0, read_facts, survey_bridge, survey_of

POLL_S = 0.25


def wait_for_proof(dom0: Dom0, event: Event, facts: VifFacts, log: Log) -> VifFacts:
    """Return the facts of a VIF when vm-data and seal fit, or when its grace is over.

    A VIF that is not running, or not on a proven policy, has no grace. Raises
    HostError if the VIF is unplugged meanwhile.
    """
    grace = dom0.configuration.config.grace
    if not grace or not has_grace(dom0, event.device, facts):
        return facts
    log.warning('in doubt', vif=event.device, vm=facts.vm_uuid, seconds=grace,
                reason='keeps its last policy so long: ' + facts.policy.reason)
    end = monotonic() + grace
    while monotonic() < end and has_grace(dom0, event.device, facts):
        sleep(min(POLL_S, max(end - monotonic(), 0)))
        assert dom0.store is not None
        facts = read_vif(dom0.store, event.domid, facts.metadata.vm_uuid, event.devid,
                         dom0.configuration)
    if not any(event.device in vif_ofports(survey_of(bridge).links)
               for bridge in dom0.ovsdb.read_bridges()):
        raise HostError('VIF %s was unplugged while its policy was in doubt' % event.device)
    return facts


def has_grace(dom0: Dom0, device: str, facts: VifFacts) -> bool:
    """Tell whether a VIF in doubt runs on a policy that XAPI's locking mode still allows."""
    if not facts.policy.unproven:
        return False
    network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
    return network is not None and carries_policy(
        read_registry(network.bridge.name), device, facts,
        vif_ofports(survey_of(network.bridge).links).get(device))


def wait_for_bridges(dom0: Dom0, names: Sequence[str]) -> None:
    """Wait until no VIF of these bridges has grace, or all grace is over."""
    end = monotonic() + dom0.configuration.config.grace
    while monotonic() < end and any(find_in_grace(dom0, name) for name in names):
        sleep(min(POLL_S, max(end - monotonic(), 0)))


def find_in_grace(dom0: Dom0, bridge: str) -> List[str]:
    """Return the VIF netdevs of a bridge that have grace."""
    survey = survey_bridge(dom0, bridge)
    return [device for device in sorted(vif_ofports(survey.links))
            if _is_in_grace(dom0, device)]


def _is_in_grace(dom0: Dom0, device: str) -> bool:
    try:
        return has_grace(dom0, device, read_facts(dom0, *split_port(device)))
    except UnknownVif:
        return False


def carries_policy(registry: Registry, device: str, facts: VifFacts,
                   ofport: Optional[int]) -> bool:
    """Tell whether a bridge carries a policy of this VIF that still may be."""
    port = registry.get(port_key(device))
    if port is None or not port.refs or parse_port_facts(port).ofport != ofport:
        return False
    return all(ref in registry and _may_still_be(parse_facts(registry[ref]), facts)
               for ref in port.refs)


def _may_still_be(known: EndpointFacts, facts: VifFacts) -> bool:
    mode = MODES.get(known.mode)        # none for quarantine
    return mode is not None and known.vm_uuid == facts.vm_uuid and is_within(
        facts.metadata.locking, facts.metadata.mac, mode, known.owners)
