"""Gather, plan, compare, apply, read back: the only place where core meets the switch."""
from typing import AbstractSet, Callable, FrozenSet, List, NamedTuple, Tuple

from xsisolate.core.cookie import Key
from xsisolate.core.flow import Flow, FlowDiff, diff_flows
from xsisolate.core.flows.stages import RESOLVE
from xsisolate.core.items import Registry, header_flow, parse_registry
from xsisolate.core.plan import (Conflict, Items, Surroundings, Vif, learned_flows, plan_bridge,
                                 port_key)
from xsisolate.dom0 import openflow
from xsisolate.dom0.run import CommandFailed
from xsisolate.errors import HostError

FindOthers = Callable[[Registry], List[Vif]]

OVERLAP = 'OFPFMFC_OVERLAP'
SINGLE_READS = 3    # beyond that many items one dump of everything is cheaper


class Result(NamedTuple):
    """What reconciling a bridge changed, in flows."""

    added: int = 0
    deleted: int = 0


def read_registry(bridge: str) -> Registry:
    """Return the items that are programmed on a bridge."""
    return parse_registry(openflow.read_headers(bridge))


def reconcile(bridge: str, vif: Vif, around: Surroundings, find_others: FindOthers) -> Result:
    """Make the bridge carry what a VIF needs; the caller holds the bridge's lock.

    `find_others` names the VIFs that must be looked at too. Everything else of
    ours stays, except what belongs to netdevs that are gone. Raises Conflict
    if the VIF wants what is another's; then nothing has changed.
    """
    headers = openflow.read_headers(bridge)
    registry = parse_registry(headers)
    vifs = [vif] + find_others(registry)
    items = plan_bridge(registry, vifs, around)
    if not headers and not items:
        return Result()
    scope = _scope(registry, items, vifs)
    desired = _desired(items, scope)
    diff = diff_flows(desired, _actual(bridge, scope & registry.keys(), items) | headers)
    if diff.add or diff.delete:
        _apply(bridge, diff)
        _check(bridge, desired, scope, items)
    return Result(len(diff.add), len(diff.delete))


def _scope(registry: Registry, items: Items, vifs: List[Vif]) -> FrozenSet[Key]:
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
    if len(scope) > SINGLE_READS:
        return openflow.read_flows(bridge)
    return frozenset(flow for key in scope
                     for flow in openflow.read_flows(bridge, key.cookie, 0xffffffffffffffff))


def _apply(bridge: str, diff: FlowDiff) -> None:
    try:
        openflow.apply_diff(bridge, diff, RESOLVE)
    except CommandFailed as error:
        if OVERLAP not in str(error):
            raise
        raise Conflict(_overlap(bridge, diff)) from error


def _overlap(bridge: str, diff: FlowDiff) -> str:
    """Say which address is another VIF's already."""
    taken = {flow.match: flow.cookie for flow in openflow.read_flows(bridge)
             if flow.table == RESOLVE}
    wanted = [flow for flow in diff.add if flow.table == RESOLVE]
    for flow in wanted:
        if taken.get(flow.match, flow.cookie) != flow.cookie:
            return ('address %s is already that of another VIF on this network: '
                    'give each VIF its own ipv4 and ipv6' % _address(flow.match))
    return ('one of its networks overlaps an address of another VIF on this network: '
            'give each VIF its own ipv4 and ipv6')


def _address(match: str) -> str:
    fields = dict(field.split('=', 1) for field in match.split(',') if '=' in field)
    if fields.get('reg14') == '0x4':
        value = int(fields.get('reg7', '0').split('/')[0], 16)
        return '.'.join(str(value >> shift & 0xff) for shift in (24, 16, 8, 0))
    words = ['%08x' % int(fields.get('reg%d' % reg, '0').split('/')[0], 16)
             for reg in (4, 5, 6, 7)]
    text = ''.join(words)
    return ':'.join(text[start:start + 4] for start in range(0, 32, 4))


def _check(bridge: str, desired: FrozenSet[Flow], scope: FrozenSet[Key], items: Items) -> None:
    """Raise HostError unless the switch has what was asked for and nothing else."""
    headers = frozenset(flow for flow in openflow.read_headers(bridge))
    found = diff_flows(desired, _actual(bridge, scope, items) | headers)
    if found.add or found.delete:
        odd: Tuple[Flow, ...] = found.add + found.delete
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (bridge, len(found.add), len(found.delete), odd[0].table, odd[0].match,
                           odd[0].actions[:80]))
