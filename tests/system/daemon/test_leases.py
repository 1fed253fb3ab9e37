"""Addresses that servers lease, learned by the daemon, kept for hooks, owned by VIFs."""
import json
import os
import re
import signal
import sys
import time
from typing import Any, Callable, List, Set, Tuple

import pytest
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox
from sandbox.hooks import Hooks
from sandbox.process import wait_until
from sandbox.vm import Vm
from support.kills import chosen
from support.learning import (SERVER, SERVER_MAC, Learning, kept, lease_path, owned, status_of,
                              xsisolate)
from sandbox.dhcp import (ACK, BROADCAST, DECLINE, DISCOVER, NAK, OFFER, RELEASE, REPLY, REQUEST,
                          SOLICIT, answer, answer6, dhcp6, duid, frame, ia_na, ip_bytes, mac_bytes,
                          options4, query, query6)
from support.torrent import Torrent
from support.packets.real_programs import addresses, dhcpcd, kea, need, networkd, radvd, within

from xsisolate.openflow.ownership import COPIES
from xsisolate.policy.address import eui64_link_local, format_prefix
from xsisolate.policy.leases import ALLOWANCE_S, KEYS, Lease, LeaseRecord, format_record
from xsisolate.policy.address import parse_prefix

FIXED = {'groups': 'red', 'vif/0/ipv4': '10.9.0.80'}


def link_local(vm: Vm) -> str:
    return format_prefix(eui64_link_local(vm.mac))


# --- real servers, real clients --------------------------------------------------------------

@pytest.mark.parametrize('version', [4, 6])
def test_a_leased_address_is_owned(learning: Learning, version: int) -> None:
    """Two members reach each other by what they were leased; one of another group neither."""
    learning.serve()
    red, other = learning.start('red', 0x47), learning.start('other', 0x48)
    blue = learning.start('blue', 0x49, {'groups': 'blue', 'vif/0/ipv4': 'dhcp',
                                         'vif/0/ipv6': 'dhcp'})
    found = {vm.name: learning.lease(vm, version) for vm in (red, other, blue)}
    began = time.monotonic()
    assert red.ping(found['other'], 3), learning.watch.said()
    assert other.ping(found['red'], 1)
    print('first ping after %.3f s' % (time.monotonic() - began))
    assert not red.ping(found['blue'], 0.3) and not blue.ping(found['red'], 0.3)
    assert kept(red) == owned(red) == [found['red']]
    said = status_of(red)
    assert said['origins'][found['red']].startswith('dhcp until 20'), said
    done = xsisolate('explain', red.netdev()[3:].replace('.', '/'),
                     other.netdev()[3:].replace('.', '/'), '-%d' % version)
    assert done.returncode == 0 and 'REACHES' in done.stdout and (
        'has address %s: dhcp until' % found['red']) in done.stdout, done


def test_a_lease_is_renewed_by_unicast_and_released(learning: Learning) -> None:
    """What the client renews counts on, what it releases ends at once."""
    learning.serve()
    red = learning.start('red', 0x47)
    client = learning.client(red)
    found = client.wait_for('BOUND')
    learning.wait_owned(red, found)     # the daemon may be some milliseconds behind the client
    first = os.stat(lease_path(red)).st_mtime_ns
    assert client.wait_for('RENEW') == found
    wait_until(lambda: os.stat(lease_path(red)).st_mtime_ns > first, 'the renewal to be learned')
    assert owned(red) == [found]
    client.program.stop()
    code, _, err = red.run('/bin/sh', '-c', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin dhclient -4 -r '
                           '-sf /bin/true -lf %s -pf %s eth0' % (
                               client.leases, client.leases + '.pid'))
    assert code == 0, err
    learning.wait_owned(red)
    assert kept(red) == []


def leased(vm: Vm) -> List[str]:
    """Return the addresses that a VM has but its link-local one."""
    code, out, err = vm.run('ip', '-o', 'addr', 'show', 'dev', 'eth0', 'scope', 'global')
    assert code == 0, err
    return sorted(line.split()[3].partition('/')[0] for line in out.splitlines()
                  if 'tentative' not in line)


