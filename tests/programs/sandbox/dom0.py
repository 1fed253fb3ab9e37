"""A Dom0 without Xen, as one context manager.

    with Sandbox() as dom0:
        dom0.add_bridge('xenbr0')
        dom0.add_uplink('xenbr0', GatewayAddresses(
            '00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64'))
        red1 = dom0.start_vm('red1', ipv4='10.9.0.11/24', policy={'groups': 'red'})
        red2 = dom0.start_vm('red2', ipv4='10.9.0.12/24', policy={'groups': 'red'})
        assert red1.ping(red2.address())
"""
import os
import shutil
import sys
import tempfile
import uuid as uuids
from types import TracebackType
from typing import (Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple,
                    Type)

from sandbox.enter import DOM0_FOLDERS, PRIVATE_FOLDERS, enter
from sandbox.hooks import Hooks
from sandbox.hotplug import Hotplug, UdevHotplug
from sandbox.host import REPLY_TIMEOUT_S, Host
from sandbox.metadata import VifRecord
from sandbox.networkd import Networkd
from sandbox.ovs import LOGS, USER_SPACE, Ovs
from sandbox.process import LabError, ip
from sandbox.toolstack import Domain, Toolstack, temporary_uuid
from sandbox.uplink import GatewayAddresses, Uplink
from sandbox.vm import GuestAddresses, Vm, policy_keys
from sandbox.xenstored import Dom0Connection, Xenstored

CONFIG = '/etc/xsisolate/xsisolate.yaml'
SEAL = 'xsisolate-seal'
# Makes a VIF's seal from the VM's uuid, the VIF and the policy.
Sealer = Callable[[str, VifRecord, Mapping[str, str]], str]


