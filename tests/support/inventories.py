"""Hosts that nobody started: inventories of any size, for what only looks at them."""
import json
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from xsisolate.config.compiled import encode
from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.bridge_snapshot import BridgeSnapshot
from xsisolate.diagnostics.inventory import BridgeView, Inventory, VifView
from xsisolate.diagnostics.matrix import Matrix, make_network
from xsisolate.diagnostics.pool_matrix import HostVifs, make_pool_matrix, parse_host
from xsisolate.diagnostics.status import describe_vif
from xsisolate.diagnostics.vm_lookup import read_places
from xsisolate.dom0.ovs.ovsdb import Bridge
from xsisolate.pipeline.delivery import Topology
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import PlanContext
from xsisolate.planner.drop_counts import Drops
from xsisolate.planner.vif import Attached, Vif, VifPort
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, EffectivePolicy, Group, Mode, Network, Peer, Service
from xsisolate.vif_id import VifId

BRIDGE, UUID = 'xapi3', '00000000-0000-0000-0000-0000000000aa'
NETWORK_FACTS = Network(subnets=frozenset((parse_prefix('10.9.0.0/16'),)))
HOSTILE = ('<script>alert(1)</script>', 'a\nb\x1b[2J\x00', '\u202eevil\u202c', 'שלום עולם',
           'x' * 255, '"&\'<', '漢字の名前', 'e\u0301\u200b\u2028', '')


def isolated(groups: str, allow: Sequence[Peer] = (), address: str = '') -> EffectivePolicy:
    """Return an isolated VIF's policy."""
    return EffectivePolicy(Mode.ISOLATED, frozenset((parse_prefix(address),)),
                           frozenset(groups.split()), frozenset(allow))


def policies(count: int) -> Iterator[Tuple[str, EffectivePolicy]]:
    """Yield names and policies: tenants of all sizes, some odd ones, and who has no policy."""
    tenants = max(2, count // 14)
    external = Peer(None)
    for at in range(count):
        address, kind = '10.9.%d.%d' % (at // 250, at % 250 + 1), at % 20
        tenant = 'tenant-%02d' % (at * at % tenants)
        if at % 40 == 33:
            yield 'lax-%d' % at, isolated(tenant, (external,), address)._replace(permissive=True)
        elif at % 40 == 35:
            yield 'odd-%d' % at, EffectivePolicy(Mode.UNLOCKED, would_be='quarantined: no seal')
        elif kind == 3:
            yield 'printer-%d' % at, EffectivePolicy(Mode.LOCKED, frozenset(
                (parse_prefix(address),)))
        elif kind == 7:
            yield 'old-%d' % at, EffectivePolicy(Mode.UNLOCKED)
        elif kind == 11:
            yield 'stray-%d' % at, EffectivePolicy(
                Mode.QUARANTINED, reason='vm-data has a policy and the VIF no seal')
        elif kind == 13:
            yield 'backup-%d' % at, isolated('backup ' + tenant, address=address)
        elif kind == 17:
            yield 'web-%d' % at, isolated('web', (external,), address)
        else:
            yield '%s-vm%d' % (tenant, at), isolated(
                tenant, (external,) if kind % 2 else (), address)


def make_inventory(named: Sequence[Tuple[str, EffectivePolicy]]) -> Inventory:
    """Return a host with these VMs on one network."""
    config = Config(networks={BRIDGE: NETWORK_FACTS}, groups={
        'web': Group(rules=frozenset((Service('tcp', 443, 443), Service('icmp')))),
        'backup': Group(rules=frozenset((Service('tcp', 9000, 9100),)))})
    context = PlanContext(Topology(uplinks=((1,),)), {}, config)
    bridge = Bridge(BRIDGE, UUID, None, (), False, {}, {}, ())
    views = [view(at + 1, name, policy) for at, (name, policy) in enumerate(named)]
    bare = BridgeSnapshot(bridge, (), {})
    return Inventory(tuple(views), {BRIDGE: BridgeView(bridge, bare, context, {}, '')},
                     Configuration(config))


def view(domid: int, name: str, policy: EffectivePolicy) -> VifView:
    """Return a VIF of a VM."""
    vif = Vif(VifId(domid, 0), '0d9b3f4e-8a4f-2c61-1c5b-%012d' % domid, '02:00:00:00:%02x:%02x' % (
        domid >> 8, domid & 0xff), (Attached(NETWORK, BRIDGE, UUID),), False, policy,
        (VifPort('vif%d.0' % domid, domid + 1),))
    return VifView(vif, name, BRIDGE, BRIDGE, '', 'sealed' if policy.groups else 'none',
                   policy.reason, 26, Drops(domid % 3, domid % 5))


def loners(count: int) -> Iterator[Tuple[str, EffectivePolicy]]:
    """Yield VMs of which each has a policy of its own: it talks to the next two."""
    for at in range(count):
        address = ['10.9.%d.%d' % (number // 250, number % 250 + 1)
                   for number in (at - 2, at - 1, at, at + 1, at + 2)]
        yield 'lone-%d' % at, isolated('', [Peer(parse_prefix(text)) for text in address[:2]
                                            + address[3:] if '-' not in text], address[2])


def make_matrix(count: int, hostile: bool = False, lone: bool = False) -> Matrix:
    """Return the matrix of a host with so many VIFs."""
    named: List[Tuple[str, EffectivePolicy]] = list((loners if lone else policies)(count))
    if hostile:
        named += [(text, isolated('red', address='10.9.200.%d' % (at + 1)))
                  for at, text in enumerate(HOSTILE)]
    inventory = make_inventory(named)
    networks = [make_network(place, inventory.vifs, lambda view: ())
                for place in read_places(inventory).values()]
    return Matrix(tuple(networks), (), inventory.configuration.config.groups, ())


def host_reply(views: Sequence[VifView], config: Config) -> Dict[str, Any]:
    """Return what a host's plugin says of these VIFs, as JSON carries it."""
    reply = {'vifs': [dict(describe_vif(one), mute=one.vif.mute, said=[],
                           networks=[list(network) for network in one.vif.networks])
                      for one in views], 'configuration': encode(config), 'digest': 'ab' * 32,
             'warnings': [], 'code': 0}
    parsed: Dict[str, Any] = json.loads(json.dumps(reply))
    return parsed


def pool_of_hosts(hosts: int, count: int) -> List[HostVifs]:
    """Return what the hosts of a pool say that have so many VIFs together, in turn."""
    inventory = make_inventory(list(policies(count)))
    config = inventory.configuration.config
    return [parse_host('host-%d' % (at + 1), host_reply(inventory.vifs[at::hosts], config))
            for at in range(hosts)]


def make_pool(hosts: int, count: int) -> Matrix:
    """Return the matrix of such a pool."""
    told = pool_of_hosts(hosts, count)
    return make_pool_matrix(told, told[0].config, ())