@pytest.mark.parametrize('relayed', [False, True], ids=['served', 'relayed'])
def test_other_clients(learning: Learning, relayed: bool) -> None:
    """Dhcpcd's and systemd-networkd's addresses are owned, by IPv4 and IPv6, also by a relay."""
    learning.relay() if relayed else learning.serve()
    vms = [learning.start('red', 0x47), learning.start('other', 0x48)]
    clients = [client(vm) for client, vm in zip((dhcpcd, networkd), vms)]
    learning.programs += clients
    for vm, client in zip(vms, clients):
        assert within(30, lambda: len(leased(vm)) == 2 and leased(vm) == owned(vm)), (
            leased(vm), owned(vm), client.output(), [one.output() for one in learning.programs])
    for one, other in (vms, vms[::-1]):
        assert one.ping_all(leased(other), 3) == set(leased(other)), learning.watch.said()


def test_kea(learning: Learning) -> None:
    """What another server leases is owned, too."""
    red = learning.start('red', 0x47)
    learning.programs.append(kea(learning.server, red.mac, '10.9.0.70'))
    assert learning.lease(red) == '10.9.0.70'
    learning.wait_owned(red, '10.9.0.70')


def test_slaac(namespaces: None, hooks: Hooks) -> None:
    """What a VM makes of its MAC address in the network's /64 is its own, with no daemon at all."""
    need('radvd')
    programs = []
    with Sandbox(hooks) as dom0:
        learning = Learning(dom0, Watch(sys.executable))
        try:
            programs.append(radvd(learning.uplink.hosts[0], 'fd00:9::/64'))
            vms = [learning.start(name, number, {'groups': 'red', 'vif/0/ipv6': 'slaac'},
                                  plug=False, sysctls=(('accept_ra', 1), ('addr_gen_mode', 0)))
                   for name, number in (('red', 0x47), ('other', 0x48))]
            for vm in vms:
                vm.plug()
            own = ['fd00:9::ff:fe00:%x' % number for number in (0x47, 0x48)]
            for vm, address in zip(vms, own):
                assert within(10, lambda: address in addresses(vm) and not addresses(
                    vm, 'tentative')), addresses(vm)
            assert vms[0].ping(own[1], 2) and vms[1].ping(own[0], 2)
            assert status_of(vms[0])['origins'][own[0]] == 'slaac'
            vms[0].ip('addr add fd00:9::99/64 dev eth0 nodad')      # not its own
            vms[0].ip('addr del %s/64 dev eth0' % own[0])
            assert not vms[0].ping(own[1], 0.5)
        finally:
            for program in programs:
                program.stop()
            learning.watch.close()


# --- what is kept ----------------------------------------------------------------------------

def test_without_the_daemon_nothing_is_learned_and_nothing_is_lost(learning: Learning) -> None:
    """Neither by a refresh nor by a plug; a daemon that was killed goes on where it was."""
    red, other = learning.start('red', 0x47), learning.start('other', 0x48)
    learning.grant(red, '10.9.0.70')
    assert os.stat(lease_path(red)).st_mode & 0o777 == 0o644
    learning.watch.stop()
    learning.exchange(other, '10.9.0.71')
    red.fire(learning.dom0.hooks.locking_changed(red.domain, red.vifs[0]))
    assert owned(red) == ['10.9.0.70'] and kept(other) == []
    said = xsisolate('status')
    assert 'the daemon does not run, so nothing is learned' in said.stdout, said
    red.unplug()
    red.plug()
    assert owned(red) == ['10.9.0.70']
    learning.start_daemon()
    assert owned(red) == ['10.9.0.70'] and 'nothing is learned' not in xsisolate('status').stdout
    learning.grant(other, '10.9.0.71')
    learning.watch.signal(9)
    learning.watch.start_again()
    assert owned(red) == ['10.9.0.70'] and owned(other) == ['10.9.0.71']
    learning.exchange(other, '10.9.0.71', xid=5)        # a renewal
    red.send(query(RELEASE, red.mac, ciaddr='10.9.0.70', ip_src='10.9.0.70'))
    learning.wait_owned(red)
    assert owned(other) == ['10.9.0.71']


