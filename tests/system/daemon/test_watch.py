"""The daemon: what is lost comes back, and what changes takes effect, though no hook runs."""
import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager
from typing import Any, Callable, FrozenSet, Iterator

import pytest

from sandbox import seals
from sandbox.process import stop, wait_until
from sandbox.dom0 import SEAL, Sandbox
from sandbox.vm import Vm, policy_keys

from support.reachability import can_talk, is_cut_off
from support.switch import (external_ids, foreign_flows, our_flows, policy_flows, port_settings,
                            ports)
from support.vm_events import refresh
from support.guarded_host import (CHANGED, CONFIG, GUARDED, RED, Around, guest_changes, is_fine,
                                  own, passed, shown_error)

from sandbox.daemon import Watch
from support.guarded_host import LONG_S, SHORT_S

pytestmark = GUARDED

SOON_S = 8              # a fifth of a second; five where it was asked often just before
FOREIGN = 'cookie=0x77,table=0,priority=60000,arp,dl_src=02:00:00:00:77:77,actions=drop'
BLUE = {'groups': 'blue'}
LOST_S = 0.24           # one echo request; the next one would be sent after 0.25 s


def comes_back(host: Sandbox, before: FrozenSet[str], bridge: str = 'xenbr0') -> float:
    """Wait until a bridge carries these flows again, and return how long that took."""
    began = time.monotonic()
    wait_until(lambda: policy_flows(host, bridge) == before, 'the flows', SOON_S)
    return time.monotonic() - began


def wipe(host: Sandbox, bridge: str = 'xenbr0') -> None:
    """Delete all flows as admins do, who then have the switch forward as it did before."""
    host.ovs.ofctl('del-flows', bridge)
    host.ovs.add_flow(bridge, 'priority=0,actions=NORMAL')


def eventually(true: Callable[[], object], what: str, seconds: float = SOON_S) -> None:
    """Wait for what the daemon is to bring about."""
    wait_until(true, what, seconds)


# --- flows that somebody deletes -----------------------------------------------------------


@pytest.mark.parametrize('which', ['all', 'one', 'header', 'changed'])
def test_lost_flows_come_back(host: Sandbox, around: Around, start: Any, watch: Watch,
                              settled: Any, which: str) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    before, said = policy_flows(host), len(watch.lines('reconciled'))
    if which == 'all':
        wipe(host)
        host.ovs.add_flow('xenbr0', FOREIGN)
    elif which == 'header':
        host.ovs.add_flow('xenbr0', FOREIGN)
        host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                       'table=%d' % int(str(next(iter(headers(host)))).split('table=')[1]
                                        .split(',')[0]))
    else:
        host.ovs.add_flow('xenbr0', FOREIGN)
        flow = sorted(flow for flow in before if 'drop' in flow)[0]
        match = flow.split(', ', 1)[1].split(' actions=')[0].replace(' ', '')
        host.ovs.ofctl('-O', 'OpenFlow14', '--strict',
                       *(['mod-flows', 'xenbr0', match + ',actions=NORMAL']
                         if which == 'changed' else ['del-flows', 'xenbr0', match]))
        assert policy_flows(host) != before or len(watch.lines('reconciled')) > said
    # by a look at the bridge or at its VIFs, whichever is first
    print('flows back after %.2f s' % comes_back(host, before))
    settled()
    assert any('cookie=0x77' in flow for flow in foreign_flows(host))
    host.ovs.del_flows('xenbr0', 'cookie=0x77/-1')
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())


def headers(host: Sandbox) -> FrozenSet[str]:
    """Return the flows that record who is on the switch."""
    return frozenset(flow for flow in our_flows(host) - policy_flows(host) if 'table=' in flow)


# --- vm-data -------------------------------------------------------------------------------


def test_a_guest_that_changes_its_policy(host: Sandbox, around: Around, start: Any,
                                         short: None, watch: Watch, settled: Any) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    before = policy_flows(host)
    began = time.monotonic()
    guest_changes(vm)
    line = watch.wait_for('in doubt', 'vif=' + vm.netdev())
    assert 'seconds=%d ' % SHORT_S in line and CHANGED in line
    while time.monotonic() - began < SHORT_S * 0.6:
        assert vm.ping(around.friend.address(), LOST_S) and policy_flows(host) == before
    watch.wait_for('quarantined', 'vif=' + vm.netdev(), 'vm=' + vm.uuid, CHANGED)
    assert time.monotonic() - began >= SHORT_S
    eventually(lambda: CHANGED in shown_error(vm), 'xsisolate-error')
    host.ovs.settle()
    assert passed(vm, around) == []
    vm.set_policy(own(13, RED))
    eventually(lambda: policy_flows(host) == before, 'the policy')
    eventually(lambda: not shown_error(vm), 'xsisolate-error to go')
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    watch.wait_for('refreshed', 'vif=' + vm.netdev(), 'mode=isolated', 'groups=red')


