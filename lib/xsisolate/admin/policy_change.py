"""A change of policies, planned: what it writes is computed here, once, and nothing is called."""
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.admin.steps import Notes, Seals, Step, write_steps
from xsisolate.errors import PolicyError
from xsisolate.policy.model import SLAAC, Config, EffectivePolicy, Mode, Network, VifPolicy
from xsisolate.policy.resolve import resolve_policy
from xsisolate.policy.seal import is_portable, make_seal
from xsisolate.policy.vmdata_writer import Policies, replace_policy
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify, read_policy

Kinds = Mapping[str, bool]      # by device: is its seal to be portable? Others keep their kind


class PolicyChange(NamedTuple):
    """What giving a VM's VIFs other policies, or seals for those they have, comes to."""

    vm: XapiVm                  # as it was before
    policies: Policies          # by device, of the VIFs that the change is about
    data: Mapping[str, str]     # the VM's xenstore_data, as it shall be
    seals: Seals                # by device, as they shall be
    effective: Mapping[str, EffectivePolicy]    # what the policies come to, by device
    steps: Tuple[Step, ...]     # none if all of it is written already

    @property
    def mute(self) -> List[str]:
        """The devices whose VIFs will pass nothing but DHCP, because they own no address."""
        return [devid for devid, policy in self.effective.items() if self.policies[devid]
                and policy.mode in (Mode.LOCKED, Mode.ISOLATED)
                and not policy.addresses
                and not (self.policies[devid] or VifPolicy()).sources]

    @property
    def portable(self) -> List[str]:
        """The devices whose policies every copy of the VM will have."""
        return [devid for devid, seal in self.seals.items() if is_portable(seal)]

    def write_again(self, vm: XapiVm, now: str) -> Tuple[Step, ...]:
        """Return the steps that hand the domain what XAPI has already."""
        return write_steps(vm, vm.data, self.seals, {}, now, force=True)


def plan_policies(vm: XapiVm, policies: Policies, now: str,
                  notes: Optional[Notes] = None, portable: Optional[Kinds] = None) -> PolicyChange:
    """Return how a VM's VIFs get these policies.

    `policies` names every VIF of the VM; one with None ends without policy and seal. `notes` are
    what relocate remembers. Raises PolicyError unless vm-data made of the policies reads back as
    they are.
    """
    data = replace_policy(vm.data, policies)
    after = vm._replace(data=data)
    for vif in vm.vifs:
        if read_policy(after, vif) != policies[vif.devid]:
            raise PolicyError('VM %s device %s: the policy does not read back as it was meant: '
                              'nothing was written' % (vm.uuid, vif.devid))
    return _plan(vm, policies, data, now, notes or {}, portable or {})


def plan_seals(vm: XapiVm, policies: Policies, now: str,
               portable: Optional[Kinds] = None) -> PolicyChange:
    """Return how policies that stand in vm-data get their seals; vm-data stays as it is."""
    return _plan(vm, policies, vm.data, now, {}, portable or {})


def _plan(vm: XapiVm, policies: Policies, data: Mapping[str, str], now: str,
          notes: Notes, portable: Kinds) -> PolicyChange:
    seals: Dict[str, Optional[str]] = {}
    effective: Dict[str, EffectivePolicy] = {}
    for vif in vm.vifs:
        if vif.devid in policies:
            policy = policies[vif.devid]
            effective[vif.devid] = _resolve(vm, vif, policy)
            seals[vif.devid] = make_seal(
                identify(vm, vif), policy,
                portable.get(vif.devid, is_portable(vif.seal))) if policy else None
    return PolicyChange(vm, policies, data, seals, effective,
                        write_steps(vm, data, seals, notes, now))


def without_slaac(policy: Optional[VifPolicy]) -> Optional[VifPolicy]:
    """Return a policy without what only a host's configuration can make addresses of."""
    return policy and policy._replace(sources=policy.sources - {SLAAC})


def _resolve(vm: XapiVm, vif: XapiVif, policy: Optional[VifPolicy]) -> EffectivePolicy:
    """Return what a policy comes to; raise PolicyError if the host would refuse it.

    That is as far as XAPI can tell: it knows nothing of the host's configuration. The seal is not
    asked for, since it is made of this very policy.
    """
    try:
        return resolve_policy(identify(vm, vif), None, vif.locking, without_slaac(policy),
                              Config(accept_unsealed=True), Network())
    except PolicyError as error:
        raise PolicyError('VM %s device %s: %s' % (vm.uuid, vif.devid, error)) from None
