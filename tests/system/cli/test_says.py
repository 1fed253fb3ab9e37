"""What commands say is what is: with a broken configuration, without flows, beyond this host."""
import json
import os
from typing import Any, Dict, Iterator, List

import pytest
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm

from support.command import BROKEN, DIFFERENT, DONE, FAILED, xsisolate

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
NETWORK = '''
  xenbr0:
    subnets: [10.9.0.0/24]
    gateways: [{ipv4: 10.9.0.254, mac: "00:00:5e:00:01:01"}]
'''
CONFIG = 'version: 1\ngrace: 0\nnetworks:%s  xenbr1: {default: isolated}\n' % NETWORK
CONFIG += 'groups:\n  web: {rules: [tcp/443]}\n'
MISTAKES = {'a wrong key': 'version: 1\nnetwork: {}\n', 'no YAML': 'version: [',
            'an unknown label': CONFIG.replace('xenbr1', 'Tenants of old')}
FILE = '/etc/xsisolate/xsisolate.yaml'
COMPILED = '/run/xsisolate/config.json'
MEMBERS = '/run/xsisolate/groups/red.json'
OURS = 'cookie=0x5849534f00000000/0xffffffff00000000'
Said = Dict[str, Any]


class Town:
    """A host with the kinds of VIFs that there are."""

    def __init__(self, dom0: Sandbox) -> None:
        self.dom0 = dom0
        dom0.add_bridge('xenbr0'), dom0.add_bridge('xenbr1')
        dom0.configure(CONFIG)
        dom0.add_uplink('xenbr0', GATEWAY)
        self.vms: Dict[str, Vm] = {}
        self.add('red1', 11, groups='red', allow='external')
        self.add('red2', 12, groups='red')
        self.add('blue1', 21, groups='blue')
        self.add('web1', 31, groups='web'), self.add('web2', 32, groups='web')
        self.add('locked', 41, mode='locked')
        self.vms['free'] = dom0.start_vm('free', ipv4='10.9.0.51/24')
        self.vms['mute'] = dom0.start_vm('mute', bridge='xenbr1', ipv4='10.9.0.52/24')

    def add(self, name: str, number: int, more: str = '', **policy: str) -> Vm:
        """Start a VM with a policy."""
        self.vms[name] = self.dom0.start_vm(name, ipv4='10.9.0.%d/24' % number, policy=dict(
            policy, **{'vif/0/ipv4': '10.9.0.%d%s' % (number, more)}))
        return self.vms[name]

    def ping(self, source: str, target: str) -> bool:
        """Tell whether a VM gets an answer of another."""
        return self.vms[source].ping(self.vms[target].address(), 1)

    def sync(self) -> None:
        """Have the switch carry what it should."""
        self.dom0.configure(CONFIG)
        xsisolate('sync')


@pytest.fixture(scope='module')
def town(dom0: Sandbox) -> Town:
    """The host of this module."""
    return Town(dom0)


@pytest.fixture
def mended(town: Town) -> Iterator[None]:
    """Put the host right after a test."""
    yield
    town.sync()
    assert xsisolate('status', '--json').json['warnings'] == []


def shown(code: int = DONE) -> Dict[str, Said]:
    """Return what status says, by VM."""
    return {one['name']: {key: one[key] for key in (
        'mode', 'groups', 'allow', 'addresses', 'error', 'flows', 'carried')}
        for one in xsisolate('status', '--json', code=code).json['vifs']}


def links(code: int = DONE) -> List[Any]:
    """Return what the matrix says."""
    return [[(vif['name'], vif['mode'], vif['outside'], vif['reaches']) for vif in network['vifs']]
            for network in xsisolate('matrix', '--json', code=code).json['networks']]


def explained(*words: str, code: int = DONE) -> Said:
    """Return what explain says."""
    return dict(xsisolate('explain', '--json', *words, code=code).json)


# --- a broken configuration ------------------------------------------------------------------


