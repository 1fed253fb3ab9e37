"""What tests of seals share: a guarded VM's neighbours, and every frame between them."""
import json
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

import pytest

from sandbox.hooks import HookRun
from sandbox.host import Host
from sandbox.process import wait_until
from sandbox.dom0 import SEAL, Sandbox
from sandbox.uplink import OUTSIDE, GatewayAddresses
from sandbox.vm import Vm

from support.reachability import can_talk, say
from support.vm_events import end
from support.host_state import is_up
from support.hook_log import lines
from support.switch import our_flows, ports

# `unsealed: quarantine` is the default, so it is not written.
CONFIG = '''\
version: 1
grace: %d
networks:
  "*":
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1"}]
'''
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
RED = {'groups': 'red', 'allow': 'external'}
ERROR_KEY = 'external_ids:xsisolate-error'

# What the reason says; docs/seal.md names the states.
UNSEALED = 'the vm-data has a policy and the VIF no seal'
MISSING = 'the VIF has a seal and the vm-data no policy'
UNREADABLE = 'the seal is malformed'
VERSION = 'the seal is of another version'
CHANGED = 'the seal is not that of this policy, VM, device and MAC address'
PORTABLE_CHANGED = 'the portable seal is not that of this policy and device'

SECOND = '10.9.0.23'        # what a VM's second VIF has, though its guest does not configure it
LONG_S = 60         # a grace that no test waits out
SHORT_S = 1         # one that it does
SETTLED_S = 0.1     # so long after the last frame that was due, nothing comes any more
# What a module of tests marks that runs on a host with these neighbours.
GUARDED = pytest.mark.host(sealed=True, config=CONFIG % LONG_S)



class Around(NamedTuple):
    """Who is on the network beside the VM that a test is about."""

    bystander: Vm           # unmanaged, on the same host
    friend: Vm              # sealed, in the group red
    gateway: Host


def settle_in(host: Sandbox) -> Around:
    """Start the neighbours on the first bridge."""
    gateway = host.add_uplink('xenbr0', GATEWAY).gateway
    return Around(host.start_vm('bystander', ipv4='10.9.0.99/24', ipv6='fd00:9::99/64'),
                  start_vm(host, 12, RED), gateway)


def own(number: int, policy: Mapping[str, str]) -> Dict[str, str]:
    """Return a policy with the addresses that a VM's first VIF has in these tests."""
    return dict({'vif/0/ipv4': '10.9.0.%d' % number, 'vif/0/ipv6': 'fd00:9::%d' % number},
                **policy)


def start_vm(host: Sandbox, number: int, policy: Optional[Mapping[str, str]] = None,
             **more: Any) -> Vm:
    """Start a VM with the policy and its seal, or without both."""
    return host.start_vm('vm%d' % number, **dict(
        {'ipv4': '10.9.0.%d/24' % number, 'ipv6': 'fd00:9::%d/64' % number,
         'policy': own(number, policy) if policy else None}, **more))


@contextmanager
def leaving_nothing(host: Sandbox, *staying: Vm) -> Iterator[None]:
    """Let VMs come; at the end those that do not stay are gone, and nothing of theirs is left."""
    for machine in staying + tuple(uplink.gateway for uplink in host.uplinks.values()):
        machine.flush_neighbours()      # an earlier test's VM had this address
    yield
    for vm in list(host.vms):
        if vm not in staying:
            end(vm)
    nics = {uplink.device for name, uplink in host.uplinks.items() if name == 'xenbr0'}
    assert set(ports(host)) == {vm.netdev() for vm in staying} | nics
    assert not our_flows(host, 'xenbr1') and not ports(host, 'xenbr1')


# --- vm-data and seals -----------------------------------------------------------------------


def give_vm_data(vm: Vm, policy: Mapping[str, str]) -> None:
    """Give a guest a vm-data of its own, as a domain's builder does."""
    folder = '/local/domain/%d/vm-data' % vm.domid
    vm.dom0.store.rm(folder)
    vm.dom0.store.make(folder, 'n%d' % vm.domid)
    for key, value in policy.items():
        vm.xenstore.write('vm-data/xsisolate/' + key, value)


