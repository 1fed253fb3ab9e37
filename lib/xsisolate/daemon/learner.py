"""A VIF whose addresses are learned, and which addresses cannot be its own."""
from time import monotonic, time
from typing import Dict, Iterable, List, Tuple

from xsisolate.daemon.known import KnownHost
from xsisolate.dom0.run_files.group_members import find_claims, list_groups
from xsisolate.errors import ConfigError
from xsisolate.leases.bindings import Bindings, expire
from xsisolate.planner.vif import Attached, Vif
from xsisolate.policy.leases import LeaseRecord, refuse
from xsisolate.policy.model import Network, Prefix

LINES_MAX, LINES_S = 10, 60.0       # so many lines about a VIF in so many seconds
QUIET_S = 10.0              # a VIF whose leases have changed since has to wait its turn

Owner = Tuple[str, str]     # VM and device


class Learner:
    """A VIF whose addresses are learned."""

    def __init__(self, vif: Vif) -> None:
        self.vif = vif
        self.bridge = ''                    # the real one
        self.networks: Dict[int, Tuple[Attached, Network]] = {}
        self.bindings = Bindings(leases={lease.address: lease for lease in vif.leases})
        self.at = 0                         # when the leases last changed; see LeaseRecord
        self.changed_at = -QUIET_S          # when it last got an address, or lost one
        self.refused: Dict[Prefix, str] = {}
        self._said: List[float] = []        # when its last lines were written

    @property
    def owner(self) -> Owner:
        """Whose leases these are."""
        return self.vif.vm_uuid, str(self.vif.id.devid)

    def may_say(self) -> bool:
        """Tell whether a line about it may be written: a guest causes them, all day if it likes."""
        now = monotonic()
        self._said = [at for at in self._said if now - at < LINES_S]
        if len(self._said) >= LINES_MAX:
            return False
        self._said.append(now)
        return True

    def record(self) -> LeaseRecord:
        """Return what is kept of its leases."""
        return LeaseRecord(self.vif.mac, self.at, tuple(sorted(self.bindings.leases.values())),
                           self.vif.vif_uuid)


def why_refused(learner: Learner, attached: Attached, network: Network, address: Prefix,
                host: KnownHost, learners: Iterable[Learner]) -> str:
    """Return why an address cannot be leased to a VIF on one of its networks, '' if it can."""
    if address in learner.vif.policy.addresses - learner.vif.policy.leased:
        return ''       # it owns it anyway
    reason = refuse(address, network) or _refuse_fixed(learner, attached, address, host)
    if reason or address in learner.bindings.leases:        # the older lease
        return reason
    return (_refuse_leased(learner, attached, address, learners)
            or _refuse_elsewhere(learner, attached, address))


def _refuse_fixed(learner: Learner, attached: Attached, address: Prefix, host: KnownHost) -> str:
    for known in host.vifs.values():
        other = known.last
        if other and other.id != learner.vif.id and other.vm_uuid != learner.vif.vm_uuid and (
                address in other.policy.addresses - other.policy.leased) and any(
                    one.network == attached.network and one.bridge == attached.bridge
                    for one in other.networks):
            return 'it is %s\'s of VM %s, which has it fixed' % (other.id.vif, other.vm_uuid)
    return ''


def _refuse_leased(learner: Learner, attached: Attached, address: Prefix,
                   learners: Iterable[Learner]) -> str:
    for other in learners:
        if other.owner != learner.owner and any(
                one == attached for one, _ in other.networks.values()) and (
                    address in expire(other.bindings, time()).leases):
            return 'it is leased to %s of VM %s' % (other.vif.id.vif, other.vif.vm_uuid)
    return ''


def _refuse_elsewhere(learner: Learner, attached: Attached, address: Prefix) -> str:
    """Return which member of a group on another host has an address."""
    try:
        for group in list_groups():
            for member in find_claims(group, [address]):
                if member.mac != learner.vif.mac and member.network == attached.network_uuid:
                    return ('it is that of the VIF with MAC address %s on another host'
                            % member.mac)
    except ConfigError as error:
        return 'it is not known whether a VIF on another host has it: %s' % error
    return ''
