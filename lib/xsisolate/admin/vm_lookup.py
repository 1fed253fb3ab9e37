"""What an admin does to a VM through XAPI: look it up, change all or nothing, read it back."""
import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.admin.steps import Step
from xsisolate.dom0.xapi.session import ConnectionLost, Xapi, XapiError
from xsisolate.errors import HostError, PolicyError, UsageError
from xsisolate.policy.address import quoted
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import Sealing, explain
from xsisolate.policy.vmdata_writer import natural
from xsisolate.policy.xapi_records import (Call, XapiVif, XapiVm, identify, judge_vif, make_vif,
                                           make_vm)
from xsisolate.vif_id import UUID

PLUGIN = 'xsisolate'
REFRESH_WAIT_S = 15         # so long a host waits for xenopsd to be told
SHOWN_VMS = 8
NOT_HERE = 'XSISOLATE_NOT_HERE'

Connect = Callable[[], Xapi]


class HalfDone(HostError):
    """A change was cut off, and could not be taken back: the message says what stands."""


class Target(NamedTuple):
    """What a command is about: a VM, and its VIFs or one of them."""

    vm: XapiVm
    devid: Optional[str] = None         # None: all of them

    @property
    def vifs(self) -> Tuple[XapiVif, ...]:
        """The VIFs that are meant."""
        return tuple(vif for vif in self.vm.vifs if self.devid in (None, vif.devid))


# --- looking up ------------------------------------------------------------------------------


def find_target(xapi: Xapi, text: str) -> Target:
    """Return what `VM` or `VM/DEVID` means, by uuid or by name; raise UsageError."""
    found = find_vms(xapi, text)
    name, slash, devid = text.rpartition('/')
    if found or not slash or not devid.isdigit():
        return Target(read_vm(xapi, _only(xapi, found, text)))
    target = Target(read_vm(xapi, _only(xapi, find_vms(xapi, name), name)), devid)
    if not target.vifs:
        raise UsageError('VM %s has no VIF %s: it has %s' % (
            quoted(name), devid, ', '.join(vif.devid for vif in target.vm.vifs) or 'none'))
    return target


def find_vms(xapi: Xapi, text: str) -> List[str]:
    """Return the VMs of this uuid or name; neither templates nor snapshots."""
    if UUID.fullmatch(text.lower()):
        try:
            return [str(xapi.call('VM.get_by_uuid', text.lower()))]
        except XapiError as error:
            if error.code != 'UUID_INVALID':
                raise
    return [ref for ref in xapi.call('VM.get_by_name_label', text)
            if is_vm(xapi.call('VM.get_record', ref))]


def is_vm(record: Mapping[str, Any]) -> bool:
    """Tell whether a record of class VM is what people call a VM."""
    return not any(record[key] for key in ('is_a_template', 'is_a_snapshot', 'is_control_domain'))


def _only(xapi: Xapi, found: Sequence[str], text: str) -> str:
    """Return the only VM that was found."""
    if not found:
        raise UsageError('no VM has the uuid or name %s' % quoted(text))
    if len(found) > 1:
        uuids = sorted(str(xapi.call('VM.get_uuid', ref)) for ref in found)
        raise UsageError('%d VMs have the name %s: say the uuid of the one that is meant: %s%s' % (
            len(uuids), quoted(text), ', '.join(uuids[:SHOWN_VMS]),
            ', ...' if len(uuids) > SHOWN_VMS else ''))
    return found[0]


def read_vm(xapi: Xapi, ref: str) -> XapiVm:
    """Return a VM as of now."""
    record = xapi.call('VM.get_record', ref)
    vifs = []
    for vif in record['VIFs']:
        fields = xapi.call('VIF.get_record', vif)
        vifs.append(make_vif(vif, fields, xapi.call('network.get_record', fields['network'])))
    return make_vm(ref, record, vifs)


def read_all(xapi: Xapi) -> List[XapiVm]:
    """Return every VM of the pool that has VIFs, by name and uuid."""
    networks = xapi.call('network.get_all_records')
    vifs: Dict[str, List[XapiVif]] = {}
    for ref, fields in xapi.call('VIF.get_all_records').items():
        if fields['network'] in networks:
            vifs.setdefault(fields['VM'], []).append(
                make_vif(ref, fields, networks[fields['network']]))
    found = [make_vm(ref, record, vifs[ref])
             for ref, record in xapi.call('VM.get_all_records').items()
             if ref in vifs and is_vm(record)]
    return sorted(found, key=lambda vm: (vm.name, vm.uuid))


