"""May the hooks change hands on this host now? Every reason against it, a line each."""
import os
from typing import Iterator, NamedTuple, Tuple

from xsisolate.dataplane.switch_needs import find_lacking
from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.dom0.xapi.xe import is_ha_enabled, read_ended_tasks
from xsisolate.dom0.xen.xenopsd_conf import read_xenopsd_config
from xsisolate.errors import HostError
from xsisolate.paths import OURS, RULES, STOCK, VIF

TASKS_SHOWN = 5
CONSOLE = 'Connection to VM console'        # what xapi calls such a task
HA_DANGER = ('HA is enabled: a restart of the toolstack would fence this host; disable it first '
             '(xe pool-ha-disable), enable it again afterwards')


class Restart(NamedTuple):
    """What a restart of the toolstack would do now."""

    danger: str                     # why it must not be, '' if nothing speaks against it
    lost: Tuple[str, ...] = ()      # tasks that would end undone
    consoles: int = 0               # connections to consoles that it would cut

    def name_lost(self) -> str:
        """Return how many tasks would be lost, and the first of them."""
        return '%d tasks (xe task-list): %s%s' % (
            len(self.lost), ', '.join(self.lost[:TASKS_SHOWN]),
            ', ...' if len(self.lost) > TASKS_SHOWN else '')


def against_activating() -> Iterator[str]:
    """Yield what speaks against taking the hooks over."""
    yield from _unusable_hooks()
    yield from _strangers()
    yield from _poor_switches()


def against_deactivating() -> Iterator[str]:
    """Yield reasons against giving the hooks back: the stock hooks may be missing."""
    for name in (RULES, VIF):
        path = '%s/%s' % (STOCK, name)
        if not os.access(path, os.X_OK):
            yield '%s is missing or cannot be executed: reinstall the package xenopsd' % path


def examine_restart() -> Restart:
    """Return what a restart of this host's toolstack would do."""
    try:
        danger = HA_DANGER if is_ha_enabled() else ''
        tasks = read_ended_tasks(read_host_uuid())
    except HostError as error:
        return Restart('XAPI does not say whether HA is on or which tasks a restart of the '
                       'toolstack would end: %s' % error)
    # A console's viewer connects again, and the VM does not notice.
    lost = [task for task in tasks if task != CONSOLE]
    return Restart(danger, tuple(lost), len(tasks) - len(lost))


def _unusable_hooks() -> Iterator[str]:
    """Yield which of our hooks do not even start; called without arguments they only complain."""
    missing = [name for name in (RULES, VIF) if not os.path.exists('%s/%s' % (OURS, name))]
    if missing:
        yield '%s has no %s: install the package xsisolate on this host' % (
            OURS, ' and no '.join(missing))
    for name in (RULES, VIF) if not missing else ():
        try:
            run(('%s/%s' % (OURS, name),))
        except CommandFailed as error:
            if 'usage: %s' % name in str(error):
                continue
            yield 'our hook does not run: %s' % error
        else:
            yield ('our hook %s/%s, called without arguments, did not print its usage: reinstall '
                   'the package xsisolate' % (OURS, name))


def _strangers() -> Iterator[str]:
    """Yield hooks of other packages that xenopsd calls: these must not be pushed aside."""
    config = read_xenopsd_config()
    for name, hook in ((RULES, config.setup_vif_rules), (VIF, config.vif_script)):
        if os.path.dirname(hook.path) not in (OURS, STOCK):
            yield ('xenopsd calls neither the stock %s nor ours but %s, because of %s: remove that '
                   'first' % (name, hook.path, hook.where))


def _poor_switches() -> Iterator[str]:
    """Yield which bridges are on a datapath that cannot do what every policy needs."""
    try:
        with Ovsdb() as ovsdb:
            for bridge in ovsdb.read_bridge_rows():
                lacking = find_lacking(bridge.name)
                if lacking:
                    yield 'bridge %s: its datapath lacks %s' % (bridge.name, lacking)
    except HostError:
        return          # that Open vSwitch does not answer is said when VIFs are looked at
