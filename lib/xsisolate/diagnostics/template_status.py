"""What a template's or snapshot's policies come to, and what a VM that is made of it will get."""
from typing import Any, Dict, NamedTuple, Optional, Tuple

from xsisolate.admin.vm_lookup import find_target, need_vifs
from xsisolate.config.host_config import Configuration
from xsisolate.diagnostics.permissive import say_would_be
from xsisolate.dom0.xapi.session import Xapi
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, PolicyError
from xsisolate.policy.model import EffectivePolicy, Mode, VifPolicy
from xsisolate.policy.permissive import excuse, is_permissive
from xsisolate.policy.resolve import quarantine, resolve_or_excuse
from xsisolate.policy.seal import Sealing, format_policy, is_portable, state_word
from xsisolate.policy.unprotected import NOT_PROTECTED
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify, judge_vif


class TemplateVif(NamedTuple):
    """A VIF of a template."""

    vif: XapiVif
    bridge: str
    state: Sealing
    policy: Optional[VifPolicy]
    effective: EffectivePolicy      # what this host would make of it for the template itself
    accepted: bool                  # `unsealed: accept`: no seal is looked at
    excused: bool = False           # its network is permissive, and the seal does not enforce

    @property
    def word(self) -> str:
        """How vm-data and seal go together."""
        return state_word(self.state, self.vif.seal)

    @property
    def of_copies(self) -> str:
        """What a VM will get that is made of the template, with its VIFs."""
        if self.vif.unprotected:
            return '%s: %s' % (NOT_PROTECTED, self.vif.unprotected)
        if self.effective.would_be:
            return '%s; it is %s, for its network is permissive' % (
                say_would_be(self.effective), self.effective.mode.word)
        if self.effective.mode is Mode.QUARANTINED:
            return 'is quarantined: ' + self.effective.reason
        if self.policy is None:
            return 'has no policy: it is %s' % self.effective.mode.word
        if self.accepted:
            return 'has this policy: unsealed: accept'
        if is_portable(self.vif.seal):
            return 'has this policy: the seal is portable'
        return '%s quarantined until it is sealed: the seal fits the template alone' % (
            'would be' if self.excused else 'is')

    @property
    def is_good(self) -> bool:
        """Tell whether copies get what an admin meant."""
        refused = self.effective.mode is Mode.QUARANTINED or bool(self.effective.would_be)
        return not self.vif.unprotected and not refused and (
            self.policy is None or self.accepted or is_portable(self.vif.seal))

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        return {'device': self.vif.devid, 'mac': self.vif.mac, 'bridge': self.bridge,
                'seal': self.word, 'policy': format_policy(self.policy) if self.policy else None,
                'mode': self.effective.mode.word, 'permissive': self.effective.permissive,
                'would_be': self.effective.would_be or None, 'copies': self.of_copies,
                'good': self.is_good,
                'not_protected': self.vif.unprotected or None}


class TemplateStatus(NamedTuple):
    """What `status --template` shows."""

    vm: XapiVm
    is_snapshot: bool
    vifs: Tuple[TemplateVif, ...]

    @property
    def code(self) -> int:
        """The exit code: 4 if copies do not get what is written."""
        return EXIT_DONE if all(vif.is_good for vif in self.vifs) else EXIT_DIFFERENT

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        return {'template': self.vm.uuid, 'name': self.vm.name, 'snapshot': self.is_snapshot,
                'vifs': [vif.describe() for vif in self.vifs]}


def read_template(xapi: Xapi, text: str, configuration: Configuration) -> TemplateStatus:
    """Return the state of the template or snapshot that a uuid or name means; raise UsageError."""
    target = find_target(xapi, text, templates=True)
    need_vifs(target)
    record = xapi.call('VM.get_record', target.vm.ref)
    networks = {str(network['uuid']).lower(): str(network['bridge'])
                for network in xapi.call('network.get_all_records').values()}
    return TemplateStatus(target.vm, bool(record['is_a_snapshot']), tuple(
        _look(target.vm, vif, networks.get(vif.network, ''), configuration)
        for vif in target.vifs))


def _look(vm: XapiVm, vif: XapiVif, bridge: str, configuration: Configuration) -> TemplateVif:
    state, policy, error = judge_vif(vm, vif)
    identity = identify(vm, vif)
    config, network = configuration.config, configuration.find_network(bridge, vif.network)
    excused = not configuration.error and is_permissive(identity, vif.seal, None, config, network)
    error = error or configuration.error
    if error:
        effective = excuse(vif.mac, vif.locking, error) if excused else quarantine(error)
    else:
        try:
            effective = resolve_or_excuse(identity, vif.seal, vif.locking, policy, config, network)
        except PolicyError as refusal:
            effective = quarantine(str(refusal))
    return TemplateVif(vif, bridge, state, policy, effective, config.accept_unsealed, excused)
