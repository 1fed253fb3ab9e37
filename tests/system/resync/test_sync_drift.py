"""Whatever has happened to a bridge, the dry run shows it and one sync repairs it."""
import random
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest

from support.command import DIFFERENT
from sandbox.process import run
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from xsisolate.planner.items import NOTE, format_note

from support.reachability import can_talk, is_cut_off
from support.switch import port_settings
from support.middlebox import between
from support.resync import (BLUE, RED, assert_in_sync, assert_repaired, difference, flows, ours,
                            pinging, state, sync, watched, write_members)

pytestmark = pytest.mark.any_python

SEED = 20261123
QUESTION, ABOUT_FLOWS = 18, 1      # of OpenFlow 1.4
SAMPLE = 5
CONFIG = '''\
version: 1
unsealed: accept
networks:
  xenbr0:
    subnets: [10.9.0.0/24]
    gateways: [{ipv4: 10.9.0.254}]
  xenbr1:
    default: %s
groups:
  red: {%s}
'''
STANDARD = CONFIG % ('unlocked', '')
FOREIGN = '''\
cookie=0,priority=32768,ip,nw_src=10.77.0.1,actions=NORMAL
cookie=1,priority=4000,in_port=1,ip,nw_src=10.77.0.2,actions=drop
cookie=1,table=0,priority=65500,in_port=77,actions=drop
cookie=0xffffffffffffffff,priority=1,arp,arp_spa=10.77.0.1,actions=NORMAL
cookie=0x5849534e40001600,table=200,priority=200,ipv6,actions=drop
cookie=0x4f534958,table=235,priority=1,metadata=0x80000001,actions=note:61.62.63.64.65.66
cookie=0x9,table=5,idle_timeout=3600,hard_timeout=7200,priority=7,ip,actions=drop
'''


class Town:
    """VMs of every kind, and how their bridges should look."""

    def __init__(self, host: Sandbox) -> None:
        host.configure(STANDARD)
        for bridge in ('xenbr0', 'xenbr1'):
            host.add_bridge(bridge)
        for bridge in ('xenbr0', 'xenbr1'):     # what is not ours
            host.ovs.ofctl('-O', 'OpenFlow14', 'add-flows', bridge, '-', stdin=FOREIGN)
            run(['ip', 'link', 'add', 'for-' + bridge, 'type', 'veth', 'peer', 'p-' + bridge])
            host.add_port(bridge, 'for-' + bridge)
            run(['ovs-vsctl', '--no-wait', 'add-port', bridge, 'gone-' + bridge])
        self.host = host
        self.vms = {name: host.start_vm(name, bridge, ipv4='10.9.0.%d/24' % number,
                                        mac='02:00:00:00:00:%02x' % number,
                                        policy=with_address(number, policy), hvm=name == 'blue2')
                    for name, number, policy, bridge in (
                        ('red1', 11, RED, 'xenbr0'), ('red2', 12, RED, 'xenbr0'),
                        ('blue1', 13, BLUE, 'xenbr0'), ('blue2', 14, BLUE, 'xenbr0'),
                        ('list', 15, {'allow': '10.9.0.11 external'}, 'xenbr0'),
                        ('locked', 16, {'mode': 'locked'}, 'xenbr0'),
                        ('shut', 17, {'mode': 'disabled'}, 'xenbr0'),
                        ('odd', 18, {'mode': 'nonsense'}, 'xenbr0'),
                        ('free', 19, {}, 'xenbr1'), ('far', 20, RED, 'xenbr1'))}
        assert can_talk(self['blue1'], '10.9.0.14')
        sync()
        self.wanted = state(host)
        for bridge in host.bridges:     # those that were there, and the bridge's own
            assert len(set(flows(host, bridge)) - set(ours(host, bridge))) == 1 + len(
                FOREIGN.splitlines())

    def __getitem__(self, name: str) -> Vm:
        return self.vms[name]

    def assert_restored(self) -> None:
        """Fail unless all is as it was in the beginning."""
        now = state(self.host)
        assert now == self.wanted, difference(self.wanted, now)