def test_a_policy_that_fits_again_in_time(host: Sandbox, around: Around, start: Any, watch: Watch,
                                          settled: Any) -> None:
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    guest_changes(vm)
    watch.wait_for('in doubt', 'vif=' + vm.netdev())
    vm.set_policy(own(13, RED))
    time.sleep(1)
    settled()
    assert policy_flows(host) == before and not watch.lines('quarantined')


@pytest.mark.parametrize('seal_first', [False, True])
@pytest.mark.parametrize('managed', [False, True], ids=['unlocked', 'managed'])
def test_an_admins_two_writes_lose_no_ping(host: Sandbox, around: Around, start: Any,
                                           watch: Watch, managed: bool,
                                           seal_first: bool) -> None:
    """vm-data and seal arrive one after the other; what both policies allow never stops."""
    vm, blue = start(13, RED if managed else None), start(14, BLUE)
    friend = around.friend.address() if managed else around.bystander.address()
    policy = own(13, dict({'groups': 'blue'}, allow='%s, external' % friend))
    if managed:         # the friend lets in whom its group has: both groups, then
        policy = own(13, {'groups': 'red, blue'})
    assert vm.ping(friend)
    time.sleep(0.4)     # what came with the plug has been done
    other_config = {SEAL: seals.seal(vm.uuid, vm.vifs[0], policy)}
    writes = [lambda: vm.set_vm_data(policy_keys(policy)),
              lambda: vm.set_vif(other_config=other_config)]
    first, second = reversed(writes) if seal_first else writes
    first()
    pinged(vm, friend, until=lambda: bool(watch.lines('in doubt', vm.netdev())))
    pinged(vm, friend, seconds=0.5)
    second()
    pinged(vm, friend, until=lambda: bool(watch.lines('refreshed', vm.netdev(), 'groups=blue')))
    pinged(vm, friend, seconds=0.3)
    assert not watch.lines('quarantined') and not shown_error(vm)
    assert can_talk(vm, blue.address())


def pinged(vm: Vm, address: str, until: Callable[[], bool] = lambda: False,
           seconds: float = 0.0) -> None:
    """Ping without a pause, and without a loss, for some time or until something happens."""
    deadline = time.monotonic() + (seconds or 5)
    while not until():
        assert vm.ping(address, LOST_S)
        if time.monotonic() > deadline:
            assert seconds, 'in vain'
            return


def test_a_seal_that_never_comes_ends_an_unlocked_vif(host: Sandbox, around: Around, start: Any,
                                                      short: None, watch: Watch) -> None:
    """The daemon alone knows that it was unlocked by right; the guest may have written this."""
    vm = start(13)
    assert can_talk(vm, around.bystander.address())
    time.sleep(0.4)
    vm.xenstore.write('vm-data/xsisolate/groups', 'red')
    watch.wait_for('in doubt', vm.netdev())
    vm.xenstore.write('vm-data/xsisolate/groups', 'blue')     # to write again does not prolong it
    assert can_talk(vm, around.bystander.address())
    watch.wait_for('quarantined', vm.netdev(), seconds=6)
    host.ovs.settle()
    assert passed(vm, around) == []


def test_a_locking_mode_is_followed(host: Sandbox, around: Around, start: Any,
                                    watch: Watch) -> None:
    """xenopsd's metadata is a file: the daemon sees it even if the hook never ran."""
    vm = start(13, RED)
    assert is_fine(vm, around)
    time.sleep(1.2)
    vm.set_vif(locking_mode='disabled')
    watch.wait_for('refreshed', vm.netdev(), 'mode=disabled')
    host.ovs.settle()
    assert passed(vm, around) == []


# --- files ---------------------------------------------------------------------------------