def test_a_daemon_that_is_killed_on_the_way(learning: Learning) -> None:
    """At any of its calls between the answer and the flows: what is kept is owned, no more."""
    red, watch, log = learning.start('red', 0x47), learning.watch, '/run/injector.log'

    def ask(order: str, number: int) -> str:
        """Have another daemon hear a question; return the address that is asked for."""
        watch.kill()
        watch.start(order=order)
        assert owned(red) == kept(red)
        address = '10.9.0.%d' % (70 + number % 20)
        red.send(query(REQUEST, red.mac, asked=address, xid=number))
        time.sleep(0.05)        # until it has been heard
        return address

    address, before = ask('list:' + log, 0), os.path.getsize(log)
    learning.server.send(answer(ACK, red.mac, address, xid=0))
    learning.wait_owned(red, address)
    with open(log) as file:
        count = len(file.read()[before:].splitlines())
    killed = 0
    for number in chosen(count, 5):
        address = ask('late:%d' % number, number)
        watch.signal(signal.SIGUSR2)
        learning.server.send(answer(ACK, red.mac, address, xid=number))
        killed += within(1, watch.has_ended)
        assert address in kept(red) or address not in owned(red), number
    print('%d calls, killed at %d' % (count, killed))
    assert killed
    ask('', 0)
    learning.exchange_until(lambda: '10.9.0.99' in owned(red) == kept(red), red, '10.9.0.99')


def test_a_lease_ends_with_its_time(learning: Learning) -> None:
    """And its stated allowance."""
    red = learning.start('red', 0x47)
    learning.grant(red, '10.9.0.70', seconds=2)
    time.sleep(2 + ALLOWANCE_S - 5)
    assert owned(red) == ['10.9.0.70']
    learning.wait_owned(red, seconds=10)
    assert learning.watch.lines('lease ended', 'address=10.9.0.70')


@pytest.mark.parametrize('text', [
    pytest.param('{"version": 1, "mac": ', id='cut in half'),
    pytest.param('{"version": 2, "mac": "02:00:00:00:00:47", "at": 1, "leases": []}',
                 id='of another release'),
    pytest.param(format_record(LeaseRecord('02:00:00:00:00:99', 1 << 43, (
        Lease(parse_prefix('10.9.0.99'), 1 << 33, ''),))), id='of another MAC address'),
    pytest.param(None, id='unreadable'),
])
def test_a_file_that_does_not_count(learning: Learning, text: str) -> None:
    """One line, nothing opened, nothing lost; and the daemon writes it anew."""
    red = learning.start('red', 0x47)
    learning.grant(red, '10.9.0.70')
    with open(lease_path(red)) as file:
        good = file.read()
    red.set_vif(other_config=dict(red.vifs[0].other_config, **{KEYS[0]: good.strip()}))
    learning.watch.stop()
    os.unlink(lease_path(red))
    if text is None:
        os.mkdir(lease_path(red))
    else:
        with open(lease_path(red), 'w') as file:
            file.write(text)
    runs = red.fire(learning.dom0.hooks.locking_changed(red.domain, red.vifs[0]))
    said = [line for run in runs for line in run.stderr.splitlines() if ' leases ' in line]
    assert len(said) == 1 and red.netdev() in said[0], runs
    assert owned(red) == ['10.9.0.70']
    assert 'lease' in xsisolate('status').stdout
    if text is None:
        os.rmdir(lease_path(red))
    learning.start_daemon()
    learning.exchange_until(lambda: kept(red) == ['10.9.0.70'], red, '10.9.0.70', xid=9)
    assert owned(red) == ['10.9.0.70']


def test_two_daemons(learning: Learning) -> None:
    """The second says once that it does not learn, and takes over when the first has gone."""
    red = learning.start('red', 0x47)
    learning.grant(red, '10.9.0.70')
    second = Watch(learning.watch.python)
    try:
        second.start()
        assert len(second.lines('not learning')) == 1
        for number in (1, 2):
            has = ['10.9.0.7%d' % digit for digit in range(number + 1)]
            learning.exchange_until(lambda: owned(red) == has, red, has[-1], xid=number)
            if number == 1:
                learning.watch.stop()
        second.stop()
    finally:
        second.close()
        learning.start_daemon()


# --- whose an address is ---------------------------------------------------------------------

