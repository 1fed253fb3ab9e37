"""Several NICs of one VM: none may be used as another."""
from typing import Iterator


from sandbox.process import ip
from support.packets.rows import Case, attack
from support.packets.exchanges import (forged, forgeries, friends, from_gateway, stolen, strangers,
                                       to_gateway)
from support.packets.frames import IP, IPv6, arp, eth, is_at, na, ns, ping, ping6, udp, udp6
from support.packets.built_network import Net, Party, row

RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
OPEN = {'groups': 'red', 'allow': 'external'}
FAMILY = 'several NICs'


def crossed(me: Party, sibling: Party, mine: Party, other: Party, gw: Party) -> Iterator[Case]:
    """Yield the use of one NIC as the VM's other one, towards the peers of either."""
    yield attack('%s outside with addresses of %s' % (me.name, sibling.name), me.name, udp(
        me, gw, src=sibling.ip, dst='192.0.2.1'), udp6(
            me, gw, src=sibling.ip6, dst='2001:db8::1'), ping(sibling, gw), is_at(
                me, gw, sibling.ip), na(me, sibling.ip6, gw))
    for you in (mine, other):
        yield attack('%s in the name of %s to %s' % (me.name, sibling.name, you.name), me.name,
                     ping(sibling, you), ping6(sibling, you), is_at(sibling, you), na(
                         sibling, sibling.ip6, you), arp(sibling, 1, sibling.ip, you.ip), ns(
                             sibling, you.ip6))
        yield attack('%s with addresses of %s to %s' % (me.name, sibling.name, you.name), me.name,
                     eth(me, you) / ping(sibling, you)[IP], eth(me, you) / ping6(
                         sibling, you)[IPv6], is_at(me, you, sibling.ip), na(
                             me, sibling.ip6, you), arp(me, 1, sibling.ip, you.ip))
        yield attack('%s with the MAC of %s to %s' % (me.name, sibling.name, you.name), me.name,
                     eth(sibling, you) / ping(me, you)[IP], is_at(me, you, '', sibling.mac), na(
                         me, me.ip6, you, tll=sibling.mac), ns(me, you.ip6, sll=sibling.mac))
    yield attack('%s announces %s' % (me.name, sibling.name), me.name, arp(
        me, 1, sibling.ip, sibling.ip), na(me, sibling.ip6), ns(
            me, sibling.ip6, ip='::', sll=False), arp(me, 1, '0.0.0.0', sibling.ip))
    # a peer of the one does not reach it by the other
    yield attack('%s to %s by way of %s' % (mine.name, sibling.name, me.name), mine.name, eth(
        mine, me) / ping(mine, sibling)[IP], eth(mine, sibling) / ping(mine, me)[IP], arp(
            mine, 1, mine.ip, sibling.ip, me))


def test_two_vifs_of_one_vm(net: Net) -> None:
    """Its VIFs are strangers to each other's groups."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    red, blue, gw = net.vm('red', 11, RED), net.vm('blue', 12, BLUE), net.parties['gw']
    vm = net.dom0.start_vm('duo', plug=False, policy={
        'allow': 'external',
        'vif/0/groups': 'red', 'vif/0/ipv4': '10.9.0.21', 'vif/0/ipv6': 'fd00:9::15',
        'vif/1/groups': 'blue', 'vif/1/ipv4': '10.9.0.22', 'vif/1/ipv6': 'fd00:9::16'})
    net.dom0.add_vif(vm, mac='02:00:00:00:00:16')
    vm.plug()
    net.vms['duo'] = vm
    one, two = (net.nic('one', vm, 21, 'eth0', vm.mac),
                net.nic('two', vm, 22, 'eth1', '02:00:00:00:00:16'))
    net.prime()
    rows = [*friends(one, red), *friends(red, one), *friends(two, blue), *friends(blue, two),
            *strangers(one, blue), *strangers(two, red), *strangers(red, two),
            *strangers(one, two), *strangers(two, one), *forgeries(one, two, red)]
    net.check(*rows)
    net.play(FAMILY, [*crossed(one, two, red, blue, gw), *crossed(two, one, blue, red, gw)])
    net.refresh()
    net.check(*rows)


def test_hvm_with_tap_and_vif(net: Net) -> None:
    """The emulated NIC speaks first; when its tap has gone the vif has taken over."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    b, un, gw = net.vm('b', 12, RED), net.vm('un', 31), net.parties['gw']
    h = net.vm('h', 11, OPEN, hvm=True, address=False)
    vm = net.vms['h']
    emu = net.nic('emu', vm, 11, 'emu0', h.mac)
    net.twins.update(h='emu', emu='h')
    net.prime('b', 'un', 'gw', 'emu')
    both = {'emu': ('h', 'emu'), 'h': ('h', 'emu')}
    heard = net.heard([row(b, ping(b, h))])[0]
    assert 'emu' in heard and heard <= {'h', 'emu'}
    net.check(*friends(emu, b), *to_gateway(emu, gw, 'eth0'), *strangers(emu, un),
              *strangers(un, emu), *forgeries(emu, un, b))
    net.play(FAMILY, [*forged(emu, b, un, gw), *stolen(emu, b, 'un', 'gw')])
    net.prime('h')
    heard = net.heard([row(b, ping(b, h)), row(gw, ping(gw, h))])
    assert all('h' in one and one <= set(both['h']) for one in heard)
    net.check(*friends(h, b), *friends(emu, b), *strangers(h, un), *strangers(emu, un))
    for nic in (h, emu):
        net.play(FAMILY, [*forged(nic, b, un, gw), *stolen(nic, b, 'un', 'gw')])
    net.refresh()
    ip(['link del ' + vm.netdev(0, 'tap')])     # the guest unplugs its emulated NIC
    net.dom0.ovs.lose_device(vm.netdev(0, 'tap'))
    vm.fire([net.dom0.hooks.udev_tap('remove', vm.domid, 0)])
    del net.parties['emu']
    net.prime('h')
    net.check(*friends(h, b), *friends(b, h), *to_gateway(h, gw, 'eth0'), *from_gateway(gw, h),
              *strangers(h, un), *strangers(un, h), *forgeries(h, un, b))
    net.play(FAMILY, [*forged(h, b, un, gw), *stolen(h, b, 'un', 'gw')])
