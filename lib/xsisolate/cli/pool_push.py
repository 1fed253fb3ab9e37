"""`xsisolate pool config push` and `rollback`: write a version, and wait until hosts have it."""
import argparse
from time import monotonic, sleep
from typing import TYPE_CHECKING, Tuple

from xsisolate.cli.output import Progress, paint, printable, say, say_json
from xsisolate.cli.pool_config import (compare, digest, judge, note, read_shown, unpack_text,
                                       warn_refused)
from xsisolate.cli.pool_connection import ask_all
from xsisolate.errors import (EXIT_DIFFERENT, EXIT_DONE, EXIT_HOST, EXIT_POLICY, HostError,
                              UsageError, worst_exit_code)

if TYPE_CHECKING:
    from xsisolate.admin.pool_call import HostAnswer
    from xsisolate.admin.pool_config_protocol import HostState, Shown
    from xsisolate.dom0.xapi.session import Xapi

POLL_S = 0.5


def push(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> int:
    """Check a configuration on all hosts, write it, and wait until they have it."""
    return write(xapi, arguments, read_shown(xapi, arguments), text)


def rollback(xapi: 'Xapi', arguments: argparse.Namespace, text: str) -> int:
    """Push the version before as a new one."""
    shown = read_shown(xapi, arguments)
    if not shown.previous:
        raise UsageError('pool config rollback: XAPI has no version before %s'
                         % (shown.version or 'the first'))
    if not arguments.json:
        say('back to what version %d said' % shown.previous)
    return write(xapi, arguments, shown, unpack_text(shown.previous_packed))


def write(xapi: 'Xapi', arguments: argparse.Namespace, shown: 'Shown', text: str) -> int:
    """Write a configuration, and wait until the hosts have it; return the exit code."""
    version, code = put(xapi, arguments, shown, text)
    return wait_for_hosts(xapi, arguments, version, digest(text)) if version else code


def put(xapi: 'Xapi', arguments: argparse.Namespace, shown: 'Shown',
        text: str) -> Tuple[int, int]:
    """Write a configuration, if all hosts that answer find it valid.

    Returns its version, 0 if it was not written, and the exit code.
    """
    from xsisolate.admin.pool_call import ask_one, list_hosts
    from xsisolate.admin.pool_config_protocol import PUSH
    from xsisolate.config.stored import pack
    packed = pack(text)
    said, code = judge(xapi, arguments, text)
    if code == EXIT_POLICY:
        if arguments.json:
            say_json(said)
        note('nothing was written')
        return 0, EXIT_POLICY
    if not arguments.json:
        compare(shown, text, False)
    if arguments.dry_run:
        is_new = text != unpack_text(shown.packed) or not shown.version
        return 0, EXIT_DIFFERENT if is_new else code
    warn_refused(shown)
    master = list_hosts(xapi)[0]
    try:
        reply = ask_one(xapi, master, PUSH, {'packed': packed, 'base': str(shown.version)},
                        deadline=arguments.timeout)
        version = int(reply['version'])
    except (KeyError, TypeError, ValueError) as error:
        raise HostError('host %s: its answer cannot be read: %s; xsisolate pool config show tells '
                        'whether version %d is written' % (master.name, error, shown.version + 1)
                        ) from error
    except HostError as error:
        raise explain_push(error, shown.version + 1) from error
    if not arguments.json:
        say('version %d is written' % version)
    return version, EXIT_DONE


def explain_push(error: HostError, version: int) -> Exception:
    """Return what an admin must know of a push that has failed."""
    from xsisolate.errors import PolicyError
    text = str(error)
    if 'XSISOLATE_CONFLICT' in text or 'XSISOLATE_POLICY' in text:
        return PolicyError(text)
    if 'no connection' in text or 'no answer' in text:
        return HostError('%s; whether version %d was written is not known: xsisolate pool config '
                         'show tells, and the hosts take it if it was' % (text, version))
    return error


def wait_for_hosts(xapi: 'Xapi', arguments: argparse.Namespace, version: int, wanted: str) -> int:
    """Wait until every host that answers has a version; say which has not."""
    from xsisolate.admin.pool_config_protocol import STATE, parse_state
    deadline = monotonic() + arguments.timeout
    with Progress('waiting for hosts') as progress:
        while True:
            answers = ask_all(xapi, arguments, 'asking hosts', STATE, parse=parse_state)
            waiting = [answer for answer in answers
                       if not answer.error and not has_ended(answer.reply, version, wanted)]
            if not waiting or monotonic() > deadline:
                break
            progress.step(waiting[0].host.name)
            sleep(POLL_S)
    if arguments.json:
        say_json({'version': version, 'hosts': [
            {'host': answer.host.name, 'error': answer.error or None,
             'state': None if answer.error else answer.reply.describe()} for answer in answers]})
    outcomes = [tell_outcome(answer, version, wanted) for answer in answers]
    for text, style, _ in outcomes if not arguments.json else ():
        say(paint(printable(text), style))
    return worst_exit_code(code for _, _, code in outcomes)


def has_ended(state: 'HostState', version: int, wanted: str) -> bool:
    """Tell whether a host will do no more about a version."""
    return state.wanted >= version and (
        state.digest == wanted or state.local or bool(state.error))


def tell_outcome(answer: 'HostAnswer', version: int, wanted: str) -> Tuple[str, str, int]:
    """Return what became of a version on a host, in words, a style, and an exit code."""
    name = answer.host.name
    if answer.error:
        return ('host %s: %s. It takes version %d when its daemon reaches XAPI again'
                % (name, answer.error, version), 'bad', EXIT_HOST)
    state: 'HostState' = answer.reply
    if state.local:
        return ('host %s: keeps its own file, which says local: true' % name, 'warn', EXIT_DONE)
    if state.digest == wanted and state.wanted >= version:
        return 'host %s: version %d is in place' % (name, version), 'good', EXIT_DONE
    return ('host %s: has not taken version %d: %s' % (
        name, version, state.error or 'its daemon has not looked yet: systemctl status '
        'xsisolate-watch on that host'), 'bad', EXIT_HOST)
