"""Permissive VIFs: their policies are judged and not enforced, and XAPI's locking mode counts."""
from xsisolate.policy.address import format_prefix, with_link_local
from xsisolate.policy.model import (Config, EffectivePolicy, Identity, Locking, Mode, Network,
                                    VifPolicy)
from xsisolate.policy.seal import Sealing, is_enforced, judge
from xsisolate.quick_imports import sha256
from xsisolate.typing_compat import Optional


def excuse(mac: str, locking: Locking, reason: str) -> EffectivePolicy:
    """Return what a permissive VIF may do whose policy is refused."""
    return beneath(mac, locking)._replace(would_be='quarantined: ' + reason)


def beneath(mac: str, locking: Locking) -> EffectivePolicy:
    """Return what a VIF may do by XAPI's own locking mode alone."""
    if locking.mode is not Mode.LOCKED:
        return EffectivePolicy(locking.mode)
    return EffectivePolicy(Mode.LOCKED, locking.ipv4 | with_link_local(mac, locking.ipv6))


def beneath_word(locking: Locking) -> str:
    """Return in a word what XAPI's own locking mode allows."""
    if locking.mode is not Mode.LOCKED:
        return '=' + locking.mode.word
    fence = ' '.join(map(format_prefix, sorted(locking.ipv4 | locking.ipv6)))
    return '=%s-%s' % (locking.mode.word, sha256(fence.encode()).hexdigest()[:16])


def is_permissive(vif: Identity, seal: Optional[str], vmdata: Optional[VifPolicy],
                  config: Config, network: Network) -> bool:
    """Tell whether a VIF is judged only.

    No guest makes its own VIF so: its vm-data count if the seal fits. Nor does one undo what an
    admin has said by a change of its vm-data: the seal says that, too.
    """
    said = vmdata.permissive if vmdata else None
    if is_enforced(seal) or said is False and config.accept_unsealed:
        return False
    if said and judge(vif, seal, vmdata) is Sealing.SEALED:
        return True
    return network_is_permissive(config, network)


def network_is_permissive(config: Config, network: Network) -> bool:
    """Tell whether the VIFs of a network are judged only, if their policies say nothing of it."""
    return config.permissive if network.permissive is None else network.permissive


def as_permissive(policy: EffectivePolicy, mac: str, locking: Locking) -> EffectivePolicy:
    """Return a policy as one that is judged only, where it refuses more than XAPI does."""
    below = beneath(mac, locking)
    if policy == below or below.mode is Mode.DISABLED:
        return policy
    if policy.mode > Mode.ISOLATED:
        return below._replace(would_be='%s: its policy lets nothing pass' % policy.mode.word)
    return policy._replace(permissive=policy.mode is not Mode.UNLOCKED)
