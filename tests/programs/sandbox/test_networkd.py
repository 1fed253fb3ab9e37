"""What networkd does to Open vSwitch: the rows and flows that it leaves, played in the sandbox."""
from typing import Iterator

import pytest

from sandbox.hotplug import Hotplug, PlainHotplug
from sandbox.networkd import DISABLE_IN_BAND, FAIL_MODE, Network
from sandbox.process import ip
from sandbox.dom0 import Sandbox

LAN, TENANT = Network('lan-uuid'), Network('tenant-uuid')


@pytest.fixture(scope='module')
def hotplug() -> Hotplug:
    """No hooks."""
    return PlainHotplug()


@pytest.fixture
def host(dom0: Sandbox) -> Iterator[Sandbox]:
    """A host with two NICs and no bridge."""
    ip(['link add p%d type veth peer name q%d' % (n, n) for n in (0, 1)])
    yield dom0
    for vm in list(dom0.vms):
        vm.shutdown()
    for bridge in dom0.networkd.bridges():
        dom0.networkd.destroy_bridge(bridge)
    ip(['link del p%d' % n for n in (0, 1)])


def column(host: Sandbox, table: str, row: str, name: str) -> str:
    """Return a column of a row."""
    return host.ovs.vsctl('get', table, row, name).strip('"')


def test_a_plug_resets_what_the_networks_record_does_not_say(host: Sandbox) -> None:
    host.networkd.plug_pif('xenbr0', 'p0', LAN)
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure', 'other_config:disable-in-band=true')
    host.networkd.plug_pif('xenbr0', 'p0', LAN)
    assert column(host, 'Bridge', 'xenbr0', 'fail_mode') == 'standalone'
    assert 'disable-in-band' not in column(host, 'Bridge', 'xenbr0', 'other_config')
    assert column(host, 'Bridge', 'xenbr0', 'external_ids:xs-network-uuids') == 'lan-uuid'
    assert host.ovs.vsctl('list-ports', 'xenbr0') == 'p0'


def test_what_the_networks_record_says_stays(host: Sandbox) -> None:
    told = LAN._replace(other_config={FAIL_MODE: 'secure', DISABLE_IN_BAND: 'true'})
    for _ in range(2):
        host.networkd.plug_pif('xenbr0', 'p0', told)
        assert column(host, 'Bridge', 'xenbr0', 'fail_mode') == 'secure'
        assert column(host, 'Bridge', 'xenbr0', 'other_config:disable-in-band') == 'true'


def test_a_bridge_that_exists_and_fails_closed_gets_flows_for_dom0(host: Sandbox) -> None:
    told = LAN._replace(other_config={FAIL_MODE: 'secure'})
    host.networkd.plug_pif('xenbr0', 'p0', told)
    assert not host.ovs.dump_flows('xenbr0')        # a new one has none
    host.networkd.plug_pif('xenbr0', 'p0', told)
    flows = host.ovs.dump_flows('xenbr0')
    assert len(flows) == 4 and all('priority=0' in flow for flow in flows), flows


def test_words_that_are_none_of_networkds_mean_the_default(host: Sandbox) -> None:
    host.networkd.plug_pif('xenbr0', 'p0', LAN)
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure', 'other_config:disable-in-band=true')
    host.networkd.plug_pif('xenbr0', 'p0', LAN._replace(
        other_config={FAIL_MODE: 'Secure', DISABLE_IN_BAND: 'yes'}))
    assert column(host, 'Bridge', 'xenbr0', 'fail_mode') == 'standalone'
    assert column(host, 'Bridge', 'xenbr0', 'other_config:disable-in-band') == 'true'


def test_a_vlans_plug_resets_its_parent_and_names_the_network_there(host: Sandbox) -> None:
    host.networkd.plug_pif('xenbr0', 'p0', LAN)
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure')
    host.networkd.plug_vlan('xapi1', 'xenbr0', 120, TENANT, LAN, 'p0')
    assert column(host, 'Bridge', 'xenbr0', 'fail_mode') == 'standalone'
    assert column(host, 'Bridge', 'xenbr0',
                  'external_ids:xs-network-uuids') == 'tenant-uuid;lan-uuid'
    host.networkd.destroy('xenbr0')
    assert host.networkd.bridges() == ['xapi1', 'xenbr0']       # a VLAN needs it
    host.networkd.plug_vlan('xapi2', 'xenbr0', 120, TENANT, LAN, 'p0')
    assert host.networkd.bridges() == ['xapi2', 'xenbr0']       # a VLAN has one bridge
    host.networkd.destroy('xenbr0', force=True)
    assert not host.networkd.bridges()


def test_an_internal_network_becomes_a_vlan_with_new_rows_for_its_vifs(host: Sandbox) -> None:
    host.networkd.plug_pif('xenbr0', 'p0', LAN)
    host.networkd.attach_internal('xapi1', TENANT)
    vm = host.start_vm('vm', 'xapi1')
    host.ovs.vsctl('set', 'interface', vm.netdev(), 'external_ids:xs-vm-uuid=' + vm.uuid)
    row = column(host, 'Port', vm.netdev(), '_uuid')
    host.networkd.plug_vlan('xapi1', 'xenbr0', 120, TENANT, LAN, 'p0')
    assert column(host, 'Port', vm.netdev(), '_uuid') != row
    assert column(host, 'Port', vm.netdev(), 'tag') == '120'
    assert column(host, 'Interface', vm.netdev(), 'external_ids') == '{}'
    assert host.ovs.vsctl('iface-to-br', vm.netdev()) == 'xapi1'
    assert host.ovs.vsctl('br-to-parent', 'xapi1') == 'xenbr0'


def test_a_bond_takes_the_nics_of_its_members_bridges(host: Sandbox) -> None:
    for bridge, device in (('xenbr0', 'p0'), ('xenbr1', 'p1')):
        host.networkd.plug_pif(bridge, device, LAN)
    host.networkd.plug_bond('xapi0', 'bond0', ['p0', 'p1'], LAN, '02:00:00:00:00:99',
                            cleanup=['xenbr0', 'xenbr1'])
    assert host.networkd.bridges() == ['xapi0']
    assert host.ovs.vsctl('list-ifaces', 'xapi0').split() == ['p0', 'p1']
    assert column(host, 'Port', 'bond0', 'bond_mode') == 'balance-slb'
    assert column(host, 'Bridge', 'xapi0', 'other_config:hwaddr') == '02:00:00:00:00:99'
    host.networkd.destroy_port('p0')
    assert not host.ovs.vsctl('list-ports', 'xapi0')


def test_an_internal_network_that_is_there_is_left_alone(host: Sandbox) -> None:
    host.networkd.attach_internal('xapi1', TENANT)
    host.ovs.set_bridge('xapi1', 'fail_mode=secure')
    host.networkd.attach_internal('xapi1', TENANT._replace(other_config={FAIL_MODE: 'standalone'}))
    assert column(host, 'Bridge', 'xapi1', 'fail_mode') == 'secure'
    host.networkd.create_port('pvs0', 'xapi1', internal=True)
    assert column(host, 'Interface', 'pvs0', 'type') == 'internal'