def with_address(number: int, policy: Mapping[str, str]) -> Dict[str, str]:
    """Return a policy with a VM's own address, none if there is none."""
    return dict({'vif/0/ipv4': '10.9.0.%d' % number}, **policy) if policy else {}


@pytest.fixture(scope='module')
def town(dom0: Sandbox) -> Town:
    """The same town for all tests: each must leave it as it was."""
    return Town(dom0)


@pytest.fixture(autouse=True)
def restored(town: Town) -> Iterator[None]:
    """A test that has failed must not take the others along."""
    yield
    if state(town.host) != town.wanted:
        STANDARD_AGAIN(town)
        sync()
        town.assert_restored()


def test_the_hooks_work_is_in_sync(town: Town) -> None:
    assert_in_sync(town.host)


# --- flows of ours ---------------------------------------------------------------------------


def match_of(flow: str) -> str:
    """Return what `--strict del-flows` takes for a line of a dump: no actions, the exact cookie."""
    return re.sub(r'cookie=(\w+)', r'cookie=\1/-1', flow.split(' actions=')[0].replace(', ', ','))


def test_any_table_emptied(town: Town) -> None:
    """All our flows of one table after the other, with foreign ones beside them."""
    tables = sorted({int((re.findall(r'table=(\d+)', flow) or ['0'])[0])
                     for flow in ours(town.host)})
    assert len(tables) > 10
    for table in tables:
        town.host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                            'table=%d,cookie=0x5849534f00000000/0xffffffff00000000' % table)
        assert_repaired(town.host, town.wanted, '+cookie=0x5849534f', 'table=%d,' % table,
                        bridge='xenbr0')


def sample(town: Town, headers: bool) -> List[str]:
    """Return some of our flows, always the same; those that the switch learned are its own."""
    known = sorted(flow for flow in ours(town.host) if ('note:' in flow) is headers
                   and 'table=222, priority=100,' not in flow
                   and 'table=207, priority=96,' not in flow)
    return random.Random(SEED).sample(known, SAMPLE)


@pytest.mark.parametrize('headers', [False, True], ids=['flows', 'headers'])
def test_single_flows_deleted(town: Town, headers: bool) -> None:
    for flow in sample(town, headers):
        town.host.ovs.ofctl('-O', 'OpenFlow14', '--strict', 'del-flows', 'xenbr0', match_of(flow))
        seen = assert_repaired(town.host, town.wanted, '+cookie=', bridge='xenbr0')
        assert len([line for line in seen.lines if line.startswith('+cookie')]) == 1


@pytest.mark.parametrize('headers', [False, True], ids=['flows', 'headers'])
def test_actions_changed(town: Town, headers: bool) -> None:
    """By somebody who keeps our cookie, or who puts a flow of his own in its place."""
    for number, flow in enumerate(sample(town, headers)):
        cookie = re.findall('cookie=(0x[0-9a-f]+)', flow)[0] if number % 2 else '0x1'
        match = re.sub('cookie=0x[0-9a-f]+,', '', match_of(flow).replace('/-1', ''))
        town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0',
                            'cookie=%s,%s,actions=IN_PORT' % (cookie, match))
        assert_repaired(town.host, town.wanted, '+cookie=', bridge='xenbr0')


def test_all_flows_gone(town: Town) -> None:
    """A controller that comes or goes, an admin's del-flows: foreign flows are not our concern."""
    for bridge in town.host.bridges:
        foreign = [flow for flow in flows(town.host, bridge) if '0x5849534f' not in flow]
        town.host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', bridge)
        for flow in foreign:
            town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', bridge, flow)
    assert_repaired(town.host, town.wanted)
    assert can_talk(town['red1'], '10.9.0.12') and is_cut_off(town['red1'], '10.9.0.13')


