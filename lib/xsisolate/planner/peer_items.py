"""Sets of peers: isolation groups and allow lists, under names that make equal sets one."""
from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.multicast import spread_flows
from xsisolate.pipeline.permissive import enforced_spread_flow
from xsisolate.pipeline.peer_sets import (allow_flows, asked_aloud_flows, outside_member_flows,
                                          remote_member_flows, rule_flows, sharing_member_flows)
from xsisolate.pipeline.terms import Attachment
from xsisolate.planner.cookie import Key, Kind
from xsisolate.planner.item_facts import IsolatedLinks
from xsisolate.planner.items import Item, Items, find_or_add, format_stamp, make_item
from xsisolate.policy.additional_macs import mac_matches
from xsisolate.policy.model import Config, EffectivePolicy, Group, Peer, Prefix, RemoteMember
from xsisolate.policy.resolve import asked_groups
from xsisolate.quick_imports import sha256
from xsisolate.typing_compat import Dict, Iterable, Iterator, List, Mapping, Tuple

GROUP, SPREAD, ALLOW = 'group ', 'spread ', 'allow '


def group_name(group: str) -> str:
    """Return the name of a group's item."""
    return GROUP + group


def find_groups(items: Mapping[Key, Item], ids: Iterable[int]) -> List[str]:
    """Return the groups that an endpoint's facts name by the ids of their items."""
    keys = [Key(Kind.PEERS, number) for number in ids]
    return [items[key].name[len(GROUP):] for key in keys if key in items]


def allow_name(allow: Iterable[Peer]) -> str:
    """Return the name of an allow list's item."""
    text = '\n'.join(sorted(_undirected(repr(tuple(peer))) for peer in allow))
    return ALLOW + sha256(text.encode()).hexdigest()


def _undirected(text: str) -> str:
    """Return a text about services without what says that they have no direction.

    So what has none keeps the name that it had before there were directions.
    """
    return text.replace(", direction=''", '')


def is_allow_list(name: str) -> bool:
    """Tell whether an item of this name is an allow list."""
    return name.startswith(ALLOW)


def add_peers(items: Items, policy: EffectivePolicy, config: Config) -> Dict[str, Key]:
    """Add the sets of peers that an isolated VIF asks about; return them by name."""
    asked = {}
    for group in sorted(asked_groups(policy.groups, config.groups)):
        asked[group_name(group)] = key = _find(items, group_name(group))
        # Kept if it is there: should the VIF be refused, nothing else makes its flows anew.
        items.setdefault(spread_key(key), Item(spread_key(key), SPREAD + group))
    if policy.allow:
        name = allow_name(policy.allow)
        asked[name] = key = _find(items, name)
        items[key] = make_item(key, name, allow_flows(key.id, policy.allow))
    return asked


def spread_key(group: Key) -> Key:
    """Return the key of the item that carries a group's multicast."""
    return Key(Kind.SPREAD, group.id)


def spread_keys(asked: Mapping[str, Key]) -> List[Key]:
    """Return the keys of the items that carry the multicast of the asked groups."""
    return [spread_key(key) for name, key in asked.items() if name.startswith(GROUP)]


def _find(items: Items, name: str) -> Key:
    return find_or_add(items, Kind.PEERS, name, 1)


def group_of(item: Item) -> str:
    """Return the group that an item is about, '' if it is about none."""
    return item.name[len(GROUP):] if item.name.startswith(GROUP) else ''


def group_stamp(group: str, stamp: str, config: Config) -> str:
    """Return a group's facts: what stands for all that its item is made of, but the networks."""
    facts = config.groups.get(group, Group())
    rules = facts.rules if facts.rules is None else sorted(facts.rules)
    return format_stamp(stamp, (sorted(facts.addresses), rules))


def make_group(item: Item, networks: Mapping[str, int], config: Config,
               members: Iterable[RemoteMember], facts: str) -> Item:
    """Return a group's item with its flows; `networks` by uuid, `members` are on other hosts."""
    group = config.groups.get(group_of(item), Group())
    return make_item(item.key, item.name, _group_flows(item.key.id, group, networks, members),
                     facts=facts)


def _group_flows(peers: int, group: Group, networks: Mapping[str, int],
                 members: Iterable[RemoteMember]) -> Iterator[Flow]:
    """Yield a group's rules and its members outside this host."""
    yield from rule_flows(peers, group.rules)
    yield from outside_member_flows(peers, group.addresses)
    taken: Dict[Tuple[int, Prefix], RemoteMember] = {}
    for member in sorted(members, key=lambda member: member.mac):
        network = networks.get(member.network)
        if network is None:
            continue
        free = [address for address in sorted(member.addresses)
                if (network, address) not in taken]     # the first VIF that names an address has it
        taken.update(((network, address), member) for address in free)
        yield from remote_member_flows(peers, network, member.mac, free, mac_matches(member.macs))
        if not member.macs:     # with some it is always asked aloud
            yield from asked_aloud_flows(peers, network, member.mac, [
                address for address in free if address in member.shared])
        for address in sorted((member.addresses & member.shared).difference(free)):
            first = taken[network, address]
            if address in first.shared:
                yield from sharing_member_flows(peers, network, first.mac, member.mac, [address])


def group_spread_flows(isolated: IsolatedLinks, group: int) -> Iterator[Flow]:
    """Yield the flows that carry a group's multicast to its members on this host."""
    members: Dict[int, List[Attachment]] = {}
    for network, links in isolated.items():
        found = [one for one in links if group in one.groups]
        if found:
            members[network] = [one.link for one in found]
        if not all([one.enforced for one in found]):
            yield enforced_spread_flow(group, network, [one.link for one in found if one.enforced])
    yield from spread_flows(group, members)