def test_a_fixed_address_wins_over_a_lease(learning: Learning) -> None:
    """The lease yields at once when a VM comes that has the address fixed, and is refused after."""
    red = learning.start('red', 0x47)
    learning.grant(red, '10.9.0.80')
    fixed = learning.start('fixed', 0x48, FIXED)
    assert owned(red) == [] and status_of(fixed)['mode'] == 'isolated', status_of(fixed)
    fixed.ip('addr add 10.9.0.80/24 dev eth0')
    learning.exchange_until(lambda: bool(learning.watch.lines(
        'lease refused', 'address=10.9.0.80', 'fixed')), red, '10.9.0.80', xid=9)
    assert kept(red) == [] == owned(red)
    assert fixed.ping('10.9.0.254', 0.5) is False       # it has no right to leave
    settled = xsisolate('sync', '--dry-run')
    assert settled.returncode == 0, settled


def test_an_older_lease_wins_over_a_newer_one(learning: Learning) -> None:
    """It is said once, and the newcomer displaces nobody."""
    red, other = learning.start('red', 0x47), learning.start('other', 0x48)
    learning.grant(red, '10.9.0.70')
    for xid in (1, 2, 3):
        learning.exchange(other, '10.9.0.70', xid=xid)
        time.sleep(0.3)
    assert owned(red) == ['10.9.0.70'] and owned(other) == []
    assert len(learning.watch.lines('lease refused', 'address=10.9.0.70')) == 1
    red.send(query(RELEASE, red.mac, ciaddr='10.9.0.70', ip_src='10.9.0.70'))
    learning.wait_owned(red)
    learning.grant(other, '10.9.0.70', xid=4)


def test_what_a_vif_elsewhere_has_is_refused(learning: Learning) -> None:
    """The group files know it, whichever group it is."""
    os.makedirs('/run/xsisolate/groups', exist_ok=True)
    with open('/run/xsisolate/groups/green.json', 'w') as file:
        json.dump({'version': 1, 'members': [{
            'network': learning.dom0.network_uuid('xenbr0'), 'mac': '02:00:00:00:77:01',
            'addresses': ['10.9.0.70'], 'leased': ['10.9.0.70']}]}, file)
    red = learning.start('red', 0x47)
    learning.exchange_until(lambda: bool(learning.watch.lines(
        'lease refused', 'on another host')), red, '10.9.0.70')
    assert owned(red) == []
    learning.grant(red, '10.9.0.71', xid=2)


# --- attacks -----------------------------------------------------------------------------------

def fragment(frame: bytes, more: int, offset: int) -> bytes:
    """Return an IPv4 packet that says it is a fragment."""
    return frame[:20] + bytes([more, offset]) + frame[22:]


RELAY_REPLY = 13
GOOD = options4([(53, bytes([ACK])), (54, ip_bytes(SERVER)), (51, bytes([0, 0, 2, 0]))])
Row = Tuple[str, Callable[['Attack'], Any]]


class Attack:
    """The victim, an attacker beside it and machines on the LAN, and an address for each row."""

    def __init__(self, learning: Learning, number: int) -> None:
        self.learning, self.xid = learning, 1000 + number
        self.address = '10.9.0.%d' % (100 + number)
        self.address6 = 'fd00:9::%x' % (0x100 + number)

    def ask(self, **more: Any) -> None:
        """The victim asks for the address."""
        self.red.send(query(REQUEST, self.red.mac, xid=self.xid, asked=self.address, **more))
        time.sleep(0.02)

    def ask6(self) -> None:
        """The victim asks for an address of IPv6."""
        self.red.send(query6(SOLICIT, self.red.mac, link_local(self.red), xid=self.xid))
        time.sleep(0.02)

    def ack(self, **more: Any) -> bytes:
        """An answer that would lease the address."""
        return answer(ACK, self.red.mac, more.pop('yiaddr', self.address),
                      **dict({'xid': self.xid}, **more))

    def reply(self, **more: Any) -> bytes:
        """The same of IPv6."""
        return answer6(REPLY, self.red.mac, (self.address6, 600), ll=link_local(self.red),
                       **dict({'xid': self.xid}, **more))

    red: Vm
    evil: Vm
    unmanaged: Vm


def sends(who: str, what: Callable[[Attack], bytes], ask: bool = True,
          six: bool = False) -> Callable[[Attack], Any]:
    """Return a row: the victim has asked, or not, and this is what is sent then."""
    def play(attack: Attack) -> None:
        if ask:
            attack.ask6() if six else attack.ask()
        hosts = {'server': attack.learning.server, 'lan': attack.learning.other}
        sender: Any = hosts.get(who) or getattr(attack, who)
        sender.send(what(attack))
    return play


