"""Carry a change of the hooks out: all steps, or the host as it was."""
from typing import Callable, Sequence

from xsisolate.activation.desired import Step
from xsisolate.activation.steps import is_active, plan_steps
from xsisolate.dataplane.context import HostContext
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError, XsisolateError
from xsisolate.networkd.pif_records import tell_now

COMMAND = {True: 'activate', False: 'deactivate'}
Say = Callable[[str], None]


def connect_switch() -> Ovsdb:
    """Return a connection to Open vSwitch, without which no VIF can be isolated."""
    try:
        return Ovsdb()
    except HostError as error:
        raise HostError('%s; isolation needs it (xe-switch-network-backend openvswitch); nothing '
                        'was changed' % error) from error


def is_within_reach() -> bool:
    """Tell whether there are xenstored and Open vSwitch, as there must be for a VIF."""
    try:
        with Ovsdb(), Xenstore():
            return True
    except HostError:
        return False


def take_or_undo(dom0: HostContext, steps: Sequence[Step], active: bool, say: Say,
                 complain: Say, put_back: Callable[[], object] = lambda: None) -> None:
    """Take all steps, or leave the host as it was: with the hooks of the one or of the other.

    `put_back` takes back what the first steps have done to the configuration.
    """
    before = is_active()
    try:
        take(steps, say)
    except HostError as error:
        if before is active:    # a repair of what was there: what is done of it is good
            put_back()
            raise HostError('%s; correct this and run it again' % error) from error
        complain('xsisolate: %s; taking everything back' % error)
        try:
            take(plan_steps(dom0, before), say)
            put_back()
        except HostError as second:
            raise HostError('nor could everything be taken back: %s; correct this and run '
                            '`xsisolate %s`' % (second, COMMAND[before])) from error
        raise HostError('nothing has changed after all') from error
    Log('xsisolate', stderr=False).info(COMMAND[active] + 'd', steps=len(steps))


def take(steps: Sequence[Step], say: Say) -> None:
    """Take steps; one that fails ends it."""
    for number, step in enumerate(steps, 1):
        say('%d/%d %s' % (number, len(steps), step.text))
        try:
            step.act()
        except XsisolateError as error:
            raise HostError('could not %s: %s' % (step.text.splitlines()[0], error)) from error


def tell_networkd(ovsdb: Ovsdb, say: Say, complain: Say) -> None:
    """Have networkd leave bridges as they are set, before the toolstack's restart plugs all PIFs.

    The daemon's follower does the same from now on, so a failure does not undo the activation.
    """
    try:
        told = tell_now(ovsdb)
        error = told.error
    except HostError as failure:
        error = str(failure)
    else:
        for bridge in told.changed:
            say('XAPI\'s PIF record of %s tells networkd what the bridge is set to' % bridge)
    if error:
        complain('xsisolate: networkd could not be told what bridges are set to: %s. It sets them '
                 'back when a PIF is plugged; the daemon tells it as soon as XAPI lets it' % error)