@pytest.mark.parametrize('mistake', ['a wrong key', 'no YAML'])
def test_with_a_broken_file_commands_tell_what_vifs_keep(town: Town, mended: None,
                                                         mistake: str) -> None:
    """Packets flow as before: it is said, with what is wrong and since when it counts."""
    assert town.ping('red1', 'red2')        # so that the switch has learned where they live
    before, reach = shown(), links()
    assert {one['mode'] for one in before.values()} == {'isolated', 'locked', 'unlocked'}
    town.dom0.configure(MISTAKES[mistake])
    assert town.ping('red1', 'red2') and not town.ping('red1', 'blue1')
    assert shown(BROKEN) == before and links(BROKEN) == reach
    warning = xsisolate('status', code=BROKEN).lines[0]
    assert warning.startswith('! %s:' % FILE) and 'VIFs plugged or refreshed since 20' in warning
    assert xsisolate('matrix', code=BROKEN).lines[0] == warning
    for words, verdict in ((('red1', 'red2'), 'reaches'), (('red1', 'blue1'), 'stopped'),
                           (('web1', 'web2', 'tcp/443'), 'reaches'),
                           (('web1', 'web2', 'tcp/80'), 'stopped'),
                           (('red1', '192.0.2.1'), 'leaves'), (('free', 'locked'), 'reaches')):
        words = words if 'free' not in words else words + ('--source-address', '10.9.0.51')
        found = explained(*words, code=BROKEN)
        assert (found['verdict'], found['differs']) == (verdict, False), found
    assert xsisolate('explain', 'red1', 'red2', code=BROKEN).lines[0] == warning


def test_a_vif_plugged_while_the_file_is_broken_is_shown_closed(town: Town, mended: None) -> None:
    town.dom0.configure(MISTAKES['a wrong key'])
    late = town.add('late', 13, groups='red')
    try:
        assert not town.ping('red1', 'late') and town.ping('red1', 'red2')
        found = shown(BROKEN)
        assert found['late']['mode'] == 'quarantined' and FILE in found['late']['error']
        assert found['late']['carried'] and found['red1']['mode'] == 'isolated'
        assert explained('red1', 'late', code=BROKEN)['verdict'] == 'stopped'
        assert explained('red1', 'red2', code=BROKEN)['verdict'] == 'reaches'
        # The mended file does not count yet: nothing has looked at the VIF since.
        town.dom0.configure(CONFIG)
        said = xsisolate('status', code=DIFFERENT)
        assert 'does not carry what policies need of %s: xsisolate sync' % late.netdev() in said.out
    finally:
        late.shutdown()


def test_what_changed_while_the_file_is_broken_does_not_count_yet(town: Town, mended: None) -> None:
    """The switch's record is what a VIF runs on, not what vm-data says by now."""
    before = shown()['red2']
    town.dom0.configure(MISTAKES['a wrong key'])
    vm = town.vms['red2']
    vm.set_policy({'groups': 'blue', 'vif/0/ipv4': '10.9.0.12'})
    try:
        assert town.ping('red1', 'red2') and shown(BROKEN)['red2'] == before
        assert explained('red1', 'red2', code=BROKEN)['verdict'] == 'reaches'
    finally:
        vm.set_policy({'groups': 'red', 'vif/0/ipv4': '10.9.0.12'})


@pytest.mark.parametrize('mistake', ['a wrong key', 'an unknown label'])
def test_what_was_valid_last_is_not_known(town: Town, mended: None, mistake: str) -> None:
    """Status tells what the switch does; what members may say it cannot tell, and does not."""
    before = shown()
    town.dom0.configure(MISTAKES[mistake])
    if os.path.exists(COMPILED):
        os.unlink(COMPILED)
    found = shown(BROKEN)
    for name in ('red1', 'red2', 'blue1', 'locked', 'free'):
        assert found[name] == before[name]
    assert 'as far as the switch tells it' in xsisolate('status', code=BROKEN).lines[0]
    for words in (('matrix',), ('explain', 'red1', 'red2')):
        said = xsisolate(*words, code=BROKEN)
        assert not said.out and 'cannot say what VIFs may reach: correct the file' in said.err


def test_an_allow_list_that_is_not_known_is_not_made_up(town: Town, mended: None) -> None:
    town.dom0.configure(MISTAKES['a wrong key'])
    vm = town.vms['red1']
    vm.set_policy({'groups': 'red', 'allow': '10.9.0.21', 'vif/0/ipv4': '10.9.0.11'})
    try:
        said = xsisolate('status', 'red1', code=BROKEN).out
        assert 'not known: the switch keeps what it was' in said and '10.9.0.21' not in said
    finally:
        vm.set_policy({'groups': 'red', 'allow': 'external', 'vif/0/ipv4': '10.9.0.11'})