def by(who: str, six: bool = False, **more: Any) -> Callable[[Attack], Any]:
    """Return a row: the victim has asked, and somebody answers like this."""
    return sends(who, lambda a: a.reply(**more) if six else a.ack(**more), six=six)


# Each of these would have the victim own an address, or the attacker one that is not its own.
ROWS: Tuple[Row, ...] = (
    ('nobody has asked', sends('server', lambda a: a.ack(), ask=False)),
    ('nobody has asked by IPv6', sends('server', lambda a: a.reply(), ask=False)),
    ('another transaction', by('server', xid=1)),
    ('another transaction of IPv6', by('server', True, xid=1)),
    ('another DUID', by('server', True, client=duid('02:00:00:00:00:99'))),
    ("another client's hardware address", sends('server', lambda a: answer(
        ACK, a.evil.mac, a.address, xid=a.xid, dst=a.red.mac))),
    ('from a machine that is no server', by('lan', src='02:00:00:00:aa:06', ip_src='10.9.0.6')),
    ('from one that says it is, in the option', by('lan', src='02:00:00:00:aa:06',
                                                   ip_src='10.9.0.6', server=SERVER)),
    ('aloud from a machine that is no server', by(
        'lan', src='02:00:00:00:aa:06', ip_src='10.9.0.6', dst=BROADCAST,
        ip_dst='255.255.255.255')),
    ('from one that is no server by IPv6', by('lan', True, src='02:00:00:00:aa:06',
                                              server='fe80::ff:fe00:aa06')),
    ('from a VM without policy', by('unmanaged', src='02:00:00:00:00:50')),
    ("from a VM without policy, in the server's name", by('unmanaged')),
    ('aloud from a VM without policy', by('unmanaged', src='02:00:00:00:00:50', dst=BROADCAST,
                                          ip_dst='255.255.255.255')),
    ('from a VM without policy by IPv6', by('unmanaged', True, src='02:00:00:00:00:50')),
    ('from a member of its group', by('evil', src='02:00:00:00:00:48')),
    ("from a member, in the server's name", by('evil')),
    ('aloud from a member', by('evil', src='02:00:00:00:00:48', dst=BROADCAST,
                               ip_dst='255.255.255.255')),
    ('from a member by IPv6', by('evil', True, src='02:00:00:00:00:48')),
    ('relayed by a member', by('evil', src='02:00:00:00:00:48', giaddr='10.9.0.254')),
    ('relayed by a machine that is no server', by('lan', src='02:00:00:00:aa:06', ip_src='10.9.0.6',
                                                  giaddr=SERVER)),
    ('to a relay', by('server', ports=(67, 67))),
    ('to a relay by IPv6', sends('server', lambda a: answer6(
        RELAY_REPLY, a.red.mac, (a.address6, 600), ll=link_local(a.red), xid=a.xid), six=True)),
    ('as large as can be, of a member', by('evil', src='02:00:00:00:00:48',
                                           options=[(250, bytes(240))] * 4)),
    ('the first fragment of an answer', sends('server', lambda a: fragment(a.ack(), 0x20, 0))),
    ('the last fragment of an answer', sends('server', lambda a: fragment(a.ack(), 0, 1))),
    ('by itself', by('red', src='02:00:00:00:00:47', dst='02:00:00:00:00:47')),
    ('by itself, aloud', by('red', src='02:00:00:00:00:47', dst=BROADCAST,
                            ip_dst='255.255.255.255')),
    ("by itself, in the server's name", by('red', dst='02:00:00:00:00:47')),
    ('by itself by IPv6', by('red', True, src='02:00:00:00:00:47')),
    ('an offer', sends('server', lambda a: answer(OFFER, a.red.mac, a.address, xid=a.xid))),
    ('without a lease time', by('server', seconds=-1)),
    ('for no time', by('server', seconds=0)),
    ('no address', by('server', yiaddr='0.0.0.0', ip_dst='255.255.255.255')),
    ('outside the subnets', by('server', yiaddr='10.8.0.9')),
    ("the gateway's address", by('server', yiaddr='10.9.0.254')),
    ("the server's address", by('server', yiaddr=SERVER)),
    ('a multicast address', by('server', yiaddr='224.0.0.5')),
    ('the loopback address', by('server', yiaddr='127.0.0.1')),
    ('broadcast', by('server', yiaddr='255.255.255.255')),
    ("a member's fixed address", by('server', yiaddr='10.9.0.81')),
    ("another group's fixed address", by('server', yiaddr='10.9.0.82')),
    ('no cookie', by('server', cookie=b'\0\0\0\0')),
    ('a question as an answer', by('server', op=1)),
    ('another hardware type', by('server', htype=6)),
    ('a longer hardware address', by('server', hlen=16)),
    ('options cut off', by('server', raw=GOOD[:-1])),
    ('an option longer than the packet', by('server', raw=GOOD + b'\x0c\xff')),
    ('a type twice', by('server', raw=GOOD + options4([(53, bytes([ACK]))]))),
    ('two types', by('server', raw=GOOD + options4([(53, bytes([NAK]))]))),
    ('two lease times', by('server', raw=GOOD + options4([(51, bytes(4))]))),
    ('overload with a second type', by('server', raw=GOOD + options4([(52, b'\1')]) + b'\xff',
                                       file=options4([(53, bytes([NAK]))]))),
    ('overload that is cut off', by('server', raw=GOOD + options4([(52, b'\2')]) + b'\xff',
                                    sname=b'\x0c\xff')),
    ('overload in an overloaded field', by('server', raw=GOOD + options4([(52, b'\1')]) + b'\xff',
                                           file=options4([(52, b'\2')]))),
    ('BOOTP', by('server', raw=b'\xff')),
    ('only the beginning', sends('server', lambda a: a.ack()[:250])),
    ('a link-local address by IPv6', sends('server', lambda a: answer6(
        REPLY, a.red.mac, ('fe80::99', 600), ll=link_local(a.red), xid=a.xid), six=True)),
    ('outside the subnets by IPv6', sends('server', lambda a: answer6(
        REPLY, a.red.mac, ('fd00:8::99', 600), ll=link_local(a.red), xid=a.xid), six=True)),
    ("the gateway's address by IPv6", sends('server', lambda a: answer6(
        REPLY, a.red.mac, ('fd00:9::1', 600), ll=link_local(a.red), xid=a.xid), six=True)),
    ('no binding by IPv6', sends('server', lambda a: answer6(
        REPLY, a.red.mac, (a.address6, 600), ll=link_local(a.red), xid=a.xid, status=3),
        six=True)),
    ('a failure by IPv6', by('server', True, options=[(13, b'\0\1')])),
    ('two DUIDs', by('server', True, options=[(1, duid('02:00:00:00:00:47'))])),
    ('a short IA_NA', by('server', True, options=[(3, bytes(5))])),
    ("the victim's name in an attacker's question", sends('evil', lambda a: query(
        REQUEST, a.red.mac, src=a.evil.mac, xid=a.xid, asked=a.address), ask=False)),
    ("the attacker asks for a lease with the victim's MAC address", sends(
        'evil', lambda a: query(REQUEST, a.red.mac, xid=a.xid, asked=a.address), ask=False)),
    ("the attacker releases the victim's lease", sends('evil', lambda a: query(
        RELEASE, a.red.mac, src=a.evil.mac, ciaddr='10.9.0.70', ip_src='10.9.0.70'), ask=False)),
    ('... in its name', sends('evil', lambda a: query(
        RELEASE, a.red.mac, ciaddr='10.9.0.70', ip_src='10.9.0.70'), ask=False)),
    ("the attacker declines the victim's lease", sends('evil', lambda a: query(
        DECLINE, a.red.mac, src=a.evil.mac, asked='10.9.0.70'), ask=False)),
    ('... and as its own', sends('evil', lambda a: query(
        DECLINE, a.evil.mac, asked='10.9.0.70'), ask=False)),
    ('... and by IPv6', sends('evil', lambda a: query6(9, a.evil.mac, link_local(a.evil), options=[
        ia_na(('fd00:9::70', 0))], client=duid(a.red.mac)), ask=False)),
    ('the attacker denies the victim its lease', sends('evil', lambda a: answer(
        NAK, a.red.mac, xid=a.xid))),
    ('a VM without policy denies it', sends('unmanaged', lambda a: answer(
        NAK, a.red.mac, xid=a.xid, src='02:00:00:00:00:50'))),
    ('a stranger denies it aloud', sends('lan', lambda a: answer(
        NAK, a.red.mac, xid=a.xid, src='02:00:00:00:aa:06', ip_src='10.9.0.6', dst=BROADCAST,
        ip_dst='255.255.255.255'))),
)


