"""Which VIFs of a network may use an additional MAC address, here and on other hosts.

On this host the endpoints say it, of others the pool's file of holders.
"""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.additional_macs import (Shared, placed_elsewhere, placed_here,
                                                reserved_flow, shared_flows, sharer_flows,
                                                sought_elsewhere_flows)
from xsisolate.pipeline.tables import NETWORK, PLACE
from xsisolate.planner.cookie import Key, Kind, network_key, parse_key
from xsisolate.planner.item_facts import (SPECIAL, EndpointFacts, endpoints, parse_facts,
                                          split_endpoint)
from xsisolate.planner.items import Item
from xsisolate.policy.additional_macs import VRRP, covers, is_range, mac_matches
from xsisolate.policy.model import Network, Prefix, RemoteMember
from xsisolate.typing_compat import AbstractSet, Dict, Iterable, Iterator, List, Mapping, Tuple

Holders = List[Tuple[str, EndpointFacts]]       # with their own MAC addresses


def find_holders(items: Mapping[Key, Item], network: int) -> Holders:
    """Return the VIFs of this host that have additional MAC addresses on a network."""
    found = [(split_endpoint(item), parse_facts(item))
             for item in endpoints([item for item in items.values() if SPECIAL in item.facts])]
    return [(mac, facts) for (number, mac), facts in found if number == network and facts.macs]


def format_holders(holders: Holders) -> List[Tuple[str, str, List[str], bool, str]]:
    """Return what of the holders a network's flows depend on."""
    return [(mac, facts.mode, sorted(facts.macs), facts.arriving, facts.permissive)
            for mac, facts in holders]


def shared_mac_flows(network: int, holders: Holders, members: Iterable[RemoteMember],
                     named: Network) -> Iterator[Flow]:
    """Yield what additional MAC addresses come to; `members` have some on other hosts.

    `named` has the gateways that the configuration names beyond the uplink.
    """
    members = [member for member in members
               if member.macs and member.mac not in [mac for mac, _ in holders]]
    every = [facts.macs for _, facts in holders] + [member.macs for member in members]
    for match in mac_matches(entry for entries in every for entry in entries):
        yield from shared_flows(network, _find_shared(match, holders, members),
                                network_key(network).cookie)
    if any(VRRP in facts.macs for _, facts in holders):
        for mac in sorted({gateway.mac for gateway in named.gateways if gateway.mac}):
            if covers([VRRP], mac) and not any(mac in entries for entries in every):
                yield reserved_flow(network, mac)


def _find_shared(match: str, holders: Holders, members: List[RemoteMember]) -> Shared:
    entry = VRRP if is_range(match) else match
    here = [(mac, facts) for mac, facts in holders if covers(facts.macs, entry)]
    # All routers of a LAN may use VRRP's: a range keeps none of them out.
    return Shared(match, tuple(mac for mac, _ in here),
                  is_range(match) or any(covers(member.macs, entry) for member in members)
                  or any(facts.arriving for _, facts in here),
                  any(facts.isolated for _, facts in here))


def shared_address_flows(network: int, here: AbstractSet[str],
                         members: Iterable[RemoteMember]) -> Iterator[Flow]:
    """Yield by which VIFs of other hosts shared addresses may be held, and that they are asked.

    `here` are the MAC addresses of this host's VIFs: one on its way is on two hosts.
    """
    members = [member for member in members if member.mac not in here]
    sought: Dict[Prefix, bool] = {}
    for member in members:
        yield from sharer_flows(network, member.mac, mac_matches(member.macs),
                                sorted(member.shared))
        for address in member.addresses if member.roles and member.macs else member.shared:
            sought[address] = sought.get(address, False) or bool(member.roles)
    for address, role in sorted(sought.items()):
        yield from sought_elsewhere_flows(network, address, role)


def is_placed(flow: Flow, items: Mapping[Key, Item]) -> bool:
    """Tell whether a flow is what the switch has learned of an additional MAC address."""
    if flow.table != PLACE:
        return False
    key = parse_key(flow.cookie & 0xffffffff)
    additional = flow.match.rpartition('dl_dst=')[2].partition(',')[0]
    if key.kind is Kind.NETWORK and key in items:
        return flow == placed_elsewhere(NETWORK | key.id, additional)._replace(cookie=flow.cookie)
    refs = items[key].refs if key.kind is Kind.PORT and key in items else ()
    return any(_is_of(flow, additional, items[ref]) for ref in refs if ref in items)


def _is_of(flow: Flow, additional: str, endpoint: Item) -> bool:
    network, mac = split_endpoint(endpoint)
    return covers(parse_facts(endpoint).macs, additional) and flow == placed_here(
        network, additional, mac)._replace(cookie=flow.cookie)
