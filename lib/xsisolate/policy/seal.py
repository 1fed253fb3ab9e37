"""The seal: the fingerprint of the policy that an admin meant.

vm-data belongs to the guest, VIF.other_config does not. So a policy in vm-data
counts only if VIF.other_config carries its fingerprint. A bound seal is taken over
the VIF that the policy is meant for: a clone, another device or another MAC address
has another one. A portable seal is taken over policy and device alone, so it fits
every copy of the VM. docs/seal.md says how other tools compute both.
"""
import json
import re
from enum import Enum

from xsisolate.policy.address import format_own, format_prefix, quoted
from xsisolate.policy.model import ANYTHING, Identity, Peer, Prefix, VifPolicy
from xsisolate.policy.service import format_direction, format_service
from xsisolate.policy.vmdata_parser import EXTERNAL, WHITE
from xsisolate.quick_imports import sha256
from xsisolate.typing_compat import Callable, Dict, List, Optional, Tuple, Union

SEAL_KEY = 'xsisolate-seal'     # in VIF.other_config
BOUND, PORTABLE = '1', '2'      # versions; the second does not say for which VM
VERSIONS = (BOUND, PORTABLE)
ENFORCED = ':enforced'          # behind the seal of a policy that says permissive=no
SEAL = re.compile('([0-9]+):([0-9a-f]{64})(%s)?' % ENFORCED)
PORTABLE_WORD = 'portable'      # for SEALED, where the seal is of that version
PORTABLE_SEALED = 'sealed, portable: the seal fits every copy of the VM'
PORTABLE_CHANGED = 'the portable seal is not that of this policy and device'

Canonical = Dict[str, Union[str, List[str]]]


class Sealing(Enum):
    """How vm-data and the seal go together; the value is what an admin reads."""

    NONE = 'no policy and no seal'
    SEALED = 'sealed'
    UNSEALED = 'the vm-data has a policy and the VIF no seal'
    MISSING = 'the VIF has a seal and the vm-data no policy'
    UNREADABLE = 'the seal is malformed'
    VERSION = 'the seal is of another version'
    CHANGED = 'the seal is not that of this policy, VM, device and MAC address'


def make_seal(vif: Identity, policy: VifPolicy, portable: bool = False) -> str:
    """Return the seal of a VIF's policy."""
    digest = sha256(format_canonical(vif, policy, portable).encode('utf-8')).hexdigest()
    return '%s:%s%s' % (PORTABLE if portable else BOUND, digest,
                        ENFORCED if policy.permissive is False else '')


def is_enforced(seal: Optional[str]) -> bool:
    """Tell whether a seal says that its VIF is not permissive, whatever the guest writes."""
    return bool(_version_of(seal)) and _normal(seal).endswith(ENFORCED)


def _normal(seal: Optional[str]) -> str:
    return (seal or '').strip(WHITE).lower()


def format_canonical(vif: Identity, policy: VifPolicy, portable: bool = False) -> str:
    """Return the text that the fingerprint is taken over.

    That of a portable seal has fewer keys, so no text is that of seals of both versions.
    """
    keys: Dict[str, object] = {'device': vif.devid, 'policy': canonical_policy(policy)}
    if not portable:
        keys.update(mac=vif.mac.lower(), vm=vif.vm_uuid.lower())
    return json.dumps(keys, sort_keys=True, separators=(',', ':'), ensure_ascii=False)


def is_portable(seal: Optional[str]) -> bool:
    """Tell whether a seal fits every copy of its VM."""
    return _version_of(seal) == PORTABLE


def _version_of(seal: Optional[str]) -> str:
    match = SEAL.fullmatch(_normal(seal))
    return match.group(1) if match else ''


def canonical_policy(policy: VifPolicy) -> Canonical:
    """Return a policy's keys as every tool must seal them; absent ones are left out."""
    return _format_policy(policy, _canonical_peer, format_prefix)


def format_policy(policy: VifPolicy) -> Canonical:
    """Return a policy's keys as vm-data has them; absent ones are left out."""
    return _format_policy(policy, format_peer, format_own)


def _format_policy(policy: VifPolicy, peer: Callable[[Peer], str],
                   own: Callable[[Prefix], str]) -> Canonical:
    out: Canonical = {} if policy.mode is None else {'mode': policy.mode.word}
    if policy.permissive is not None:
        out['permissive'] = 'yes' if policy.permissive else 'no'
    if policy.groups is not None:
        out['groups'] = sorted(policy.groups)
    if policy.allow is not None:
        out['allow'] = sorted(map(peer, policy.allow))
    for key, addresses in (('ipv4', policy.ipv4), ('ipv6', policy.ipv6),
                           ('shared', policy.shared)):
        if addresses is not None:
            words = [source.word for source in policy.sources if source.key == key]
            out[key] = sorted([*map(own, addresses), *words])
    if policy.roles is not None:
        out['roles'] = sorted(policy.roles)
    if policy.mac is not None:
        out['mac'] = sorted(policy.mac)
    return out


