"""A network built piece by piece, and who hears a frame on it."""
import json
import os
import re
import time
from contextlib import contextmanager, suppress
from typing import (Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set,
                    Tuple)

from sandbox import packets
from sandbox.host import Host
from sandbox.process import LabError, ip
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses, Uplink
from sandbox.vm import Vm
from support.packets.rows import UPLINK, Case, mark, marked
from support.packets.frames import arp
from support.packets.check_rows import ATTACKS, LEGITIMATE, TALLY, TRACED
from support.packets.radio import Ears, find_mark, verdict
from support.packets.shared_network import FOLDER
from xsisolate.policy.address import eui64_link_local, format_prefix
from xsisolate.policy.model import HOLDERS

GATEWAY_MAC = '00:00:5e:00:01:01'
GAP_S = 0.003
TAGS = (b'\x81\x00', b'\x88\xa8')
OURS = 'cookie=0x5849534f00000000/0xffffffff00000000'
CONFIG = '''
version: 1
unsealed: accept
networks:
  '*':
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "%s"}
''' % GATEWAY_MAC
# The same, and nobody knows the gateway's MAC address.
NO_MAC = CONFIG.replace(', mac: "%s"' % GATEWAY_MAC, '')


class Party(NamedTuple):
    """A NIC: its addresses, and where it is, if it is anywhere. No host: a device of Dom0's own."""

    mac: str
    ip: str
    ip6: str
    name: str = ''
    host: Optional[Host] = None
    device: str = ''

    @property
    def ll(self) -> str:
        """Its IPv6 link-local address."""
        return format_prefix(eui64_link_local(self.mac))


class Row(NamedTuple):
    """A frame, who sends it and who hears it; nobody else does."""

    sender: Party
    frame: bytes
    heard_by: FrozenSet[str]


def row(sender: Party, frame: object, *heard_by: str) -> Row:
    """Return a row; `x.120` is NIC x, the frame tagged with VLAN 120."""
    return Row(sender, bytes(frame), frozenset(heard_by))      # type: ignore[call-overload]


