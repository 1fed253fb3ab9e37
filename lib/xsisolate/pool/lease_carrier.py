"""The daemon's other child: it has XAPI carry what the daemon has learned, in VIF.other_config.

    /run/xsisolate/leases/*.json ─► this process ─► VIF.other_config ─► other hosts, migration

A guest cannot write there. It writes when a VIF gets an address, or loses one; a renewal only when
what is carried would run out. While XAPI is away the files stay, and are carried later.
"""
from time import gmtime, monotonic, sleep, strftime, time
from typing import Dict, NamedTuple, Optional, Tuple

from xsisolate.dom0.linux.bound_child import bind_to_daemon
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.run_files.vif_leases import list_leases, read_leases, stamp_folder
from xsisolate.dom0.xapi.session import ConnectionLost, Xapi, XapiError, connect
from xsisolate.errors import ConfigError, XsisolateError
from xsisolate.policy.leases import KEYS, LeaseRecord, find_carried, format_record, must_carry
from xsisolate.policy.xapi_records import TOUCHED_KEY
from xsisolate.pool.child import RETRY_FIRST_S, RETRY_MOST_S

LOOK_S = 0.05               # how often the folder is looked at: one stat
ALL_S = 60.0                # ... and every file, for what is carried may run out
PACE_FIRST_S = 5.0          # between two writes for the same VIF, doubled each time ...
PACE_MOST_S = 60.0          # ... up to this
BETWEEN_S = 0.01            # between the writes for two VIFs: a hundred a second at most
GONE = ('UUID_INVALID', 'HANDLE_INVALID')

Owner = Tuple[str, str]     # VM and device


class Pace(NamedTuple):
    """When a VIF may be written for again."""

    at: float
    pause: float


def main() -> None:
    """Carry until the daemon ends."""
    if bind_to_daemon():
        Carrier(Log('xsisolate-leases')).run()


class Carrier:
    """Sessions, one after the other."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._complaint = ''
        self._pause = RETRY_FIRST_S
        self._paces: Dict[Owner, Pace] = {}
        self._done: Dict[Owner, LeaseRecord] = {}       # what XAPI need not be asked about again

    def run(self) -> None:
        """Carry for ever."""
        while True:
            try:
                with connect() as xapi:
                    self._done.clear()
                    self._carry_all(xapi)
            except XsisolateError as error:
                if str(error) != self._complaint:
                    self._log.warning('leases are not carried', error=error,
                                      reason='other hosts know them as they were')
                self._complaint = str(error)
            sleep(self._pause)
            self._pause = min(self._pause * 2, RETRY_MOST_S)

    def _carry_all(self, xapi: Xapi) -> None:
        """Carry until the session fails."""
        stamp: Optional[int] = None
        next_look = 0.0
        while True:
            found = stamp_folder()
            if found != stamp or monotonic() >= next_look:
                if monotonic() >= next_look:
                    self._done.clear()
                stamp = found
                waits = [self._carry(xapi, vm_uuid, devid) for vm_uuid, devid, _ in list_leases()]
                next_look = monotonic() + min([ALL_S, *waits])
                self._pause, self._complaint = RETRY_FIRST_S, ''
            sleep(LOOK_S)

    def _carry(self, xapi: Xapi, vm_uuid: str, devid: str) -> float:
        """Carry a VIF's leases, if they need it; return in how many seconds to look again."""
        owner, now = (vm_uuid, devid), monotonic()
        try:
            record = read_leases(vm_uuid, devid)
        except ConfigError:
            return ALL_S        # the daemon writes it anew
        if record is None or not record.vif or self._done.get(owner) == record:
            return ALL_S
        pace = self._paces.get(owner, Pace(0.0, 0.0))
        if now < pace.at:
            return pace.at - now
        try:
            written = _write(xapi, record)
        except XapiError as error:
            if isinstance(error, ConnectionLost) or error.code not in GONE:
                raise
            written = False     # the VIF has gone
        self._done[owner] = record
        if written:
            slow = min(pace.pause * 2, PACE_MOST_S) if now < pace.at + pace.pause else PACE_FIRST_S
            self._paces[owner] = Pace(now + max(slow, PACE_FIRST_S), slow)
            sleep(BETWEEN_S)
        return ALL_S


def _write(xapi: Xapi, record: LeaseRecord) -> bool:
    """Write a VIF's leases, unless what it carries will do; return whether anything was written.

    The new ones are there before the old ones go.
    """
    ref = xapi.call('VIF.get_by_uuid', record.vif)
    vif = xapi.call('VIF.get_record', ref)
    other_config, mac = dict(vif['other_config']), str(vif['MAC']).lower()
    carried = find_carried(other_config, mac)
    if mac != record.mac or (carried and carried.at > record.at) or not must_carry(
            record, carried, time()):
        return False        # the VIF is another now; or it has been on another host since
    holds = [key for key in KEYS if carried and key in other_config and find_carried(
        {key: other_config[key]}, mac) == carried]
    free = next(key for key in KEYS if key not in holds[:1])
    if free in other_config:
        xapi.call('VIF.remove_from_other_config', ref, free)
    xapi.call('VIF.add_to_other_config', ref, free, format_record(record, carried=True))
    for key in KEYS:
        if key != free and key in other_config:
            xapi.call('VIF.remove_from_other_config', ref, key)
    _touch(xapi, str(vif['VM']))
    return True


def _touch(xapi: Xapi, vm: str) -> None:
    """Have XAPI tell xenopsd, which tells the host that the VM migrates to."""
    xapi.call('VM.remove_from_other_config', vm, TOUCHED_KEY)
    try:
        xapi.call('VM.add_to_other_config', vm, TOUCHED_KEY,
                  strftime('%Y-%m-%dT%H:%M:%SZ', gmtime()))
    except XapiError as error:
        if error.code != 'MAP_DUPLICATE_KEY':       # an admin's command was faster
            raise


if __name__ == '__main__':
    main()
