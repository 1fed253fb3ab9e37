"""Which addresses are leased to a VIF, as its file says, or what the VIF carries in XAPI.

The daemon need not run. The newer of the two counts, and one that cannot be read is as none.
"""
from time import time

from xsisolate.dom0.run_files.vif_leases import read_leases
from xsisolate.errors import ConfigError
from xsisolate.policy.leases import Lease, LeaseRecord, current, find_carried, newest
from xsisolate.policy.model import Identity
from xsisolate.typing_compat import Mapping, NamedTuple, Optional, Tuple


class LeaseFacts(NamedTuple):
    """A VIF's leases that have not ended."""

    leases: Tuple[Lease, ...] = ()
    complaint: str = ''             # why its file does not count
    at: int = 0                     # as of when; see LeaseRecord


def find_leases(vif: Identity, other_config: Mapping[str, str]) -> LeaseFacts:
    """Return a VIF's leases."""
    complaint = ''
    kept: Optional[LeaseRecord] = None
    try:
        kept = read_leases(vif.vm_uuid, vif.devid)
        if kept and kept.mac != vif.mac:
            complaint = 'its leases are those of MAC address %s: they do not count' % kept.mac
    except ConfigError as error:
        complaint = '%s: what the VIF carries in XAPI counts instead' % error
    carried = find_carried(other_config, vif.mac)
    found = newest([record for record in (kept, carried) if record], vif.mac)
    return LeaseFacts(current(found, time()), complaint, found.at if found else 0)
