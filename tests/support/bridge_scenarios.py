"""The scenarios whose flows are golden files; the tests on a real switch load them too.

A scenario is a bridge, what the configuration says, and the VIFs on it.
"""
from typing import FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.openflow.flow import Flow
from xsisolate.pipeline.delivery import Topology
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.address_owners import wanted_addresses
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.items import Items, Registry, header_flow, parse_registry
from xsisolate.planner.plan import Plan, draft_plan, finish_plan
from xsisolate.planner.vif import Attached, Vif, VifPort
from xsisolate.policy.address import eui64_link_local, parse_prefix
from xsisolate.policy.model import (HOLDERS, LEASED4, LEASED6, Config, EffectivePolicy, Gateway,
                                    Group, Locking, Mode, Network, Prefix, RemoteMember, Source)
from xsisolate.policy.service import parse_service
from xsisolate.policy.vmdata_parser import parse_peer
from xsisolate.vif_id import VifId

from support.ofctl_text import format_add

BRIDGE = 'xenbr0'
UPLINK, BOND = ((1,),), ((1, 2),)
GATEWAY_MAC = '00:00:5e:00:01:01'
TAPS_FROM = 500         # a tap's port has its VIF's number and this

UNLOCKED, LOCKED, ISOLATED, DISABLED, QUARANTINED = Mode


class Around(NamedTuple):
    """What a plan depends on beside its VIFs."""

    topology: Topology
    ofports: Mapping[str, int]
    config: Config
    # By group, on other hosts; None: not read.
    members: Mapping[str, Optional[Tuple[RemoteMember, ...]]] = {}
    stamp: str = ''                                 # of all groups' members
    thorough: bool = True


def plan_bridge(registry: Registry, vifs: Iterable[Vif], around: Around) -> Plan:
    """Return a plan; what dataplane.planning reads of members on other hosts is given."""
    vifs = list(vifs)
    claims = {group: tuple(member for member in around.members.get(group) or ()
                           if member.addresses & addresses)
              for group, addresses in wanted_addresses(registry, vifs).items()}
    draft = draft_plan(registry, vifs, PlanContext(around.topology, around.ofports, around.config,
                                                   around.thorough, claims))
    return finish_plan(draft, {group: GroupInput(around.stamp, around.members.get(group, ()))
                               for group in draft.groups})


class Scenario(NamedTuple):
    """What is on a bridge."""

    vifs: Tuple[Vif, ...]
    around: Around

    def plan(self, registry: Optional[Registry] = None) -> Items:
        """Return the items that the bridge should carry."""
        return self.plan_whole(registry).items

    def plan_whole(self, registry: Optional[Registry] = None) -> Plan:
        """Return the plan: items, and what became of the VIFs."""
        return plan_bridge(registry or {}, self.vifs, self.around)


def prefixes(text: str) -> FrozenSet[Prefix]:
    """Return the addresses and networks in a text."""
    return frozenset(map(parse_prefix, text.split()))


def mac_of(number: int) -> str:
    """Return a VIF's MAC address."""
    return '02:00:00:00:%02x:%02x' % (number >> 8, number & 0xff)


def network_uuid(tag: int) -> str:
    """Return the uuid of a VLAN's network."""
    return '00000000-0000-4000-8000-%012d' % tag


def make_policy(mode: Mode = ISOLATED, own: str = '', groups: str = '',
                allow: str = '', shared: str = '') -> EffectivePolicy:
    """Return an effective policy from its words as vm-data writes them."""
    return EffectivePolicy(mode, prefixes(own) | prefixes(shared), frozenset(groups.split()),
                           frozenset(map(parse_peer, allow.split())), shared=prefixes(shared))


