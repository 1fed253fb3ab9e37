"""Connections live through refreshes, end with the rule that let them begin, and migrate."""
import re
import time
from typing import Dict, List, Optional, Tuple

import pytest

from sandbox.dom0 import Sandbox
from sandbox.process import wait_until
from support.command import xsisolate
from support.packets.built_network import Net, Party, Row, row
from support.packets.frames import IP, UDP, IPv6, arp, eth, segment
from xsisolate.diagnostics.doctor_switch import examine_connections
from xsisolate.diagnostics.finding import OK, PROBLEM
from xsisolate.pipeline.connections import BY_CLIENT_S, BY_EITHER_S
from xsisolate.pipeline.tables import RESUMED

OUTWARD = {'mode': 'isolated', 'allow': 'out:10.9.0.31 out:fd00:9::1f'}
INWARD = {'mode': 'isolated', 'allow': 'in:10.9.0.31 in:fd00:9::1f'}
PORT, WEB = 7, 443
GONE_S = 0.5


def tcp(version: int, sender: Party, to: Party, sport: int, dport: int, flags: str) -> object:
    """Return a segment of a connection in which nobody has sent data yet."""
    header = IP(src=sender.ip, dst=to.ip) if version == 4 else IPv6(src=sender.ip6, dst=to.ip6)
    return eth(sender, to) / header / segment(sport, dport, flags)


def guarded(net: Net, other: Optional[Dict[str, str]] = None) -> Tuple[Party, Party]:
    """Add a VIF that begins outward, and who serves it, unmanaged or not."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    return net.vm('a', 11, OUTWARD), net.vm('un', 31, other)


def change(net: Net, policy: object) -> None:
    """Give `a` another policy."""
    addresses = {'vif/0/ipv4': '10.9.0.11', 'vif/0/ipv6': 'fd00:9::b'}
    net.vms['a'].set_policy({**policy, **addresses})    # type: ignore[dict-item]
    net.refresh('a')


@pytest.mark.parametrize('version', [4, 6])
def test_a_connection_lives_through_refreshes_and_ends_with_its_rule(net: Net,
                                                                     version: int) -> None:
    guarded(net)
    a, un = net.vms['a'], net.vms['un']
    un.serve(PORT)
    a.serve(PORT)
    assert not un.tcp(a.address(version), PORT, GONE_S)
    number = a.tcp_open(un.address(version), PORT)
    assert a.tcp_say(number)
    net.refresh()
    assert a.tcp_say(number)
    change(net, {'mode': 'isolated', 'allow': OUTWARD['allow'] + ' tcp/22@10.9.0.99'})
    assert a.tcp_say(number)
    change(net, INWARD)
    wait_until(lambda: not a.tcp_say(number, GONE_S), 'what was cached to be judged anew')
    assert not a.tcp(un.address(version), PORT, GONE_S)
    assert un.tcp(a.address(version), PORT)
    inward = un.tcp_open(a.address(version), PORT)
    assert un.tcp_say(inward)
    change(net, {'mode': 'isolated', 'allow': ''})
    wait_until(lambda: not un.tcp_say(inward, GONE_S), 'what was cached to be judged anew')


@pytest.mark.parametrize('version', [4, 6])
def test_who_may_no_longer_begin_is_not_taken_up_again(net: Net, version: int) -> None:
    """The other end may begin now: what it sends must not make answers of the old client's."""
    a, un = guarded(net)
    change(net, INWARD)

    def ask(flags: str) -> object:
        return tcp(version, un, a, 4001, 22, flags)

    def answer(flags: str) -> object:
        return tcp(version, a, un, 22, 4001, flags)
    net.check(row(un, ask('S'), 'a'), row(a, answer('SA'), 'un'), row(un, ask('A'), 'a'),
              row(a, answer('PA'), 'un'))
    change(net, OUTWARD)
    net.check(row(un, ask('PA')), row(un, ask('R')))
    net.dom0.ovs.appctl('dpctl/flush-conntrack')        # as if it had been closed and forgotten
    net.check(row(a, answer('PA')), row(un, ask('PA')), row(un, ask('SA')))


