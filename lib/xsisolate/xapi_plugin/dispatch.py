"""The XAPI plugin: what xe, Xen Orchestra and our own commands ask of a host.

    xe host-call-plugin host-uuid=HOST plugin=xsisolate fn=status

Strings in, JSON out. XAPI reads stdout: while a function runs, stdout is stderr. What fails becomes
a Failure with a code of ours and one line. The functions and the commands call the same library,
so they say the same.
"""
import gc
import json
import sys
from contextlib import contextmanager, redirect_stdout
from typing import Any, Callable, Collection, Dict, Iterator, List, Mapping

from xsisolate.activation.steps import check_called
from xsisolate.admin.activation_protocol import ACTIVATE, DEACTIVATE
from xsisolate.admin.host_overview import DOCTOR, MATRIX, OVERVIEW, REFUSED, SYNC
from xsisolate.admin.pool_config_protocol import CHECK, CONFLICT, PUSH, SHOW, STATE
from xsisolate.admin.plugin_protocol import (BRIDGES, EXPLAIN, GROUPS, NOT_HERE, REFRESH,
                                             describe_reply)
from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.bridge_snapshot import make_snapshot, read_vifs
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.resync import choose_bridges, sync_bridges
from xsisolate.diagnostics import explain as explaining
from xsisolate.diagnostics import doctor as examination
from xsisolate.diagnostics import resync_report, status as host_status
from xsisolate.diagnostics.inventory import read_inventory
from xsisolate.diagnostics.metrics import format_metrics, read_metrics
from xsisolate.diagnostics.overview import read_overview, read_pool_matrix
from xsisolate.diagnostics import refused as refusals
from xsisolate.diagnostics.refused_choice import parse_only, parse_since
from xsisolate.diagnostics.route import Asked
from xsisolate.dom0.linux.netdev import list_linux_bridges
from xsisolate.dom0.linux.syslog import Log, escape
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.group_members import list_groups, read_members
from xsisolate.dom0.run_files.pool_state import read_state
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_POLICY, EXIT_USAGE, UsageError, XsisolateError
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import HOLDERS, Mode
from xsisolate.vif_id import UUID
from xsisolate.xapi_plugin import activation, pool_config
from xsisolate.xapi_plugin.apply_now import NotHere, apply_now

CODES = {EXIT_USAGE: 'XSISOLATE_USAGE', EXIT_POLICY: 'XSISOLATE_POLICY'}
METRICS = 'metrics'
FAILED, INTERNAL = 'XSISOLATE_FAILED', 'XSISOLATE_INTERNAL'
WAIT_MOST_S = 60.0

Arguments = Mapping[str, str]


def main() -> None:
    """Answer the call in argv, as XAPI wants it."""
    import XenAPIPlugin
    XenAPIPlugin.dispatch({name: _guarded(name, function, XenAPIPlugin.Failure)
                           for name, function in FUNCTIONS.items()})


def _guarded(name: str, function: Callable[[Arguments], Any],
             failure: Any) -> Callable[[Any, Arguments], str]:
    """Return a function as XAPI calls it."""
    def answer(session: Any, arguments: Arguments) -> str:
        log = Log('xsisolate-plugin', stderr=False)
        try:
            with redirect_stdout(sys.stderr):
                reply = function(arguments)
                return str(reply) if name == METRICS else json.dumps(reply, sort_keys=True)
        except NotHere as error:
            raise failure(NOT_HERE, [escape(str(error))]) from None
        except pool_config.Conflict as error:
            raise failure(CONFLICT, [escape(str(error))]) from None
        except XsisolateError as error:
            log.error('failed', fn=name, error=error)
            raise failure(CODES.get(error.exit_code, FAILED), [escape(str(error))]) from None
        except Exception as error:      # a mistake of ours: still one line
            log.error('failed', fn=name, error='internal: %r' % error)
            raise failure(INTERNAL, ['internal: %r' % error]) from None
    return answer


