"""What external_ids of the VIFs' Interfaces say: whose they are, and why a VIF hears nothing."""
from xsisolate.dataplane.bridge_snapshot import BridgeSnapshot
from xsisolate.dataplane.context import HostContext
from xsisolate.planner.vif import Vif
from xsisolate.typing_compat import Iterator, NamedTuple

ERROR_KEY = 'xsisolate-error'   # external_ids: why a VIF is quarantined, mute, or waits


class WrongId(NamedTuple):
    """A key of an Interface's external_ids that is not as it should be; '': it is not there."""

    interface: str
    key: str
    actual: str
    desired: str


def find_wrong_ids(snapshot: BridgeSnapshot, vif: Vif) -> Iterator[WrongId]:
    """Yield what is wrong in the external_ids of a VIF's Interfaces.

    networkd makes Interfaces anew when a network becomes a VLAN, and brings none of them along.
    """
    names = {port.name for port in vif.ports}
    desired = dict(vif.external_ids, **{ERROR_KEY: vif.error})
    for port in snapshot.bridge.ports:
        for interface in port.interfaces:
            if interface.name in names:
                for key, value in desired.items():
                    actual = interface.external_ids.get(key, '')
                    if actual != value:
                        yield WrongId(interface.name, key, actual, value)


def set_ids(host: HostContext, snapshot: BridgeSnapshot, vif: Vif) -> None:
    """Have a VIF's Interfaces say whose they are, and why it is in quarantine, mute, or waits."""
    for wrong in find_wrong_ids(snapshot, vif):
        host.ovsdb.set_external_ids(wrong.interface, {wrong.key: wrong.desired or None})
