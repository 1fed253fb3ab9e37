"""The XAPI plugin: what xe, Xen Orchestra and our own commands ask of a host.

    xe host-call-plugin host-uuid=HOST plugin=xsisolate fn=status

Strings in, JSON out. XAPI reads stdout, so nobody else may write there. What fails becomes a
Failure with a code of ours and one line.
"""
import json
import sys
from typing import Any, Callable, Collection, Dict, List, Mapping, Type

from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.bridge_snapshot import Dom0, survey_of, survey_vifs
from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.dom0.linux.syslog import Log, escape
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.group_members import list_groups, read_members
from xsisolate.dom0.run_files.pool_state import read_state
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import (EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, EXIT_POLICY, EXIT_USAGE,
                              HostError, PolicyError, UsageError, XsisolateError)
from xsisolate.paths import LIBRARY
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import HOLDERS, Mode
from xsisolate.vif_id import UUID
from xsisolate.xapi_plugin.refresh import NotHere, refresh_vm

CODES = {EXIT_USAGE: 'XSISOLATE_USAGE', EXIT_POLICY: 'XSISOLATE_POLICY'}
ERRORS: Mapping[int, Type[XsisolateError]] = {
    EXIT_USAGE: UsageError, EXIT_POLICY: PolicyError}
FAILED, NOT_HERE, INTERNAL = 'XSISOLATE_FAILED', 'XSISOLATE_NOT_HERE', 'XSISOLATE_INTERNAL'
WAIT_MOST_S = 60.0
COMMAND_TIMEOUT_S = 300.0
RUN_COMMAND = 'import sys; sys.path.insert(0, %r); from xsisolate.cli import main; sys.exit(main())'


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
            return json.dumps(function(arguments), sort_keys=True)
        except NotHere as error:
            raise failure(NOT_HERE, [escape(str(error))]) from None
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
    if not UUID.fullmatch(arguments['vm'].lower()):
        raise UsageError('refresh: not the uuid of a VM: %.60r' % arguments['vm'])
    try:
        seals = json.loads(arguments.get('seals') or '{}')
        wait = min(float(arguments.get('wait') or 0), WAIT_MOST_S)
        if not isinstance(seals, dict) or not all(
                isinstance(seal, (str, type(None))) for seal in seals.values()) or not wait >= 0:
            raise ValueError('seals is no object of strings, or wait is no number')
    except ValueError as error:
        raise UsageError('refresh: %s' % error) from None
    with Ovsdb() as ovsdb, Xenstore() as store:
        dom0 = Dom0(ovsdb, store, read_configuration())
        found = refresh_vm(dom0, arguments['vm'].lower(), seals, wait)
    return {'vm': arguments['vm'].lower(), 'vifs': [vif.describe() for vif in found]}


def sync(arguments: Arguments) -> Any:
    """Reconcile this host: bridge (all of them without it); dry_run (true or false)."""
    _check(arguments, (), ('bridge', 'dry_run'))
    words = ['--bridge=' + arguments['bridge']] if arguments.get('bridge') else []
    return _command(['sync', '--json', *words, *(
        ['--dry-run'] if _is_true(arguments.get('dry_run', '')) else [])])


def status(arguments: Arguments) -> Any:
    """Tell what every VIF of this host, or those of one VM, do: vm."""
    _check(arguments, (), ('vm',))
    return _command(['status', '--json', '--', *filter(None, [arguments.get('vm')])])


def explain(arguments: Arguments) -> Any:
    """Tell whether one may reach another, and why: source, destination, service, and the rest."""
    _check(arguments, ('source', 'destination'),
           ('service', 'version', 'source_address', 'target_address'))
    version = arguments.get('version', '')
    if version not in ('', '4', '6'):
        raise UsageError('explain: version is neither 4 nor 6: %.20r' % version)
    return _command(['explain', '--json', '--here', *(['-' + version] if version else []), *(
        '--%s-address=%s' % (end, arguments[end + '_address']) for end in ('source', 'target')
        if arguments.get(end + '_address')), '--', arguments['source'], arguments['destination'],
        *filter(None, [arguments.get('service')])])


def groups(arguments: Arguments) -> Dict[str, Any]:
    """Tell which isolation groups this host knows, with their members here and elsewhere."""
    _check(arguments, (), ())
    found: Dict[str, Dict[str, List[Any]]] = {
        group: {'here': [], 'elsewhere': [
            {'network': member.network, 'mac': member.mac,
             'addresses': [format_prefix(address) for address in sorted(member.addresses)]}
            for member in read_members(group)]} for group in list_groups() if group != HOLDERS}
    with Ovsdb() as ovsdb, Xenstore() as store:
        dom0 = Dom0(ovsdb, store, read_configuration())
        for bridge in ovsdb.read_bridges():
            for vif in survey_vifs(dom0, survey_of(bridge)):
                for group in vif.policy.groups if vif.policy.mode is Mode.ISOLATED else ():
                    found.setdefault(group, {'here': [], 'elsewhere': []})['here'].append(
                        {'vif': vif.id.vif, 'vm': vif.vm_uuid, 'mac': vif.mac})
    state = read_state()
    return {'groups': found, 'pool': state.describe() if state else None}


def _command(words: List[str]) -> Any:
    """Return what a command of ours prints as JSON: the plugin and the command say the same."""
    try:
        text = run([sys.executable, '-c', RUN_COMMAND % LIBRARY, *words],
                   timeout=COMMAND_TIMEOUT_S, fine=(EXIT_DONE, EXIT_DIFFERENT))
    except CommandFailed as error:
        if not error.stdout:            # the command's own line says it all
            line = error.why.splitlines()[-1].rpartition('xsisolate: ')[2]
            raise ERRORS.get(error.code or EXIT_HOST, HostError)(line) from error
        text = error.stdout             # what it shows has warnings, and they are in it
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandFailed(words, 'no JSON: %s' % error) from None


def _check(arguments: Arguments, needed: Collection[str], allowed: Collection[str]) -> None:
    """Raise UsageError unless the arguments are those that a function knows."""
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
    'refresh': refresh, 'sync': sync, 'status': status, 'explain': explain, 'groups': groups}
