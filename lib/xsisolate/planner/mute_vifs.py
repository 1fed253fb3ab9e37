"""Unmanaged VIFs that the bridge lets say nothing: their MAC address belongs to another.

A restored VM or a replica keeps its MAC addresses. Beside a managed original on the same network
it is not in quarantine, for it has no policy; yet SOURCE drops what it sends, and what is sent to
its MAC address goes to the original.
"""
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import PlanContext
from xsisolate.planner.cookie import Kind, network_key, port_keys
from xsisolate.planner.item_facts import (SPECIAL, NetworkName, endpoint_name, endpoints,
                                          has_enforced,
                                          parse_facts, parse_network_name, ports_of,
                                          split_endpoint)
from xsisolate.planner.items import Items, Registry
from xsisolate.planner.vif import Attached, Vif
from xsisolate.policy.additional_macs import VRRP, covers
from xsisolate.policy.model import Mode, RemoteMember
from xsisolate.typing_compat import FrozenSet, Iterable, Iterator


def explain_mutes(items: Items, vifs: Iterable[Vif], context: PlanContext) -> Iterator[Vif]:
    """Yield VIFs, the unmanaged ones with the reason why nothing of theirs passes, if so."""
    for vif in vifs:
        reasons = (_reason(items, vif, attached, context) for attached in vif.networks)
        unmanaged = vif.ports and vif.policy.mode is Mode.UNLOCKED
        yield vif._replace(mute=next(filter(None, reasons), '') if unmanaged else '')


def _reason(items: Items, vif: Vif, attached: Attached, context: PlanContext) -> str:
    name = endpoint_name(attached.network, vif.mac)
    for item in endpoints([item for item in items.values()
                           if item.name == name or SPECIAL in item.facts]):
        known = parse_facts(item)
        listed = split_endpoint(item)[0] == attached.network and covers(known.macs, vif.mac)
        own = item.name == name and not known.permissive    # such a one keeps nobody from it
        if own or listed:
            users = ports_of(items.values(), item.key)
            return ('MAC address %s belongs on this network to %s of VM %s, %s: nothing that this '
                    'VIF sends passes, give one of the VMs another'
                    % (vif.mac, users[0].name if users else 'a VIF', known.vm_uuid,
                       'whose policy lists it' if listed else 'which is managed'))
    if network_key(attached.network) not in items or not has_enforced(items.values(),
                                                                      attached.network):
        return ''       # nothing here reserves what is elsewhere
    for member in context.reserved:
        if member.network == attached.network_uuid and covers([member.mac, *member.macs], vif.mac):
            return ('MAC address %s belongs on this network to a VIF of another host%s: nothing '
                    'that this VIF sends passes here, give one of the VMs another' % (
                        vif.mac, _why_special(member, vif.mac)))
    facts = context.find_network(attached.bridge, attached.network_uuid)
    if vif.mac in [gateway.mac for gateway in facts.gateways]:
        return ('MAC address %s is that of a gateway in xsisolate.yaml: nothing that this VIF '
                'sends passes, give the VM another or correct the network\'s gateways' % vif.mac)
    return ''


def _why_special(member: RemoteMember, mac: str) -> str:
    """Return why a host that does not have a VIF keeps its MAC address for it."""
    if member.mac != mac:
        return ', whose policy lists it'
    return ', which holds the role %s' % ', '.join(sorted(member.roles)) if member.roles else ''


def changing_macs(registry: Registry, vif: Vif, context: PlanContext) -> FrozenSet[str]:
    """Return the MAC addresses that a VIF's event reserves, or frees: its own, and gateways'."""
    before = {split_endpoint(registry[ref]) for key in port_keys(vif.id) if key in registry
              for ref in registry[key].refs if ref.kind is Kind.ENDPOINT and ref in registry}
    managed = vif.ports and vif.policy.mode is not Mode.UNLOCKED
    names = {attached.network: NetworkName(attached.bridge, attached.network_uuid)
             for attached in vif.networks}
    changed = before ^ {(network, vif.mac) for network in names if managed}
    for key, item in registry.items():
        if key.kind is Kind.NETWORK:
            names.setdefault(NETWORK | key.id, parse_network_name(item))
    listed = vif.policy.macs.union(*[
        parse_facts(registry[ref]).macs for key in port_keys(vif.id) if key in registry
        for ref in registry[key].refs if ref.kind is Kind.ENDPOINT and ref in registry
        and registry[ref].facts])
    return frozenset(mac for _, mac in changed) | (listed - {VRRP}) | frozenset(
        gateway.mac for network, _ in changed if network in names
        for gateway in context.find_network(*names[network]).gateways if gateway.mac)