def make_vif(number: int, mode: Mode = ISOLATED, own: str = '', groups: str = '',
             allow: str = '', tag: int = 0, tap: bool = False,
             trunks: Tuple[int, ...] = (), shared: str = '') -> Vif:
    """Return a VIF: domain, MAC address and ofport have the same number."""
    policy = make_policy(mode, own, groups, allow, shared)
    if ':' in own + shared and mode in (LOCKED, ISOLATED):
        policy = policy._replace(
            addresses=policy.addresses | {eui64_link_local(mac_of(number))})
    ports = [VifPort('vif%d.0' % number, number)]
    if tap:
        ports.append(VifPort('tap%d.0' % number, TAPS_FROM + number))
    return Vif(VifId(number, 0), '00000000-0000-4000-9000-%012d' % number, mac_of(number),
               tuple(map(attached, trunks or (tag,))), bool(trunks), policy, tuple(ports))


def judged_only(vif: Vif, locked: str = '') -> Vif:
    """Return a VIF as a permissive one; `locked`: the addresses to which XAPI locks it."""
    return vif._replace(policy=vif.policy._replace(permissive=True), locking=Locking(
        LOCKED, prefixes(locked)) if locked else Locking())


def attached(tag: int) -> Attached:
    """Return the network of a VLAN."""
    return Attached(NETWORK | tag, 'xapi%d' % tag if tag else BRIDGE, network_uuid(tag))


def tag_of(vif: Vif) -> Optional[int]:
    """Return the VLAN of an access port."""
    return None if vif.trunk else vif.networks[0].network & 0xfff or None


def make_scenario(vifs: Iterable[Vif] = (), uplinks: Tuple[Tuple[int, ...], ...] = UPLINK,
                  networks: Mapping[str, Network] = {}, groups: Mapping[str, Group] = {},
                  members: Mapping[str, Optional[List[RemoteMember]]] = {},
                  snooping: bool = False) -> Scenario:
    """Return a scenario; `networks` go by bridge name, `members` by group."""
    vifs = tuple(vifs)
    ofports = {port.name: port.ofport for vif in vifs for port in vif.ports}
    others = sorted([('LOCAL', None)] + [(str(port.ofport), tag_of(vif))
                                         for vif in vifs for port in vif.ports], key=str)
    config = Config(networks=networks, groups=groups)
    return Scenario(vifs, Around(Topology(uplinks, tuple(others), snooping), ofports, config, {
        group: None if found is None else tuple(found) for group, found in members.items()}))


def member(number: int, own: str, tag: int = 0) -> RemoteMember:
    """Return a VIF of another host."""
    return RemoteMember(network_uuid(tag), '02:00:00:00:f0:%02x' % number,
                        prefixes(own))


def single(text: str) -> Prefix:
    """Return one address."""
    return parse_prefix(text)


def gateway(ipv4: str = '10.9.0.254', ipv6: str = 'fd00:9::1', mac: str = '') -> Gateway:
    """Return a gateway with both families."""
    return Gateway(single(ipv4), single(ipv6), mac or None)


def subnets(*gateways: Gateway, dhcp: str = '') -> Network:
    """Return the network of the scenarios' addresses."""
    return Network(subnets=prefixes('10.9.0.0/24 fd00:9::/64'),
                   gateways=gateways, dhcp_servers=prefixes(dhcp))


def rules(text: str) -> Group:
    """Return a group whose members may say only this."""
    return Group(rules=frozenset(map(parse_service, text.split())))


def holding(vif: Vif, *roles: str) -> Vif:
    """Return a VIF that holds roles."""
    return vif._replace(policy=vif.policy._replace(roles=frozenset(roles)))


def also_by(vif: Vif, *macs: str) -> Vif:
    """Return a VIF with additional MAC addresses."""
    return vif._replace(policy=vif.policy._replace(macs=frozenset(macs)))


def learning(vif: Vif, leased: str = '', sources: Iterable[Source] = (LEASED4, LEASED6)) -> Vif:
    """Return a VIF that owns what it is leased, too."""
    found = prefixes(leased)
    return vif._replace(policy=vif.policy._replace(
        addresses=vif.policy.addresses | found, sources=frozenset(sources), leased=found))


RED = [make_vif(11, own='10.9.0.11 fd00:9::11', groups='red'),
       make_vif(12, own='10.9.0.12 fd00:9::12', groups='red')]
BLUE = [make_vif(13, own='10.9.0.13 fd00:9::13', groups='blue'),
        make_vif(14, own='10.9.0.14 fd00:9::14', groups='blue')]

