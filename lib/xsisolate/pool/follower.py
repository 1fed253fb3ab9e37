"""The daemon's child: it follows XAPI and keeps the files that hooks and daemon read.

    XAPI ── event.from ─► this process ─► /run/xsisolate/groups/*.json ─► daemon, hooks
                                     ├──► /run/xsisolate/networks.json ─► daemon, hooks
                                     ├──► /run/xsisolate/pool.json     ─► status, doctor
          OVSDB (what bridges are set to) ──► this host's PIFs in XAPI ─► networkd

A process of its own, because a call waits for half a minute, and a pool's first snapshot takes
seconds to read: see docs/adr/0007. While XAPI is away the files stay as they are, and their age is
in the state. What it writes into XAPI is in pifrecords.py.
"""
import ctypes
import os
import signal
import sys
from time import monotonic, process_time, sleep, time
from typing import Any, Optional

from xsisolate.config.host_config import read_configuration
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.group_members import list_groups, read_members, write_members
from xsisolate.dom0.run_files.pool_networks import write_networks
from xsisolate.dom0.run_files.pool_state import PoolState, read_state, write_state
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.dom0.xapi.session import Xapi, connect
from xsisolate.errors import ConfigError, HostError, XsisolateError
from xsisolate.networkd.pif_records import tell
from xsisolate.policy.model import HOLDERS
from xsisolate.policy.pool_members import Members, find_members
from xsisolate.pool.view import CLASSES, PoolView

EVENTS_S = 5.0              # how long XAPI waits for an event; then the configuration is read
LEASES_S = 60.0             # ... and that seldom it is seen that leases have ended
COALESCE_S = 0.2            # events come in bursts
RETRY_FIRST_S = 0.5         # after a failure, doubled each time ...
RETRY_MOST_S = 5.0          # ... up to this
PR_SET_PDEATHSIG = 1
STDOUT = 1                  # where the daemon listens
LINE_MAX = 500              # what is written as a whole or not at all


def main() -> None:
    """Follow XAPI until the daemon ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1 and len(sys.argv) > 1 and sys.argv[1] != '1':
        return      # the daemon has gone before we asked to hear of it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Follower(Log('xsisolate-pool')).run()


def _stop(*_: Any) -> None:
    raise SystemExit(0)     # so that the session is logged out on the way


class Follower:
    """Sessions, one after the other; each begins with a snapshot of the whole pool."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._complaint = ''
        self._state = (read_state() or PoolState(False))._replace(connected=False)
        self._pause = RETRY_FIRST_S
        self._members: Members = _read_all()

    def run(self) -> None:
        """Follow for ever."""
        while True:
            try:
                with connect() as xapi:
                    self._follow(xapi, read_host_uuid())
            except ConfigError as error:        # XAPI has answered
                self._complain(str(error), connected=True)
            except (XsisolateError, OSError) as error:
                self._complain(str(error))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._complain('XAPI\'s answer to event.from cannot be read: %r' % error)
            sleep(self._pause)
            self._pause = min(self._pause * 2, RETRY_MOST_S)

    def _follow(self, xapi: Xapi, uuid: str) -> None:
        """Follow a session until it fails: lost, forgotten, too far behind, another master."""
        view, token, previous, again = PoolView(), '', None, 0.0
        used = process_time()
        while True:
            batch = xapi.call('event.from', list(CLASSES), token, EVENTS_S)
            token = str(batch['token'])
            changed = view.take(batch['events'])
            if changed and write_networks(view.networks()):
                ring('networks')    # before the configuration is read, whose keys may be labels
            configuration = read_configuration()
            if configuration.error:
                raise ConfigError(configuration.error)      # the rosters are not known
            if (changed or configuration.config != previous
                    or monotonic() >= again and self._has_leases()):
                again = monotonic() + LEASES_S
                self._write(view, uuid, configuration.config)
                previous = configuration.config
            self._tell_networkd(xapi, view, uuid)
            self._confirm(uuid)
            used, spent = process_time(), used
            sleep(max(COALESCE_S, used - spent))    # whatever guests write: half a CPU at most

    def _has_leases(self) -> bool:
        return any(member.leased for members in self._members.values() for member in members)

    def _write(self, view: PoolView, uuid: str, config: Any) -> None:
        """Bring the group files up to date."""
        here = view.find_host(uuid)
        if not here:
            raise HostError('the pool does not know this host (%s)' % uuid)
        places = list(view.places())
        members = find_members(places, config, here, self._members, time())
        changed = write_members(members)
        self._members = members
        self._state = self._state._replace(vifs=len(places), groups=len(members.keys() - {HOLDERS}))
        if changed:
            ring('changed', *changed)
            self._log.info('groups', changed=','.join(changed[:10]), groups=len(members),
                           members=sum(map(len, members.values())))

    def _tell_networkd(self, xapi: Xapi, view: PoolView, uuid: str) -> None:
        """Have networkd leave bridges as they are set; what fails is tried with the next events."""
        with Ovsdb() as ovsdb:
            told = tell(xapi, view.pifs(view.find_host(uuid)), ovsdb)
        if told.changed:
            self._log.info('networkd', bridges=','.join(told.changed),
                           reason='XAPI\'s PIF records say what these bridges are set to')
        if told.error and told.error != self._state.refused:
            self._log.warning('networkd', bridges=','.join(told.missing), error=told.error,
                              reason='xcp-networkd sets these bridges back at each plug of a PIF')
        if told.renoted:
            os.kill(os.getppid(), signal.SIGHUP)    # the daemon, which compares all bridges
        self._state = self._state._replace(untold=told.missing, refused=told.error)

    def _confirm(self, uuid: str) -> None:
        """Note that XAPI has just said that nothing else has changed."""
        self._pause = RETRY_FIRST_S
        if self._complaint or not self._state.connected:
            self._log.info('following', host=uuid, vifs=self._state.vifs)
            self._complaint = ''
        self._state = self._state._replace(connected=True, synced=monotonic(), host=uuid, error='')
        write_state(self._state)

    def _complain(self, text: str, connected: bool = False) -> None:
        """Say once why XAPI is not followed, and leave word for `status`."""
        if text != self._complaint:
            age: Optional[float] = self._state.age()
            self._log.warning('not following', error=text, age=age and round(age),
                              reason='groups stay as they were last known')
        self._complaint = text
        self._state = self._state._replace(connected=connected, error=text)
        try:
            write_state(self._state)
        except HostError:
            pass        # that is what the complaint is about, perhaps


def ring(*words: str) -> None:
    """Have the daemon look at the files at once; if it does not listen, it does so within a second.

    A daemon that hangs leaves the pipe full, and nothing waits for it.
    """
    try:
        os.set_blocking(STDOUT, False)
        os.write(STDOUT, ' '.join(words).encode()[:LINE_MAX] + b'\n')
    except OSError:
        pass


def _read_all() -> Members:
    """Return the members that a follower before this one knew: their addresses are theirs."""
    try:
        return {group: read_members(group) for group in list_groups()}
    except ConfigError:
        return {}       # they are written anew


if __name__ == '__main__':
    main()
