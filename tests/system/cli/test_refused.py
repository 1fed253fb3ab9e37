"""The record of refusals: real frames, what the switch keeps of them, what the command shows."""
import os
import time
from pathlib import Path
from typing import Any, Callable, List, Mapping
from unittest import mock

import pytest
from sandbox.process import wait_until

from support.command import FAILED, USAGE, connected, xsisolate
from support.packets import frames as f
from support.refusing_town import FRAMES, Party, Town
from support.vm_events import refresh
from support.watching import has_kept, restart_switch, watching
from xsisolate.cli import refused as command
from xsisolate.daemon import recorder
from xsisolate.diagnostics.refused import RefusedReader, RefusedView
from xsisolate.dom0.run_files.refused import FILE
from xsisolate.openflow.ownership import MARKED, RECORDED
from xsisolate.pipeline.refusals import KINDS_MAX
from xsisolate.planner.refusal_record import ALL_WORDS

pytestmark = pytest.mark.any_python


def read(vm: str = '') -> RefusedView:
    """Return what has been refused."""
    with connected() as dom0:
        return RefusedReader(dom0).read(vm)


def rows_of(vm: str, **facts: object) -> List[Any]:
    """Return the rows of a VM's refusals in which these facts are true."""
    return [one for one in read(vm).rows
            if all(getattr(one.row.refusal, name) == value for name, value in facts.items())]