def test_the_configuration_takes_effect(host: Sandbox, around: Around, start: Any,
                                        configure: Any, watch: Watch, settled: Any) -> None:
    vm = start(13, RED)
    around.friend.serve()
    assert is_fine(vm, around) and vm.udp(around.friend.address())
    configure(CONFIG % LONG_S + 'groups: {red: {rules: [icmp]}}\n')
    eventually(lambda: not vm.udp(around.friend.address(), timeout=0.2), 'the rule', 8)
    assert vm.ping(around.friend.address())
    others = 'groups: {red: {vms: [%s]}}\n' % around.friend.uuid
    configure(CONFIG % LONG_S + others)         # no grace for what a roster forbids
    watch.wait_for('quarantined', vm.netdev(), 'red')
    host.ovs.settle()
    assert passed(vm, around) == [] and vm.uuid not in others
    configure(CONFIG % LONG_S)
    eventually(lambda: vm.ping(around.friend.address(), LOST_S), 'the member', 8)
    configure((CONFIG % LONG_S).replace('10.9.0.254', '10.9.0.253'))
    eventually(lambda: not vm.ping('10.9.0.254', LOST_S), 'the gateway to be none', 8)
    configure(CONFIG % LONG_S)
    eventually(lambda: vm.ping('10.9.0.254', LOST_S), 'the gateway', 8)
    settled()


def test_a_broken_configuration_changes_nothing(host: Sandbox, around: Around, start: Any,
                                                configure: Any, watch: Watch,
                                                settled: Any) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    before = policy_flows(host)
    configure('version: 7\n')
    watch.wait_for('configuration', 'the last valid configuration stays in force', 'version')
    host.ovs.kill_vswitchd()
    host.ovs.start_vswitchd()
    comes_back(host, before)
    watch.signal(signal.SIGHUP)
    time.sleep(1.5)
    assert len(watch.lines('stays in force')) == 1 and policy_flows(host) == before
    host.ovs.settle()
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    configure('version: 8\n')
    watch.wait_for('stays in force', count=2)
    configure(CONFIG % LONG_S + 'groups: {red: {vms: [%s]}}\n' % around.friend.uuid)
    watch.wait_for('quarantined', vm.netdev(), 'red')
    configure(CONFIG % LONG_S)
    eventually(lambda: policy_flows(host) == before, 'the repaired configuration', 4)


def test_remote_members_come_and_go(host: Sandbox, around: Around, start: Any, watch: Watch,
                                    settled: Any) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    folder = '/run/xsisolate/groups'
    os.makedirs(folder, exist_ok=True)
    time.sleep(1.2)         # the daemon has seen that there is none
    before = policy_flows(host)
    path = folder + '/red.json'
    member = {'network': host.network_uuid('xenbr0'), 'mac': '02:00:00:00:99:01',
              'addresses': ['10.9.0.77']}
    try:
        write_members(path, member)
        eventually(lambda: policy_flows(host) != before, 'the member')
        settled()
        write_members(path)
        eventually(lambda: policy_flows(host) == before, 'the member to go')
        write_members(path, member)
        eventually(lambda: policy_flows(host) != before, 'the member')
    finally:
        os.unlink(path)
    eventually(lambda: policy_flows(host) == before, 'the file to be missed')


def write_members(path: str, *members: Any) -> None:
    """Write a group's file as the pool daemon does: all at once."""
    with open(path + '.new', 'w') as file:
        json.dump({'version': 1, 'members': members}, file)
    os.rename(path + '.new', path)


# --- what is beside the flows --------------------------------------------------------------


def test_the_port_of_a_dead_netdev_goes(host: Sandbox, around: Around, start: Any, watch: Watch,
                                        settled: Any) -> None:
    vm = start(13, RED)
    assert is_fine(vm, around)
    netdev = vm.netdev()
    vm.cut(0)       # its guest crashed, and no hook runs
    eventually(lambda: netdev not in ports(host), 'the port to go')
    eventually(lambda: not any(netdev in flow for flow in our_flows(host)), 'its flows to go')
    settled()
    vm.crash()


