"""Compare, apply, read back: a plan meets the switch."""
from xsisolate.dataplane.switch_state import SwitchState
from xsisolate.dom0.ovs import flow_table
from xsisolate.errors import HostError
from xsisolate.openflow.flow import Flow, FlowDiff, diff_flows
from xsisolate.openflow.ownership import HEADER
from xsisolate.pipeline.entry import closed_port_flow, shut_flow
from xsisolate.pipeline.snooping import silencing_flow
from xsisolate.planner.cookie import BASE, Key, port_key
from xsisolate.planner.items import Items, Registry, header_flow
from xsisolate.planner.plan import Plan
from xsisolate.planner.vif import Vif
from xsisolate.planner.vif_items import without_learned
from xsisolate.typing_compat import (AbstractSet, FrozenSet, Iterable, Mapping, NamedTuple,
                                     Sequence, Tuple)

RECORDED = 5        # fields of an item that its header holds: all but the flows
WITNESS = frozenset([BASE.cookie | HEADER])
FEW_VIFS = 3        # an event that concerns more has a reason to look at everything


class Outdated(HostError):
    """The bridge has lost what it carried when the plan was made."""


class View(NamedTuple):
    """What of a bridge is read and compared."""

    scope: FrozenSet[Key]           # the items that are compared
    spared: FrozenSet[int]          # cookies that are read along and left alone
    items: Items                    # for which the switch may have learned flows by itself

    @property
    def cookies(self) -> FrozenSet[int]:
        """The cookies of the items' flows and headers, and of the header that all bridges have."""
        return WITNESS | frozenset(cookie for key in self.scope
                                   for cookie in (key.cookie, key.cookie | HEADER))


def reconcile(bridge: str, switch: SwitchState, plan: Plan,
              ofports: Mapping[str, int]) -> FlowDiff:
    """Make the bridge carry what is planned for some VIFs; return what changed.

    The caller holds the bridge's lock. `switch` is what the plan was made from,
    `ofports` are the VIF netdevs that are on the bridge. Raises Outdated if the switch has lost
    all flows since: what is programmed then has to be planned anew.
    """
    registry, items = switch.items, plan.items
    if not registry and not switch.strays and not items:
        return FlowDiff()
    everything = len(plan.vifs) > FEW_VIFS or bool(switch.strays)
    view = _view(items, _widest(registry, items) if everything else
                 _scope(registry, items, plan.vifs), ofports, everything)
    desired = _desired(items, view.scope)
    found = flow_table.read_flows(bridge) if everything else flow_table.read_items(
        bridge, view.cookies)
    _check_witness(bridge, registry, found)
    diff = diff_flows(desired, _sift(view, found))
    if diff.add or diff.delete:
        after = flow_table.apply_diff(bridge, diff, () if everything else view.cookies)
        found = flow_table.read_flows(bridge) if everything else after
        _check_witness(bridge, items, found)
        _complain(bridge, diff_flows(desired, _sift(view, found)))
    return diff


def _check_witness(bridge: str, items: Registry, found: AbstractSet[Flow]) -> None:
    """Raise Outdated if what a bridge that carries these items always carries is not found."""
    if BASE in items and header_flow(items[BASE]) not in found:
        raise Outdated('bridge %s: ovs-vswitchd has lost its flows, more than once' % bridge)


def check_recorded(bridge: str, plan: Plan, names: Iterable[str]) -> None:
    """Raise Outdated if the bridge no longer says that it has flows of netdevs for which it had."""
    keys = [port_key(name) for name in names if port_key(name) in plan.items]
    found = {flow.cookie for flow in flow_table.read_items(
        bridge, [key.cookie | HEADER for key in keys])}
    if any(key.cookie | HEADER not in found for key in keys):
        raise Outdated('bridge %s: ovs-vswitchd has lost its flows, more than once' % bridge)


def wait_for_verdicts(bridge: str, plan: Plan) -> None:
    """Wait until packets are judged by what the bridge carries now."""
    flow_table.wait_for_verdicts(bridge, header_flow(plan.items[BASE]))


