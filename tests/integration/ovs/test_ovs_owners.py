"""The longest way that a frame can go: from the last owner of an address to those of another.

Open vSwitch follows 64 resubmits into each other, and 4096 of one frame.
"""
import pytest

from support.bridge_scenarios import judged_only, mac_of, make_scenario, make_vif
from support.dummy_switch import load
from support.traced_packets import arp, eth, nd
from xsisolate.pipeline.peer_lookup import OWNERS_MAX
from xsisolate.pipeline.tables import OFPORT_LOCAL

THEIRS, OURS = ('10.9.1.1', 'fd00:9::1:1'), ('10.9.1.2', 'fd00:9::1:2')
FIRST, SECOND = range(11, 11 + OWNERS_MAX), range(61, 61 + OWNERS_MAX)
LAST = FIRST[-1]


VIFS = [make_vif(number, own='10.9.0.%d fd00:9::%x' % (number, number), groups='red',
                 shared=' '.join(OURS if number in FIRST else THEIRS))
        for number in (*FIRST, *SECOND)]


@pytest.fixture(scope='module')
def crowded(switch):
    """A bridge on which two addresses have all the owners that they can have."""
    bridge = switch.add_bridge()
    switch.add_ports(bridge, [('eth0', 1, None)] + [
        ('vif%d.0' % one.id.domid, one.id.domid, None) for one in VIFS])
    load(bridge, make_scenario(VIFS).plan())
    for number in (*FIRST, *SECOND):        # says a word, so that the switch knows where it is
        switch.trace(bridge, arp(number, '10.9.0.%d' % number, spa='10.9.0.%d' % number),
                     '-generate')
    return bridge


@pytest.fixture(scope='module')
def permissive(switch, crowded):
    """The same bridge, from here on, with policies that are judged only."""
    switch.ofctl('del-flows', crowded)
    switch.ofctl('add-flow', crowded, 'priority=0,actions=NORMAL')
    load(crowded, make_scenario(list(map(judged_only, VIFS))).plan())
    return crowded


QUESTIONS = pytest.mark.parametrize('packet', [
    pytest.param(arp(LAST, THEIRS[0], spa=OURS[0]), id='ARP'),
    pytest.param(nd(LAST, 135, THEIRS[1], ipv6_src=OURS[1], dst='33:33:ff:01:00:01',
                    ipv6_dst='ff02::1:ff01:1'), id='ND')])


@QUESTIONS
def test_all_owners_are_asked_by_the_last_of_another_address(switch, crowded, packet):
    assert switch.outputs(crowded, packet) == {(number, 0) for number in SECOND}


def test_the_last_owners_of_two_addresses_meet(switch, crowded):
    packet = '%s,udp,nw_src=%s,nw_dst=%s,nw_ttl=64,tp_src=1,tp_dst=2' % (
        eth(LAST, mac_of(SECOND[-1])), OURS[0], THEIRS[0])
    assert switch.outputs(crowded, packet) == {(SECOND[-1], 0)}
    stolen = packet.replace('dl_src=' + mac_of(LAST), 'dl_src=' + mac_of(LAST - 1))
    assert not switch.outputs(crowded, stolen)


@QUESTIONS
def test_judged_only_it_is_flooded(switch, permissive, packet):
    """A clone goes the longest way, and the frame itself must not be lost over that."""
    everybody = {(number, 0) for number in (1, OFPORT_LOCAL, *FIRST, *SECOND)}
    assert switch.outputs(permissive, packet) == everybody - {(LAST, 0)}


def test_judged_only_the_last_owners_meet(switch, permissive):
    packet = '%s,udp,nw_src=%s,nw_dst=%s,nw_ttl=64,tp_src=1,tp_dst=2' % (
        eth(LAST, mac_of(SECOND[-1])), OURS[0], THEIRS[0])
    assert switch.outputs(permissive, packet) == {(SECOND[-1], 0)}