def test_a_full_table_lets_nothing_begin_and_ends_nothing(net: Net) -> None:
    guarded(net)
    a, un, appctl = net.vms['a'], net.vms['un'], net.dom0.ovs.appctl
    un.serve(PORT)
    number = a.tcp_open(un.address(), PORT)
    limit = appctl('dpctl/ct-get-maxconns').strip()
    assert [finding.state for finding in examine_connections()] == [OK]
    try:
        appctl('dpctl/ct-set-maxconns', appctl('dpctl/ct-get-nconns').strip())
        finding, = examine_connections()
        assert finding.state == PROBLEM and 'the table is full' in finding.found
        assert a.tcp_say(number)
        assert not a.tcp(un.address(), PORT, GONE_S)
        assert not a.udp(un.address(), PORT, GONE_S)
    finally:
        appctl('dpctl/ct-set-maxconns', limit)
    assert a.tcp(un.address(), PORT) and a.tcp_say(number)


# --- live migration ------------------------------------------------------------------------------


def came(net: Net) -> Tuple[Party, Party]:
    """Let `a` arrive from another host, its guest still silent; return it and the gateway."""
    net.bridge('xenbr0')
    net.uplink('xenbr0')
    policy = {'mode': 'isolated', 'allow': 'out:external in:tcp/22@external'}
    net.vm('stopped', 11, policy, address=False)
    del net.parties['stopped']
    outgoing = net.vms.pop('stopped')
    outgoing.unplug()
    incoming = net.dom0.migrate_in(outgoing, plug=False)
    incoming.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
    incoming.plug()
    outgoing.depart()
    incoming.arrive()
    net.vms['a'] = incoming
    a = net.nic('a', incoming, 11, 'eth0', outgoing.mac)
    net.refresh('a')        # as the daemon does when the VM has its name
    return a, net.parties['gw']


def speak(net: Net, a: Party) -> None:
    """Let the guest run."""
    net.check(row(a, arp(a, 1, a.ip, a.ip), 'eth0'))


def taken_up(net: Net) -> List[str]:
    """Return the flows of what is taken up, with their ages."""
    text = net.dom0.ovs.ofctl('dump-flows', 'xenbr0', 'table=%d' % RESUMED)
    return [line for line in text.splitlines() if 'priority=' in line]


def windows(net: Net) -> List[Tuple[int, int]]:
    """Return the priority and the seconds of what is taken up; none has begun its time anew."""
    flows = taken_up(net)
    assert not [flow for flow in flows if 'hard_age' in flow]
    return sorted({tuple(int(re.search(what + r'=(\d+)', flow).group(1))    # type: ignore
                         for what in ('priority', 'hard_timeout')) for flow in flows})


def close(net: Net, *priorities: int) -> None:
    """Let what is taken up by some flows be over."""
    for priority in priorities:
        for flow in taken_up(net):
            if 'priority=%d,' % priority in flow:
                match = flow.split('priority=%d,' % priority)[1].split(' ')[0]
                net.dom0.ovs.del_flows('xenbr0', 'table=%d,priority=%d,%s' % (
                    RESUMED, priority, match), '-OOpenFlow14', '--strict')


