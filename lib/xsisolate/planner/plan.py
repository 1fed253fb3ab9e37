"""Which items a bridge should carry, from its ports and its VIFs' policies.

A hook plans for its own VIF; every other item is known by its header and kept.
Planning is pure, and so in two steps: a draft says of which groups it needs the members
on other hosts, which the caller reads.
"""
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.cookie import BASE, BRIDGE, Key, Kind, port_key, port_keys
from xsisolate.planner.item_facts import (endpoint_name, endpoints, parse_facts, parse_port_facts,
                                          possible_owners, takes_turns)
from xsisolate.planner.items import Item, Items, Registry, reachable
from xsisolate.planner.mute_vifs import explain_mutes
from xsisolate.planner.peer_items import group_of
from xsisolate.planner.shared_items import (networks_of, refresh_shared, refresh_with_members,
                                            stamp_of)
from xsisolate.planner.vif import Vif
from xsisolate.planner.vif_items import add_vif, yield_leases
from xsisolate.policy.model import HOLDERS
from xsisolate.typing_compat import (AbstractSet, Dict, FrozenSet, Iterable, List, Mapping,
                                     NamedTuple, Sequence, Tuple)
from xsisolate.vif_id import VifId, parse_netdev


class Draft(NamedTuple):
    """The items a bridge should carry; the items that VIFs share have no flows yet."""

    items: Items
    vifs: Tuple[Vif, ...]
    context: PlanContext
    touched: FrozenSet[Key]     # the items that this event concerns
    moved: bool                 # networks have come or gone, and with them members elsewhere
    groups: Mapping[str, Sequence[Key]]     # of which members elsewhere concern these items

    def needs_members(self, group: str, stamp: str) -> bool:
        """Tell whether an item must be compiled of what a group's members elsewhere are in."""
        return any([self.is_stale(key, stamp) for key in self.groups[group]])

    def is_stale(self, key: Key, stamp: str) -> bool:
        """Tell whether an item must be compiled; else its header says it is up to date."""
        if self.context.thorough or self.moved and key.kind is Kind.PEERS:
            return True
        return self.items[key].facts != stamp_of(self.items, key, stamp, self.context)


class Plan(NamedTuple):
    """The items a bridge should carry; those out of scope without their flows."""

    items: Items
    vifs: Tuple[Vif, ...]       # some may be quarantined over a conflict


def draft_plan(registry: Registry, vifs: Iterable[Vif], context: PlanContext) -> Draft:
    """Return what the bridge should carry for these VIFs beside all that it carries."""
    vifs = list(yield_leases(vifs))
    present = {port.name for vif in vifs for port in vif.ports}
    own = {key for vif in vifs for key in port_keys(vif.id) if key in registry}
    gone = {key for key, item in registry.items() if key.kind is Kind.PORT
            and (item.name not in context.ofports or key in own and item.name not in present)}
    roots = (BRIDGE,) if context.topology.secure else ()    # it serves the unmanaged, too
    items = {key: item for key, item in registry.items() if key not in gone}
    for key in roots:
        items.setdefault(key, Item(key, 'bridge'))
    planned = {vif.id: vif for vif in vifs}
    for vif in sorted(vifs, key=lambda vif: (not _has_items(registry, vif), vif.id)):
        if vif.ports:       # VIFs that are on the bridge already come first
            planned[vif.id] = add_vif(items, vif, registry, context)
    items = _sweep(items, roots)
    touched = set(items) if context.thorough else reachable(
        items, [port_key(port) for port in present]) | reachable(registry, gone | own)
    moved = networks_of(items) != networks_of(registry)
    if moved:
        touched = touched | {key for key in items if key.kind is Kind.PEERS}
    return Draft(items, tuple(explain_mutes(items, [planned[vif.id] for vif in vifs], context)),
                 context, frozenset(touched & items.keys()), moved,
                 _find_groups(items, touched & items.keys()))


def _find_groups(items: Items, touched: AbstractSet[Key]) -> Mapping[str, Sequence[Key]]:
    """Return the items of each group; those that hold roles are one, and have all networks'."""
    found: Dict[str, List[Key]] = {}
    for key in touched:
        group = (HOLDERS if key.kind is Kind.NETWORK else
                 group_of(items[key]) if key.kind is Kind.PEERS else '')
        if group:
            found.setdefault(group, []).append(key)
    return found


def finish_plan(draft: Draft, groups: Mapping[str, GroupInput]) -> Plan:
    """Return a plan, with the members elsewhere of each of the draft's groups."""
    items = dict(draft.items)
    if items:
        refresh_shared(items, draft.touched, draft.context)
    for group, keys in draft.groups.items():
        for key in keys:
            if draft.is_stale(key, groups[group].stamp):
                refresh_with_members(items, key, groups[group], draft.context)
    return Plan(items, draft.vifs)


def _has_items(registry: Registry, vif: Vif) -> bool:
    return any(key in registry for key in port_keys(vif.id))


def _sweep(items: Items, roots: Tuple[Key, ...]) -> Items:
    """Return the items that some port, or a root, leads to."""
    kept = reachable(items, [*roots, *(key for key in items if key.kind is Kind.PORT)])
    return {key: item for key, item in items.items() if key in kept}


def disturbed(registry: Registry, vif: Vif, ofports: Mapping[str, int]) -> List[VifId]:
    """Return the other VIFs whose items this VIF's event makes stale.

    They share its MAC address (live migration onto the same host), take turns
    in owning an address, they have leased one that it has fixed, their port has another number than
    their flows were made for, or another program has deleted the header of an item that they refer
    to.
    """
    names = {endpoint_name(attached.network, vif.mac) for attached in vif.networks}
    own = set(port_keys(vif.id))
    shared = {ref for key in own if key in registry for ref in registry[key].refs}
    shared |= {item.key for item in endpoints(registry.values())
               if item.name in names or takes_turns(item)}
    fixed = vif.policy.addresses - vif.policy.leased
    shared |= {item.key for item in possible_owners(registry.values(), fixed)
               if not fixed.isdisjoint(parse_facts(item).leased)}
    damaged = _has_gaps(registry)
    found = {parse_netdev(item.name) for item in registry.values()
             if item.key.kind is Kind.PORT and item.key not in own and item.name in ofports
             and (not shared.isdisjoint(item.refs)
                  or ofports[item.name] != parse_port_facts(item).ofport
                  or damaged and _is_damaged(item, registry))}
    return sorted(found)


def _has_gaps(registry: Registry) -> bool:
    """Tell whether items refer to some that are not there."""
    return not {ref for item in registry.values() for ref in item.refs} <= (
        registry.keys() | {BASE, BRIDGE})


def _is_damaged(port: Item, registry: Registry) -> bool:
    """Tell whether a header is missing of what only this port's VIF brings back."""
    return any(ref not in registry and ref not in (BASE, BRIDGE)
               for key in reachable(registry, [port.key]) for ref in registry[key].refs)
