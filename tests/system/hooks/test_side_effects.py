"""Everything that the stock hooks do beside switching, ours do as well."""
import os
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest

from sandbox.hooks import Call
from sandbox.hotplug import UdevHotplug
from sandbox.process import run
from sandbox.dom0 import Sandbox
from sandbox.toolstack import hotplug, private
from sandbox.vm import Vm

from support.guarded_host import leaving_nothing
from support.host_state import backend_key, hotplug_keys, is_up, write_script
from support.reachability import can_talk
from support.vm_events import fire_online, refresh
from support.switch import external_ids, our_flows, ports
from support.hook_log import lines, the_line

RECORD = '/run/recorded'
RECORDER = 'printf "%%s\\n" "%s $*" >> ' + RECORD + '\n%s'
VIF_HOTPLUG = '/etc/xapi.d/vif-hotplug'
PVS_SCRIPT = '/run/setup-pvs-proxy-rules'
OTHER_SCRIPT = '/run/other-setup-vif-rules'


@pytest.fixture
def start(host: Sandbox) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test."""
    def start_vm(name: str = 'vm', **more: Any) -> Vm:
        return host.start_vm(name, **dict({'ipv4': '10.9.0.11/24'}, **more))

    with leaving_nothing(host):
        yield start_vm
    assert not our_flows(host)


@pytest.fixture
def recorded() -> Iterator[Callable[[], List[str]]]:
    """Return a function that tells, and forgets, the calls of recording scripts."""
    def calls() -> List[str]:
        if not os.path.exists(RECORD):
            return []
        with open(RECORD) as record:
            text = record.read()
        os.unlink(RECORD)
        return text.splitlines()

    yield calls
    calls()
    for script in (VIF_HOTPLUG, PVS_SCRIPT, OTHER_SCRIPT):
        if os.path.exists(script):
            os.unlink(script)


def record(script: str, name: str, code: int = 0) -> None:
    """Write a script that records how it was called."""
    write_script(script, RECORDER % (name, 'exit %d\n' % code))


# --- the netdev ------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['vif', 'tap'])
def test_the_netdev_is_a_mere_wire(start: Any, kind: str) -> None:
    vm = start(hvm=True, mtu=1496, plug=False)
    vm.cable(0)
    netdev = vm.netdev(kind=kind)
    run(['ip', 'link', 'set', netdev, 'address', '02:00:00:00:00:99', 'mtu', '1500'])
    run(['sysctl', '-q', '-w', 'net.ipv6.conf.%s.disable_ipv6=0' % netdev.replace('.', '/')])
    run(['ip', 'addr', 'add', '10.9.0.200/24', 'dev', netdev])
    run(['ip', 'addr', 'add', '10.9.1.200/24', 'dev', netdev])
    run(['ip', 'addr', 'add', 'fd00:9::200/64', 'dev', netdev])
    vm.fire(vm.dom0.hotplug.plug(vm, 0))
    shown = run(['ip', 'addr', 'show', netdev])
    assert 'fe:ff:ff:ff:ff:ff' in shown
    assert 'NOARP' in shown and 'UP' in shown
    assert 'mtu 1496' in shown
    assert 'inet' not in shown


def offloads(netdev: str) -> Mapping[str, str]:
    """Return what ethtool says is on and off."""
    words = {'tx': 'tx-checksumming', 'sg': 'scatter-gather',
             'tso': 'tcp-segmentation-offload', 'gso': 'generic-segmentation-offload'}
    text = run(['ethtool', '-k', netdev])
    found = dict(re.findall(r'^([\w-]+): (on|off)', text, re.MULTILINE))
    return {short: found[name] for short, name in words.items()}


@pytest.mark.parametrize('asked, expected', [
    ({}, {'tx': 'on', 'sg': 'on', 'tso': 'on', 'gso': 'on'}),
    ({'tx': 'off'}, {'tx': 'off', 'sg': 'on', 'gso': 'on'}),
    ({'tx': 'false', 'gso': 'false'}, {'tx': 'off', 'gso': 'off'}),
    ({'sg': 'off', 'tx': 'true', 'ufo': 'off'}, {'tx': 'on', 'sg': 'off'})])
def test_ethtool_keys_are_obeyed(start: Any, asked: Dict[str, str],
                                 expected: Dict[str, str]) -> None:
    keys = {'other-config/ethtool-' + key: value for key, value in asked.items()}
    vm = start(plug=False, private=keys)
    vm.cable(0)
    netdev = vm.netdev()
    run(['ethtool', '-K', netdev, 'tx', 'on', 'sg', 'on', 'tso', 'on', 'gso', 'on'])
    assert fire_online(vm).code == 0
    found = offloads(netdev)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize('key, value', [('tx', 'maybe'), ('warp', 'on'), ('tx', '-K lo rx off')])
def test_an_ethtool_key_that_makes_no_sense_is_worth_a_line(start: Any, key: str,
                                                            value: str) -> None:
    vm = start(private={'other-config/ethtool-' + key: value})
    said = [line for line in lines(vm.runs[0]) if ' ethtool ' in line]
    assert len(said) == 1 and vm.netdev() in said[0] and value in said[0]
    assert backend_key(vm, 'hotplug-status') == 'connected'
    assert offloads(vm.netdev())['tx'] == 'on'


def test_promiscuous_is_worth_a_line(start: Any) -> None:
    vm = start(private={'other-config/promiscuous': 'on'})
    said = [line for line in lines(vm.runs[0]) if 'promiscuous' in line]
    assert len(said) == 1 and vm.netdev() in said[0]


# --- the port --------------------------------------------------------------------------------


@pytest.mark.parametrize('trunks, expected', [(None, '[]'), ('', '[]'), ('10', '10'),
                                              ('10,11,4094', '[10, 11, 4094]')])
def test_trunks_are_set(host: Sandbox, start: Any, trunks: Any, expected: str) -> None:
    vm = start(hvm=True, private={} if trunks is None else {'trunks': trunks})
    for kind in ('vif', 'tap'):
        assert host.ovs.vsctl('get', 'Port', vm.netdev(kind=kind), 'trunks') in (
            expected, '[%s]' % expected)


def test_trunks_are_cleared_and_left_alone(host: Sandbox, start: Any) -> None:
    vm = start(private={'trunks': '10,11'})
    key, ask = private(vm.uuid, 0) + '/trunks', ('get', 'Port', vm.netdev(), 'trunks')
    host.store.rm(key)
    refresh(vm)
    assert host.ovs.vsctl(*ask) == '[10, 11]'
    host.store.write(key, '')
    refresh(vm)
    assert host.ovs.vsctl(*ask) == '[]'


@pytest.mark.parametrize('trunks', ['10;11', '4096', 'all', '-1'])
def test_trunks_that_make_no_sense_fail_the_plug(start: Any, trunks: str) -> None:
    vm = start(plug=False, private={'trunks': trunks})
    vm.cable(0)
    result = fire_online(vm)
    assert result.code == 1
    the_line(result, vm.netdev(), 'trunks', trunks)
    assert not is_up(vm.netdev())


def test_external_ids_name_vm_vif_and_network(host: Sandbox, start: Any) -> None:
    vm = start(hvm=True)
    for kind in ('vif', 'tap'):
        assert external_ids(host, vm.netdev(kind=kind)) == {
            'xs-vm-uuid': vm.uuid, 'xs-vif-uuid': vm.vifs[0].uuid,
            'xs-network-uuid': host.network_uuid('xenbr0'), 'attached-mac': vm.mac}


@pytest.mark.parametrize('key', ['final-uuid', 'origin-uuid'])
def test_external_ids_name_a_migrating_vm_by_its_real_uuid(host: Sandbox, start: Any,
                                                           key: str) -> None:
    vm = start(plug=False)
    vm.cable(0)
    host.store.write('/vm/%s/%s' % (vm.uuid, key), '11111111-2222-3333-4444-555555555555')
    assert fire_online(vm).code == 0
    assert external_ids(host, vm.netdev())['xs-vm-uuid'] == '11111111-2222-3333-4444-555555555555'


# --- xenstore --------------------------------------------------------------------------------


def ifindex(netdev: str) -> str:
    """Return the kernel's number of a device."""
    with open('/sys/class/net/%s/ifindex' % netdev) as number:
        return number.read().strip()


