"""Plan a bridge: what the planner asks of members on other hosts is read here.

The caller holds the bridge's lock if it writes what is planned. What is read before it has the
lock may be older than what the bridge carries.
"""
from xsisolate.dom0.run_files.group_members import (find_claims, find_reserved, read_members,
                                                     stamp_members)
from xsisolate.planner.address_owners import wanted_addresses
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.items import Registry
from xsisolate.planner.plan import Draft, Plan, draft_plan, finish_plan
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import Iterable


def plan_bridge(registry: Registry, vifs: Iterable[Vif], context: PlanContext) -> Plan:
    """Return what a bridge should carry for these VIFs beside all that it carries."""
    vifs = list(vifs)
    claims = {group: find_claims(group, addresses)
              for group, addresses in wanted_addresses(registry, vifs).items()}
    reserved = find_reserved({vif.mac for vif in vifs if vif.policy.mode is Mode.UNLOCKED})
    draft = draft_plan(registry, vifs, context._replace(claims=claims, reserved=reserved))
    return finish_plan(draft, {group: _read_group(draft, group) for group in draft.groups})


def _read_group(draft: Draft, group: str) -> GroupInput:
    """Return a group's members, if they are needed; the stamp first, so that it is no younger."""
    stamp = stamp_members(group)
    return GroupInput(stamp, read_members(group) if draft.needs_members(group, stamp) else None)
