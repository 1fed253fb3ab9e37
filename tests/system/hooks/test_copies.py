"""An unmanaged VM with a managed one's MAC address: nothing of it passes, and everybody is told."""
import json
from typing import Any, Callable, Dict, Iterator

import pytest

from support.command import FAILED, xsisolate
from sandbox.process import run
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.host_state import CONFIG
from support.reachability import arrives, is_lost, speech
from support.vm_events import end, refresh
from support.hook_log import lines
from support.switch import our_flows
from support.guarded_host import leaving_nothing, shown_error
from support.resync import sync

GATEWAY_MAC = '00:00:5e:00:01:01'
pytestmark = pytest.mark.host(
    config=CONFIG + '    gateways: [{ipv4: 10.9.0.254, mac: "%s"}]\n' % GATEWAY_MAC)
LOCKED = {'mode': 'locked', 'vif/0/ipv4': '10.9.0.11'}


@pytest.fixture(scope='module')
def listener(host: Sandbox) -> Vm:
    """An unmanaged VM, which hears what passes."""
    return host.start_vm('listener', ipv4='10.9.0.99/24')


@pytest.fixture
def start(host: Sandbox, listener: Vm) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test, and leave nothing behind."""
    def start_vm(policy: Any = None, **more: Any) -> Vm:
        return host.start_vm('vm', **dict({'policy': policy, 'ipv4': '10.9.0.11/24'}, **more))

    with leaving_nothing(host, listener):
        yield start_vm
    assert not our_flows(host) and not shown_error(listener)


def status_of(vm: Vm) -> Dict[str, Any]:
    """Return what `status` says of a VIF."""
    found = json.loads(xsisolate('status', '--json').out)['vifs']
    return next(dict(vif) for vif in found if vif['vif'] == vm.netdev())


def warnings_of(vm: Vm) -> str:
    """Return what `doctor` says of a VIF."""
    found = json.loads(xsisolate('doctor', '--json', code=FAILED).out)['findings']
    return '\n'.join(one['found'] for one in found if vm.netdev() in one['found'])


def is_said(copy: Vm, *words: str) -> bool:
    """Check that all say the same of a copy, and are right; tell whether it is mute."""
    said = shown_error(copy)
    assert (status_of(copy)['error'] or '') == said
    assert status_of(copy)['mode'] == 'unlocked'
    assert ('mute: ' + said in warnings_of(copy)) is bool(said)
    hook = refresh(copy)
    assert hook.code == 0 and (' mute ' in hook.stderr) is bool(said), hook
    assert [line for line in lines(hook) if ' hook ' in line]
    assert not said or all(word in said for word in words), said
    sync('--dry-run')
    return bool(said)


@pytest.mark.parametrize('mode', ['locked', 'isolated', 'disabled', 'nonsense'])
def test_a_copy_that_comes_after_its_original(start: Any, listener: Vm, mode: str) -> None:
    original = start(dict(LOCKED, mode=mode))
    copy = start(mac=original.mac)
    assert copy.runs[-1].code == 0 and ' mute ' in copy.runs[-1].stderr
    assert is_lost(copy, listener, speech(copy))
    assert is_said(copy, original.mac, original.netdev(), original.uuid)
    original.shutdown()
    assert not is_said(copy)
    assert arrives(copy, listener, speech(copy))


def test_a_copy_that_was_there_first(start: Any, listener: Vm) -> None:
    """Only the original's hooks run."""
    copy = start()
    assert arrives(copy, listener, speech(copy)) and not shown_error(copy)
    original = start(LOCKED, mac=copy.mac)
    assert original.netdev() in shown_error(copy) and not shown_error(original)
    assert is_lost(copy, listener, speech(copy)) and arrives(original, listener, speech(original))
    assert is_said(copy, original.mac, original.netdev(), original.uuid)
    original.set_policy({})
    refresh(original)
    assert not is_said(copy) and arrives(copy, listener, speech(copy))
    original.set_policy(LOCKED)
    refresh(original)
    assert is_said(copy) and is_lost(copy, listener, speech(copy))
    original.crash()
    sync()
    assert not is_said(copy) and arrives(copy, listener, speech(copy))


def test_explain_says_it_and_so_does_the_switch(start: Any, listener: Vm) -> None:
    copy = start()
    original = start(LOCKED, mac=copy.mac)
    one, other = ('%d/0' % vm.domid for vm in (copy, listener))
    for source, target, addresses in ((one, other, ('10.9.0.11', '10.9.0.99')),
                                      (other, one, ('10.9.0.99', '10.9.0.11'))):
        said = xsisolate('explain', source, target, 'tcp/80', '--source-address', addresses[0],
                         '--target-address', addresses[1]).out
        assert 'DOES NOT REACH' in said and original.netdev() in said, said
        assert 'policy and switch agree' in said, said


def test_sync_says_it_too(host: Sandbox, start: Any) -> None:
    copy, original = start(), None
    original = start(LOCKED, mac=copy.mac)
    for wrong in ('', 'nonsense'):
        host.ovs.vsctl('remove', 'Interface', copy.netdev(), 'external_ids', 'xsisolate-error')
        if wrong:
            host.ovs.vsctl('set', 'Interface', copy.netdev(),
                           'external_ids:xsisolate-error=' + wrong)
        said = xsisolate('sync').out
        assert 'mute %s: ' % copy.netdev() in said and original.netdev() in shown_error(copy)
    assert copy.netdev() in json.loads(xsisolate('sync', '--json').out)[0]['mute']


def test_a_copy_on_another_network_speaks(host: Sandbox, start: Any) -> None:
    vlan = host.add_bridge('xapi7', parent='xenbr0', vlan=70)
    ear = host.start_vm('ear', bridge=vlan, ipv4='10.9.0.98/24')
    try:
        original = start(LOCKED)
        for network in (vlan, 'xenbr1'):
            copy = start(mac=original.mac, bridge=network)
            assert not is_said(copy)
            assert network != vlan or arrives(copy, ear, speech(copy))
            copy.move('xenbr0')
            assert is_said(copy, original.netdev())
            copy.move(network)
            assert not is_said(copy)
            copy.shutdown()
    finally:
        end(ear)
        host.ovs.vsctl('del-br', vlan)


def test_a_vm_with_a_gateways_mac_address(start: Any, listener: Vm) -> None:
    """As long as a managed VIF is on the network, whose flows these are."""
    poser = start(mac=GATEWAY_MAC)
    assert not is_said(poser) and arrives(poser, listener, speech(poser))
    managed = start(dict(LOCKED, **{'vif/0/ipv4': '10.9.0.12'}), ipv4='10.9.0.12/24')
    assert 'gateway' in shown_error(poser) and is_lost(poser, listener, speech(poser))
    assert is_said(poser, GATEWAY_MAC, 'xsisolate.yaml')
    managed.shutdown()
    assert not is_said(poser) and arrives(poser, listener, speech(poser))


def test_a_copy_as_the_stock_hooks_have_written_it(host: Sandbox, start: Any) -> None:
    """In upper case, and plugged before xsisolate was there."""
    copy = start(mac='02:00:00:aa:bb:0c')
    run(['ovs-vsctl', 'set', 'Interface', copy.netdev(),
         'external_ids:attached-mac="02:00:00:AA:BB:0C"'])
    original = start(LOCKED, mac=copy.mac)
    assert original.netdev() in shown_error(copy)
