"""What xapi and xenopsd leave in xenstore and on disk while a VM lives."""
from typing import List, Mapping, NamedTuple

from sandbox import metadata
from sandbox.metadata import VifRecord
from sandbox.xenstored import Dom0Connection

# Folders below /local/domain/<domid> that xenopsd gives to the guest.
GUEST_FOLDERS = ('attr', 'control', 'data', 'device', 'drivers', 'error', 'feature',
                 'hvmloader', 'messages', 'rrd', 'vm-data', 'xenserver')


class Domain(NamedTuple):
    """A running VM: the domain that is it just now."""

    domid: int
    uuid: str           # of the VM, as xenopsd calls it now; see `temporary_uuid`
    name: str
    hvm: bool = False


def temporary_uuid(uuid: str) -> str:
    """Return the uuid that a VM has at its destination while it migrates."""
    return uuid[:24] + '000000000001'


def departing_uuid(uuid: str) -> str:
    """Return the uuid that a VM's old domain gets when the VM has migrated away."""
    return uuid[:24] + '000000000000'


class Toolstack:
    """xenopsd's side of xenstore."""

    def __init__(self, store: Dom0Connection, setup_vif_rules: str,
                 vif_script: str) -> None:
        self.store = store
        self.setup_vif_rules = setup_vif_rules
        self.vif_script = vif_script

    def create(self, domain: Domain, vm_data: Mapping[str, str]) -> None:
        """Build a domain's nodes; vm_data is VM.xenstore_data less its `vm-data/`."""
        guest, home = 'n%d' % domain.domid, home_of(domain)
        self.store.make(home, 'n0', 'r%d' % domain.domid)
        vm = '/vm/' + domain.uuid
        self.store.make(vm, 'n0', 'r%d' % domain.domid)
        self.store.write_all(vm, {'uuid': domain.uuid, 'name': domain.name,
                                  'domains/%d' % domain.domid: home})
        self.store.write_all(home, {'vm': vm, 'name': domain.name,
                                    'domid': str(domain.domid)})
        for folder in GUEST_FOLDERS:
            self.store.make('%s/%s' % (home, folder), guest)
        # written into the guest's folder, so what is meant as policy is the guest's
        self.store.write_all(home + '/vm-data', dict(vm_data))

    def set_vm_data(self, domain: Domain, vm_data: Mapping[str, str]) -> None:
        """Do what VM.set_xenstore_data does to a running VM.

        The folder is made anew below Dom0's own: the guest may read it, no more.
        """
        folder = home_of(domain) + '/vm-data'
        with self.store.transaction():
            self.store.rm(folder)
            self.store.write_all(folder, dict(vm_data))

    def vm_data(self, domain: Domain) -> Mapping[str, str]:
        """Return what XAPI would take over into VM.xenstore_data: the guest's words too."""
        if self.store.get(home_of(domain) + '/vm-data') is None:
            return {}
        return self.store.tree(home_of(domain) + '/vm-data')

    def add_vif(self, domain: Domain, vif: VifRecord) -> None:
        """Write a VIF's metadata and all its nodes, as before a plug."""
        domid, devid = domain.domid, vif.devid
        front, back = frontend(domid, devid), backend(domid, devid)
        metadata.write(domain.uuid, vif)
        self.store.write('/vm/%s/devices/vif/%d' % (domain.uuid, devid), '1')
        self.store.write('/xenops/domain/%d/device/vif/%d/backend' % (domid, devid), back)
        self.write_private(domain, vif)
        self.store.make(back, 'n0', 'r%d' % domid)
        self.store.write_all(back, {
            'frontend': front, 'frontend-id': str(domid), 'online': '1', 'state': '1',
            'script': self.vif_script, 'mac': vif.mac, 'handle': str(devid)})
        self.store.make(front, 'n%d' % domid, 'r0')
        self.store.write_all(front, {
            'backend': back, 'backend-id': '0', 'state': '1', 'handle': str(devid),
            'mac': vif.mac, 'disconnect': '0', 'mtu': str(vif.mtu)})

    def add_function(self, domain: Domain, vif: VifRecord) -> None:
        """The same for a function of an SR-IOV NIC: the guest drives it, there is no backend."""
        metadata.write(domain.uuid, vif)
        self.store.write('%s/xenserver/device/net-sriov-vf/%d/mac' % (
            home_of(domain), vif.devid), vif.mac)

    def write_private(self, domain: Domain, vif: VifRecord) -> None:
        """Write the keys of a VIF that only Dom0 can see."""
        folder = private(domain.uuid, vif.devid)
        for key in ('ipv4-allowed', 'ipv6-allowed'):
            self.store.rm('%s/%s' % (folder, key))
        keys = {
            'backend-kind': 'vif', 'backend-id': '0', 'vif-id': str(vif.devid),
            'vif-uuid': vif.uuid, 'network-uuid': vif.network_uuid,
            'locking-mode': vif.locking_mode, 'setup-vif-rules': self.setup_vif_rules,
            'xenopsd-backend': 'classic', 'mac': vif.mac, 'MTU': str(vif.mtu),
            'bridge': vif.bridge, 'bridge-MAC': 'fe:ff:ff:ff:ff:ff'}
        if vif.locking_mode == 'locked':
            keys['ipv4-allowed'] = ','.join(vif.ipv4_allowed)
            keys['ipv6-allowed'] = ','.join(vif.ipv6_allowed)
        if vif.trunks:
            keys['trunks'] = ','.join(str(vlan) for vlan in vif.trunks)
        keys.update(vif.private)
        self.store.write_all(folder, keys)

    def update_vif(self, domain: Domain, vif: VifRecord) -> None:
        """Write a plugged VIF's new settings; the file comes first, scripts read it."""
        metadata.write(domain.uuid, vif)
        self.write_private(domain, vif)

    def remove_vif(self, domain: Domain, vif: VifRecord) -> None:
        """Remove the nodes of a VIF that was unplugged."""
        domid, devid = domain.domid, vif.devid
        for path in (frontend(domid, devid), backend(domid, devid),
                     '/xenops/domain/%d/device/vif/%d' % (domid, devid),
                     private(domain.uuid, devid), hotplug(domain, devid)):
            self.store.rm(path)

    def destroy(self, domain: Domain, vifs: List[VifRecord], keep: bool = False) -> None:
        """Remove a domain; `keep` its metadata when the VM is to start again."""
        for vif in vifs:
            self.remove_vif(domain, vif)
        for path in (home_of(domain), '/local/domain/0/backend/vif/%d' % domain.domid,
                     '/xenops/domain/%d' % domain.domid,
                     '/vm/%s/domains/%d' % (domain.uuid, domain.domid)):
            self.store.rm(path)
        self.store.release(domain.domid)
        if not self.store.ls('/vm/%s/domains' % domain.uuid):
            self.store.rm('/vm/' + domain.uuid)
            self.store.rm('/xapi/' + domain.uuid)
            if not keep:
                metadata.remove(domain.uuid, [vif.devid for vif in vifs])

    def rename(self, domain: Domain, uuid: str, vifs: List[VifRecord]) -> Domain:
        """Give a domain's VM another uuid, as migrations do; no hook runs."""
        metadata.rename(domain.uuid, uuid, vifs)
        for root in ('/vm/', '/xapi/'):
            self.move(root + domain.uuid, root + uuid)
        self.store.write('/vm/%s/uuid' % uuid, uuid)
        self.store.write(home_of(domain) + '/vm', '/vm/' + uuid)
        return domain._replace(uuid=uuid)

    def move(self, old: str, new: str) -> None:
        """Move a subtree with its permissions."""
        self.store.make(new, *self.store.perms(old))
        self.store.write(new, self.store.read(old))
        for name in self.store.ls(old):
            self.move('%s/%s' % (old, name), '%s/%s' % (new, name))
        self.store.rm(old)


def home_of(domain: Domain) -> str:
    """Return the domain's own folder."""
    return '/local/domain/%d' % domain.domid


def frontend(domid: int, devid: int) -> str:
    """Return the guest's half of a VIF."""
    return '/local/domain/%d/device/vif/%d' % (domid, devid)


def backend(domid: int, devid: int) -> str:
    """Return Dom0's half of a VIF."""
    return '/local/domain/0/backend/vif/%d/%d' % (domid, devid)


def private(uuid: str, devid: int) -> str:
    """Return where xenopsd keeps what the vif script needs."""
    return '/xapi/%s/private/vif/%d' % (uuid, devid)


def hotplug(domain: Domain, devid: int) -> str:
    """Return where the vif script reports to xenopsd."""
    return '/xapi/%s/hotplug/%d/vif/%d' % (domain.uuid, domain.domid, devid)
