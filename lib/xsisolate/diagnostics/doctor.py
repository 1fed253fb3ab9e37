"""Examine this host: everything that must be right so that policies hold."""
import importlib
import os
import stat
from typing import Any, Callable, Dict, Iterator, List, Sequence

from xsisolate.config.check import check_text
from xsisolate.config.host_config import read_configuration
from xsisolate.config.load import config_file, read_config_text
from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.doctor_switch import (MEND_FIRST, examine_bridges, examine_connections,
                                                 examine_drift, examine_records, examine_version)
from xsisolate.diagnostics.doctor_toolstack import (examine_ha, examine_keys, examine_units,
                                                    examine_xenopsd)
from xsisolate.diagnostics.finding import PROBLEM, Finding, ok, problem, warning
from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.origins import list_learners
from xsisolate.diagnostics.permissive import examine_permissive
from xsisolate.diagnostics.status import NOT_LEARNING, look_twice
from xsisolate.diagnostics.unprotected import Unprotected
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.dom0.ovs.library import find_ovs
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.pool_configuration import read_taken
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.dom0.run_files.pool_state import read_state
from xsisolate.dom0.run_files.vif_leases import is_learning
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_POLICY, ConfigError, HostError, worst_exit_code
from xsisolate.policy.model import Mode

OLD_S = 300.0           # what is known of the pool is old then
Step = Callable[[str], None]


def examine(step: Step = lambda name: None) -> Iterator[Finding]:
    """Yield all findings; what fails becomes one, and the rest is looked at all the same."""
    for name, check in (('libraries', examine_libraries), ('configuration', examine_configuration),
                        ('pool configuration', examine_pool_configuration),
                        ('hooks', examine_xenopsd), ('HA', examine_ha), ('units', examine_units),
                        ('Open vSwitch', examine_version),
                        ('connections', examine_connections), ('pool', examine_pool)):
        step(name)
        yield from check()
    try:
        with Ovsdb() as ovsdb, Xenstore() as store:
            yield from _examine_vifs(HostContext(ovsdb, store, read_configuration()), step)
    except HostError as error:
        yield problem('this host', str(error), 'an answer', 'correct that first: without it '
                      'doctor cannot examine VIFs and flows')


def _examine_vifs(dom0: HostContext, step: Step) -> Iterator[Finding]:
    inventory = look_twice(dom0, step)
    dom0 = dom0._replace(configuration=inventory.configuration)
    yield from examine_bridges(dom0, inventory)
    yield from examine_records(inventory)
    yield from examine_keys(dom0, inventory)
    yield from examine_policies(inventory)
    yield from examine_permissive(inventory)
    yield from examine_leases(inventory)
    step('flows')
    yield from examine_drift(dom0, inventory)


def examine_libraries() -> Iterator[Finding]:
    """Yield whether the libraries are there that are not Python's own."""
    has_file = os.path.exists(config_file())
    for name, what, needed in (('ovs', 'for the daemon', True),
                               ('yaml', 'for xsisolate.yaml', has_file)):
        try:
            if name == 'ovs':
                find_ovs()
            module = importlib.import_module(name)
        except (ImportError, HostError) as error:
            found = 'cannot be imported: %s' % error
            advice = 'reinstall xsisolate, which brings it'
            yield problem('library ' + name, found, what, advice) if needed else warning(
                'library ' + name, found, what, advice)
            continue
        version = getattr(module, '__version__', '') or _ovs_version(name)
        yield ok('library ' + name, '%s, %s' % (version or 'unknown version', what))


def _ovs_version(name: str) -> str:
    try:
        return str(importlib.import_module(name + '.version').VERSION)
    except ImportError:
        return ''


def examine_configuration() -> Iterator[Finding]:
    """Yield what is wrong with xsisolate.yaml, and whether it trusts guests."""
    configuration = read_configuration()
    path = config_file()
    if not os.path.exists(path):
        yield ok('configuration', 'there is no %s: the defaults apply' % path)
    elif configuration.error:
        yield problem('configuration', configuration.error, 'a valid file', 'correct %s (xsisolate '
                      'check shows every mistake), then xsisolate sync: until then VIFs that are '
                      'plugged or refreshed are quarantined' % _find_mistake(path), EXIT_POLICY)
    else:
        checked = check_text(read_config_text(path), path, read_networks())
        said = [remark for remark in checked.warnings if 'unsealed: accept' not in remark.text]
        yield warning('configuration', '%s is valid, but line %d: %s%s' % (
            path, *said[0], ' ...' * (len(said) > 1)), 'no warning',
            'xsisolate check shows them all') if said else ok('configuration', path + ': valid')
        yield from _examine_owner(path)
    if configuration.config.accept_unsealed:
        yield warning('seals', 'unsealed: accept: every guest chooses its own policy',
                      'unsealed: quarantine', 'seal the VMs (xsisolate seal --all), then remove '
                      'the line, unless all guests are trusted')
    else:
        yield ok('seals', 'unsealed: quarantine: only sealed policies count')


