"""The VMs and VIFs that an admin's words mean, as XAPI has them now."""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from xsisolate.admin.protection import Protection
from xsisolate.dom0.xapi.session import Xapi
from xsisolate.dom0.xapi.vms import find_vms, is_template, is_vm
from xsisolate.errors import PolicyError, UsageError
from xsisolate.policy.address import quoted
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import Sealing, explain
from xsisolate.policy.xapi_records import (XapiVif, XapiVm, identify, judge_vif, make_vif,
                                           make_vm)

SHOWN_VMS = 8


class Selection(NamedTuple):
    """What a command is about: a VM, and its VIFs or one of them."""

    vm: XapiVm
    devid: Optional[str] = None         # None: all of them

    @property
    def vifs(self) -> Tuple[XapiVif, ...]:
        """The VIFs that are meant."""
        return tuple(vif for vif in self.vm.vifs if self.devid in (None, vif.devid))


def find_target(xapi: Xapi, text: str, templates: bool = False) -> Selection:
    """Return what `VM` or `VM/DEVID` means, by uuid or by name; raise UsageError.

    With `templates` it means a template or a snapshot: a VM may have the same name.
    """
    found = find_vms(xapi, text, templates)
    name, slash, devid = text.rpartition('/')
    if found or not slash or not devid.isdigit():
        return Selection(_read_target(xapi, found, text, templates))
    found = find_vms(xapi, name, templates)
    target = Selection(_read_target(xapi, found, name, templates), devid)
    if not target.vifs:
        raise UsageError('%s %s has no VIF %s: it has %s' % (
            kind_of(target.vm), quoted(name), devid,
            ', '.join(vif.devid for vif in target.vm.vifs) or 'none'))
    return target


def _read_target(xapi: Xapi, found: Sequence[str], text: str, templates: bool) -> XapiVm:
    vm = read_vm(xapi, _only(xapi, found, text, templates), Protection(xapi))
    if templates and not vm.is_template:
        raise UsageError('%s is a VM, and neither a template nor a snapshot: leave out --template'
                         % quoted(text))
    return vm


def _only(xapi: Xapi, found: Sequence[str], text: str, templates: bool) -> str:
    """Return the only VM, or template, that was found."""
    if not found:
        others = find_vms(xapi, text, not templates)
        raise UsageError('no %s has the uuid or name %s%s' % (
            'template and no snapshot' if templates else 'VM', quoted(text), '' if not others else
            '; a VM has: leave out --template' if templates else
            '; a template or snapshot has: add --template'))
    if len(found) > 1:
        uuids = sorted(str(xapi.call('VM.get_uuid', ref)) for ref in found)
        raise UsageError('%d %s have the name %s: name the %s by its uuid: %s%s' % (
            len(uuids), 'templates and snapshots' if templates else 'VMs', quoted(text),
            'one' if templates else 'VM', ', '.join(uuids[:SHOWN_VMS]),
            ', ...' if len(uuids) > SHOWN_VMS else ''))
    return found[0]


def kind_of(vm: XapiVm) -> str:
    """Return what messages call it."""
    return 'template' if vm.is_template else 'VM'


def read_vm(xapi: Xapi, ref: str, protection: Optional[Protection] = None) -> XapiVm:
    """Return a VM as of now."""
    record = xapi.call('VM.get_record', ref)
    vifs = []
    for vif in record['VIFs']:
        fields = xapi.call('VIF.get_record', vif)
        network = xapi.call('network.get_record', fields['network'])
        vifs.append(make_vif(vif, fields, network, protection.why_not(record, fields, network)
                             if protection else ''))
    return make_vm(ref, record, vifs)


def read_all(xapi: Xapi, templates: bool = False) -> List[XapiVm]:
    """Return every VM of the pool that has VIFs, or every template, by name and uuid."""
    networks = xapi.call('network.get_all_records')
    vms = xapi.call('VM.get_all_records')
    protection = Protection(xapi)
    wanted = is_template if templates else is_vm
    vifs: Dict[str, List[XapiVif]] = {}
    for ref, fields in xapi.call('VIF.get_all_records').items():
        network, vm = networks.get(fields['network']), vms.get(fields['VM'])
        if network and vm and wanted(vm):
            vifs.setdefault(fields['VM'], []).append(
                make_vif(ref, fields, network, protection.why_not(vm, fields, network)))
    found = [make_vm(ref, vms[ref], own) for ref, own in vifs.items()]
    return sorted(found, key=lambda vm: (vm.name, vm.uuid))


def need_vifs(target: Selection) -> None:
    """Raise UsageError if there is nothing that a policy could be for."""
    if not target.vm.vifs:
        raise UsageError('%s %s (%s) has no VIF: a policy is for VIFs, give it one first'
                         % (kind_of(target.vm), quoted(target.vm.name), target.vm.uuid))


def proven_policies(vm: XapiVm, but: Sequence[XapiVif] = ()) -> Dict[str, Optional[VifPolicy]]:
    """Return the policies of a VM's VIFs, each one what its seal is made for; None: neither.

    VIFs in `but` are left out. Raises PolicyError for a VIF whose vm-data the guest may have
    written: writing the other VIFs' policies would either leave it open or seal it.
    """
    found: Dict[str, Optional[VifPolicy]] = {}
    for vif in vm.vifs:
        if vif in but:
            continue
        state, policy, error = judge_vif(vm, vif)
        if state not in (Sealing.SEALED, Sealing.NONE):
            raise PolicyError(
                'VM %s (%s): %s. Nothing was written: the guest may have written what is there. '
                'Look at it (xsisolate seal %s --canonical); then seal it, or begin anew '
                '(xsisolate set %s --replace ..., xsisolate unset %s)' % (
                    quoted(vm.name), vm.uuid, error or explain(state, identify(vm, vif), vif.seal,
                                                               policy), *(3 * (vm.uuid,))))
        found[vif.devid] = policy
    return found
