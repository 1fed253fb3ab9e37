"""After the hooks have done their work `xsisolate sync` finds nothing to do."""

import pytest

from support.command import DIFFERENT
from sandbox.process import ip, wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import GuestAddresses
from support.packets.built_network import CONFIG, Net

from support.resync import (BLUE, RED, VRRP, assert_in_sync, ours, pinging, start_town, state, sync,
                            watched)

pytestmark = pytest.mark.any_python


def test_town(net: Net) -> None:
    """VLANs, a trunk VIF, HVM, two VIFs of a VM, remote members, every mode, a default."""
    start_town(net)
    assert_in_sync(net.dom0)
    with watched(net.dom0, 'xenbr0') as said, pinging(net.vms['red2'], '10.9.0.11'):
        sync()
    assert not said
    check_diff(net.dom0)
    net.refresh()
    assert_in_sync(net.dom0)
    for name in ('red1', 'vlan', 'blue'):       # ids that were handed out become free
        net.vms.pop(name).shutdown()
    assert_in_sync(net.dom0)


def check_diff(host: Sandbox) -> None:
    """Add every + line by hand and delete the - line: ovs-ofctl takes them, and it is enough."""
    before = state(host)
    host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                   'cookie=0x5849534f00000000/0xffffffff00000000')
    host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0',
                   'cookie=0x5849534f00000077,table=3,priority=7,tcp,tp_dst=22,actions=drop')
    seen = sync('--dry-run', '--bridge', 'xenbr0', code=DIFFERENT).lines
    assert seen[:2] == ['--- xenbr0 as it is', '+++ xenbr0 as it should be']
    minus, = (line[1:].split(' actions=')[0] for line in seen[2:] if line[0] == '-')
    plus = [line[1:] for line in seen[2:] if line[0] == '+']
    assert len(plus) > 300
    host.ovs.ofctl('-O', 'OpenFlow14', '--strict', 'del-flows', 'xenbr0',
                   minus.replace(', ', '/-1,', 1).replace(', ', ','))
    host.ovs.ofctl('-O', 'OpenFlow14', 'add-flows', 'xenbr0', '-', stdin='\n'.join(
        line.replace(', ', ',') for line in plus))
    assert state(host) == before


def test_shared_address_whoever_came_first(net: Net) -> None:
    """Owners keep their turns, refused VIFs stay refused, whatever their numbers are."""
    net.bridge('xenbr0')
    later = net.dom0.start_vm('later', ipv4='10.9.0.13/24', mac='02:00:00:00:00:0d', plug=False,
                              policy=dict(VRRP, **{'vif/0/ipv4': '10.9.0.13'}))
    refused = net.dom0.start_vm('refused', ipv4='10.9.0.14/24', plug=False,
                                policy={'groups': 'blue', 'vif/0/ipv4': '10.9.0.100'})
    thief = net.dom0.start_vm('thief', mac='02:00:00:00:00:0b', plug=False, policy=RED)
    for number in (11, 12):
        net.dom0.start_vm('vm%d' % number, ipv4='10.9.0.%d/24' % number,
                          mac='02:00:00:00:00:%02x' % number,
                          policy=dict(VRRP, **{'vif/0/ipv4': '10.9.0.%d' % number}))
    for vm in (later, refused, thief):
        vm.plug()
    assert_in_sync(net.dom0)
    said = sync().out
    assert '5 VIFs, 2 quarantined' in said
    assert 'quarantined %s: address 10.9.0.100 is already' % refused.netdev() in said
    assert 'quarantined %s: MAC address 02:00:00:00:00:0b is' % thief.netdev() in said
    first, second = net.dom0.vms[3:5]
    second.shutdown()
    assert_in_sync(net.dom0)
    first.shutdown()
    sync('--dry-run', code=DIFFERENT)       # the hooks leave the refused alone until their own turn
    said = sync().out
    assert '3 VIFs, 1 quarantined' in said and refused.netdev() in said
    assert_in_sync(net.dom0)


