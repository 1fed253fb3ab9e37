"""What the daemon knows of its host: a record of each bridge, and one of each VIF.

Listeners, guard and work fill in what they learn, and a record goes with its bridge or VIF.
"""
from typing import AbstractSet, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional

from xsisolate.dom0.ovs.idl import BridgeState
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import HOLDERS, Group, Mode
from xsisolate.policy.resolve import asked_groups
from xsisolate.vif_id import VifId, parse_netdev


class Failure(NamedTuple):
    """Why a task fails."""

    since: float
    said: str = ''              # what of it is in syslog


class KnownVif:
    """A VIF that has a port."""

    def __init__(self, vif_id: VifId) -> None:
        self.id = vif_id
        self.failure: Optional[Failure] = None
        self.vm_uuid = ''           # under which xenopsd keeps its metadata
        # What it was programmed to, for as long as the switch reports no change of flows: a guest
        # that writes to no effect then costs a look at what it has written.
        self.programmed: Optional[Vif] = None
        self.last: Optional[Vif] = None     # the same, whatever the switch has reported since
        self.unlocked_for = ''      # the VM for which it is unlocked by right
        self.doubt_until: Optional[float] = None        # when its grace ends
        self.reason = ''            # why it is in quarantine, or mute
        self.would_be = ''          # why it would be in quarantine, were it not permissive
        self.groups: Optional[FrozenSet[str]] = None    # whose members its flows name, if known

    @property
    def is_noted(self) -> bool:
        """Tell whether it was ever looked at."""
        return self.last is not None

    def note(self, vif: Vif, groups: Mapping[str, Group]) -> bool:
        """Note what the VIF was programmed to; True if there is a new reason to say why.

        Of a VIF in quarantine a group's members may be the very reason.
        """
        new = bool(vif.error) and vif.error != self.reason
        self.programmed = vif._replace(mute='')     # as its facts say
        self.last = vif
        self.reason, self.doubt_until = vif.error, None
        self.would_be = vif.policy.would_be
        self.unlocked_for = vif.vm_uuid if vif.policy.mode is Mode.UNLOCKED else ''
        # Each of a managed VIF's networks names those that hold roles on it.
        holders = frozenset([HOLDERS] if vif.policy.mode is not Mode.UNLOCKED else [])
        self.groups = (None if vif.policy.mode is Mode.QUARANTINED
                       else asked_groups(vif.policy.groups, groups) | holders)
        return new


class KnownBridge:
    """A bridge of Open vSwitch."""

    def __init__(self, name: str, state: BridgeState) -> None:
        self.name = name
        self.state = state          # as the database has it
        self.failure: Optional[Failure] = None
        self.compared_at: Optional[float] = None
        self.away_since: Optional[float] = None     # its connection is lost
        self.lost_at: Optional[float] = None        # its flows were lost, and are not back
        self.managed = False        # it must not stand without flows
        self.exposed = ''           # why it may forward what flows forbid
        self.dead: Dict[str, float] = {}    # ports without netdev, and since when

    @property
    def vif_ids(self) -> FrozenSet[VifId]:
        """The VIFs that have a port here."""
        return frozenset(map(parse_netdev, self.state.vifs))

    def see_dead(self, ports: Iterable[str], now: float, seconds: float) -> FrozenSet[str]:
        """Note which ports have no netdev; return the ports that have had none for `seconds`."""
        self.dead = {port: self.dead.get(port, now) for port in ports}
        return frozenset(port for port, since in self.dead.items() if now - since >= seconds)


class KnownHost:
    """All bridges and VIFs."""

    def __init__(self) -> None:
        self.bridges: Dict[str, KnownBridge] = {}
        self.vifs: Dict[VifId, KnownVif] = {}

    def take(self, states: Mapping[str, BridgeState]) -> None:
        """Take in the database's bridges; forget bridges and VIFs that are gone."""
        for name in self.bridges.keys() - states.keys():
            del self.bridges[name]
        for name, state in states.items():
            if name in self.bridges:
                self.bridges[name].state = state
            else:
                self.bridges[name] = KnownBridge(name, state)
        there = {vif for bridge in self.bridges.values() for vif in bridge.vif_ids}
        for vif in self.vifs.keys() - there:
            del self.vifs[vif]
        for vif in there - self.vifs.keys():
            self.vifs[vif] = KnownVif(vif)

    def vif(self, vif_id: VifId) -> KnownVif:
        """Return what is known of a VIF; hooks and switch may hear of it before the database."""
        return self.vifs.setdefault(vif_id, KnownVif(vif_id))

    def vifs_of(self, domid: Optional[int] = None) -> List[VifId]:
        """Return the VIFs of a domain, or all."""
        return sorted(vif for vif in self.vifs if domid in (None, vif.domid))

    def distrust(self) -> None:
        """Take no VIF's flows for granted any more."""
        for vif in self.vifs.values():
            vif.programmed = None

    def bridges_with(self, groups: AbstractSet[str]) -> List[str]:
        """Return the bridges whose flows may name members of one of these groups."""
        return [name for name, bridge in self.bridges.items()
                if any(known is None or not known.isdisjoint(groups)
                       for known in (self.vifs[vif].groups for vif in bridge.vif_ids))]
