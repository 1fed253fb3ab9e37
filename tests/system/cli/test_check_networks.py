"""`xsisolate check` on a host knows the VIFs that are there."""
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses

from support.command import xsisolate

CONFIG = '''version: 1
unsealed: accept
networks:
  xenbr0:
    subnets: [10.9.0.0/24]
    gateways:
      - {ipv4: 10.9.0.254, mac: "02:00:00:00:00:fe"}
    dhcp_servers: [10.9.0.11]
'''


def test_a_gateway_and_a_server_that_are_vms(dom0: Sandbox) -> None:
    dom0.configure(CONFIG)
    dom0.add_bridge('xenbr0')
    dom0.start_vm('router', 'xenbr0', ipv4='10.9.0.254/24', mac='02:00:00:00:00:fe')
    dom0.start_vm('server', 'xenbr0', ipv4='10.9.0.11/24', policy={
        'groups': 'red', 'allow': 'external', 'vif/0/ipv4': '10.9.0.11'})
    said = xsisolate('check').out
    assert ':6: warning: networks.xenbr0: 02:00:00:00:00:fe is router (vif' in said
    assert ':8: warning: networks.xenbr0: 10.9.0.11 is server (vif' in said
    assert ':4: warning: networks.xenbr0: its bridge has no uplink: `external` leads nowhere for ' \
        'server (vif' in said
    dom0.add_uplink('xenbr0', GatewayAddresses('02:00:00:00:ee:01'))
    assert 'no uplink' not in xsisolate('check').out