@pytest.mark.parametrize('version', [4, 6])
def test_an_established_connection_migrates(net: Net, version: int) -> None:
    a, gw = came(net)

    def here(sport: int, flags: str, *heard: str) -> Row:
        return row(a, tcp(version, a, gw, sport, WEB, flags), *heard)

    def there(sport: int, flags: str, *heard: str) -> Row:
        return row(gw, tcp(version, gw, a, WEB, sport, flags), *heard)
    net.check(there(4001, 'PA'))
    speak(net, a)
    assert windows(net) == [(50, BY_CLIENT_S), (100, BY_EITHER_S)]
    # whichever end speaks first; only segments of a connection that has begun
    net.check(there(4001, 'PA', 'a'), here(4001, 'A', 'eth0'), there(4001, 'PA', 'a'),
              here(4002, 'PA', 'eth0'), there(4002, 'A', 'a'), there(4003, 'SA'),
              there(4003, 'R'), there(4003, 'RA'), there(4003, 'S'),
              row(gw, eth(gw, a) / IP(src=gw.ip, dst=a.ip) / UDP(sport=53, dport=4003)))
    net.refresh('a')
    net.vms['a'].send(bytes(arp(a, 1, a.ip, a.ip)))
    assert windows(net) == [(50, BY_CLIENT_S), (100, BY_EITHER_S)]
    close(net, 100)
    net.check(there(4004, 'PA'), here(4005, 'A', 'eth0'), there(4005, 'PA', 'a'),
              row(gw, tcp(version, gw, a, 4006, 22, 'PA'), 'a'),
              row(a, tcp(version, a, gw, 22, 4006, 'PA'), 'eth0'))
    close(net, 50)
    speak(net, a)
    net.refresh('a')
    net.check(there(4007, 'PA'), here(4007, 'A'), there(4002, 'A', 'a'), here(4005, 'A', 'eth0'))
    assert not windows(net)


def test_its_time_runs_while_the_guest_speaks(net: Net) -> None:
    """A flow that is learned again would begin its time anew."""
    a, gw = came(net)
    speak(net, a)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        net.send(a, bytes(eth(a, gw) / IP(src=a.ip, dst=gw.ip) / UDP(sport=4000, dport=53)))
        time.sleep(0.05)
    assert windows(net) == [(50, BY_CLIENT_S), (100, BY_EITHER_S)]


def test_nothing_is_taken_up_of_who_has_not_migrated(net: Net) -> None:
    guarded(net)
    net.prime()
    assert not windows(net)


def test_a_vif_that_leaves_takes_with_it_what_is_taken_up(dom0: Sandbox, net: Net) -> None:
    a, _ = came(net)
    speak(net, a)
    assert windows(net)
    net.vms['a'].unplug()
    assert not windows(net)


# --- what commands say ---------------------------------------------------------------------------


def said(*words: str) -> Tuple[str, bool]:
    """Return what explain says of a question, and whether the switch says the same."""
    found = xsisolate('explain', *words, '--json').json
    return found['verdict'], not found['differs']


@pytest.mark.parametrize('service', ['icmp', 'tcp/80', 'udp/53', 'esp', 'sctp/3868'])
def test_explain_and_switch_agree_about_directions(net: Net, service: str) -> None:
    guarded(net, {'mode': 'locked'})
    net.prime()
    for words, verdict in ((('a', 'un'), 'reaches'), (('un', 'a'), 'stopped')):
        assert said(*words, service) == (verdict, True)
    change(net, {'mode': 'isolated', 'allow': 'in:tcp/80@10.9.0.31'})
    assert said('un', 'a', service) == ('reaches' if service == 'tcp/80' else 'stopped', True)
    assert said('a', 'un', service) == ('stopped', True)


def test_commands_show_directions(net: Net) -> None:
    guarded(net, {'mode': 'locked'})
    assert 'out:10.9.0.31' in xsisolate('status', 'a').out
    matrix = xsisolate('matrix', '--json').json['networks'][0]
    reaches = {vif['name']: list(vif['reaches'].values()) for vif in matrix['vifs']}
    assert reaches == {'a': [['out:everything']], 'un': [['in:everything']]}
    grid = xsisolate('matrix').out
    assert '>' in grid and '<' in grid
    dumped = xsisolate('dump').out
    assert 'party=10.9.0.31 ' in dumped and '+INGRESS_SIDE -SPREADING' in dumped