def test_settings_are_repaired(host: Sandbox, around: Around, start: Any, watch: Watch,
                               settled: Any) -> None:
    vm = start(13, RED)
    settled()
    host.ovs.ofctl('-O', 'OpenFlow10', 'mod-port', 'xenbr0', vm.netdev(), 'flood')
    eventually(lambda: port_settings(host, vm.netdev())['no-flood'], 'no-flood', 3)
    free = around.bystander.netdev()
    host.ovs.ofctl('-O', 'OpenFlow10', 'mod-port', 'xenbr0', free, 'no-flood')
    eventually(lambda: not port_settings(host, free)['no-flood'], 'flood', 3)
    host.ovs.vsctl('set', 'Interface', vm.netdev(), 'external_ids:xsisolate-error=nonsense')
    watch.signal(signal.SIGHUP)     # this one is not told of; every five minutes it is seen
    eventually(lambda: 'xsisolate-error' not in external_ids(host, vm.netdev()), 'the error')
    host.ovs.set_bridge('xenbr0', 'protocols=[OpenFlow11]')
    eventually(lambda: 'OpenFlow14' in host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'protocols'),
               'the protocols')
    settled()
    assert 'OpenFlow11' in host.ovs.vsctl('get', 'Bridge', 'xenbr0', 'protocols')
    host.ovs.vsctl('clear', 'Bridge', 'xenbr0', 'protocols')
    before = policy_flows(host)
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure')       # drops all flows; it is not ours
    comes_back(host, before)
    host.ovs.set_bridge('xenbr0', 'fail_mode=standalone')
    comes_back(host, before)
    host.ovs.settle()
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())


def test_the_way_with_fragments_is_left_alone(host: Sandbox, around: Around, start: Any,
                                              new_watch: Callable[[], Watch]) -> None:
    """Our connections must set a length of packets, and that only."""
    host.ovs.ofctl('set-frags', 'xenbr0', 'drop')
    try:
        new_watch().start()
        time.sleep(0.3)
        assert 'drop' in host.ovs.ofctl('get-frags', 'xenbr0')
    finally:
        host.ovs.ofctl('set-frags', 'xenbr0', 'normal')


def test_a_port_that_vanishes_is_no_error(host: Sandbox, around: Around, start: Any,
                                          watch: Watch, settled: Any) -> None:
    """Between the look at the ports and the change: the next look, a moment later, knows."""
    for _ in range(3):
        vm = start(13, RED)
        wipe(host)
        time.sleep(0.12)
        vm.shutdown()
    settled()
    assert not watch.lines('failed'), watch.said()


def test_a_bridge_comes_and_goes(host: Sandbox, around: Around, start: Any, watch: Watch,
                                 settled: Any) -> None:
    host.add_bridge('xenbr2')
    one = start(13, RED, bridge='xenbr2')
    two = start(14, RED, bridge='xenbr2')
    assert can_talk(one, two.address())
    settled()
    before = policy_flows(host, 'xenbr2')
    wipe(host, 'xenbr2')
    comes_back(host, before, 'xenbr2')
    one.shutdown()
    two.shutdown()
    host.bridges.remove('xenbr2')
    host.ovs.vsctl('del-br', 'xenbr2')
    time.sleep(0.3)
    settled()
    assert watch.lines('failed') == watch.lines('failed', "couldn't find port")


@pytest.mark.parametrize('who', ['daemon', 'sync', 'hook'])
def test_a_vlan_network_goes(host: Sandbox, around: Around, start: Any, command: Any,
                             new_watch: Any, who: str) -> None:
    """No hook runs for it; the fake bridge's own port had a flow."""
    command('sync')
    before = policy_flows(host)
    host.add_bridge('xapi7', parent='xenbr0', vlan=7)
    start(13, RED, bridge='xapi7').shutdown()
    command('sync')
    assert len(policy_flows(host) - before) == 1 and before <= policy_flows(host)
    daemon = new_watch().start() if who == 'daemon' else None
    time.sleep(0.5)         # until it has looked at every VIF
    host.ovs.vsctl('del-br', 'xapi7')
    if daemon:
        comes_back(host, before)
        daemon.wait_for('bridge=xenbr0', 'deleted=2')       # one is the header that had it
        return
    assert len(policy_flows(host) - before) == 1 and before <= policy_flows(host)
    if who == 'sync':
        command('sync')
    else:
        refresh(around.friend)
    assert policy_flows(host) == before


def test_it_leaves_hooks_alone(host: Sandbox, around: Around, start: Any, watch: Watch,
                               settled: Any) -> None:
    """Plugged and unplugged by hooks, nothing is left for the daemon to change, or to fail at."""
    for _ in range(2):
        one, two = start(13, RED), start(14, RED, hvm=True)
        assert can_talk(one, two.address())
        one.shutdown()
        two = two.reboot()
        assert can_talk(two, around.friend.address())
        two.shutdown()
    settled()
    assert not watch.lines('quarantined'), watch.said()
    # a port that goes while it is looked at is no harm, and looked at again
    assert watch.lines('failed') == watch.lines('failed', "couldn't find port")


