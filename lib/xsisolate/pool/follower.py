"""The daemon's child: it follows XAPI and keeps the files that hooks and daemon read.

    XAPI ── event.from ─► this process ─► /run/xsisolate/groups/*.json ─► daemon, hooks
                                     ├──► /run/xsisolate/networks.json ─► daemon, hooks
                                     ├──► /run/xsisolate/pool.json     ─► status, doctor
                                     ├──► /etc/xsisolate/xsisolate.yaml ─► daemon, hooks
          OVSDB (what bridges are set to) ──► this host's PIFs in XAPI ─► networkd

A process of its own, because a call waits for half a minute, and a pool's first snapshot takes
seconds to read: see docs/adr/0007. While XAPI is away the files stay as they are, and their age is
in the state. What it writes into XAPI is in pifrecords.py.
"""
import os
import signal
from time import monotonic, process_time, sleep, time
from typing import Any, Dict, Optional

from xsisolate.config.host_config import read_configuration
from xsisolate.dom0.linux.bound_child import bind_to_daemon
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.group_members import (list_groups, read_members, write_changed,
                                                    write_members)
from xsisolate.dom0.run_files.pool_names import VifName, write_names
from xsisolate.dom0.run_files.pool_networks import write_networks
from xsisolate.dom0.run_files.pool_state import PoolState, read_state, write_state
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.dom0.xapi.json_rpc import NoJson
from xsisolate.dom0.xapi.session import Xapi, XapiError, connect
from xsisolate.errors import ConfigError, HostError, XsisolateError
from xsisolate.networkd.pif_records import tell
from xsisolate.policy.member_index import MemberIndex, merge
from xsisolate.policy.model import HOLDERS
from xsisolate.policy.pool_members import Members, PoolVif
from xsisolate.pool.child import RETRY_FIRST_S, RETRY_MOST_S
from xsisolate.pool.guard import Guard
from xsisolate.pool.take_over import TakeOver
from xsisolate.pool.view import CLASSES, PoolView

EVENTS_S = 5.0              # how long XAPI waits for an event; then the configuration is read
CHORES_S = 2.0              # so long after events of VMs what does not depend on them is looked at
OF_VMS = frozenset(('vm', 'vif'))
LEASES_S = 60.0             # ... and that seldom it is seen that leases have ended
COALESCE_S = 0.2            # events come in bursts
STDOUT = 1                  # where the daemon listens
LINE_MAX = 500              # what is written as a whole or not at all


def main() -> None:
    """Follow XAPI until the daemon ends."""
    if bind_to_daemon():
        Follower(Log('xsisolate-pool')).run()


class Follower:
    """Sessions, one after the other; each begins with a snapshot of the whole pool."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._complaint = ''
        self._state = (read_state() or PoolState(False))._replace(connected=False)
        self._pause = RETRY_FIRST_S
        self._take_over = TakeOver(log)
        self._guard = Guard(log)
        self._guard_error = ''
        self._names: Dict[str, VifName] = {}            # by the VIF's reference
        self._named = False                             # the file has them
        self._in_json = True
        self._members: Members = _read_all()
        self._index: Optional[MemberIndex] = None       # None: to be made of the whole pool

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
        self._index = None
        view, token, config = PoolView(), '', None
        used, chores, wait, again = process_time(), 0.0, EVENTS_S, monotonic() + LEASES_S
        while True:
            batch = self._read_events(xapi, token, wait)
            token = str(batch['token'])
            changed = view.take(batch['events'])
            now = monotonic()
            if changed - OF_VMS or now >= chores:
                chores, wait = now + CHORES_S, EVENTS_S
                before, config = config, self._do_chores(xapi, view, uuid, 'network' in changed)
                if config != before:
                    self._index = None
            else:
                wait = max(chores - now, COALESCE_S)
            if now >= again:
                again = now + LEASES_S
                self._index = None if self._has_leases() else self._index
            self._write(view, uuid, config)
            self._confirm(uuid)
            used, spent = process_time(), used
            sleep(max(COALESCE_S, used - spent))    # whatever guests write: half a CPU at most

    def _has_leases(self) -> bool:
        return any(member.leased for members in self._members.values() for member in members)

    def _read_events(self, xapi: Xapi, token: str, wait: float) -> Any:
        """Wait for the next batch of events, or for nothing to have happened for a while."""
        if self._in_json:
            try:
                return xapi.call_json('event.from', list(CLASSES), token, wait)
            except NoJson as error:
                self._in_json = False
                self._log.info('XML', error=error, reason='XAPI gives no events in JSON: a large '
                               'pool takes longer to read')
        return xapi.call('event.from', list(CLASSES), token, wait)

    def _do_chores(self, xapi: Xapi, view: PoolView, uuid: str, networks: bool) -> Any:
        """Do what does not depend on VMs; return the configuration."""
        if networks and write_networks(view.networks()):
            ring('networks')    # before the configuration is read, whose keys may be labels
        if self._take_over.keep(*view.configuration()):
            ring('configuration')
        configuration = read_configuration()
        if configuration.error:
            raise ConfigError(configuration.error)      # the rosters are not known
        self._tell_networkd(xapi, view, uuid)
        self._look_after_hosts(xapi, view, uuid, configuration.config.guard)
        return configuration.config

    def _write(self, view: PoolView, uuid: str, config: Any) -> None:
        """Bring the group files up to date: all of them, or those of VIFs that have changed."""
        index, found = self._index, view.touched()
        if index is None:
            here = view.find_host(uuid)
            if not here:
                raise HostError('the pool does not know this host (%s)' % uuid)
            index, found = MemberIndex(config, here, self._members), view.all_places()
        now = time()
        for ref, place in found:
            index.put(ref, place, now)
            self._name(ref, place)
        self._write_names()
        settled = index.settle()
        members = merge(self._members, settled)
        changed = write_members(members) if self._index is None else write_changed(settled)
        self._members, self._index = members, index
        self._state = self._state._replace(vifs=index.vifs,
                                           groups=len(members.keys() - {HOLDERS}))
        if changed:
            ring('changed', *changed)
            self._log.info('groups', changed=','.join(changed[:10]), groups=len(members),
                           members=sum(map(len, members.values())))

    def _name(self, ref: str, place: Optional[PoolVif]) -> None:
        """Note what a VIF's VM is called, for those who look at what was refused."""
        name = place and VifName(place.vif.network, place.vif.mac, place.vm.uuid, place.vm.name)
        if name != self._names.get(ref):
            self._named = False
        if name:
            self._names[ref] = name
        else:
            self._names.pop(ref, None)

    def _write_names(self) -> None:
        if not self._named:
            write_names(self._names.values())
            self._named = True

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

    def _look_after_hosts(self, xapi: Xapi, view: PoolView, uuid: str, guard: bool) -> None:
        """Find hosts that have lost xsisolate; groups are followed also where that fails."""
        error = ''
        try:
            self._guard.look(xapi, view, uuid, guard)
        except XapiError as failure:
            error = str(failure)
        if error and error != self._guard_error:
            self._log.warning('guard', error=error, reason='hosts without xsisolate are not '
                              'looked after just now')
        self._guard_error = error

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
