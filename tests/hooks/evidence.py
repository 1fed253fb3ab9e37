"""What tests of the hooks look at: flows, links, ports, keys, frames, and the one line."""
import os
import re
import socket
import struct
from contextlib import contextmanager
from typing import Dict, FrozenSet, Iterator, List, Mapping, Match, Optional

from lab.hooks import HookRun
from lab.host import Host
from lab.process import run
from lab.sandbox import Sandbox
from lab.toolstack import backend, hotplug
from lab.traffic import checksum
from lab.vm import Vm

from xsisolate.openflow.ownership import REGISTRY
from xsisolate.pipeline.tables import DESTINATION, LOCAL, SOURCE

CONFIG = '''\
version: 1
unsealed: accept
networks:
  xenbr0:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
OURS = 'cookie=0x5849534f'
SILENT_S = 0.3      # an answer takes a millisecond; this long nothing comes
UNSEALED = ': unsealed '
XENSTORED_SOCKET = '/run/xenstored/socket'
OVSDB_SOCKET = '/run/openvswitch/db.sock'


# --- what a hook says ----------------------------------------------------------------------


def lines(result: HookRun) -> List[str]:
    """Return the lines a hook wrote, less the warning that vm-data is trusted."""
    text = result.stdout + result.stderr
    assert 'Traceback' not in text, text
    return [line for line in text.splitlines() if UNSEALED not in line]


def the_line(result: HookRun, *words: str) -> str:
    """Return the only line a hook wrote, which has these words in it."""
    said = lines(result)
    assert len(said) == 1, said
    missing = [word for word in words if word not in said[0]]
    assert not missing, (missing, said[0])
    return said[0]


def changes(result: HookRun) -> str:
    """Return how many flows a hook says it added and deleted, as '3 0'."""
    found = re.search(r' added=(\d+) deleted=(\d+)', result.stderr)
    assert found, result
    return ' '.join(found.groups())


# --- what is on the switch -----------------------------------------------------------------


def our_flows(host: Sandbox, bridge: str = 'xenbr0') -> FrozenSet[str]:
    """Return the product's flows on a bridge, with ports by name."""
    dump = host.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', '--names', 'dump-flows', bridge,
                          OURS + '00000000/0xffffffff00000000')
    return frozenset(line.strip() for line in dump.splitlines() if 'actions=' in line)


# What packets teach the switch, by table and priority; see settle_flow in the product.
LEARNED = ((LOCAL, 100), (SOURCE, 96))


def policy_flows(host: Sandbox, bridge: str = 'xenbr0') -> FrozenSet[str]:
    """The same without headers and what the switch learned; ports in order of their names."""
    apart = ['table=%d,' % REGISTRY] + ['table=%d, priority=%d,' % where for where in LEARNED]
    return frozenset(re.sub(r'output:"[^ ]+', sorted_outputs, flow)
                     for flow in our_flows(host, bridge)
                     if not any(words in flow for words in apart))


def sorted_outputs(actions: Match[str]) -> str:
    """Return a list of outputs without what was plugged first."""
    return ','.join(sorted(actions.group().split(',')))


def foreign_flows(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return everybody else's flows on a bridge, with their cookies."""
    return sorted(line for line in host.ovs.dump_flows(bridge, '-O', 'OpenFlow14')
                  if OURS not in line)


def ports(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return the ports on a bridge."""
    return host.ovs.vsctl('list-ports', bridge).split()


def port_settings(host: Sandbox, netdev: str, bridge: str = 'xenbr0') -> Mapping[str, bool]:
    """Return {'no-flood': True, ...}: whether the switch leaves a port out of floods."""
    text = host.ovs.ofctl('-O', 'OpenFlow10', '--names', 'dump-ports-desc', bridge)
    block = text.split('(%s): addr' % netdev)[1].split('current:')[0]
    return {'no-flood': 'NO_FLOOD' in block}


def external_ids(host: Sandbox, netdev: str) -> Dict[str, str]:
    """Return the external_ids of a netdev's Interface."""
    text = host.ovs.vsctl('get', 'Interface', netdev, 'external_ids')
    return dict(re.findall(r'"?([\w-]+)"?="?((?:[^"\\,}]|\\.)*)"?', text.strip('{}')))


# --- what is on the host -------------------------------------------------------------------


def is_up(netdev: str) -> bool:
    """Tell whether Dom0 has set a device up."""
    with open('/sys/class/net/%s/flags' % netdev) as flags:
        return bool(int(flags.read(), 16) & 1)


def carrier_changes(netdev: str) -> int:
    """Return how often a device's carrier went and came."""
    with open('/sys/class/net/%s/carrier_changes' % netdev) as count:
        return int(count.read())


def hotplug_keys(vm: Vm, devid: int = 0) -> Dict[str, str]:
    """Return what the hooks have told xenopsd, below hotplug/."""
    folder = hotplug(vm.domain, devid)
    return vm.dom0.store.tree(folder) if vm.dom0.store.get(folder) is not None else {}


def backend_key(vm: Vm, key: str, devid: int = 0) -> Optional[str]:
    """Return a key of the VIF's backend, such as hotplug-status."""
    return vm.dom0.store.get('%s/%s' % (backend(vm.domid, devid), key))


@contextmanager
def moved_away(path: str) -> Iterator[None]:
    """Let a file, a socket for example, be missing for a while."""
    os.rename(path, path + '.away')
    try:
        yield
    finally:
        os.rename(path + '.away', path)


@contextmanager
def full_table(host: Sandbox, bridge: str = 'xenbr0', table: int = DESTINATION) -> Iterator[None]:
    """Let one of our tables hold a single flow: the switch refuses the others."""
    host.ovs.vsctl('--id=@full', 'create', 'Flow_Table', 'flow_limit=1',
                   'overflow_policy=refuse', '--',
                   'set', 'Bridge', bridge, 'flow_tables:%d=@full' % table)
    try:
        yield
    finally:
        host.ovs.vsctl('clear', 'Bridge', bridge, 'flow_tables')


@contextmanager
def mounted(folder: str, options: str = '') -> Iterator[None]:
    """Cover a folder with an empty file system of a test's own."""
    os.makedirs(folder, exist_ok=True)
    run(['mount', '-t', 'tmpfs', '-o', options or 'mode=755', 'hooks-test', folder])
    try:
        yield
    finally:
        run(['umount', '--lazy', folder])


def write_script(path: str, text: str) -> None:
    """Write an executable shell script."""
    with open(path, 'w') as file:
        file.write('#!/bin/sh\n' + text)
    os.chmod(path, 0o755)


# --- hooks ---------------------------------------------------------------------------------


def refresh(vm: Vm, devid: int = 0) -> HookRun:
    """Let xenopsd run setup-vif-rules for a VIF; return the netdev vif's run."""
    return vm.fire(vm.dom0.hooks.locking_changed(vm.domain, vm.vifs[devid]))[0]


def fire_online(vm: Vm, devid: int = 0) -> HookRun:
    """Let udev say that a VIF went online; failures are for the caller to judge."""
    return vm.fire([vm.dom0.hooks.udev_vif('online', vm.domid, devid)], check=False)[0]


def end(vm: Vm) -> None:
    """Let a VM go; one whose plug failed has nothing to unplug."""
    if vm.plugged:
        vm.shutdown()
    else:
        vm.crash()


# --- packets -------------------------------------------------------------------------------


def can_talk(one: Host, address: str) -> bool:
    """Tell whether an address answers; a second chance for a busy machine."""
    return one.ping(address) or one.ping(address, 3)


def is_cut_off(one: Host, *addresses: str) -> bool:
    """Tell whether none of the addresses answers, not even once."""
    return not one.ping_all(list(addresses), SILENT_S)


def arrives(sender: Host, receiver: Host, frame: bytes, device: str = 'eth0',
            at: str = 'eth0', wait: float = 2) -> bool:
    """Tell whether a frame sent from one machine is seen at another's device."""
    receiver.sniff(at)
    sender.send(frame, device)
    return frame in receiver.sniffed(at, until=frame, wait=wait)


def is_lost(sender: Host, receiver: Host, frame: bytes, device: str = 'eth0',
            at: str = 'eth0') -> bool:
    """Tell whether a frame that one machine sends is not seen at another's device."""
    return not arrives(sender, receiver, frame, device, at, SILENT_S)


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as it stands in frames."""
    return bytes.fromhex(mac.replace(':', ''))


def say(mac: str, address: str, to: str = 'ff:ff:ff:ff:ff:ff', at: str = '255.255.255.255',
        word: bytes = b'hello') -> bytes:
    """Return a UDP datagram to all, or to a MAC address and an IPv4 address."""
    payload = struct.pack('!4H', 4711, 4711, 8 + 18, 0) + word.ljust(18)
    header = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0,
                         socket.inet_aton(address), socket.inet_aton(at))
    header = header[:10] + struct.pack('!H', checksum(header)) + header[12:]
    return mac_bytes(to) + mac_bytes(mac) + b'\x08\x00' + header + payload


def speech(vm: Vm, word: bytes = b'hello') -> bytes:
    """Return a broadcast in which a VM is what it claims to be."""
    return say(vm.mac, vm.address(), word=word)
