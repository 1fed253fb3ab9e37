"""Who may reach whom, asked of the switch: a packet-free check of the decision logic."""
import re
from itertools import product

import pytest

from support.traced_cases import CASES, REPLIES, to
from support.traced_packets import (BY_NUMBER, ETH0, ETH1, HIDDEN, NUMBERS, REMOTE, SERVICES,
                                    UNMANAGED, address, arp, build, eth, ip, may_say, nd, say,
                                    settle)
from support.bridge_scenarios import GATEWAY_MAC, mac_of


@pytest.fixture(scope='module')
def town(switch):
    """A bridge on which everybody has spoken once."""
    bridge, _ = build(switch)
    settle(switch, bridge)
    return bridge


@pytest.mark.parametrize('version', [4, 6])
@pytest.mark.parametrize('src', NUMBERS)
def test_matrix(switch, town, src, version):
    for dst in NUMBERS:
        for what in SERVICES:
            if src == dst or (src == UNMANAGED and dst not in BY_NUMBER):
                continue
            found = switch.outputs(town, say(src, dst, what, version))
            if may_say(src, dst, what, version):
                assert found == to(dst), (dst, what)
            else:
                # to a MAC address on another VLAN NORMAL may flood; never to those
                assert not {port for port, _ in found} & set(HIDDEN), (dst, what)
                assert (dst, 0) not in found, (dst, what)


@pytest.mark.parametrize('flow, expected', [
    pytest.param(flow, expected, id=name) for name, flow, expected in CASES])
def test_packet(switch, town, flow, expected):
    assert switch.outputs(town, flow, '-generate') == expected


@pytest.mark.parametrize('flow, options, expected', [
    pytest.param(flow, options, expected, id=name) for name, flow, options, expected in REPLIES])
def test_reply(switch, town, flow, options, expected):
    assert switch.outputs(town, flow, *options) == expected


@pytest.mark.parametrize('version', [4, 6])
def test_requests_are_remembered(switch, town, version):
    assert 'ct(commit,' in switch.trace(town, say(13, 14, 'udp/53', version))
    assert 'ct(' not in switch.trace(town, say(11, 12, 'udp/53', version))
    assert 'ct(commit,' in switch.trace(town, say(13, 14, 'tcp/22', version))


def test_a_forgetful_switch_still_floods_nothing_to_strangers(switch, town):
    switch.ask('fdb/flush', town)
    assert switch.outputs(town, say(11, 12), '-generate') == to(12)
    assert switch.outputs(town, say(11, 12, version=6), '-generate') == to(12)
    assert switch.outputs(town, say(18, UNMANAGED), '-generate') >= to(UNMANAGED)
    settle(switch, town)