Make = Callable[[Mapping[str, Party]], Any]
# Who sends what: the reason, whose policy it is, what was said.
REASONS: List[Any] = [
    ('red', lambda w: f.udp(w['red']._replace(mac='02:00:00:00:77:77'), w['blue']),
     'spoofed MAC', 'red', 'udp/4000'),
    ('red', lambda w: f.udp6(w['red']._replace(mac='02:00:00:00:77:77'), w['blue']),
     'spoofed MAC', 'red', 'udp/4000'),
    ('red', lambda w: f.udp(w['red']._replace(ip='10.9.0.77'), w['blue']),
     'spoofed IP', 'red', 'udp/4000'),
    ('red', lambda w: f.udp6(w['red']._replace(ip6='fd00:9::77'), w['blue']),
     'spoofed IP', 'red', 'udp/4000'),
    ('locked', lambda w: f.udp(w['locked']._replace(ip='127.0.0.1'), w['blue']),
     'spoofed IP', 'locked', 'udp/4000'),
    ('red', lambda w: f.is_at(w['red'], w['blue'], w['blue'].ip), 'ARP or ND claim', 'red', 'arp'),
    ('red', lambda w: f.na(w['red'], w['blue'].ip6, w['blue'], ip=w['red'].ip6),
     'ARP or ND claim', 'red', 'icmp6/136'),
    ('red', lambda w: f.offer(w['red'], w['blue']), 'DHCP server', 'red', 'udp/68'),
    ('red', lambda w: f.advertise6(w['red'], w['blue'], ip=w['red'].ip6),
     'DHCP server', 'red', 'udp/546'),
    ('red', lambda w: f.ra(w['red']), 'router advertisement', 'red', 'icmp6/134'),
    ('red', lambda w: f.tagged(f.udp(w['red'], w['blue']), 120), 'VLAN tag', 'red', 'VLAN 120'),
    ('red', lambda w: f.typed(w['red'], w['blue'], 0x88cc), 'kind of frame', 'red', '0x88cc'),
    ('red', lambda w: f.Ether(dst='01:80:c2:00:00:00', src=w['red'].mac, type=0x9000) / b'bpdu',
     'switch protocol', 'red', '0x9000'),
    ('red', lambda w: f.eth(w['red'], '01:00:5e:00:00:01') / f.IP(
        src=w['red'].ip, dst='224.0.0.1', proto=2, ttl=1) / f.Raw(bytes(8)),
     'multicast querier', 'red', 'ip/2'),
    ('red', lambda w: f.eth(w['red'], w['blue']) / f.IP(src=w['red'].ip, dst=w['blue'].ip)
     / f.ICMP(type=5), 'ICMP redirect', 'red', 'icmp/5'),
    ('red', lambda w: f.split6(f.ping6(w['red'], w['blue']) / bytes(60))[0], 'fragment', 'red',
     'icmp6/128'),
    ('red', lambda w: f.eth(w['red'], w['blue']) / f.IPv6(
        src=w['red'].ip6, dst=w['blue'].ip6, nh=58) / f.Raw(bytes([150, *bytes(7)])),
     'ICMPv6 type', 'red', 'icmp6/150'),
    ('web1', lambda w: f.eth(w['web1'], '01:00:5e:01:01:01') / f.IP(
        src=w['web1'].ip, dst='239.1.1.1') / f.UDP(dport=9), 'multicast', 'web1', 'udp/9'),
    ('red', lambda w: f.tcp(w['red'], w['un'], 40000, 443), 'not a peer on egress', 'red',
     'tcp/443'),
    ('red', lambda w: f.tcp6(w['red'], w['blue'], 40000, 443), 'not a peer on egress', 'red',
     'tcp/443'),
    ('red', lambda w: f.who_has(w['red'], w['un']), 'not a peer on egress', 'red', 'arp'),
    ('red', lambda w: f.sctp(w['red'], w['un'], 40000, 3868), 'not a peer on egress', 'red',
     'sctp/3868'),
    ('un', lambda w: f.tcp(w['un'], w['red'], 40000, 22), 'not a peer on ingress', 'red', 'tcp/22'),
    ('un', lambda w: f.udp6(w['un'], w['red'], 40000, 53), 'not a peer on ingress', 'red',
     'udp/53'),
    ('locked', lambda w: f.ping(w['locked'], w['red']), 'not a peer on ingress', 'red', 'icmp/8'),
    ('un', lambda w: f.offer(w['un'], w['red'], w['red'], ip_dst=w['red'].ip), 'DHCP server', 'red',
     'udp/68'),
    ('web1', lambda w: f.tcp(w['web1'], w['web2'], 40000, 22), 'service not allowed on egress',
     'web1', 'tcp/22'),
    ('web1', lambda w: f.udp6(w['web1'], w['web2'], 40000, 123), 'service not allowed on egress',
     'web1', 'udp/123'),
    ('web1', lambda w: f.udp(w['web1'], w['web2'], 53, 40000), 'answer to nothing asked', 'web2',
     'udp/53'),
    ('un', lambda w: f.udp(w['un']._replace(ip=w['blue'].ip), w['red']), "another's address", 'red',
     'udp/4000'),
    ('web3', lambda w: f.tcp(w['web3'], w['web2'], 40000, 80), 'service not allowed on ingress',
     'web2', 'tcp/80'),
    ('un', lambda w: f.tcp(w['un'], w['shut'], 40000, 22), 'receiver is closed', 'shut', 'tcp/22'),
    ('vred', lambda w: f.udp(w['vred']._replace(ip='10.9.0.77'), w['vun']), 'spoofed IP', 'vred',
     'udp/4000'),
    ('vun', lambda w: f.tcp(w['vun'], w['vred'], 40000, 22), 'not a peer on ingress', 'vred',
     'tcp/22'),
    ('vred', lambda w: f.ra(w['vred']), 'router advertisement', 'vred', 'icmp6/134')]


@pytest.mark.parametrize('sender, make, reason, owner, service', REASONS)
def test_every_reason(town: Town, sender: str, make: Make, reason: str, owner: str,
                      service: str) -> None:
    """A refused frame is recorded once, with its reason, and counted."""
    town.send(sender, make({name: town.party(name) for name in town.vms}))
    found = rows_of(owner, reason=reason, service=service)
    assert len(found) == 1, read().rows
    one, = found
    assert one.row.owner == (town.vms[owner].netdev(), town.vms[owner].uuid)
    assert one.row.frames == FRAMES and one.source.name == sender
    assert one.because and one.because != 'policies admit it now'
    assert one.row.first <= one.row.last <= time.time() + 1


