"""The command `migratevm`: connect, check, move, look at what has arrived."""
import signal
import sys
from typing import Any, List, Optional, Sequence

from xsisolate.dom0.xapi.session import connect, one_line
from xsisolate.errors import EXIT_HOST, XsisolateError
from xsisolate.migratevm.journey import Journey
from xsisolate.migratevm.options import ask_storage, ask_vm, read_options, read_side
from xsisolate.migratevm.progress import say_event
from xsisolate.migratevm.stream import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Move a VM; the exit code is the contract's (errors.py)."""
    as_json = '--json' in (sys.argv[1:] if argv is None else argv)
    catch_signals()
    try:
        return run(argv)
    except XsisolateError as error:
        return complain(str(error), error.exit_code, as_json)
    except BrokenPipeError:         # whoever read us has seen enough
        sys.stderr.close()
        return EXIT_HOST
    except KeyboardInterrupt:
        return complain('interrupted. Nothing was sent', Interrupted.exit_code, as_json)
    except Exception as error:      # a mistake of ours: still one line
        return complain('internal: %r' % error, EXIT_HOST, as_json)
    finally:
        ignore_signals()


def run(argv: Optional[Sequence[str]]) -> int:
    """Do what the command line says."""
    options = read_options(argv)
    source = read_side(options, 'source')
    with connect(source.remote) as sending:
        text = ask_vm(options)
        destination = read_side(options, 'destination')
        with connect(destination.remote) as taking:
            journey = Journey(sending, taking, options)
            journey.look(text, lambda default: ask_storage(options, default))
            return journey.go()


def catch_signals() -> None:
    """Treat SIGTERM like Ctrl-C; a second one does not disturb the cleaning up after the first."""
    caught: List[int] = []

    def interrupt(number: int, frame: Any) -> None:
        if not caught:
            caught.append(number)
            raise KeyboardInterrupt
        print('migratevm: cleaning up, a moment', file=sys.stderr)
    for number in SIGNALS:
        signal.signal(number, interrupt)


def ignore_signals() -> None:
    """Keep the exit code: an interpreter that ends takes its handlers back and would be killed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def complain(text: str, code: int, as_json: bool) -> int:
    """Print a line for a person, or an event, and return the exit code."""
    if as_json:
        say_event('error', message=text, exit_code=code)
    print('migratevm: %s' % one_line(text, 2000), file=sys.stderr)
    return code
