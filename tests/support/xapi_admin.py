"""The command as an admin runs it on a host of a pool, and what XAPI has afterwards."""
import contextlib
import io
import json
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import pytest

from sandbox.pool import Pool, PoolVm
from sandbox.poolhost import PoolHost
from sandbox.xapidb import PASSWORD

from xsisolate.cli import main
from xsisolate.dom0.xapi import session, transport

READS = ('get_', 'session.', 'event.', 'call_plugin')


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


class Admin:
    """Runs the command, on a host or over TLS, and looks that it behaves."""

    def __init__(self, pool: Pool, quick: bool = False) -> None:
        self.pool = pool
        self.quick = quick      # in this very process, which speaks to the host's socket

    def __call__(self, *words: str, host: Optional[PoolHost] = None) -> Ran:
        place = host or self.pool.hosts[0]
        if self.quick:
            ran = run_here(words, '/proc/%d/root/var/lib/xcp/xapi' % place.pid)
        else:
            done = place.run(*words)
            ran = Ran(done.returncode, done.stdout, done.stderr)
        assert 'Traceback' not in ran.err + ran.out and 'internal:' not in ran.err, ran.err
        assert not self.pool.db.sessions, 'a session was not logged out'
        return ran

    def fine(self, *words: str, **more: Any) -> Ran:
        """Run a command that must succeed."""
        ran = self(*words, **more)
        assert ran.code == 0 and not ran.err, ran
        return ran

    def refused(self, code: int, *words: str, **more: Any) -> str:
        """Run a command that must fail with this code and one line; return the line."""
        ran = self(*words, **more)
        assert ran.code == code, ran
        lines = ran.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('xsisolate: '), ran
        assert lines[0].isascii() and lines[0].isprintable()
        return lines[0]

    def over_tls(self, *words: str, host: Optional[PoolHost] = None, user: str = 'root',
                 password: str = PASSWORD) -> Ran:
        """Run a command that connects to the pool from elsewhere, in this very process."""
        place = '%s:%d' % (self.pool.address(host or self.pool.hosts[0]), self.pool.port)
        ran = run_here((*words, '--host', place, '--user', user), '/nowhere', password)
        assert not self.pool.db.sessions, 'a session was not logged out'
        return ran


def run_here(words: Sequence[str], socket: str, password: str = '') -> Ran:
    """Run the command in this process, with XAPI's socket at another place."""
    out, err = io.StringIO(), io.StringIO()
    patches = pytest.MonkeyPatch()
    for module in (session, transport):
        patches.setattr(module, 'SOCKET', socket)
    patches.setenv('XSISOLATE_PASSWORD', password)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(words))
    except SystemExit as usage:     # argparse's
        code = int(usage.code or 0)
    finally:
        patches.undo()
    return Ran(code, out.getvalue(), err.getvalue())


def writes(pool: Pool) -> List[str]:
    """Return the messages that have changed something, in order."""
    return [method for method, _ in pool.db.calls if not any(word in method for word in READS)]


def state(pool: Pool, vm: PoolVm) -> Dict[str, Any]:
    """Return all of a VM that commands may write."""
    return {'data': dict(pool.record(vm)['xenstore_data']),
            'vifs': [{key: value for key, value in pool.db.objects['VIF'][ref].items()
                      if key in ('other_config', 'locking_mode', 'ipv4_allowed', 'ipv6_allowed')}
                     for ref in vm.vifs]}


def data(**keys: str) -> Dict[str, str]:
    """Return xenstore_data with a policy; `vif_0_ipv4` stands for vif/0/ipv4."""
    return {'vm-data/xsisolate/' + key.replace('_', '/'): value for key, value in keys.items()}


def until(true: Callable[[], Any], what: str, seconds: float = 8) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, 'waited in vain for ' + what
        time.sleep(0.05)
