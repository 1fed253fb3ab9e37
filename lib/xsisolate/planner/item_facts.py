"""What items must know of each other: the texts in the headers of ports, endpoints and networks.

Nothing else knows how these are written. A hook meets hundreds: to parse all of all endpoints
takes 16 ms for 250 on Python 3.6, so each question parses the words that it is about.
"""
from xsisolate.pipeline.terms import Attachment
from xsisolate.planner.cookie import Key, Kind
from xsisolate.planner.items import Item
from xsisolate.policy.model import ROLES, Mode, Prefix
from xsisolate.typing_compat import (Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple,
                                     Tuple)

TRUNK = 'trunk'
SHARED, LEASED = 's', 'l'       # behind an address
MARKS = SHARED + LEASED
SPECIAL = '+'           # behind the mode, in front of each role and additional MAC address
ARRIVING = 'arriving'
ARRIVED = 'arrived'
PERMISSIVE = 'permissive'       # and what XAPI says of it
LEARNS = '@'            # behind them: its IPv4 addresses are learned, also from answers to all


class NetworkName(NamedTuple):
    """What a network's item is called."""

    bridge: str                         # the network's bridge, fake or real
    uuid: str


class EndpointFacts(NamedTuple):
    """What others must know of an endpoint."""

    mode: str
    vm_uuid: str
    links: Tuple[Attachment, ...]
    groups: Tuple[int, ...]             # ids of the groups that it is a member of
    owners: Mapping[Prefix, int]        # its addresses: of each it is the nth owner
    shared: FrozenSet[Prefix] = frozenset()     # those that it lets others have, too
    roles: FrozenSet[str] = frozenset()
    macs: FrozenSet[str] = frozenset()          # additional ones
    arriving: bool = False              # it has such, and its VM migrates to this host
    leased: FrozenSet[Prefix] = frozenset()     # those that yield to whoever has them fixed
    learns: bool = False
    permissive: str = ''                # it is judged only: what XAPI says of it (beneath_word)

    @property
    def isolated(self) -> bool:
        """Tell whether floods leave it out."""
        return self.mode == Mode.ISOLATED.word and not self.permissive


def format_facts(facts: EndpointFacts) -> str:
    """Return an endpoint's facts as its header holds them."""
    links = ','.join('%d%s' % (link.ofport, 't' * link.tagged) for link in facts.links)
    owners = ','.join('%x.%x.%x.%x%s' % (*address, owner, SHARED if address in facts.shared
                                         else LEASED * (address in facts.leased))
                      for address, owner in sorted(facts.owners.items()))
    mode = SPECIAL.join([facts.mode, *sorted(facts.roles), *sorted(facts.macs),
                         *[ARRIVING] * facts.arriving,
                         *[PERMISSIVE + facts.permissive] * bool(facts.permissive)])
    return ' '.join((mode + LEARNS * facts.learns, facts.vm_uuid, links,
                     ','.join(map(str, facts.groups)), owners))


def parse_facts(endpoint: Item) -> EndpointFacts:
    """Return the facts in an endpoint's header."""
    words, vm_uuid, links, groups, owners = endpoint.facts.split(' ')
    mode, *special = words.rstrip(LEARNS).split(SPECIAL)
    permissive = [word for word in special if word.startswith(PERMISSIVE)]
    return EndpointFacts(
        mode, vm_uuid,
        _parse_links(links),
        tuple(int(group) for group in _words(groups)), dict(_parse_owners(owners)),
        _marked(owners, SHARED), frozenset(special).intersection(ROLES),
        frozenset(special).difference(ROLES, [ARRIVING], permissive), ARRIVING in special,
        _marked(owners, LEASED), LEARNS in words, ''.join(permissive)[len(PERMISSIVE):])


def _marked(owners: str, mark: str) -> FrozenSet[Prefix]:
    """Return the addresses that have a mark."""
    return frozenset([address for word in _words(owners) if word.endswith(mark)
                      for address, _ in _parse_owners(word)])


def _parse_links(text: str) -> Tuple[Attachment, ...]:
    return tuple([Attachment(int(link.rstrip('t')), link.endswith('t')) for link in _words(text)])


def _words(text: str) -> List[str]:
    return text.split(',') if text else []


def _parse_owners(text: str) -> Iterator[Tuple[Prefix, int]]:
    for word in _words(text):
        version, value, length, owner = (int(part, 16) for part in word.rstrip(MARKS).split('.'))
        yield Prefix(version, value, length), owner


