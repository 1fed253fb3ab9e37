"""VIFs on one bridge, and packets between them with what should become of each.

Nothing is sent: `ofproto/trace` says where a packet would come out.
"""
from support.bridge_scenarios import (DISABLED, GATEWAY_MAC, ISOLATED, LOCKED, QUARANTINED, gateway,
                                      mac_of, make_scenario, make_vif, member, prefixes, rules,
                                      subnets)
from support.bridge_scenarios import tag_of as access_tag
from support.dummy_switch import load
from xsisolate.dom0.ovs import flow_table
from xsisolate.policy.address import contains, parse_prefix
from xsisolate.policy.model import Gateway, Group, Mode, Network
from xsisolate.policy.service import parse_service

ETH0, ETH1, UNMANAGED, STRANGER = 1, 2, 19, 99      # STRANGER: a port without a hook
LOCAL = 65534
VLAN, BARE = 10, 20
BROADCAST, NOBODY = 'ff:ff:ff:ff:ff:ff', '02:00:00:00:ee:ee'
REMOTE, OUTSIDER, ROGUE = '02:00:00:00:f0:01', '02:00:00:00:aa:40', '02:00:00:00:aa:66'
GATEWAY10 = '00:00:5e:00:01:0a'
UNKNOWN4, UNKNOWN6 = '192.0.2.1', '2001:db8::1'


def own(number, tag=0):
    """Return a VIF's addresses."""
    return '10.9.%d.%d fd00:%d::%d' % (tag, number, 9 + tag, number)


def vif(number, mode=ISOLATED, groups='', allow='', tag=0):
    """Return a VIF with both families."""
    return make_vif(number, mode, own(number, tag), groups, allow, tag)


VIFS = [
    vif(11, groups='red'), vif(12, groups='red'), vif(13, groups='blue'), vif(14, groups='blue'),
    vif(15, groups='red blue'),
    vif(16, allow='tcp/80@10.9.0.17 udp/53@10.9.0.17 10.9.0.18 tcp/80@fd00:9::17 fd00:9::18 '
                  'external'),
    vif(17, allow='10.9.0.16 fd00:9::16 icmp@10.9.0.0/27'),
    vif(18, LOCKED), vif(20, DISABLED), vif(21, QUARANTINED),
    vif(22, groups='web'), vif(23, groups='db'), vif(24),
    vif(25, allow='10.9.0.19 fd00:9::19 10.9.0.60 tcp/22@fd00:9::60 udp/53@10.9.0.61'),
    vif(26, allow='10.9.0.13 fd00:9::13'),
    vif(31, groups='red', tag=VLAN), vif(32, groups='red', tag=VLAN),
    vif(33, allow='external', tag=VLAN)] + [
    make_vif(number, own=own(number), shared='10.9.0.100 fd00:9::100', groups='vrrp')
    for number in (41, 42, 43, 44)] + [
    vif(45, groups='vrrp'), vif(46, groups='tight'), vif(47, groups='tight'),
    vif(48, groups='red', allow='10.9.0.0/24 fd00:9::/64 fe80::/10'),
    # on a network of which the configuration says nothing
    vif(51, groups='red', tag=BARE), vif(52, groups='red', tag=BARE),
    make_vif(53, LOCKED, '0.0.0.0/0 ::/0', tag=BARE)]
BY_NUMBER = {vif.id.domid: vif for vif in VIFS}
HIDDEN = [vif.id.domid for vif in VIFS if vif.policy.mode is not LOCKED]
MATRIX = [vif.id.domid for vif in VIFS if vif.id.domid != 53]
GROUPS = {'blue': rules('tcp/22 udp/53 udp/8000-8100 icmp icmp6'),
          'red': Group(addresses=prefixes('10.9.0.40 fd00:9::40')),
          'tight': rules('tcp/5432'),
          'web': Group(reach=frozenset(['db'])),
          'db': Group(reach=frozenset(['web']), rules=frozenset([parse_service('tcp/5432')]))}
NETWORK10 = Network(subnets=prefixes('10.9.10.0/24 fd00:19::/64'),
                    gateways=(Gateway(parse_prefix('10.9.10.254'), parse_prefix('fd00:19::1')),),
                    dhcp_servers=prefixes('10.9.10.2 fd00:19::2'))


