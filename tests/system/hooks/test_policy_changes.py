"""A policy changes while the VM runs: after the next hook the packets obey the new one."""
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest

from sandbox.process import wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.guarded_host import leaving_nothing
from support.host_state import CONFIG, carrier_changes, is_up
from support.reachability import SILENT_S, arrives, can_talk, is_cut_off, is_lost, say, speech
from support.vm_events import refresh
from support.switch import external_ids, our_flows, policy_flows, port_settings, ports
from support.resync import sync

BYSTANDER, BYSTANDER6 = '10.9.0.99', 'fd00:9::99'
NO_FLOOD, FLOOD = {'no-flood': True}, {'no-flood': False}


@pytest.fixture
def start(host: Sandbox, bystander: Vm) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, and leave no flow behind."""
    def start_vm(number: int, policy: Any = None, **more: Any) -> Vm:
        return host.start_vm('vm%d' % number, **dict(
            {'ipv4': '10.9.0.%d/24' % number, 'ipv6': 'fd00:9::%d/64' % number,
             'policy': own(number, policy)}, **more))

    with leaving_nothing(host, bystander):
        yield start_vm
    assert not our_flows(host)


def own(number: int, policy: Any) -> Dict[str, str]:
    """Return a policy with the VM's addresses, none if there is none."""
    return dict({'vif/0/ipv4': '10.9.0.%d' % number, 'vif/0/ipv6': 'fd00:9::%d' % number},
                **policy) if policy else {}


def change(vm: Vm, number: int, policy: Any) -> str:
    """Give a VM another policy, as an admin does; return what the hook says."""
    vm.set_policy(own(number, policy))
    return refresh(vm).stderr


def ping_both(one: Vm, two: Vm, timeout: float) -> int:
    """Let two VMs ping each other with IPv4 and IPv6 at once; return how many answers come."""
    for sender, receiver in ((one, two), (two, one)):
        sender.post('ping', [receiver.address(4), receiver.address(6)], timeout, 32, '')
    return len(one.answer()) + len(two.answer())


def talk(one: Vm, two: Vm) -> bool:
    """Tell whether two VMs reach each other, both ways and with both IP versions."""
    return ping_both(one, two, 1.5) == 4 or ping_both(one, two, 3) == 4


def silent(one: Vm, two: Vm) -> bool:
    """Tell whether neither of two VMs reaches the other."""
    return not ping_both(one, two, SILENT_S)


# --- groups and modes ------------------------------------------------------------------------


def test_a_regroup_takes_effect_with_the_refresh(start: Any) -> None:
    one, two, three = (start(11, {'groups': 'red'}), start(12, {'groups': 'red'}),
                       start(13, {'groups': 'blue'}))
    assert talk(one, two) and silent(one, three)
    before = [carrier_changes(vm.netdev()) for vm in (one, two, three)]
    assert 'groups=blue ' in change(one, 11, {'groups': 'blue'})
    assert silent(one, two) and talk(one, three)
    change(one, 11, {'groups': 'blue, red'})
    assert talk(one, two) and talk(one, three) and silent(two, three)
    change(one, 11, {'groups': ''})     # a list that became empty means nobody
    assert silent(one, two) and silent(one, three)
    assert [carrier_changes(vm.netdev()) for vm in (one, two, three)] == before


def test_an_open_connection_ends_with_the_group(host: Sandbox, start: Any) -> None:
    one, two = start(11, {'groups': 'red'}), start(12, {'groups': 'red'})
    two.serve()
    number = one.tcp_open(two.address())
    assert one.tcp_say(number)
    change(two, 12, {'groups': 'blue'})
    assert not one.tcp_say(number, 0.4)


# mode -> may talk to the bystander, may forge its IP address, hears broadcasts, is flooded to
Behaviour = Tuple[bool, bool, bool, Mapping[str, bool]]
BEHAVIOUR: Mapping[str, Behaviour] = {
    'unlocked': (True, True, True, FLOOD), 'locked': (True, False, True, FLOOD),
    'isolated': (False, False, False, NO_FLOOD), 'disabled': (False, False, False, NO_FLOOD)}


def behaviour(vm: Vm, bystander: Vm, expected: Behaviour) -> Behaviour:
    """Return what a VM may do; what should happen gets more time to do so."""
    wait = [2 if yes else SILENT_S for yes in expected[:3]]
    forged = say(vm.mac, '10.9.0.66', bystander.mac, BYSTANDER)
    return (talk(vm, bystander) if expected[0] else not silent(vm, bystander),
            arrives(vm, bystander, forged, wait=wait[1]),
            arrives(bystander, vm, speech(bystander), wait=wait[2]),
            port_settings(vm.dom0, vm.netdev()))


