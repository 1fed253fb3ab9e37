"""vif: what udev calls for a VIF's netdev, and xenopsd when a VIF moves.

It readies the netdev, runs setup-vif-rules in this very process, and reports
to xenopsd through xenstore.
"""
import os

from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.process import CommandFailed
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_DONE, HostError
from xsisolate.hooks.callouts import (Paths, call_hotplug_script, find_paths, read_private,
                                      run_script)
from xsisolate.hooks.event import Event, parse_vif_call
from xsisolate.hooks.setup_vif_rules import (STOCK_RULES, clear, close_netdev, filter_vif, name_vm,
                                             try_to_name_vm)
from xsisolate.typing_compat import Mapping, Sequence

ON, OFF = ('true', 'on'), ('false', 'off')
ETHTOOL_KEY = 'ethtool-'


def run_vif(argv: Sequence[str], log: Log) -> int:
    """Run the vif script; events that are not about a VIF of ours are ignored."""
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
            come(name_vm(store, event), store, argv, log)
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
        raise HostError('%s: %s/MTU is not a number: %.40r'
                        % (event.device, paths.private, private['MTU']))
    if event.action == 'online':
        set_offloads(event, private, log)
    if event.action != 'move' and netdev.is_up(event.device) and is_plugged(event):
        netdev.set_mtu(event.device, int(private['MTU']))
        return
    netdev.prepare(event.device, private['bridge-MAC'], int(private['MTU']))


def is_plugged(event: Event) -> bool:
    """Tell whether the netdev is on a bridge already: the same event may come twice."""
    try:
        with Ovsdb() as ovsdb:
            bridges = ovsdb.read_bridges_for((event.device,))
            return any(port.name == event.device for bridge in bridges for port in bridge.ports)
    except HostError:
        return False        # a host with Linux bridges has no Open vSwitch


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
    """Call the setup-vif-rules that xenopsd chose; our own one runs right here.

    It does so also where the stock one is named: by a xenopsd that has not been restarted
    since the hooks were taken over.
    """
    script = private.get('setup-vif-rules', '')
    if script and script != STOCK_RULES and not is_own(script, argv):
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
    try:
        store = Xenstore()
    except HostError:
        clear(event._replace(action='clear'), log)      # it says what is missing
        return
    with store:
        event = try_to_name_vm(store, event)
        if not event.vm_uuid:       # the domain is gone, and xenopsd's keys with it
            clear(event._replace(action='clear'), log)
            return
        paths = find_paths(event)
        private = read_private(store, paths)
        leaving = event._replace(action='clear',
                                 backend=private.get('xenopsd-backend', 'classic'))
        try:
            call_rules(leaving, private, store, argv, log)
        except CommandFailed as error:      # another package's script, which may be gone
            log.warning('setup-vif-rules', vif=event.device, error=error)
            clear(leaving, log)
        store.remove('%s/%s-ifindex' % (paths.hotplug, event.kind))
        if event.kind == 'vif':
            call_hotplug_script(event, private, log)
            store.remove(paths.backend + '/hotplug-status')
            store.remove(paths.hotplug + '/hotplug')


def write_hotplug_error(event: Event, error: Exception, log: Log) -> None:
    """Tell xenopsd, which waits for either success or this; also on behalf of a tap.

    If the VIF has gone meanwhile, xenopsd does not wait: its backend is not made anew.
    """
    backend = find_paths(event).backend
    try:
        with Xenstore() as store:
            if store.read(backend) is not None:
                store.write(backend + '/hotplug-error',
                            '%.1000s' % ('%s: %s' % (event.device, error)))
    except HostError as second:
        log.warning('xenstore', vif=event.device, error=second)
