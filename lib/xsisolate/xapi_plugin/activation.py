"""Whose hooks this host's toolstack calls, changed or looked at for `xsisolate pool activate`."""
import sys
from typing import List, Tuple

from xsisolate import __version__
from xsisolate.activation.carry_out import (connect_switch, is_within_reach, take_or_undo,
                                            tell_networkd)
from xsisolate.activation.configuration_file import Permissive, plan_permissive
from xsisolate.activation.desired import Step
from xsisolate.activation.preconditions import (Restart, against_activating, against_deactivating,
                                                examine_restart)
from xsisolate.activation.steps import (forget_ended, is_untouched, needs_restart, plan_steps,
                                        will_need_restart)
from xsisolate.admin.activation_protocol import HookChange
from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError

CUT_OFF = 'QUARANTINE '     # before a VIF in the lines of a step


def change(active: bool, dry_run: bool, permissive: bool = False) -> HookChange:
    """Take the hooks over, or give them back; or tell what that would do.

    `permissive`: the host refuses nothing. `pool activate` makes the pool's configuration so before
    it has a host change, and after it has asked what hosts would do: XAPI is not asked before then.
    Raises HostError if something speaks against it: nothing was changed then.
    """
    configuration = read_configuration()
    if active:
        configuration.check_valid('nothing was changed')
    loose = Permissive(configuration)
    if permissive:
        loose = plan_permissive(configuration, ask_pool=not dry_run)
    if not dry_run:
        forget_ended()
    if not active and is_untouched() and not is_within_reach():
        return _describe([], [], active, dry_run)
    with connect_switch() as ovsdb, Xenstore() as store:
        dom0 = HostContext(ovsdb, store, loose.configuration)
        steps = [*loose.steps, *plan_steps(dom0, active)]
        problems = list(against_activating() if active else against_deactivating()
                        ) if steps else []
        planned = _describe(steps, problems, active, dry_run)
        if dry_run:
            return planned
        if problems:
            raise HostError('%s; nothing was changed' % '; '.join(problems))
        if steps:
            take_or_undo(dom0, steps, active, _note, _note, loose.put_back)
        if active:
            tell_networkd(ovsdb, _note, _note)
    return planned._replace(needs_restart=needs_restart())


def _describe(steps: List[Step], problems: List[str], active: bool, dry_run: bool) -> HookChange:
    restart = examine_restart() if dry_run else Restart('')
    return HookChange(
        __version__, tuple(step.text.splitlines()[0] for step in steps), tuple(problems),
        _find_cut_off(steps) if active else (), restart.lost, restart.danger,
        will_need_restart(active))


def _find_cut_off(steps: List[Step]) -> Tuple[str, ...]:
    lines = [line.strip() for step in steps for line in step.text.splitlines()[1:]]
    return tuple(line[len(CUT_OFF):] for line in lines if line.startswith(CUT_OFF))


def _note(text: str) -> None:
    print(text, file=sys.stderr)        # where xapi's log has it
