"""The two hooks: what the stock scripts do beside switching, and one line in syslog.

`setup-vif-rules` puts a VIF on its bridge, or takes it off. `vif` is what udev
calls: it readies the netdev, does the same in this very process, and reports
to xenopsd through xenstore.
"""
import os
import sys
from time import monotonic
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from xsisolate.core.event import Event, parse_rules_call, parse_vif_call
from xsisolate.core.model import Mode
from xsisolate.dom0 import netdev
from xsisolate.dom0.ovsdb import Ovsdb
from xsisolate.dom0.run import CommandFailed, run
from xsisolate.dom0.syslog import Log
from xsisolate.dom0.xenstore import Xenstore
from xsisolate.errors import EXIT_DONE, EXIT_HOST, HostError, UsageError, XsisolateError
from xsisolate.gather import VifFacts, read_configuration, read_vif, read_vm_uuid
from xsisolate.plug import Dom0, NoBridge, Outcome, plug, unplug

STOCK_RULES = '/usr/libexec/xenopsd/setup-vif-rules'
HOTPLUG_SCRIPT = '/etc/xapi.d/vif-hotplug'
BRIDGE_SYSFS = '/sys/class/net/%s/bridge'
TIMEOUT_S = 120.0               # of the scripts we call; xenopsd gives up after 300
ON, OFF = ('true', 'on'), ('false', 'off')
ETHTOOL_KEY = 'ethtool-'


class Paths(NamedTuple):
    """Where xenopsd keeps what concerns a VIF, and wants its answers."""

    private: str
    hotplug: str
    backend: str


def main(argv: Sequence[str]) -> int:
    """Run the hook that `argv` names; the exit code is what xenopsd is told."""
    name = os.path.basename(argv[0])
    log = Log('xsisolate-' + name)
    try:
        if name == 'vif':
            return run_vif(argv, log)
        return run_rules(argv, log)
    except XsisolateError as error:
        log.error('failed', call=' '.join(argv[1:]), error=error)
        return error.exit_code
    except Exception as error:      # a mistake of ours: still one line, still closed
        log.error('failed', call=' '.join(argv[1:]), error='internal: %r at %s'
                  % (error, _place(error)))
        return EXIT_HOST


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return '%s:%d' % (os.path.basename(trace.tb_frame.f_code.co_filename),
                      trace.tb_lineno) if trace else '?'


# --- setup-vif-rules -----------------------------------------------------------------------


def run_rules(argv: Sequence[str], log: Log) -> int:
    """Run setup-vif-rules."""
    event = parse_rules_call(argv[1:])
    if event.action == 'clear':
        clear(event, log)
    else:
        try:
            with Xenstore() as store:
                filter_vif(_named(store, event), store, log)
        except Exception:
            close_netdev(event)
            raise
    return EXIT_DONE


def _named(store: Xenstore, event: Event) -> Event:
    """Return the event with its VM's uuid, which XenServer 6.1's callers do not say."""
    return event if event.vm_uuid else event._replace(
        vm_uuid=read_vm_uuid(store, event.domid).lower())


def filter_vif(event: Event, store: Xenstore, log: Log) -> None:
    """Put a VIF on its bridge with its flows, or bring them up to date."""
    if event.kind == 'tap' and not netdev.exists(event.device):
        log.info('nothing to do', vif=event.device, action=event.action,
                 reason='the guest has left its emulated NIC')
        return
    began, paths = monotonic(), find_paths(event)
    configuration = read_configuration()
    facts = read_vif(store, event.domid, event.vm_uuid, event.devid, configuration)
    private = read_private(store, paths)
    try:
        with Ovsdb() as ovsdb:
            outcome = plug(Dom0(ovsdb, store, configuration), event, facts,
                           parse_trunks(private))
    except HostError as error:
        hand_to_stock(event, facts, error, log)
        return
    store.write('%s/%s-ofport' % (paths.hotplug, event.kind), str(outcome.ofport))
    if outcome.fresh:
        pvs_proxy('add', event, paths, private, log)
    report(event, outcome, configuration.config.accept_unsealed, monotonic() - began, log)


