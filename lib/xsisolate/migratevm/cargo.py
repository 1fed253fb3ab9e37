"""What is moved, and where to: records of XAPI's, read once on each side."""
import re
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.policy.xapi_records import NOBODY, XapiVm, make_vif, make_vm
from xsisolate.dom0.xapi.session import Xapi, one_line
from xsisolate.dom0.xapi.vms import find_vms
from xsisolate.errors import HostError, UsageError

SHOWN = 8
# Storage that gives a disk all of its size at once; all others give what is written.
THICK = ('lvm', 'lvmoiscsi', 'lvmohba', 'lvmofcoe')


class Disk(NamedTuple):
    """A virtual disk of a VM."""

    ref: str
    name: str
    size: int               # bytes, as the guest sees it
    used: int               # bytes, as its storage says


class Cargo(NamedTuple):
    """A VM as it is at the source."""

    vm: XapiVm
    record: Mapping[str, Any]
    disks: Tuple[Disk, ...]
    networks: Mapping[str, str]     # name-labels, by the VIF's ref

    @property
    def size(self) -> int:
        """All disks as the guest sees them, in bytes."""
        return sum(disk.size for disk in self.disks)

    def need(self, sr_type: str) -> int:
        """How many bytes storage of a type takes for it."""
        return sum(disk.size if sr_type in THICK else min(disk.used, disk.size)
                   for disk in self.disks)

    @property
    def is_live(self) -> bool:
        """Tell whether its disks are in use."""
        return self.vm.power_state not in ('Halted', 'Suspended')


class Storage(NamedTuple):
    """A storage repository."""

    ref: str
    uuid: str
    name: str
    type: str
    content: str
    free: Optional[int]     # bytes; None where XAPI does not know


class Pool(NamedTuple):
    """What is known of a pool."""

    uuid: str
    name: str
    master: str
    default_sr: str
    hosts: Mapping[str, Mapping[str, Any]]

    @property
    def version(self) -> Tuple[int, ...]:
        """The version of the master's platform."""
        software = self.hosts[self.master].get('software_version', {})
        return tuple(int(word) for word in re.findall('[0-9]+',
                                                      str(software.get('platform_version', ''))))


def read_pool(xapi: Xapi) -> Pool:
    """Return the pool that a session is with."""
    for record in xapi.call('pool.get_all_records').values():
        hosts = xapi.call('host.get_all_records')
        master = str(record['master'])
        name = str(record['name_label'] or hosts[master]['name_label'])
        return Pool(str(record['uuid']), name, master, str(record['default_SR']), hosts)
    raise HostError('XAPI knows no pool')


def find_cargo(xapi: Xapi, text: str) -> Cargo:
    """Return the VM of this uuid or name; raise UsageError."""
    cargo = read_cargo(xapi, find_vm(xapi, text))
    record = cargo.record
    if record['is_control_domain'] or (record['is_a_template'] and not record['is_a_snapshot']):
        raise UsageError('source: %s is a template or a control domain, not a VM'
                         % one_line(str(record['name_label'])))
    return cargo


def find_vm(xapi: Xapi, text: str) -> str:
    """Return the only VM of this uuid or name."""
    found = find_vms(xapi, text)
    if not found:
        raise UsageError('source: no VM has the uuid or name %s' % one_line(text))
    if len(found) > 1:
        raise UsageError('source: %d VMs have the name %s: say the uuid of the one that is meant: '
                         '%s' % (len(found), one_line(text), ', '.join(sorted(
                             str(xapi.call('VM.get_uuid', ref)) for ref in found)[:SHOWN])))
    return found[0]


def read_cargo(xapi: Xapi, ref: str) -> Cargo:
    """Return a VM with what belongs to it."""
    record = xapi.call('VM.get_record', ref)
    vifs, networks = [], {}
    for vif in record['VIFs']:
        fields = xapi.call('VIF.get_record', vif)
        network = xapi.call('network.get_record', fields['network'])
        vifs.append(make_vif(vif, fields, network))
        networks[str(vif)] = str(network['name_label'])
    disks = read_disks(xapi, record)
    if record['power_state'] == 'Suspended' and record['suspend_VDI'] != NOBODY:
        disks.append(read_disk(xapi, str(record['suspend_VDI'])))
    return Cargo(make_vm(ref, record, vifs), record, tuple(disks), networks)


def read_disks(xapi: Xapi, record: Mapping[str, Any]) -> List[Disk]:
    """Return a VM's disks; what is in a CD drive is not one of them."""
    disks = []
    for ref in record['VBDs']:
        vbd = xapi.call('VBD.get_record', ref)
        if vbd['type'] == 'Disk' and vbd['VDI'] != NOBODY:
            disks.append(read_disk(xapi, str(vbd['VDI'])))
    return disks


def read_disk(xapi: Xapi, ref: str) -> Disk:
    """Return a disk."""
    record = xapi.call('VDI.get_record', ref)
    return Disk(ref, str(record['name_label']), int(record['virtual_size']),
                int(record['physical_utilisation']))


def find_storage(xapi: Xapi, pool: Pool, text: str) -> Storage:
    """Return the storage of this uuid or name, the pool's default one for ''; raise UsageError."""
    found = {ref: record for ref, record in xapi.call('SR.get_all_records').items()
             if (text in (record['uuid'], record['name_label']) if text
                 else ref == pool.default_sr)}
    if not found:
        raise UsageError('destination: %s' % (
            'no storage repository has the uuid or name %s' % one_line(text) if text else
            'pool %s has no default storage repository: name one with -ds' % one_line(pool.name)))
    if len(found) > 1:
        raise UsageError('destination: %d storage repositories have the name %s: say the uuid: %s'
                         % (len(found), one_line(text), ', '.join(
                             sorted(str(record['uuid']) for record in found.values())[:SHOWN])))
    ref, record = next(iter(found.items()))
    size = int(record['physical_size'])
    return Storage(str(ref), str(record['uuid']), str(record['name_label']), str(record['type']),
                   str(record['content_type']),
                   size - int(record['physical_utilisation']) if size > 0 else None)


def remove_vm(xapi: Xapi, ref: str) -> None:
    """Remove a VM or snapshot that we have made, with its disks."""
    disks = read_disks(xapi, xapi.call('VM.get_record', ref))
    xapi.call('VM.destroy', ref)
    for disk in disks:
        xapi.call('VDI.destroy', disk.ref)
