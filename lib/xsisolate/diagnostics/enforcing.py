"""What ends when a configuration is permissive no more: whose VIFs, and what they were spared."""
from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.admin.plugin_protocol import NOW_ADMITTED
from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.bridge_snapshot import make_snapshot, read_vifs
from xsisolate.dataplane.context import HostContext
from xsisolate.errors import HostError
from xsisolate.diagnostics.refused import RefusedReader
from xsisolate.diagnostics.refused_choice import PERMISSIVE
from xsisolate.planner.vif import Vif
from xsisolate.policy.permissive import network_is_permissive


class Spared(NamedTuple):
    """What the record has of frames that a VIF's policy refuses."""

    kinds: int = 0
    frames: int = 0


class Change(NamedTuple):
    """A VIF that is permissive, and what it is with another configuration."""

    vif: Vif                    # as it will be
    vm_name: str                # what XAPI calls the VM; anything may be in it
    spared: Spared
    by_itself: bool             # nothing makes it permissive then but its own policy

    @property
    def ends(self) -> bool:
        """Tell whether it is permissive no more."""
        return not self.vif.policy.is_loose


def compare(dom0: HostContext, after: Configuration) -> List[Change]:
    """Return this host's permissive VIFs, with what they will be by another configuration."""
    spared = read_spared(dom0)
    return [Change(vif, dom0.store.read_text('/local/domain/%d/name' % vif.id.domid) or '',
                   spared.get((vif.id.vif, vif.vm_uuid), Spared()),
                   not any(network_is_permissive(after.config, after.find_network(
                       attached.bridge, attached.network_uuid)) for attached in vif.networks))
            for vif in _read_loose(dom0, after)]


def _read_loose(dom0: HostContext, after: Configuration) -> Iterator[Vif]:
    for bridge in dom0.ovsdb.read_bridges():
        snapshot = make_snapshot(bridge)
        loose = {vif.id for vif in read_vifs(dom0, snapshot) if vif.policy.is_loose}
        then: Sequence[Vif] = read_vifs(dom0._replace(configuration=after),
                                        snapshot) if loose else ()
        yield from (vif for vif in then if vif.id in loose)


def read_spared(dom0: HostContext) -> Mapping[Tuple[str, str], Spared]:
    """Return what the record has of each VIF, by its name on this host and its VM's uuid.

    What policies admit by now is left out.
    """
    found: Dict[Tuple[str, str], Spared] = {}
    try:
        rows = RefusedReader(dom0).read(only=PERMISSIVE).rows
    except HostError:
        return found            # `xsisolate refused` says why; nothing depends on it here
    for one in rows:
        owner = one.row.owner
        if owner and one.because != NOW_ADMITTED:
            before = found.get(owner, Spared())
            found[owner] = Spared(before.kinds + 1, before.frames + one.row.frames)
    return found
