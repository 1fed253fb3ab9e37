"""What Open vSwitch does because of a controller or manager is what we say that it does.

And Dom0 reaches those that it connects to over a bridge that forwards nothing by itself.
"""
import socket
import time
from typing import Dict, Iterator, Tuple

import pytest

from sandbox.process import ip, wait_until
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm

from xsisolate.dataplane.remotes import failing_open, open_remotes
from xsisolate.dom0.ovs.ovsdb import Ovsdb

from support.command import xsisolate
from support.vm_events import end, refresh
from support.switch import our_flows
from support.in_band_forgery import hidden_flows
from support.resync import sync

GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
OWN, ECHO, OTHER = '10.9.0.250', 7, 8
FAIL_OPEN = 'priority=15790320'     # 0xf0f0f0
PROBE = 'inactivity_probe=1000'
KINDS: Dict[str, Tuple[str, ...]] = {       # a bridge each: target, settings of the controller
    'active': ('tcp:127.0.0.1:6', PROBE),
    'activessl': ('ssl:127.0.0.1:6', PROBE),
    'unix': ('unix:/var/run/openvswitch/nothing.sock', PROBE),    # others it refuses
    'outofband': ('tcp:127.0.0.1:6', PROBE, 'connection_mode=out-of-band'),
    'service': ('tcp:127.0.0.1:6', PROBE, 'type=service'),
    'six': ('tcp:[::1]:6', PROBE),
    'elsewhere': ('tcp:10.9.0.77:6', PROBE),
    'bad': ('tcp:10.9.0.777:6', PROBE),
    'ptcp': ('ptcp:6653:127.0.0.1', PROBE),
    'primary': ('ptcp:6654:127.0.0.1', PROBE, 'type=primary'),
    'zero': ('ptcp:6656:127.0.0.1', 'inactivity_probe=0', 'type=primary'),
    'punix': ('punix:/run/openvswitch/punix.own', PROBE),
    'pssl': ('pssl:6655:127.0.0.1', PROBE),
    'none': ('none', PROBE)}


@pytest.fixture(scope='module')
def bridges(host: Sandbox) -> Iterator[None]:
    """A bridge with each kind of controller, after it had the time to fail open."""
    for name, (target, *settings) in KINDS.items():
        host.ovs.add_bridge(name)
        host.ovs.vsctl('set-controller', name, target, '--', 'set', 'Controller', name, *settings)
    time.sleep(5)
    yield
    for name in KINDS:
        host.ovs.vsctl('del-br', name)


def hidden(host: Sandbox, bridge: str) -> str:
    """Return all flows of a bridge, those that no OpenFlow dump shows among them."""
    return host.ovs.appctl('bridge/dump-flows', bridge)


@pytest.mark.parametrize('kind', KINDS)
def test_a_bridge_is_said_to_fail_open_if_and_only_if_it_does(host: Sandbox, bridges: None,
                                                             kind: str) -> None:
    with Ovsdb() as ovsdb:
        bridge, = (one for one in ovsdb.read_bridges() if one.name == kind)
    assert bool(failing_open(bridge)) is (FAIL_OPEN in hidden(host, kind))
    assert FAIL_OPEN not in ''.join(host.ovs.dump_flows(kind))


@pytest.mark.parametrize('kind', KINDS)
def test_in_band_control_is_said_to_open_a_bridge_if_and_only_if_it_does(
        host: Sandbox, bridges: None, kind: str) -> None:
    with Ovsdb() as ovsdb:
        bridge, = (one for one in ovsdb.read_bridges() if one.name == kind)
    if kind != 'bad':       # as a name: who knows what it resolves to
        assert bool(open_remotes(bridge)) is bool(hidden_flows(host, kind))


def test_a_secure_bridge_never_fails_open(host: Sandbox, bridges: None) -> None:
    host.ovs.set_bridge('active', 'fail_mode=secure')
    wait_until(lambda: FAIL_OPEN not in hidden(host, 'active'), 'the flow to go', 3)
    host.ovs.set_bridge('active', 'fail_mode=standalone')


