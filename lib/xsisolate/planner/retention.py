"""Grace: which VIFs in doubt may keep what the switch carries for them."""
from xsisolate.openflow.flow import Flow
from xsisolate.planner.cookie import Key, Kind, port_key
from xsisolate.planner.item_facts import EndpointFacts, parse_facts, parse_port_facts
from xsisolate.planner.items import Registry, digest_flows
from xsisolate.planner.peer_items import find_groups
from xsisolate.planner.vif import Vif, VifPort
from xsisolate.planner.vif_items import without_learned
from xsisolate.policy.model import Config, Mode
from xsisolate.policy.permissive import beneath_word
from xsisolate.policy.resolve import is_on_roster, is_within
from xsisolate.policy.vmdata_parser import MODES
from xsisolate.typing_compat import AbstractSet, Dict, Set


def keeps_policy(registry: Registry, vif: Vif, config: Config) -> bool:
    """Tell whether a VIF in doubt runs on a policy that nothing in Dom0 forbids by now.

    What the registry records was proven when it was programmed; XAPI's locking mode
    or a roster may forbid it since.
    """
    return vif.policy.unproven and bool(vif.ports) and all(
        _carries(registry, vif, port, config) for port in vif.ports)


def keeps_flows(registry: Registry, vif: Vif) -> bool:
    """Tell whether the switch carries a VIF whose domain is no longer in xenstore.

    A restarted xenstored has an empty store, and a domain may be half gone. Neither is a reason
    to cut off a VIF that was proven when it was programmed.
    """
    items = [registry.get(port_key(port.name)) for port in vif.ports]
    return vif.lost and bool(items) and all(
        item is not None and parse_port_facts(item).ofport == port.ofport
        for item, port in zip(items, vif.ports))


def is_quarantined(registry: Registry, vif: Vif) -> bool:
    """Tell whether the switch carries a VIF as one in quarantine."""
    items = [registry.get(port_key(port.name)) for port in vif.ports]
    return bool(items) and all(
        item is not None and parse_port_facts(item).ofport == port.ofport
        and all(parse_facts(registry[ref]).mode == Mode.QUARANTINED.word for ref in item.refs
                if ref in registry)
        for item, port in zip(items, vif.ports))


def is_whole(registry: Registry, flows: AbstractSet[Flow]) -> bool:
    """Tell whether the switch has the very flows that all headers are about."""
    found: Dict[int, Set[Flow]] = {}
    for flow in without_learned(flows, registry):
        found.setdefault(flow.cookie, set()).add(flow)
    return all(item.digest == digest_flows(found.get(key.cookie, ()))
               for key, item in registry.items())


def is_intact(registry: Registry, vif: Vif, flows: AbstractSet[Flow]) -> bool:
    """Tell whether the switch still has the very flows that a VIF's headers are about.

    Another program may have deleted them, or ovs-vswitchd may have restarted while we read.
    """
    ports = {port_key(port.name) for port in vif.ports} & registry.keys()
    endpoints = {ref for key in ports for ref in registry[key].refs if ref.kind is Kind.ENDPOINT}
    own = without_learned(flows, registry)

    def has_all(key: Key) -> bool:
        return key in registry and registry[key].digest == digest_flows(
            flow for flow in own if flow.cookie == key.cookie)

    return all(map(has_all, ports | endpoints))


def _carries(registry: Registry, vif: Vif, port: VifPort, config: Config) -> bool:
    item = registry.get(port_key(port.name))
    if item is None or not item.refs or parse_port_facts(item).ofport != port.ofport:
        return False
    known = [parse_facts(registry[ref]) for ref in item.refs if ref in registry]
    return len(known) == len(item.refs) and all(
        _may_still_be(facts, vif) and all(is_on_roster(vif.vm_uuid, group, config)
                                          for group in find_groups(registry, facts.groups))
        for facts in known)


def _may_still_be(known: EndpointFacts, vif: Vif) -> bool:
    mode = MODES.get(known.mode)        # none for quarantine
    if known.permissive:
        return known.vm_uuid == vif.vm_uuid and known.permissive == beneath_word(vif.locking)
    return mode is not None and known.vm_uuid == vif.vm_uuid and is_within(
        vif.locking, vif.mac, mode, known.owners, known.macs)
