"""What would go wrong: found before the first byte is sent."""
from typing import Any, List, Mapping, NamedTuple, Set

from xsisolate.dom0.xapi.session import Xapi, one_line
from xsisolate.errors import HostError
from xsisolate.migratevm.cargo import Cargo, Pool, Storage
from xsisolate.migratevm.measure import sized

MAC_SEED = 'mac_seed'       # in VM.other_config; XAPI restores no second VM with the same


class Findings(NamedTuple):
    """What forbids the move, and what an admin should know."""

    errors: List[str]
    warnings: List[str]

    def check(self) -> None:
        """Raise HostError if anything forbids it."""
        if self.errors:
            raise HostError('%s. Nothing was sent' % '; '.join(self.errors))


class Wanted(NamedTuple):
    """How a VM is to arrive."""

    name: str               # '' keeps it
    copy: bool              # under a new uuid, with new MAC addresses


def check_pools(source: Pool, destination: Pool) -> None:
    """Raise HostError if a VM cannot go from one to the other."""
    if source.uuid == destination.uuid:
        raise HostError('source and destination are the same pool (%s): there xe vm-migrate or '
                        'xe vm-copy does it' % one_line(source.name))
    if destination.version < source.version:
        raise HostError('the destination is too old: its platform is %s, the source has %s: '
                        'update it first' % (dotted(destination.version), dotted(source.version)))


def check_arrival(xapi: Xapi, cargo: Cargo, storage: Storage, wanted: Wanted) -> Findings:
    """Return what forbids that a VM arrives like this."""
    found = Findings([], [])
    check_storage(cargo, storage, found)
    vms = xapi.call('VM.get_all_records')
    check_names(cargo, wanted, vms, found)
    if not wanted.copy:
        check_seed(cargo, vms, found)
        check_macs(xapi, cargo, vms, found)
    names = {str(record['name_label'])
             for record in xapi.call('network.get_all_records').values()}
    for name in sorted(set(cargo.networks.values()) - names):
        found.warnings.append('the destination has no network %s: XAPI makes an internal one of '
                              'that name, without an uplink' % one_line(name))
    return found


def check_storage(cargo: Cargo, storage: Storage, found: Findings) -> None:
    """Find out whether the disks fit."""
    name = 'storage repository %s' % one_line(storage.name)
    if storage.content == 'iso' or storage.type == 'iso':
        found.errors.append('%s is for ISO images: name another with -ds' % name)
    need = cargo.need(storage.type)
    if storage.free is None:
        found.warnings.append('XAPI does not know how much is free on %s' % name)
    elif storage.free < need:
        found.errors.append('%s is too small: the disks need %s there, %s are free: free some, or '
                            'name another with -ds' % (name, sized(need), sized(storage.free)))


def check_seed(cargo: Cargo, vms: Mapping[str, Mapping[str, Any]], found: Findings) -> None:
    """Find out whether another VM's MAC addresses come from the same seed."""
    seed = cargo.record['other_config'].get(MAC_SEED)
    for record in vms.values():
        if seed and record['other_config'].get(MAC_SEED) == seed and (
                str(record['uuid']).lower() != cargo.vm.uuid):
            found.errors.append('VM %s (%s) at the destination has the same MAC seed, which XAPI '
                                'refuses: make a copy with --copy, or give that VM another (xe '
                                'vm-param-set uuid=%s other-config:mac_seed=$(uuidgen))' % (
                                    one_line(str(record['name_label'])), record['uuid'],
                                    record['uuid']))
            return


def check_names(cargo: Cargo, wanted: Wanted, vms: Mapping[str, Mapping[str, Any]],
                found: Findings) -> None:
    """Find out whether the name and the uuid are free."""
    name = wanted.name or cargo.vm.name
    for record in vms.values():
        same = str(record['uuid']).lower() == cargo.vm.uuid
        if same and not wanted.copy:
            found.errors.append('the destination has VM %s already, as %s: remove it, or make a '
                                'copy with --copy'
                                % (cargo.vm.uuid, one_line(str(record['name_label']))))
        elif record['name_label'] == name and not record['is_a_template']:
            found.errors.append('the destination has a VM %s already (%s): choose another name '
                                'with --name' % (one_line(name), record['uuid']))


def check_macs(xapi: Xapi, cargo: Cargo, vms: Mapping[str, Mapping[str, Any]],
               found: Findings) -> None:
    """Find out whether the MAC addresses are free."""
    mine = {vif.mac for vif in cargo.vm.vifs}
    told: Set[str] = set()
    for vif in xapi.call('VIF.get_all_records').values():
        mac, vm = str(vif['MAC']).lower(), vms.get(vif['VM'])
        if mac in mine and mac not in told and vm and str(vm['uuid']).lower() != cargo.vm.uuid:
            told.add(mac)
            found.errors.append('MAC address %s is taken at the destination, by VM %s (%s): with '
                                '--copy the VM gets new ones'
                                % (mac, one_line(str(vm['name_label'])), vm['uuid']))


def dotted(version: Any) -> str:
    """Return a version as people write it."""
    return '.'.join(str(number) for number in version) or 'unknown'