def give_seal(vm: Vm, seal: Optional[str], devid: int = 0) -> None:
    """Write a seal into VIF.other_config, or take it out."""
    vm.set_vif(devid, other_config={} if seal is None else {SEAL: seal})


def the_seal(vm: Vm, devid: int = 0) -> str:
    """Return the seal that a VIF carries."""
    return vm.vifs[devid].other_config[SEAL]


def guest_changes(vm: Vm) -> None:
    """Let the guest write itself another allow list."""
    vm.xenstore.write('vm-data/xsisolate/allow', '10.9.0.99, external')


# --- frames ----------------------------------------------------------------------------------


def passed(vm: Vm, around: Around, devid: int = 0) -> List[str]:
    """Return what passes between a VIF and its neighbours: all of it, not only answers.

    Broadcasts and unicasts, both ways; and whatever else is seen on the wires.
    """
    mac, device = vm.vifs[devid].mac, 'eth%d' % devid
    address = SECOND if devid else vm.address()
    others = [(around.bystander, around.bystander.mac, around.bystander.address()),
              (around.friend, around.friend.mac, around.friend.address()),
              (around.gateway, GATEWAY.mac, '10.9.0.254')]
    vm.sniff(device)
    for machine, _, _ in others:
        machine.sniff()
    for machine, its_mac, its_address in others:
        vm.send(say(mac, address, its_mac, its_address), device)
        machine.send(say(its_mac, its_address))
        machine.send(say(its_mac, its_address, mac, address))
    vm.send(say(mac, address), device)
    # The switch works while this one is under way, so the others are not to come.
    last = say(around.bystander.mac, around.bystander.address(), word=b'the last one')
    around.bystander.send(last)
    seen = around.gateway.sniffed(until=last, wait=3)
    assert last in seen, 'the wires do not work'
    arrived = [frame.hex() for frame in vm.sniffed(device, wait=SETTLED_S)]
    for machine in (around.bystander, around.friend):
        seen += machine.sniffed(wait=SETTLED_S / 2)
    left = [frame.hex() for frame in seen if frame[6:12].hex() == mac.replace(':', '')]
    return ['arrived ' + frame for frame in arrived] + ['left ' + frame for frame in left]


def is_fine(vm: Vm, around: Around) -> bool:
    """Tell whether a VM of the group red reaches its friend and the world."""
    return (can_talk(vm, around.friend.address()) and can_talk(around.friend, vm.address(6))
            and can_talk(vm, OUTSIDE[0]))


# --- verdicts --------------------------------------------------------------------------------


def shown_error(vm: Vm, devid: int = 0, kind: str = 'vif') -> str:
    """Return the Interface's external_ids:xsisolate-error, '' if it has none."""
    text = vm.dom0.ovs.vsctl('--if-exists', 'get', 'Interface', vm.netdev(devid, kind), ERROR_KEY)
    return str(json.loads(text)) if text else ''


def check_quarantine(vm: Vm, around: Around, result: HookRun, *words: str, devid: int = 0,
                     doubt: bool = False) -> None:
    """Check that a hook has put a VIF into quarantine, said why, and let nothing pass."""
    assert result.code == 0, result
    said = lines(result)
    assert len(said) == 2 + doubt, said
    assert (' in doubt ' in said[0]) is doubt and ' mode=quarantined ' in said[-2], said
    assert ' quarantined vif=%s vm=%s reason=' % (vm.netdev(devid), vm.uuid) in said[-1], said
    assert said[-1].isprintable() and len(said[-1]) < 1000
    for word in words:
        assert word in said[-1] and word in shown_error(vm, devid), (word, said[-1])
    assert is_up(vm.netdev(devid))
    assert vm.netdev(devid) in ports(vm.dom0, vm.vifs[devid].bridge)
    assert passed(vm, around, devid) == []


def check_mode(vm: Vm, result: HookRun, mode: str, devid: int = 0) -> None:
    """Check that a hook has applied a policy, has nothing to complain of, and shows no error."""
    assert result.code == 0, result
    said = lines(result)
    assert len(said) == 1 and ' mode=%s ' % mode in said[0], said
    assert not shown_error(vm, devid)


def wait_for(running: Any, seconds: float = 30) -> HookRun:
    """Wait for a hook that was started, and return what came of it."""
    wait_until(running.is_done, 'the hook', seconds)
    return running.result()     # type: ignore
