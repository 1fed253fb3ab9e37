"""Compare, apply, read back: a plan meets the switch."""
from xsisolate.core.cookie import HEADER, Key, Kind
from xsisolate.core.flow import Flow, FlowDiff, diff_flows
from xsisolate.core.flows.entry import closed_port_flow
from xsisolate.core.items import Registry, header_flow, parse_registry
from xsisolate.core.peersets import Items
from xsisolate.core.plan import Plan, learned_flows, port_key
from xsisolate.core.vif import Vif
from xsisolate.dom0 import openflow
from xsisolate.errors import HostError
from xsisolate.hints import AbstractSet, FrozenSet, Mapping, NamedTuple, Sequence, Tuple

SINGLE_READS = 3    # beyond that many dumps one of everything is cheaper
EXACT = 0xffffffffffffffff
VIF_KINDS = (Kind.ENDPOINT, Kind.PORT)
VIF_MASK = EXACT ^ (Kind.ENDPOINT ^ Kind.PORT) << 28 ^ 1    # either kind, vif or tap


class View(NamedTuple):
    """What of a bridge is read and compared."""

    bridge: str
    scope: FrozenSet[Key]           # the items that are compared
    selectors: FrozenSet[Tuple[int, int]]   # (cookie, mask): what selects them in dumps
    spared: FrozenSet[int]          # cookies that are read along and left alone
    learned: FrozenSet[Flow]        # what the switch may have learned by itself
    everything: bool = False        # one dump of all that is ours: cheaper than many


def read_registry(bridge: str) -> Registry:
    """Return the items that are programmed on a bridge."""
    return parse_registry(openflow.read_headers(bridge))


def reconcile(bridge: str, headers: FrozenSet[Flow], plan: Plan,
              ofports: Mapping[str, int]) -> FlowDiff:
    """Make the bridge carry what is planned for some VIFs; return what changed.

    The caller holds the bridge's lock. `headers` are the flows from which the
    plan's registry was parsed, `ofports` the VIF netdevs that are on the bridge.
    """
    registry, items = parse_registry(headers), plan.items
    if not headers and not items:
        return FlowDiff()
    view = _view(bridge, registry, items, _scope(registry, items, plan.vifs), ofports)
    if len(view.selectors) > SINGLE_READS or len(registry) < len(headers):
        view = _view(bridge, registry, items, _widest(registry, items), ofports)._replace(
            everything=True)
    desired = _desired(items, view.scope)
    diff = diff_flows(desired, _actual(view) | headers)
    if diff.add or diff.delete:
        openflow.apply_diff(bridge, diff)
        _check(view._replace(selectors=_selectors(view.scope)), desired)
    return diff


def reconcile_all(bridge: str, plan: Plan) -> FlowDiff:
    """Make the bridge carry a plan for all its VIFs, and nothing else of ours."""
    diff = compare_all(bridge, plan)
    if diff.add or diff.delete:
        openflow.apply_diff(bridge, diff)
        _complain(bridge, compare_all(bridge, plan))
    return diff


def compare_all(bridge: str, plan: Plan) -> FlowDiff:
    """Return what of all our flows on a bridge is missing, and what is too much.

    The flows of items that the plan knows by their header only are left alone. If
    such a header is gone its flows may be, too: to add it would be a lie.
    """
    kept = [item for item in plan.items.values() if item.flows is None]
    cookies, headers = {item.key.cookie for item in kept}, {header_flow(item) for item in kept}
    read = openflow.read_flows(bridge)
    actual = {flow for flow in read if flow.cookie not in cookies}
    return diff_flows(_desired(plan.items, plan.items.keys()) - (headers - read),
                      actual - learned_flows(plan.items))


def close_ports(bridge: str, ofports: Mapping[str, int]) -> None:
    """Drop what these VIF netdevs send, without lock, policy or record.

    Whoever programs the bridge next removes it.
    """
    openflow.apply_diff(bridge, FlowDiff(tuple(
        closed_port_flow(ofport)._replace(cookie=port_key(name).cookie)
        for name, ofport in sorted(ofports.items()))))


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


def _selectors(scope: AbstractSet[Key]) -> FrozenSet[Tuple[int, int]]:
    """Return the (cookie, mask) pairs that select these items in dumps.

    The cookies of a VIF's ports and endpoint differ in two bits only.
    """
    return frozenset((key.cookie & VIF_MASK, VIF_MASK) if key.kind in VIF_KINDS
                     else (key.cookie, EXACT) for key in scope)


def _view(bridge: str, registry: Registry, items: Items, scope: FrozenSet[Key],
          ofports: Mapping[str, int]) -> View:
    # The port of a VIF whose header somebody has deleted is nobody's, but as
    # long as its netdev is there only its flows keep it closed.
    present = {port_key(name) for name in ofports}
    spared = frozenset(key.cookie for key in (items.keys() | present) - scope)
    return View(bridge, scope, _selectors(scope & registry.keys()), spared, learned_flows(items))


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
    return frozenset(flow for cookie, mask in view.selectors
                     for flow in openflow.read_flows(view.bridge, cookie, mask))


def _check(view: View, desired: FrozenSet[Flow]) -> None:
    """Raise HostError unless the switch has what was asked for and nothing else."""
    _complain(view.bridge, diff_flows(desired, _actual(view) | openflow.read_headers(view.bridge)))


def _complain(bridge: str, found: FlowDiff) -> None:
    """Raise HostError if anything differs after a change."""
    odd: Tuple[Flow, ...] = found.add + found.delete
    if odd:
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (bridge, len(found.add), len(found.delete), odd[0].table,
                           odd[0].match, odd[0].actions[:80]))