def test_modes_change_live(host: Sandbox, bystander: Vm, start: Any) -> None:
    vm = start(11)
    link = carrier_changes(vm.netdev()), host.ovs.ofport(vm.netdev())
    for mode in ('unlocked', 'isolated', 'locked', 'disabled', 'unlocked', 'disabled', 'isolated',
                 'unlocked'):
        assert 'mode=%s ' % mode in change(vm, 11, {'mode': mode})
        found = behaviour(vm, bystander, BEHAVIOUR[mode])
        assert (mode, found) == (mode, BEHAVIOUR[mode])
        assert bool(our_flows(host)) is (mode != 'unlocked')
    assert (carrier_changes(vm.netdev()), host.ovs.ofport(vm.netdev())) == link


@pytest.mark.parametrize('mode', ['unlocked', 'locked'])
def test_floods_come_back_after_a_failure(host: Sandbox, bystander: Vm, start: Any,
                                          mode: str) -> None:
    vm = start(11, {'mode': 'isolated'})
    good = vm.vifs[0]
    vm.set_vif(bridge='nowhere')
    runs = host.hooks.run(*host.hooks.locking_changed(vm.domain, vm.vifs[0]))
    assert runs[0].code == 1 and not is_up(vm.netdev())
    vm.set_vif(bridge=good.bridge)
    change(vm, 11, {'mode': mode})
    assert behaviour(vm, bystander, BEHAVIOUR[mode]) == BEHAVIOUR[mode]


def test_addresses_change_live(bystander: Vm, start: Any) -> None:
    vm = start(11, {'mode': 'locked'})
    assert can_talk(vm, BYSTANDER)
    change(vm, 12, {'mode': 'locked'})
    assert is_cut_off(vm, BYSTANDER, BYSTANDER6)
    vm.ip('addr add 10.9.0.12/24 dev eth0')
    assert vm.ping(BYSTANDER, source='10.9.0.12') or vm.ping(BYSTANDER, source='10.9.0.12')
    assert not vm.ping(BYSTANDER, 0.4, source='10.9.0.11')


# --- XAPI's locking --------------------------------------------------------------------------

ADDRESS = {'vif/0/ipv4': '10.9.0.11'}
FLOOR: List[Tuple[str, Dict[str, str], str]] = [
    ('unlocked', {}, 'unlocked'), ('locked', {}, 'locked'), ('disabled', {}, 'disabled'),
    ('unlocked', {'mode': 'locked'}, 'locked'), ('locked', {'mode': 'unlocked'}, 'locked'),
    ('locked', {'groups': 'red'}, 'isolated'), ('disabled', {'groups': 'red'}, 'disabled'),
    ('locked', {'mode': 'disabled'}, 'disabled'), ('disabled', {'mode': 'unlocked'}, 'disabled'),
    ('locked', {'vif/0/ipv4': '10.9.0.66'}, 'quarantined'),
    ('locked', dict(ADDRESS, mode='unlocked'), 'locked')]


def test_xapis_locking_mode_is_a_floor(start: Any) -> None:
    vm = start(11)
    for locking, policy, mode in FLOOR:
        vm.set_policy(policy)
        run = vm.set_locking(locking, ('10.9.0.8/29',) if locking == 'locked' else ())[0]
        assert ' mode=%s ' % mode in run.stderr, (locking, policy, run.stderr)


def test_xapis_locking_alone_is_obeyed(bystander: Vm, start: Any) -> None:
    vm = start(11)
    for locking, mode in (('locked', 'locked'), ('disabled', 'disabled'),
                          ('unlocked', 'unlocked')):
        vm.set_locking(locking, ('10.9.0.11',), ('fd00:9::11',))
        assert behaviour(vm, bystander, BEHAVIOUR[mode]) == BEHAVIOUR[mode]


# --- quarantine ------------------------------------------------------------------------------


@pytest.fixture
def untrusting(host: Sandbox) -> Iterator[None]:
    """A configuration that does not trust vm-data."""
    host.configure(CONFIG.replace('accept', 'quarantine'))
    yield
    host.configure(CONFIG)


QUARANTINED = (False, False, False, NO_FLOOD)


def test_an_unsealed_policy_is_quarantined_unless_accepted(
        host: Sandbox, bystander: Vm, start: Any, untrusting: None) -> None:
    vm, plain = start(11, {'mode': 'unlocked'}), start(12)
    assert vm.runs[0].code == 0 and 'mode=quarantined' in vm.runs[0].stderr
    assert is_up(vm.netdev()) and vm.netdev() in ports(host)
    assert behaviour(vm, bystander, QUARANTINED) == QUARANTINED
    assert 'xsisolate-seal' in external_ids(host, vm.netdev())['xsisolate-error']
    assert talk(plain, bystander), 'who has no policy is none of ours'
    host.configure(CONFIG)
    assert 'mode=unlocked' in refresh(vm).stderr
    assert 'xsisolate-error' not in external_ids(host, vm.netdev())
    assert talk(vm, bystander)


