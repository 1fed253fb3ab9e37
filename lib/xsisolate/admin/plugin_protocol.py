"""What admin/host_call.py asks of a host's plugin, and what xapi_plugin/ answers: both ends.

The pool's hosts may have another release than the one that asks, so what an answer has beyond
what is known here is passed over.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.policy.model import Mode
from xsisolate.policy.seal import Sealing

PLUGIN = 'xsisolate'
REFRESH, EXPLAIN, GROUPS, BRIDGES = 'refresh', 'explain', 'groups', 'bridges'   # functions
NOW_ADMITTED = 'policies admit it now'      # why a row of the record would not be refused any more
NOT_HERE = 'XSISOLATE_NOT_HERE'     # the failure of a host on which the VM does not run


class AppliedVif(NamedTuple):
    """What a VIF does on its host, after the host was asked to apply its policy."""

    device: str
    vif: str                    # its netdev
    bridge: str
    seal: Sealing               # how vm-data and seal go together
    mode: Mode
    groups: Tuple[str, ...]
    error: str                  # why it is in quarantine, mute, or waits; '' if none
    applied: bool               # False: it keeps what it had
    added: int = 0              # flows
    deleted: int = 0
    permissive: bool = False    # only XAPI's locking holds it; `error` says what it would be

    @property
    def is_sealed(self) -> bool:
        """Tell whether seal and vm-data have both reached the host, or neither is there."""
        return self.seal in (Sealing.SEALED, Sealing.NONE)

    @property
    def complaint(self) -> str:
        """Why the policy was not applied."""
        return self.error or 'not on its bridge'

    def describe(self) -> Dict[str, Any]:
        """Return it as the plugin's JSON has it."""
        return dict(self._asdict(), seal=self.seal.name.lower(), mode=self.mode.word,
                    groups=list(self.groups), error=self.error or None)


def describe_reply(vm_uuid: str, vifs: Sequence[AppliedVif]) -> Dict[str, Any]:
    """Return the plugin's answer to `refresh` as JSON has it."""
    return {'vm': vm_uuid, 'vifs': [vif.describe() for vif in vifs]}


def parse_reply(reply: Any) -> List[AppliedVif]:
    """Return what the plugin has answered; raise ValueError if it cannot be read."""
    try:
        return [_parse_vif(vif) for vif in reply['vifs']]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('%s: %s' % (type(error).__name__, error)) from None


def _parse_vif(data: Mapping[str, Any]) -> AppliedVif:
    found = AppliedVif(
        device=str(data['device']), vif=str(data['vif']), bridge=str(data['bridge']),
        seal=Sealing[data['seal'].upper()], mode=Mode[data['mode'].upper()],
        groups=tuple(map(str, data['groups'])), error=str(data['error'] or ''),
        applied=data['applied'], added=int(data['added']), deleted=int(data['deleted']),
        permissive=data.get('permissive') is True)
    if not isinstance(found.applied, bool):
        raise ValueError('applied is neither true nor false: %.40r' % (found.applied,))
    return found
