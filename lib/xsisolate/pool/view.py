"""The pool as a follower of XAPI's events sees it: what groups depend on, and nothing else.

Values in, values out: the follower feeds it event batches and asks for places.
"""
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple

from xsisolate.networkd.desired import KEYS, Pif, find_pifs
from xsisolate.policy.leases import KEYS as LEASE_KEYS
from xsisolate.policy.model import PoolNetwork
from xsisolate.policy.pool_members import PoolVif
from xsisolate.policy.seal import SEAL_KEY
from xsisolate.policy.vmdata_writer import is_ours
from xsisolate.policy.xapi_records import make_vif, make_vm

CLASSES = ('VM', 'VIF', 'network', 'host', 'PIF')
FIELDS: Mapping[str, Tuple[str, ...]] = {
    'vm': ('uuid', 'name_label', 'power_state', 'resident_on', 'scheduled_to_be_resident_on',
           'xenstore_data', 'is_a_template', 'is_a_snapshot', 'is_control_domain'),
    'vif': ('VM', 'network', 'device', 'MAC', 'locking_mode', 'ipv4_allowed', 'ipv6_allowed',
            'other_config', 'currently_attached'),
    'network': ('uuid', 'bridge', 'name_label', 'default_locking_mode'),
    'host': ('uuid',),
    'pif': ('host', 'network', 'VLAN', 'other_config')}

Record = Dict[str, Any]


class PoolView:
    """VMs, VIFs, networks and hosts by reference, in the fields that matter."""

    def __init__(self) -> None:
        self._records: Dict[str, Dict[str, Record]] = {kind: {} for kind in FIELDS}

    def take(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take in a batch of events; True if anything that groups depend on has changed."""
        changed = False
        for event in events:
            kind, ref = str(event['class']).lower(), str(event['ref'])
            if kind not in FIELDS:
                continue
            known = self._records[kind]
            if event['operation'] == 'del':
                changed |= known.pop(ref, None) is not None
                continue
            record = _shorten(kind, event['snapshot'])
            changed |= known.get(ref) != record
            known[ref] = record
        return changed

    def find_host(self, uuid: str) -> str:
        """Return a host's reference, '' if the pool has no such host."""
        return next((ref for ref, host in self._records['host'].items()
                     if str(host['uuid']).lower() == uuid.lower()), '')

    def networks(self) -> Iterator[PoolNetwork]:
        """Yield the pool's networks."""
        for record in self._records['network'].values():
            yield PoolNetwork(str(record['uuid']).lower(), str(record['bridge']),
                              str(record['name_label']))

    def pifs(self, host: str) -> List[Pif]:
        """Return a host's PIFs with real bridges."""
        return find_pifs(self._records['pif'], self._records['network'], host)

    def places(self) -> Iterator[PoolVif]:
        """Yield every VIF of a VM; XAPI deletes a VM before its VIFs, so some have none."""
        for ref, vif in self._records['vif'].items():
            vm = self._records['vm'].get(vif['VM'])
            network = self._records['network'].get(vif['network'])
            if vm and network and not (vm['is_a_template'] or vm['is_a_snapshot']):
                yield PoolVif(make_vm(vif['VM'], vm), make_vif(ref, vif, network),
                              str(network['bridge']))


def _shorten(kind: str, snapshot: Mapping[str, Any]) -> Record:
    """Return what of a record matters: guests may write megabytes."""
    record: Record = {name: snapshot.get(name) for name in FIELDS[kind]}
    if kind == 'vm':
        record['xenstore_data'] = {key: value for key, value in record['xenstore_data'].items()
                                   if is_ours(key)}
    if kind == 'vif':
        record['other_config'] = {key: value for key, value in record['other_config'].items()
                                  if key == SEAL_KEY or key in LEASE_KEYS}
    if kind == 'pif':
        record['other_config'] = {key: value for key, value in record['other_config'].items()
                                  if key in KEYS}
    return record
