"""A call of a hook, from its arguments to its exit code: an error is a line and a code."""
import gc
import os

from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.run_files.counts import count_hook
from xsisolate.errors import EXIT_DONE, EXIT_HOST, UsageError, XsisolateError
from xsisolate.hooks.event import parse_rules_call, parse_vif_call
from xsisolate.hooks.setup_vif_rules import run_rules
from xsisolate.hooks.vif import run_vif
from xsisolate.typing_compat import Optional, Sequence


def run(argv: Sequence[str]) -> int:
    """Run the hook that `argv` names; the exit code is what xenopsd is told."""
    name = os.path.basename(argv[0])
    code = _run(name, argv)
    count_hook(name, code != EXIT_DONE)
    return code


def _run(name: str, argv: Sequence[str]) -> int:
    gc.disable()        # in so short a life it takes longer to look for garbage than to keep it
    log = Log('xsisolate-' + name)
    try:
        if name == 'vif':
            return run_vif(argv, log)
        return run_rules(argv, log)
    except XsisolateError as error:
        log.error('failed', vif=_device(name, argv), call=' '.join(argv[1:]), error=error)
        return error.exit_code
    except Exception as error:      # a mistake of ours: still one line, still closed
        log.error('failed', vif=_device(name, argv), call=' '.join(argv[1:]),
                  error='internal: %r at %s' % (error, _place(error)))
        return EXIT_HOST


def _device(name: str, argv: Sequence[str]) -> Optional[str]:
    """Return the netdev that a hook was called for, None if it cannot be told."""
    try:
        event = (parse_vif_call(argv[1:], os.environ) if name == 'vif'
                 else parse_rules_call(argv[1:]))
    except UsageError:
        return None
    return event.device


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return '%s:%d' % (os.path.basename(trace.tb_frame.f_code.co_filename),
                      trace.tb_lineno) if trace else '?'