def refresh(arguments: Arguments) -> Dict[str, Any]:
    """Apply a VM's policy: vm; seals (JSON, by device: wait for these); wait (seconds)."""
    _check(arguments, ('vm',), ('seals', 'wait'))
    vm_uuid = arguments['vm'].lower()
    if not UUID.fullmatch(vm_uuid):
        raise UsageError('refresh: not the uuid of a VM: %.60r' % arguments['vm'])
    try:
        seals = json.loads(arguments.get('seals') or '{}')
        wait = min(float(arguments.get('wait') or 0), WAIT_MOST_S)
        if not isinstance(seals, dict) or not all(
                isinstance(seal, (str, type(None))) for seal in seals.values()) or not wait >= 0:
            raise ValueError('seals is not an object of strings, or wait is not a number')
    except ValueError as error:
        raise UsageError('refresh: %s' % error) from None
    with _open_dom0() as dom0:
        return describe_reply(vm_uuid, apply_now(dom0, vm_uuid, seals, wait))


def sync(arguments: Arguments) -> Any:
    """Reconcile this host: bridge (all of them without it); dry_run (true or false)."""
    _check(arguments, (), ('bridge', 'dry_run'))
    dry_run = _is_true(arguments.get('dry_run', ''))
    if not dry_run:
        check_called()
    gc.disable()        # tens of thousands of flows, and no cycle among them
    with _open_dom0() as dom0:
        dom0.configuration.check_valid('no VIF was touched')
        names = choose_bridges(dom0, arguments.get('bridge', ''))
        return [resync_report.describe(outcome) for outcome in sync_bridges(dom0, names, dry_run)]


def status(arguments: Arguments) -> Any:
    """Tell what every VIF of this host, or those of one VM, do: vm."""
    _check(arguments, (), ('vm',))
    with _open_dom0() as dom0:
        return host_status.describe(host_status.read_status(dom0, arguments.get('vm', '')))


def explain(arguments: Arguments) -> Any:
    """Tell whether one may reach another, and why: source, destination, service, and the rest."""
    _check(arguments, ('source', 'destination'),
           ('service', 'version', 'source_address', 'target_address'))
    version = arguments.get('version', '')
    if version not in ('', '4', '6'):
        raise UsageError('explain: version is neither 4 nor 6: %.20r' % version)
    asked = Asked(arguments['source'], arguments['destination'], arguments.get('service', ''),
                  int(version or 0), *(arguments.get(end + '_address', '')
                                       for end in ('source', 'target')))
    with _open_dom0() as dom0:
        assert dom0.store is not None
        inventory = read_inventory(dom0)
        inventory.check_known()
        return dict(explaining.describe(explaining.explain(inventory, dom0.store, asked)),
                    warnings=explaining.find_warnings(inventory))


def groups(arguments: Arguments) -> Dict[str, Any]:
    """Tell which isolation groups this host knows, with their members here and elsewhere."""
    _check(arguments, (), ())
    found: Dict[str, Dict[str, List[Any]]] = {
        group: {'here': [], 'elsewhere': [
            {'network': member.network, 'mac': member.mac,
             'addresses': [format_prefix(address) for address in sorted(member.addresses)]}
            for member in read_members(group)]}
        for group in list_groups() if group != HOLDERS}
    with _open_dom0() as dom0:
        for bridge in dom0.ovsdb.read_bridges():
            for vif in read_vifs(dom0, make_snapshot(bridge)):
                for group in vif.policy.groups if vif.policy.mode is Mode.ISOLATED else ():
                    found.setdefault(group, {'here': [], 'elsewhere': []})['here'].append(
                        {'vif': vif.id.vif, 'vm': vif.vm_uuid, 'mac': vif.mac})
    state = read_state()
    return {'groups': found, 'pool': state.describe() if state else None}


def bridges(arguments: Arguments) -> Dict[str, List[str]]:
    """Tell which bridges are Open vSwitch's, and which are the kernel's own."""
    _check(arguments, (), ())
    with Ovsdb() as ovsdb:
        found = ovsdb.read_bridges()
    fakes = {port.name for bridge in found for port in bridge.ports if port.fake_bridge}
    return {'ovs': sorted({bridge.name for bridge in found} | fakes),
            'linux': list_linux_bridges()}


