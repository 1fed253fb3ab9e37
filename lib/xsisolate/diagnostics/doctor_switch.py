"""Is Open vSwitch as it must be, and does it carry what this host's VIFs need?"""
from typing import Iterator, List

from xsisolate.dataplane.bridge_settings import is_wanted, speaks_ours
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.in_band import leans_on_in_band
from xsisolate.dataplane.own_address import own_address
from xsisolate.dataplane.remotes import forwards, in_band_remotes, name_all, open_remotes, place_of
from xsisolate.dataplane.resync import sync_bridges
from xsisolate.dataplane.switch_needs import find_lacking
from xsisolate.diagnostics.finding import Finding, ok, problem, warning
from xsisolate.diagnostics.inventory import BridgeView, Inventory
from xsisolate.dom0.ovs import appctl
from xsisolate.dom0.ovs.ovsdb import SECURE, Bridge
from xsisolate.dom0.run_files.pool_state import read_state
from xsisolate.errors import EXIT_DIFFERENT, EXIT_HOST, HostError
from xsisolate.networkd.desired import wanted_keys
from xsisolate.policy.model import Mode

MEND_FIRST = 'mend the configuration first, then xsisolate sync'
OLDEST = (2, 17)        # of XCP-ng 8.3 and XenServer 8
NEARLY_FULL = 0.9       # of the table of connections


def examine_version() -> Iterator[Finding]:
    """Yield whether ovs-vswitchd answers, and which one it is."""
    try:
        version = appctl.read_version()
    except HostError as error:
        yield problem('ovs-vswitchd', str(error), 'an answer',
                      'systemctl status openvswitch; nothing can be programmed without it')
        return
    numbers = tuple(int(word) for word in version.split('.')[:2] if word.isdigit())
    if numbers < OLDEST:
        yield warning('ovs-vswitchd', version, '%d.%d or later' % OLDEST, 'xsisolate '
                      'has not been tested with this version: update Open vSwitch')
    else:
        yield ok('ovs-vswitchd', version)


def examine_connections() -> Iterator[Finding]:
    """Yield how full the table of connections is: when it is full, nothing new begins."""
    found = appctl.count_connections()
    if found is None:
        return
    text = '%d of %d' % found
    expected = 'fewer than %d' % (found.most * NEARLY_FULL)
    advice = ('what is tracked (services with ports, entries with a direction) cannot begin when '
              'it is full, and what has begun goes on. See who begins so much (conntrack -C; '
              'ovs-appctl dpctl/dump-conntrack), or raise net.netfilter.nf_conntrack_max')
    if found.known >= found.most:
        yield problem('connections', text + ': the table is full', expected, advice)
    elif found.known >= found.most * NEARLY_FULL:
        yield warning('connections', text, expected, advice)
    else:
        yield ok('connections', text)


def examine_bridges(dom0: HostContext, inventory: Inventory) -> Iterator[Finding]:
    """Yield what is to be said of each bridge's settings."""
    for name, view in sorted(inventory.bridges.items()):
        managed = [one for one in inventory.vifs
                   if one.bridge == name and one.vif.policy.mode is not Mode.UNLOCKED]
        yield from _examine_bridge(dom0, view, len(managed))
    yield from _examine_datapaths(inventory)
    if not inventory.bridges:
        yield warning('bridges', 'none', 'a bridge for each network', 'see that the host uses Open '
                      'vSwitch (xe-switch-network-backend openvswitch) and has networks')


def _examine_datapaths(inventory: Inventory) -> Iterator[Finding]:
    """Yield what a bridge's datapath lacks; that ovs-vswitchd does not answer is said before."""
    try:
        lacking = [(name, find_lacking(name)) for name in sorted(inventory.bridges)]
    except HostError:
        return
    for name, what in lacking:
        if what:
            yield problem('datapath of ' + name, 'lacks ' + what, 'connection tracking with labels',
                          'run a kernel that has it; xsisolate selftest tries it')


def examine_records(inventory: Inventory) -> Iterator[Finding]:
    """Yield whether networkd was told to leave bridges as they are set."""
    state = read_state()
    noted = {name: wanted_keys(view.bridge.external_ids)
             for name, view in sorted(inventory.bridges.items())}
    for name, keys in noted.items():
        what = 'networkd, ' + name
        untold = [key for key in keys if key in (state.untold.get(name, ()) if state else keys)]
        if untold and (state or inventory.bridges[name].context.topology.uplinks):
            why = state.refused if state else 'the daemon has not heard of XAPI since boot'
            yield warning(what, 'no record in XAPI says %s: %s' % (', '.join(untold), why),
                          'PIF.other_config with it', 'see that XAPI and xsisolate-watch run, '
                          'which writes it; until then each plug of a PIF sets the bridge back')
        elif keys:
            yield ok(what, 'leaves %s' % ', '.join(keys))