@pytest.mark.parametrize('setting', ['active-backup', 'balance-slb', 'snooping', 'secure'])
def test_bonds_and_bridges_of_another_kind(net: Net, setting: str) -> None:
    """The uplink's kind is in flows as well."""
    net.bridge('xenbr0', *{'snooping': ['mcast_snooping_enable=true'],
                           'secure': ['fail_mode=secure']}.get(setting, []))
    uplink = net.uplink('xenbr0', 'p0', put='-' not in setting)
    if '-' in setting:
        net.second_cable(uplink, 'p1')
        net.dom0.ovs.vsctl('add-bond', 'xenbr0', 'bond0', 'p0', 'p1', 'bond_mode=' + setting)
        wait_until(lambda: net.dom0.ovs.vsctl('get', 'Port', 'bond0', 'bond_active_slave')
                   .strip('"[]'), 'an active member of the bond')
    net.vm('a', 11, dict(RED, allow='external')), net.vm('b', 12, RED), net.vm('un', 31)
    assert net.vms['a'].ping('10.9.0.12') and net.vms['a'].ping('10.9.0.254')
    assert_in_sync(net.dom0)


def test_arriving_and_leaving_vms(net: Net) -> None:
    """At every step of a migration onto the same host, with both domains on the bridge."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    net.vm('b', 12, RED), net.vm('un', 31)
    old = net.dom0.start_vm('old', ipv4='10.9.0.11/24', mac='02:00:00:00:00:0b', hvm=True,
                            policy=dict(RED, **{'vif/0/ipv4': '10.9.0.11'}))
    assert old.ping('10.9.0.12')
    new = net.dom0.migrate_in(old, plug=False)
    new.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
    new.add_vif(new.vifs[0], GuestAddresses())      # it does not run yet
    new.plug()
    assert_in_sync(net.dom0)
    assert old.ping('10.9.0.12')
    new.configure('eth0', ['10.9.0.11/24'])
    old.ip('addr flush dev eth0')
    assert new.ping('10.9.0.12')        # and so it has spoken: the switch has learned
    assert_in_sync(net.dom0)
    old.depart()
    assert_in_sync(net.dom0)
    new.arrive()
    sync()              # what the hooks cannot know: no hook runs at a rename
    assert_in_sync(net.dom0)
    assert new.ping('10.9.0.12') and net.vms['b'].ping('10.9.0.11')


def test_live_changes(net: Net) -> None:
    """A policy, a mode and a network change live, a tap goes, a VM reboots."""
    net.bridge('xenbr0')
    net.bridge('xenbr1')
    net.bridge('xapi120', parent='xenbr0', vlan=120)
    for name, number in (('a', 11), ('b', 12), ('c', 13)):
        net.vm(name, number, RED, 'xenbr0', hvm=name == 'c')
    net.vms['a'].set_policy(dict(BLUE, **{'vif/0/ipv4': '10.9.0.11'}))
    net.refresh('a')
    net.vms['b'].set_locking('disabled')
    assert_in_sync(net.dom0)
    net.vms['a'].move('xapi120')
    net.vms['c'].move('xenbr1')
    net.vms['b'].set_locking('unlocked')
    assert_in_sync(net.dom0)
    c = net.vms['c']
    ip(['link del ' + c.netdev(0, 'tap')])
    net.dom0.ovs.lose_device(c.netdev(0, 'tap'))
    c.fire([net.dom0.hooks.udev_tap('remove', c.domid, 0)])
    net.vms['b'] = net.vms['b'].reboot()
    assert_in_sync(net.dom0)
    net.dom0.configure(CONFIG + 'groups:\n  red: {reach: [blue]}\n  blue: {reach: [red]}\n')
    net.refresh()
    assert_in_sync(net.dom0)


def test_a_host_without_anything(net: Net) -> None:
    """No bridge, a bridge without VIFs, one with unmanaged VIFs: nothing is put there."""
    assert sync().out == '' and sync('--json').out == '[]\n'
    net.bridge('xenbr0')
    net.vm('un', 31)
    assert_in_sync(net.dom0)
    assert not ours(net.dom0)
