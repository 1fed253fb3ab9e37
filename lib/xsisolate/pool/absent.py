"""Which hosts of the pool have come back without xsisolate, and what is to be done about them.

XAPI notes in each host's other_config when the host has booted, and each host's daemon notes the
same when it follows XAPI: `xsisolate-seen`. A host whose note is not of its last boot has no daemon
that works: an installer has wiped it, or it is new. Values in, values out; guard.py asks and acts.
"""
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.policy.pool_members import PoolVif
from xsisolate.policy.xapi_records import NOBODY

BOOT_KEY = 'boot_time'                  # XAPI's
SEEN_KEY = 'xsisolate-seen'             # the boot in which the host's daemon has followed XAPI
TOLD_KEY = 'xsisolate-not-protected'    # the boot of which administrators were told
DISABLED_KEY = 'xsisolate-disabled'     # we have disabled the host
KEYS = (BOOT_KEY, SEEN_KEY, TOLD_KEY, DISABLED_KEY)
SHOWN = 50                              # VMs in a message


class KnownHost(NamedTuple):
    """A host as XAPI's record has it."""

    ref: str
    uuid: str
    name: str
    enabled: bool
    is_master: bool
    booted: str                 # '': XAPI does not say
    seen: str
    told: str
    disabled: bool              # by us

    @property
    def is_suspect(self) -> bool:
        """Tell whether its daemon has not been seen since its boot."""
        return bool(self.booted) and self.seen != self.booted


def find_hosts(records: Mapping[str, Mapping[str, Any]], master: str) -> List[KnownHost]:
    """Return the hosts of the pool, the master first, then by uuid."""
    found = []
    for ref, record in records.items():
        notes = record['other_config']
        found.append(KnownHost(
            ref, str(record['uuid']).lower(), str(record['name_label']), bool(record['enabled']),
            ref == master, notes.get(BOOT_KEY, ''), notes.get(SEEN_KEY, ''),
            notes.get(TOLD_KEY, ''), DISABLED_KEY in notes))
    return sorted(found, key=lambda host: (not host.is_master, host.uuid))


def is_leader(hosts: Sequence[KnownHost], uuid: str) -> bool:
    """Tell whether a host is the one that looks after the others: the first that is no suspect."""
    trusted = [host for host in hosts if not host.is_suspect]
    return bool(trusted) and trusted[0].uuid == uuid


def may_disable(host: KnownHost, hosts: Iterable[KnownHost]) -> str:
    """Return why a host must not be disabled; '' if it may be."""
    if host.is_master:
        return 'it is the pool\'s master'
    if not any(other.enabled and not other.is_suspect for other in hosts if other != host):
        return 'no other host of the pool is enabled and runs xsisolate'
    return ''


def find_sealed_vms(places: Iterable[PoolVif], ref: str) -> Tuple[str, ...]:
    """Return the names of VMs on a host that an administrator has given a policy."""
    found: Dict[str, str] = {}
    for place in places:
        if place.vm.host == ref and place.vm.host != NOBODY and place.vif.seal:
            found[place.vm.uuid] = '%s (%s)' % (ascii(place.vm.name)[1:-1], place.vm.uuid)
    return tuple(sorted(found.values()))


def describe(host: KnownHost, vms: Sequence[str], outcome: str) -> str:
    """Return the text of XAPI's message about a host."""
    lines = ['Host %s has booted and has no xsisolate: its plugin is missing.'
             % ascii(host.name)[1:-1], outcome,
             'Sealed VMs on it that are NOT PROTECTED: %d' % len(vms)]
    lines += list(vms[:SHOWN]) + ['...'] * (len(vms) > SHOWN)
    return '\n'.join(lines + ['Install xsisolate on it and run xsisolate activate there (xsisolate '
                              'pool status shows all hosts).'])
