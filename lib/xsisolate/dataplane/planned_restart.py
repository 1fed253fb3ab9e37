"""A planned restart of Open vSwitch: nothing is forwarded before the VIFs' flows are there.

If a bridge cannot be programmed, its VIFs are closed instead, and Open vSwitch then forwards
everything else. So one bridge's or one VIF's failure does not stop the network of the others.
Whatever happens, it is over within RELEASE_S + CLOSE_S.
"""
import signal
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Iterator

from xsisolate.config.host_config import read_configuration_in_force
from xsisolate.dataplane.bridge_snapshot import read_snapshot
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.reconcile import close_ports
from xsisolate.dataplane.results import BridgeResult
from xsisolate.dataplane.resync import resync
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import flow_table, restore_wait
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import NoXenstore, Xenstore
from xsisolate.errors import HostError, XsisolateError

RELEASE_S = 20.0        # to program all bridges; 250 VIFs take two seconds
CLOSE_S = 5.0           # to close the VIFs of bridges that could not be programmed
LOCK_S = 5.0            # a hook that was surprised by the restart may hold a bridge's lock
REPEAT_S = 0.5          # a first alarm may have been taken for something else's failure
START_S = 10.0          # for ovsdb-server to answer
PAUSE_S = 0.1


def release() -> Iterator[BridgeResult]:
    """Program all bridges, and then have Open vSwitch forward; yields as bridges are done."""
    ovsdb = _connect()
    try:
        with ovsdb, _xenstore() as store:
            host = HostContext(ovsdb, store, read_configuration_in_force())
            end = monotonic() + RELEASE_S
            for bridge in ovsdb.read_bridges():
                yield _release_bridge(host, bridge.name, max(end - monotonic(), 0.001))
    finally:
        with _connect() as fresh:       # whatever has happened to the first one
            restore_wait.release(fresh)


def _release_bridge(host: HostContext, name: str, seconds: float) -> BridgeResult:
    try:
        with time_limit(seconds), bridge_lock(name, LOCK_S):
            return resync(host, name, write=True)
    except Exception as error:      # a mistake of ours, too, must not leave VIFs open
        outcome = BridgeResult(name, error=str(error) or repr(error),
                             exit_code=getattr(error, 'exit_code', HostError.exit_code))
    try:
        with time_limit(CLOSE_S):
            close_vifs(host, name)
        return outcome._replace(closed=True)
    except XsisolateError:
        return outcome


def close_vifs(host: HostContext, name: str) -> None:
    """Let no frame pass from or to a bridge's VIFs."""
    ofports = read_snapshot(host, name).ofports
    flow_table.set_no_flood(name, ofports.values(), True)
    close_ports(name, ofports)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HostError in what takes longer, whatever it is waiting for."""
    def stop(*_: Any) -> None:
        raise HostError('not done within %g s' % round(seconds, 1))

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _connect() -> Ovsdb:
    """Connect to an ovsdb-server that is just being started."""
    end = monotonic() + START_S
    while True:
        try:
            return Ovsdb()
        except HostError:
            if monotonic() > end:
                raise
            sleep(PAUSE_S)


def _xenstore() -> Xenstore:
    """Connect to xenstored; if there is none, no VIF is known, and each is closed."""
    try:
        return Xenstore()
    except HostError:
        return NoXenstore()