def report(event: Event, outcome: Outcome, accept_unsealed: bool, seconds: float,
           log: Log) -> None:
    """Write the hook's line, and what an admin must know."""
    policy = outcome.policy
    log.info('hook', vif=event.device, vm=outcome.facts.vm_uuid, action=event.action,
             bridge=outcome.facts.metadata.bridge, mode=policy.mode.word,
             groups=','.join(sorted(policy.groups)) or None, added=outcome.result.added,
             deleted=outcome.result.deleted, ms=round(seconds * 1000))
    if policy.reason:
        log.warning('quarantined', vif=event.device, vm=outcome.facts.vm_uuid,
                    reason=policy.reason)
    elif policy.mode is Mode.ISOLATED and not policy.addresses:
        log.warning('no address', vif=event.device, vm=outcome.facts.vm_uuid,
                    reason='an isolated VIF without ipv4 and ipv6 keys passes nothing but DHCP')
    if accept_unsealed:
        log.warning('unsealed', vif=event.device, reason='unsealed: accept in xsisolate.yaml '
                    'lets every guest choose its own policy')


def hand_to_stock(event: Event, facts: VifFacts, error: HostError, log: Log) -> None:
    """On a Linux bridge the stock script serves unmanaged VIFs; managed ones are refused."""
    bridge = facts.metadata.bridge
    if not os.path.isdir(BRIDGE_SYSFS % bridge):
        raise error
    if facts.policy.mode is not Mode.UNLOCKED:
        raise HostError('VIF %s of VM %s is %s, but bridge %s is a Linux bridge: isolation needs '
                        'Open vSwitch (xe-switch-network-backend openvswitch)'
                        % (event.device, facts.vm_uuid, facts.policy.mode.word, bridge))
    run_script(STOCK_RULES, event)
    log.info('hook', vif=event.device, action=event.action, bridge=bridge, served_by='stock')


def clear(event: Event, log: Log) -> None:
    """Take a VIF off its bridge; what is missing on the host must not keep it there.

    xenopsd waits five minutes for an unplug that fails, so this one does not:
    what could not be removed is removed by the next hook that runs.
    """
    began, store = monotonic(), connect_xenstore(log)
    paths: Optional[Paths] = None
    try:
        if store is not None:
            event = _try_to_name(store, event)
            paths = find_paths(event)
            pvs_proxy('remove', event, paths, read_private(store, paths), log)
            store.remove('%s/%s-ofport' % (paths.hotplug, event.kind))
    except HostError as error:
        log.warning('xenstore', vif=event.device, error=error)
    try:
        with Ovsdb() as ovsdb:
            result = unplug(Dom0(ovsdb, store, read_configuration()), event)
        log.info('hook', vif=event.device, action=event.action, added=result.added,
                 deleted=result.deleted, ms=round((monotonic() - began) * 1000))
    except HostError as error:
        log.error('not removed', vif=event.device, action=event.action, error=error)
    finally:
        if store is not None:
            store.close()


def connect_xenstore(log: Log) -> Optional[Xenstore]:
    """Return a connection, None if there is no xenstored."""
    try:
        return Xenstore()
    except HostError as error:
        log.warning('xenstore', error=error)
        return None


def _try_to_name(store: Xenstore, event: Event) -> Event:
    try:
        return _named(store, event)
    except HostError:
        return event        # the domain is gone; its VIF's name is enough


def close_netdev(event: Event) -> None:
    """Let nothing pass, whatever state the rest is in."""
    try:
        if netdev.exists(event.device):
            netdev.set_down(event.device)
    except HostError:
        pass        # the caller reports why it failed


# --- vif -----------------------------------------------------------------------------------


