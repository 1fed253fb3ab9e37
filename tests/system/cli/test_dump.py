"""xsisolate dump and explain --trace: the switch's flows, in words, as they are."""
import re
from typing import Any, Dict

import pytest
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.command import DIFFERENT, FAILED, USAGE, xsisolate

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]
CONFIG = '''
version: 1
grace: 0
networks:
  xenbr0: {subnets: [10.9.0.0/24]}
'''


class Town:
    """Two bridges, one with a VLAN, and VMs by name."""

    def __init__(self, dom0: Sandbox) -> None:
        self.dom0 = dom0
        self.vms: Dict[str, Vm] = {}
        dom0.add_bridge('xenbr0'), dom0.add_bridge('xenbr1')
        dom0.add_bridge('xapi120', parent='xenbr0', vlan=120)
        dom0.configure(CONFIG)
        self.add('red1', 11, 'xenbr0', groups='red', allow='10.9.0.99')
        self.add('red2', 12, 'xenbr0', groups='red')
        self.add('far', 13, 'xapi120', groups='red')
        self.add('other', 14, 'xenbr1', groups='blue')

    def add(self, name: str, number: int, bridge: str, **policy: str) -> None:
        """Start a VM."""
        self.vms[name] = self.dom0.start_vm(
            name, bridge, ipv4='10.9.0.%d/24' % number, mac='02:00:00:00:09:%02x' % number,
            policy=dict(policy, **{'vif/0/ipv4': '10.9.0.%d' % number}))


@pytest.fixture(scope='module')
def town(dom0: Sandbox) -> Town:
    """The host of this module."""
    return Town(dom0)


def ours(town: Town, bridge: str) -> int:
    """Return how many flows of ours a bridge has, without headers."""
    return len([flow for flow in town.dom0.ovs.dump_flows(bridge, '-O', 'OpenFlow14')
                if re.search('cookie=0x5849534f[0-7]', flow)])


def item(found: Any, kind: str, words: str) -> Any:
    """Return the one item of a kind whose title has these words."""
    one, = [item for item in found['items'] if item['kind'] == kind and words in item['title']]
    return one


def test_every_flow_of_every_bridge(town: Town) -> None:
    """Nothing is missing, nothing is there twice, and each raw flow can be found on the switch."""
    found = {dump['bridge']: dump for dump in xsisolate('dump', '--json').json}
    assert set(found) == {'xenbr0', 'xenbr1'}
    for bridge, dump in found.items():
        raw = [flow['raw'] for one in dump['items'] for flow in one['flows']]
        assert len(raw) == len(set(raw)) == ours(town, bridge) > 100
        assert dump['strays'] == [] and dump['left_out'] == 0
        assert all(one['intact'] for one in dump['items'])


def test_what_headers_say(town: Town) -> None:
    found, = xsisolate('dump', 'xenbr0', '--json').json
    red1 = town.vms['red1']
    assert item(found, 'port', red1.netdev())['title'] == '%s, port %d, of red1 (%s)' % (
        red1.netdev(), town.dom0.ovs.ofport(red1.netdev()), red1.netdev())
    endpoint = item(found, 'endpoint', red1.mac)
    assert ' on network xenbr0, VM %s: isolated, group red, allow list ' % red1.uuid in (
        endpoint['title'])
    assert endpoint['title'].endswith('; addresses: 10.9.0.11')
    assert 'on network xapi120' in item(found, 'endpoint', town.vms['far'].mac)['title']
    assert 'xapi120 (VLAN 120), uuid ' in item(found, 'network', 'xapi120')['title']
    member = [flow for flow in endpoint['flows'] if flow['stage'] == '230 MEMBER'
              and 'peers=(group red)' in flow['match']]
    assert member and all('party_mac=' + red1.mac in flow['match'] for flow in member)
    delivered = [flow for flow in endpoint['flows'] if flow['stage'] == '222 LOCAL']
    assert any('output to ' + red1.netdev() in flow['actions'] for flow in delivered)


def test_what_one_vm_needs(town: Town) -> None:
    """Its ports, its endpoint, its groups and its network, without the rest."""
    red2 = town.vms['red2']
    for words in (['red2'], ['xenbr0', 'red2'], ['xapi120', 'red2'], [red2.netdev()]):
        found, = xsisolate('dump', *words, '--json').json
        assert {one['kind'] for one in found['items']} == {
            'port', 'endpoint', 'peers', 'spread', 'network'}
        assert item(found, 'endpoint', '')['title'].startswith(red2.mac)
        shown = sum(len(one['flows']) for one in found['items'])
        assert shown and shown + found['left_out'] == ours(town, 'xenbr0')
    said = xsisolate('dump', 'red2')
    assert said.lines[0].startswith('bridge xenbr0: 6 items, ') and said.code == 0
    assert '  207 SOURCE, priority 50, ' in said.out and 'cookie=0x5849534f4' in said.out


def test_names_that_mean_nothing(town: Town) -> None:
    said = xsisolate('dump', 'nobody', code=USAGE)
    assert 'nobody' in said.err and 'xsisolate status' in said.err
    said = xsisolate('dump', 'xenbr1', 'red1', code=USAGE)
    assert 'VM red1 has no VIF on xenbr1: its VIFs are on xenbr0' in said.err
    said = xsisolate('dump', 'nowhere', 'red1', code=FAILED)
    assert 'no bridge nowhere' in said.err and 'xenbr0' in said.err


def test_what_is_not_as_recorded_stands_out(town: Town) -> None:
    """A lost flow and a stray one: words, an exit code, and sync ends both."""
    port = town.vms['red1'].domid << 9
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                        'table=230,cookie=0x5849534f4%07x/-1' % port)
    town.dom0.ovs.ofctl('-O', 'OpenFlow14', 'add-flow', 'xenbr0', 'cookie=0x5849534f50777700,'
                        'table=201,priority=3,in_port=77,actions=drop')
    found, = xsisolate('dump', 'xenbr0', '--json', code=DIFFERENT).json
    assert [one['title'][:17] for one in found['items'] if not one['intact']] == [
        town.vms['red1'].mac]
    assert [flow['stage'] for flow in found['strays']] == ['201 BIND']
    said = xsisolate('dump', 'xenbr0', code=DIFFERENT)
    assert said.out.count('NOT THOSE THAT ITS HEADER TELLS OF') == 1
    assert 'of which no header tells' in said.out
    xsisolate('sync')
    assert xsisolate('dump', 'xenbr0').code == 0


def test_a_trace_in_words(town: Town) -> None:
    """Every flow that the packet meets, and where it ends."""
    said = xsisolate('explain', 'red1', 'red2', '--trace')
    assert said.out.count('    trace of in_port=') == 2        # request and answer
    assert 'peers:=(group red)' in said.out and 'raise PLAIN' in said.out
    assert '232 RULES, priority ' in said.out and 'REG15' not in said.out
    assert 'trace of' not in xsisolate('explain', 'red1', 'red2').out
    other = town.dom0.start_vm('red3', 'xenbr0', ipv4='10.9.0.15/24',
                               policy={'groups': 'green', 'vif/0/ipv4': '10.9.0.15'})
    said = xsisolate('explain', 'red1', other.uuid, '--trace')
    assert 'ask 234 ISOLATED_DROP' in said.out
    other.shutdown()
