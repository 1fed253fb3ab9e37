"""What to add to an allow list so that it admits what was refused: the fewest entries, no wider.

Addresses are folded into networks only where all of a network was wanted; services stay with the
peers that used them. An address outside is `external` only if a gateway carried its packets, and
only where there are many: the word means every address outside. A service with a direction keeps
it, unless the other end of the same peer has begun, too.
"""
from xsisolate.policy.address import contains, fold
from xsisolate.policy.model import EITHER, Peer, Prefix, Service
from xsisolate.typing_compat import (AbstractSet, Dict, FrozenSet, Iterable, List, NamedTuple,
                                     Optional, Tuple)

OUTSIDE_MAX = 8         # addresses outside, of one service, beyond which `external` is proposed


class Want(NamedTuple):
    """What one policy has refused: a peer, and what was said."""

    peer: Prefix
    service: Optional[Service]      # None: only ARP or neighbour discovery was seen
    outside: bool = False           # a gateway carried it, from or to an address outside


def suggest_entries(wants: Iterable[Want], allow: AbstractSet[Peer],
                    subnets: Iterable[Prefix] = ()) -> FrozenSet[Peer]:
    """Return the entries that an allow list lacks; `subnets`: admit each as a whole, if any of it.

    Who resolves an address will say more, which was not seen yet: it needs an entry at all.
    """
    subnets = list(subnets)
    by_service: Dict[Service, List[Want]] = {}
    only_resolved: List[Want] = []
    for want in sorted(_merged(wants), key=_order):
        if want.service is None:
            only_resolved.append(want)
        else:
            by_service.setdefault(want.service, []).append(want)
    found = set()
    for service, some in by_service.items():
        found |= {Peer(prefix, service) for prefix in _prefixes(some, subnets)}
    missing = [want for want in only_resolved
               if not any(_means(peer, want) for peer in (*found, *allow))]
    found |= {Peer(prefix) for prefix in _prefixes(missing, subnets)}
    return frozenset(found) - allow


def _merged(wants: Iterable[Want]) -> AbstractSet[Want]:
    """Return wants without a direction where both ends of one peer have begun."""
    begun: Dict[Want, List[Want]] = {}
    for want in wants:
        plain = want if want.service is None else want._replace(
            service=want.service._replace(direction=EITHER))
        begun.setdefault(plain, []).append(want)
    return {one if len(set(some)) > 1 else some[0] for one, some in begun.items()}


def _prefixes(wants: List[Want], subnets: List[Prefix]) -> List[Optional[Prefix]]:
    """Return the networks that hold the peers, None for all that is outside."""
    outside = {want.peer for want in wants if want.outside}
    everywhere = len(outside) > OUTSIDE_MAX
    peers = [want.peer for want in wants if not (everywhere and want.outside)]
    widened = [next((net for net in subnets if contains(net, peer)), peer) for peer in peers]
    found: List[Optional[Prefix]] = [*fold(widened)]
    return [*found, None] if everywhere else found


def _means(peer: Peer, want: Want) -> bool:
    """Tell whether an entry means a want's peer."""
    return want.outside if peer.prefix is None else contains(peer.prefix, want.peer)


def _order(want: Want) -> Tuple[Prefix, str]:
    return want.peer, str(want.service)