def town(name, arriving=()):
    """Return the scenario on a bridge of this name; `arriving` VIFs migrate to this host."""
    return make_scenario(
        [one._replace(arriving=one.id.domid in arriving, networks=tuple(
            net._replace(bridge=name if net.bridge == 'xenbr0' else net.bridge)
            for net in one.networks)) for one in VIFS],
        uplinks=((ETH0, ETH1),), groups=GROUPS,
        networks={name: subnets(gateway(mac=GATEWAY_MAC)), 'xapi10': NETWORK10},
        members={'red': [member(1, '10.9.0.101 fd00:9::101')]})


def build(switch, arriving=()):
    """Put up the town on a switch; return the bridge and its scenario."""
    bridge = switch.add_bridge()
    switch.vsctl('add-bond', bridge, 'bond0', 'eth0', 'eth1', 'bond_mode=active-backup', '--',
                 'set', 'Interface', 'eth0', 'ofport_request=1', '--',
                 'set', 'Interface', 'eth1', 'ofport_request=2')
    switch.ask('bond/set-active-slave', 'bond0', 'eth0')
    switch.add_ports(bridge, [('vif%d.0' % one.id.domid, one.id.domid, access_tag(one))
                              for one in VIFS] + [('vif19.0', UNMANAGED, None),
                                                  ('stranger', STRANGER, None)])
    scenario = town(bridge, arriving)
    topology = scenario.around.topology
    others = topology.others + ((str(UNMANAGED), None),)
    scenario = scenario._replace(around=scenario.around._replace(
        topology=topology._replace(others=others)))
    load(bridge, scenario.plan())
    flow_table.set_no_flood(bridge, HIDDEN, True)
    return bridge, scenario


def settle(switch, bridge):
    """Let everybody speak once, so that the switch learns where they are."""
    for one in VIFS:
        if one.policy.mode <= ISOLATED:
            switch.trace(bridge, arp(one.id.domid, one.id.domid), '-generate')
    switch.trace(bridge, arp(UNMANAGED, UNMANAGED), '-generate')
    switch.trace(bridge, arp(ETH0, '10.9.10.99', src=GATEWAY10, spa='10.9.10.254', vlan=VLAN),
                 '-generate')


# --- packets ---------------------------------------------------------------------------------


def tag_of(number):
    """Return the VLAN that a machine is on."""
    return VLAN if 31 <= number < 40 else BARE if 51 <= number < 60 else 0


def address(number, version=4):
    """Return an address of a VIF, or of the unmanaged one."""
    return own(number, tag_of(number)).split()[version == 6]


def eth(port, dst, src=None, vlan=0):
    """Return the Ethernet part of a packet."""
    text = 'in_port=%d,dl_src=%s,dl_dst=%s' % (port, src or mac_of(port),
                                              dst if isinstance(dst, str) else mac_of(dst))
    return text + (',dl_vlan=%d' % vlan if vlan else '')


def ip(link, what, src, dst):
    """Return an IP packet: what is icmp, tcp/22, tcp/22- (its reply), udp/53, udp/53-."""
    six = ':' in src
    protocol, _, port = what.partition('/')
    text = '%s,%s%s' % (link, protocol, '6' if six else '')
    text += ',%s=%s,%s=%s' % ('ipv6_src' if six else 'nw_src', src,
                              'ipv6_dst' if six else 'nw_dst', dst)
    text += ',nw_ttl=64'
    if protocol == 'icmp':
        return text + (',icmp_type=128' if six else ',icmp_type=8')
    number, reply = port.rstrip('-'), port.endswith('-')
    text += ',tp_src=%s,tp_dst=%s' % ((number, 40000) if reply else (40000, number))
    return text + ((',tcp_flags=%s' % ('ack' if reply else 'syn')) if protocol == 'tcp' else '')


def say(src, dst, what='icmp', version=4):
    """Return a packet from one VIF to another."""
    return ip(eth(src, dst), what, address(src, version), address(dst, version))


def arp(port, target, dst=BROADCAST, op=1, **changes):
    """Return an ARP packet; target is a VIF or an address."""
    target = target if isinstance(target, str) else address(target)
    fields = {'src': None, 'vlan': 0, 'sha': changes.get('src') or mac_of(port),
              'spa': address(port), 'tha': '00:00:00:00:00:00'}
    fields.update(changes)
    return '%s,arp,arp_op=%d,arp_sha=%s,arp_spa=%s,arp_tha=%s,arp_tpa=%s' % (
        eth(port, dst, fields['src'], fields['vlan']), op, fields['sha'], fields['spa'],
        fields['tha'], target)


