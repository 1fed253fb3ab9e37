"""status, explain, matrix and completion on a host with sealed policies and several networks."""
import os
import re
import subprocess
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import pytest
from sandbox.hooks import REPOSITORY
from sandbox.pythons import for_hooks
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm

from support.command import BROKEN, DIFFERENT, FAILED, USAGE, xsisolate

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
CONFIG = '''
version: 1
grace: 0
networks:
  xenbr0:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "00:00:5e:00:01:01"}]
  xenbr1: {subnets: [10.8.0.0/24], gateways: [{ipv4: 10.8.0.254, mac: "00:00:5e:00:01:02"}]}
groups:
  web: {rules: [tcp/443]}
  outer: {addresses: [10.9.0.77]}
'''
HOSTILE = 'שלום\n\x1b[2Jevil\u202e\t"; $(touch /run/pwned)'
LONG = 'n' * 255
OURS = 'cookie=0x5849534f'


def own(number: int, net: int = 9, **keys: str) -> Dict[str, str]:
    """Return a policy with an address."""
    policy = dict(keys, **{'vif/0/ipv4': '10.%d.0.%d' % (net, number)})
    if net == 9:
        policy['vif/0/ipv6'] = 'fd00:9::%x' % number
    return policy


class Town:
    """The host, and its VMs by name."""

    def __init__(self, dom0: Sandbox) -> None:
        self.dom0 = dom0
        self.vms: Dict[str, Vm] = {}
        dom0.add_bridge('xenbr0'), dom0.add_bridge('xenbr1')
        dom0.add_bridge('xapi120', parent='xenbr0', vlan=120)
        dom0.configure(CONFIG)
        self.uplink = dom0.add_uplink('xenbr0', GATEWAY)
        self.add('red1', 11, own(11, groups='red', allow='external'))
        self.add('red2', 12, own(12, groups='red'), hvm=True)
        self.add('blue1', 21, own(21, groups='blue', allow='10.9.0.31'))
        self.add('un', 31, None)
        self.add('locked', 41, dict(own(41), mode='locked'))
        self.add('web1', 51, own(51, groups='web'))
        self.add('web2', 52, own(52, groups='web'))
        self.add('outer', 61, own(61, groups='outer'))
        self.add('green', 11, own(11, 8, groups='red', allow='external'), 'xenbr1', 8)
        self.add('vlan1', 71, own(71, groups='red'), 'xapi120')
        self.add('vlan2', 72, own(72, groups='red'), 'xapi120')
        self.add('trunk', 73, own(73, groups='red'), trunks=(120,))
        self.add(HOSTILE, 81, own(81, groups='red'))
        self.add(LONG, 82, own(82, groups='red'))
        self.add('bad', 91, own(91, mode='bogus'))

    def add(self, name: str, number: int, policy: Optional[Mapping[str, str]],
            bridge: str = 'xenbr0', net: int = 9, **fields: Any) -> Vm:
        """Start a VM."""
        ipv6 = 'fd00:9::%x/64' % number if net == 9 else ''
        self.vms[name] = self.dom0.start_vm(
            name, bridge=bridge, mac='02:00:00:00:0%d:%02x' % (net, number), policy=policy,
            ipv4='10.%d.0.%d/24' % (net, number), ipv6=ipv6, **fields)
        return self.vms[name]

    def flows(self) -> List[str]:
        """Return all flows of ours, and of others."""
        return [line for bridge in ('xenbr0', 'xenbr1')
                for line in self.dom0.ovs.dump_flows(bridge, '-O', 'OpenFlow14')]


@pytest.fixture(scope='module')
def town(dom0: Sandbox) -> Town:
    """The host of this module."""
    return Town(dom0)


def vif(town: Town, name: str) -> Dict[str, Any]:
    """Return what status says of a VM's VIF."""
    found, = xsisolate('status', '--json', town.vms[name].uuid).json['vifs']
    return dict(found)


# --- status ----------------------------------------------------------------------------------


