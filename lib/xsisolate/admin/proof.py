"""Is what stands in a copy's vm-data the policy that the original's seal was made for?

A seal does not tell what it was made of. But it stands in VIF.other_config, which no guest can
write, and copies carry it along: with the original's uuid and MAC address it either fits the copy's
policy or not.
"""
from typing import Iterator, Optional, Sequence, Tuple

from xsisolate.policy.model import Identity, VifPolicy
from xsisolate.policy.seal import Sealing, judge
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify


def is_policy_of(uuid: str, original: Optional[XapiVm], vif: XapiVif,
                 policy: VifPolicy) -> bool:
    """Tell whether a copy's VIF has the policy that was sealed for the VM of this uuid.

    `original` is that VM, None if XAPI does not have it any more: then the copy must have kept the
    seal and the MAC address.
    """
    return any(judge(who, seal, policy) is Sealing.SEALED
               for who, seal in _proofs(uuid, original, vif))


def _proofs(uuid: str, original: Optional[XapiVm],
            vif: XapiVif) -> Iterator[Tuple[Identity, str]]:
    """Yield the seals that may prove it, each with what it was made for."""
    for source in original.vifs if original else ():
        if source.devid == vif.devid:
            for seal in (source.seal, vif.seal):
                if seal:
                    yield Identity(uuid, vif.devid, source.mac), seal
    if vif.seal:
        yield Identity(uuid, vif.devid, vif.mac), vif.seal


def find_original(vm: XapiVm, vif: XapiVif, policy: Optional[VifPolicy],
                  others: Sequence[XapiVm]) -> Optional[XapiVm]:
    """Return the VM or template of which a VIF's policy is a copy, proven by the seal of both."""
    if not vif.seal or policy is None:
        return None
    return next((other for other in others if other.ref != vm.ref for source in other.vifs
                 if source.devid == vif.devid and source.seal == vif.seal
                 and judge(identify(other, source), source.seal, policy) is Sealing.SEALED), None)