class Net:
    """Bridges, uplinks and VMs of one test, and all that they hear."""

    def __init__(self, dom0: Sandbox, config: str = CONFIG) -> None:
        self.dom0 = dom0
        self.parties: Dict[str, Party] = {}
        self.vms: Dict[str, Vm] = {}
        self.bridges: List[str] = []
        self.uplinks: List[Uplink] = []
        self.wires: Dict[str, Tuple[Host, str]] = {}
        self._netdevs: List[str] = []
        # Two NICs with one MAC address are one VM's: it may hear itself.
        self.twins: Dict[str, str] = {}
        dom0.configure(config)

    # --- building ---

    def bridge(self, name: str, *settings: str, parent: str = '', vlan: int = 0) -> str:
        """Add a bridge, real or fake."""
        self.dom0.add_bridge(name, *settings, parent=parent, vlan=vlan)
        self.bridges.insert(0, name)        # fake ones go first
        return name

    def uplink(self, bridge: str, device: str = 'eth0', put: bool = True,
               gateway: bool = True) -> Uplink:
        """Add a physical network, with its gateway as party `gw`; unless `put` without a port."""
        uplink = Uplink(device, GatewayAddresses(GATEWAY_MAC, '10.9.0.254/24', 'fd00:9::1/64')
                        if gateway else GatewayAddresses('02:00:00:00:ee:01'))
        self.uplinks.append(uplink)
        for kind in ('ip', 'ip6', 'arp'):       # would cut our marks off
            try:
                uplink._switch.set_sysctl('net/bridge/bridge-nf-call-%stables' % kind, 0)
            except LabError:
                break           # this kernel has no netfilter for bridges
        self.wires[device] = uplink._switch, 'uplink'
        if put:
            self.dom0.add_port(bridge, device)
        if gateway:
            self.dom0.uplinks[bridge] = uplink
            self._join(Party(GATEWAY_MAC, '10.9.0.254', 'fd00:9::1', 'gw', uplink.gateway, 'eth0'))
        return uplink

    def second_cable(self, uplink: Uplink, device: str) -> None:
        """Lay another cable from Dom0 to the switch of a physical network."""
        uplink._switch.add_device('uplink2', device, '02:00:00:00:ff:02')
        uplink.plug_in('uplink2')
        ip(['link set %s up' % device])
        self.wires[device] = uplink._switch, 'uplink2'
        self._netdevs.append(device)

    def lan(self, name: str, number: int, uplink: Optional[Uplink] = None, mac: str = '') -> Party:
        """Add a machine beyond the uplink."""
        mac = mac or '02:00:00:00:aa:%02x' % number
        found = uplink or self.uplinks[0]
        host = found.add_host(name, mac, '10.9.0.%d/24' % number, 'fd00:9::%x/64' % number,
                              routers=())
        return self.nic(name, host, number, 'eth0', mac)

    def join_group(self, group: str, party: Party, bridge: str) -> None:
        """Make a machine beyond the uplink the group's member on another host."""
        os.makedirs(FOLDER, exist_ok=True)
        with open('%s/%s.json' % (FOLDER, group), 'w') as file:
            json.dump({'version': 1, 'members': [{
                'network': self.dom0.network_uuid(bridge), 'mac': party.mac,
                'addresses': [party.ip, party.ip6, party.ll]}]}, file)

    def give_roles(self, bridge: str, roles: str, *parties: Party,
                   shared: Tuple[str, ...] = ()) -> None:
        """Make machines beyond the uplink holders of roles on other hosts."""
        os.makedirs(FOLDER, exist_ok=True)
        with open('%s/%s.json' % (FOLDER, HOLDERS), 'w') as file:
            json.dump({'version': 1, 'members': [{
                'network': self.dom0.network_uuid(bridge), 'mac': party.mac,
                'addresses': [party.ip, party.ip6, party.ll, *shared], 'shared': list(shared),
                'roles': roles.split()}
                for party in parties]}, file)

    def vm(self, name: str, number: int, policy: Optional[Dict[str, str]] = None, bridge: str = '',
           mac: str = '', plug: bool = True, hvm: bool = False, address: bool = True,
           also: Tuple[str, str] = ('', ''), **fields: object) -> Party:
        """Add a VM with one VIF; policy None: unmanaged; `also`: IPv4 and IPv6 addresses to share.

        Without `address` its kernel does not say a word of its own, either.
        """
        mac = mac or '02:00:00:00:00:%02x' % number
        data = dict(policy) if policy is not None else None
        if data is not None and data.get('mode') != 'unlocked':
            data.setdefault('vif/0/ipv4', '10.9.0.%d' % number)
            data.setdefault('vif/0/ipv6', 'fd00:9::%x' % number)
            data.update({'vif/0/shared': ' '.join(also)} if any(also) else {})
        vm = self.dom0.start_vm(name, bridge=bridge or self.bridges[-1], mac=mac, policy=data,
                                ipv4='10.9.0.%d/24' % number if address else '',
                                ipv6='fd00:9::%x/64' % number if address else '', hvm=hvm,
                                plug=plug and address, **fields)
        if not address:
            vm.set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)
            if plug:
                vm.plug()
        self.vms[name] = vm
        return self.nic(name, vm, number, 'eth0', mac)

    def nic(self, name: str, host: Optional[Host], number: int, device: str, mac: str) -> Party:
        """Make a NIC of a machine, or of Dom0, known."""
        return self._join(Party(mac, '10.9.0.%d' % number, 'fd00:9::%x' % number, name, host,
                                device))

    def dom0_nic(self, bridge: str, device: str, number: int) -> Party:
        """Make a port of Dom0's own with an address; the bridge's own one is there already."""
        mac = '02:00:00:00:d0:%02x' % number
        if device != bridge:
            self.dom0.ovs.vsctl('add-port', bridge, device, '--', 'set', 'Interface', device,
                                'type=internal')
        if device == bridge:
            self.dom0.ovs.set_bridge(bridge, 'other_config:hwaddr="%s"' % mac)
        else:
            ip(['link set %s address %s' % (device, mac)])
        ip(['link set %s up' % device,
            'addr add 10.9.0.%d/24 dev %s' % (number, device)])
        return self.nic(device, None, number, device, mac)

    def _join(self, party: Party) -> Party:
        self.parties[party.name] = party
        return party

    # --- trying ---

    def prime(self, *names: str) -> None:
        """Let parties, or all, announce themselves, so that the switches know where they are."""
        for name in names or sorted(self.parties):
            party = self.parties[name]
            self.send(party, bytes(arp(party, 1, party.ip, party.ip)))
            time.sleep(GAP_S)
        self.dom0.ovs.drain()

    def send(self, sender: Party, frame: bytes) -> None:
        """Send a frame from a NIC."""
        if sender.host:
            sender.host.send(frame, sender.device)
        else:
            packets.send(sender.device, frame)

    def heard(self, rows: Sequence[Row]) -> List[FrozenSet[str]]:
        """Send the rows' frames; return who hears each."""
        far = {name: (party.host, party.device) for name, party in self.parties.items()
               if party.host and not self._is_outside(party)}
        far.update(self.wires)
        ears = Ears(self.dom0.ovs, [(name, host, device) for name, (host, device) in far.items()],
                    [(party.name, party.device) for party in self.parties.values()
                     if party.host is None])
        marks = {}
        for number, one in enumerate(rows):
            marks[mark(number)] = str(number), 0
            self.send(one.sender, marked(one.frame, number))
            time.sleep(GAP_S)
        result: List[FrozenSet[str]] = [frozenset()] * len(marks)
        senders = [one.sender.name for one in rows]
        for name, frames in ears.collect().items():
            for frame in frames:
                known = find_mark(frame, marks)
                if known and self.twins.get(name) != senders[int(known[0])]:
                    result[int(known[0])] |= {name + tags_of(frame)}
        return result

    def check(self, *rows: Row) -> None:
        """Fail unless each frame is heard by those who should and nobody else."""
        wrong = [(one, heard) for one, heard in zip(rows, self.heard(rows))
                 if heard != one.heard_by]
        assert not wrong, '\n'.join('%s: heard by %s, should be %s\n%s' % (
            one.sender.name, sorted(heard) or 'nobody', sorted(one.heard_by) or 'nobody',
            explain(one.frame)) for one, heard in wrong)

    def play(self, family: str, stopped: Iterable[Case] = (), passed: Iterable[Case] = ()) -> None:
        """Fail unless each row of the tables goes as it says; count them for the summary."""
        cases = [(ATTACKS, case) for case in stopped] + [(LEGITIMATE, case) for case in passed]
        heard = iter(self.heard([row(self.parties[case.sender], frame) for _, case in cases
                                 for frame in case.frames]))
        wrong: List[Tuple[Case, str]] = []
        for kind, case in cases:
            seen: Dict[str, Set[int]] = {}
            for index in range(len(case.frames)):
                for place in next(heard):
                    seen.setdefault(UPLINK if place in self.wires else place, set()).add(index)
            why = verdict(case, seen)
            wrong += [(case, why)] if why else []
            good, played = TALLY.get((kind, family), (0, 0))
            TALLY[kind, family] = good + (not why), played + 1
        assert not wrong, '\n'.join(
            ['%s: %s' % (case.id, why) for case, why in wrong]
            + [self.trace(case.sender, frame) for case, _ in wrong[:TRACED]
               for frame in case.frames])

    def trace(self, sender: str, frame: bytes) -> str:
        """Return a frame in words, and what the switch does with it."""
        party = self.parties[sender]
        netdev = party.device if party.host is None else next(iter(self.wires), '')
        if isinstance(party.host, Vm):
            kind, devid = party.device[:-1], int(party.device[-1])
            netdev = party.host.netdev(devid, 'tap' if kind == 'emu' else 'vif')
        bridge = self.dom0.ovs.vsctl('br-to-parent', self.dom0.ovs.vsctl('iface-to-br', netdev))
        return '%s %s\n%s\n%s' % (sender, explain(frame), frame.hex(), self.dom0.ovs.appctl(
            'ofproto/trace', bridge,
            'in_port=%d' % self.dom0.ovs.ofport(netdev), frame.hex()))

    def refresh(self, *names: str) -> None:
        """Let xenopsd refresh VMs' VIFs, or all; nothing must change."""
        for name in names or sorted(self.vms):
            vm = self.vms[name]
            for devid in vm.plugged:
                vm.fire(self.dom0.hooks.locking_changed(vm.domain, vm.vifs[devid]))

    def _is_outside(self, party: Party) -> bool:
        return any(party.host in uplink.hosts for uplink in self.uplinks)

    # --- the end ---

    def our_flows(self) -> List[str]:
        """Return what the bridges carry of ours."""
        real = [name for name in self.bridges if name in self.dom0.bridges]
        return [flow for bridge in real for flow in self.dom0.ovs.dump_flows(
            bridge, '-OOpenFlow14') if 'cookie=0x5849534f' in flow]

    def shut_down(self) -> None:
        """Stop the VMs."""
        for vm in list(self.dom0.vms):
            vm.shutdown()
        self.vms = {}

    def close(self) -> None:
        """Take everything down."""
        for vm in list(self.dom0.vms):
            try:
                vm.shutdown(check=False)
            except OSError:         # half migrated, when a test has failed
                vm.halt()
                self.dom0.forget(vm)
        with suppress(FileNotFoundError):
            os.unlink('%s/%s.json' % (FOLDER, HOLDERS))
        for bridge in self.bridges:
            self.dom0.ovs.vsctl('--if-exists', 'del-br', bridge)
            self.dom0.uplinks.pop(bridge, None)
            if bridge in self.dom0.bridges:
                self.dom0.bridges.remove(bridge)
        for uplink in self.uplinks:
            for host in uplink.machines():
                host.halt()
            self._netdevs.append(uplink.device)
        for netdev in self._netdevs:
            try:
                ip(['link del ' + netdev])
            except LabError:
                pass        # it went with its other end


@contextmanager
def network(dom0: Sandbox, config: str = CONFIG) -> Iterator[Net]:
    """Lend a network of the test's own; at its end no flow of ours is left."""
    net = Net(dom0, config)
    try:
        yield net
        net.shut_down()
        assert not net.our_flows()
    finally:
        net.close()


def tags_of(frame: bytes) -> str:
    """Return a frame's VLAN tags as .120.7"""
    text, at = '', 12
    while frame[at:at + 2] in TAGS:
        text += '.%d' % (int.from_bytes(frame[at + 2:at + 4], 'big') & 0xfff)
        at += 4
    return text


def explain(frame: bytes) -> str:
    """Return a frame in words."""
    from support.packets.frames import Ether
    return '  %s' % re.sub(r'\s+', ' ', Ether(frame).summary())
