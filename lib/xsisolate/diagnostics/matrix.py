"""Who may reach whom on this host's networks, as policies say."""
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.diagnostics.ends import End, Place, find_owners, why_inside
from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.permissive import PERMISSIVE_WORD
from xsisolate.diagnostics.vm_lookup import label, read_places, said_addresses
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.policy.admission import EVERYTHING
from xsisolate.policy.model import GATEWAY, EffectivePolicy, Group, Mode, Prefix
from xsisolate.policy.reachability import (Alike, Node, Services, find_alike, find_links,
                                           find_would, outside)
from xsisolate.policy.seal import format_peer
from xsisolate.policy.service import format_rule

EVERYTHING_WORD = 'everything'
Step = Callable[[str], None]
Said = Callable[[VifView], Sequence[Prefix]]    # the addresses that a guest says its VIF has


class NetworkMatrix(NamedTuple):
    """One network: its VIFs, in the order of their sets, and what they may say to each other."""

    place: Place
    views: Tuple[VifView, ...]
    links: Tuple[Mapping[int, Services], ...]
    outside: Tuple[Services, ...]
    sets: Tuple[Alike, ...]
    would: Tuple[Mapping[int, Services], ...]   # what policies say, where VIFs are permissive
    would_outside: Tuple[Services, ...]
    refused: Tuple[Mapping[int, int], ...] = ()     # frames in the last hour, by receiver
    passed: Tuple[Mapping[int, int], ...] = ()      # those that would be refused, were it enforced

    def refusals(self, sender: int, receiver: int) -> int:
        """Return how many frames of one VIF to another were refused in the last hour."""
        return self.refused[sender].get(receiver, 0) if self.refused else 0

    def less_outside(self, at: int) -> Optional[Services]:
        """Return what a VIF's policy lets pass outside, if more passes; else None."""
        return None if self.outside[at] == self.would_outside[at] else self.would_outside[at]


class Matrix(NamedTuple):
    """This host's networks."""

    networks: Tuple[NetworkMatrix, ...]
    homeless: Tuple[VifView, ...]       # on no network
    groups: Mapping[str, Group]
    warnings: Tuple[str, ...]


def read_matrix(inventory: Inventory, store: Xenstore, warnings: Sequence[str],
                step: Step = lambda name: None) -> Matrix:
    """Return who may reach whom."""
    networks: List[NetworkMatrix] = []
    for (bridge, number), place in sorted(read_places(inventory).items()):
        step(place.name)
        views = [view for view in inventory.vifs if view.bridge == bridge and any(
            network.network == number for network in view.vif.networks)]
        networks.append(make_network(place, views, lambda view: said_addresses(view, store)))
    return Matrix(tuple(networks), tuple(view for view in inventory.vifs
                                         if not view.vif.networks),
                  inventory.configuration.config.groups, tuple(warnings))


def make_network(place: Place, views: Sequence[VifView], said: Said) -> NetworkMatrix:
    """Return one network's matrix, its VIFs sorted by sets."""
    nodes = [_node(place, view, said) for view in views]
    links = find_links(nodes, place.groups)
    would = find_would(nodes, links, place.groups)
    sets = find_alike(nodes, links, would)
    order = [at for alike in sets for at in alike.members]
    place_of = {at: number for number, at in enumerate(order)}
    return NetworkMatrix(
        place, tuple(views[at] for at in order),
        tuple(_moved(links[at], place_of) for at in order),
        tuple(outside(nodes[at], place.groups) for at in order),
        tuple(alike._replace(members=tuple(place_of[at] for at in alike.members))
              for alike in sets),
        tuple(_moved(would[at], place_of) for at in order),
        tuple(outside(nodes[at].enforced(), place.groups) for at in order))


def _moved(row: Mapping[int, Services], place_of: Mapping[int, int]) -> Dict[int, Services]:
    return {place_of[other]: services for other, services in row.items()}


def _node(place: Place, view: VifView, said: Said) -> Node:
    name, policy = label(view), view.vif.policy
    if policy.mode is not Mode.UNLOCKED:
        return Node(name, policy, tuple(sorted(policy.addresses)),
                    policy.addresses if GATEWAY in policy.roles else frozenset())
    # An unmanaged VIF is known by its addresses alone, and not by those of others.
    own = [address for address in said(view) if not find_owners(place, address)]
    return Node(name, policy, tuple(own), frozenset(
        address for address in own if not why_inside(place, End(name, address, view.vif.mac))))


def words(services: Services) -> List[str]:
    """Return services as people write them."""
    return [EVERYTHING_WORD] if EVERYTHING in services else sorted(map(format_rule, services))


def title(network: NetworkMatrix, alike: Alike) -> str:
    """Return what to call a set of VIFs that are alike."""
    policy = network.views[alike.members[0]].vif.policy
    would = ', would be ' + policy.would_be.partition(':')[0] if policy.would_be else ''
    return _policy_title(policy) + (', ' + PERMISSIVE_WORD) * policy.permissive + would


def _policy_title(policy: EffectivePolicy) -> str:
    if policy.mode is Mode.ISOLATED:
        if policy.groups:
            return ' + '.join(sorted(policy.groups))
        allow = sorted(map(format_peer, policy.allow))
        return 'no group, allow ' + (allow[0] + ' ...' * (len(allow) > 1) if allow else 'nothing')
    return {Mode.UNLOCKED: 'unmanaged'}.get(policy.mode, policy.mode.word)


def describe(matrix: Matrix) -> Dict[str, Any]:
    """Return a matrix as JSON has it; what is not named under `reaches` is not reached.

    `would_reach` has what policies say where more passes, for a VIF is permissive.
    """
    return {'networks': [_describe(network) for network in matrix.networks],
            'on_no_network': [view.name for view in matrix.homeless],
            'not_protected': [view.name for view in matrix.homeless if view.unprotected],
            'warnings': list(matrix.warnings)}


def _describe(network: NetworkMatrix) -> Dict[str, Any]:
    return {'network': network.place.name, 'bridge': network.place.bridge,
            'vlan': network.place.number & 0xfff,
            'vifs': [{'vif': view.name, 'vm': view.vif.vm_uuid or None, 'name': view.vm_name,
                      'mode': view.vif.policy.mode.word, 'seal': view.seal,
                      'permissive': view.vif.policy.permissive,
                      'would_be': view.vif.policy.would_be or None,
                      'groups': sorted(view.vif.policy.groups),
                      'additional_macs': sorted(view.vif.policy.macs),
                      'outside': words(network.outside[at]),
                      'reaches': {network.views[other].name: words(services)
                                  for other, services in sorted(network.links[at].items())
                                  if other != at},
                      'would_reach': {network.views[other].name: words(services)
                                      for other, services in sorted(network.would[at].items())
                                      if other != at},
                      'would_outside': None if network.less_outside(at) is None
                      else words(network.would_outside[at]),
                      'refused': _frames(network, network.refused, at),
                      'would_be_refused': _frames(network, network.passed, at)}
                     for at, view in enumerate(network.views)]}


def _frames(network: NetworkMatrix, counts: Sequence[Mapping[int, int]],
            at: int) -> Optional[Dict[str, int]]:
    return {network.views[other].name: frames
            for other, frames in sorted(counts[at].items())} if counts else None