def test_all_flows_go_in_the_middle_of_a_hook(town: Town) -> None:
    """The hook has looked already: it looks again, and brings back what the others need."""
    looks: List[bytes] = []

    def lose(kind: int, message: bytes) -> bool:
        if kind == QUESTION and message[9] == ABOUT_FLOWS:
            looks.append(message)
            if len(looks) == 2:
                town.host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                                    'cookie=0x5849534f00000000/0xffffffff00000000')
        return True

    red1 = town['red1']
    with between('xenbr0', lose):
        done, = town.host.hooks.run(*town.host.hooks.locking_changed(red1.domain, red1.vifs[0]))
    assert done.code == 0 and len(looks) > 3, (done, len(looks))
    town.assert_restored()


STRAYS = '''\
cookie=0x5849534f00000000,priority=65535,actions=NORMAL
cookie=0x5849534fffffffff,table=99,priority=3,icmp6,icmp_type=135,nd_target=fe80::1,actions=drop
cookie=0x5849534f00000001,table=7,tcp,tcp_dst=0x50/0xfff0,nw_tos=16,actions=output:LOCAL
cookie=0x5849534f50000e00,table=0,priority=65500,in_port=99,actions=NORMAL
cookie=0x5849534f40000e00,table=222,priority=50,reg0=0x1/0xff,dl_vlan=5,actions=pop_vlan,NORMAL
cookie=0x5849534f30000009,table=1,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=FLOOD
cookie=0x5849534f30000008,table=2,idle_timeout=600,importance=5,send_flow_rem,arp,arp_op=1,actions=drop
cookie=0x5849534f30000007,table=3,ip,ip_frag=later,priority=32768,actions=group:1
cookie=0x5849534f30000006,table=4,in_port=LOCAL,tun_id=0x7,actions=resubmit(,5),learn(table=6)
'''


def test_stray_flows_with_our_cookie(town: Town) -> None:
    town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flows', 'xenbr1', '-',
                        stdin=STRAYS.replace('actions=group:1', 'actions=drop'))
    seen = assert_repaired(town.host, town.wanted, '-cookie=0x5849534fffffffff, table=99')
    assert len([line for line in seen.lines if line[0] in '+-']) == len(
        STRAYS.splitlines()) + 2


HEADERS = {
    0xd0000e00: 'vif7.0||9 |00000000000000000000000000000000',          # of a VIF that is gone
    0xd0000a00: 'vif5.0|40000a00|5 |0',                                 # of one on another bridge
    0xd0000e02: 'no netdev||9 |0', 0xd0000e04: 'vif7.2|fffffffff|9 |0',
    0xd0000e06: '', 0xd0000e08: '|||', 0xd0000e0a: 'vif7.5|40000e0a|x|0', 0xf0000000: 'a|b|c|d',
    0xc0000e0a: 'a000 02:00:00:00:00:13||no facts|0', 0xb0000077: 'group nobody|||0',
    0xc0000e0c: 'a000||isolated x   |0', 0xa0000123: '|||0', 0xe0000077: 'spread nobody|||0'}


def test_headers_that_make_no_sense(town: Town) -> None:
    """The record of another release, or of nobody: it is removed, and is no reason to stop."""
    for number, text in HEADERS.items():
        note = NOTE + format_note(text) if text else 'drop'
        town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr1',
                            'cookie=0x5849534f%08x,table=235,priority=1,metadata=0x%x,actions=%s'
                            % (number, number, note))
    assert_repaired(town.host, town.wanted, *('-cookie=0x5849534f%08x' % number
                                              for number in HEADERS))


def test_repairing_some_disturbs_no_others(town: Town) -> None:
    """Members of an unaffected group do not lose a packet, while flows of others come and go."""
    red = [flow for flow in ours(town.host) if 'cookie=0x5849534f40000200,' in flow]
    assert len(red) > 10
    with pinging(town['blue1'], '10.9.0.14'), watched(town.host, 'xenbr0') as said:
        for _ in range(3):
            town.host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                                'cookie=0x5849534f40000200/-1')
            sync()
            town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0', STRAYS.split()[0])
            sync()
    assert not [line for line in said if 'cookie=0x5849534f4000060' in line]
    assert len([line for line in said if 'cookie=0x5849534f40000200' in line]) == 6 * len(red)
    assert can_talk(town['red1'], '10.9.0.12')


