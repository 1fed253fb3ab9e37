"""What a configuration says of networks, held against the VIFs that are on them."""
from typing import FrozenSet, Iterator, List, NamedTuple, Tuple

from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.dom0.run_files.group_members import read_members
from xsisolate.policy.additional_macs import VRRP, covers
from xsisolate.policy.address import contains, format_prefix
from xsisolate.policy.model import DHCP, GATEWAY, HOLDERS, Config, Mode, Network, Prefix
from xsisolate.policy.resolve import find_network

SHOWN = 4               # VIFs in a remark
Remark = Tuple[str, str, str]       # the network's key, the key in it, what is to be said


class Machine(NamedTuple):
    """A VIF of the pool, on one network."""

    name: str
    bridge: str
    network_uuid: str
    mac: str
    addresses: Tuple[Prefix, ...]
    leaves: bool = False        # it is isolated, and its policy lets it out
    uplink: bool = True         # its bridge has one
    roles: FrozenSet[str] = frozenset()
    macs: FrozenSet[str] = frozenset()  # additional ones


def find_machines(inventory: Inventory, config: Config) -> Tuple[Machine, ...]:
    """Return this host's VIFs, and the members on other hosts that it has been told of."""
    here = [machine for view in inventory.vifs if view.bridge in inventory.bridges
            for machine in _machines(view, inventory)]
    groups = {*config.groups, *(name for view in inventory.vifs for name in view.vif.policy.groups)}
    bridges = {machine.network_uuid: machine.bridge for machine in here}
    there = [Machine('a VIF of another host with a role, or additional MAC addresses'
                     if group == HOLDERS else 'a member of group %s on another host' % group,
                     bridges.get(member.network, ''), member.network, member.mac,
                     tuple(sorted(member.addresses)), roles=member.roles, macs=member.macs)
             for group in sorted({*groups, HOLDERS}) for member in read_members(group)]
    return tuple(here + there)


def _machines(view: VifView, inventory: Inventory) -> Iterator[Machine]:
    policy = view.vif.policy
    for attached in view.vif.networks:
        yield Machine(label(view), attached.bridge, attached.network_uuid, view.vif.mac,
                      tuple(sorted(policy.addresses)),
                      policy.mode is Mode.ISOLATED and any(
                          peer.prefix is None for peer in policy.allow),
                      bool(inventory.bridges[view.bridge].context.topology.uplinks),
                      policy.roles, policy.macs)


def check_networks(config: Config, machines: Tuple[Machine, ...]) -> Iterator[Remark]:
    """Yield what the configuration says of machines that are VIFs, and networks without exit."""
    for name, network in config.networks.items():
        on_it = [machine for machine in machines
                 if find_network(config, machine.bridge, machine.network_uuid) is network]
        yield from _check_roles(name, network, on_it)
        yield from _check_macs(name, network, on_it)
        yield from _check_holders(name, network, on_it)
        stuck = [machine.name for machine in on_it if machine.leaves and not machine.uplink]
        if stuck and not any(GATEWAY in machine.roles for machine in on_it):
            yield name, '', ('its bridge has no uplink: `external` leads nowhere for %s'
                             % _some(stuck))


def _check_roles(name: str, network: Network, machines: List[Machine]) -> Iterator[Remark]:
    for machine in machines:
        for gateway in network.gateways:
            taken = [format_prefix(address) for address in (gateway.ipv4, gateway.ipv6)
                     if address and _has(machine, address)]
            taken += [gateway.mac] if gateway.mac and gateway.mac == machine.mac else []
            if taken and GATEWAY not in machine.roles:
                yield name, 'gateways', (
                    '%s is %s: gateways are looked for beyond the uplink only, so nothing reaches '
                    'it; take it out, and allow it as a peer' % (' '.join(taken), machine.name))
        for server in sorted(network.dhcp_servers):
            if _has(machine, server) and DHCP not in machine.roles:
                yield name, 'dhcp_servers', (
                    '%s is %s: isolated VIFs take DHCP answers from beyond the uplink only'
                    % (format_prefix(server), machine.name))


def _check_holders(name: str, network: Network, machines: List[Machine]) -> Iterator[Remark]:
    """Yield the VMs that are named for roles that no VIF has."""
    held = frozenset().union(*[machine.roles for machine in machines])
    for holder in network.holders if machines else ():
        missing = sorted(holder.roles - held)
        if missing:
            yield name, 'gateways' if GATEWAY in missing else 'dhcp_servers', (
                'VM %s, device %s, is named for %s, and no VIF on the network has that role: it '
                'does not run, is on another network, or has no address of its own'
                % (holder.vm_uuid, holder.devid, ', '.join(missing)))


def _check_macs(name: str, network: Network, machines: List[Machine]) -> Iterator[Remark]:
    """Yield gateways whose MAC address VIFs may use that list all of VRRP's."""
    for gateway in network.gateways:
        for machine in machines if gateway.mac else ():
            assert gateway.mac
            if VRRP in machine.macs and covers([VRRP], gateway.mac):
                yield name, 'gateways', (
                    '%s is one of VRRP\'s MAC addresses, which %s may use but for this one: if the '
                    'gateway is this VIF, list the address itself in its policy (mac)'
                    % (gateway.mac, machine.name))


def _has(machine: Machine, address: Prefix) -> bool:
    """Tell whether an address is a machine's own; one that has all of a family has it not."""
    return any(own.length and contains(own, address) for own in machine.addresses)


def _some(names: List[str]) -> str:
    return ', '.join(names[:SHOWN] + ['...'] * (len(names) > SHOWN))
