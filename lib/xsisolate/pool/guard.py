"""What this host's follower does about hosts without xsisolate: look, tell, perhaps disable.

One host of the pool does it, the first whose daemon works, the master before others. A plugin is
asked by a thread of its own, for a host may be slow. Only a host that itself says that it has no
such plugin counts, twice in a row: one that is slow, down or cut off does not.
"""
from threading import Thread
from time import monotonic
from typing import Callable, Dict, Optional, Sequence

from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.pool.absent import (DISABLED_KEY, SEEN_KEY, TOLD_KEY, KnownHost, describe,
                                   find_hosts, find_sealed_vms, is_leader, may_disable)
from xsisolate.pool.view import PoolView

PLUGIN, FUNCTION = 'xsisolate', 'config_state'      # the cheapest question
MISSING = 'XENAPI_MISSING_PLUGIN'
FIRST_S = 15.0              # after a host has booted: its own daemon comes first
AGAIN_S = 15.0              # between two questions
TIMES = 2                   # so often in a row must it have no plugin
DEADLINE_S = 20.0
MESSAGE, PRIORITY = 'XSISOLATE_HOST_NOT_PROTECTED', '2'
MISSING_HERE, ANSWERS, UNKNOWN = 'missing', 'answers', 'unknown'


class Question:
    """The plugin of one host, asked by a thread."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self.answer = ''
        self._ask = ask
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except Exception:       # noqa: B902 - a thread has nobody to tell
            self.answer = UNKNOWN


class Suspicion:
    """What is known of a host since it was first suspected, in one boot of it."""

    def __init__(self, booted: str, now: float) -> None:
        self.booted = booted
        self.next = now + FIRST_S
        self.times = 0
        self.question: Optional[Question] = None


class Guard:
    """Looks after hosts, one look after each batch of events."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._suspicions: Dict[str, Suspicion] = {}

    def look(self, xapi: Xapi, view: PoolView, uuid: str, guard: bool) -> None:
        """Note that this host's daemon works, and see after the others."""
        hosts = find_hosts(view.hosts(), view.master())
        own = next((host for host in hosts if host.uuid == uuid), None)
        if own is None:
            return
        self._note_own(xapi, own)
        if not is_leader(hosts, uuid):
            self._suspicions.clear()
            return
        suspects = [host for host in hosts if host.is_suspect and host != own]
        for ref in self._suspicions.keys() - {host.ref for host in suspects}:
            del self._suspicions[ref]
        for host in suspects:
            if self._is_absent(xapi, host):
                self._act(xapi, host, hosts, view, guard)

    def _note_own(self, xapi: Xapi, own: KnownHost) -> None:
        """Say that this host is well, and enable it if it was disabled for not being so."""
        if own.is_suspect:      # first: a suspect of which nothing is told would be told of again
            _note(xapi, own, SEEN_KEY, own.booted, own.seen)
        if own.disabled:
            xapi.call('host.enable', own.ref)
            self._log.info('guard', host=own.uuid, reason='xsisolate is active again: the host is '
                           'enabled')
            _forget(xapi, own, DISABLED_KEY)
        if own.told:
            _forget(xapi, own, TOLD_KEY)

    def _is_absent(self, xapi: Xapi, host: KnownHost) -> bool:
        """Tell whether a host has said often enough that it has no plugin."""
        now = monotonic()
        known = self._suspicions.get(host.ref)
        if known is None or known.booted != host.booted:
            known = self._suspicions[host.ref] = Suspicion(host.booted, now)
        if known.question and known.question.answer:
            known.times = known.times + 1 if known.question.answer == MISSING_HERE else 0
            known.question, known.next = None, now + AGAIN_S
        if known.question is None and now >= known.next and known.times < TIMES:
            known.question = Question(_asker(xapi, host.ref))
        return known.times >= TIMES

    def _act(self, xapi: Xapi, host: KnownHost, hosts: Sequence[KnownHost], view: PoolView,
             guard: bool) -> None:
        """Tell administrators once in a boot of the host, and disable it if that is wanted."""
        outcome, why_not = 'It stays enabled: VMs may start on it.', may_disable(host, hosts)
        if guard and why_not:
            outcome = 'guard: true does not disable it, because %s.' % why_not
        elif guard and host.enabled:
            _note(xapi, host, DISABLED_KEY, 'true', 'true' if host.disabled else '')
            xapi.call('host.disable', host.ref)
            outcome = 'guard: true has disabled it: no VM starts there.'
        elif guard:
            outcome = 'It is disabled: no VM starts there.'
        if host.told == host.booted:
            return
        _note(xapi, host, TOLD_KEY, host.booted, host.told)
        text = describe(host, find_sealed_vms(view.places(), host.ref), outcome)
        xapi.call('message.create', MESSAGE, PRIORITY, 'Host', host.uuid, text)
        self._log.warning('guard', host=host.uuid, name=host.name, reason=outcome)


def _asker(xapi: Xapi, ref: str) -> Callable[[], str]:
    def ask() -> str:
        try:
            xapi.beside(DEADLINE_S).call('host.call_plugin', ref, PLUGIN, FUNCTION, {})
            return ANSWERS
        except XapiError as error:
            return MISSING_HERE if error.code == MISSING else UNKNOWN
    return ask


def _note(xapi: Xapi, host: KnownHost, key: str, value: str, before: str) -> None:
    if before:
        _forget(xapi, host, key)
    xapi.call('host.add_to_other_config', host.ref, key, value)


def _forget(xapi: Xapi, host: KnownHost, key: str) -> None:
    xapi.call('host.remove_from_other_config', host.ref, key)

