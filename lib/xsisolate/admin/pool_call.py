"""One question to the plugin of every host of the pool, side by side, a deadline for each."""
import json
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

from xsisolate.admin.plugin_protocol import PLUGIN
from xsisolate.dom0.xapi.session import Xapi, XapiError, one_line
from xsisolate.errors import HostError

DEADLINE_S = 30.0
CLEAR_S = 1.0               # a call whose deadline has passed says so within that
PLUGIN_MISSING, DENIED = 'XENAPI_MISSING_PLUGIN', 'RBAC_PERMISSION_DENIED'
OLDER = 'UNKNOWN_XENAPI_PLUGIN_FUNCTION'
DOWN = ('HOST_OFFLINE', 'HOST_NOT_LIVE')
NONSENSE = 'NONSENSE'       # a code of ours: the answer cannot be read

Step = Callable[[str], None]


class PoolHost(NamedTuple):
    """A host as XAPI knows it."""

    ref: str
    uuid: str                       # lower case
    name: str                       # one line of ASCII
    is_master: bool
    enabled: bool


class HostAnswer(NamedTuple):
    """What a host has answered, or why it has not."""

    host: PoolHost
    reply: Any = None
    error: str = ''
    code: str = ''                  # XAPI's or the plugin's, where there is an error


def read_pool(xapi: Xapi) -> Dict[str, Any]:
    """Return the pool's record, and its reference as `ref`; a host has exactly one pool."""
    (ref, record), = xapi.call('pool.get_all_records').items()
    return dict(record, ref=ref)


def list_hosts(xapi: Xapi) -> List[PoolHost]:
    """Return the pool's hosts, the master first, the others by name."""
    master = read_pool(xapi)['master']
    found = [PoolHost(ref, str(record['uuid']).lower(), one_line(str(record['name_label'])),
                      ref == master, bool(record['enabled']))
             for ref, record in xapi.call('host.get_all_records').items()]
    return sorted(found, key=lambda host: (not host.is_master, host.name, host.uuid))


def ask_hosts(xapi: Xapi, hosts: Sequence[PoolHost], function: str,
              arguments: Mapping[str, str], parse: Callable[[Any], Any] = lambda reply: reply,
              deadline: float = DEADLINE_S, step: Step = lambda name: None) -> List[HostAnswer]:
    """Return what each host's plugin answers, in the order of the hosts.

    `parse` reads an answer, and raises ValueError if it makes no sense. A host that has not
    answered within the deadline is an answer with an error. Raises XapiError if the role of the
    user does not allow it: then no host was asked.
    """
    answers: 'Queue[HostAnswer]' = Queue()
    for host in hosts:
        Thread(target=_answer, args=(answers, xapi, host, function, arguments, parse, deadline),
               daemon=True).start()
    found: Dict[str, HostAnswer] = {}
    end = monotonic() + deadline + CLEAR_S
    while len(found) < len(hosts):
        try:
            answer = answers.get(timeout=max(0.0, end - monotonic()))
        except Empty:
            break
        if answer.code == DENIED:
            raise XapiError('host.call_plugin', [DENIED, 'it needs the role pool-admin'])
        found[answer.host.ref] = answer
        step(answer.host.name)
    return [found.get(host.ref) or HostAnswer(
        host, error='no answer within %g s' % deadline, code='CONNECTION') for host in hosts]


def ask_one(xapi: Xapi, host: PoolHost, function: str, arguments: Mapping[str, str],
            parse: Callable[[Any], Any] = lambda reply: reply,
            deadline: float = DEADLINE_S) -> Any:
    """Return what one host's plugin answers; raise HostError if it does not."""
    answer = _ask(xapi, host, function, arguments, parse, deadline)
    if answer.error:
        raise HostError('host %s: %s' % (host.name, answer.error))
    return answer.reply


def _answer(answers: 'Queue[HostAnswer]', *question: Any) -> None:
    answers.put(_ask(*question))


def _ask(xapi: Xapi, host: PoolHost, function: str, arguments: Mapping[str, str],
         parse: Callable[[Any], Any], deadline: float) -> HostAnswer:
    """Call the plugin of a host; never raises, for a thread has nobody to tell."""
    try:
        reply = xapi.beside(deadline).call('host.call_plugin', host.ref, PLUGIN, function,
                                           dict(arguments))
        return HostAnswer(host, parse(json.loads(reply)))
    except XapiError as error:
        return HostAnswer(host, error=str(error), code=error.code or 'UNKNOWN')
    except (ValueError, TypeError, RecursionError) as error:
        return HostAnswer(host, error='the answer of its plugin cannot be read: %s'
                          % one_line(str(error)), code=NONSENSE)
    except HostError as error:
        return HostAnswer(host, error=str(error), code='UNKNOWN')