# --- ports -----------------------------------------------------------------------------------


@pytest.mark.parametrize('name, flag, shown', [
    ('red1', 'flood', '+vif1.0 no-flood=true'), ('shut', 'flood', '+vif7.0 no-flood=true'),
    ('odd', 'flood', '-vif8.0 no-flood=false'), ('locked', 'no-flood', '+vif6.0 no-flood=false'),
    ('free', 'no-flood', '-vif9.0 no-flood=true')])
def test_flooding_changed(town: Town, name: str, flag: str, shown: str) -> None:
    vm = town[name]
    town.host.ovs.ofctl('-O', 'OpenFlow10', 'mod-port', vm.vifs[0].bridge,
                        str(town.host.ovs.ofport(vm.netdev())), flag)
    assert_repaired(town.host, town.wanted, shown)


@pytest.mark.parametrize('name, text, shown', [
    ('red1', '"old reason"', '-vif1.0 xsisolate-error=old reason'),
    ('free', 'x', '+vif9.0 xsisolate-error='), ('odd', 'x', '-vif8.0 xsisolate-error=x'),
    ('odd', '', "+vif8.0 xsisolate-error=vm-data/xsisolate/mode: 'nonsense' is not a mode")])
def test_error_is_stale(town: Town, name: str, text: str, shown: str) -> None:
    netdev = town[name].netdev()
    town.host.ovs.vsctl('remove', 'Interface', netdev, 'external_ids', 'xsisolate-error')
    if text:
        town.host.ovs.vsctl('set', 'Interface', netdev, 'external_ids:xsisolate-error=' + text)
    assert_repaired(town.host, town.wanted, shown)


def test_ofport_changed(town: Town) -> None:
    """Somebody has put the port on the bridge anew, and the old number is another's now."""
    vm = town['red2']
    ids = town.host.ovs.vsctl('get', 'Interface', vm.netdev(), 'external_ids')
    number = town.host.ovs.ofport(vm.netdev())
    for ofport in (88, number):
        town.host.ovs.vsctl('del-port', vm.netdev(), '--', 'add-port', 'xenbr0', vm.netdev(),
                            '--', 'set', 'Interface', vm.netdev(),
                            'ofport_request=%d' % ofport, 'external_ids=' + ids)
        assert town.host.ovs.ofport(vm.netdev()) == ofport
        sync('--dry-run', code=DIFFERENT)
        sync()
        assert_in_sync(town.host)
        assert port_settings(town.host, vm.netdev()) == {'no-flood': True}
        assert can_talk(town['red1'], '10.9.0.12') and is_cut_off(town['blue1'], '10.9.0.12')
    town.host.ovs.vsctl('clear', 'Interface', vm.netdev(), 'ofport_request')


def test_protocols_restricted(town: Town) -> None:
    """No flow can be seen, so none is shown; then both are repaired at once."""
    town.host.ovs.del_flows('xenbr0', 'cookie=0x5849534f40000200/-1', '-OOpenFlow14')
    town.host.ovs.set_bridge('xenbr0', 'protocols=[OpenFlow11]')
    damaged = state(town.host)
    seen = sync('--dry-run', '--bridge', 'xenbr0', code=DIFFERENT)
    assert seen.lines[2:4] == ['-protocols=OpenFlow11',
                               '+protocols=OpenFlow10,OpenFlow11,OpenFlow14']
    assert '8 VIFs, 1 quarantined' in seen.out and state(town.host) == damaged
    sync()
    town.host.ovs.vsctl('clear', 'Bridge', 'xenbr0', 'protocols')
    town.assert_restored()


# --- VIFs ------------------------------------------------------------------------------------