def test_every_word_has_its_frame() -> None:
    assert {row[2] for row in REASONS} == set(ALL_WORDS)


def test_what_passes_is_not_recorded(town: Town) -> None:
    web1, web2, un, locked = (town.party(name) for name in ('web1', 'web2', 'un', 'locked'))
    town.send('web1', f.tcp(web1, web2, 40000, 443), f.udp(web1, web2, 40000, 53),
              f.who_has(web1, web2))
    town.send('web2', f.udp(web2, web1, 53, 40000))
    town.send('un', f.tcp(un, locked, 40000, 22), f.who_has(un, locked))
    assert not [one for one in read().rows if one.row.refusal.source in (
        web1.ip, web2.ip, un.ip)]


def scan(town: Town, sender: str, target: str, first: int, count: int) -> None:
    """Send a SYN to each of so many ports."""
    one, other = town.party(sender), town.party(target)
    frame = bytearray(bytes(f.tcp(one, other, 40000, 1)))
    ports = range(first, first + count)
    town.vms[sender].send_all(bytes(frame[:36]) + port.to_bytes(2, 'big') + bytes(frame[38:])
                              for port in ports)
    town.vms[sender].call('ping', [], 0, 0, '')
    town.host.ovs.settle()


def test_a_scan_fills_its_own_share_and_nobody_elses(town: Town) -> None:
    """Whoever sends fills his share; what others say to the same receiver is recorded."""
    red, blue, un = (town.party(name) for name in ('red', 'blue', 'un'))
    town.send('blue', f.udp(blue, red, 4000, 7777))
    town.send('web1', f.tcp(town.party('web1'), blue, 40000, 8888))
    scan(town, 'red', 'blue', 1000, 3000)
    scan(town, 'un', 'blue', 5000, 3000)
    assert len(dump(town, RECORDED)) <= 2 * KINDS_MAX + 12       # guests' kernels say things, too
    assert len([one for one in read('red').rows if one.source.name == 'red']) <= KINDS_MAX
    town.send('web1', f.tcp(town.party('web1'), blue, 40000, 9999))
    for service in ('tcp/8888', 'tcp/9999'):
        assert rows_of('web1', service=service)
    assert rows_of('blue', service='udp/7777')
    assert read('red').beyond > 0
    # a known sender's mark does not silence strangers, nor the other way round
    town.send('un', f.tcp(un, town.party('web2'), 40000, 4444))
    assert rows_of('web2', service='tcp/4444')


def dump(town: Town, table: int) -> List[str]:
    """Return the flows of a table."""
    return [line for line in town.host.ovs.ofctl(
        '-O', 'OpenFlow14', '--no-names', 'dump-flows', 'xenbr0',
        'table=%d,cookie=0x5849535200000000/0xffffffff00000000' % table).splitlines()
        if 'priority' in line]


def test_a_full_record_asks_nothing_of_ports(town: Town) -> None:
    """A scan behind a mark is one verdict of the switch, not one for each port."""
    scan(town, 'red', 'blue', 1000, KINDS_MAX + 20)
    assert [line for line in dump(town, MARKED) if 'in_port=' in line]
    scan(town, 'red', 'blue', 5000, 400)
    cached = town.host.ovs.appctl('dpctl/dump-flows').splitlines()
    assert len([line for line in cached if 'dst=5' in line and 'tcp' in line]) < 40, cached


def test_a_refresh_keeps_the_record(town: Town) -> None:
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))
    town.vms['red'].set_policy({'groups': 'red', 'vif/0/ipv4': '10.9.0.11',
                                'vif/0/ipv6': 'fd00:9::11', 'allow': '10.9.0.98'})
    refresh(town.vms['red'])
    assert xsisolate('sync').code == 0
    one, = rows_of('red', service='tcp/443')
    assert one.row.frames == FRAMES
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))
    one, = rows_of('red', service='tcp/443')
    assert one.row.frames == 2 * FRAMES
    assert xsisolate('sync', '--dry-run').code == 0


