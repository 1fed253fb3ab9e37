"""A VIF as XAPI describes it, and the file in which xenopsd keeps that for the hooks."""
import json
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

ROOT = '/run/nonpersistent/xenopsd/classic/VM'


class VifRecord(NamedTuple):
    """One VIF of a VM: XAPI's fields, in XAPI's words."""

    devid: int
    mac: str
    bridge: str
    uuid: str
    network_uuid: str
    mtu: int = 1500
    locking_mode: str = 'unlocked'              # or 'locked', 'disabled'
    ipv4_allowed: Tuple[str, ...] = ()
    ipv6_allowed: Tuple[str, ...] = ()
    other_config: Mapping[str, str] = {}
    trunks: Tuple[int, ...] = ()
    vlan: Optional[int] = None
    private: Mapping[str, str] = {}             # more private keys, such as pvs-*
    sriov: bool = False                         # a function of an SR-IOV NIC: no netdev in Dom0


def locking_of(vif: VifRecord) -> object:
    """Return the locking mode in OCaml's encoding of a variant."""
    if vif.locking_mode != 'locked':
        return vif.locking_mode.capitalize()
    return ['Locked', {'ipv6': list(vif.ipv6_allowed), 'ipv4': list(vif.ipv4_allowed)}]


def encode(vm_uuid: str, vif: VifRecord) -> str:
    """Return xenopsd's JSON: fields in reverse order of declaration, None left out."""
    record: Dict[str, object] = {}
    if vif.vlan is not None:
        record['vlan'] = vif.vlan
    record.update({
        'ipv6_configuration': 'Unspecified6',
        'ipv4_configuration': 'Unspecified4',
        'extra_private_keys': {'vif-uuid': vif.uuid, 'network-uuid': vif.network_uuid},
        'locking_mode': locking_of(vif),
        'other_config': dict(vif.other_config),
        'backend': ['Sriov', {'domain': 0, 'bus': 4, 'dev': 16, 'fn': vif.devid}]
        if vif.sriov else ['Local', vif.bridge],
        'mtu': vif.mtu,
        'carrier': True,
        'mac': vif.mac,
        'position': vif.devid,
        'id': [vm_uuid, str(vif.devid)],
    })
    return json.dumps(record, separators=(',', ':'))


def path(vm_uuid: str, devid: int) -> str:
    """Return where xenopsd keeps a VIF's metadata."""
    return '%s/%s/vif.%d' % (ROOT, vm_uuid, devid)


def write(vm_uuid: str, vif: VifRecord) -> None:
    """Write a VIF's metadata all at once: one line, no newline."""
    target = path(vm_uuid, vif.devid)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    fresh = target + '.tmp'
    with open(fresh, 'w', encoding='utf-8') as file:
        file.write(encode(vm_uuid, vif))
    os.rename(fresh, target)


def remove(vm_uuid: str, devids: List[int]) -> None:
    """Forget a VM's VIFs."""
    for devid in devids:
        os.unlink(path(vm_uuid, devid))
    if devids and not os.listdir(os.path.join(ROOT, vm_uuid)):
        os.rmdir(os.path.join(ROOT, vm_uuid))


def rename(old_uuid: str, new_uuid: str, vifs: List[VifRecord]) -> None:
    """Move a VM's VIFs to another uuid, as the end of a migration does."""
    for vif in vifs:
        write(new_uuid, vif)
    remove(old_uuid, [vif.devid for vif in vifs])
