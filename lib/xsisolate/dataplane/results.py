"""What came of a change: to a VIF, or to a whole bridge."""
from xsisolate.dataplane.in_band import Deviation
from xsisolate.errors import EXIT_DONE
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.plan import Plan
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import NamedTuple, Tuple


class VifResult(NamedTuple):
    """What a bridge carries now for a VIF, and for the VIFs that its event concerned."""

    vif: Vif
    plan: Plan
    diff: FlowDiff = FlowDiff()
    stale: bool = False     # the switch may still know verdicts that are not right any more
    spared: bool = False    # nothing was done, for the caller wanted it so
    silenced: str = ''      # whose flows of in-band control had to be switched off
    # What a plug has done besides.
    network: str = ''       # the bridge's name as XAPI has it
    ofport: int = 0
    fresh: bool = False     # the port is new on this bridge
    exposed: str = ''       # why the bridge may forward what our flows forbid


class BridgeResult(NamedTuple):
    """What became of a bridge, or what would become of it."""

    bridge: str
    vifs: Tuple[Vif, ...] = ()
    diff: FlowDiff = FlowDiff()
    settings: Tuple[Deviation, ...] = ()    # of ports and the bridge
    dead: Tuple[str, ...] = ()      # ports that are taken off: their netdev has been gone for long
    error: str = ''
    exit_code: int = EXIT_DONE      # of the error
    closed: bool = False            # nothing passes its VIFs, for it could not be programmed
    exposed: str = ''               # why the bridge may forward what flows of managed VIFs forbid
    managed: bool = False           # it has VIFs with flows, also ones that were left alone

    @property
    def changed(self) -> bool:
        """Tell whether anything was, or would be, changed."""
        return bool(self.diff.add or self.diff.delete or self.settings or self.dead)

    @property
    def quarantined(self) -> Tuple[Vif, ...]:
        """The VIFs whose policy must not be applied."""
        return tuple(vif for vif in self.vifs if vif.policy.mode is Mode.QUARANTINED)

    @property
    def mute(self) -> Tuple[Vif, ...]:
        """The unmanaged VIFs of which nothing passes."""
        return tuple(vif for vif in self.vifs if vif.mute)