def test_a_guest_that_writes_vm_data_gets_nowhere(bystander: Vm, start: Any,
                                                  untrusting: None) -> None:
    vm = start(11)
    assert talk(vm, bystander)
    vm.xenstore.write('vm-data/xsisolate/mode', 'unlocked')
    assert 'xsisolate-seal' in refresh(vm).stderr
    assert behaviour(vm, bystander, QUARANTINED) == QUARANTINED
    vm.xenstore.rm('vm-data/xsisolate')
    refresh(vm)
    assert talk(vm, bystander)


def test_the_reason_is_shown_on_vif_and_tap(host: Sandbox, start: Any) -> None:
    vm = start(11, {'mode': 'lokced'}, hvm=True)
    for kind in ('vif', 'tap'):
        assert 'lokced' in external_ids(host, vm.netdev(kind=kind))['xsisolate-error']
    vm.set_policy(own(11, {'mode': 'locked'}))
    refresh(vm)
    for kind in ('vif', 'tap'):
        assert 'xsisolate-error' not in external_ids(host, vm.netdev(kind=kind))


@pytest.mark.parametrize('second', [{'mode': 'locked'}, {'groups': 'red'}])
def test_the_second_with_a_mac_is_quarantined(host: Sandbox, bystander: Vm, start: Any,
                                              second: Dict[str, str]) -> None:
    first = start(11, {'mode': 'locked'})
    before = policy_flows(host)
    thief = start(12, second, mac=first.mac)
    assert 'mode=quarantined' in thief.runs[0].stderr
    reason = external_ids(host, thief.netdev())['xsisolate-error']
    assert first.mac in reason and first.netdev() in reason
    assert 'xsisolate-error' not in external_ids(host, first.netdev())
    assert is_lost(thief, bystander, speech(thief))
    assert is_lost(bystander, thief, speech(bystander))
    assert talk(first, bystander)
    assert before <= policy_flows(host)
    assert 'mode=locked' in refresh(first).stderr       # nor is it its turn to lose
    first.shutdown()
    assert 'mode=quarantined' not in refresh(thief).stderr
    assert 'xsisolate-error' not in external_ids(host, thief.netdev())


def test_the_second_with_an_address_is_quarantined(host: Sandbox, bystander: Vm,
                                                   start: Any) -> None:
    first = start(11, {'mode': 'locked'})
    thief = start(12, {'groups': 'red', 'vif/0/ipv4': '10.9.0.11'})
    reason = external_ids(host, thief.netdev())['xsisolate-error']
    assert '10.9.0.11 ' in reason and first.netdev() in reason
    assert is_lost(thief, bystander, say(thief.mac, '10.9.0.11'))
    assert talk(first, bystander)
    assert 'mode=locked' in refresh(first).stderr
    assert 'mode=quarantined' in refresh(thief).stderr
    assert 'mode=isolated' in change(thief, 12, {'groups': 'red', 'allow': BYSTANDER})
    assert 'xsisolate-error' not in external_ids(host, thief.netdev())
    assert can_talk(thief, BYSTANDER)


def test_a_vif_that_is_closed_is_forgotten(host: Sandbox, bystander: Vm, start: Any) -> None:
    """The switch has learned where it is, and would send there what is for its MAC address."""
    one, two = start(11, {'groups': 'red'}), start(12, {'groups': 'red'})
    assert talk(one, two)
    frame = say(bystander.mac, BYSTANDER, two.mac, '10.9.0.12')
    assert is_lost(bystander, two, frame)
    assert 'quarantined' in change(two, 11, {'groups': 'blue'})     # one's address: a conflict
    assert is_lost(bystander, two, frame)
    assert 'mode=isolated' in change(two, 12, {'groups': 'red'})
    assert talk(one, two)
    two.set_vif(bridge='xenbr1')        # and the hook for its move is late
    sync()
    assert is_lost(bystander, two, frame) and is_cut_off(two, one.address())
    two.set_vif(bridge='xenbr0')


def test_the_same_address_on_two_networks_is_no_conflict(host: Sandbox, start: Any) -> None:
    first = start(11, {'groups': 'red'})
    other = start(11, {'groups': 'red'}, bridge='xenbr1', mac=first.mac)
    assert 'mode=isolated' in other.runs[0].stderr


# --- more than one of everything -------------------------------------------------------------