def test_every_vif_is_listed(town: Town) -> None:
    found = xsisolate('status', '--json').json
    assert [(one['vif'], one['name'], one['vm']) for one in found['vifs']] == [
        (vm.netdev(), vm.name, vm.uuid) for vm in sorted(
            town.vms.values(), key=lambda vm: vm.domid)]
    assert found['warnings'] == [] and found['pool'] is None
    red1 = vif(town, 'red1')
    assert red1['bridge'] == red1['parent_bridge'] == 'xenbr0' and red1['mode'] == 'isolated'
    assert red1['groups'] == ['red'] and red1['allow'] == ['external'] and red1['seal'] == 'sealed'
    assert red1['addresses'] == ['10.9.0.11', 'fd00:9::b', 'fe80::ff:fe00:90b']
    assert red1['vif_uuid'] == town.vms['red1'].vifs[0].uuid and red1['error'] is None
    assert red1['ports'] == [town.vms['red1'].netdev()] and red1['mac'] == '02:00:00:00:09:0b'
    red2 = vif(town, 'red2')
    assert len(red2['ports']) == 2
    vlan = vif(town, 'vlan1')
    assert (vlan['bridge'], vlan['parent_bridge'], vlan['vlans']) == ('xapi120', 'xenbr0', [120])
    assert vif(town, 'un')['mode'] == 'unlocked' and vif(town, 'un')['flows'] == 0
    bad = vif(town, 'bad')
    assert (bad['mode'], bad['seal']) == ('quarantined', 'invalid') and 'bogus' in bad['error']


def test_number_of_flows(town: Town) -> None:
    """The flows whose cookies are the VIF's: of its port and its endpoint."""
    number = town.vms['red1'].domid << 9
    mine = [flow for flow in town.flows()
            if re.match('cookie=0x5849534f[45cd]%07x,' % number, flow)]
    assert len(mine) > 20 and vif(town, 'red1')['flows'] == len(mine)


def test_the_table(town: Town) -> None:
    said = xsisolate('status')
    assert said.lines[0].split() == ['VIF', 'VM', 'BRIDGE', 'MODE', 'GROUPS', 'ADDRESSES', 'SEAL',
                                     'FLOWS', 'SPOOFED', 'ISOLATED']
    row = next(line for line in said.lines if ' red1 ' in line).split()
    assert row[0] == town.vms['red1'].netdev() and row[2:5] == ['xenbr0', 'isolated', 'red']
    assert any(line.startswith('  %s: ' % town.vms['bad'].netdev())
               and "'bogus' is not a mode" in line for line in said.lines)
    assert len(said.lines) == 1 + len(town.vms) + 1, said.out


@pytest.mark.parametrize('by', [
    lambda vm: vm.name, lambda vm: vm.uuid, lambda vm: vm.uuid.upper(), lambda vm: str(vm.domid),
    lambda vm: vm.netdev(), lambda vm: vm.name + '/0', lambda vm: vm.uuid + '/0'])
def test_ways_to_name_a_vm(town: Town, by: Any) -> None:
    vm = town.vms['red1']
    said = xsisolate('status', by(vm)).out
    assert said.startswith('%s: red1\n' % vm.netdev()) and '  VM            %s\n' % vm.uuid in said


@pytest.mark.parametrize('name, complaint', [
    ('nobody', "no VM of this host with a VIF is called 'nobody'"), ('99', "is called '99'"),
    ('red1/7', "VM 'red1' has no VIF '7': it has 0"), ('', 'no VM'), ('a\nb', r"'a\nb'")])
def test_unknown_vms(town: Town, name: str, complaint: str) -> None:
    if name:
        said = xsisolate('status', name, code=USAGE)
        assert complaint in said.err and said.err.count('\n') == 1


def test_both_halves_of_a_migration(town: Town) -> None:
    """Onto the same host: two domains, one VM, and the one that arrives is to be seen."""
    old = town.dom0.start_vm('mover', ipv4='10.9.0.16/24', policy=own(16, groups='red'))
    new = town.dom0.migrate_in(old)
    found = xsisolate('status', 'mover', '--json').json['vifs']
    assert [(one['domid'], one['arriving'], one['vm'], one['seal']) for one in found] == [
        (old.domid, False, old.uuid, 'sealed'), (new.domid, True, old.uuid, 'sealed')]
    assert '(migrates to this host)' in xsisolate('status', 'mover').out
    said = xsisolate('explain', 'mover', 'red2')
    assert 'REACHES' in said.lines[0] and said.lines[-1] == 'policy and switch agree'
    old.depart(), new.arrive()
    new.shutdown()