@pytest.mark.parametrize('learning', [0, 120], ids=['untagged', 'VLAN'], indirect=True)
def test_attacks(learning: Learning) -> None:
    """No row has anybody own or lose an address; in the end an honest exchange still does."""
    Attack.red = red = learning.start('red', 0x47)
    Attack.evil = evil = learning.start('evil', 0x48)
    Attack.unmanaged = learning.dom0.start_vm('un', bridge=learning.bridge, ipv4='10.9.0.50/24',
                                              mac='02:00:00:00:00:50')
    for number, group in ((0x81, 'red'), (0x82, 'blue')):
        learning.start('fixed%x' % number, number, {'groups': group,
                                                    'vif/0/ipv4': '10.9.0.%x' % number})
    learning.grant(red, '10.9.0.70', xid=1)
    red.send(query6(SOLICIT, red.mac, link_local(red), xid=2))
    time.sleep(0.1)
    learning.server.send(answer6(REPLY, red.mac, ('fd00:9::70', 600), ll=link_local(red), xid=2))
    honest = ['10.9.0.70', 'fd00:9::70']
    learning.wait_owned(red, *honest)
    succeeded = []
    for number, (name, play) in enumerate(ROWS):
        play(Attack(learning, number))
        time.sleep(0.08)        # its client's share is sixteen a second
        if kept(red) != honest or kept(evil) != []:
            succeeded.append((name, kept(red), kept(evil)))
            honest = kept(red)
    time.sleep(0.5)
    assert not succeeded and owned(red) == honest and owned(evil) == []
    assert not silenced(learning)       # the daemon has heard it all
    print('%d rows' % len(ROWS))
    last = Attack(learning, len(ROWS))
    last.ask()
    learning.server.send(last.ack())
    learning.wait_owned(red, *honest, last.address)
    aloud = Attack(learning, len(ROWS) + 1)
    aloud.ask()
    learning.server.send(aloud.ack(dst=BROADCAST, ip_dst='255.255.255.255'))
    learning.wait_owned(red, *honest, last.address, aloud.address)