def reconcile_all(bridge: str, plan: Plan, diff: FlowDiff) -> None:
    """Apply what a bridge lacks of a plan for all its VIFs, and what is too much; read it back."""
    if diff.add or diff.delete:
        flow_table.apply_diff(bridge, diff)
        _complain(bridge, compare_all(plan, flow_table.read_flows(bridge)))


def compare_all(plan: Plan, read: AbstractSet[Flow]) -> FlowDiff:
    """Return what of all our flows that a bridge carries is missing, and what is too much.

    The flows of items that the plan knows by their header only are left alone. If
    such a header is gone its flows may be, too: to add it would be a lie.
    """
    kept = [item for item in plan.items.values() if item.flows is None]
    cookies, headers = {item.key.cookie for item in kept}, {header_flow(item) for item in kept}
    actual = {flow for flow in read if flow.cookie not in cookies}
    return diff_flows(_desired(plan.items, plan.items.keys()) - (headers - read),
                      without_learned(actual, plan.items))


def close_ports(bridge: str, ofports: Mapping[str, int]) -> None:
    """Drop what these VIF netdevs send, without lock, policy or record.

    The next process that programs the bridge removes it.
    """
    flow_table.apply_diff(bridge, FlowDiff(tuple(
        closed_port_flow(ofport)._replace(cookie=port_key(name).cookie)
        for name, ofport in sorted(ofports.items()))))


def shut_bridge(bridge: str, seconds: int) -> None:
    """Let nothing pass on a bridge, for so many seconds at most.

    The next process that programs the bridge removes it in the same bundle.
    """
    flow_table.add_for(bridge, shut_flow()._replace(cookie=BASE.cookie), seconds)


def silence(bridge: str, network: int, mac: str, seconds: int) -> None:
    """Have nothing copied to the daemon of what a VIF asks, for so many seconds.

    It changes nothing else, and needs no lock.
    """
    flow_table.add_for(bridge, silencing_flow(network, mac), seconds)


def _scope(registry: Registry, items: Items, vifs: Sequence[Vif]) -> FrozenSet[Key]:
    """Return the items to compare flow by flow: the VIFs' own and those that change."""
    ports = {port_key(port.name) for vif in vifs for port in vif.ports}
    own = {ref for key in ports if key in items for ref in items[key].refs if ref in items}
    changed = {key for key in registry.keys() | items.keys()
               if key not in registry or key not in items
               or registry[key][:RECORDED] != items[key][:RECORDED]}
    return frozenset(ports | own | changed)


def _widest(registry: Registry, items: Items) -> FrozenSet[Key]:
    """Return all items whose flows are known, for when everything is read anyway."""
    return frozenset(key for key in registry.keys() | items.keys()
                     if key not in items or items[key].flows is not None)


def _view(items: Items, scope: FrozenSet[Key], ofports: Mapping[str, int],
          everything: bool) -> View:
    # If another program has deleted a VIF's header, its port belongs to no item. But
    # as long as its netdev is there, only its flows keep it closed.
    spared = (items.keys() | {port_key(name) for name in ofports} if everything
              else {BASE}) - scope
    return View(scope, frozenset(key.cookie for key in spared), items)


def _desired(items: Items, scope: AbstractSet[Key]) -> FrozenSet[Flow]:
    """Return the flows of the items in scope, and their headers."""
    flows = {flow for key in scope & items.keys() for flow in items[key].flows or ()}
    return frozenset(flows | {header_flow(items[key]) for key in scope & items.keys()})


def _sift(view: View, found: Iterable[Flow]) -> FrozenSet[Flow]:
    """Return the flows that are compared, orphans among them."""
    return without_learned((flow for flow in found if flow.cookie & ~HEADER not in view.spared),
                           view.items, view.scope)


def _complain(bridge: str, found: FlowDiff) -> None:
    """Raise HostError if anything differs after a change.

    The daemon may have shut the bridge meanwhile; it opens the bridge again when it has looked.
    """
    odd: Tuple[Flow, ...] = found.add + tuple(
        flow for flow in found.delete if flow[:-1] != shut_flow()[:-1])
    if odd:
        raise HostError('bridge %s: %d flows are missing and %d are too many after the change, '
                        'such as table=%d,%s actions=%s'
                        % (bridge, len(found.add), len(found.delete), odd[0].table,
                           odd[0].match, odd[0].actions[:80]))