def overview(arguments: Arguments) -> Any:
    """Tell in one piece how this host is: release, hooks, daemon, configuration, VIFs."""
    _check(arguments, (), ())
    with _open_dom0() as dom0:
        return read_overview(dom0).describe()


def doctor(arguments: Arguments) -> Any:
    """Examine this host."""
    _check(arguments, (), ())
    findings = list(examination.examine())
    return dict(examination.describe(findings), code=examination.exit_code(findings))


def refused(arguments: Arguments) -> Any:
    """Tell what this host has refused: vm; since (10m, 2h); only (permissive, enforced)."""
    _check(arguments, (), ('vm', 'since', 'only'))
    since = parse_since(arguments.get('since', ''))
    only = parse_only(arguments.get('only', ''))
    with _open_dom0() as dom0:
        return refusals.describe(refusals.RefusedReader(dom0).read(
            arguments.get('vm', ''), since, only))


def metrics(arguments: Arguments) -> str:
    """Tell what there is to measure on this host, as OpenMetrics' text and not as JSON."""
    _check(arguments, (), ())
    with _open_dom0() as dom0:
        return format_metrics(read_metrics(dom0))


def matrix(arguments: Arguments) -> Any:
    """Tell what the matrix of the whole pool needs: this host's VIFs, and its configuration."""
    _check(arguments, (), ())
    with _open_dom0() as dom0:
        return read_pool_matrix(dom0)


def config_show(arguments: Arguments) -> Any:
    """Tell the pool's configuration in XAPI, and the one before."""
    _check(arguments, (), ())
    return pool_config.show()


def config_check(arguments: Arguments) -> Any:
    """Tell what this host's release says of a configuration: packed."""
    _check(arguments, ('packed',), ())
    return pool_config.check(arguments['packed'])


def config_push(arguments: Arguments) -> Any:
    """Write the pool's configuration: packed; base (the version that it was made after)."""
    _check(arguments, ('packed', 'base'), ())
    return pool_config.push(arguments['packed'], arguments['base'])


def config_state(arguments: Arguments) -> Any:
    """Tell which version of the pool's configuration this host has."""
    _check(arguments, (), ())
    return pool_config.state()


def activate(arguments: Arguments) -> Any:
    """Take the hooks of this host over: dry_run, permissive (true or false)."""
    _check(arguments, (), ('dry_run', 'permissive'))
    return activation.change(True, *(_is_true(arguments.get(name, ''))
                                     for name in ('dry_run', 'permissive'))).describe()


def deactivate(arguments: Arguments) -> Any:
    """Give the hooks of this host back: dry_run (true or false)."""
    _check(arguments, (), ('dry_run',))
    return activation.change(False, _is_true(arguments.get('dry_run', ''))).describe()


@contextmanager
def _open_dom0() -> Iterator[HostContext]:
    """Connect to this host's Open vSwitch and xenstore."""
    with Ovsdb() as ovsdb, Xenstore() as store:
        yield HostContext(ovsdb, store, read_configuration())


def _check(arguments: Arguments, needed: Collection[str], allowed: Collection[str]) -> None:
    """Raise UsageError unless the function knows all the arguments."""
    missing = [name for name in needed if not arguments.get(name)]
    unknown = sorted(set(arguments) - {*needed, *allowed})
    if missing or unknown:
        raise UsageError('%s; it takes %s' % (
            'missing: %s' % ', '.join(missing) if missing else 'unknown: %.80r' % unknown[0],
            ', '.join([*needed, *('[%s]' % name for name in allowed)]) or 'no arguments'))


def _is_true(text: str) -> bool:
    if text.lower() not in ('', 'true', 'false'):
        raise UsageError('neither true nor false: %.40r' % text)
    return text.lower() == 'true'


FUNCTIONS: Mapping[str, Callable[[Arguments], Any]] = {
    REFRESH: refresh, SYNC: sync, 'status': status, EXPLAIN: explain, GROUPS: groups,
    OVERVIEW: overview, DOCTOR: doctor, MATRIX: matrix, SHOW: config_show, CHECK: config_check,
    PUSH: config_push, STATE: config_state, ACTIVATE: activate, DEACTIVATE: deactivate,
    BRIDGES: bridges, REFUSED: refused, METRICS: metrics}