def test_a_name_that_two_vms_have(town: Town) -> None:
    twin = town.dom0.start_vm('red1', ipv4='10.9.0.14/24', policy=own(14, groups='red'))
    try:
        said = xsisolate('status', 'red1', code=USAGE)
        assert 'ambiguous: domains %d, %d' % (town.vms['red1'].domid, twin.domid) in said.err
        assert xsisolate('status', twin.uuid, '--json').json['vifs'][0]['domid'] == twin.domid
    finally:
        twin.shutdown()


def test_drops_after_forbidden_frames(town: Town) -> None:
    """Ten forged and ten forbidden datagrams more, on the sender's account and nobody else's."""
    from support.packets.frames import IP, UDP, Ether, Raw
    red1, red2, blue1 = (town.vms[name] for name in ('red1', 'red2', 'blue1'))

    def counts(name: str) -> Tuple[int, int]:
        found = vif(town, name)
        return found['spoofed'], found['isolated']

    def frames(source: str, target: Vm, address: str) -> List[bytes]:
        return [bytes(Ether(src=red1.mac, dst=target.mac) / IP(src=source, dst=address) / UDP(
            sport=4000 + at, dport=9) / Raw(b'x' * 20)) for at in range(10)]

    before = {name: counts(name) for name in ('red1', 'red2', 'blue1')}
    red1.send_all(frames('10.9.0.12', red2, '10.9.0.12'))       # another's address
    red1.send_all(frames('10.9.0.11', blue1, '10.9.0.21'))      # no peer
    red1.send_all(frames('10.9.0.11', red2, '10.9.0.12'))       # allowed
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and counts('red1') < (before['red1'][0] + 10,
                                                            before['red1'][1] + 10):
        time.sleep(0.1)     # the switch adds its datapath's counts now and then
    spoofed, isolated = counts('red1')
    assert spoofed - before['red1'][0] == 10 and isolated - before['red1'][1] == 10
    assert counts('red2') == before['red2']
    row = next(line for line in xsisolate('status').lines if ' red1 ' in line).split()
    assert row[-2:] == [str(spoofed), str(isolated)]


def test_a_vif_that_was_not_plugged(town: Town) -> None:
    vm = town.dom0.start_vm('lost', ipv4='10.9.0.15/24', policy=own(15, groups='red'), plug=False)
    vm.cable(0)
    try:
        found = vif_of(vm)
        assert found['parent_bridge'] is None and 'no hook has plugged it' in found['error']
        town.dom0.store.write('/local/domain/0/backend/vif/%d/0/hotplug-error' % vm.domid,
                              'it\x1b[31m burns')
        assert vif_of(vm)['error'] == 'it\x1b[31m burns'
        assert r'it\x1b[31m burns' in xsisolate('status').out
        said = xsisolate('explain', 'lost', 'red1', code=FAILED)
        assert 'is on no network of Open vSwitch' in said.err
    finally:
        vm.plug()
        vm.shutdown()


def vif_of(vm: Vm) -> Dict[str, Any]:
    """Return what status says of a VM's VIF."""
    return dict(xsisolate('status', '--json', vm.uuid).json['vifs'][0])


def test_what_became_unsealed(town: Town) -> None:
    """The guest changes its vm-data; no hook has run yet."""
    vm = town.vms['web1']
    vm.set_vm_data({'xsisolate/groups': 'red', 'xsisolate/vif/0/ipv4': '10.9.0.51'})
    found = vif(town, 'web1')
    assert (found['seal'], found['mode']) == ('changed', 'quarantined')
    vm.set_policy(own(51, groups='web'))
    assert vif(town, 'web1')['seal'] == 'sealed'


def test_warnings_about_the_host(town: Town) -> None:
    town.dom0.configure(CONFIG + 'unsealed: accept\n')
    try:
        found = xsisolate('status', '--json').json
        assert found['warnings'] == ['unsealed: accept in xsisolate.yaml: every guest chooses its '
                                     'own policy']
        assert {one['seal'] for one in found['vifs']} == {'accepted', 'none', 'invalid'}
        assert xsisolate('status').lines[0].startswith('! unsealed: accept')
        town.dom0.configure('nonsense')
        said = xsisolate('status', code=BROKEN)
        assert said.lines[0].startswith('! /etc/xsisolate/xsisolate.yaml:1: ')
    finally:
        town.dom0.configure(CONFIG)