def test_doctor_says_which_line_to_mend(town: Town, mended: None) -> None:
    """`sync` would touch nothing: it is no advice."""
    town.dom0.configure(MISTAKES['a wrong key'])
    findings = xsisolate('doctor', '--json', code=FAILED).json['findings']
    configuration = next(one for one in findings if one['what'] == 'configuration')
    assert configuration['do'].startswith('correct line 2 of %s' % FILE)
    flows = [one for one in findings if one['what'].startswith('flows of ')]
    assert flows and all('had before the configuration broke' in one['found']
                         and one['do'].startswith('mend the configuration first') for one in flows)
    assert ['mute' in one['found'] for one in findings if one['what'] == 'VIF'] == [True]
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', OURS)
    findings = xsisolate('doctor', '--json', code=FAILED).json['findings']
    flows = [one for one in findings if one['what'] == 'flows of xenbr0']
    assert flows[0]['state'] == 'problem' and town.vms['red1'].netdev() in flows[0]['found']


def test_the_files_mistake_is_not_xapis(town: Town) -> None:
    from xsisolate.dom0.run_files.pool_state import PoolState, path, write_state
    write_state(PoolState(True, 1.0, error=FILE + ':2: network: unknown key'))
    try:
        said = xsisolate('status').out
        assert ': not kept up to date: %s:2' % FILE in said and 'XAPI is away' not in said
    finally:
        os.unlink(path())


# --- flows that are not there ----------------------------------------------------------------

GONE = {'all flows': OURS, 'the headers': OURS + ',table=235'}


@pytest.mark.parametrize('what', GONE)
def test_status_misses_flows(town: Town, mended: None, what: str) -> None:
    """Somebody deleted them, and no daemon put them back: the mode is a wish, not a fact."""
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', GONE[what])
    said = xsisolate('status', code=DIFFERENT)
    assert said.lines[0].startswith('! bridge xenbr0 does not carry what policies need of %s ' % (
        town.vms['red1'].netdev()))
    row = next(line for line in said.lines if ' red1 ' in line).split()
    assert row[7].endswith('!')
    found = shown(DIFFERENT)
    assert not found['red1']['carried'] and not found['locked']['carried']
    assert found['free']['carried'] and found['mute']['carried']
    assert xsisolate('matrix', code=DIFFERENT).lines[0] == said.lines[0]
    assert 'not those that it needs' in xsisolate('status', 'red1', code=DIFFERENT).out


def test_status_misses_a_single_flow(town: Town, mended: None) -> None:
    flow = next(line for line in town.dom0.ovs.dump_flows('xenbr0', '-O', 'OpenFlow14')
                if 'cookie=0x5849534f4%07x' % (town.vms['red1'].domid << 9) in line
                and 'table=235' not in line)
    words = dict(word.split('=', 1) for word in flow.replace(',', ' ').split() if '=' in word)
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', 'cookie=%s/-1,table=%s' % (
        words['cookie'], words['table']))
    found = shown(DIFFERENT)
    assert not found['red1']['carried'] and found['blue1']['carried']


def test_status_misses_what_the_file_wants_by_now(town: Town, mended: None) -> None:
    """A group's rules were changed, and nothing was told to apply them."""
    town.dom0.configure(CONFIG.replace('tcp/443', 'tcp/80'))
    said = xsisolate('status', code=DIFFERENT)
    assert said.lines[0] == ('! bridge xenbr0 does not carry what policies need: xsisolate sync '
                             'mends it')


# --- what lies beyond this host --------------------------------------------------------------


def headline(*words: str, code: int = DONE) -> str:
    """Return the first line of an explanation, behind its colon."""
    return xsisolate('explain', *words, code=code).lines[0].split(': ', 1)[1]


def test_a_way_out_is_no_arrival(town: Town) -> None:
    assert headline('red1', '192.0.2.1') == (
        'LEAVES THIS HOST towards the gateway 10.9.0.254, assumed from xsisolate.yaml: which '
        'router its guest uses is not known here')
    assert headline('red1', '10.9.0.254') == (
        'LEAVES THIS HOST towards the gateway 10.9.0.254, as xsisolate.yaml says')
    assert headline('free', '10.9.0.99', '--source-address', '10.9.0.51').startswith(
        'LEAVES THIS HOST towards the machine that has it, which is not a known VIF of this host')
    assert headline('10.9.0.99', 'locked') == 'REACHES, if it arrives at the uplink'
    assert headline('red1', 'red2') == 'REACHES'
    found = explained('red1', '192.0.2.1')
    assert found['reaches'] is None and found['verdict'] == 'leaves'


