"""The pool as a follower of XAPI's events sees it: what groups depend on, and nothing else.

Values in, values out: the follower feeds it event batches and asks for places.
"""
from typing import (Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Set,
                    Tuple)

from xsisolate.config.stored import PREFIX
from xsisolate.networkd.desired import KEYS, Pif, find_pifs
from xsisolate.policy.leases import KEYS as LEASE_KEYS
from xsisolate.policy.model import PoolNetwork
from xsisolate.policy.pool_members import PoolVif
from xsisolate.policy.seal import SEAL_KEY
from xsisolate.policy.vmdata_writer import is_ours
from xsisolate.policy.xapi_records import make_network, make_vif, make_vm
from xsisolate.pool.absent import KEYS as HOST_KEYS

CLASSES = ('VM', 'VIF', 'network', 'host', 'PIF', 'pool')
FIELDS: Mapping[str, Tuple[str, ...]] = {
    'vm': ('uuid', 'name_label', 'power_state', 'resident_on', 'scheduled_to_be_resident_on',
           'xenstore_data', 'is_a_template', 'is_a_snapshot', 'is_control_domain'),
    'vif': ('VM', 'network', 'device', 'MAC', 'locking_mode', 'ipv4_allowed', 'ipv6_allowed',
            'other_config', 'currently_attached'),
    'network': ('uuid', 'bridge', 'name_label', 'default_locking_mode'),
    'host': ('uuid', 'name_label', 'enabled', 'other_config'),
    'pool': ('uuid', 'master', 'other_config'),
    'pif': ('host', 'network', 'VLAN', 'other_config')}

Record = Dict[str, Any]


class PoolView:
    """VMs, VIFs, networks and hosts by reference, in the fields that matter."""

    def __init__(self) -> None:
        self._records: Dict[str, Dict[str, Record]] = {kind: {} for kind in FIELDS}
        self._vifs: Dict[str, Set[str]] = {}        # of a VM, or on a network
        self._touched: Set[str] = set()             # VIFs

    def take(self, events: Iterable[Mapping[str, Any]]) -> FrozenSet[str]:
        """Take in a batch of events; return the kinds of which anything that matters has changed.
        """
        changed = set()
        for event in events:
            kind, ref = str(event['class']).lower(), str(event['ref'])
            if kind not in FIELDS:
                continue
            known = self._records[kind]
            before = known.get(ref)
            record = None if event['operation'] == 'del' else _shorten(kind, event['snapshot'])
            if record == before:
                continue
            changed.add(kind)
            if record is None:
                del known[ref]
            else:
                known[ref] = record
            self._touch(kind, ref, before, record)
        return frozenset(changed)

    def _touch(self, kind: str, ref: str, before: Optional[Record],
               record: Optional[Record]) -> None:
        """Note the VIFs whose places may be others now."""
        if kind == 'vif':
            self._touched.add(ref)
            for home in (before['VM'], before['network']) if before else ():
                self._vifs[home].discard(ref)
                if not self._vifs[home]:
                    del self._vifs[home]
            for home in (record['VM'], record['network']) if record else ():
                self._vifs.setdefault(home, set()).add(ref)
        elif kind in ('vm', 'network'):
            self._touched.update(self._vifs.get(ref, ()))

    def touched(self) -> Iterator[Tuple[str, Optional[PoolVif]]]:
        """Yield the VIFs that have changed since this was last asked; None: it has no place."""
        touched, self._touched = self._touched, set()
        for ref in touched:
            yield ref, self._place(ref)

    def all_places(self) -> Iterator[Tuple[str, Optional[PoolVif]]]:
        """Yield every VIF, as `touched` does; nothing is touched after that."""
        self._touched = set(self._records['vif'])
        return self.touched()

    def find_host(self, uuid: str) -> str:
        """Return a host's reference, '' if the pool has no such host."""
        return next((ref for ref, host in self._records['host'].items()
                     if str(host['uuid']).lower() == uuid.lower()), '')

    def networks(self) -> Iterator[PoolNetwork]:
        """Yield the pool's networks."""
        yield from map(make_network, self._records['network'].values())

    def hosts(self) -> Mapping[str, Record]:
        """Return the records of the pool's hosts, by reference."""
        return self._records['host']

    def master(self) -> str:
        """Return the reference of the pool's master, '' if it is not known."""
        return next((str(record['master']) for record in self._records['pool'].values()), '')

    def configuration(self) -> Tuple[str, Mapping[str, str]]:
        """Return the pool's uuid, and the keys with its configuration."""
        for record in self._records['pool'].values():
            return str(record['uuid']).lower(), record['other_config']
        return '', {}

    def pifs(self, host: str) -> List[Pif]:
        """Return a host's PIFs with real bridges."""
        return find_pifs(self._records['pif'], self._records['network'], host)

    def places(self) -> Iterator[PoolVif]:
        """Yield every VIF of a VM; XAPI deletes a VM before its VIFs, so some have none."""
        for ref in self._records['vif']:
            place = self._place(ref)
            if place:
                yield place

    def _place(self, ref: str) -> Optional[PoolVif]:
        vif = self._records['vif'].get(ref)
        vm = self._records['vm'].get(vif['VM']) if vif else None
        network = self._records['network'].get(vif['network']) if vif else None
        if not (vif and vm and network) or vm['is_a_template'] or vm['is_a_snapshot']:
            return None
        return PoolVif(make_vm(vif['VM'], vm), make_vif(ref, vif, network), str(network['bridge']))


def _shorten(kind: str, snapshot: Mapping[str, Any]) -> Record:
    """Return what of a record matters: guests may write megabytes."""
    record: Record = {name: snapshot.get(name) for name in FIELDS[kind]}
    if kind == 'vm':
        record['xenstore_data'] = {key: value for key, value in record['xenstore_data'].items()
                                   if is_ours(key)}
    if kind == 'vif':
        record['other_config'] = {key: value for key, value in record['other_config'].items()
                                  if key == SEAL_KEY or key in LEASE_KEYS}
    if kind == 'pool':
        record['other_config'] = {key: value for key, value
                                  in (record['other_config'] or {}).items()
                                  if key.startswith(PREFIX)}
    if kind == 'host':
        record['other_config'] = {key: value for key, value
                                  in (record['other_config'] or {}).items() if key in HOST_KEYS}
    if kind == 'pif':
        record['other_config'] = {key: value for key, value in record['other_config'].items()
                                  if key in KEYS}
    return record