def _examine_bridge(dom0: HostContext, view: BridgeView, managed: int) -> Iterator[Finding]:
    bridge, what = view.bridge, 'bridge ' + view.bridge.name
    facts = 'protocols %s, %s, fail mode %s, %d VIFs with a policy' % (
        ','.join(bridge.protocols) or 'default', name_all(bridge.controllers + bridge.managers)
        or 'no controller', bridge.fail_mode or 'standalone', managed)
    if not speaks_ours(bridge) and managed:
        yield problem(what, facts, 'OpenFlow10 and OpenFlow14 among the protocols',
                      'xsisolate sync', EXIT_DIFFERENT)
    elif open_remotes(bridge) and managed:
        yield problem(what, facts + ': ' + view.exposed, 'in-band control switched off',
                      'xsisolate sync; a running daemon would have done so', EXIT_DIFFERENT)
    elif view.exposed and managed:
        yield warning(what, facts + ': ' + view.exposed, 'fail mode %s' % SECURE
                      if is_wanted(dom0, bridge) else 'no controller, or fail_closed: true',
                      'set fail_closed: true for the network, or remove the controller')
    elif view.error and managed:
        yield problem(what, view.error, 'flows that can be read', 'look at ovs-vswitchd\'s log')
    else:
        yield ok(what, facts)
    yield from _examine_in_band(bridge, managed)


def _examine_in_band(bridge: Bridge, managed: int) -> Iterator[Finding]:
    """Yield where Dom0's way to a controller or manager and isolation are at odds."""
    what, remotes = 'in-band control on ' + bridge.name, in_band_remotes(bridge)
    unserved = () if forwards(bridge) else tuple(
        remote for remote in remotes if place_of(remote) is None)
    if managed and unserved and own_address(bridge):
        yield warning(what, 'switched off for %s' % name_all(unserved), 'an IPv4 address',
                      'Dom0 reaches them over this bridge by flows of xsisolate\'s, which know no '
                      'names: write the address instead of the name, or have the bridge forward '
                      'by itself (fail_mode=standalone)')
    elif remotes and leans_on_in_band(bridge):
        yield warning(what, 'in use for %s' % name_all(remotes), 'a bridge that forwards by itself',
                      'a bridge with managed VIFs opens for a moment when xcp-networkd resets it '
                      'while no PIF record in XAPI says vswitch-disable-in-band=true: see that '
                      'XAPI and xsisolate-watch run, or set fail_mode=standalone on this bridge')


def examine_drift(dom0: HostContext, inventory: Inventory) -> Iterator[Finding]:
    """Yield what a sync would change, and ports whose netdev is gone."""
    if inventory.broken:
        yield from _examine_kept(inventory)
        return
    for outcome in sync_bridges(dom0, sorted(inventory.bridges), dry_run=True):
        what = 'flows of ' + outcome.bridge
        if outcome.error:
            yield problem(what, outcome.error, 'to be compared', 'see the error', outcome.exit_code
                          or EXIT_HOST)
            continue
        if outcome.dead:
            yield problem('ports of ' + outcome.bridge, 'no netdev: ' + ', '.join(outcome.dead),
                          'none', 'xsisolate sync takes them off', EXIT_DIFFERENT)
        parts: List[str] = []
        if outcome.diff.add or outcome.diff.delete:
            parts.append('%d missing, %d too many' % (len(outcome.diff.add),
                                                      len(outcome.diff.delete)))
        parts += ['%s is %s, not %s' % (setting.what, setting.actual or 'unset', setting.desired
                                        or 'unset') for setting in outcome.settings]
        if parts:
            yield problem(what, '; '.join(parts), 'what VIFs and policies need',
                          'xsisolate sync --dry-run shows it, xsisolate sync mends it; a running '
                          'daemon would have done so', EXIT_DIFFERENT)
        else:
            yield ok(what, 'as they should be')


def _examine_kept(inventory: Inventory) -> Iterator[Finding]:
    """Yield whether VIFs still have what they had before the configuration broke."""
    for name in sorted(inventory.bridges):
        lacking = [view.name for view in inventory.lacking if view.bridge == name]
        what = 'flows of ' + name
        if lacking:
            yield problem(what, 'not those that these VIFs had: ' + ', '.join(lacking), 'what VIFs '
                          'had before the configuration broke', MEND_FIRST, EXIT_DIFFERENT)
        else:
            yield warning(what, 'what VIFs had before the configuration broke is there',
                          'to be compared with the configuration', MEND_FIRST)