@pytest.fixture
def vm(host: Sandbox) -> Iterator[Vm]:
    """A managed VM."""
    vm = host.start_vm('vm11', ipv4='10.9.0.11/24', policy={'groups': 'red',
                                                           'vif/0/ipv4': '10.9.0.11'})
    yield vm
    host.ovs.vsctl('del-manager', '--', 'del-controller', 'xenbr0')
    end(vm)
    sync()
    assert not our_flows(host)


@pytest.mark.parametrize('target', ['ptcp:6653:127.0.0.1', 'punix:/run/openvswitch/xenbr0.own',
                                    'pssl:6655:127.0.0.1', 'none'])
def test_a_passive_controller_is_nothing_to_speak_of(host: Sandbox, vm: Vm, target: str) -> None:
    """Xen Orchestra puts one on every bridge."""
    host.ovs.vsctl('set-controller', 'xenbr0', target)
    assert 'exposed' not in refresh(vm).stderr
    assert 'may forward' not in xsisolate('status').out
    sync('--dry-run')


def test_an_active_one_that_is_out_of_band_fails_open_all_the_same(host: Sandbox, vm: Vm) -> None:
    host.ovs.vsctl('set-controller', 'xenbr0', 'tcp:127.0.0.1:6', 'ptcp:6653:127.0.0.1')
    for row in host.ovs.vsctl('--bare', '--columns=_uuid', 'list', 'Controller').split():
        host.ovs.vsctl('set', 'Controller', row, 'connection_mode=out-of-band')
    said = refresh(vm).stderr
    assert ' exposed ' in said and 'controller tcp:127.0.0.1:6 ' in said and 'ptcp' not in said


def reaches(address: str, port: int) -> bool:
    """Tell whether Dom0 gets a TCP connection."""
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


@pytest.fixture
def secure(host: Sandbox) -> Iterator[None]:
    """The bridge is secure by others, and Dom0 has an address on it."""
    if not host.uplinks:        # its gateway answers at ECHO anyway
        host.add_uplink('xenbr0', GATEWAY).gateway.serve(OTHER)
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure')
    ip(['addr add %s/24 dev xenbr0' % OWN, 'link set xenbr0 up'])
    yield
    ip(['addr flush dev xenbr0'])
    host.ovs.set_bridge('xenbr0', 'fail_mode=standalone')


@pytest.mark.parametrize('words', [
    ['set-manager', 'tcp:10.9.0.254:7'], ['set-controller', 'xenbr0', 'tcp:10.9.0.254:7']])
def test_dom0_reaches_its_remote_over_a_bridge_that_forwards_nothing(
        host: Sandbox, secure: None, vm: Vm, words: Tuple[str, ...]) -> None:
    """As it would by in-band control; and nothing else that it would not."""
    host.ovs.vsctl(*words)
    refresh(vm)
    assert not hidden_flows(host)
    assert reaches('10.9.0.254', ECHO) and not reaches('10.9.0.254', OTHER)
    host.ovs.restart_vswitchd()
    ip(['addr replace %s/24 dev xenbr0' % OWN, 'link set xenbr0 up'])
    assert not reaches('10.9.0.254', ECHO)
    refresh(vm)
    assert not hidden_flows(host) and reaches('10.9.0.254', ECHO)


def test_doctor_names_a_remote_by_name_that_dom0_cannot_reach(host: Sandbox, secure: None,
                                                             vm: Vm) -> None:
    host.ovs.vsctl('set-manager', 'ssl:manager.example:6640')
    refresh(vm)
    from xsisolate.cli.command import open_dom0
    from xsisolate.diagnostics.doctor_switch import examine_bridges
    from xsisolate.diagnostics.inventory import read_inventory
    with open_dom0() as dom0:
        said = [one for one in examine_bridges(dom0, read_inventory(dom0))
                if one.what == 'in-band control on xenbr0']
    assert len(said) == 1 and 'manager ssl:manager.example:6640' in said[0].found
    assert 'write the address' in said[0].advice
