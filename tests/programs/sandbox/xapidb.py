"""XAPI's database and its messages, as far as the product meets them: no sockets, no hosts.

Every object has the generation in which it last changed; event.from tells what changed after a
token. What reaches a domain is the business of `Effects`: see pool.py, and docs of xapi itself for
why so little does.
"""
import re
import threading
import time
import uuid as uuids
from typing import AbstractSet, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from sandbox.xapicalls import CALLS, LOGIN, LOGIN_PARAMS, OTHERS, fits, may

NULL = 'OpaqueRef:NULL'
CLASSES = {name.lower(): name for name in (
    'VM', 'VIF', 'network', 'host', 'pool', 'VBD', 'VDI', 'SR', 'PBD', 'PIF', 'VLAN', 'task')}
USERS = {'root': 'pool-admin', 'operator': 'pool-operator', 'tenant': 'vm-admin',
         'reader': 'read-only'}
PASSWORD = 'a "secret", with spaces'
# What a database of xapi's may hold: it cuts a string before what XML has no words for.
NOT_XML = re.compile('[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
LOCKING_MODES = ('network_default', 'locked', 'unlocked', 'disabled')

Record = Dict[str, Any]


class Refused(Exception):
    """XAPI says no: an error code and its parameters."""

    def __init__(self, *details: str) -> None:
        super().__init__(*details)
        self.details = list(details)


class Effects:
    """What a change sets in motion outside the database."""

    def vm_event(self, ref: str) -> None:
        """Something about a VM has changed: xapi will tell xenopsd its metadata."""

    def set_xsdata(self, ref: str, data: Mapping[str, str]) -> None:
        """VM.set_xenstore_data on a VM that runs."""

    def locking_changed(self, ref: str) -> None:
        """A VIF's locking has changed on a VM that runs: xenopsd runs the script."""

    def restart_agent(self, host: str) -> None:
        """Restart a host's toolstack, a while later."""

    def call_plugin(self, host: str, plugin: str, fn: str, session: str,
                    args: Mapping[str, str]) -> str:
        """Run a plugin on a host; raises Refused."""
        raise Refused('XENAPI_MISSING_PLUGIN', plugin)


class Database:
    """Objects by class and reference, sessions, and who waits for events."""

    def __init__(self, effects: Effects) -> None:
        self.effects = effects
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.objects: Dict[str, Dict[str, Record]] = {name: {} for name in CLASSES.values()}
        self.sessions: Dict[str, str] = {}      # their roles
        self.calls: List[Tuple[str, Tuple[Any, ...]]] = []
        self.roles: List[str] = []
        self.messages: List[Tuple[str, str, str, str]] = []
        self.generation = 1
        self.oldest = 0             # events before that are lost
        self.closed = False
        self._changes: Dict[Tuple[str, str], Tuple[int, int]] = {}     # created, modified
        self._deleted: List[Tuple[int, str, str]] = []

    # --- for the pool ------------------------------------------------------------------------

    def add(self, kind: str, ref: str = '', **fields: Any) -> str:
        """Add an object; return its reference."""
        with self.changed:
            ref = ref or 'OpaqueRef:%s' % uuids.uuid4()
            fields.setdefault('uuid', str(uuids.uuid4()))
            self.objects[kind][ref] = fields
            self.generation += 1
            self._changes[kind, ref] = (self.generation, self.generation)
            self.changed.notify_all()
        return ref

    def set(self, kind: str, ref: str, **fields: Any) -> None:
        """Change an object; what stays as it is makes no event."""
        with self.changed:
            record = self.objects[kind][ref]
            new = {name: clean(value) for name, value in fields.items()}
            if all(record.get(name) == value for name, value in new.items()):
                return
            record.update(new)
            self.generation += 1
            self._changes[kind, ref] = (self._changes[kind, ref][0], self.generation)
            self.changed.notify_all()
        if kind == 'VM':
            self.effects.vm_event(ref)

    def remove(self, kind: str, ref: str) -> None:
        """Remove an object."""
        with self.changed:
            del self.objects[kind][ref], self._changes[kind, ref]
            self.generation += 1
            self._deleted.append((self.generation, kind, ref))
            self.changed.notify_all()

    def forget_sessions(self) -> None:
        """Be restarted: sessions are gone, tokens mean nothing any more."""
        with self.changed:
            self.sessions.clear()
            self.generation += 1000
            self.oldest = self.generation
            self.changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def get(self, kind: str, ref: str) -> Record:
        """Return an object; raise Refused if there is none."""
        if ref not in self.objects[kind]:
            raise Refused('HANDLE_INVALID', kind, ref)
        return self.objects[kind][ref]

    # --- messages ----------------------------------------------------------------------------

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """Return a message's result; raise Refused."""
        if method == LOGIN:
            return self._login(*params)
        if method == 'system.listMethods':
            return sorted({*CALLS, *OTHERS})
        call = CALLS.get(method, OTHERS.get(method))
        if call is None:
            raise Refused('MESSAGE_METHOD_UNKNOWN', method)
        if not params or params[0] not in self.sessions:
            raise Refused('SESSION_INVALID', str(params[0]) if params else '')
        session, args = params[0], tuple(params[1:])
        if len(args) != len(call.params):
            raise Refused('MESSAGE_PARAMETER_COUNT_MISMATCH', method, str(len(call.params)),
                          str(len(args)))
        for kind, value in zip(call.params, args):
            if not fits(kind, value):
                raise Refused('FIELD_TYPE_ERROR', '%s %r' % (kind, value))
        if not may(self.sessions[session], call):
            raise Refused('RBAC_PERMISSION_DENIED', method.lower(),
                          'No permission in user session. (Roles with this permission: %s)'
                          % call.role)
        self.calls.append((method, args))
        return self._dispatch(method, session, args)

    def _login(self, *params: Any) -> str:
        """The product says who it is; other clients may leave out version and originator."""
        if len(params) not in (2, len(LOGIN_PARAMS)) or not all(
                isinstance(p, str) for p in params):
            raise Refused('MESSAGE_PARAMETER_COUNT_MISMATCH', LOGIN, '4', str(len(params)))
        user, password, originator = params[0], params[1], params[3:]
        if user not in USERS or password != PASSWORD or originator not in ((), ('xsisolate',)):
            raise Refused('SESSION_AUTHENTICATION_FAILED', user, 'Authentication failure')
        return self.open_session(USERS[user])

    def open_session(self, role: str) -> str:
        """Return a new session."""
        session = 'OpaqueRef:%s' % uuids.uuid4()
        with self.lock:
            self.sessions[session] = role
            self.roles.append(role)
        return session

    def _dispatch(self, method: str, session: str, args: Tuple[Any, ...]) -> Any:
        kind, _, verb = method.partition('.')
        special: Optional[Callable[..., Any]] = getattr(self, '_%s_%s' % (kind, verb), None)
        if special:
            return special(session, *args)
        with self.lock:
            return self._generic(kind, verb, args)

    def _generic(self, kind: str, verb: str, args: Tuple[Any, ...]) -> Any:
        """Do what every class can: getters, setters, maps, searches."""
        if verb == 'get_all_records':
            return {ref: dict(record) for ref, record in self.objects[kind].items()}
        if verb in ('get_by_uuid', 'get_by_name_label'):
            field = verb[len('get_by_'):]
            found = [ref for ref, record in self.objects[kind].items() if record[field] == args[0]]
            if field == 'uuid' and not found:
                raise Refused('UUID_INVALID', kind, args[0])
            return found[0] if field == 'uuid' else found
        record = self.get(kind, args[0])
        if verb == 'get_record':
            return dict(record)
        if verb.startswith('get_'):
            return record[verb[len('get_'):]]
        field = verb.partition('_')[2].partition('_')[2]
        if verb.startswith('add_to_'):
            if args[1] in record[field]:
                raise Refused('MAP_DUPLICATE_KEY', kind, field, args[0], args[1])
            self.set(kind, args[0], **{field: {**record[field], args[1]: args[2]}})
        elif verb.startswith('remove_from_'):
            self.set(kind, args[0], **{field: {key: value for key, value in record[field].items()
                                               if key != args[1]}})
        elif verb.startswith('set_'):
            self.set(kind, args[0], **{verb[len('set_'):]: args[1]})
        else:
            raise Refused('MESSAGE_METHOD_UNKNOWN', '%s.%s' % (kind, verb))
        return ''

    def _session_logout(self, session: str) -> str:
        with self.lock:
            del self.sessions[session]
        return ''

    def _VM_set_xenstore_data(self, session: str, ref: str, data: Mapping[str, str]) -> str:
        with self.lock:
            if self.get('VM', ref)['power_state'] == 'Running':
                self.effects.set_xsdata(ref, data)
            self.set('VM', ref, xenstore_data=dict(data))
        return ''

    def _VIF_set_locking_mode(self, session: str, ref: str, mode: str) -> str:
        if mode not in LOCKING_MODES:
            raise Refused('INVALID_VALUE', 'value', mode)
        return self._lock(ref, locking_mode=mode)

    def _VIF_set_ipv4_allowed(self, session: str, ref: str, value: List[str]) -> str:
        return self._lock(ref, ipv4_allowed=value)

    def _VIF_set_ipv6_allowed(self, session: str, ref: str, value: List[str]) -> str:
        return self._lock(ref, ipv6_allowed=value)

    def _lock(self, ref: str, **fields: Any) -> str:
        vm = self.get('VIF', ref)['VM']
        self.set('VIF', ref, **fields)
        if self.get('VM', vm)['power_state'] == 'Running':
            self.effects.locking_changed(ref)
        return ''

    def _host_disable(self, session: str, host: str) -> str:
        self.set('host', host, enabled=False)
        return ''

    def _host_enable(self, session: str, host: str) -> str:
        self.set('host', host, enabled=True)
        return ''

    def _message_create(self, session: str, name: str, priority: str, kind: str, uuid: str,
                        body: str) -> str:
        if not priority.isdigit() or not any(record['uuid'] == uuid
                                             for record in self.objects[CLASSES[kind.lower()]
                                                                        ].values()):
            raise Refused('UUID_INVALID', kind, uuid)
        self.messages.append((name, kind, uuid, body))
        return 'OpaqueRef:%s' % uuids.uuid4()

    def _host_restart_agent(self, session: str, host: str) -> str:
        self.get('host', host)
        self.effects.restart_agent(host)
        return ''

    def _host_call_plugin(self, session: str, host: str, plugin: str, fn: str,
                          args: Mapping[str, str]) -> str:
        self.get('host', host)
        return self.effects.call_plugin(host, plugin, fn, session, args)

    def _event_from(self, session: str, classes: List[str], token: str, timeout: float) -> Any:
        """Wait until something has changed since a token, and tell it all."""
        if token and not re.fullmatch('[0-9]{20},[0-9]{20}', token):
            raise Refused('EVENT_FROM_TOKEN_PARSE_FAILURE', token)
        since = int(token.split(',')[0]) if token else 0
        wanted = {CLASSES.get(name.lower(), name) for name in classes}
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                if session not in self.sessions:
                    raise Refused('SESSION_INVALID', session)
                if self.closed:
                    raise ConnectionAbortedError('xapi is gone')
                if token and since < self.oldest:
                    raise Refused('EVENTS_LOST')
                events = self._events(wanted, since, bool(token))
                left = deadline - time.monotonic()
                if events or not token or left <= 0:
                    return {'events': events, 'token': '%020d,%020d' % (self.generation, 0),
                            'valid_ref_counts': {name.lower(): str(len(self.objects[name]))
                                                 for name in sorted(wanted)}}
                self.changed.wait(left)

    def _event_inject(self, session: str, kind: str, ref: str) -> str:
        """Make an event of an object that has not changed; return the token before it."""
        with self.changed:
            token = '%020d,%020d' % (self.generation, 0)
            self.generation += 1
            created = self._changes[CLASSES[kind.lower()], ref][0]
            self._changes[CLASSES[kind.lower()], ref] = (created, self.generation)
            self.changed.notify_all()
        return token

    def _events(self, wanted: AbstractSet[str], since: int, with_deleted: bool) -> List[Record]:
        found = [(modified, 'add' if created > since else 'mod', kind, ref)
                 for (kind, ref), (created, modified) in self._changes.items()
                 if kind in wanted and modified > since]
        if with_deleted:
            found += [(at, 'del', kind, ref) for at, kind, ref in self._deleted
                      if kind in wanted and at > since]
        return [dict({'id': str(at), 'timestamp': '0.', 'class': kind.lower(), 'ref': ref,
                      'operation': operation},
                     **({} if operation == 'del' else
                        {'snapshot': dict(self.objects[kind][ref])}))
                for at, operation, kind, ref in sorted(found)]


def clean(value: Any) -> Any:
    """Return what the database keeps of a value."""
    if isinstance(value, str):
        return NOT_XML.split(value)[0]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value