def nd(port, kind, target, dst='33:33:ff:00:00:01', ipv6_dst='ff02::1:ff00:1', **changes):
    """Return a neighbour solicitation (135) or advertisement (136)."""
    target = target if isinstance(target, str) else address(target, 6)
    fields = {'src': None, 'vlan': 0, 'ipv6_src': None, 'ttl': 255, 'code': 0,
              'link': changes.get('src') or mac_of(port)}
    fields.update(changes)
    text = '%s,icmp6,ipv6_src=%s,ipv6_dst=%s,nw_ttl=%d,icmp_type=%d,icmp_code=%d,nd_target=%s' % (
        eth(port, dst, fields['src'], fields['vlan']), fields['ipv6_src'] or address(port, 6),
        ipv6_dst, fields['ttl'], kind, fields['code'], target)
    if fields['link']:
        text += ',%s=%s' % ('nd_sll' if kind == 135 else 'nd_tll', fields['link'])
    return text


def icmp6(port, kind, ipv6_src=None, ipv6_dst='ff02::2', dst='33:33:00:00:00:02', src=None, vlan=0,
          ttl=255, more=''):
    """Return any ICMPv6 message."""
    return '%s,icmp6,ipv6_src=%s,ipv6_dst=%s,nw_ttl=%d,icmp_type=%d,icmp_code=0%s' % (
        eth(port, dst, src, vlan), ipv6_src or address(port, 6), ipv6_dst, ttl, kind, more)


def dhcp(port, server=False, src=None, nw_src='0.0.0.0', dst=BROADCAST, nw_dst='255.255.255.255',
         vlan=0):
    """Return a DHCP query, or a server's answer."""
    return '%s,udp,nw_src=%s,nw_dst=%s,nw_ttl=64,tp_src=%d,tp_dst=%d' % (
        (eth(port, dst, src, vlan), nw_src, nw_dst) + ((67, 68) if server else (68, 67)))


def dhcp6(port, server=False, src=None, ipv6_src=None, dst='33:33:00:01:00:02',
          ipv6_dst='ff02::1:2', vlan=0):
    """Return a DHCPv6 query, or a server's answer."""
    return '%s,udp6,ipv6_src=%s,ipv6_dst=%s,nw_ttl=64,tp_src=%d,tp_dst=%d' % (
        (eth(port, dst, src, vlan), ipv6_src or link_local(port), ipv6_dst)
        + ((547, 546) if server else (546, 547)))


def link_local(number):
    """Return a VIF's link-local address."""
    return 'fe80::ff:fe00:%x' % number


def outside(what, src, dst, mac, addresses, port=ETH0, vlan=0):
    """Return a packet that comes in from the physical network."""
    return ip(eth(port, dst, mac, vlan), what, addresses, src)


# --- what policy says --------------------------------------------------------------------------

SERVICES = ('icmp', 'tcp/22', 'tcp/80', 'tcp/5432', 'udp/53', 'udp/8050', 'udp/99')
NUMBERS = MATRIX + [UNMANAGED]


def may_say(src, dst, what, version):
    """Return whether a first packet may pass, by the words of policy.md and nothing else."""
    if src == dst or tag_of(src) != tag_of(dst):
        return False
    for asker, party in ((src, dst), (dst, src)):
        if asker == UNMANAGED:
            continue
        mode = BY_NUMBER[asker].policy.mode
        if mode > Mode.ISOLATED:
            return False
        if mode is Mode.ISOLATED and not admits(asker, party, what, version, party == dst):
            return False
    return True


def admits(asker, party, what, version, forth):
    """Return whether an isolated VIF's own policy admits the packet."""
    policy = BY_NUMBER[asker].policy
    theirs = BY_NUMBER[party].policy.groups if party in BY_NUMBER else frozenset()
    for mine in policy.groups:
        for group in theirs & ({mine} | mutual(mine)):
            if speaks(GROUPS.get(group, Group()).rules, what, version):
                return True
    prefix = parse_prefix(address(party, version))
    return any(peer.prefix and contains(peer.prefix, prefix)
               and speaks(peer.service and [peer.service], what, version)
               for peer in policy.allow)


def mutual(group):
    """Return the groups that a group reaches and that reach it."""
    reach = GROUPS.get(group, Group()).reach
    return {other for other in reach if group in GROUPS.get(other, Group()).reach}


def speaks(services, what, version):
    """Return whether services, None for all, include a packet to a server's port."""
    protocol, _, port = what.partition('/')
    if services is None:
        return True
    if protocol == 'icmp':
        protocol = 'icmp' if version == 4 else 'icmp6'
    return any(service.protocol == protocol and (
        not port or service.first <= int(port) <= service.last) for service in services)
