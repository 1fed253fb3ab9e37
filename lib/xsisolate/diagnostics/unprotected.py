"""VIFs of this host that no flow can protect: why, and what their policies promise in vain."""
from typing import AbstractSet, Dict, NamedTuple, Tuple

from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.vif_facts import VifFacts, read_facts_of
from xsisolate.dom0.linux.netdev import is_linux_bridge
from xsisolate.dom0.xen.vif_metadata import list_devids, read_any_metadata
from xsisolate.errors import UnknownVif
from xsisolate.policy.model import EffectivePolicy, Mode
from xsisolate.policy.unprotected import LINUX_BRIDGE, NOT_PROTECTED, SRIOV
from xsisolate.vif_id import VifId

DOMAINS = '/local/domain'
DOMAINS_MAX = 0x8000


class Unprotected(NamedTuple):
    """Why no flow can enforce a VIF's policy, and what that policy comes to."""

    reason: str
    policy: EffectivePolicy

    @property
    def is_promised(self) -> bool:
        """Tell whether an admin may believe that the VIF is kept apart."""
        return self.policy.mode is not Mode.UNLOCKED

    def __str__(self) -> str:
        return '%s: %s%s' % (NOT_PROTECTED, self.reason, '; its policy (%s) is not enforced' % (
            ' '.join([self.policy.mode.word, *sorted(self.policy.groups)])
            ) if self.is_promised else '')


def find_sriov_vifs(dom0: HostContext,
                    known: AbstractSet[VifId]) -> Dict[VifId, Tuple[VifFacts, Unprotected]]:
    """Return the VIFs of domains that are functions of SR-IOV NICs.

    xenopsd gives them no backend in xenstore, so they are among its metadata only; VIFs with a
    backend are `known` already.
    """
    found = {}
    for domid, vm_uuid in _list_domains(dom0).items():
        for devid in list_devids(vm_uuid):
            vif_id = VifId(domid, devid)
            if vif_id in known:
                continue
            try:
                metadata = read_any_metadata(vm_uuid, str(devid))
                if metadata.bridge:
                    continue
                facts = read_facts_of(dom0.store, vif_id, metadata, dom0.configuration)
            except UnknownVif:
                continue        # it is being made or unmade
            found[vif_id] = facts, Unprotected(SRIOV, facts.policy)
    return found


def _list_domains(dom0: HostContext) -> Dict[int, str]:
    """Return what VMs xenopsd calls the domains of this host."""
    domids = [name for name in dom0.store.directory(DOMAINS, DOMAINS_MAX) or [] if name.isdigit()]
    homes = dom0.store.read_folders([('%s/%s' % (DOMAINS, domid), ('vm',)) for domid in domids])
    return {int(domid): home['vm'].decode('utf-8', 'replace')[len('/vm/'):]
            for domid, home in zip(domids, homes) if home.get('vm')}


def why_on_linux_bridge(facts: VifFacts) -> str:
    """Return why no flow can enforce the policy of a VIF that is on no bridge of Open vSwitch's."""
    bridge = facts.metadata.bridge
    return LINUX_BRIDGE % bridge if is_linux_bridge(bridge) else ''