def test_every_hotplug_key_comes_and_goes(host: Sandbox, start: Any) -> None:
    vm = start(hvm=True, plug=False)
    vm.cable(0)
    vif, tap = vm.netdev(), vm.netdev(kind='tap')
    vm.fire([host.hooks.udev_tap('add', vm.domid, 0)])
    with_tap = {'tap-ifindex': ifindex(tap), 'tap-ofport': str(host.ovs.ofport(tap))}
    assert hotplug_keys(vm) == with_tap
    assert backend_key(vm, 'hotplug-status') is None
    vm.fire([host.hooks.udev_vif('online', vm.domid, 0)])
    assert hotplug_keys(vm) == dict(with_tap, **{
        'vif': vif, 'hotplug': 'online', 'vif-ifindex': ifindex(vif),
        'vif-ofport': str(host.ovs.ofport(vif))})
    assert backend_key(vm, 'hotplug-status') == 'connected'
    vm.fire([host.hooks.udev_tap('remove', vm.domid, 0)])
    assert not [key for key in hotplug_keys(vm) if key.startswith('tap')]
    assert hotplug_keys(vm)['hotplug'] == 'online'
    vm.fire([host.hooks.udev_vif('remove', vm.domid, 0)])
    assert hotplug_keys(vm) == {'vif': vif}     # as the stock script leaves it
    assert backend_key(vm, 'hotplug-status') is None
    assert backend_key(vm, 'hotplug-error') is None


