"""A VIF as the planner sees it."""
from xsisolate.policy.leases import Lease
from xsisolate.policy.model import EffectivePolicy, Locking, Mode
from xsisolate.policy.permissive import excuse
from xsisolate.policy.resolve import quarantine
from xsisolate.typing_compat import Mapping, NamedTuple, Tuple
from xsisolate.vif_id import VifId

UNNAMED = '-'           # a network whose name or uuid is not known


class VifPort(NamedTuple):
    """A VIF's netdev on the bridge."""

    name: str               # vif5.0 or tap5.0
    ofport: int


class Attached(NamedTuple):
    """A network that a VIF is on."""

    network: int                        # NETWORK | VLAN tag
    bridge: str                         # the network's bridge, fake or real
    network_uuid: str = UNNAMED


class Vif(NamedTuple):
    """A plugged VIF and what it may do; without ports it is leaving."""

    id: VifId
    vm_uuid: str = ''                   # the canonical one
    mac: str = ''
    networks: Tuple[Attached, ...] = ()     # a trunk VIF is on several
    trunk: bool = False                 # it uses VLAN tags
    policy: EffectivePolicy = EffectivePolicy(Mode.UNLOCKED)
    ports: Tuple[VifPort, ...] = ()
    arriving: bool = False              # its VM migrates to this host, and may not be here yet
    locking: Locking = Locking()        # XAPI's own locking mode, which no policy loosens
    lost: bool = False                  # xenstore knows nothing of its domain
    external_ids: Mapping[str, str] = {}    # what other programs look for on its Interfaces
    mute: str = ''                      # why nothing passes although it is unmanaged
    waiting: str = ''                   # why it does not have all that its policy gives it
    vif_uuid: str = ''                  # XAPI's
    leases: Tuple[Lease, ...] = ()      # all that it has, also those that do not count
    leases_at: int = 0                  # as of when
    complaint: str = ''                 # why what was kept of its leases does not count

    @property
    def error(self) -> str:
        """What an admin must know of the VIF: why it is in quarantine, mute, or lacks something."""
        return self.policy.reason or self.mute or self.waiting

    @property
    def is_known(self) -> bool:
        """Tell whether Dom0 knows the VIF: it has a domain and metadata."""
        return bool(self.vm_uuid)

    def closed(self, reason: str) -> 'Vif':
        """Return the VIF in quarantine.

        It keeps its MAC address: what NORMAL has learned of that would still be delivered.
        """
        return self._replace(policy=quarantine(reason))

    def excused(self, reason: str) -> 'Vif':
        """Return a permissive VIF whose policy is refused: XAPI says what passes."""
        return self._replace(policy=excuse(self.mac, self.locking, reason))

    def bare(self) -> 'Vif':
        """Return the VIF with nothing but its ports, where its MAC address is another's."""
        return self._replace(mac='', networks=())
