"""Gather, plan, compare, apply, read back: the only place where core meets the switch."""
from typing import AbstractSet, FrozenSet, NamedTuple, Optional, Sequence, Tuple

from xsisolate.core.cookie import OWNER, OWNER_MASK, Key
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
from xsisolate.dom0.run import CommandFailed
from xsisolate.errors import HostError, XsisolateError

OVERLAP = 'OFPFMFC_OVERLAP'
SINGLE_READS = 3    # beyond that many ids one dump of everything is cheaper
ANY_KIND = OWNER_MASK | 0x0ffffffe


class Result(NamedTuple):
    """What reconciling a bridge changed, in flows, and what became of the VIFs."""

    added: int = 0
    deleted: int = 0
    vifs: Tuple[Vif, ...] = ()      # some may have been quarantined over a conflict


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
    scope = _scope(registry, items, vifs)
    desired = _desired(items, scope)
    diff = diff_flows(desired, _actual(bridge, scope & registry.keys(), items) | headers)
    if diff.add or diff.delete:
        _apply(bridge, diff, items)
        _check(bridge, desired, scope, items)
    return len(diff.add), len(diff.delete)


def _scope(registry: Registry, items: Items, vifs: Sequence[Vif]) -> FrozenSet[Key]:
    """Return the items to compare flow by flow: the VIFs' own and those that change."""
    own = {port_key(port.name) for vif in vifs for port in vif.ports}
    own |= {ref for key in own if key in items for ref in items[key].refs}
    changed = {key for key in registry.keys() | items.keys()
               if key not in registry or key not in items
               or registry[key].digest != items[key].digest}
    return frozenset(own & items.keys() | changed)


def _desired(items: Items, scope: AbstractSet[Key]) -> FrozenSet[Flow]:
    """Return the flows of the items in scope, and the headers of all."""
    flows = {flow for key in scope & items.keys() for flow in items[key].flows or ()}
    return frozenset(flows | {header_flow(item) for item in items.values()})


def _actual(bridge: str, scope: AbstractSet[Key], items: Items) -> FrozenSet[Flow]:
    """Return the flows of these items, without what the switch may have learned."""
    if not scope:
        return frozenset()
    flows = _read(bridge, scope)
    cookies = {key.cookie for key in scope}
    return frozenset(flow for flow in flows if flow.cookie in cookies) - learned_flows(items)


def _read(bridge: str, scope: AbstractSet[Key]) -> FrozenSet[Flow]:
    """Return at least the flows of these items, in few dumps.

    A VIF's ports and its endpoint have ids that differ in the last bit at most.
    """
    numbers = {key.id & ~1 for key in scope}
    if len(numbers) > SINGLE_READS:
        return openflow.read_flows(bridge)
    return frozenset(flow for number in numbers
                     for flow in openflow.read_flows(bridge, OWNER | number, ANY_KIND))


def _apply(bridge: str, diff: FlowDiff, items: Items) -> None:
    try:
        openflow.apply_diff(bridge, diff, RESOLVE)
    except CommandFailed as error:
        if OVERLAP not in str(error):
            raise
        raise _find_conflict(bridge, diff, items, error) from error


def _find_conflict(bridge: str, diff: FlowDiff, items: Items,
                   error: HostError) -> XsisolateError:
    """Return which VIF wants an address that is another's already."""
    present = openflow.read_flows(bridge) - frozenset(diff.delete)
    found = find_overlap(diff.add, present)
    if found is None:
        return error
    wanted, taken = found
    loser = owner_of(items, wanted.cookie)
    winner = owner_of(items, taken.cookie)
    return Conflict('address %s is already that of %s on this network: give each VIF its own '
                    'ipv4 and ipv6' % (format_resolved(taken), winner), split_port(loser))


def _check(bridge: str, desired: FrozenSet[Flow], scope: FrozenSet[Key], items: Items) -> None:
    """Raise HostError unless the switch has what was asked for and nothing else."""
    found = diff_flows(desired, _actual(bridge, scope, items) | openflow.read_headers(bridge))
    if found.add or found.delete:
        odd: Tuple[Flow, ...] = found.add + found.delete
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (bridge, len(found.add), len(found.delete), odd[0].table, odd[0].match,
                           odd[0].actions[:80]))
