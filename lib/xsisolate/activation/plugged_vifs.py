"""VIFs that are plugged while the hooks change hands: their keys, their flows, the stock ones."""
from time import sleep
from typing import Callable, Dict, Iterator, List, Optional

from xsisolate.activation.desired import Step, desired_rules
from xsisolate.dataplane.bridge_snapshot import find_vifs, read_facts, read_snapshot
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.resync import choose_bridges, sync_bridges
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.linux.process import run
from xsisolate.dom0.ovs.ofctl import delete_stock_flows, read_stock_ports
from xsisolate.errors import HostError
from xsisolate.paths import RULES, STOCK
from xsisolate.planner.cookie import port_key
from xsisolate.policy.model import Mode
from xsisolate.vif_id import VifId

LOCK_DEADLINE_S = 60.0
VMS_MAX = 8192              # below /xapi: every VM that runs, or has run, here
SCRIPT_TIMEOUT_S = 120.0
# For so long after our flows are gone, cached verdicts still make the switch learn new flows.
LEARNING_S = 0.6
ATTEMPTS = 5


def key_steps(dom0: HostContext, active: bool) -> Iterator[Step]:
    """Yield what has the VIFs' keys name the right script for their unplugging."""
    wrong = [key for key, script in read_keys(dom0).items()
             if script == desired_rules(not active)]
    if wrong:
        yield Step('set the xenstore keys of %d plugged VIFs to %s'
                   % (len(wrong), desired_rules(active)),
                   lambda: _write_keys(dom0, wrong, desired_rules(active)))


def read_keys(dom0: HostContext) -> Dict[str, str]:
    """Return the script that each plugged VIF's key in xenstore names, by path of the key."""
    found = {}
    for vm_uuid in dom0.store.directory('/xapi', VMS_MAX) or ():
        folder = '/xapi/%s/private/vif' % vm_uuid
        for devid in dom0.store.directory(folder) or ():
            key = '%s/%s/%s' % (folder, devid, RULES)
            script = dom0.store.read_text(key)
            if script is not None:
                found[key] = script
    return found


def _write_keys(dom0: HostContext, keys: List[str], script: str) -> None:
    for key in keys:
        if dom0.store.read(key) is not None:    # else it has been unplugged meanwhile
            dom0.store.write(key, script)


def bridge_steps(dom0: HostContext, setting: str = '', released: bool = False) -> Iterator[Step]:
    """Yield what bridges lack, or have too much; with `setting`, those where that is wrong only.

    `released`: as if no VIF had a policy.
    """
    for outcome in sync_bridges(dom0, choose_bridges(dom0, ''), True, released):
        if outcome.error:
            raise HostError(outcome.error)
        if outcome.changed and (not setting or setting in [wrong.what for wrong
                                                           in outcome.settings]):
            after = '; no VIF on it is isolated after that' if released else ''
            yield Step(describe(outcome) + after, _syncer(dom0, outcome.bridge, released))


def describe(outcome: BridgeResult) -> str:
    """Say what reconciling a bridge would do; VIFs that would be cut off have a line each."""
    lines = ['reconcile bridge %s, %d VIFs: add %d flows, remove %d, change %d settings' % (
        outcome.bridge, len(outcome.vifs), len(outcome.diff.add), len(outcome.diff.delete),
        len(outcome.settings))]
    lines += ['  QUARANTINE %s: %s' % (vif.id, vif.policy.reason)
              for vif in outcome.quarantined]
    return '\n'.join(lines)


def _syncer(dom0: HostContext, bridge: str, released: bool) -> Callable[[], None]:
    def sync() -> None:
        error = _sync(dom0, bridge, released)
        for _ in range(ATTEMPTS if released else 0):
            sleep(LEARNING_S)
            error = _sync(dom0, bridge, released)
            if error is None:
                return
        if error or released:
            raise HostError(error or 'bridge %s: each of %d attempts to remove our flows found '
                            'something to remove: run this again' % (bridge, ATTEMPTS))
    return sync


def _sync(dom0: HostContext, bridge: str, released: bool) -> Optional[str]:
    """Reconcile a bridge; return an error, '' if there was something to change, else None."""
    outcome, = sync_bridges(dom0, [bridge], False, released)
    return outcome.error or ('' if outcome.changed else None)


def stock_flow_steps(dom0: HostContext) -> Iterator[Step]:
    """Yield what removes the stock script's flows, of VIFs that have ours by then.

    It leaves some behind when a VIF's netdev is gone before its port: the next VIF with
    that number would have to obey them.
    """
    for name in choose_bridges(dom0, ''):
        ports = {link.ofport: link.interface for link in read_snapshot(dom0, name).links}
        for ofport in sorted(read_stock_ports(name)):
            owner = ports.get(ofport, 'port %d, which is gone,' % ofport)
            if owner.startswith(('vif', 'tap')) or ofport not in ports:
                yield Step('remove the stock flows of %s on %s' % (owner, name),
                           _stock_flow_remover(name, ofport))


def _stock_flow_remover(bridge: str, ofport: int) -> Callable[[], None]:
    def remove() -> None:
        with bridge_lock(bridge, LOCK_DEADLINE_S):
            delete_stock_flows(bridge, ofport)
    return remove


def stock_rules_steps(dom0: HostContext) -> Iterator[Step]:
    """Yield the stock script's calls for VIFs that XAPI locks: its flows come before ours go."""
    for name in choose_bridges(dom0, ''):
        managed = read_registry(name)
        for vif_id in find_vifs(read_snapshot(dom0, name)):
            devices = [device for device in vif_id.netdevs if port_key(device) in managed]
            metadata = read_facts(dom0, vif_id).metadata if devices else None
            if metadata and metadata.locking.mode is not Mode.UNLOCKED:
                for device in filter(netdev.exists, devices):
                    yield Step('run the stock %s for %s, which XAPI has %s (its link blips)' % (
                        RULES, device, metadata.locking.mode.word),
                        _stock_runner(device, metadata.vm_uuid, vif_id))


def _stock_runner(device: str, vm_uuid: str, vif_id: VifId) -> Callable[[], None]:
    argv = ('%s/%s' % (STOCK, RULES), 'classic', device, vm_uuid, str(vif_id.devid), 'filter')

    def run_stock() -> None:
        run(argv, timeout=SCRIPT_TIMEOUT_S)
    return run_stock