def judge(vif: Identity, seal: Optional[str], policy: Optional[VifPolicy]) -> Sealing:
    """Return how a seal and a VIF's policy go together; None where there is none."""
    if seal is None:
        return Sealing.NONE if policy is None else Sealing.UNSEALED
    version = _version_of(seal)
    if version not in VERSIONS:
        return Sealing.VERSION if version else Sealing.UNREADABLE
    if policy is None:
        return Sealing.MISSING
    wanted = make_seal(vif, policy, version == PORTABLE)
    return Sealing.SEALED if wanted == _normal(seal) else Sealing.CHANGED


def state_word(state: Sealing, seal: Optional[str]) -> str:
    """Return in a word how vm-data and seal go together."""
    portable = state is Sealing.SEALED and is_portable(seal)
    return PORTABLE_WORD if portable else state.name.lower()


def state_text(state: Sealing, seal: Optional[str]) -> str:
    """Return the same in a sentence."""
    texts = {Sealing.SEALED: PORTABLE_SEALED, Sealing.CHANGED: PORTABLE_CHANGED}
    return texts.get(state, state.value) if is_portable(seal) else state.value


def explain(state: Sealing, vif: Identity, seal: Optional[str],
            policy: Optional[VifPolicy]) -> str:
    """Return what is wrong with a VIF's seal and what to do, for an admin's eyes."""
    return '%s of device %s: %s: %s' % (SEAL_KEY, vif.devid, state_text(state, seal),
                                        _advise(state, vif, seal and seal.strip(WHITE), policy))


def _advise(state: Sealing, vif: Identity, seal: Optional[str],
            policy: Optional[VifPolicy]) -> str:
    if state is Sealing.UNSEALED:
        return ('the guest may have written it, or the VM is a copy without seals. Run '
                '`xsisolate seal` for VM %s if an admin meant it, or set `unsealed: accept` in '
                'xsisolate.yaml to trust every guest'
                % vif.vm_uuid)
    if state is Sealing.MISSING:
        return ('the guest may have removed it. Write it again (`xsisolate set`), or take the '
                'seal out of VIF.other_config')
    if state in (Sealing.UNREADABLE, Sealing.VERSION):
        return ('read %s, expected %s and 64 hex digits. Run `xsisolate seal` for VM %s'
                % (quoted(seal or ''), ' or '.join(version + ':' for version in VERSIONS),
                   vif.vm_uuid))
    if is_portable(seal):
        return ('read %.18s..., expected %.18s.... Copies of a VM keep such a seal, so the policy '
                'was changed, or never was the one that was sealed. If an admin meant what is in '
                'vm-data now, run `xsisolate seal %s`; else write the policy again '
                '(`xsisolate set`)' % (seal, make_seal(vif, policy or VifPolicy(), True),
                                       vif.vm_uuid))
    return ('read %.18s..., expected %.18s... for VM %s, MAC %s. A copy of a VM (clone, restore, '
            'import, disaster recovery) has another uuid or MAC address; else the policy was '
            'changed. If an admin meant what is in vm-data now, run `xsisolate seal %s`; else '
            'write the policy again (`xsisolate set`)'
            % (seal, make_seal(vif, policy or VifPolicy()), vif.vm_uuid, vif.mac,
               vif.vm_uuid))


def format_peer(peer: Peer) -> str:
    """Return an entry of an allow list as vm-data has it.

    >>> format_peer(Peer(Prefix(4, 0x0a000001, 32)))
    '10.0.0.1'
    """
    direction, service, where = _format_parts(peer)
    return direction + ('%s@%s' % (service, where) if service else where)


def _canonical_peer(peer: Peer) -> str:
    """Return an entry as it is sealed: a spelling that stays, so that seals go on fitting."""
    direction, service, where = _format_parts(peer)
    return direction + ('%s;%s' % (where, service) if service else where)


def _format_parts(peer: Peer) -> Tuple[str, str, str]:
    """Return an entry's direction, its service and whom it is about, empty where there is none."""
    service = peer.service
    return (format_direction(service) if service else '',
            format_service(service) if service and service.protocol != ANYTHING else '',
            EXTERNAL if peer.prefix is None else format_prefix(peer.prefix))