def test_a_move_updates_the_keys(host: Sandbox, start: Any) -> None:
    vm = start()
    filler = host.start_vm('filler', bridge='xenbr1')
    vm.move('xenbr1')
    assert hotplug_keys(vm)['vif-ofport'] == str(host.ovs.ofport(vm.netdev()))
    assert hotplug_keys(vm)['vif-ofport'] != hotplug_keys(filler)['vif-ofport']
    assert external_ids(host, vm.netdev())['xs-network-uuid'] == host.network_uuid('xenbr1')


# --- other people's scripts ------------------------------------------------------------------


def test_the_pvs_proxy_is_told(start: Any, recorded: Any) -> None:
    record(PVS_SCRIPT, 'pvs')
    vm = start(hvm=True, plug=False, private={
        'pvs-interface': 'pvs0', 'setup-pvs-proxy-rules': PVS_SCRIPT})
    vm.cable(0)
    folders = '/xapi/%s/private/vif/0 /xapi/%s/hotplug/%d/vif/0' % (vm.uuid, vm.uuid, vm.domid)
    vm.fire(vm.dom0.hotplug.plug(vm, 0))
    assert recorded() == ['pvs add %s %s %s' % (kind, vm.netdev(kind=kind), folders)
                          for kind in ('tap', 'vif')]
    refresh(vm)
    assert recorded() == []     # its rules are still there
    vm.unplug()
    assert recorded() == ['pvs remove %s %s %s' % (kind, vm.netdev(kind=kind), folders)
                          for kind in ('tap', 'vif')]


def test_no_pvs_interface_no_call(start: Any, recorded: Any) -> None:
    record(PVS_SCRIPT, 'pvs')
    vm = start(private={'setup-pvs-proxy-rules': PVS_SCRIPT})
    vm.unplug()
    assert recorded() == []


def test_a_failing_pvs_script_is_worth_a_line(start: Any, recorded: Any) -> None:
    record(PVS_SCRIPT, 'pvs', code=3)
    vm = start(private={'pvs-interface': 'pvs0', 'setup-pvs-proxy-rules': PVS_SCRIPT})
    assert 'exit 3' in ''.join(line for line in lines(vm.runs[0]) if 'pvs proxy' in line)
    assert backend_key(vm, 'hotplug-status') == 'connected'


@pytest.mark.parametrize('code', [0, 1])
def test_the_admins_hook_is_called(start: Any, recorded: Any, code: int) -> None:
    record(VIF_HOTPLUG, 'hook', code)
    vm = start(hvm=True)
    words = '-vifuuid %s -vmuuid %s' % (vm.vifs[0].uuid, vm.uuid)
    assert recorded() == ['hook -action online ' + words]
    assert backend_key(vm, 'hotplug-status') == 'connected'
    refresh(vm)
    vm.move('xenbr1')
    assert recorded() == []
    vm.unplug()
    assert recorded() == ['hook -action remove ' + words]


def test_anothers_setup_vif_rules_is_called_and_ours_not(host: Sandbox, start: Any,
                                                         recorded: Any) -> None:
    record(OTHER_SCRIPT, 'other')
    vm = start(plug=False, private={'setup-vif-rules': OTHER_SCRIPT})
    vm.cable(0)
    assert fire_online(vm).code == 0
    call = 'other classic %s %s 0 ' % (vm.netdev(), vm.uuid)
    assert recorded() == [call + 'filter']
    assert vm.netdev() not in ports(host) and not is_up(vm.netdev())
    assert backend_key(vm, 'hotplug-status') == 'connected'
    result, = host.hooks.run(host.hooks.udev_vif('remove', vm.domid, 0))
    assert result.code == 0
    assert recorded() == [call + 'clear']
    assert 'hotplug' not in hotplug_keys(vm)


@pytest.mark.parametrize('is_there', [True, False])
def test_anothers_setup_vif_rules_may_fail(host: Sandbox, start: Any, recorded: Any,
                                           is_there: bool) -> None:
    if is_there:
        record(OTHER_SCRIPT, 'other', 1)
    vm = start(plug=False, private={'setup-vif-rules': OTHER_SCRIPT})
    vm.cable(0)
    result = fire_online(vm)
    assert result.code == 1
    the_line(result, 'vif=' + vm.netdev(), OTHER_SCRIPT)
    assert OTHER_SCRIPT in (backend_key(vm, 'hotplug-error') or '')
    assert not is_up(vm.netdev())
    host.store.write(hotplug(vm.domain, 0) + '/hotplug', 'online')
    result, = host.hooks.run(host.hooks.udev_vif('remove', vm.domid, 0))
    assert result.code == 0     # or xenopsd would wait five minutes
    assert OTHER_SCRIPT in lines(result)[0] and vm.netdev() in lines(result)[0]
    assert 'hotplug' not in hotplug_keys(vm)