def run_vif(argv: Sequence[str], log: Log) -> int:
    """Run the vif script; events that concern nobody here are none of our business."""
    if len(argv) > 1 and argv[1] not in ('online', 'add', 'remove', 'move'):
        return EXIT_DONE
    event = parse_vif_call(argv[1:], os.environ)
    if (event.action, event.kind) in (('online', 'tap'), ('add', 'vif'), ('move', 'tap')):
        return EXIT_DONE        # a VIF's move takes the tap along
    if event.action == 'remove':
        remove(event, argv, log)
        return EXIT_DONE
    try:
        with Xenstore() as store:
            come(_named(store, event), store, argv, log)
    except Exception as error:
        close_netdev(event)
        write_hotplug_error(event, error, log)
        raise
    return EXIT_DONE


def come(event: Event, store: Xenstore, argv: Sequence[str], log: Log) -> None:
    """Ready a netdev, put it on its bridge and tell xenopsd."""
    paths = find_paths(event)
    private = read_private(store, paths)
    prepare(event, private, paths, log)
    store.write('%s/%s-ifindex' % (paths.hotplug, event.kind), str(netdev.ifindex(event.device)))
    call_rules(event._replace(action='filter', backend=private.get('xenopsd-backend', 'classic')),
               private, store, argv, log)
    if event.action != 'online':
        return
    if private.get('other-config/promiscuous') in ON:
        log.info('promiscuous ports are not supported via Open vSwitch', vif=event.device)
    store.write(paths.hotplug + '/vif', event.device)
    store.write(paths.hotplug + '/hotplug', 'online')
    store.write(paths.backend + '/hotplug-status', 'connected')
    call_hotplug_script(event, private, log)


def prepare(event: Event, private: Mapping[str, str], paths: Paths, log: Log) -> None:
    """Give the netdev its address, MTU and offloads; a plugged one keeps its link."""
    for key in ('MTU', 'bridge-MAC'):
        if not private.get(key):
            raise HostError('%s: xenstore has no %s/%s' % (event.device, paths.private, key))
    if not private['MTU'].isdigit():
        raise HostError('%s: %s/MTU is no number: %.40r'
                        % (event.device, paths.private, private['MTU']))
    if event.action == 'online':
        set_offloads(event, private, log)
    if event.action != 'move' and netdev.is_up(event.device) and is_plugged(event):
        netdev.set_mtu(event.device, int(private['MTU']))
        return
    netdev.prepare(event.device, private['bridge-MAC'], int(private['MTU']))


def is_plugged(event: Event) -> bool:
    """Tell whether the netdev is on a bridge already: the same event may come twice."""
    with Ovsdb() as ovsdb:
        return any(port.name == event.device for bridge in ovsdb.read_bridges()
                   for port in bridge.ports)


def set_offloads(event: Event, private: Mapping[str, str], log: Log) -> None:
    """Set what VIF.other_config:ethtool-* asks for; a refusal is only worth a line."""
    settings = {}
    for key, value in private.items():
        option = key[len('other-config/' + ETHTOOL_KEY):]
        if key.startswith('other-config/' + ETHTOOL_KEY):
            settings[option] = 'on' if value in ON else 'off' if value in OFF else value
    try:
        if settings:
            netdev.ethtool(event.device, settings)
    except HostError as error:
        log.warning('ethtool', vif=event.device, error=error)


def call_rules(event: Event, private: Mapping[str, str], store: Xenstore, argv: Sequence[str],
               log: Log) -> None:
    """Call the setup-vif-rules that xenopsd chose; our own one runs right here."""
    script = private.get('setup-vif-rules', '')
    if script and not is_own(script, argv):
        run_script(script, event)
    elif event.action == 'filter':
        filter_vif(event, store, log)
    else:
        clear(event, log)


def is_own(script: str, argv: Sequence[str]) -> bool:
    """Tell whether a setup-vif-rules is the one beside the hook that runs."""
    own = os.path.join(os.path.dirname(os.path.realpath(argv[0])), 'setup-vif-rules')
    return os.path.realpath(script) == own