# --- the daemon, and the command ---------------------------------------------------------------


def test_the_daemon_keeps_what_the_switch_forgets(town: Town) -> None:
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 4343))
    with watching():
        wait_until(lambda: has_kept('tcp/4343'), 'the record', 30)
    assert os.stat(FILE).st_mode & 0o777 == 0o600
    town.forget()
    one, = rows_of('red', service='tcp/4343')
    assert one.row.frames == FRAMES and read().kept
    shown = xsisolate('refused', 'red', '--since', '1h')
    assert 'tcp/4343' in shown.out and 'not a peer on egress' in shown.out
    assert 'un' in shown.out and 'red (vif' in shown.out
    told = xsisolate('refused', 'red', '--json').json
    row, = [row for row in told['refused'] if row['service'] == 'tcp/4343']
    assert (row['direction'], row['source']['name'], row['target']['name']) == (
        'egress', 'red', 'un')
    assert row['because'].startswith('egress: ')


@pytest.mark.parametrize('arguments, code, said', [
    (('nosuch',), USAGE, 'no VM of this host'), (('--since', 'soon'), USAGE, 'expected a time'),
    (('--since', '0m'), USAGE, 'expected a time'), (('--since', '99999999d'), USAGE, 'expected')])
def test_bad_input(town: Town, arguments: Any, code: int, said: str) -> None:
    found = xsisolate('refused', *arguments, code=code)
    assert said in found.err and len(found.err.splitlines()) == 1


def test_another_releases_record(town: Town) -> None:
    with open(FILE, 'w', encoding='utf-8') as file:
        file.write('{"version": 99}')
    found = xsisolate('refused', code=FAILED)
    assert 'another release' in found.err and len(found.err.splitlines()) == 1


def test_without_a_daemon_it_says_so(town: Town) -> None:
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))
    found = xsisolate('refused')
    assert 'the daemon keeps no record' in found.out and 'tcp/443' in found.out


def test_a_restart_of_the_switch_is_told(town: Town) -> None:
    """What the switch had not told yet is lost, and the command says in which time."""
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 4343))
    with watching():
        wait_until(lambda: has_kept('tcp/4343'), 'the record', 30)
        restart_switch(town.host.ovs)
    assert 'tcp/4343' in xsisolate('refused').out


def test_follow(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look prints what has grown since, and Ctrl-C ends it with one line."""
    looks = iter([lambda: town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 99)),
                  lambda: None, KeyboardInterrupt])

    def sleep(_: float) -> None:
        action = next(looks)
        if action is KeyboardInterrupt:
            raise KeyboardInterrupt
        action()
    monkeypatch.setattr(command, 'sleep', sleep)
    found = xsisolate('refused', 'red', '--follow', code=130)
    lines = [line for line in found.lines if 'tcp/99' in line]
    assert len(lines) == 1 and '(%d frames)' % FRAMES in lines[0], found
    assert 'red to un' in lines[0] and found.err.endswith('interrupted\n')


def test_syslog_has_one_line_for_each_vif_and_reason(town: Town,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are: the frames of a minute, and what was last."""
    said: List[Any] = []
    log = mock.Mock(info=lambda event, **fields: said.append((event, fields)))
    monkeypatch.setattr(recorder, 'SUMMARY_S', 0.0)
    red, un = town.party('red'), town.party('un')
    keeper = recorder.Recorder(log)
    town.send('red', f.tcp(red, un, 40000, 1), f.tcp(red, un, 40000, 2),
              f.udp(red._replace(ip='10.9.0.77'), un))
    keeper.look()
    mine = {fields['reason']: fields for event, fields in said
            if fields['vif'] == town.vms['red'].netdev() and event == 'refused'}
    assert mine['not a peer on egress']['frames'] == 2 * FRAMES
    assert mine['spoofed IP']['frames'] >= FRAMES
    assert mine['not a peer on egress']['last'].startswith('10.9.0.11 to 10.9.0.99 tcp/')
    assert len(said) == len({(fields['vif'], fields['reason']) for _, fields in said})
    said.clear()
    keeper.look()
    assert not [fields for _, fields in said if fields['vif'] == town.vms['red'].netdev()]


def test_what_has_passed_stands_out(town: Town) -> None:
    """A permissive VIF's refusals are rows of their own, by themselves if asked for."""
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))
    town.record_passed('red', 'un', 4443)
    rows = {row['service']: row['passed'] for row in xsisolate(
        'refused', 'red', '--json').json['refused'] if row['service'].startswith('tcp/')}
    assert rows == {'tcp/443': False, 'tcp/4443': True}
    shown = xsisolate('refused', 'red').out
    assert 'passed: policies would refuse these frames' in shown
    for option, wanted, other in (('--permissive', 'tcp/4443', 'tcp/443 '),
                                  ('--enforced', 'tcp/443 ', 'tcp/4443')):
        shown = xsisolate('refused', 'red', option).out
        assert wanted in shown and other not in shown, shown
    assert 'nothing would be refused by a permissive policy' in xsisolate(
        'refused', 'web3', '--permissive').out
    assert 'not allowed with' in xsisolate('refused', '--permissive', '--enforced', code=USAGE).err


