"""Compare, apply, read back: a plan meets the switch."""
from typing import AbstractSet, FrozenSet, NamedTuple, Sequence, Tuple

from xsisolate.core.cookie import Key, Kind, parse_key
from xsisolate.core.flow import Flow, diff_flows
from xsisolate.core.items import Registry, header_flow, parse_registry
from xsisolate.core.peersets import Items
from xsisolate.core.plan import Plan, learned_flows, port_key
from xsisolate.core.vif import Vif
from xsisolate.dom0 import openflow
from xsisolate.errors import HostError

SINGLE_READS = 3    # beyond that many dumps one of everything is cheaper
EXACT = 0xffffffffffffffff
VIF_KINDS = (Kind.ENDPOINT, Kind.PORT)
VIF_MASK = EXACT ^ (Kind.ENDPOINT ^ Kind.PORT) << 28 ^ 1    # either kind, vif or tap


class Result(NamedTuple):
    """What reconciling a bridge changed, in flows."""

    added: int = 0
    deleted: int = 0


def read_registry(bridge: str) -> Registry:
    """Return the items that are programmed on a bridge."""
    return parse_registry(openflow.read_headers(bridge))


def reconcile(bridge: str, headers: FrozenSet[Flow], plan: Plan) -> Result:
    """Make the bridge carry what is planned; the caller holds the bridge's lock.

    `headers` are the flows from which the plan's registry was parsed.
    """
    registry, items = parse_registry(headers), plan.items
    if not headers and not items:
        return Result()
    scope = _scope(registry, items, plan.vifs)
    desired = _desired(items, scope)
    diff = diff_flows(desired, _actual(bridge, scope & registry.keys(), items) | headers)
    if diff.add or diff.delete:
        openflow.apply_diff(bridge, diff)
        _check(bridge, desired, scope, items)
    return Result(len(diff.add), len(diff.delete))


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

    The cookies of a VIF's ports and endpoint differ in two bits only.
    """
    cookies = {key.cookie & VIF_MASK if key.kind in VIF_KINDS else key.cookie for key in scope}
    if len(cookies) > SINGLE_READS:
        return openflow.read_flows(bridge)
    return frozenset(flow for cookie in cookies for flow in openflow.read_flows(
        bridge, cookie, VIF_MASK if parse_key(cookie).kind in VIF_KINDS else EXACT))


def _check(bridge: str, desired: FrozenSet[Flow], scope: FrozenSet[Key], items: Items) -> None:
    """Raise HostError unless the switch has what was asked for and nothing else."""
    found = diff_flows(desired, _actual(bridge, scope, items) | openflow.read_headers(bridge))
    if found.add or found.delete:
        odd: Tuple[Flow, ...] = found.add + found.delete
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (bridge, len(found.add), len(found.delete), odd[0].table, odd[0].match,
                           odd[0].actions[:80]))