def test_age_of_what_is_known_of_the_pool(town: Town) -> None:
    from xsisolate.dom0.run_files.pool_state import PoolState, path, write_state
    write_state(PoolState(False, time.monotonic() - 90, error='no route'))
    try:
        said = xsisolate('status')
        assert re.match(r'groups of the pool: as of 9\d s ago: XAPI is away: no route', said.out)
        assert xsisolate('status', '--json').json['pool']['age'] >= 90
    finally:
        os.unlink(path())


def test_hostile_names(town: Town) -> None:
    """One line each, no escape sequence, nothing done; JSON has them as they are."""
    said = xsisolate('status')
    assert '\x1b' not in said.out and '\u202e' not in said.out
    line = next(line for line in said.lines if 'evil' in line)
    assert r'\n\x1b[2Jevil\u202e\t' in line and ' isolated ' in line
    assert any(LONG in line for line in said.lines)
    assert vif(town, HOSTILE)['name'] == HOSTILE and vif(town, LONG)['name'] == LONG
    assert xsisolate('status', HOSTILE, '--json').json['vifs'][0]['name'] == HOSTILE
    for command in (('explain', HOSTILE, 'red1'), ('explain', LONG, 'red1'), ('matrix',)):
        assert '\x1b' not in xsisolate(*command).out
    assert not os.path.exists('/run/pwned')


