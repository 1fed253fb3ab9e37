"""A VM: a domain in xenstore, a guest in a network namespace, VIFs between them."""
import os
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from sandbox.guest import GuestConnection
from sandbox.hooks import Call, HookRun
from sandbox.host import Host
from sandbox.metadata import VifRecord
from sandbox.process import LabError, ip
from sandbox.toolstack import Domain, departing_uuid

if TYPE_CHECKING:
    from sandbox.dom0 import Sandbox

BACKEND_MAC = 'fe:ff:ff:ff:ff:ff'


class PlugFailed(Exception):
    """A hook said no, so xenopsd would have failed the operation."""


class GuestAddresses(NamedTuple):
    """What a guest configures on one of its NICs."""

    addresses: Tuple[str, ...] = ()
    gateways: Tuple[str, ...] = ()


class Vm(Host):
    """A running VM, and everything that can happen to it."""

    def __init__(self, dom0: 'Sandbox', domain: Domain, vm_data: Mapping[str, str],
                 dad: bool = False) -> None:
        super().__init__(domain.name, dad)
        self.dom0 = dom0
        self.domain = domain
        self.vifs: Dict[int, VifRecord] = {}
        self.plugged: List[int] = []
        self.runs: List[HookRun] = []       # of the hooks, in order
        self._network: Dict[int, GuestAddresses] = {}
        self._vm_data: Mapping[str, str] = dict(vm_data)
        dom0.toolstack.create(domain, vm_data)
        self.xenstore: GuestConnection = dom0.store.introduce(domain.domid)

    @property
    def domid(self) -> int:
        """The domain id, another one after each reboot."""
        return self.domain.domid

    @property
    def uuid(self) -> str:
        """The VM's uuid as xenopsd calls it now; temporary while it migrates in."""
        return self.domain.uuid

    @property
    def mac(self) -> str:
        """The first VIF's MAC."""
        return self.vifs[min(self.vifs)].mac

    def netdev(self, devid: int = 0, kind: str = 'vif') -> str:
        """Return the name of a VIF's device in Dom0."""
        return '%s%d.%d' % (kind, self.domid, devid)

    def netdevs(self, devid: int) -> List[str]:
        """Return the names of all of a VIF's devices in Dom0 that exist."""
        names = [self.netdev(devid, kind) for kind in ('vif', 'tap')]
        return [name for name in names if os.path.exists('/sys/class/net/' + name)]

    def address(self, version: int = 4, devid: int = 0) -> str:
        """Return a NIC's first IPv4 or IPv6 address."""
        for address in self._network[devid].addresses:
            if (':' in address) == (version == 6):
                return address.split('/')[0]
        raise LabError('%s has no IPv%d address' % (self.name, version))

    def add_vif(self, vif: VifRecord, guest: GuestAddresses) -> None:
        """Give the VM a VIF; `plug` makes it real."""
        self.vifs[vif.devid] = vif
        self._network[vif.devid] = guest

    # --- plugging ---

    def plug(self, check: bool = True) -> List[HookRun]:
        """Plug every VIF that is not; return the hooks' runs."""
        runs: List[HookRun] = []
        for devid in sorted(set(self.vifs) - set(self.plugged)):
            if self.vifs[devid].sriov:      # no netdev, no event, no hook
                self.dom0.toolstack.add_function(self.domain, self.vifs[devid])
                continue
            self.cable(devid)
            runs += self.fire(self.dom0.hotplug.plug(self, devid), check)
        return runs

    def cable(self, devid: int) -> None:
        """Make a VIF's nodes and devices, as xenopsd, QEMU and netback do, but no event."""
        vif = self.vifs[devid]
        self.dom0.toolstack.add_vif(self.domain, vif)
        ends = [('eth%d' % devid, self.netdev(devid))]
        if self.domain.hvm:
            ends.append(('emu%d' % devid, self.netdev(devid, 'tap')))
        for guest_end, dom0_end in ends:
            self.add_device(guest_end, dom0_end, vif.mac, vif.mtu)
            ip(['link set %s address %s' % (dom0_end, BACKEND_MAC)])
        if self.domain.hvm:     # the emulated NIC is for frames, addresses are eth's
            self.set_sysctl('net/ipv6/conf/emu%d/disable_ipv6' % devid, 1)
            self.configure('emu%d' % devid)
        self.configure('eth%d' % devid, *self._network[devid])
        self.plugged.append(devid)

    def unplug(self, check: bool = True, netdev_first: bool = True) -> List[HookRun]:
        """Unplug every VIF; on a host the netdev is gone before the hook runs."""
        runs: List[HookRun] = []
        for devid in sorted(self.plugged):
            if netdev_first:
                self.cut(devid)
            runs += self.fire(self.dom0.hotplug.unplug(self, devid), check)
            self.cut(devid)
            self.dom0.toolstack.remove_vif(self.domain, self.vifs[devid])
            self.plugged.remove(devid)
        return runs

    def cut(self, devid: int) -> None:
        """Let a VIF's devices vanish."""
        names = self.netdevs(devid)
        if names:
            ip(['link del ' + name for name in names])
        for name in names:
            self.dom0.ovs.lose_device(name)

    def fire(self, calls: List[Call], check: bool = True) -> List[HookRun]:
        """Run hooks one after the other; unless told not to, fail as xenopsd would."""
        runs = self.dom0.hooks.run_each(*calls)
        self.runs += runs
        self.dom0.ovs.settle()
        for run in runs:
            if check and run.code:
                raise PlugFailed('%s: %s exit %d: %s%s' % (
                    self.name, run.name, run.code, run.stdout, run.stderr))
        return runs

    def restore_nodes(self) -> None:
        """Write what an empty xenstore lacks of this VM, from what the toolstack keeps on disk."""
        self.dom0.toolstack.create(self.domain, self._vm_data)
        self.xenstore = self.dom0.store.introduce(self.domain.domid)
        for devid in self.plugged:
            self.dom0.toolstack.add_vif(self.domain, self.vifs[devid])

    # --- what an admin does through XAPI ---

    def set_vm_data(self, vm_data: Mapping[str, str]) -> None:
        """VM.set_xenstore_data on the running VM; keys without `vm-data/`, no hook runs."""
        self._vm_data = dict(vm_data)
        self.dom0.toolstack.set_vm_data(self.domain, vm_data)

    def set_policy(self, policy: Mapping[str, str]) -> None:
        """The same for keys below vm-data/xsisolate, and the seals where they are made."""
        self.set_vm_data(policy_keys(policy))
        for devid, vif in self.vifs.items():
            self.set_vif(devid, other_config=self.dom0.seal(self.uuid, vif, policy))

    def set_vif(self, devid: int = 0, **fields: Any) -> None:
        """Change a VIF's record and write it where the hooks read it; none is run."""
        self.vifs[devid] = self.vifs[devid]._replace(**fields)
        if self.vifs[devid].sriov:
            self.dom0.toolstack.add_function(self.domain, self.vifs[devid])
        elif devid in self.plugged:
            self.dom0.toolstack.update_vif(self.domain, self.vifs[devid])

    def set_locking(self, mode: str, ipv4: Tuple[str, ...] = (),
                    ipv6: Tuple[str, ...] = (), devid: int = 0,
                    check: bool = True) -> List[HookRun]:
        """VIF.set_locking_mode: xenopsd runs setup-vif-rules by itself."""
        self.set_vif(devid, locking_mode=mode, ipv4_allowed=ipv4, ipv6_allowed=ipv6)
        return self.fire(self.dom0.hooks.locking_changed(self.domain, self.vifs[devid]),
                         check)

    def move(self, bridge: str, devid: int = 0, check: bool = True) -> List[HookRun]:
        """VIF.move: xenopsd runs the vif script; it ignores how that went for the tap."""
        self.set_vif(devid, bridge=bridge, network_uuid=self.dom0.network_uuid(bridge))
        vif_call, tap_call = self.dom0.hooks.moved(self.domain, self.vifs[devid])
        return self.fire([vif_call], check) + self.fire([tap_call], check=False)

    # --- the end of it, in several ways ---

    def shutdown(self, check: bool = True) -> None:
        """Unplug, end the guest, remove the domain."""
        self.unplug(check)
        self._end(keep=False)

    def crash(self) -> None:
        """The devices vanish with the guest, no hook runs, xenstore keeps everything."""
        for devid in self.plugged:
            self.cut(devid)
        self.plugged = []
        self.xenstore.close()
        self.halt()
        self.dom0.forget(self)

    def reboot(self, check: bool = True) -> 'Vm':
        """Return the VM in its next domain, plugged, with what its guest wrote to vm-data."""
        vm_data = self.dom0.toolstack.vm_data(self.domain)
        self.unplug(check)
        self._end(keep=True)
        following = self.dom0.start_domain(self.name, self.uuid, vm_data, self.domain.hvm)
        self.hand_over(following)
        following.plug(check)
        return following

    def hand_over(self, following: 'Vm') -> None:
        """Give another domain of this VM the same VIFs."""
        for devid, vif in self.vifs.items():
            following.add_vif(vif, self._network[devid])

    def _end(self, keep: bool) -> None:
        self.xenstore.close()
        self.dom0.toolstack.destroy(self.domain, list(self.vifs.values()), keep)
        self.halt()
        self.dom0.forget(self)

    # --- live migration; Sandbox.migrate_in begins it ---

    def become(self, uuid: str) -> None:
        """VM_rename: the same domain, another uuid; no hook runs."""
        self.domain = self.dom0.toolstack.rename(self.domain, uuid,
                                                 list(self.vifs.values()))

    def depart(self, check: bool = True) -> None:
        """The source's end of a migration: get out of the way by name, then shut down."""
        final = self.uuid
        self.become(departing_uuid(final))
        self.dom0.store.write('/vm/%s/origin-uuid' % self.uuid, final)
        self.shutdown(check)

    def arrive(self) -> None:
        """The destination's end of a migration: take the real uuid."""
        final = self.dom0.store.read('/vm/%s/final-uuid' % self.uuid)
        self.become(final)
        self.dom0.store.rm('/vm/%s/final-uuid' % final)


def policy_keys(policy: Optional[Mapping[str, str]]) -> Dict[str, str]:
    """Return a policy as keys of vm-data."""
    return {'xsisolate/' + key: value for key, value in (policy or {}).items()}
