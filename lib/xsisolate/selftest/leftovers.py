"""One self-test at a time, nothing in its way, and nothing left of one that was killed."""
import os
from contextlib import contextmanager
from typing import Iterator, List

from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import restore_wait
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE, delete_trial, find_trial, usual_datapath
from xsisolate.errors import HostError
from xsisolate.paths import rooted
from xsisolate.selftest.parties import VMS
from xsisolate.selftest.played_host import FOLDER, remove_root
from xsisolate.selftest.scene import UPLINK_DEVICE
from xsisolate.selftest.station import device_exists, remove_device

DEVICES = (UPLINK_DEVICE,) + tuple(party.vif.vif for party in VMS if party.vif)


@contextmanager
def own_place() -> Iterator[str]:
    """Hold the place for the self-test, cleared of what another has left; its datapath's type.

    Raises HostError if it would collide with what is not the self-test's.
    """
    if os.geteuid():
        raise HostError('the self-test makes a bridge and network namespaces: run it as root')
    with Ovsdb() as ovsdb, bridge_lock(TRIAL_BRIDGE, 0):
        if restore_wait.is_held(ovsdb):
            raise HostError('Open vSwitch forwards nothing now (other_config:flow-restore-wait): '
                            'it is being restarted; run the self-test when that is done')
        _clear(ovsdb)
        taken = ovsdb.find_by_macs([party.mac for party in VMS])
        if taken:
            raise HostError('%s has a MAC address that the self-test would use: run it while that '
                            'VM does not run on this host' % taken[0])
        yield usual_datapath(ovsdb)


def _clear(ovsdb: Ovsdb) -> None:
    """Remove what a self-test has left that was killed."""
    found = find_trial(ovsdb)
    if found and not found.ours:
        raise HostError('Open vSwitch has a bridge %s that no self-test has made: rename or remove '
                        'it (ovs-vsctl del-br %s)' % (TRIAL_BRIDGE, TRIAL_BRIDGE))
    there = [device for device in DEVICES if device_exists(device)]
    strange: List[str] = [] if found else there
    if strange:
        raise HostError('a network device %s is there that the self-test would make: remove it '
                        '(ip link del %s)' % (strange[0], strange[0]))
    if found:
        delete_trial(ovsdb)
        for device in there:
            remove_device(device)
    remove_root()


def find_left() -> List[str]:
    """Return what of the self-test is still there."""
    with Ovsdb() as ovsdb:
        bridge = ['bridge ' + TRIAL_BRIDGE] if find_trial(ovsdb) else []
    files = [rooted(FOLDER)] if os.path.exists(rooted(FOLDER)) else []
    return bridge + ['device ' + device for device in DEVICES if device_exists(device)] + files
