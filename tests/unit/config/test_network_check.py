"""What `check` says of networks by the VIFs that are on them."""
import pytest
from xsisolate.config.load import parse_config
from xsisolate.diagnostics.network_check import Machine, check_networks
from xsisolate.policy.address import parse_prefix

GATEWAY_MAC = '00:00:5e:00:01:01'
CONFIG = parse_config('''
version: 1
networks:
  xapi3:
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "%s"}]
    dhcp_servers: [10.9.0.2]
  '*': {}
''' % GATEWAY_MAC, 'x.yaml')


VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
NAMED = parse_config('''
version: 1
networks:
  xapi3:
    gateways: [{vm: %s, devid: 1, ipv4: 10.9.0.254}]
    dhcp_servers: [{vm: %s, devid: 1}]
''' % (VM, VM), 'x.yaml')


def machine(addresses: str = '10.9.0.7', mac: str = '02:00:00:00:00:07', bridge: str = 'xapi3',
            leaves: bool = False, uplink: bool = True) -> Machine:
    return Machine('vm', bridge, 'u', mac, tuple(map(parse_prefix, addresses.split())), leaves,
                   uplink)


@pytest.mark.parametrize('one, said', [
    (machine(), []), (machine('10.9.0.254'), ['gateways']), (machine('fd00:9::1'), ['gateways']),
    (machine(mac=GATEWAY_MAC), ['gateways']), (machine('10.9.0.254', bridge='xapi4'), []),
    (machine('10.9.0.2'), ['dhcp_servers']), (machine('0.0.0.0/0'), []),
    (machine('10.9.0.0/24'), ['gateways', 'dhcp_servers']),
    (machine(leaves=True), []), (machine(leaves=True, uplink=False), ['']),
    (machine(leaves=True, uplink=False, bridge='xapi4'), ['']), (machine(uplink=False), [])])
def test_remarks(one: Machine, said: list) -> None:
    remarks = list(check_networks(CONFIG, (machine('10.9.0.9'), one)))
    assert [key for _, key, _ in remarks] == said
    assert all('vm' in text for _, _, text in remarks)
    assert {name for name, _, _ in remarks} <= {'*' if one.bridge == 'xapi4' else 'xapi3'}


def test_who_holds_the_role_is_where_it_is_looked_for() -> None:
    router = machine('10.9.0.254 10.9.0.2')._replace(roles=frozenset(['gateway', 'dhcp']))
    leaver = machine('10.9.0.9', leaves=True, uplink=False)
    assert not list(check_networks(CONFIG, (leaver, router)))
    assert [key for _, key, _ in check_networks(CONFIG, (leaver,))] == ['']


def test_a_role_that_no_vif_has_is_named() -> None:
    said = list(check_networks(NAMED, (machine(),)))
    assert {key for _, key, _ in said} == {'gateways', 'dhcp_servers'}
    assert all(VM in text for _, _, text in said)
    holder = machine('10.9.0.254')._replace(roles=frozenset(['gateway', 'router', 'dhcp']))
    assert not list(check_networks(NAMED, (machine(), holder)))
    assert not list(check_networks(NAMED, (machine(bridge='xapi4'),)))


def test_the_word_for_all_of_vrrps_does_not_mean_the_gateways() -> None:
    listed = machine()._replace(macs=frozenset(['vrrp']))
    (name, key, text), = check_networks(CONFIG, (listed,))
    assert (name, key) == ('xapi3', 'gateways') and GATEWAY_MAC in text and 'vm' in text
