"""Is xapi's toolstack set up so that our hooks run: xenopsd, udev, units, plugged VIFs' keys?"""
import os
from typing import Callable, Dict, Iterator, List

from xsisolate.activation.desired import DAEMON, DROP_IN, DROP_IN_FOLDERS, SERVER
from xsisolate.activation.steps import needs_restart
from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.finding import Finding, ok, problem, warning
from xsisolate.diagnostics.inventory import Inventory
from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.dom0.linux.udev_rules import find_vif_programs
from xsisolate.dom0.xapi.local_db import read_local
from xsisolate.dom0.xen.xenopsd_conf import (BUILT_IN, PROCESS, Hook, XenopsdConfig,
                                             read_xenopsd_config)
from xsisolate.paths import rooted
from xsisolate.policy.address import quoted

MARK = 'xsisolate'          # it is in each of our hooks, and in none of the stock ones
MARK_WITHIN = 4096          # bytes
RULES_KEY = 'setup-vif-rules'
RESTART = 'restart the toolstack (xe-toolstack-restart) when HA is off and no task runs'
ACTIVATE = 'xsisolate activate'


def is_ours(path: str) -> bool:
    """Tell whether a script is one of our hooks."""
    try:
        with open(rooted(path), 'rb') as file:
            return MARK.encode() in file.read(MARK_WITHIN)
    except OSError:
        return False


def examine_xenopsd() -> Iterator[Finding]:
    """Yield which hooks xenopsd runs."""
    config = read_xenopsd_config()
    rules, vif = is_ours(config.setup_vif_rules.path), is_ours(config.vif_script.path)
    yield _examine_hook('hook setup-vif-rules', config.setup_vif_rules, True)
    yield _examine_hook('hook vif', config.vif_script, rules and vif)
    yield _examine_udev(vif)
    yield _examine_process(config, rules)


def _examine_process(config: XenopsdConfig, rules_are_ours: bool) -> Finding:
    """Return whether the xenopsd that runs has read what it would read now."""
    ours = ['%s/%s' % (folder, DROP_IN) for folder in DROP_IN_FOLDERS]
    # `activate` notes which xenopsd has not read our own file, so its time does not matter.
    changed = [path for path in config.changed if path not in ours]
    if config.pid is None:
        return warning('xenopsd', 'it does not run', PROCESS, 'start the toolstack '
                       '(xe-toolstack-restart); no VM can be started or stopped without it')
    if needs_restart():
        return problem('xenopsd', 'process %d does not know yet that the hooks have changed hands, '
                       'and calls %s' % (config.pid, 'the stock ones' if rules_are_ours else
                                         'ours, which hand over to the stock ones'),
                       'a start after that', RESTART)
    if changed:
        return problem('xenopsd', 'it runs since before %s changed, and reads that only when it '
                       'starts' % ', '.join(changed), 'a start after the last change', RESTART)
    return ok('xenopsd', 'process %d, with %s' % (config.pid, ', '.join(config.files)
                                                  or 'no configuration file'))


def _examine_hook(what: str, hook: Hook, wanted: bool) -> Finding:
    found = '%s (%s)' % (hook.path, hook.where)
    if not os.access(rooted(hook.path), os.X_OK):
        return problem(what, '%s is not there or cannot be executed' % found, 'a script',
                       '%s: xenopsd does not start again without it' % (
                           'reinstall xenopsd' if hook.where == BUILT_IN
                           else 'correct ' + hook.where))
    if is_ours(hook.path):
        return ok(what, found)
    if wanted:
        return problem(what, found + ' is not ours', 'the hook of xsisolate', ACTIVATE)
    return ok(what, found + ', the stock one; it calls our setup-vif-rules')


