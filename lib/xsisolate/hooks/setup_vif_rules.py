"""setup-vif-rules: put a VIF on its bridge with its flows, or take it off."""
from time import monotonic

from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.grace import wait_for_proof
from xsisolate.dataplane.remotes import SILENCED
from xsisolate.dataplane.results import VifResult
from xsisolate.dataplane.vif_facts import VifFacts, read_vif, read_vm_uuid
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import NoXenstore, Xenstore
from xsisolate.errors import EXIT_DONE, HostError
from xsisolate.hooks.callouts import find_paths, parse_trunks, pvs_proxy, read_private, run_script
from xsisolate.hooks.event import Event, parse_rules_call
from xsisolate.hooks.plug import plug, unplug
from xsisolate.hooks.pool_wait import wait_for_pool_configuration
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import Mapping, Optional, Sequence

NO_ADDRESS = 'an isolated VIF without ipv4 and ipv6 keys %s nothing but DHCP'
STOCK_RULES = '/usr/libexec/xenopsd/setup-vif-rules'


def run_rules(argv: Sequence[str], log: Log) -> int:
    """Run setup-vif-rules."""
    event = parse_rules_call(argv[1:])
    if event.action == 'clear':
        clear(event, log)
    else:
        try:
            with Xenstore() as store:
                filter_vif(name_vm(store, event), store, log)
        except Exception:
            close_netdev(event)
            raise
    return EXIT_DONE


def name_vm(store: Xenstore, event: Event) -> Event:
    """Return the event with its VM's uuid, which XenServer 6.1's callers do not say."""
    return event if event.vm_uuid else event._replace(
        vm_uuid=read_vm_uuid(store, event.vif.domid).lower())


def filter_vif(event: Event, store: Xenstore, log: Log) -> None:
    """Put a VIF on its bridge with its flows, or bring them up to date."""
    if event.kind == 'tap' and not netdev.exists(event.device):
        log.info('nothing to do', vif=event.device, action=event.action,
                 reason='the guest has left its emulated NIC')
        return
    began, paths = monotonic(), find_paths(event)
    if not wait_for_pool_configuration():
        log.warning('configuration', reason='XAPI has not said since boot which configuration the '
                    'pool has: the last one that is known serves')
    configuration = read_configuration()
    facts = read_vif(store, event.vif, event.vm_uuid, configuration)
    private = read_private(store, paths)
    try:
        with Ovsdb() as ovsdb:
            host = HostContext(ovsdb, store, configuration)
            facts = wait_for_proof(host, event.vif, event.device, facts, log)
            outcome = plug(host, event, facts, parse_trunks(private))
    except HostError as error:
        hand_to_stock(event, facts, error, log)
        return
    store.write('%s/%s-ofport' % (paths.hotplug, event.kind), str(outcome.ofport))
    if outcome.fresh:
        pvs_proxy('add', event, paths, private, log)
    report(event, outcome, configuration.config.accept_unsealed, monotonic() - began, log)


def report(event: Event, outcome: VifResult, accept_unsealed: bool, seconds: float,
           log: Log) -> None:
    """Write the hook's line, and what an admin must know."""
    policy = outcome.vif.policy
    log.info('hook', vif=event.device, vm=outcome.vif.vm_uuid, action=event.action,
             bridge=outcome.network, mode=policy.mode.word,
             permissive='yes' if policy.permissive else None,
             groups=','.join(sorted(policy.groups)) or None, added=len(outcome.diff.add),
             deleted=len(outcome.diff.delete), ms=round(seconds * 1000))
    if policy.reason:
        log.warning('quarantined', vif=event.device, vm=outcome.vif.vm_uuid,
                    reason=policy.reason)
    elif outcome.vif.mute:
        log.warning('mute', vif=event.device, vm=outcome.vif.vm_uuid, reason=outcome.vif.mute)
    elif outcome.vif.waiting:
        log.warning('waiting', vif=event.device, vm=outcome.vif.vm_uuid,
                    reason=outcome.vif.waiting)
    elif policy.mode is Mode.ISOLATED and not policy.addresses and not policy.sources:
        log.warning('no address', vif=event.device, vm=outcome.vif.vm_uuid,
                    reason=NO_ADDRESS % ('would pass' if policy.permissive else 'passes'))
    if policy.would_be:
        log.warning('would be', vif=event.device, vm=outcome.vif.vm_uuid, reason=policy.would_be)
    if outcome.vif.complaint:
        log.warning('leases', vif=event.device, vm=outcome.vif.vm_uuid,
                    reason=outcome.vif.complaint)
    if outcome.silenced:
        log.warning('in-band', bridge=outcome.network, reason=SILENCED
                    % outcome.silenced)
    if outcome.exposed and policy.mode is not Mode.UNLOCKED:
        log.warning('exposed', vif=event.device, bridge=outcome.network,
                    reason=outcome.exposed)
    if accept_unsealed:
        log.warning('unsealed', vif=event.device, reason='unsealed: accept in xsisolate.yaml '
                    'lets every guest choose its own policy')


def hand_to_stock(event: Event, facts: VifFacts, error: HostError, log: Log) -> None:
    """On a Linux bridge the stock script serves unmanaged VIFs; managed ones are refused."""
    bridge = facts.metadata.bridge
    if not netdev.is_linux_bridge(bridge):
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
    began, store = monotonic(), connect_xenstore(event, log)
    if store is not None:
        event = try_to_name_vm(store, event)
    private = withdraw(event, store, log)
    try:
        if netdev.is_linux_bridge(private.get('bridge', '')):
            run_script(STOCK_RULES, event)
            log.info('hook', vif=event.device, action=event.action, served_by='stock')
            return
        with Ovsdb() as ovsdb:
            diff = unplug(HostContext(ovsdb, store or NoXenstore(), read_configuration()),
                          event)
        log.info('hook', vif=event.device, action=event.action, added=len(diff.add),
                 deleted=len(diff.delete), ms=round((monotonic() - began) * 1000))
    except HostError as error:
        close_device(event.device)
        log.error('not removed', vif=event.device, action=event.action, error=error)
    finally:
        if store is not None:
            store.close()


def withdraw(event: Event, store: Optional[Xenstore], log: Log) -> Mapping[str, str]:
    """Undo what filter_vif told xenopsd and the PVS proxy; return the VIF's private keys."""
    private: Mapping[str, str] = {}
    if store is None or not event.vm_uuid:
        return private
    paths = find_paths(event)
    try:
        private = read_private(store, paths)
        pvs_proxy('remove', event, paths, private, log)
        store.remove('%s/%s-ofport' % (paths.hotplug, event.kind))
    except HostError as error:
        log.warning('xenstore', vif=event.device, error=error)
    return private


def connect_xenstore(event: Event, log: Log) -> Optional[Xenstore]:
    """Return a connection, None if there is no xenstored."""
    try:
        return Xenstore()
    except HostError as error:
        log.warning('xenstore', vif=event.device, error=error)
        return None


def try_to_name_vm(store: Xenstore, event: Event) -> Event:
    """Return the event with its VM's uuid, unchanged if xenstore has no uuid for it."""
    try:
        return name_vm(store, event)
    except HostError:
        return event        # the domain is gone; its VIF's name is enough


def close_netdev(event: Event) -> None:
    """Close a VIF's netdev and its tap, whatever state the host is in."""
    for device in sorted({event.device, event._replace(kind='tap').device}):
        close_device(device)


def close_device(device: str) -> None:
    """Let nothing pass through a netdev, if it is there."""
    try:
        if netdev.exists(device):
            netdev.set_down(device)
    except HostError:
        pass        # the caller reports why it failed
