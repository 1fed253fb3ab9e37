"""Gather, plan, compare, apply, read back: the only place where core meets the switch."""
from typing import AbstractSet, FrozenSet, NamedTuple, Optional, Sequence, Tuple

from xsisolate.core.cookie import HEADER, OWNER, OWNER_MASK, Key
from xsisolate.core.flow import Flow, FlowDiff, diff_flows
from xsisolate.core.flows.stages import RESOLVE
from xsisolate.core.items import Registry, header_flow, parse_registry
from xsisolate.core.overlap import find_overlap, format_resolved
from xsisolate.core.plan import (
    Conflict,
    Items,
    Surroundings,
    Vif,
    learned_flows,
    owner_of,
    plan_bridge,
    port_key,
    split_port,
)
from xsisolate.core.policy import quarantine
from xsisolate.dom0 import openflow
from xsisolate.errors import HostError

SINGLE_READS = 3    # beyond that many ids one dump of everything is cheaper
ANY_KIND = OWNER_MASK | 0x0ffffffe


class Result(NamedTuple):
    """What reconciling a bridge changed, in flows, and what became of the VIFs."""

    added: int = 0
    deleted: int = 0
    vifs: Tuple[Vif, ...] = ()      # some may have been quarantined over a conflict


class View(NamedTuple):
    """What of a bridge is read and compared."""

    bridge: str
    scope: FrozenSet[Key]           # the items that are compared
    numbers: FrozenSet[int]         # what selects them in dumps
    spared: FrozenSet[int]          # cookies that are read along and left alone
    learned: FrozenSet[Flow]        # what the switch may have learned by itself
    everything: bool = False        # one dump of all that is ours: cheaper than many


def read_registry(bridge: str) -> Registry:
    """Return the items that are programmed on a bridge."""
    return parse_registry(openflow.read_headers(bridge))


def reconcile(bridge: str, vifs: Sequence[Vif], around: Surroundings,
              headers: Optional[FrozenSet[Flow]] = None) -> Result:
    """Make the bridge carry what these VIFs need; the caller holds the bridge's lock.

    Everything else of ours stays, except what belongs to netdevs that are gone.
    A VIF that wants what is another's is quarantined. `headers` are what
    openflow.read_headers returned, if the caller needed them before.
    """
    if headers is None:
        headers = openflow.read_headers(bridge)
    for _ in range(len(vifs) + 1):
        try:
            added, deleted = _reconcile(bridge, vifs, around, headers)
            return Result(added, deleted, tuple(vifs))
        except Conflict as conflict:
            vifs = [_yield_to_owner(vif, conflict) for vif in vifs]
    raise HostError('bridge %s: VIFs remain in conflict with each other' % bridge)


def _yield_to_owner(vif: Vif, conflict: Conflict) -> Vif:
    """Close a VIF that wants what another has; whoever has it keeps it."""
    if (vif.domid, vif.devid) != conflict.vif:
        return vif
    return vif._replace(policy=quarantine(str(conflict)), mac='')


def _reconcile(bridge: str, vifs: Sequence[Vif], around: Surroundings,
               headers: FrozenSet[Flow]) -> Tuple[int, int]:
    registry = parse_registry(headers)
    items = plan_bridge(registry, vifs, around)
    if not headers and not items:
        return 0, 0
    view = _view(bridge, registry, items, _scope(registry, items, vifs), around)
    if len(view.numbers) > SINGLE_READS or len(registry) < len(headers):
        view = _view(bridge, registry, items, _widest(registry, items), around)._replace(
            everything=True)
    desired = _desired(items, view.scope)
    diff = diff_flows(desired, _actual(view) | headers)
    if diff.add or diff.delete:
        _refuse_conflict(bridge, diff, items)
        openflow.apply_diff(bridge, diff, RESOLVE)
        _check(view._replace(numbers=_numbers(view.scope)), desired)
    return len(diff.add), len(diff.delete)


def _scope(registry: Registry, items: Items, vifs: Sequence[Vif]) -> FrozenSet[Key]:
    """Return the items to compare flow by flow: the VIFs' own and those that change."""
    ports = {port_key(port.name) for vif in vifs for port in vif.ports}
    own = {ref for key in ports if key in items for ref in items[key].refs if ref in items}
    changed = {key for key in registry.keys() | items.keys()
               if key not in registry or key not in items
               or registry[key].digest != items[key].digest}
    return frozenset(ports | own | changed)


def _widest(registry: Registry, items: Items) -> FrozenSet[Key]:
    """Return all items whose flows are known, for when everything is read anyway."""
    return frozenset(key for key in registry.keys() | items.keys()
                     if key not in items or items[key].flows is not None)


def _numbers(scope: AbstractSet[Key]) -> FrozenSet[int]:
    """Return what selects these items in a dump.

    A VIF's ports and its endpoint have ids that differ in the last bit at most.
    """
    return frozenset(key.id & ~1 for key in scope)


def _view(bridge: str, registry: Registry, items: Items, scope: FrozenSet[Key],
          around: Surroundings) -> View:
    # The port of a VIF whose header somebody has deleted is nobody's, but as
    # long as its netdev is there only its flows keep it closed.
    present = {port_key(name) for name in around.ofports}
    spared = frozenset(key.cookie for key in (items.keys() | present) - scope)
    return View(bridge, scope, _numbers(scope & registry.keys()), spared, learned_flows(items))


def _desired(items: Items, scope: AbstractSet[Key]) -> FrozenSet[Flow]:
    """Return the flows of the items in scope, and the headers of all."""
    flows = {flow for key in scope & items.keys() for flow in items[key].flows or ()}
    return frozenset(flows | {header_flow(item) for item in items.values()})


def _actual(view: View) -> FrozenSet[Flow]:
    """Return the flows that are compared, orphans among them."""
    return frozenset(flow for flow in _read(view) if not flow.cookie & HEADER
                     and flow.cookie not in view.spared) - view.learned


def _read(view: View) -> FrozenSet[Flow]:
    if view.everything:
        return openflow.read_flows(view.bridge)
    return frozenset(flow for number in view.numbers
                     for flow in openflow.read_flows(view.bridge, OWNER | number, ANY_KIND))


def _refuse_conflict(bridge: str, diff: FlowDiff, items: Items) -> None:
    """Raise Conflict if a VIF wants an address that is another's already.

    The switch would refuse a flow that overlaps another, but let one with the
    very same match take the other's place.
    """
    if not any(flow.table == RESOLVE for flow in diff.add):
        return
    found = find_overlap(diff.add, openflow.read_table(bridge, RESOLVE) - frozenset(diff.delete))
    if found:
        wanted, taken = found
        raise Conflict('address %s is already that of %s on this network: give each VIF its own '
                       'ipv4 and ipv6' % (format_resolved(taken), owner_of(items, taken.cookie)),
                       split_port(owner_of(items, wanted.cookie)))


def _check(view: View, desired: FrozenSet[Flow]) -> None:
    """Raise HostError unless the switch has what was asked for and nothing else."""
    found = diff_flows(desired, _actual(view) | openflow.read_headers(view.bridge))
    if found.add or found.delete:
        odd: Tuple[Flow, ...] = found.add + found.delete
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (view.bridge, len(found.add), len(found.delete), odd[0].table,
                           odd[0].match, odd[0].actions[:80]))
