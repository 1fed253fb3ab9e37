"""Grace: which VIFs in doubt may keep what the switch carries for them."""
from xsisolate.core.facts import EndpointFacts, parse_facts, parse_port_facts
from xsisolate.core.items import Registry
from xsisolate.core.plan import port_key
from xsisolate.core.policy import is_within
from xsisolate.core.vif import Vif, VifPort
from xsisolate.core.vmdata import MODES


def keeps_policy(registry: Registry, vif: Vif) -> bool:
    """Tell whether a VIF in doubt runs on a policy that XAPI's locking mode still allows.

    What the registry records was proven when it was programmed.
    """
    return vif.policy.unproven and bool(vif.ports) and all(
        _carries(registry, vif, port) for port in vif.ports)


def _carries(registry: Registry, vif: Vif, port: VifPort) -> bool:
    item = registry.get(port_key(port.name))
    if item is None or not item.refs or parse_port_facts(item).ofport != port.ofport:
        return False
    return all(ref in registry and _may_still_be(parse_facts(registry[ref]), vif)
               for ref in item.refs)


def _may_still_be(known: EndpointFacts, vif: Vif) -> bool:
    mode = MODES.get(known.mode)        # none for quarantine
    return mode is not None and known.vm_uuid == vif.vm_uuid and is_within(
        vif.locking, vif.mac, mode, known.owners)
