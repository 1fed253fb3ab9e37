"""How XAPI copies VMs, for the fake: VM.clone, VM.copy, VM.provision, and VIFs made anew.

As in xapi (ocaml/xapi/xapi_vm_clone.ml, xapi_vif_helpers.ml, xapi_vm.ml): a copy has its original's
xenstore_data, and its VIFs have the original VIFs' other_config and locking. Its uuid is new, and
so is its mac_seed, of which its MAC addresses are made. The copy of a template or of a snapshot is
a template, until VM.provision makes it a VM. A VIF that is created has what its creator says.
"""
import hashlib
import uuid as uuids
from typing import Any, Dict, Mapping

from sandbox.xapidb import NULL, Database

MAC_SEED, BASE_NAME = 'mac_seed', 'base_template_name'
DROPPED = ('default_template', 'xensource_internal')


class Copies(Database):
    """A pool's database that makes copies of VMs, without their disks."""

    def _VM_clone(self, session: str, ref: str, name: str) -> str:
        return self.copy_vm(ref, name)

    def _VM_copy(self, session: str, ref: str, name: str, sr: str) -> str:
        return self.copy_vm(ref, name)

    def _VM_provision(self, session: str, ref: str) -> str:
        self.get('VM', ref)
        self.set('VM', ref, is_a_template=False)
        return ''

    def _VIF_destroy(self, session: str, ref: str) -> str:
        with self.lock:
            vm = self.get('VM', self.get('VIF', ref)['VM'])
            self.remove('VIF', ref)
            vm['VIFs'].remove(ref)
        return ''

    def _VIF_create(self, session: str, record: Mapping[str, Any]) -> str:
        with self.lock:
            return self.create_vif(str(record['VM']), record, str(record.get('MAC') or ''))

    def copy_vm(self, ref: str, name: str) -> str:
        """Return a copy of a VM, which is halted, or a template as the original is."""
        with self.lock:
            record = self.get('VM', ref)
            template = bool(record['is_a_template'] or record['is_a_snapshot'])
            config = {key: value for key, value in record['other_config'].items()
                      if key not in DROPPED}
            config[MAC_SEED] = str(uuids.uuid4())
            if template:
                config.setdefault(BASE_NAME, record['name_label'])
            copy = self.add('VM', **{
                **record, 'uuid': str(uuids.uuid4()), 'name_label': name, 'other_config': config,
                'xenstore_data': dict(record['xenstore_data']), 'power_state': 'Halted',
                'is_a_template': template, 'is_a_snapshot': False, 'snapshot_of': NULL,
                'resident_on': NULL, 'scheduled_to_be_resident_on': NULL, 'VIFs': [], 'VBDs': [],
                'snapshots': []})
            for vif in record['VIFs']:
                self.create_vif(copy, self.get('VIF', vif), '')
        return copy

    def create_vif(self, vm: str, record: Mapping[str, Any], mac: str) -> str:
        """Return a new VIF of a VM; without a MAC address it gets that of the VM's seed."""
        owner = self.get('VM', vm)
        fields: Dict[str, Any] = {
            'device': str(record['device']), 'network': record['network'],
            'other_config': dict(record.get('other_config', {})),
            'locking_mode': record.get('locking_mode', 'network_default'),
            'ipv4_allowed': list(record.get('ipv4_allowed', [])),
            'ipv6_allowed': list(record.get('ipv6_allowed', []))}
        ref = self.add('VIF', **fields, VM=vm, currently_attached=False, MAC=mac or make_mac(
            owner['other_config'].get(MAC_SEED, ''), int(fields['device'])))
        self.set('VM', vm, VIFs=[*owner['VIFs'], ref])
        return ref


def make_mac(seed: str, device: int) -> str:
    """Return the MAC address that xapi makes of a VM's mac_seed."""
    data = seed.encode()
    for _ in range(device * 2 + 1):
        data = hashlib.md5(data).digest()
    more = hashlib.md5(data).digest()
    parts = [data[0] & 0xfe | 0x02, data[1], data[2], data[3], more[1], more[2]]
    return ':'.join('%02x' % part for part in parts)