def format_port_facts(ofport: int, trunk: bool, arrived: bool = False) -> str:
    """Return a port's facts as its header holds them; `arrived`: its VM came by migration."""
    return '%d %s%s' % (ofport, (ARRIVED + ' ') * arrived, TRUNK * trunk)


def has_arrived(port: Item) -> bool:
    """Tell whether a port's VM came to this host by migration."""
    return ARRIVED in port.facts.split(' ')


def parse_port_facts(port: Item) -> Attachment:
    """Return the facts in a port's header."""
    return Attachment(int(port.facts.split(' ')[0]), port.facts.endswith(TRUNK))


def format_network_name(name: NetworkName) -> str:
    """Return the name of a network's item."""
    return '%s %s' % name


def parse_network_name(network: Item) -> NetworkName:
    """Return what a network's item says in its name."""
    bridge, uuid = network.name.split(' ')
    return NetworkName(bridge, uuid)


def endpoint_name(network: int, mac: str) -> str:
    """Return the name of an endpoint's item."""
    return '%x %s' % (network, mac)


def split_endpoint(endpoint: Item) -> Tuple[int, str]:
    """Return (network, MAC address) of an endpoint."""
    network, mac = endpoint.name.split(' ')
    return int(network, 16), mac


def endpoints(items: Iterable[Item]) -> List[Item]:
    """Return the endpoints among items whose facts are known, in order."""
    return sorted((item for item in items if item.key.kind is Kind.ENDPOINT and item.facts),
                  key=_key)


def _key(item: Item) -> Key:
    return item.key


def ports_of(items: Iterable[Item], endpoint: Key) -> List[Item]:
    """Return the ports that lead to an endpoint, in order."""
    return sorted((item for item in items
                   if item.key.kind is Kind.PORT and endpoint in item.refs), key=_key)


class IsolatedLink(NamedTuple):
    """Where an isolated endpoint is attached."""

    groups: Tuple[int, ...]
    link: Attachment
    enforced: bool              # floods leave it out


IsolatedLinks = Dict[int, List[IsolatedLink]]


def isolated_links(items: Iterable[Item]) -> IsolatedLinks:
    """Return where isolated endpoints are attached, permissive ones too, by network."""
    found: IsolatedLinks = {}
    for item in endpoints(items):
        mode, _, links, groups, _ = item.facts.split(' ')
        words = mode.rstrip(LEARNS).split(SPECIAL)
        if words[0] == Mode.ISOLATED.word:
            network, _ = split_endpoint(item)
            numbers = tuple([int(group) for group in _words(groups)])
            found.setdefault(network, []).extend(
                [IsolatedLink(numbers, link, not words[-1].startswith(PERMISSIVE))
                 for link in _parse_links(links)])
    return found


def learning_networks(items: Iterable[Item]) -> FrozenSet[int]:
    """Return the networks on which IPv4 addresses are learned."""
    return frozenset([split_endpoint(item)[0] for item in items if item.key.kind is Kind.ENDPOINT
                      and LEARNS in item.facts.partition(' ')[0]])


def possible_owners(items: Iterable[Item], addresses: Iterable[Prefix]) -> List[Item]:
    """Return the endpoints whose facts mention one of the addresses; parsing all takes longer."""
    marks = ['%x.%x.%x.' % address for address in addresses]
    return endpoints([item for item in items if any([mark in item.facts for mark in marks])])


def format_owners(items: Iterable[Item], network: int) -> List[str]:
    """Return who owns which addresses on a network, as the headers say it."""
    where = '%x ' % network
    return sorted([item.name + item.facts.rpartition(' ')[2] for item in items
                   if item.key.kind is Kind.ENDPOINT and item.name.startswith(where)])


def has_enforced(items: Iterable[Item], network: int) -> bool:
    """Tell whether a network has a VIF on this host whose policy is not permissive."""
    where = '%x ' % network
    return any([item.key.kind is Kind.ENDPOINT and item.name.startswith(where)
                and PERMISSIVE not in item.facts.partition(' ')[0] for item in items])


def macs_here(items: Iterable[Item], network: int) -> FrozenSet[str]:
    """Return the MAC addresses of a network's endpoints on this host."""
    where = '%x ' % network
    return frozenset([item.name[len(where):] for item in items
                      if item.key.kind is Kind.ENDPOINT and item.name.startswith(where)])


def takes_turns(endpoint: Item) -> bool:
    """Tell whether an endpoint is not the first owner of one of its addresses."""
    owners = endpoint.facts.rpartition(' ')[2]
    return any([word.rstrip(MARKS).rpartition('.')[2] != '0' for word in _words(owners)])
