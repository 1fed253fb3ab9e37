"""What a bridge carries for its VIFs, as its own record and its flows say."""
from typing import AbstractSet, Dict, Iterable, List, Optional, Tuple

from xsisolate.openflow.flow import Flow
from xsisolate.planner.cookie import Key, Kind, port_key
from xsisolate.planner.item_facts import parse_facts, parse_port_facts
from xsisolate.planner.items import Item, Registry, digest_flows, reachable
from xsisolate.planner.peer_items import allow_name, find_groups, is_allow_list
from xsisolate.planner.vif import Vif
from xsisolate.planner.vif_items import without_learned
from xsisolate.policy.model import EffectivePolicy
from xsisolate.policy.resolve import quarantine
from xsisolate.policy.vmdata_parser import MODES

CLOSED = 'the switch has closed it'


def recorded_policy(registry: Registry, vif: Vif, reason: str) -> Tuple[EffectivePolicy, bool]:
    """Return the policy that a VIF was programmed with, and whether all of it is known.

    The record has a digest of an allow list only: it is known if the VIF's policy still has that
    one. `reason` is why a VIF that is closed was closed. A VIF without record keeps its policy.
    """
    ports = [registry[key] for key in map(port_key, _names(vif)) if key in registry]
    if not ports:
        return vif.policy, True
    found = [registry[ref] for port in ports for ref in port.refs
             if ref in registry and registry[ref].facts]
    facts = parse_facts(found[0]) if found else None
    if facts is None or facts.mode not in MODES:
        return quarantine(reason or CLOSED), True
    policy = EffectivePolicy(MODES[facts.mode], frozenset(facts.owners),
                             frozenset(find_groups(registry, facts.groups)), shared=facts.shared,
                             roles=facts.roles, macs=facts.macs, leased=facts.leased,
                             permissive=bool(facts.permissive))
    allow = _allow_lists(registry, found[0])
    if allow == ([allow_name(vif.policy.allow)] if vif.policy.allow else []):
        return policy._replace(allow=vif.policy.allow), True
    return policy, not allow


def _names(vif: Vif) -> Iterable[str]:
    return [port.name for port in vif.ports]


def _allow_lists(registry: Registry, endpoint: Item) -> List[str]:
    return [registry[ref].name for ref in endpoint.refs
            if ref.kind is Kind.PEERS and ref in registry and is_allow_list(registry[ref].name)]


class Carried:
    """Compares what a bridge should carry, and what its headers promise, with its flows."""

    def __init__(self, registry: Registry, flows: AbstractSet[Flow]) -> None:
        self._registry = registry
        self._flows: Dict[int, List[Flow]] = {}
        for flow in without_learned(flows, registry):
            self._flows.setdefault(flow.cookie, []).append(flow)
        self._digests: Dict[Key, str] = {}

    def keeps(self, vif: Vif) -> bool:
        """Tell whether the flows are there of which the headers of a VIF's items tell."""
        keys = reachable(self._registry, map(port_key, _names(vif)))
        refs = {ref for key in keys for ref in self._registry[key].refs}
        numbers = {port_key(port.name): port.ofport for port in vif.ports}
        return bool(keys) and refs <= keys and all(
            self._digest(key) == self._registry[key].digest
            and (key not in numbers or parse_port_facts(self._registry[key]).ofport == numbers[key])
            for key in keys)

    def has(self, vif: Vif, items: Registry) -> bool:
        """Tell whether the bridge carries for a VIF what a plan's items say."""
        ports = set(map(port_key, _names(vif)))
        own = {ref for key in ports & items.keys() for ref in items[key].refs} | ports
        there, wanted = ports & self._registry.keys(), ports & items.keys()
        return there == wanted and (not wanted or self.keeps(vif) and all(
            self._is(items[key]) for key in own & items.keys()))

    def has_all(self, items: Registry) -> bool:
        """Tell whether the bridge carries a plan's items, and no others."""
        return items.keys() == self._registry.keys() and all(map(self._is, items.values()))

    def _is(self, item: Item) -> bool:
        known: Optional[Item] = self._registry.get(item.key)
        return known is not None and known.digest == self._digest(item.key) == item.digest and (
            known.name, known.refs, known.facts) == (item.name, item.refs, item.facts)

    def _digest(self, key: Key) -> str:
        if key not in self._digests:
            self._digests[key] = digest_flows(self._flows.get(key.cookie, ()))
        return self._digests[key]
