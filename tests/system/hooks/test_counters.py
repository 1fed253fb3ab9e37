"""Counters of what was dropped: real frames, and what must not set them back."""
from typing import Callable, Iterator, Mapping, Tuple

import pytest

from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.host_state import CONFIG
from support.vm_events import end, refresh
from support.reachability import say
from support.resync import sync
from xsisolate.diagnostics.counters import read_counters
from xsisolate.planner.drop_counts import Drops

pytestmark = pytest.mark.any_python

COUNT = 30
NOISE = 20      # what a guest's kernel says by itself; one round of frames is more
RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
SPOOFED, SENT, RECEIVED = 'spoofed', 'sent', 'received'
OTHER_CONFIG = CONFIG + '    gateways: [{ipv4: 10.9.0.254, mac: "00:00:5e:00:01:01"}]\n'


@pytest.fixture(scope='module')
def vms(host: Sandbox) -> Iterator[Mapping[str, Vm]]:
    """A VM with neighbours: a member of its group and a stranger."""
    yield {name: host.start_vm(name, ipv4='10.9.0.%d/24' % number, policy=policy and own(number),
                               **more)
           for name, number, policy, more in (
               ('friend', 12, RED, {}), ('vm', 11, RED, {'hvm': True}),
               ('stranger', 99, None, {}))}


def own(number: int, policy: Mapping[str, str] = RED) -> Mapping[str, str]:
    return dict({'vif/0/ipv4': '10.9.0.%d' % number}, **policy)


def drops(vm: Vm) -> Drops:
    """Return a VM's counts; the switch adds up when its caches are emptied."""
    vm.dom0.ovs.settle()
    return read_counters('xenbr0')[vm.domid, 0]


def offend(vms: Mapping[str, Vm], how: str) -> None:
    """Send forbidden frames from, or to, the VM."""
    vm, stranger = vms['vm'], vms['stranger']
    sender, frame = {
        SPOOFED: (vm, say(vm.mac, '10.9.0.77', stranger.mac, stranger.address())),
        SENT: (vm, say(vm.mac, vm.address(), stranger.mac, stranger.address())),
        RECEIVED: (stranger, say(stranger.mac, stranger.address(), vm.mac, vm.address()))}[how]
    sender.send_all([frame] * COUNT)
    sender.call('ping', [], 0, 0, '')       # all have been sent


def grown(vms: Mapping[str, Vm], how: str) -> Drops:
    """Return by how much counts grow by forbidden frames."""
    before = drops(vms['vm'])
    offend(vms, how)
    now = drops(vms['vm'])
    return Drops(now.spoofed - before.spoofed, now.isolated - before.isolated)


def about(count: int, expected: int) -> bool:
    return expected <= count < expected + NOISE


def assert_counting(vms: Mapping[str, Vm]) -> None:
    """Fail unless every kind of forbidden frame is counted, once, where it belongs."""
    for how, expected in ((SPOOFED, (COUNT, 0)), (SENT, (0, COUNT)), (RECEIVED, (0, COUNT))):
        found = grown(vms, how)
        assert all(map(about, found, expected)), (how, found)


def test_every_kind_is_counted(host: Sandbox, vms: Mapping[str, Vm]) -> None:
    assert_counting(vms)
    assert (vms['stranger'].domid, 0) not in read_counters('xenbr0')
    friend = read_counters('xenbr0')[vms['friend'].domid, 0]
    assert friend.spoofed < NOISE and friend.isolated < NOISE, friend
    assert read_counters('xenbr1') == {}


def hook(policy: Mapping[str, str]) -> Callable[[Mapping[str, Vm], Sandbox], None]:
    """Return a change of policy that a hook makes."""
    def change(vms: Mapping[str, Vm], host: Sandbox) -> None:
        vms['vm'].set_policy(policy)
        refresh(vms['vm'])
    return change


def synced(policy: Mapping[str, str]) -> Callable[[Mapping[str, Vm], Sandbox], None]:
    """Return a change of policy that the next sync makes."""
    def change(vms: Mapping[str, Vm], host: Sandbox) -> None:
        vms['vm'].set_policy(policy)
        sync()
    return change


def configured(text: str) -> Callable[[Mapping[str, Vm], Sandbox], None]:
    """Return a change of the configuration."""
    def change(vms: Mapping[str, Vm], host: Sandbox) -> None:
        host.configure(text)
        sync()
    return change


def neighbours(vms: Mapping[str, Vm], host: Sandbox) -> None:
    """Let members of the group come and go, and a lost flow be put back."""
    host.ovs.ofctl('-O', 'OpenFlow14', '--strict', 'del-flows', 'xenbr0',
                   'table=208,priority=100,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00')
    end(host.start_vm('guest', ipv4='10.9.0.13/24', policy=own(13)))
    sync()


def lost_headers(vms: Mapping[str, Vm], host: Sandbox) -> None:
    """Let somebody delete what says whose the flows are."""
    host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', 'table=235')
    refresh(vms['vm'])
    sync()


def refreshed(vms: Mapping[str, Vm], host: Sandbox) -> None:
    """Let a hook run for nothing."""
    refresh(vms['vm'])


Change = Callable[[Mapping[str, Vm], Sandbox], None]
CHANGES: Mapping[str, Tuple[Change, Change]] = {
    'nothing': (refreshed, refreshed),
    'group': (hook(own(11, BLUE)), hook(own(11))),
    'group, by sync': (synced(own(11, {'groups': 'red, blue'})), synced(own(11))),
    'address': (hook(dict(own(11), **{'vif/0/ipv4': '10.9.0.11 10.9.0.111'})), hook(own(11))),
    'allow list': (hook(dict(own(11), allow='10.9.0.98 external')), hook(own(11))),
    'mode': (hook(own(11, {'mode': 'locked'})), hook(own(11))),
    'disabled': (synced(own(11, {'mode': 'disabled'})), hook(own(11))),
    'quarantine': (hook(own(11, {'mode': 'nonsense'})), synced(own(11))),
    'configuration': (configured(OTHER_CONFIG), configured(CONFIG)),
    'neighbours': (neighbours, neighbours),
    'headers': (lost_headers, lost_headers)}


@pytest.mark.parametrize('what', CHANGES)
def test_counts_outlive(host: Sandbox, vms: Mapping[str, Vm], what: str) -> None:
    before, (change, back) = drops(vms['vm']), CHANGES[what]
    assert before.spoofed >= COUNT and before.isolated >= 2 * COUNT
    for step in (change, back):
        step(vms, host)
        now = drops(vms['vm'])
        assert about(now.spoofed, before.spoofed) and about(now.isolated, before.isolated), now
        before = now
    assert about(grown(vms, RECEIVED).isolated, COUNT)


def test_actions_and_cookies_change_in_place(host: Sandbox, vms: Mapping[str, Vm]) -> None:
    """A flow of ours that somebody has changed gets its actions back, and keeps its count."""
    match = 'table=234,priority=10,dl_dst=%s,reg13=0xa000' % vms['vm'].mac
    before = drops(vms['vm'])
    host.ovs.ofctl('-O', 'OpenFlow14', '--strict', 'mod-flows', 'xenbr0',
                   match + ',actions=NORMAL')
    sync()
    assert about(drops(vms['vm']).isolated, before.isolated)
    host.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0', 'cookie=0x7,' + match
                   + ',actions=drop')
    sync()
    assert about(drops(vms['vm']).isolated, before.isolated)
    assert_counting(vms)
