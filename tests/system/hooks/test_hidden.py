"""What no OpenFlow dump shows: every kind of it on one bridge, and what a guest makes of it.

docs/security.md lists them. Flows of in-band control and of failing open: test_in_band.py,
test_remotes.py.
"""
import re
import time
from functools import partial
from typing import Any, Iterator, List, Set

import pytest

from sandbox.process import ip, wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.vm_events import end
from support.switch import our_flows
from support.reachability import say
from support.packets.frames import ALL, Ether, IP, LLC, STP, UDP, Dot3, Raw
from support.resync import sync

BPDU, CCM, LLDP, LACP = ('01:80:c2:00:00:00', '01:80:c2:00:00:30', '01:80:c2:00:00:0e',
                         '01:80:c2:00:00:02')
FIXED = 254         # Open vSwitch's own table
MARK = b'never to be heard'


@pytest.fixture
def pair(host: Sandbox) -> Iterator[List[Vm]]:
    """A managed guest, and an unmanaged one."""
    yield [host.start_vm('vm11', ipv4='10.9.0.11/24', policy={'groups': 'red',
                                                             'vif/0/ipv4': '10.9.0.11'}),
           host.start_vm('vm19', ipv4='10.9.0.19/24')]
    for vm in list(host.vms):
        end(vm)
    sync()
    assert not our_flows(host)


@pytest.fixture
def busy(host: Sandbox, pair: List[Vm]) -> Iterator[None]:
    """Everything that has Open vSwitch look at packets before the flow table, or beside it."""
    ip(['link add m%d type veth peer name n%d' % (n, n) for n in (0, 1)])
    host.ovs.vsctl(
        'set', 'Bridge', 'xenbr0', 'stp_enable=true', 'other_config:stp-forward-delay=4',
        'other_config:stp-max-age=6', 'mcast_snooping_enable=true', '--',
        'add-bond', 'xenbr0', 'b0', 'm0', 'm1', 'bond_mode=balance-tcp', 'lacp=active', '--',
        'add-port', 'xenbr0', 'tunnel0', '--', 'set', 'Interface', 'tunnel0', 'type=vxlan',
        'options:remote_ip=192.0.2.1', 'bfd:enable=true', '--',
        'set', 'Interface', pair[0].netdev(), 'cfm_mpid=7', 'lldp:enable=true')
    sync()
    yield
    host.ovs.vsctl('del-port', 'b0', '--', 'del-port', 'tunnel0', '--', 'set', 'Bridge', 'xenbr0',
                   'stp_enable=false', 'mcast_snooping_enable=false', '--',
                   'remove', 'Bridge', 'xenbr0', 'other_config', 'stp-forward-delay=4',
                   'stp-max-age=6')
    ip(['link del m%d' % n for n in (0, 1)])


def hidden(host: Sandbox, bridge: str = 'xenbr0') -> Set[str]:
    """Return the flows that no OpenFlow dump shows: their table, priority and actions."""
    text = host.ovs.appctl('bridge/dump-flows', bridge)
    shown = {re.sub('.*?(?=priority=)', '', line) for line in host.ovs.dump_flows(bridge)}
    found = set()
    for line in text.splitlines():
        table = re.search('table_id=([0-9]+)', line)
        if table and int(table.group(1)) == FIXED or not shown and 'priority=0,' not in line:
            found.add(line)
        else:
            priority = re.search('priority=([0-9]+)', line)
            assert priority and int(priority.group(1)) <= 0xffff, line
    return found


def test_the_only_hidden_flows_are_in_table_254_and_forward_nothing(host: Sandbox,
                                                                   pair: List[Vm]) -> None:
    flows = hidden(host)
    assert len(flows) == 4
    for flow in flows:
        assert flow.endswith(('actions=drop', 'actions=controller(reason=)')), flow


def test_a_bond_adds_hidden_flows_that_only_its_own_hash_leads_to(host: Sandbox, pair: List[Vm],
                                                                 busy: None) -> None:
    for flow in hidden(host):
        assert flow.endswith(('actions=drop', 'actions=controller(reason=)')) or (
            'recirc_id=' in flow and 'dp_hash=' in flow and re.search(
                r'actions=output:[0-9]+$', flow)), flow


def test_what_the_switch_takes_before_the_flow_table_reaches_nobody(
        host: Sandbox, pair: List[Vm], busy: None) -> None:
    """STP, CFM, LLDP, LACP and BFD of a managed guest: eaten, or refused by our flows."""
    guest, other = pair
    third = host.start_vm('vm20', ipv4='10.9.0.20/24')
    wait_for_the_tree(guest, other, third)
    other.sniff()
    guest.send_all(odd_frames(guest, other))
    time.sleep(0.3)
    assert not [frame for frame in other.sniffed() if MARK in frame]
    # The switch ate the guest's BPDU: its spanning tree may choose anew.
    time.sleep(1)
    wait_for_the_tree(third, other)
    wait_until(lambda: third.ping(other.address()), 'third to reach other', 30)
    other.sniff()
    # The BPDU last: the switch may stop a port on which another bridge speaks.
    third.send_all(odd_frames(third, other)[::-1])
    time.sleep(0.3)
    assert len([frame for frame in other.sniffed() if MARK in frame]) > 5, 'the ears do not work'


def wait_for_the_tree(*vms: Vm) -> None:
    """Wait until the spanning tree lets the ports of these VMs forward."""
    for vm in vms:
        wait_until(partial(is_forwarding, vm), 'the spanning tree', 30)


def is_forwarding(vm: Vm) -> bool:
    """Tell whether the spanning tree lets a VM's port forward."""
    return 'forwarding' in vm.dom0.ovs.vsctl('get', 'Port', vm.netdev(), 'status')


def odd_frames(sender: Vm, receiver: Vm) -> List[bytes]:
    """Return frames of protocols that switches speak, to their groups and to others."""
    frames = [Dot3(src=sender.mac, dst=BPDU) / LLC() / STP() / Raw(MARK)]
    frames += [Ether(src=sender.mac, dst=dst, type=kind) / Raw(MARK)
               for dst in (CCM, LLDP, LACP, receiver.mac, ALL)
               for kind in (0x8902, 0x88cc, 0x8809)]
    frames += [Ether(src=sender.mac, dst=receiver.mac)
               / IP(src=sender.address(), dst=receiver.address())
               / UDP(sport=3784, dport=3784) / Raw(MARK)]
    return [bytes(frame) for frame in frames]


def test_a_mirror_shows_what_vifs_say_whatever_their_policy(host: Sandbox, pair: List[Vm],
                                                            request: Any) -> None:
    """Who sets up a mirror is an admin; also what our flows refuse is copied, before they do."""
    guest, other = pair
    host.ovs.vsctl('--', '--id=@to', 'get', 'Port', other.netdev(), '--', '--id=@m', 'create',
                   'Mirror', 'name=m0', 'select-all=true', 'output-port=@to', '--',
                   'set', 'Bridge', 'xenbr0', 'mirrors=@m')
    request.addfinalizer(lambda: host.ovs.vsctl('clear', 'Bridge', 'xenbr0', 'mirrors'))
    frame = say(guest.mac, '10.9.0.77', '02:00:00:00:77:77', '10.9.0.78', MARK)
    other.sniff()
    guest.send(frame)
    time.sleep(0.3)
    assert [one for one in other.sniffed() if MARK in one]
    host.ovs.vsctl('clear', 'Bridge', 'xenbr0', 'mirrors')
    host.ovs.settle()
    other.sniff()
    guest.send(frame)
    time.sleep(0.3)
    assert not [one for one in other.sniffed() if MARK in one]