def test_a_link_to_our_script_is_ours(host: Sandbox, start: Any) -> None:
    os.symlink(host.hooks.path('setup-vif-rules'), '/run/link-to-ours')
    try:
        vm = start(private={'setup-vif-rules': '/run/link-to-ours'})
        said = lines(vm.runs[0])
        assert len(said) == 1 and said[0].startswith('xsisolate-vif: hook vif=' + vm.netdev())
    finally:
        os.unlink('/run/link-to-ours')


# --- how they are called ---------------------------------------------------------------------


def test_every_event_of_udevs_may_come(host: Sandbox, start: Any) -> None:
    good, host.hotplug = host.hotplug, UdevHotplug(every_event=True)
    try:
        vm, peer = start(hvm=True), start('peer', ipv4='10.9.0.12/24')
        assert can_talk(vm, peer.address())
        assert {run.code for run in vm.runs} == {0}
        assert {run.code for run in vm.unplug()} == {0}
        peer.unplug()
        assert not ports(host)
    finally:
        host.hotplug = good


def test_events_that_mean_nothing_here_end_silently(host: Sandbox, start: Any) -> None:
    vm = start(hvm=True)
    before = (our_flows(host), ports(host), hotplug_keys(vm))
    for action in ('bind', 'unbind', 'offline', 'change', 'nonsense', ''):
        for call in (host.hooks.udev_vif, host.hooks.udev_tap):
            result, = host.hooks.run(call(action, vm.domid, 0))
            assert (result.code, result.stdout, result.stderr) == (0, '', ''), action
    for other in (host.hooks.udev_vif('add', vm.domid, 0),
                  host.hooks.udev_tap('online', vm.domid, 0)):
        result, = host.hooks.run(other)
        assert (result.code, result.stdout, result.stderr) == (0, '', '')
    assert (our_flows(host), ports(host), hotplug_keys(vm)) == before


def test_hooks_need_no_environment(host: Sandbox, start: Any) -> None:
    vm = start()
    assert not {'PATH', 'HOME', 'LANG'} & set(
        host.hooks.udev_vif('online', vm.domid, 0).environment)
    for action in ('filter', 'clear'):
        result, = host.hooks.run(Call('setup-vif-rules', (
            'classic', vm.netdev(), vm.uuid, '0', action), {}))
        assert result.code == 0, result


# of XenServer 6.1 to 6.2, and of the trunk between them
OLD_SHAPES: Dict[str, Callable[[int, str], Tuple[str, ...]]] = {
    'four arguments': lambda domid, action: ('vif', str(domid), '0', action),
    'with network mode': lambda domid, action: ('vif', str(domid), '0', 'openvswitch', action),
    'with backend': lambda domid, action: ('classic', 'vif', str(domid), '0', action)}


@pytest.mark.parametrize('shape', sorted(OLD_SHAPES))
def test_old_shapes_of_setup_vif_rules(host: Sandbox, start: Any, shape: str) -> None:
    vm = start(plug=False, policy={'mode': 'locked', 'vif/0/ipv4': '10.9.0.11'})
    vm.cable(0)
    for action, flows in (('filter', True), ('clear', False)):
        result, = host.hooks.run(Call('setup-vif-rules', OLD_SHAPES[shape](vm.domid, action), {}))
        assert result.code == 0, result
        the_line(result, ' hook ', 'vif=' + vm.netdev())
        assert bool(our_flows(host)) is flows
        assert (vm.netdev() in ports(host)) is flows


@pytest.mark.parametrize('word', ['vif', 'type_if=vif'])
@pytest.mark.parametrize('by_arguments', [False, True])
def test_old_shapes_of_vif(host: Sandbox, start: Any, word: str, by_arguments: bool) -> None:
    vm = start(plug=False)
    vm.cable(0)
    for action, present in (('online', True), ('remove', False)):
        call = host.hooks.udev_vif(action, vm.domid, 0)
        call = Call('vif', (action, word), call.environment)
        if by_arguments:
            call = Call('vif', (action, word, str(vm.domid), '0'), {'ACTION': action})
        result, = host.hooks.run(call)
        assert result.code == 0, result
        assert (vm.netdev() in ports(host)) is present
        assert ('hotplug' in hotplug_keys(vm)) is present