def need_vifs(target: Target) -> None:
    """Raise UsageError if there is nothing that a policy could be for."""
    if not target.vm.vifs:
        raise UsageError('VM %s (%s) has no VIF: a policy is for VIFs, give it one first'
                         % (quoted(target.vm.name), target.vm.uuid))


def proven_policies(vm: XapiVm, but: Sequence[XapiVif] = ()) -> Dict[str, Optional[VifPolicy]]:
    """Return the policies of a VM's VIFs, each one what its seal is made for; None: neither.

    Those in `but` are left out. Raises PolicyError for one whose vm-data may be the guest's words:
    who writes the others anew would have to leave it open, or bless it.
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


# --- changing --------------------------------------------------------------------------------


def carry_out(xapi: Xapi, steps: Sequence[Step], connect: Connect,
              report: Callable[[Step], None]) -> None:
    """Do all steps, or take back those that were done; raise HalfDone if that fails, too."""
    for number, step in enumerate(steps):
        made = 0
        try:
            for call in step.calls:
                make_call(xapi, call)
                made += 1
        except XapiError as error:
            # nobody knows what came of a call when the connection was lost
            begun = number + bool(made or isinstance(error, ConnectionLost))
            _take_back(xapi, steps[:begun], steps[begun:], connect, error)
        report(step)


def make_call(xapi: Xapi, call: Call) -> None:
    """Make a call whose result does not matter."""
    xapi.call(call.method, *call.args)


def take_back(xapi: Xapi, steps: Sequence[Step], connect: Connect, cause: HostError) -> None:
    """Take back steps that were all done; raise HostError in any case."""
    _take_back(xapi, steps, (), connect, cause)


def _take_back(xapi: Xapi, begun: Sequence[Step], left: Sequence[Step], connect: Connect,
               cause: HostError) -> None:
    """Take back what was begun, the last first; raise HostError in any case."""
    lost: Optional[XapiError] = None
    remaining = list(begun)
    try:
        fresh = connect() if isinstance(cause, ConnectionLost) else None
        try:
            while remaining:
                for call in remaining[-1].undo:
                    make_call(fresh or xapi, call)
                remaining.pop()
        finally:
            if fresh:
                fresh.logout()
    except XapiError as error:
        lost = error
    except HostError as error:
        lost = ConnectionLost('session', error)
    if lost is None:
        raise HostError('%s. %s' % (cause, 'What was done before was taken back: nothing has '
                                    'changed' if begun else 'Nothing was changed'))
    raise HalfDone('%s; and taking it back failed: %s. Half done: %s. Not begun: %s. Run the same '
                   'command again, or xsisolate seal VM --check to see what stands'
                   % (cause, lost, _list([*(step.what for step in remaining[:-1]), *(
                       'perhaps ' + step.what for step in remaining[-1:])]),
                      _list([step.what for step in left])))


def _list(words: Sequence[str]) -> str:
    return '; '.join(words) or 'nothing'


def refresh(xapi: Xapi, vm: XapiVm, seals: Mapping[str, Optional[str]],
            wait: int = REFRESH_WAIT_S) -> List[Dict[str, Any]]:
    """Have the host where a VM runs apply what was written; return what each VIF does now.

    A VM that moves meanwhile is followed once.
    """
    arguments = {'vm': vm.uuid, 'seals': json.dumps(seals, sort_keys=True), 'wait': str(wait)}
    for last in (False, True):
        host = xapi.call('VM.get_resident_on', vm.ref)
        try:
            reply = json.loads(xapi.call('host.call_plugin', host, PLUGIN, 'refresh', arguments))
            vifs = reply['vifs']
            assert isinstance(vifs, list)
            return sorted(vifs, key=lambda vif: natural(str(vif['device'])))
        except XapiError as error:
            if last or error.code != NOT_HERE:
                raise
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise HostError('host %s: its plugin answers nonsense: %s' % (host, error)) from error
    raise AssertionError('the second turn returns or raises')


def check_written(xapi: Xapi, vm: XapiVm, seals: Mapping[str, Optional[str]],
                  data: Mapping[str, str]) -> XapiVm:
    """Return the VM as XAPI has it now; raise HostError if it is not what was written."""
    now = read_vm(xapi, vm.ref)
    wrong = ['VIF %s' % vif.devid for vif in now.vifs
             if vif.devid in seals and vif.seal != seals[vif.devid]]
    wrong += [key for key in sorted(data.keys() | now.data.keys())
              if key.startswith('vm-data/xsisolate/') and data.get(key) != now.data.get(key)]
    if wrong:
        raise HostError('VM %s: XAPI does not have what was written (%s): somebody else writes, '
                        'too. Run the command again' % (vm.uuid, ', '.join(wrong[:5])))
    return now