def test_a_locked_vif_hears_trusted_servers_only(learning: Learning) -> None:
    """Without isolation, too, an address is learned from nobody else."""
    rogue = learning.dom0.start_vm('rogue', ipv4='10.9.0.50/24', mac='02:00:00:00:00:50')
    vm = learning.start('locked', 0x47, {'mode': 'locked', 'vif/0/ipv4': 'dhcp'})
    for sender, src in ((rogue, rogue.mac), (rogue, SERVER_MAC), (learning.other,
                                                                  '02:00:00:00:aa:06')):
        learning.exchange(vm, '10.9.0.90', xid=4, server=sender, src=src, ip_src='10.9.0.6')
    time.sleep(0.3)
    assert kept(vm) == []
    learning.grant(vm, '10.9.0.90', xid=5)
    learning.exchange_until(lambda: owned(vm) == ['10.9.0.90', '10.9.0.91'], vm, '10.9.0.91', xid=6,
                            dst=BROADCAST, ip_dst='255.255.255.255')


def test_a_flood_costs_little_and_only_its_sender(learning: Learning) -> None:
    """Discovers without end of one guest: it is silenced, the daemon idles, others are served."""
    red, evil = learning.start('red', 0x47), learning.start('evil', 0x48)
    learning.server.sniff()
    with Torrent(evil, [query(DISCOVER, evil.mac, xid=xid) for xid in range(32)]) as flood:
        learning.watch.wait_for('silenced', evil.netdev(), 'share')
        wait_until(lambda: silenced(learning) == {evil.mac}, 'it to be silenced alone')
        settled = xsisolate('sync', '--dry-run')
        assert settled.returncode == 0 and silenced(learning), settled
        began, used = time.monotonic(), learning.watch.cpu()
        asked = [learning.exchange_until(
            lambda: '10.9.0.%d' % number in kept(red), red, '10.9.0.%d' % number, xid=number)
            for number in range(100, 108)]
        share = (learning.watch.cpu() - used) / (time.monotonic() - began)
    print('%d discovers a second, daemon %.1f %% of a core, asked %s times' % (
        flood.rate, 100 * share, asked))
    assert share < 0.5 and kept(evil) == [] and owned(evil) == []
    heard = [frame for frame in learning.server.sniffed() if frame[6:12] == mac_bytes(evil.mac)]
    assert len(heard) > 100         # what it says passes as always
    wait_until(lambda: not silenced(learning), 'the silence to end', 60)
    learning.grant(evil, '10.9.0.90')


