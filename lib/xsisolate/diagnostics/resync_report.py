"""What became of the bridges that were reconciled, as `xsisolate sync` and the plugin tell it."""
from typing import Any, Dict, NamedTuple, Tuple

from xsisolate.dataplane.results import BridgeResult
from xsisolate.openflow.flow import Flow


def format_flow(flow: Flow) -> str:
    """Return a flow as `ovs-ofctl dump-flows` prints it."""
    return 'cookie=0x%x, table=%d, priority=%d%s actions=%s' % (
        flow.cookie, flow.table, flow.priority, flow.match and ',' + flow.match, flow.actions)


def describe(outcome: BridgeResult) -> Dict[str, Any]:
    """Return a bridge's outcome as JSON has it."""
    return {'bridge': outcome.bridge, 'error': outcome.error or None,
            'vifs': len(outcome.vifs), 'dead_ports': list(outcome.dead),
            'quarantined': {vif.id.vif: vif.policy.reason
                            for vif in outcome.quarantined},
            'mute': {vif.id.vif: vif.mute for vif in outcome.mute},
            'missing': [format_flow(flow) for flow in outcome.diff.add],
            'settings': [setting._asdict() for setting in outcome.settings],
            'surplus': [format_flow(flow) for flow in outcome.diff.delete]}


class Synced(NamedTuple):
    """What another host says became of one of its bridges, in numbers."""

    bridge: str
    error: str
    vifs: int
    quarantined: int
    missing: int
    needless: int
    settings: int
    dead: int

    @property
    def changes(self) -> int:
        """How much is, or was, not as it should be."""
        return self.missing + self.needless + self.settings + self.dead


def parse_synced(reply: Any) -> Tuple[Synced, ...]:
    """Return what another host's `sync` has said; raise ValueError if it cannot be read."""
    if not isinstance(reply, list):
        raise ValueError('not a list of bridges: %.60r' % (reply,))
    try:
        return tuple(Synced(str(one['bridge']), str(one['error'] or ''), int(one['vifs']), *(
            len(one[key]) for key in ('quarantined', 'missing', 'surplus', 'settings',
                                      'dead_ports'))) for one in reply)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None
