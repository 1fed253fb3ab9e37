"""Which networks have VIFs that no flow sees, from XAPI's records alone."""
import pytest

from xsisolate.policy.unprotected import (LINUX_BRIDGE, SRIOV, HostBridges, find_linux_backend,
                                          find_sriov, is_foreign, why_foreign)

PIFS = {'plain': {'network': 'lan'}, 'empty': {'network': 'other', 'sriov_logical_PIF_of': []},
        'physical': {'network': 'lan2', 'sriov_physical_PIF_of': ['x'],
                     'sriov_logical_PIF_of': []},
        'logical': {'network': 'fast', 'sriov_logical_PIF_of': ['x']},
        'untagged': {'network': 'fast7', 'sriov_logical_PIF_of': []},
        'vlan': {'network': 'lan7'}}
VLANS = {'a': {'tagged_PIF': 'logical', 'untagged_PIF': 'untagged'},
         'b': {'tagged_PIF': 'plain', 'untagged_PIF': 'vlan'}}


def test_an_sriov_network_and_its_vlans():
    """The network of the NIC itself is Open vSwitch's, and so are VLANs of others."""
    assert find_sriov(PIFS, VLANS) == {'fast': SRIOV, 'fast7': SRIOV}
    assert find_sriov({}, {}) == {} and find_sriov({'plain': PIFS['plain']}, VLANS) == {}


@pytest.mark.parametrize('hosts, found', [
    ({}, False), ({'a': {'name_label': 'a'}}, False),
    ({'a': {'name_label': 'a', 'software_version': {'network_backend': 'openvswitch'}}}, False),
    ({'a': {'name_label': 'a', 'software_version': {}},
      'b': {'name_label': 'b\n\x1b', 'software_version': {'network_backend': 'bridge'}}}, True)])
def test_a_host_with_linux_bridges(hosts, found):
    why = find_linux_backend(hosts)
    assert bool(why) is found and all(' ' <= letter <= '~' for letter in why)


def test_only_a_bridge_that_xapi_has_not_made_is_asked_about():
    assert is_foreign({'managed': False})
    assert not is_foreign({'managed': True}) and not is_foreign({})


OVS, LINUX, NEITHER = (HostBridges('a', ['br']), HostBridges('b', [], ['br']), HostBridges('c'))


@pytest.mark.parametrize('said, why', [
    ([OVS], ''), ([OVS, NEITHER], ''), ([LINUX], LINUX_BRIDGE % 'br' + ' (host b)'),
    ([OVS, LINUX], LINUX_BRIDGE % 'br' + ' (host b)'), ([NEITHER], 'on any host'),
    ([], 'on any host'), ([OVS, HostBridges('d', error='away')], 'is not known: away')])
def test_what_hosts_say_of_it(said, why):
    """In doubt it is not protected: every host on which the VM may start counts."""
    found = why_foreign('br', said)
    assert (why in found) if why else found == ''