@pytest.mark.parametrize('mac', ['mac: "02:00:00:00:09:fe"', ''], ids=['with its MAC', 'without'])
@pytest.mark.parametrize('managed', [True, False])
def test_a_gateway_that_is_a_vm_of_this_host(town: Town, mended: None, managed: bool,
                                             mac: str) -> None:
    """Gateways are looked for beyond the uplink: a ping gets no answer, and none is promised.

    A managed VIF that is named by its MAC address holds the role, and answers.
    """
    town.dom0.configure(CONFIG.replace('ipv4: 10.9.0.254, mac: "00:00:5e:00:01:01"',
                                       'ipv4: 10.9.0.253%s' % (', ' * bool(mac) + mac)))
    policy = {'mode': 'locked', 'vif/0/ipv4': '10.9.0.253'} if managed else None
    gate = town.dom0.start_vm('gate', ipv4='10.9.0.253/24', policy=policy, mac='02:00:00:00:09:fe')
    xsisolate('sync')
    if not managed:     # else there is no telling, but by the MAC address
        gate.xenstore.write('/local/domain/%d/attr/vif/0/ipv4/0' % gate.domid, '10.9.0.253')
    try:
        if managed and mac:
            assert town.vms['red1'].ping('10.9.0.253', 1)
            for target in ('gate', '10.9.0.253', '192.0.2.1'):
                found = explained('red1', target)
                assert (found['verdict'], found['differs']) == ('reaches', False), found
            return
        assert not town.vms['red1'].ping('10.9.0.253', 1)
        for target in ('gate', '10.9.0.253', '192.0.2.1'):
            found = explained('red1', target)
            assert (found['verdict'], found['differs']) == ('stopped', False), found
            because = found['request'][0]['steps'][-1]['because']
            assert 'name it by vm and devid in networks.xenbr0.gateways' in because
        assert headline('red1', '192.0.2.1').startswith('DOES NOT REACH, stopped on this host')
    finally:
        gate.shutdown()


def test_an_address_that_others_share_on_another_host(town: Town, mended: None) -> None:
    """Which of them has it now only their host knows."""
    uuid = town.vms['red1'].vifs[0].network_uuid
    os.makedirs(os.path.dirname(MEMBERS), exist_ok=True)
    with open(MEMBERS, 'w') as file:
        json.dump({'version': 1, 'members': [
            {'network': uuid, 'mac': '02:00:00:00:0a:0%d' % at,
             'addresses': ['10.9.0.20%d' % at, '10.9.0.200']} for at in (1, 2)]}, file)
    try:
        xsisolate('sync')
        assert headline('red1', '10.9.0.201') == (
            'LEAVES THIS HOST towards the host of 02:00:00:00:0a:01, as XAPI told of group red; '
            'what that host admits is up to its own rules')
        assert headline('red1', '10.9.0.200') == (
            'LEAVES THIS HOST towards the host of one of 02:00:00:00:0a:01 02:00:00:00:0a:02, '
            'which share it: which one has it now is not known here, as XAPI told of group red; '
            'what that host admits is up to its own rules')
    finally:
        os.unlink(MEMBERS)


# --- an address that another has -------------------------------------------------------------


def test_a_clone_with_its_parents_address_is_refused(town: Town, mended: None) -> None:
    """Sealed, in the same group: an admin has meant the policy, and not seen that it is a copy."""
    parent = town.vms['red2']
    before = shown()['red2']
    clone = town.dom0.start_vm('clone', ipv4='10.9.0.12/24', policy={
        'groups': 'red', 'vif/0/ipv4': '10.9.0.12'})
    try:
        found = shown()
        assert found['clone']['mode'] == 'quarantined' and found['red2'] == before
        assert 'address 10.9.0.12 is already that of %s of VM %s on this network' % (
            parent.netdev(), parent.uuid) in found['clone']['error']
        assert 'list it under vif/<devid>/shared of both' in found['clone']['error']
        assert town.ping('red1', 'red2') and not clone.ping('10.9.0.11', 1)
        clone.set_policy({'groups': 'red', 'vif/0/ipv4': '10.9.0.13', 'vif/0/shared': '10.9.0.12'})
        xsisolate('sync')
        assert shown()['clone']['mode'] == 'quarantined'    # its parent has not said so
        parent.set_policy({'groups': 'red', 'vif/0/shared': '10.9.0.12'})
        xsisolate('sync')
        assert {shown()[name]['mode'] for name in ('clone', 'red2')} == {'isolated'}
        assert xsisolate('status', '--json', 'clone').json['vifs'][0]['shared'] == ['10.9.0.12']
    finally:
        clone.shutdown()
        parent.set_policy({'groups': 'red', 'vif/0/ipv4': '10.9.0.12'})