SCENARIOS = {
    'locked-v4': make_scenario([make_vif(11, LOCKED, '10.9.0.11')]),
    'isolated-group': make_scenario(RED),
    'two-groups': make_scenario(RED + BLUE + [
        make_vif(15, own='10.9.0.15', groups='red blue')]),
    'allow': make_scenario([
        make_vif(11, own='10.9.0.11 fd00:9::11',
                 allow='10.9.0.12 tcp/5432@10.9.0.0/28 udp/53@fd00:9::12 icmp@10.9.0.12 '
                       'tcp/8000-8100@external icmp6@external udp@10.8.0.0/16'),
        make_vif(12, own='10.9.0.12 fd00:9::12', allow='external'),
        make_vif(13, own='10.9.0.13', allow='external')], networks={BRIDGE: subnets()}),
    'disabled': make_scenario([make_vif(11, DISABLED)]),
    'quarantined': make_scenario([make_vif(11, QUARANTINED), RED[1]]),
    'vlan': make_scenario([make_vif(11, own='10.9.0.11', groups='red', tag=10),
                           make_vif(12, own='10.9.0.11', groups='red', tag=20),
                           make_vif(13, own='10.9.0.11', groups='red')]),
    'hvm': make_scenario([make_vif(11, own='10.9.0.11', groups='red', tap=True)]),
    'remote': make_scenario(
        RED[:1], members={'red': [member(1, '10.9.0.101 fd00:9::101'),
                                  member(2, '10.9.0.102'),
                                  member(3, '10.9.0.103', tag=99)]},
        groups={'red': Group(addresses=prefixes('10.9.0.40 10.9.1.0/28'))}),
    'gateway-mac': make_scenario(
        [make_vif(11, own='10.9.0.11 fd00:9::11', allow='external')],
        networks={BRIDGE: subnets(gateway(mac=GATEWAY_MAC))}),
    'gateway': make_scenario(
        [make_vif(11, own='10.9.0.11 fd00:9::11', allow='external')],
        networks={BRIDGE: subnets(gateway())}),
    'dhcp-servers': make_scenario(
        RED[:1], networks={BRIDGE: subnets(dhcp='10.9.0.2 fd00:9::2')}),
    'group-rules': make_scenario(
        RED, groups={'red': rules('tcp/22 tcp/443 udp/53 udp/8000-8100 icmp icmp6')}),
    'reach': make_scenario(RED + BLUE, groups={'red': Group(reach=frozenset(['blue', 'green'])),
                                               'blue': Group(reach=frozenset(['red']))}),
    'trunk': make_scenario([make_vif(11, own='10.9.0.11', groups='red', trunks=(0, 10, 20)),
                            make_vif(12, own='10.9.0.12', groups='red', tag=10)]),
    'shared-address': make_scenario([
        make_vif(11, own='10.9.0.11', shared='10.9.0.100 fd00:9::100', groups='red'),
        make_vif(12, own='10.9.0.12', shared='10.9.0.100 fd00:9::100', groups='red')]),
    'arriving': make_scenario([RED[0]._replace(arriving=True), RED[1]]),
    'bond': make_scenario(RED[:1], uplinks=BOND),
    'two-uplinks': make_scenario(RED[:1], uplinks=((1,), (2, 3))),
    'roles-here': make_scenario([
        RED[0], holding(make_vif(12, LOCKED, '10.9.0.12 fd00:9::12'), 'gateway', 'router'),
        holding(make_vif(13, own='10.9.0.13 fd00:9::13'), 'gateway', 'dhcp', 'router')],
        networks={BRIDGE: subnets()}),
    'roles-arriving': make_scenario([
        RED[0], holding(make_vif(12, own='10.9.0.12'), 'dhcp')._replace(arriving=True)]),
    'roles-elsewhere': make_scenario(RED[:1], networks={BRIDGE: subnets()}, members={HOLDERS: [
        member(1, '10.9.0.101')._replace(roles=frozenset(['gateway', 'router'])),
        member(2, '10.9.0.102')._replace(roles=frozenset(['dhcp'])),
        member(3, '10.9.0.103', tag=99)._replace(roles=frozenset(['dhcp']))]}),
    'macs-here': make_scenario([
        RED[0], also_by(make_vif(12, own='10.9.0.12', shared='10.9.0.1', groups='red'),
                        '00:00:5e:00:01:05'),
        also_by(make_vif(13, own='10.9.0.13', shared='10.9.0.1', groups='red', tap=True),
                '00:00:5e:00:01:05'), also_by(make_vif(14, LOCKED, '10.9.0.14', tag=10), 'vrrp')],
        networks={'xapi10': subnets(gateway(mac=GATEWAY_MAC))}),
    'macs-elsewhere': make_scenario(
        [RED[0], also_by(make_vif(12, own='10.9.0.12', shared='10.9.0.1', groups='red'),
                         '00:00:5e:00:01:05')], members={
            group: [member(1, '10.9.0.101 10.9.0.1')._replace(
                shared=prefixes('10.9.0.1'), macs=frozenset(['00:00:5e:00:01:05']))]
            for group in ('red', HOLDERS)}),
    'macs-of-a-router': make_scenario(RED[:1], members={HOLDERS: [
        member(1, '10.9.0.101')._replace(roles=frozenset(['gateway']), macs=frozenset(
            ['00:00:5e:00:01:05', 'vrrp'][number:number + 1])) for number in (0, 1)]}),
    'leased': make_scenario([
        learning(make_vif(11, own='fd00:9::11', groups='red'), '10.9.0.71 fd00:9::d:47'),
        learning(make_vif(12, own='10.9.0.12', groups='red', tap=True), sources=[LEASED4]),
        learning(make_vif(13, LOCKED, own='fe80::13'), '10.9.0.73')],
        networks={BRIDGE: subnets(dhcp='10.9.0.2')}),
    'leased-trunk': make_scenario([
        learning(make_vif(11, groups='red', trunks=(0, 10)), '10.9.0.71', [LEASED4])]),
    'no-uplink': make_scenario(RED[:1], uplinks=(), snooping=True),
    'permissive': make_scenario([
        RED[0], judged_only(RED[1]),
        judged_only(make_vif(13, own='10.9.0.13', shared='10.9.0.1', groups='red', tap=True)),
        judged_only(make_vif(14, own='10.9.0.14'), '10.9.0.14 10.9.0.15'),
        judged_only(make_vif(15, LOCKED, own='10.9.0.16')),
        judged_only(also_by(holding(make_vif(16, own='10.9.0.17'), 'gateway', 'dhcp'),
                            '00:00:5e:00:01:05')),
        judged_only(make_vif(17, own='10.9.0.18', groups='red', trunks=(0, 10)))],
        networks={BRIDGE: subnets(gateway(mac=GATEWAY_MAC))}),
    'all-permissive': make_scenario([
        judged_only(RED[0])._replace(arriving=True),
        judged_only(learning(make_vif(12, groups='red'), '10.9.0.71 fd00:9::d:47'))],
        networks={BRIDGE: subnets(gateway(mac=GATEWAY_MAC))}),
}


def flows_of(items: Items) -> List[Flow]:
    """Return the flows that items put on a switch, headers too, in order."""
    return sorted([flow for item in items.values() for flow in item.flows or ()]
                  + [header_flow(item) for item in items.values()])


def registry_of(items: Items) -> Registry:
    """Return what a hook that comes later knows of these items."""
    return parse_registry(header_flow(item) for item in items.values())


def golden_text(items: Items) -> str:
    """Return the flows of items as a file: an item's header, then its flows."""
    lines = []
    for key, item in sorted(items.items()):
        refs = ' '.join('%s:%x' % (ref.kind.name.lower(), ref.id) for ref in item.refs)
        lines += ['', '# %s:%x | %s | %s | %s' % (key.kind.name.lower(), key.id, item.name,
                                                  refs, item.facts)]
        lines += [format_add(flow)[len('add '):] for flow in sorted(item.flows or ())]
    return '\n'.join(lines[1:]) + '\n'
