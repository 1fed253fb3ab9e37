"""Floods: a port whose VIF may not hear everything is left out of them."""
from xsisolate.dom0.ovs import flow_table
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import Iterable, List, Mapping

NoFlood = Mapping[int, bool]        # by port, as the switch says: is it left out of floods?


def is_hidden(vif: Vif) -> bool:
    """Tell whether a VIF's ports must be left out of floods."""
    return vif.policy.mode > Mode.LOCKED and not vif.policy.permissive


def hide(bridge: str, vifs: Iterable[Vif], now: NoFlood) -> List[int]:
    """Have the switch leave out of floods what must be; return the ports for which it was not so.

    That comes before the VIFs' flows.
    """
    return _set(bridge, vifs, now, True)


class Showing:
    """Has the switch flood to the other ports while their flows change, and from then on.

    That comes before the flows: without theirs frames for a VIF may have to be flooded, and would
    be lost. If the flows do not change after all, its old policy hides it again.
    """

    def __init__(self, bridge: str, vifs: Iterable[Vif], now: NoFlood) -> None:
        self._bridge = bridge
        self._shown = _set(bridge, vifs, now, False)

    def __enter__(self) -> None:
        """Begin to change flows."""

    def __exit__(self, kind: object, error: object, where: object) -> None:
        """End it; an error hides the ports again."""
        if error is not None:
            flow_table.set_no_flood(self._bridge, self._shown, True)


def _set(bridge: str, vifs: Iterable[Vif], now: NoFlood, wanted: bool) -> List[int]:
    return flow_table.set_no_flood(bridge, sorted(
        port.ofport for vif in vifs for port in vif.ports
        if is_hidden(vif) is wanted and now.get(port.ofport) is not wanted), wanted)
