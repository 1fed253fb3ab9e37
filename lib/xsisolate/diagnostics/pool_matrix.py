"""The matrix of a whole pool, of what each host's plugin has said of its VIFs: values in and out.

Hosts of other releases say more or less: what is more is passed over, and a host that says less is
one whose answer cannot be read.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.config.compiled import decode
from xsisolate.diagnostics.ends import Place
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.matrix import Matrix, NetworkMatrix, make_network
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.errors import PolicyError
from xsisolate.planner.drop_counts import Drops
from xsisolate.planner.vif import UNNAMED, Attached, Vif
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, EffectivePolicy, Mode, Prefix
from xsisolate.policy.resolve import find_network
from xsisolate.policy.vmdata_parser import parse_peer
from xsisolate.vif_id import VifId


class HostVifs(NamedTuple):
    """What one host says."""

    host: str
    views: Tuple[VifView, ...]
    said: Mapping[str, Tuple[Prefix, ...]]      # addresses that guests say they have, by VIF
    config: Config
    digest: str
    warnings: Tuple[str, ...]
    code: int


def parse_host(host: str, reply: Any) -> HostVifs:
    """Return a host's answer; raise ValueError if it cannot be read."""
    try:
        config = decode(reply['configuration'])
        if not isinstance(config, Config):
            raise ValueError('configuration: not one')
        views = tuple(_parse_view(host, vif) for vif in reply['vifs'])
        said = {view.name: tuple(map(parse_prefix, vif['said']))
                for view, vif in zip(views, reply['vifs'])}
        return HostVifs(host, views, said, config, str(reply['digest']),
                        tuple(map(str, reply['warnings'])), int(reply['code']))
    except (KeyError, TypeError, AttributeError, PolicyError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None


def _parse_view(host: str, data: Mapping[str, Any]) -> VifView:
    policy = EffectivePolicy(
        Mode[data['mode'].upper()], _addresses(data['addresses']), frozenset(data['groups']),
        frozenset(map(parse_peer, data['allow'])), '', _addresses(data['shared']),
        roles=frozenset(data['roles']), permissive=bool(data['permissive']),
        would_be=str(data['would_be'] or ''))
    vif = Vif(VifId(int(data['domid']), int(data['devid'])), str(data['vm'] or ''),
              str(data['mac'] or ''), tuple(Attached(int(number), str(bridge), str(uuid))
                                            for number, bridge, uuid in data['networks']),
              policy=policy, mute=str(data['mute']))
    drops = (Drops(int(data['spoofed']), int(data['isolated']))
             if data['spoofed'] is not None else None)
    return VifView(vif, str(data['name']), str(data['parent_bridge'] or ''),
                   str(data['bridge'] or ''), str(data['vif_uuid'] or ''), str(data['seal']),
                   str(data['error'] or ''), int(data['flows']), drops, host=host)


def _addresses(texts: Sequence[str]) -> Any:
    return frozenset(map(parse_prefix, texts))


def make_pool_matrix(hosts: Sequence[HostVifs], config: Config,
                     warnings: Sequence[str]) -> Matrix:
    """Return who may reach whom in a pool, by one configuration."""
    views = [view for host in hosts for view in host.views]
    said: Dict[str, Tuple[Prefix, ...]] = {}
    for host in hosts:
        said.update(host.said)
    networks: List[NetworkMatrix] = []
    for _, found in sorted(_find_networks(views).items()):
        attached = found[0][1]
        on_it = [view for view, _ in found]
        place = Place(on_it[0].bridge, attached.bridge, attached.network_uuid, attached.network,
                      find_network(config, attached.bridge, attached.network_uuid), config.groups,
                      tuple((label(view), view.vif) for view in on_it), {})
        networks.append(make_network(place, on_it, lambda view: said.get(view.name, ())))
    return Matrix(tuple(networks), tuple(view for view in views if not view.vif.networks),
                  config.groups, tuple(warnings))


def _find_networks(views: Sequence[VifView]) -> Dict[str, List[Tuple[VifView, Attached]]]:
    """Return the VIFs on each network; one without a uuid is its host's own."""
    found: Dict[str, List[Tuple[VifView, Attached]]] = {}
    for view in views:
        for attached in view.vif.networks:
            key = attached.bridge + ' ' + attached.network_uuid
            if attached.network_uuid == UNNAMED:
                key += ' ' + view.host
            if attached.network & 0xfff:
                key += ' %d' % (attached.network & 0xfff)
            found.setdefault(key, []).append((view, attached))
    return found