def remove(event: Event, argv: Sequence[str], log: Log) -> None:
    """Take a netdev off its bridge and tell xenopsd, whatever is gone already."""
    store = connect_xenstore(log)
    if store is None:
        clear(event._replace(action='clear'), log)
        return
    with store:
        event = _try_to_name(store, event)
        paths = find_paths(event)
        private = read_private(store, paths)
        call_rules(event._replace(action='clear',
                                  backend=private.get('xenopsd-backend', 'classic')),
                   private, store, argv, log)
        store.remove('%s/%s-ifindex' % (paths.hotplug, event.kind))
        if event.kind == 'vif':
            call_hotplug_script(event, private, log)
            store.remove(paths.backend + '/hotplug-status')
            store.remove(paths.hotplug + '/hotplug')


def write_hotplug_error(event: Event, error: Exception, log: Log) -> None:
    """Tell xenopsd, which waits for either success or this; also on behalf of a tap."""
    try:
        with Xenstore() as store:
            store.write(find_paths(event).backend + '/hotplug-error',
                        '%s: %s' % (event.device, error))
    except HostError as second:
        log.warning('xenstore', vif=event.device, error=second)


# --- xenopsd's keys and other people's scripts ---------------------------------------------


def find_paths(event: Event) -> Paths:
    """Return the VIF's places in xenstore."""
    return Paths('/xapi/%s/private/vif/%d' % (event.vm_uuid, event.devid),
                 '/xapi/%s/hotplug/%d/vif/%d' % (event.vm_uuid, event.domid, event.devid),
                 '/local/domain/0/backend/vif/%d/%d' % (event.domid, event.devid))


def read_private(store: Xenstore, paths: Paths) -> Dict[str, str]:
    """Return the keys that xenopsd keeps for the vif script; no guest can reach them."""
    values = store.read_children(paths.private)
    other = store.read_children(paths.private + '/other-config')
    values.update({'other-config/' + key: value for key, value in other.items()})
    return {key: value.decode('utf-8', 'replace') for key, value in values.items()}


def parse_trunks(private: Mapping[str, str]) -> Optional[List[int]]:
    """Return the VLANs of a trunk VIF; None if xenopsd does not say."""
    text = private.get('trunks')
    if text is None:
        return None
    words = text.replace(',', ' ').split()
    if not all(word.isdigit() and int(word) < 4096 for word in words):
        raise HostError('trunks: %.80r is no list of VLANs' % text)
    return sorted(int(word) for word in words)


def run_script(script: str, event: Event) -> None:
    """Run somebody else's setup-vif-rules with the arguments that it expects."""
    run((script, event.backend, event.device, event.vm_uuid, str(event.devid), event.action),
        timeout=TIMEOUT_S)


def pvs_proxy(command: str, event: Event, paths: Paths, private: Mapping[str, str],
              log: Log) -> None:
    """Have the PVS proxy's rules added or removed, where the VIF has a proxy."""
    if 'pvs-interface' not in private or not private.get('setup-pvs-proxy-rules'):
        return
    try:
        run((private['setup-pvs-proxy-rules'], command, event.kind, event.device, paths.private,
             paths.hotplug), timeout=TIMEOUT_S)
    except CommandFailed as error:
        log.warning('pvs proxy', vif=event.device, error=error)


def call_hotplug_script(event: Event, private: Mapping[str, str], log: Log) -> None:
    """Run the admin's own hook; how it ends is its own affair."""
    vif_uuid = private.get('vif-uuid')
    if not os.access(HOTPLUG_SCRIPT, os.X_OK) or not vif_uuid or not event.vm_uuid:
        return
    try:
        run((HOTPLUG_SCRIPT, '-action', event.action, '-vifuuid', vif_uuid,
             '-vmuuid', event.vm_uuid), timeout=TIMEOUT_S)
    except CommandFailed as error:
        log.warning('vif-hotplug', vif=event.device, error=error)