def test_on_dom0s_python_with_the_poorest_of_locales(town: Town) -> None:
    """LC_ALL=C, where names cannot even be encoded."""
    python = for_hooks()
    for command in (['status'], ['status', HOSTILE], ['matrix'], ['explain', HOSTILE, 'red1']):
        done = subprocess.run(
            [python, '-m', 'xsisolate', *command], encoding='ascii', timeout=60,
            env={'LC_ALL': 'C', 'PYTHONPATH': os.path.join(REPOSITORY, 'lib'),
                 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0 and not done.stderr, done
        assert r'\u05e9' in done.stdout


# --- explain ---------------------------------------------------------------------------------


def explained(*words: str, code: int = 0) -> Dict[str, Any]:
    """Return what explain says, as JSON."""
    return dict(xsisolate('explain', '--json', *words, code=code).json)


def reasons(found: Dict[str, Any]) -> List[str]:
    """Return why, step by step."""
    return ['%s %s: %s' % (step['side'], 'yes' if step['admits'] else 'no', step['because'])
            for passage in found['request'] for step in passage['steps']]


@pytest.mark.parametrize('words, reaches, because', [
    (('red1', 'red2', 'tcp/443'), True, 'ingress yes: both are in group red'),
    (('red1', 'red2', '-6'), True, 'egress yes: both are in group red'),
    (('red1', 'blue1'), False, 'egress no: blue1 (vif3.0) is in group blue, not in group red, and '
     'neither reaches the other; allow entry external does not mean it: it is a VIF of this '
     'network; no allow entry covers 10.9.0.21'),
    (('web1', 'web2', 'tcp/443'), True, 'egress yes: both are in group web, and its rule tcp/443 '
     'covers it'),
    (('web1', 'web2', 'tcp/80'), False, 'egress no: both are in group web, but its rules (tcp/443) '
     'say nothing of tcp/80; no allow entry covers 10.9.0.52'),
    (('10.9.0.31', 'blue1'), True, 'ingress yes: allow entry 10.9.0.31 covers it'),
    (('10.9.0.32', 'blue1'), False, 'ingress no: 10.9.0.32 is not in group blue; no allow entry '
     'covers 10.9.0.32'),
    (('10.9.0.77', 'outer'), True, 'ingress yes: 10.9.0.77 is one of the addresses of group '
     'outer'),
    (('red1', '192.0.2.1', 'udp/53'), None, 'egress yes: allow entry external covers it'),
    (('red2', '192.0.2.1'), False, 'egress no: 192.0.2.1 (through a gateway) is not in group red; '
     'no allow entry covers 192.0.2.1'),
    (('red1', '10.9.0.254'), None, 'egress yes: allow entry external covers it'),
    (('red1', 'locked'), False, 'egress no: locked (vif5.0) is not in group red; allow entry '
     'external does not mean it: it is a VIF of this network; no allow entry covers 10.9.0.41'),
    (('locked', 'red1'), False, 'ingress no: locked (vif5.0) is not in group red; allow entry '
     'external does not mean it: it is a VIF of this network; no allow entry covers 10.9.0.41'),
    (('locked', '10.9.0.31'), None, 'sends yes: sends as itself'),
    (('red1', 'bad'), False, 'receives no: is in quarantine: vm-data/xsisolate/mode: \'bogus\' is '
     'not a mode (unlocked, locked, isolated, disabled)'),
    (('red1', 'red2', 'udp/68'), False, 'sends no: udp from port 67 or to port 68 is a DHCP '
     'server\'s, and it does not hold the role dhcp'),
    (('vlan1', 'vlan2', 'tcp/22'), True, 'ingress yes: both are in group red'),
    (('trunk', 'vlan1', 'udp/7'), True, 'ingress yes: both are in group red'),
    (('vlan1', 'trunk'), True, 'egress yes: both are in group red'),
    (('red1', 'red2', '--source-address', '10.9.0.12'), False, 'sends no: 10.9.0.12 is not one of '
     'its own addresses'),
])
def test_reasons(town: Town, words: Tuple[str, ...], reaches: Optional[bool], because: str) -> None:
    found = explained(*words)
    assert found['reaches'] is reaches and not found['differs'], found
    assert because in reasons(found), reasons(found)
    assert found['answered'] is (reaches is not False)
    assert found['verdict'] == {True: 'reaches', False: 'stopped', None: 'leaves'}[reaches]


def test_where_it_stops(town: Town) -> None:
    said = xsisolate('explain', 'red1', 'blue1', 'tcp/443')
    assert said.lines[0] == ('red1 (vif1.0) to blue1 (vif3.0), tcp/443: DOES NOT REACH, stopped on '
                             'this host (%s) by red1 (vif1.0), egress' % os.uname().nodename)
    assert '    NO   red1 (vif1.0), egress: ' in said.out
    assert 'switch: does not deliver it: table 234, ISOLATED_DROP' in said.out
    assert said.lines[-1] == 'policy and switch agree'
    said = xsisolate('explain', 'red1', '192.0.2.1')
    assert said.lines[0] == (
        'red1 (vif1.0) to 192.0.2.1 (through a gateway), icmp: LEAVES THIS HOST towards the '
        'gateway 10.9.0.254, assumed from xsisolate.yaml: which router its guest uses is not known '
        'here')
    assert 'the rest is up to where it goes: beyond the uplink of bridge xenbr0' in said.out


def test_other_networks(town: Town) -> None:
    """green is in the same group, but on another bridge: a router, and `external` on both sides."""
    found = explained('red1', 'green', 'tcp/22')
    assert [passage['network'] for passage in found['request']] == ['xenbr0', 'xenbr1']
    assert found['verdict'] == 'leaves' and not found['differs']
    assert found['towards'].endswith(
        'and comes back to green (vif9.0) if that routes it to network xenbr1')
    assert 'different networks' in found['notes'][0]
    assert found['request'][1]['switch'] is None        # xenbr1 has no uplink
    found = explained('red2', 'green')
    assert not found['reaches'] and len(found['request']) == 1 and not found['differs']
    found = explained('vlan1', 'red1')      # another VLAN is another network
    assert not found['reaches'] and not found['differs']


@pytest.mark.parametrize('words, complaint', [
    (('red1', 'red2', 'tcp'), 'expected one port'), (('red1', 'red2', 'tcp/0'), 'needs ports'),
    (('red1', 'red2', 'dccp'), 'is not a service'),
    (('red1', 'red2', 'icmp/0'), 'ask for icmp/8'), (('red1', 'red2', 'icmp', '-6'), 'do not mix'),
    (('10.9.0.77', '10.9.0.78'), 'neither 10.9.0.77 nor 10.9.0.78 is a VIF of this host'),
    (('red1', 'red1'), 'are the same VIF'), (('red1', '10.9.0.11'), 'are the same VIF'),
    (('red1', 'fd00:9::15', '-4'), 'do not mix'), (('red1', '10.9.0.0/24'), 'no VM of this host'),
    (('red1', 'nobody'), "is called 'nobody'"), (('un', 'red1'), 'is unmanaged, and its guest')])
def test_questions_without_an_answer(town: Town, words: Tuple[str, ...], complaint: str) -> None:
    said = xsisolate('explain', *words, code=USAGE)
    assert complaint in said.err and said.err.count('\n') == 1 and not said.out


def test_a_shared_address(town: Town) -> None:
    """VRRP: of two owners the one is meant that the asker is not."""
    both = [town.dom0.start_vm('vrrp%d' % at, ipv4='10.9.0.%d/24' % (17 + at), policy=dict(own(
        17 + at, groups='red'), **{'vif/0/shared': '10.9.0.200'}))
        for at in (0, 1)]
    try:
        for one, other in (both, reversed(both)):
            found = explained(one.name, '10.9.0.200')
            assert found['target'] == '%s (%s)' % (other.name, other.netdev())
            assert found['reaches'] and not found['differs'], found
            assert '10.9.0.200 is shared by vrrp0' in found['notes'][0]
    finally:
        for vm in both:
            vm.shutdown()


def test_what_an_unmanaged_guest_says_of_itself(town: Town) -> None:
    """Its addresses are taken from where guest tools report them, and called hearsay."""
    domid = town.vms['un'].domid
    said = town.vms['un'].xenstore
    said.write('/local/domain/%d/attr/vif/0/ipv4/0' % domid, '10.9.0.31')
    said.write('/local/domain/%d/attr/vif/0/ipv4/1' % domid, 'nonsense\x1b[2J')
    try:
        found = explained('blue1', 'un')
        assert found['reaches'] and not found['differs']
        assert found['notes'] == ['un (vif4.0) has address 10.9.0.31, as its guest reports; '
                                  'xsisolate does not check that']
        found = explained('blue1', '10.9.0.31')
        assert found['target'] == 'un (vif4.0)' and found['reaches']
        networks = xsisolate('matrix', '--json').json['networks']
        blue1 = next(one for network in networks for one in network['vifs']
                     if one['name'] == 'blue1')
        assert blue1['reaches'] == {'vif4.0': ['everything']}
    finally:
        town.dom0.store.rm('/local/domain/%d/attr/vif' % domid)


def test_nothing_changes_by_asking(town: Town) -> None:
    """No flow is learned, nothing is counted, no address is remembered by a trace."""
    def addresses() -> List[List[str]]:
        return sorted(line.split()[:3] for line in town.dom0.ovs.appctl(
            'fdb/show', 'xenbr0').splitlines())

    before, counted, known = town.flows(), vif(town, 'red1')['isolated'], addresses()
    for words in (('web1', 'web2', 'tcp/443'), ('outer', '10.9.0.77'), ('10.9.0.77', 'outer'),
                  ('vlan1', 'vlan2')) + (('red1', 'blue1'),) * 10:
        xsisolate('explain', *words)
    xsisolate('matrix')
    assert town.flows() == before and addresses() == known
    assert vif(town, 'red1')['isolated'] - counted < 10


SABOTAGE = {
    'a flow of ours is gone': ('red1', 'red2', True, lambda ovs: ovs.ofctl(
        '-O', 'OpenFlow14', 'del-flows', 'xenbr0', 'table=232,reg12=1')),
    'a flow lets everybody in': ('red1', 'blue1', False, lambda ovs: ovs.add_flow(
        'xenbr0', 'table=213,priority=60000,actions=resubmit(,218)')),
    'a foreign flow drops': ('red1', 'red2', True, lambda ovs: ovs.add_flow(
        'xenbr0', 'table=0,priority=40000,icmp,nw_dst=10.9.0.12,actions=drop')),
    'a foreign flow comes first': ('blue1', 'red2', False, lambda ovs: ovs.add_flow(
        'xenbr0', 'table=0,priority=65535,icmp,actions=NORMAL')),
}


@pytest.mark.parametrize('what', SABOTAGE)
def test_it_shouts_when_the_switch_does_something_else(town: Town, what: str) -> None:
    source, target, policy, sabotage = SABOTAGE[what]
    before = town.dom0.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', 'dump-flows', 'xenbr0')
    assert not explained(source, target)['differs']
    reached = town.vms[source].ping(town.vms[target].address(), 0.5)
    sabotage(town.dom0.ovs)
    try:
        said = xsisolate('explain', source, target, code=DIFFERENT)
        assert '!!! POLICY AND SWITCH DIFFER' in said.out and '    DIFFERS: switch: ' in said.out
        found = explained(source, target, code=DIFFERENT)
        assert found['reaches'] is policy and found['differs']
        town.dom0.ovs.settle()
        # And it is right: packets do as the switch says. A mere echo needs both ways.
        if policy:
            assert reached and not town.vms[source].ping(town.vms[target].address(), 0.5)
    finally:
        replace_flows(town, before)
    assert not explained(source, target)['differs']


def replace_flows(town: Town, dump: str) -> None:
    """Make the bridge carry what it carried."""
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'replace-flows', 'xenbr0', '-', stdin='\n'.join(
        line.strip() for line in dump.splitlines() if 'actions=' in line))
    town.dom0.ovs.settle()


# --- matrix ----------------------------------------------------------------------------------


def test_the_matrix_says_what_explain_says(town: Town) -> None:
    """Every pair of VMs of a network, for a service that some groups have and some have not."""
    networks = xsisolate('matrix', '--json').json['networks']
    assert [(network['network'], network['vlan']) for network in networks] == [
        ('xenbr0', 0), ('xapi120', 120), ('xenbr1', 0)]
    pairs = 0
    for network in networks:
        for one in network['vifs']:
            for other in network['vifs']:
                names = {'un', 'bad'} & {one['name'], other['name']}
                if one is other or names or one['vif'] > other['vif']:
                    continue
                pairs += 1
                services = one['reaches'].get(other['vif'], [])
                found = explained(one['vif'], other['vif'], 'tcp/443')
                assert found['reaches'] is bool({'everything', 'tcp/443'} & set(services)), (
                    one['name'], other['name'], services, reasons(found))
                assert other['reaches'].get(one['vif'], []) == services
    assert pairs > 30
    red1 = networks[0]['vifs'][[vif['name'] for vif in networks[0]['vifs']].index('red1')]
    assert red1['outside'] == ['everything'] and red1['groups'] == ['red']


def test_the_matrix_as_text_and_page(town: Town, tmp_path: Any) -> None:
    said = xsisolate('matrix')
    assert 'network xenbr0: 11 VIFs' in said.lines
    row = next(line for line in said.lines if re.match(r' +\d+ web1 ', line))
    assert row.split()[2:].count('s') == 1 and row.split()[-1] == '.'
    path = tmp_path / 'matrix.html'
    assert not xsisolate('matrix', '--html', str(path)).out
    page = path.read_text(encoding='utf-8')
    assert page.count('<svg class="grid"') == 3 and '<bdi>red1</bdi>' in page
    assert 'http' not in page and '<script' not in page and '\x1b' not in page
    assert not [name for name in os.listdir(str(tmp_path)) if name != 'matrix.html']
    os.symlink('/run/pwned', '%s/x.html.%d' % (tmp_path, os.getpid()))
    assert 'File exists' in xsisolate('matrix', '--html', str(tmp_path / 'x.html'), code=FAILED).err
    assert not os.path.exists('/run/pwned')
    said = xsisolate('matrix', '--html', str(tmp_path / 'no' / 'folder'), code=FAILED)
    assert 'cannot be written: No such file or directory' in said.err


# --- completion ------------------------------------------------------------------------------


def complete(*words: str) -> List[str]:
    """Return what bash offers for the last word."""
    script = ('source rpm/completion/xsisolate; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
              '_xsisolate; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(['bash', '-c', script, 'bash', 'xsisolate', *words], cwd=REPOSITORY,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 0 and not done.stderr, done.stderr
    return sorted(done.stdout.split('\n'))[1:] if done.stdout.strip() else []


@pytest.mark.parametrize('words, offers', [
    (('st',), ['status']), (('explain', 'red'), ['red1', 'red2']),
    (('explain', 'red1', 'bl'), ['blue1']), (('status', '--j'), ['--json']),
    (('sync', '--bridge', 'xenbr'), ['xenbr0', 'xenbr1']), (('matrix', '--html', 'setup.'), [
        'setup.cfg', 'setup.py']), (('doctor', '--q'), ['--quiet']), (('--ver',), ['--version'])])
def test_completion(town: Town, words: Tuple[str, ...], offers: List[str]) -> None:
    assert complete(*words) == offers


def test_completion_offers_no_hostile_name(town: Town) -> None:
    offered = complete('status', '')
    assert 'red1' in offered and 'un' in offered
    assert all(re.fullmatch('[A-Za-z0-9._+@:-]{1,64}', name) for name in offered), offered
    assert not os.path.exists('/run/pwned')
