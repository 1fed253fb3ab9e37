"""Grace: a running VIF keeps its policy while an admin may be between two writes.

vm-data and seal are written one after the other, so for a moment they do not
fit. The hook that meets such a moment waits, and changes nothing meanwhile: what
the switch carries was proven when it was programmed. If they still do not fit at
the end, that hook itself puts the VIF into quarantine, so the end needs no other event.
"""
from time import monotonic, sleep
from typing import Optional

from xsisolate.core.event import Event
from xsisolate.core.facts import parse_facts, parse_port_facts
from xsisolate.core.items import Registry
from xsisolate.core.plan import port_key
from xsisolate.core.policy import is_within
from xsisolate.core.vmdata import MODES
from xsisolate.dom0.ovsdb import find_bridge
from xsisolate.dom0.syslog import Log
from xsisolate.errors import HostError
from xsisolate.gather import VifFacts, read_vif
from xsisolate.program import Dom0
from xsisolate.reconcile import read_registry

POLL_S = 0.25


def wait_for_proof(dom0: Dom0, event: Event, facts: VifFacts, log: Log) -> VifFacts:
    """Return the facts of a VIF when vm-data and seal fit, or when its grace is over.

    A VIF that is not running, or not on a proven policy, has no grace. Raises
    HostError if the VIF is unplugged meanwhile.
    """
    grace = dom0.configuration.config.grace
    if not facts.unproven or not grace or not is_proven(dom0, event, facts):
        return facts
    log.warning('in doubt', vif=event.device, vm=facts.vm_uuid, seconds=grace,
                reason='keeps its last policy so long: ' + facts.policy.reason)
    end = monotonic() + grace
    while facts.unproven and monotonic() < end:
        sleep(min(POLL_S, max(end - monotonic(), 0)))
        assert dom0.store is not None
        facts = read_vif(dom0.store, event.domid, facts.metadata.vm_uuid, event.devid,
                         dom0.configuration)
        if find_ofport(dom0, event, facts) is None:
            raise HostError('VIF %s was unplugged while its policy was in doubt' % event.device)
    return facts


def is_proven(dom0: Dom0, event: Event, facts: VifFacts) -> bool:
    """Tell whether the VIF runs on a policy that XAPI's locking mode does not forbid by now."""
    network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
    ofport = find_ofport(dom0, event, facts)
    return network is not None and ofport is not None and carries_policy(
        read_registry(network.bridge.name), event, facts, ofport)


def find_ofport(dom0: Dom0, event: Event, facts: VifFacts) -> Optional[int]:
    """Return the number of the VIF's port on its bridge, None if it is not there."""
    network = find_bridge(dom0.ovsdb.read_bridges(), facts.metadata.bridge)
    ports = network.bridge.ports if network else ()
    return next((interface.ofport for port in ports for interface in port.interfaces
                 if interface.name == event.device), None)


def carries_policy(registry: Registry, event: Event, facts: VifFacts, ofport: int) -> bool:
    """Tell whether a bridge carries a policy of this VIF that still may be."""
    port = registry.get(port_key(event.device))
    if port is None or not port.refs or parse_port_facts(port).ofport != ofport:
        return False
    for ref in port.refs:
        if ref not in registry:
            return False
        known = parse_facts(registry[ref])
        mode = MODES.get(known.mode)        # none for quarantine
        if mode is None or known.vm_uuid != facts.vm_uuid or not is_within(
                facts.metadata.locking, facts.metadata.mac, mode, known.owners):
            return False
    return True
