"""Which VIFs of the pool are in which group, for a host that has to admit those of the others."""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Tuple

from xsisolate.core.model import Config, Mode, Prefix, RemoteMember
from xsisolate.core.policy import find_network, resolve_policy
from xsisolate.core.xapivm import XapiVif, XapiVm, identify, read_policy
from xsisolate.errors import PolicyError

Members = Mapping[str, Tuple[RemoteMember, ...]]        # by group


class Place(NamedTuple):
    """A VIF with its VM and the bridge of its network."""

    vm: XapiVm
    vif: XapiVif
    bridge: str


def find_members(places: Iterable[Place], config: Config, here: str) -> Members:
    """Return every group's members outside the host `here`, in an order of their own.

    A VIF is a member where the hooks of its own host would make it one: it is isolated, and its
    policy is the one that its seal is made for. A VM on its way counts as long as it is, or is
    about to be, on another host: it is admitted with its first frame and until its last.
    """
    found: Dict[str, List[RemoteMember]] = {}
    for place in places:
        elsewhere = {place.vm.host, place.vm.bound_for} - {'', here}
        if not elsewhere or (place.vm.is_live and not place.vif.attached):
            continue
        for group, member in _memberships(place, config):
            found.setdefault(group, []).append(member)
    return {group: tuple(sorted(members, key=_order)) for group, members in found.items()}


def _memberships(place: Place, config: Config) -> List[Tuple[str, RemoteMember]]:
    vm, vif = place.vm, place.vif
    try:
        policy = resolve_policy(identify(vm, vif), vif.seal, vif.locking, read_policy(vm, vif),
                                config, find_network(config, place.bridge, vif.network))
    except PolicyError:
        return []       # its own host quarantines it, and says why
    if policy.mode is not Mode.ISOLATED:
        return []
    member = RemoteMember(vif.network, vif.mac, policy.addresses)
    return [(group, member) for group in sorted(policy.groups)]


def _order(member: RemoteMember) -> Tuple[str, str, List[Prefix]]:
    return member.network, member.mac, sorted(member.addresses)