def _examine_udev(vif_is_ours: bool) -> Finding:
    runs = [rule for rule in find_vif_programs('online') if os.path.basename(rule.program) == 'vif']
    found = ', '.join('%s (%s)' % rule for rule in runs) or 'no rule'
    if len(runs) != 1:
        return problem('udev rule', found, 'one rule that runs the vif script for a VIF\'s events',
                       'reinstall xenopsd, then ' + ACTIVATE)
    if is_ours(runs[0].program) is not vif_is_ours:
        return problem('udev rule', found, 'the same vif script as xenopsd\'s vif-script',
                       ACTIVATE + ' (or deactivate): plugging and moving must do the same')
    return ok('udev rule', found)


def examine_ha() -> Iterator[Finding]:
    """Yield whether a restart of the toolstack would fence this host."""
    armed = read_local('ha.armed')
    if armed == 'false':
        yield ok('HA', 'not armed')
    elif armed == 'true':
        yield warning('HA', 'armed on this host', 'off, before the toolstack is restarted',
                      'disable it before activate, deactivate and xe-toolstack-restart: with HA '
                      'these fence the host')
    else:
        yield warning('HA', 'unknown: xapi\'s local database does not say' + (
            '' if armed is None else ' true or false but %s' % quoted(armed)),
            'not armed', 'see whether HA is on (xe pool-list params=ha-enabled) before the '
            'toolstack is restarted: with HA that fences the host')


def examine_units() -> Iterator[Finding]:
    """Yield whether the daemon and the hooks' server run, and will after a boot."""
    yield _examine_unit('daemon', DAEMON, problem,
                        'without it a restart of Open vSwitch leaves VIFs without flows')
    yield _examine_unit('hook server', SERVER, warning,
                        'without it hooks do the same, but take longer')


def _examine_unit(what: str, unit: str, judge: Callable[..., Finding], why: str) -> Finding:
    try:
        text = run(('systemctl', 'show', '-p', 'ActiveState', '-p', 'UnitFileState', unit))
    except CommandFailed as error:
        return judge(what, str(error), unit + ' active and enabled', 'look at systemd; ' + why)
    values = {key: value for key, _, value in (
        line.partition('=') for line in text.splitlines())}
    state, enabled = values.get('ActiveState', ''), values.get('UnitFileState', '')
    if (state, enabled) == ('active', 'enabled'):
        return ok(what, unit + ' is active and enabled')
    return judge(what, '%s is %s and %s' % (unit, state or 'unknown', enabled or 'not installed'),
                 'active and enabled', 'systemctl enable --now %s; %s' % (unit, why))


def examine_keys(dom0: HostContext, inventory: Inventory) -> Iterator[Finding]:
    """Yield which script will be run when VIFs that are plugged now are unplugged or refreshed."""
    scripts: Dict[str, List[str]] = {}
    for view in inventory.vifs:
        if view.unprotected:
            continue        # no script of ours is run for it
        path = dom0.store.read_text('/local/domain/%d/vm' % view.vif.id.domid) or ''
        uuid = dom0.store.read_text(path + '/uuid') or view.vif.vm_uuid
        private = '/xapi/%s/private/vif/%d' % (uuid, view.vif.id.devid)
        script = dom0.store.read_text('%s/%s' % (private, RULES_KEY)) or 'no script'
        scripts.setdefault(script, []).append(view.name)
    for script, names in sorted(scripts.items()):
        found = '%s for %s' % (script, _some(names))
        if not os.access(rooted(script), os.X_OK):
            yield problem('plugged VIFs', found + ': it is not there', 'our setup-vif-rules',
                          ACTIVATE + ': with that key an unplug waits 300 s and fails')
        elif not is_ours(script):
            yield problem('plugged VIFs', found, 'our setup-vif-rules', ACTIVATE +
                          ': they were plugged by the stock script')
        else:
            yield ok('plugged VIFs', found)
    if not scripts:
        yield ok('plugged VIFs', 'none')


def _some(names: List[str], shown: int = 5) -> str:
    more = ' and %d more' % (len(names) - shown) if len(names) > shown else ''
    return ', '.join(names[:shown]) + more