class Sandbox:
    """A host of its own: Open vSwitch, xenstore, toolstack, bridges and VMs.

    `hotplug` says how VIFs get onto bridges, `hooks` which interpreter runs the
    hooks, `sealer` how policies given to start_vm and set_policy are sealed;
    the kernel's `datapath` needs a kernel with the module openvswitch.
    """

    def __init__(self, hooks: Optional[Hooks] = None, hotplug: Optional[Hotplug] = None,
                 sealer: Optional[Sealer] = None, datapath: str = USER_SPACE) -> None:
        self.hooks = hooks or Hooks()
        self.hotplug = hotplug or UdevHotplug()
        self.sealer = sealer
        self.ovs = Ovs(datapath)
        self.networkd = Networkd(self.ovs)
        self.xenstored = Xenstored()
        self.store = Dom0Connection()
        self.toolstack: Toolstack
        self.bridges: List[str] = []
        self.uplinks: Dict[str, Uplink] = {}
        self.vms: List[Vm] = []
        self._last_domid = 0
        self._netdevs_before: Set[str] = set()

    def __enter__(self) -> 'Sandbox':
        enter()
        self._netdevs_before = set(os.listdir('/sys/class/net'))
        try:
            self.xenstored.start()
            self.store.connect()
            self.ovs.start()
            self.toolstack = Toolstack(self.store, self.hooks.path('setup-vif-rules'),
                                       self.hooks.path('vif'))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]],
                 error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if error:
            self.keep_logs()
        self.close()

    def close(self) -> None:
        """Take everything down, so that another sandbox can follow in this process."""
        for machine in self.vms + [host for uplink in self.uplinks.values()
                                   for host in uplink.machines()]:
            machine.halt()
        self.vms, self.uplinks = [], {}
        self.ovs.stop()
        self.store.close()
        self.xenstored.stop()
        # namespaces end a while after their processes, and OVS leaves its taps
        for netdev in set(os.listdir('/sys/class/net')) - self._netdevs_before:
            try:
                ip(['link del ' + netdev])
            except LabError:
                pass        # it went by itself in this very moment
        for folder in set(DOM0_FOLDERS + PRIVATE_FOLDERS) - {'/run'}:
            clear(folder)

    def keep_logs(self) -> None:
        """With KEEP_OVS=1, save logs and flows where they outlive us, and say where."""
        if not os.environ.get('KEEP_OVS'):
            return
        kept = tempfile.mkdtemp(prefix='xsisolate-lab-')
        shutil.copytree(LOGS, os.path.join(kept, 'openvswitch'))
        shutil.copytree('/var/log/xen', os.path.join(kept, 'xen'))
        for bridge in self.bridges:
            with open(os.path.join(kept, bridge + '.flows'), 'w') as file:
                file.write('\n'.join(self.ovs.dump_flows(bridge)) + '\n')
        print('logs and flows are kept in ' + kept, file=sys.stderr)

    # --- the host ---

    def configure(self, text: str) -> None:
        """Write the product's configuration file."""
        with open(CONFIG, 'w', encoding='utf-8') as file:
            file.write(text)

    def add_bridge(self, bridge: str, *settings: str, parent: str = '',
                   vlan: int = 0) -> str:
        """Add a bridge, or on `parent` a fake bridge for a VLAN, as a network of XAPI's."""
        if parent:
            self.networkd.create_bridge(bridge, vlan=(parent, vlan), network_uuids='%s;%s' % (
                self.network_uuid(bridge), self.network_uuid(parent)))
        else:
            self.networkd.create_bridge(bridge, network_uuids=self.network_uuid(bridge))
            self.bridges.append(bridge)
        if settings:
            self.ovs.set_bridge(bridge, *settings)
        ip(['link set %s up' % bridge])
        return bridge

    def network_uuid(self, bridge: str) -> str:
        """Return the uuid of the XAPI network that a bridge carries."""
        return str(uuids.uuid5(uuids.NAMESPACE_DNS, bridge))

    def add_uplink(self, bridge: str, gateway: GatewayAddresses,
                   device: str = 'eth0') -> Uplink:
        """Connect a bridge to a physical network with a gateway."""
        self.uplinks[bridge] = Uplink(device, gateway)
        self.add_port(bridge, device)
        return self.uplinks[bridge]

    def add_port(self, bridge: str, netdev: str) -> None:
        """Put a device on a bridge, and set it up."""
        self.ovs.vsctl('add-port', bridge, netdev)
        ip(['link set %s up' % netdev])

    # --- its VMs ---

    def start_vm(self, name: str, bridge: str = '', mac: str = '', ipv4: str = '',
                 ipv6: str = '', policy: Optional[Mapping[str, str]] = None,
                 vm_data: Optional[Mapping[str, str]] = None, hvm: bool = False,
                 plug: bool = True, dad: bool = False, **fields: Any) -> Vm:
        """Start a VM with one VIF; `fields` are more of VifRecord's.

        `policy` are keys below vm-data/xsisolate, `vm_data` any others.
        """
        data = dict(vm_data or {})
        data.update(policy_keys(policy))
        vm = self.start_domain(name, str(uuids.uuid4()), data, hvm, dad)
        self.add_vif(vm, bridge, mac, ipv4, ipv6, policy=policy, **fields)
        if plug:
            vm.plug()
        return vm

    def start_domain(self, name: str, uuid: str, vm_data: Mapping[str, str],
                     hvm: bool = False, dad: bool = False) -> Vm:
        """Start a VM that has no VIF yet, in the next domain."""
        self._last_domid += 1
        vm = Vm(self, Domain(self._last_domid, uuid, name, hvm), vm_data, dad)
        self.vms.append(vm)
        return vm

    def reuse_domid(self, domid: int) -> None:
        """Give the next domain a number that another had; Xen counts them modulo 32752."""
        self._last_domid = domid - 1

    def add_vif(self, vm: Vm, bridge: str = '', mac: str = '', ipv4: str = '',
                ipv6: str = '', policy: Optional[Mapping[str, str]] = None,
                **fields: Any) -> VifRecord:
        """Add a VIF to a VM, on the first bridge unless told; vm.plug() makes it real."""
        bridge, devid = bridge or self.bridges[0], len(vm.vifs)
        mac = mac or '02:00:00:%02x:%02x:%02x' % (*divmod(vm.domid, 256), devid)
        vif = VifRecord(devid, mac, bridge, str(uuids.uuid4()), self.network_uuid(bridge))
        vif = vif._replace(**fields)
        vif = vif._replace(other_config=self.seal(vm.uuid, vif, policy or {}))
        vm.add_vif(vif, self._addresses(bridge, (ipv4 + ' ' + ipv6).split()))
        return vif

    def _addresses(self, bridge: str, addresses: Sequence[str]) -> GuestAddresses:
        """Give a guest the routers for the IP versions that it speaks."""
        gateways: Tuple[str, ...] = ()
        if bridge in self.uplinks:
            versions = {':' in address for address in addresses}
            gateways = tuple(router for router in self.uplinks[bridge].addresses.routers()
                             if (':' in router) in versions)
        return GuestAddresses(tuple(addresses), gateways)

    def seal(self, uuid: str, vif: VifRecord, policy: Mapping[str, str]
             ) -> Mapping[str, str]:
        """Return the VIF's other_config with the policy's seal, if seals are made."""
        other_config = dict(vif.other_config)
        other_config.pop(SEAL, None)
        if self.sealer and policy:
            other_config[SEAL] = self.sealer(uuid, vif, policy)
        return other_config

    def migrate_in(self, vm: Vm, plug: bool = True) -> Vm:
        """Begin a migration to this very host: plugged, but under a temporary uuid.

        Then vm.depart() and, on what this returns, arrive() end it.
        """
        def rewritten(data: Mapping[str, str]) -> Dict[str, str]:
            # xenopsd replaces the uuid wherever it stands in the metadata
            return {key: value.replace(vm.uuid, temporary)
                    for key, value in data.items()}

        temporary = temporary_uuid(vm.uuid)
        data = rewritten(self.toolstack.vm_data(vm.domain))
        incoming = self.start_domain(vm.name, temporary, data, vm.domain.hvm)
        self.store.write('/vm/%s/final-uuid' % temporary, vm.uuid)
        vm.hand_over(incoming)
        for devid, vif in incoming.vifs.items():
            incoming.set_vif(devid, other_config=rewritten(vif.other_config))
        if plug:
            incoming.plug()
        return incoming

    def forget(self, vm: Vm) -> None:
        """Strike a VM off the list."""
        self.vms.remove(vm)

    def matrix(self, hosts: Sequence[Host], addresses: Mapping[str, str],
               timeout: float = REPLY_TIMEOUT_S) -> Set[Tuple[str, str]]:
        """Let all hosts ping all others at once; return the pairs (from, to) that can.

        `addresses` are those to ping, by name: {vm.name: vm.address(6), ...}.
        """
        names = {address: name for name, address in addresses.items()}
        for host in hosts:
            others = [address for name, address in addresses.items() if name != host.name]
            host.post('ping', others, timeout, 32, '')
        reached: Set[Tuple[str, str]] = set()
        for host in hosts:
            reached |= {(host.name, names[address]) for address in host.answer()}
        return reached


def clear(folder: str) -> None:
    """Empty a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
