"""A VM's isolation on its way: what its seals say before and after, and what protects it there."""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from xsisolate.policy.vmdata_writer import as_words
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import (SEAL_KEY, Sealing, canonical_policy, explain, is_portable,
                                   make_seal, state_word)
from xsisolate.policy.unprotected import NOT_PROTECTED, find_linux_backend, find_sriov
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify, judge_vif
from xsisolate.dom0.xapi.session import Xapi, XapiError, one_line
from xsisolate.errors import PolicyError
from xsisolate.migratevm.cargo import Pool

PLUGIN, PING = 'xsisolate', 'groups'
GOOD = (Sealing.SEALED, Sealing.NONE)


class Guarded(NamedTuple):
    """A VIF, and how its policy and seal go together."""

    vm: XapiVm
    vif: XapiVif
    state: Sealing
    policy: Optional[VifPolicy]
    error: str                  # why what is there is not a policy

    @property
    def good(self) -> bool:
        """Tell whether it is as an admin meant it."""
        return self.state in GOOD

    @property
    def word(self) -> str:
        """How policy and seal go together, in a word."""
        return state_word(self.state, self.vif.seal)

    @property
    def words(self) -> str:
        """Its policy, in one line."""
        return as_words(self.policy)

    @property
    def complaint(self) -> str:
        """What is wrong, and what to do."""
        return self.error or explain(self.state, identify(self.vm, self.vif), self.vif.seal,
                                     self.policy)

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        return {'device': self.vif.devid, 'state': self.word,
                'policy': canonical_policy(self.policy) if self.policy else None,
                'error': None if self.good else self.complaint}


def judge_vm(vm: XapiVm) -> List[Guarded]:
    """Return how policies and seals of a VM go together."""
    return [Guarded(vm, vif, *judge_vif(vm, vif)) for vif in vm.vifs]


def is_isolated(vifs: Sequence[Guarded]) -> bool:
    """Tell whether an admin, or the guest, has written anything that is to protect it."""
    return any(one.state is not Sealing.NONE for one in vifs)


def check_protection(xapi: Xapi, pool: Pool, vifs: Sequence[Guarded], allowed: bool) -> List[str]:
    """Return warnings on the destination's hosts; raise PolicyError for an isolated VM.

    Seals mean nothing to a host without the hooks: there every host of the network would reach the
    VM. A host that cannot be asked counts as one without them.
    """
    bare = [(str(record['name_label']), why) for ref, record in sorted(pool.hosts.items())
            for why in [ask_host(xapi, ref)] if why]
    if not bare:
        return []
    text = 'xsisolate is not known to run on %s' % ', '.join(
        '%s (%s)' % (one_line(name), why) for name, why in bare)
    if not is_isolated(vifs):
        return [text]
    if not allowed:
        raise PolicyError('destination: %s, and the VM has a policy that would not be enforced '
                          'there: install xsisolate, or say --allow-unprotected. Nothing was sent'
                          % text)
    return ['%s: the VM\'s policy is not enforced there (--allow-unprotected)' % text]


def check_networks(xapi: Xapi, pool: Pool, names: Mapping[str, str], vifs: Sequence[Guarded],
                   allowed: bool) -> List[str]:
    """Return warnings on the destination's networks; raise PolicyError for an isolated VIF.

    `names` are name-labels by the VIF's reference. On an SR-IOV network, and on Linux bridges, no
    flow can enforce a policy.
    """
    open_ones = find_open_networks(xapi, pool)
    found = []
    for one in vifs:
        why = open_ones.get(names[one.vif.ref], '')
        if not why:
            continue
        text = 'VIF %s will be %s at the destination, on network %s: %s' % (
            one.vif.devid, NOT_PROTECTED, one_line(names[one.vif.ref]), why)
        if one.state is not Sealing.NONE and not allowed:
            raise PolicyError('%s, and it has a policy: choose another network, or say '
                              '--allow-unprotected. Nothing was sent' % text)
        found.append(text)
    return found


def find_open_networks(xapi: Xapi, pool: Pool) -> Dict[str, str]:
    """Return why VIFs of the destination's networks are not protected, by name-label."""
    networks = xapi.call('network.get_all_records')
    backend = find_linux_backend(pool.hosts)
    pifs = xapi.call('PIF.get_all_records')
    fast = {} if not any(pif.get('sriov_logical_PIF_of') for pif in pifs.values()) else (
        find_sriov(pifs, xapi.call('VLAN.get_all_records')))
    return {str(record['name_label']): why for ref, record in networks.items()
            for why in [fast.get(ref) or backend] if why}


def ask_host(xapi: Xapi, ref: str) -> str:
    """Return why a host is not known to have xsisolate; '' if it has."""
    try:
        xapi.call('host.call_plugin', ref, PLUGIN, PING, {})
    except XapiError as error:
        if error.code == 'XENAPI_MISSING_PLUGIN':
            return 'not installed'
        return 'it could not be asked: %s' % one_line(error.code)
    return ''


def find_portable(vifs: Sequence[Guarded]) -> List[Guarded]:
    """Return the VIFs whose policies every copy of the VM has, without being sealed again."""
    return [one for one in vifs if one.policy and one.good and is_portable(one.vif.seal)]


def find_resealable(before: Sequence[Guarded], after: Sequence[Guarded]) -> List[Guarded]:
    """Return the VIFs that only need a new seal: the policy is the one that was proven before.

    A guest may have written to its vm-data since: what differs is not sealed here. The new seal is
    for this VM alone: what had a portable one fits already.
    """
    proven = {one.vif.devid: one.policy for one in before if one.state is Sealing.SEALED}
    return [one for one in after if not one.good and one.policy is not None
            and proven.get(one.vif.devid) == one.policy]


def reseal(xapi: Xapi, one: Guarded) -> None:
    """Write the seal that a VIF's policy needs where it is now."""
    assert one.policy is not None
    seal = make_seal(identify(one.vm, one.vif), one.policy)
    xapi.call('VIF.remove_from_other_config', one.vif.ref, SEAL_KEY)
    xapi.call('VIF.add_to_other_config', one.vif.ref, SEAL_KEY, seal)