def test_the_last_vif_takes_all_flows_along(host: Sandbox, start: Any) -> None:
    one, two = start(11, {'groups': 'red', 'allow': BYSTANDER}), start(12, {'groups': 'blue'})
    one.shutdown()
    assert our_flows(host)
    two.shutdown()
    assert not our_flows(host)


@pytest.fixture(scope='module')
def vlan(host: Sandbox) -> str:
    """A VLAN network on xenbr0."""
    return host.add_bridge('xapi7', parent='xenbr0', vlan=70)


def test_a_vlan_network_is_a_network_of_its_own(host: Sandbox, bystander: Vm, start: Any,
                                                vlan: str) -> None:
    inside = start(11, {'groups': 'red'}, bridge=vlan)
    friend = start(12, {'groups': 'red'}, bridge=vlan)
    outside = start(13, {'groups': 'red'})
    neighbour = host.start_vm('neighbour', bridge=vlan, ipv4='10.9.0.98/24',
                              ipv6='fd00:9::98/64')
    assert talk(inside, friend)
    assert silent(inside, outside) and silent(inside, neighbour)
    assert is_cut_off(inside, BYSTANDER, BYSTANDER6)
    assert host.ovs.vsctl('get', 'Port', inside.netdev(), 'tag') == '70'
    change(inside, 11, {'mode': 'locked'})
    assert talk(inside, neighbour) and is_cut_off(inside, BYSTANDER, BYSTANDER6)
    inside.move('xenbr0')
    assert host.ovs.vsctl('get', 'Port', inside.netdev(), 'tag') == '[]'
    assert talk(inside, bystander) and silent(inside, neighbour)


def test_two_bridges_and_two_vifs(host: Sandbox, bystander: Vm, start: Any) -> None:
    policy = {'groups': 'red', 'vif/1/mode': 'locked', 'vif/1/ipv4': '10.8.0.11'}
    vm = start(11, policy, plug=False)
    host.add_vif(vm, 'xenbr1', ipv4='10.8.0.11/24')
    vm.plug()
    friend = start(12, {'groups': 'red'})
    other = host.start_vm('other', bridge='xenbr1', ipv4='10.8.0.12/24')
    assert talk(vm, friend) and silent(vm, bystander)
    assert can_talk(vm, '10.8.0.12') and is_lost(
        vm, other, say(vm.vifs[1].mac, '10.8.0.66'), 'eth1')
    vm.set_policy(dict(own(11, policy), **{'vif/1/mode': 'disabled'}))
    before = policy_flows(host)
    refresh(vm, 1)
    assert is_cut_off(vm, '10.8.0.12') and talk(vm, friend)
    assert policy_flows(host) == before


def test_two_vifs_of_one_vm_on_one_bridge(host: Sandbox, bystander: Vm, start: Any) -> None:
    vm = start(11, {'groups': 'red', 'vif/1/groups': '', 'vif/1/ipv4': '10.9.0.21'}, plug=False)
    host.add_vif(vm)
    vm.plug()
    friend = start(12, {'groups': 'red'})
    assert talk(vm, friend)
    second = vm.vifs[1].mac
    for source, mac in (('10.9.0.11', second), ('10.9.0.21', second), ('10.9.0.11', vm.mac)):
        assert is_lost(vm, friend, say(mac, source, friend.mac, friend.address()), 'eth1')
    assert is_lost(vm, friend, say(second, '10.9.0.21', friend.mac, friend.address()))
    assert arrives(vm, friend, say(vm.mac, '10.9.0.11', friend.mac, friend.address()))


def test_tap_and_vif_of_one_nic_are_one(host: Sandbox, bystander: Vm, start: Any) -> None:
    vm, friend = start(11, {'groups': 'red'}, hvm=True), start(12, {'groups': 'red'})
    genuine = say(vm.mac, '10.9.0.11', friend.mac, friend.address())
    forged = say(vm.mac, '10.9.0.66', friend.mac, friend.address())
    reply = say(friend.mac, friend.address(), vm.mac, '10.9.0.11')
    for nic in ('emu0', 'eth0', 'emu0'):        # the guest may change its mind
        vm.ip('link set eth0 %s' % ('up' if nic == 'eth0' else 'down'))
        assert is_lost(vm, friend, forged, nic)
        assert is_lost(bystander, vm, speech(bystander), at=nic)
        # a switch that has seen the like before learns up to half a second late
        wait_until(lambda: (arrives(vm, friend, genuine, nic)
                            and arrives(friend, vm, reply, at=nic, wait=SILENT_S)), 'the reply')
    vm.ip('link set eth0 up')       # which has lost its IPv6 address on the way
    host.hooks.run(host.hooks.udev_tap('remove', vm.domid, 0))
    assert can_talk(vm, friend.address())
    assert not any(vm.netdev(kind='tap') in flow for flow in our_flows(host))
