"""What became of the bridges that were reconciled, as `xsisolate sync` and the plugin tell it."""
from typing import Any, Dict

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