def test_what_is_said_in_a_guests_name_uses_nothing_of_its_share_up(learning: Learning) -> None:
    """Neither its neighbour's questions in its name, nor answers that a server gives to those."""
    red, evil, worse = [learning.start(name, number) for name, number in (
        ('red', 0x47), ('evil', 0x48), ('worse', 0x49))]
    at_red = frame(worse.mac, red.mac, link_local(worse), link_local(red), (546, 547),
                   dhcp6(SOLICIT, duid(red.mac)))
    for number, (sender, said) in enumerate((
            (learning.server, answer(OFFER, red.mac, '10.9.0.9', xid=5)),
            (evil, query(DISCOVER, red.mac, src=evil.mac)), (worse, at_red))):
        address = '10.9.0.7%d' % number
        with Torrent(sender, [said], limit=5000):
            time.sleep(0.3)         # its share would be used up
            learning.exchange_until(lambda: address in kept(red), red, address, xid=number)
    assert silenced(learning) == {evil.mac, worse.mac}


def silenced(learning: Learning) -> Set[str]:
    """Return the MAC addresses whose questions are not copied for a while."""
    return set(re.findall(r'hard_timeout=.* priority=20,.*dl_src=([0-9a-f:]+).* actions=drop',
                          learning.dom0.ovs.ofctl('dump-flows', 'xenbr0', 'table=%d' % COPIES)))


def test_other_frames_are_treated_as_without_the_word(learning: Learning) -> None:
    """What the switch does with them, and what it has looked at for that, is exactly the same."""
    red, other = vms = [learning.start('red', 0x47), learning.start('other', 0x48)]
    own = {vm: '10.9.0.%d' % (70 + number) for number, vm in enumerate(vms)}
    for vm in vms:
        learning.grant(vm, own[vm])
    ends = 'in_port=%s,dl_src=%s,dl_dst=%s,' % (learning.dom0.ovs.vsctl(
        'get', 'Interface', red.netdev(), 'ofport'), red.mac, other.mac)
    packets = [ends + kind + ',nw_src=%s,nw_dst=%s,nw_ttl=64' % tuple(own.values()) + ports
               for kind, ports in (
                   ('tcp', ',tp_src=999,tp_dst=80'), ('udp', ',udp_src=999,udp_dst=53'),
                   ('udp', ',udp_src=999,udp_dst=67'), ('icmp', ''))]
    packets += [ends + 'arp,arp_op=1,arp_sha=%s,arp_spa=%s,arp_tpa=%s' % (red.mac, *own.values()),
                ends + 'tcp6,ipv6_src=%s,ipv6_dst=%s,tp_dst=80' % tuple(map(link_local, vms))]

    def verdicts() -> List[str]:
        said = [learning.dom0.ovs.appctl('ofproto/trace', 'xenbr0', packet) for packet in packets]
        return [line for one in said for line in one.splitlines()
                if line.startswith(('Megaflow', 'Datapath actions'))]

    leased_verdicts = verdicts()
    for vm in vms:
        vm.set_policy({'groups': 'red', 'vif/0/ipv4': own[vm], 'vif/0/ipv6': link_local(vm)})
        vm.fire(learning.dom0.hooks.locking_changed(vm.domain, vm.vifs[0]))
    wait_until(lambda: not owned(red) and not owned(other), 'fixed addresses')
    assert len(leased_verdicts) == 2 * len(packets) and verdicts() == leased_verdicts
    assert any('actions: drop' not in line for line in leased_verdicts[1::2])