# --- neighbours that hang, and go ----------------------------------------------------------


@contextmanager
def locked(bridge: str) -> Iterator[None]:
    """Hold a bridge's lock as a hook does that takes its time."""
    descriptor = os.open('/run/xsisolate/lock/' + bridge, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_somebody_holds_the_lock(host: Sandbox, around: Around, start: Any, watch: Watch,
                                 settled: Any) -> None:
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    with locked('xenbr0'):
        wipe(host)
        watch.wait_for('failed', 'task=xenbr0', 'still locked', seconds=12)
        assert not our_flows(host)
    eventually(lambda: policy_flows(host) == before, 'the flows', 4)
    assert is_fine(vm, around)


def test_ovsdb_server_restarts(host: Sandbox, around: Around, start: Any, watch: Watch,
                               settled: Any) -> None:
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    assert host.ovs.database
    stop(host.ovs.database)
    time.sleep(0.3)
    host.ovs.start_database()
    host.ovs.vsctl('set', 'Bridge', 'xenbr0', 'other_config:lab=1')
    other = start(14, RED)          # it is seen, too
    settled()
    assert can_talk(vm, other.address())
    before = policy_flows(host)
    wipe(host)
    eventually(lambda: policy_flows(host) == before, 'the flows', 10)


def test_xenstored_hangs(host: Sandbox, around: Around, start: Any, watch: Watch,
                         settled: Any) -> None:
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    assert host.xenstored.process
    host.xenstored.process.send_signal(signal.SIGSTOP)
    try:
        host.ovs.del_flows('xenbr0', 'cookie=0x77/-1')
        time.sleep(1)
        assert policy_flows(host) == before
    finally:
        host.xenstored.process.send_signal(signal.SIGCONT)
    guest_changes(vm)
    watch.wait_for('in doubt', vm.netdev())
    vm.set_policy(own(13, RED))
    settled()
    assert policy_flows(host) == before


def test_ovs_vswitchd_hangs(host: Sandbox, around: Around, start: Any, watch: Watch,
                            settled: Any) -> None:
    vm = start(13, RED)
    settled()
    before = policy_flows(host)
    assert host.ovs.vswitchd
    host.ovs.vswitchd.send_signal(signal.SIGSTOP)
    try:
        vm.set_policy(own(13, {'groups': 'red'}))
        time.sleep(2)
    finally:
        host.ovs.vswitchd.send_signal(signal.SIGCONT)
    vm.set_policy(own(13, RED))
    time.sleep(0.3)
    eventually(lambda: policy_flows(host) == before, 'the flows', 10)
    settled()
    assert is_fine(vm, around)


# --- guests that keep it busy --------------------------------------------------------------


BUSY_S = 3.0


def test_a_guest_that_writes_all_the_time(host: Sandbox, around: Around, start: Any,
                                          watch: Watch, settled: Any) -> None:
    vm, other = start(13, RED), start(14, BLUE)
    settled()
    before = policy_flows(host)
    time.sleep(1)
    began, cpu, count, repaired = time.monotonic(), watch.cpu(), 0, False
    while time.monotonic() - began < BUSY_S:
        vm.xenstore.write('vm-data/xsisolate/groups', 'red' if count % 2 else 'blue')
        count += 1
        if not repaired and time.monotonic() - began > BUSY_S / 2:
            wipe(host)
            repaired = True
            deleted = time.monotonic()
    used, seconds = watch.cpu() - cpu, time.monotonic() - began
    print('%d writes; %.0f %% of a core' % (count, 100 * used / seconds))
    assert count > 100 and used < 0.4 * seconds
    # the VIF in doubt has lost what it had grace for; the others have not
    eventually(lambda: any('vif%d.0' % other.domid in flow for flow in policy_flows(host)),
               'the flows of others', SOON_S)
    print('others were repaired %.1f s after' % (time.monotonic() - deleted))
    assert can_talk(around.friend, '10.9.0.254')
    vm.set_policy(own(13, RED))
    eventually(lambda: policy_flows(host) == before, 'everything as before', 8)