def test_syslog_says_what_has_passed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    said: List[Any] = []
    log = mock.Mock(info=lambda event, **fields: said.append((event, fields)))
    monkeypatch.setattr(recorder, 'SUMMARY_S', 0.0)
    keeper = recorder.Recorder(log)
    town.record_passed('red', 'un', 4443)
    keeper.look()
    fields, = [fields for event, fields in said if event == 'would refuse']
    assert fields['vif'] == town.vms['red'].netdev() and fields['frames'] == 1
    assert fields['last'] == '10.9.0.11 to 10.9.0.99 tcp/4443'


def test_the_matrix_shows_it(town: Town, tmp_path: Path) -> None:
    """On the pair's cell, for an hour; what was forged between others is on no pair of theirs."""
    red, un, web1, web2 = (town.party(name) for name in ('red', 'un', 'web1', 'web2'))
    before = xsisolate('matrix')
    assert 'refused in the last hour' not in before.out
    town.send('red', f.tcp(red, un, 40000, 443))
    town.send('un', f.tcp(un, red, 40000, 22), f.tcp(un, red, 40000, 23))
    town.send('web1', f.tcp(web1, web2, 40000, 22))
    shown = xsisolate('matrix').out
    assert '3 pairs refused something in the last hour' in shown
    assert ' ! ' in shown and ' % ' in shown
    networks = xsisolate('matrix', '--json').json['networks']
    told = {vif['name']: vif['refused'] for network in networks for vif in network['vifs']}
    name = {key: vm.netdev() for key, vm in town.vms.items()}
    assert told['red'] == {name['un']: FRAMES} and told['un'] == {name['red']: 2 * FRAMES}
    assert told['web1'] == {name['web2']: FRAMES} and told['blue'] == {}
    xsisolate('matrix', '--html', str(tmp_path / 'page.html'))
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert page.count('class="refused"') == 3 + page.count('class="legend"')
    assert '<title>red to un: %d refused in the last hour</title>' % FRAMES in page
    assert 'un</bdi> to <bdi>red</bdi>: %d' % (2 * FRAMES) in page


def test_a_bridge_that_speaks_another_openflow(town: Town) -> None:
    """It is passed over, and the others are shown."""
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))
    town.host.ovs.vsctl('set', 'Bridge', 'xenbr1', 'protocols=OpenFlow13')
    try:
        assert 'tcp/443' in xsisolate('refused').out
    finally:
        town.host.ovs.vsctl('clear', 'Bridge', 'xenbr1', 'protocols')