def test_items_of_a_vif_that_is_gone(town: Town) -> None:
    """No hook ran; flows of two VIFs stay behind, on a bridge with VIFs and on one without."""
    town.host.add_bridge('xenbr2')
    vms = [town.host.start_vm('late', bridge, ipv4='10.9.0.30/24', policy=with_address(
        30, {'groups': 'late', 'allow': '10.9.0.0/30'})) for bridge in ('xenbr0', 'xenbr2')]
    for vm in vms:
        vm.crash()
        town.host.ovs.vsctl('del-port', vm.netdev())
    assert ours(town.host, 'xenbr2')
    seen = sync('--dry-run', code=DIFFERENT)
    assert all('-cookie=0x5849534f5%07x,' % (vm.domid << 9) in seen.out for vm in vms)
    sync()
    assert not ours(town.host, 'xenbr2')
    town.host.ovs.vsctl('del-br', 'xenbr2')
    town.host.bridges.remove('xenbr2')
    town.assert_restored()


def test_vswitchd_restarted(town: Town) -> None:
    """All flows, floods and foreign flows are gone: only ours come back."""
    town.host.ovs.restart_vswitchd()
    assert not ours(town.host)
    assert not is_cut_off(town['red1'], '10.9.0.13')
    said = sync('--dry-run', code=DIFFERENT).out
    assert '-cookie' not in said and '-vif1.0 no-flood=false' in said
    assert not ours(town.host)
    sync()
    assert_in_sync(town.host)
    assert can_talk(town['red1'], '10.9.0.12') and is_cut_off(town['red1'], '10.9.0.13')
    for bridge in ('xenbr0', 'xenbr1'):
        town.host.ovs.ofctl('-O', 'OpenFlow14', 'add-flows', bridge, '-', stdin=FOREIGN)
    town.wanted = state(town.host)      # ports may have other numbers now


# --- what policies are made of ---------------------------------------------------------------


def group_file(town: Town) -> None:
    write_members(town.host, 'red', ('02:00:00:00:bb:01', '10.9.0.200'))


def no_group_file(town: Town) -> None:
    write_members(town.host, 'red')


def config(default: str, group: str = '', gateway: str = '10.9.0.254') -> Callable[[Town], None]:
    def configure(town: Town) -> None:
        town.host.configure((CONFIG % (default, group)).replace('10.9.0.254', gateway))
    return configure


def policy(name: str, number: int, words: Mapping[str, str]) -> Callable[[Town], None]:
    return lambda town: town[name].set_policy(with_address(number, words))


STANDARD_AGAIN = config('unlocked')
EFFECTS: Mapping[str, Tuple[Any, Any, str, Any]] = {
    'group file': (group_file, no_group_file, '10.9.0.200', None),
    'gateway': (config('unlocked', gateway='10.9.0.253'), STANDARD_AGAIN, '', None),
    'default': (config('isolated'), STANDARD_AGAIN, '+vif9.0 no-flood=true', None),
    'roster': (config('unlocked', 'vms: []'), STANDARD_AGAIN, 'admits only the VMs on its roster',
               ('red1', '10.9.0.12', False)),
    'policy': (policy('blue1', 13, RED), policy('blue1', 13, BLUE), '',
               ('red1', '10.9.0.13', True)),
    'mode': (policy('red2', 12, {'mode': 'disabled'}), policy('red2', 12, RED), '-cookie',
             ('red1', '10.9.0.12', False)),
    'unlocked': (policy('shut', 17, {'mode': 'unlocked'}), policy('shut', 17, {
        'mode': 'disabled'}), '+vif7.0 no-flood=false', ('locked', '10.9.0.17', True))}


@pytest.mark.parametrize('what', EFFECTS)
def test_what_policies_are_made_of_changes(town: Town, what: str) -> None:
    """No hook runs, but the next sync takes it up, and takes it back."""
    change, back, shown, reaches = EFFECTS[what]
    change(town)
    seen = sync('--dry-run', code=DIFFERENT)
    assert shown in seen.out or shown == '10.9.0.200' and 'nw_dst=10.9.0.200' in seen.out or (
        '0xa0900c8' in seen.out), seen.out
    if reaches:
        assert is_cut_off(town[reaches[0]], reaches[1]) is reaches[2]
    sync()
    if reaches:
        assert can_talk(town[reaches[0]], reaches[1]) is reaches[2]
    assert_in_sync(town.host)
    back(town)
    assert_repaired(town.host, town.wanted)