def examine_pool_configuration() -> Iterator[Finding]:
    """Yield whether this host has the pool's configuration that is in XAPI."""
    taken = read_taken()
    if taken is None:
        return
    if taken.local:
        yield warning('pool configuration', '%s says local: true: it stays, and the pool\'s '
                      '(version %d) does not count here' % (config_file(), taken.wanted),
                      'the pool\'s configuration', 'take the line out, unless it is meant')
    elif taken.error:
        yield problem('pool configuration', '%s. This host has %s' % (
            taken.error, 'version %d' % taken.taken if taken.taken else 'its own file'),
            'version %d' % taken.wanted if taken.wanted else 'a version in XAPI',
            'correct it (xsisolate pool config check FILE) and push it again', EXIT_POLICY)
    else:
        yield ok('pool configuration', 'version %d, from XAPI' % taken.taken)


def _find_mistake(path: str) -> str:
    """Return where in the configuration the first mistake is."""
    try:
        errors = check_text(read_config_text(path), path, read_networks()).errors
    except ConfigError:
        errors = ()
    lines = [error.line for error in errors if error.line]
    return 'line %d of %s' % (lines[0], path) if lines else path


def _examine_owner(path: str) -> Iterator[Finding]:
    status = os.stat(path)
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield problem('configuration\'s owner', '%s belongs to user %d, mode %o' % (
            path, status.st_uid, stat.S_IMODE(status.st_mode)), 'owner root, writable by root only',
            'chown root: %s; chmod go-w %s' % (path, path))


def examine_policies(inventory: Inventory) -> Iterator[Finding]:
    """Yield which VIFs are in quarantine, in doubt, or on no bridge."""
    found = False
    for view in inventory.vifs:
        if view.unprotected:
            found = True
            yield _examine_unprotected(view, view.unprotected)
        elif not view.bridge:
            found = True
            yield problem('VIF', '%s: %s' % (label(view), view.error), 'on its bridge',
                          'mend the cause, then unplug and plug the VIF')
        elif view.vif.policy.mode is Mode.QUARANTINED:
            found = True
            yield problem('VIF', '%s is in quarantine: %s' % (label(view), view.error),
                          'a policy that can be applied', 'correct the policy, or seal it',
                          EXIT_POLICY)
        elif view.vif.mute:
            found = True
            yield warning('VIF', '%s is unmanaged, and mute: %s' % (label(view), view.error),
                          'a MAC address of its own', 'give one of the two another: destroy its '
                          'VIF and create it anew (xe vif-destroy, xe vif-create mac=random)')
        elif view.error:
            found = True
            yield warning('VIF', '%s: %s' % (label(view), view.error), 'no error', 'xsisolate sync'
                          if not inventory.broken else MEND_FIRST)
        elif (view.vif.policy.mode is Mode.ISOLATED and not view.vif.policy.addresses
                and not view.vif.policy.sources):
            found = True
            yield warning('VIF', '%s is isolated and has no address' % label(view),
                          'ipv4 or ipv6 in its policy', 'write vif/%d/ipv4: without it nothing '
                          '%s but DHCP' % (view.vif.id.devid, 'would pass' if
                                           view.vif.policy.permissive else 'passes'))
    if not found:
        yield ok('VIFs', '%d, none in quarantine' % len(inventory.vifs))


def _examine_unprotected(view: VifView, why: Unprotected) -> Finding:
    """Return what is to be said of a VIF whose policy no flow can enforce."""
    what = ('VIF', '%s is %s' % (label(view), why), 'a port of Open vSwitch\'s',
            'move the VIF to a network that is neither an SR-IOV network nor on a Linux bridge')
    if why.is_promised:
        return problem(*what, code=EXIT_POLICY)
    return warning(*what)


def examine_leases(inventory: Inventory) -> Iterator[Finding]:
    """Yield whether leases are learned, and which do not count."""
    learners = list_learners(inventory.vifs)
    if learners and not is_learning():
        yield warning('leases', NOT_LEARNING % ' '.join(learners[:4]), 'a daemon that learns',
                      'systemctl start xsisolate-watch')
    for view in inventory.vifs:
        if view.vif.complaint:
            yield warning('leases', '%s: %s' % (label(view), view.vif.complaint), 'a file that the '
                          'daemon has written', 'start the daemon: it writes the file anew')
        elif view.unbound:
            yield ok('leases', '%s: %s' % (label(view), '; '.join(view.unbound)))


def examine_pool() -> Iterator[Finding]:
    """Yield how old what this host knows of the pool's groups is."""
    state = read_state()
    if state is None:
        yield ok('pool', 'no daemon follows XAPI on this host: groups end at this host')
        return
    age = state.age()
    text = 'groups of the pool as of %s' % ('never' if age is None else '%.0f s ago' % age)
    if age is None or age > OLD_S or state.error:
        yield warning('pool', text + (': ' + state.error if state.error else ''),
                      'confirmed by XAPI', '%s; groups stay as they were' % (
                          'mend that' if state.connected else 'see why XAPI does not answer'))
    else:
        yield ok('pool', text)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the exit code: of what is wrong the host's failures count most."""
    return worst_exit_code(finding.code for finding in findings if finding.state == PROBLEM)


def describe(findings: Sequence[Finding]) -> Dict[str, Any]:
    """Return an examination as JSON has it."""
    found: List[Dict[str, Any]] = [finding.describe() for finding in findings]
    return {'findings': found, **{state + 's': sum(
        finding.state == state for finding in findings) for state in ('problem', 'warning')}}
