"""Steps through XAPI, all or nothing; then what was written is read back."""
from typing import Callable, Optional, Sequence

from xsisolate.admin.policy_change import PolicyChange
from xsisolate.admin.steps import Step
from xsisolate.admin.vm_lookup import read_vm
from xsisolate.dom0.xapi.session import ConnectionLost, Xapi, XapiError
from xsisolate.errors import HostError
from xsisolate.policy.vmdata_parser import ROOT
from xsisolate.policy.xapi_records import Call, XapiVm

Connect = Callable[[], Xapi]


class HalfDone(HostError):
    """A change was cut off, and could not be taken back: the message says what stands."""


def carry_out(xapi: Xapi, steps: Sequence[Step], connect: Connect,
              report: Callable[[Step], None]) -> None:
    """Do all steps, or take back the steps that were done; raise HalfDone if that fails, too."""
    for number, step in enumerate(steps):
        made = 0
        try:
            for call in step.calls:
                make_call(xapi, call)
                made += 1
        except XapiError as error:
            # what came of a call is not known when the connection was lost
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


def check_written(xapi: Xapi, change: PolicyChange) -> XapiVm:
    """Return the VM as XAPI has it now; raise HostError if it is not what was written."""
    now, seals, data = read_vm(xapi, change.vm.ref), change.seals, change.data
    wrong = ['VIF %s' % vif.devid for vif in now.vifs
             if vif.devid in seals and vif.seal != seals[vif.devid]]
    wrong += [key for key in sorted(data.keys() | now.data.keys())
              if key.startswith(ROOT) and data.get(key) != now.data.get(key)]
    if wrong:
        raise HostError('VM %s: XAPI does not have what was written (%s): another program or '
                        'administrator writes, too. Run the command again'
                        % (now.uuid, ', '.join(wrong[:5])))
    return now