def test_case_names_are_different():
    names = [case[0] for case in CASES + REPLIES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('dst, packet', [
    (REMOTE, ip(eth(12, REMOTE), 'icmp', address(12), '10.9.0.101')),
    (GATEWAY_MAC, arp(24, '10.9.0.254')),
    (GATEWAY_MAC, nd(24, 135, 'fd00:9::1'))])
def test_unknown_remote_mac_goes_out_of_the_bond_once(switch, dst, packet):
    bridge, _ = build_other(switch)
    try:
        assert dst not in switch.ask('fdb/show', bridge)
        found = switch.outputs(bridge, packet, '-generate')
        assert len(found) == 1 and found <= to(ETH0, ETH1)
    finally:
        tear_down(switch, bridge)


@pytest.mark.parametrize('mode', ['balance-slb', 'active-backup'])
def test_bond_modes(switch, mode):
    bridge, _ = build_other(switch)
    try:
        switch.vsctl('set', 'Port', 'bond0', 'bond_mode=' + mode)
        found = switch.outputs(bridge, ip(eth(12, REMOTE), 'icmp', address(12), '10.9.0.101'),
                               '-generate')
        assert len(found) == 1 and found <= to(ETH0, ETH1)
    finally:
        tear_down(switch, bridge)


def test_before_its_first_frame_an_arriving_vif_is_here_and_elsewhere(switch):
    bridge, _ = build_other(switch, [12])

    def ends(packet):
        return switch.outputs(bridge, packet, '-generate')
    from_before = ip(eth(ETH0, 11, mac_of(12)), 'icmp', address(12), address(11))
    try:
        assert ends(say(11, 12)) == to(12, ETH0)
        # the same VIF still runs on the host that it migrates from
        assert ends(from_before) == to(11)
        assert ends(ip(eth(ETH0, 12, REMOTE), 'icmp', '10.9.0.101', address(12))) == to(12)
        assert ends(arp(12, 12)) >= to(ETH0)
        assert ends(say(11, 12)) == to(12)
        assert ends(from_before) == set()
    finally:
        tear_down(switch, bridge)


def test_before_its_first_frame_any_other_vif_is_here_only(switch):
    bridge, _ = build_other(switch)
    try:
        assert switch.outputs(bridge, say(11, 12), '-generate') == to(12)
        assert switch.outputs(bridge, ip(eth(ETH0, 11, mac_of(12)), 'icmp', address(12),
                                         address(11)), '-generate') == set()
    finally:
        tear_down(switch, bridge)


# The towns share the names of ports, so only one can stand.


@pytest.fixture(autouse=True, scope='module')
def only_town(switch, town):
    """Remember the town that the module's other tests ask."""
    switch.town = town


def build_other(switch, arriving=()):
    """Take the module's town down for a while, and put up a fresh one."""
    switch.vsctl('del-br', switch.town)
    return build(switch, arriving)


def tear_down(switch, bridge):
    """Take a fresh town down, and put up one under the module's name."""
    switch.vsctl('del-br', bridge)
    number = switch.bridges
    switch.bridges = int(switch.town[len('xenbr'):]) - 1
    build(switch)
    switch.bridges = number
    settle(switch, switch.town)


SENDERS = (11, 13, 17, 18, UNMANAGED, ETH0)
TARGETS = (11, 12, 13, 'fd00:9::1', 'fd00:9::101', 'fe80::1', '::')


NEIGHBOURS = (('33:33:ff:00:00:01', 'ff02::1:ff00:1'), ('33:33:00:00:00:01', 'ff02::1'),
              (mac_of(12), address(12, 6)), (mac_of(13), address(13, 6)))


@pytest.mark.parametrize('sender', SENDERS)
def test_no_cached_verdict_looks_into_neighbour_discovery_without_its_code(switch, town, sender):
    """A kernel without the mend of CVE-2023-5366 would have it fit every target."""
    seen = 0
    for kind, target, (dst, ipv6_dst), link, source, code in product(
            (135, 136), TARGETS, NEIGHBOURS, (mac_of(12), None), (None, '::'), (0, 1)):
        packet = nd(sender, kind, target, dst, ipv6_dst, link=link, code=code, ipv6_src=source,
                    src=REMOTE if sender == ETH0 else None)
        if code:        # then Open vSwitch does not look for a target
            packet = re.sub(',nd_.*', '', packet)
        text = switch.trace(town, packet)
        verdict, = re.findall('^Megaflow: (.*)$', text, re.MULTILINE)
        seen += 'nd_' in verdict
        assert 'nd_' not in verdict or re.search('icmp(v6)?_code=0', verdict), text
    assert seen > 50


@pytest.mark.parametrize('kind', [135, 136])
def test_neighbour_discovery_of_another_code_reaches_no_isolated_vif(switch, town, kind):
    """Not even from a peer: receivers should ignore it, not all may."""
    packet = nd(UNMANAGED, kind, 25 if kind == 135 else UNMANAGED, mac_of(25), address(25, 6),
                link=mac_of(UNMANAGED))
    assert switch.outputs(town, packet) == to(25)
    other = re.sub(',nd_.*', '', packet).replace('icmp_code=0', 'icmp_code=1')
    assert switch.outputs(town, other) == set()
