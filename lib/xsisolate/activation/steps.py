"""Take the hooks over, or give them back: what differs from that, as steps to be taken.

Nothing is remembered of an earlier run. Each step comes from comparing the host with what it
should be, so a run that failed half-way is simply run again, and `deactivate` is `activate`
with the other answer. Order matters: at no moment may a VIF be without the flows it needs.
"""
import os
from typing import Callable, Iterator, List, Optional

from xsisolate.activation.desired import (OVS_TEXT_FILE, UNITS, Pending, Step, desired_files,
                                          must_restart, switch)
from xsisolate.activation.plugged_vifs import (bridge_steps, key_steps, stock_flow_steps,
                                               stock_rules_steps)
from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dom0.linux import systemd
from xsisolate.dom0.linux.atomic_file import leftovers, put_file, read_file
from xsisolate.dom0.xen.xenopsd_conf import PROCESS, find_process, read_start, read_xenopsd_config
from xsisolate.errors import HostError
from xsisolate.networkd.pif_records import find_told, untell
from xsisolate.paths import HANDED_BACK, OURS, RELEASE, RULES, STOCK, VIF, rooted
from xsisolate.policy.model import Config

TAKEN_OVER = '/run/xsisolate/taken-over'


def is_active() -> bool:
    """Tell whether xenopsd, started now, would call our setup-vif-rules."""
    return read_xenopsd_config().setup_vif_rules.path == '%s/%s' % (OURS, RULES)


def is_stock() -> bool:
    """Tell whether xenopsd, started now, would call the stock setup-vif-rules."""
    return read_xenopsd_config().setup_vif_rules.path == '%s/%s' % (STOCK, RULES)


def check_called() -> None:
    """Raise HostError if xenopsd calls the stock hooks: such a host is not touched."""
    if is_stock():
        raise HostError('xsisolate is not active on this host: xenopsd calls the stock '
                        'setup-vif-rules. No VIF was touched. xsisolate activate takes the host '
                        'over; xsisolate sync --dry-run shows the flows that it would add')


def is_untouched() -> bool:
    """Tell whether xenopsd and udev have nothing of ours to read."""
    return not list(_file_steps(False))


def needs_restart() -> bool:
    """Tell whether the xenopsd that runs calls other hooks than it would if it started now."""
    return must_restart(_read_pending(), _name_xenopsd())


def will_need_restart(active: bool) -> bool:
    """Tell whether that will be so once the hooks are ours, or are not."""
    pending, xenopsd = _read_pending(), _name_xenopsd()
    if is_active() is not active:
        pending = switch(pending, xenopsd, active)
    return must_restart(pending, xenopsd)


def plan_steps(dom0: HostContext, active: bool) -> List[Step]:
    """Return what must be done until the hooks are ours, or are not, in this order."""
    switch_over = list(_file_steps(active))
    if active:
        return [*switch_over, *bridge_steps(dom0), *key_steps(dom0, active),
                *stock_flow_steps(dom0), *_unit_steps(active)]
    # What removes flows comes last, after what puts the stock ones in their place; but a
    # change of fail mode takes away the stock ones, too, so that comes before.
    return [*_unit_steps(active), *_record_steps(dom0), *switch_over, *key_steps(dom0, active),
            *bridge_steps(failing_open(dom0), 'fail_mode'),
            *stock_rules_steps(dom0), *bridge_steps(without_configuration(dom0), released=True)]


def _record_steps(dom0: HostContext) -> Iterator[Step]:
    """Yield what has XAPI's records tell networkd what they did before the daemon's follower."""
    told = find_told()
    if told:
        yield Step('restore what XAPI\'s PIF records of %s said before xsisolate' % ', '.join(told),
                   lambda: untell(dom0.ovsdb))


def failing_open(dom0: HostContext) -> HostContext:
    """Return the host as if its configuration wanted no network to fail closed."""
    config = dom0.configuration.config
    networks = {name: network._replace(fail_closed=False)
                for name, network in config.networks.items()}
    return dom0._replace(configuration=dom0.configuration._replace(
        config=config._replace(networks=networks)))


def without_configuration(dom0: HostContext) -> HostContext:
    """Return the host as if it had no configuration."""
    return dom0._replace(configuration=Configuration(Config()))


# --- files, and the daemons that read them -------------------------------------------------


def _file_steps(active: bool) -> Iterator[Step]:
    """Yield what makes xenopsd, udev and systemd call us, or stop doing so."""
    desired = desired_files(active, _read_ovs_text())
    if not active:
        desired.update({debris: None for path in desired for debris in leftovers(path)})
    changes = {path: text for path, text in desired.items() if read_file(path) != text}
    if is_active() is not active:
        # first of all: hooks that are called although they were given back look at this
        yield Step('note that the running xenopsd has not read the new configuration yet',
                   lambda: _note_switch(active))
    for path, text in sorted(changes.items()):
        yield Step('%s %s' % ('write' if text else 'remove', path), _putter(path, text))
    if changes:
        yield Step('have udev and systemd read the changed files', systemd.reload_files)
        yield Step('see that xenopsd will call %s/*' % (OURS if active else STOCK),
                   lambda: _check_outcome(active))


def _read_ovs_text() -> str:
    text = read_file(os.path.join(RELEASE, OVS_TEXT_FILE))
    if text is None:
        raise HostError('%s is missing: reinstall xsisolate' % os.path.join(RELEASE, OVS_TEXT_FILE))
    return text


def _putter(path: str, text: Optional[str]) -> Callable[[], object]:
    return lambda: put_file(path, text)


def _check_outcome(active: bool) -> None:
    """Raise HostError if some other file has the last word."""
    config = read_xenopsd_config()
    for name, hook in ((RULES, config.setup_vif_rules), (VIF, config.vif_script)):
        if (os.path.dirname(hook.path) == OURS) is not active:
            raise HostError('xenopsd would call %s, because of %s; it should be %s/%s: '
                            'correct that and run this again'
                            % (hook.path, hook.where, OURS if active else STOCK, name))


def _note_switch(active: bool) -> None:
    _write_pending(switch(_read_pending(), _name_xenopsd(), active))


def forget_ended() -> None:
    """Forget a xenopsd that does not know yet, when it has ended."""
    pending = _read_pending()
    if any(pending) and _name_xenopsd() not in pending:
        _write_pending(Pending())


def _write_pending(pending: Pending) -> None:
    put_file(rooted(TAKEN_OVER), pending.taken_over or None)
    put_file(rooted(HANDED_BACK), pending.handed_back or None)


def _read_pending() -> Pending:
    return Pending(*(read_file(rooted(path)) or '' for path in (TAKEN_OVER, HANDED_BACK)))


def _name_xenopsd() -> str:
    """Return pid and start time of the xenopsd that runs, '' if none does."""
    pid = find_process(PROCESS)
    start = read_start(pid) if pid else None
    return '' if start is None else '%s %s' % (pid, start)


def _unit_steps(active: bool) -> Iterator[Step]:
    """Yield the units that must be started and enabled, or stopped."""
    units = systemd.missing_units(UNITS) if active else systemd.present_units(UNITS)
    if units:
        yield Step('%s %s' % ('start' if active else 'stop', ', '.join(units)),
                   lambda: (systemd.start_units if active else systemd.stop_units)(units))
