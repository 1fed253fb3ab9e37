"""Reconcile every bridge of this host with what its VIFs need.

From xenstore, xenopsd's metadata, the configuration and the group files alone:
what is missing on a bridge is added, what is ours and nobody needs is removed,
and ports whose netdev is gone are taken off.
"""
from time import sleep

from xsisolate.dataplane.bridge_settings import Deviation
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.grace import wait_for_bridges
from xsisolate.dataplane.program import Spare, nobody, preview_all, program_all
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs.ovsdb import find_bridge
from xsisolate.errors import EXIT_DONE, HostError, XsisolateError
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.items import Registry
from xsisolate.planner.retention import keeps_flows, keeps_policy
from xsisolate.planner.vif import Vif
from xsisolate.policy.model import Mode
from xsisolate.typing_compat import (Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Set,
                                     Tuple)
from xsisolate.vif_id import VIF_NETDEV

LOCK_DEADLINE_S = 60.0
# A plug makes the port before the kernel has told everybody of the netdev, and
# an unplug the other way round: what is gone must be seen twice.
DEAD_PAUSE_S = 0.5


class BridgeResult(NamedTuple):
    """What became of one bridge."""

    bridge: str
    vifs: Tuple[Vif, ...] = ()
    diff: FlowDiff = FlowDiff()
    settings: Tuple[Deviation, ...] = ()      # of ports and the bridge
    dead: Tuple[str, ...] = ()      # ports whose netdev is gone
    error: str = ''
    exit_code: int = EXIT_DONE      # of the error

    @property
    def changed(self) -> bool:
        """Tell whether anything was, or would be, changed."""
        return bool(self.diff.add or self.diff.delete or self.settings or self.dead)

    @property
    def quarantined(self) -> Tuple[Vif, ...]:
        """The VIFs whose policy must not be applied."""
        return tuple(vif for vif in self.vifs if vif.policy.mode is Mode.QUARANTINED)

    @property
    def mute(self) -> Tuple[Vif, ...]:
        """The unmanaged VIFs of which nothing passes."""
        return tuple(vif for vif in self.vifs if vif.mute)


def sync_bridges(host: HostContext, names: Iterable[str], dry_run: bool) -> Iterator[BridgeResult]:
    """Reconcile bridges one after the other; a failure of one does not stop the rest."""
    names = list(names)
    dead = find_dead(host, names)
    if not dry_run:
        yield from _sync_patiently(host, names, dead)
        return
    for name in names:
        try:
            with bridge_lock(name, LOCK_DEADLINE_S):
                yield preview_bridge(host, name, dead, keeps_flows)
        except XsisolateError as error:
            yield _failed(name, error)


def _sync_patiently(host: HostContext, names: Iterable[str],
                    dead: FrozenSet[str]) -> Iterator[BridgeResult]:
    """Reconcile bridges; those with VIFs in grace a second time, when that is over.

    For VIFs in doubt an admin's next write has begun. Nobody else waits for them.
    """
    doubtful: Set[Tuple[int, int]] = set()
    overdue: Set[Tuple[int, int]] = set()

    def spare(registry: Registry, vif: Vif) -> bool:
        """Leave VIFs alone that nobody knows any more, and those in doubt while they have grace."""
        in_grace = vif.id not in overdue and keeps_policy(registry, vif,
                                                              host.configuration.config)
        if in_grace:
            doubtful.add(vif.id)
        return in_grace or keeps_flows(registry, vif)

    waiting: Dict[str, BridgeResult] = {}
    for name in names:
        doubtful.clear()
        outcome = _try_to_sync(host, name, dead, spare)
        if doubtful and not outcome.error:
            waiting[name] = outcome
        else:
            yield outcome
    if waiting:
        overdue.update(wait_for_bridges(host, list(waiting)))
    for name, outcome in waiting.items():
        yield _together(outcome, _try_to_sync(host, name, dead, spare))


def _try_to_sync(host: HostContext, name: str, dead: FrozenSet[str], spare: Spare) -> BridgeResult:
    try:
        return sync_bridge(host, name, dead, spare, LOCK_DEADLINE_S)
    except XsisolateError as error:
        return _failed(name, error)


def _failed(name: str, error: XsisolateError) -> BridgeResult:
    return BridgeResult(name, error=str(error), exit_code=error.exit_code)


def _together(first: BridgeResult, second: BridgeResult) -> BridgeResult:
    """Return what two runs have done to a bridge."""
    return second._replace(
        diff=FlowDiff(first.diff.add + second.diff.add, first.diff.delete + second.diff.delete),
        settings=first.settings + second.settings, dead=first.dead + second.dead)


def sync_bridge(host: HostContext, name: str, dead: FrozenSet[str], spare: Spare,
                deadline: float) -> BridgeResult:
    """Reconcile one bridge; `dead` are ports that had no netdev before, either."""
    with bridge_lock(name, deadline):
        gone = tuple(sorted(dead & find_dead_ports(host, [name])))
        for port in gone:
            host.ovsdb.delete_port(port)
        return BridgeResult(name, *program_all(host, name, spare), gone)


def preview_bridge(host: HostContext, name: str, dead: FrozenSet[str],
                   spare: Spare = nobody) -> BridgeResult:
    """Return what sync_bridge would change, and change nothing."""
    return BridgeResult(name, *preview_all(host, name, spare),
                      tuple(sorted(dead & find_dead_ports(host, [name]))))


def choose_bridges(host: HostContext, wanted: str) -> List[str]:
    """Return the real bridges to reconcile: all, or the one that carries a network."""
    bridges = host.ovsdb.read_bridges()
    if not wanted:
        return [bridge.name for bridge in bridges]
    found = find_bridge(bridges, wanted)
    if found is None:
        raise HostError('Open vSwitch has no bridge %s; it has %s'
                        % (wanted, ', '.join(bridge.name for bridge in bridges) or 'none'))
    return [found.bridge.name]


def find_dead(host: HostContext, names: Iterable[str]) -> FrozenSet[str]:
    """Return the VIFs' ports without a netdev, seen twice."""
    names = list(names)
    first = find_dead_ports(host, names)
    if not first:
        return first
    sleep(DEAD_PAUSE_S)
    return first & find_dead_ports(host, names)


def find_dead_ports(host: HostContext, names: List[str]) -> FrozenSet[str]:
    """Return the VIFs' ports that have no netdev now."""
    return frozenset(port.name for bridge in host.ovsdb.read_bridges() if bridge.name in names
                     for port in bridge.ports
                     if VIF_NETDEV.fullmatch(port.name) and not netdev.exists(port.name))
