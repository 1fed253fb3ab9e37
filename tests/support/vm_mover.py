"""The mover as a process, run by Dom0's Python where it is, from one pool to another."""
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from sandbox.barepool import BarePool, BareVm
from sandbox.hooks import REPOSITORY
from sandbox.xapidb import PASSWORD

PYTHON = os.environ.get('HOOK_PYTHON') or sys.executable
TIMEOUT_S = 90
SOURCE, DESTINATION = 'MIGRATEVM_SOURCE_PASSWORD', 'MIGRATEVM_DESTINATION_PASSWORD'


class Ran(NamedTuple):
    """What came of a run."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> List[Dict[str, Any]]:
        """What it printed as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Mover:
    """Runs migratevm from one pool to the other, and looks that it leaves nothing behind."""

    def __init__(self, source: BarePool, destination: BarePool) -> None:
        self.source, self.destination = source, destination

    def argv(self, *words: str) -> List[str]:
        """Return its command line."""
        prints = [word for pool in (self.source, self.destination) for at in range(len(pool.hosts))
                  for word in ('--fingerprint', pool.fingerprint(at))]
        return [PYTHON, '-m', 'xsisolate.migratevm', '-sh', self.source.address, '-dh',
                self.destination.address, *prints, *words]

    def start(self, *words: str, **more: Any) -> 'subprocess.Popen[str]':
        """Start it."""
        return subprocess.Popen(self.argv(*words), env=environment(), encoding='utf-8',
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **more)

    def wait(self, process: 'subprocess.Popen[str]') -> Ran:
        """Return what came of it."""
        out, err = process.communicate(timeout=TIMEOUT_S)
        ran = Ran(process.returncode, out, err)
        assert 'Traceback' not in out + err and 'internal:' not in err, ran
        for pool in (self.source, self.destination):
            if pool.alive:
                until(lambda pool=pool: not pool.db.objects['task'], 'tasks are left', str(ran))
                assert not pool.db.sessions, 'a session was not logged out: %s' % (ran,)
        return ran

    def __call__(self, *words: str) -> Ran:
        return self.wait(self.start(*words))

    def fine(self, *words: str) -> Ran:
        """Run it; it must succeed."""
        ran = self(*words)
        assert ran.code == 0, ran
        return ran

    def refused(self, code: int, *words: str) -> str:
        """Run it; it must fail with this code, leave all as it was, and say why in one line."""
        before = self.source.state(), self.destination.state()
        ran = self(*words)
        assert ran.code == code, ran
        last = ran.err.splitlines()[-1]
        assert last.startswith('migratevm: ') and last.isascii() and last.isprintable()
        until(lambda: (self.source.state(), self.destination.state()) == before,
              'it is not as it was', str(ran))
        return last


def environment(password: str = PASSWORD) -> Dict[str, str]:
    """Return the poor environment of a Dom0, with passwords."""
    return {'PATH': os.environ['PATH'], 'LC_ALL': 'C', 'PYTHONPATH': REPOSITORY + '/lib',
            SOURCE: password, DESTINATION: password}


def until(true: Callable[[], Any], what: str, more: str = '', seconds: float = 8) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, '%s %s' % (what, more)
        time.sleep(0.02)


def arrived(pool: BarePool, vm: BareVm, name: Optional[str] = None) -> Dict[str, Any]:
    """Return the record of the only VM that has arrived."""
    (record,) = pool.db.objects['VM'].values()
    assert record['name_label'] == (name or vm.name)
    return record


def assert_same_disks(source: BarePool, vm: BareVm, destination: BarePool) -> None:
    """Every piece of every disk is there, and no other."""
    (ref,) = destination.db.objects['VM']
    have, want = destination.contents(ref), source.contents(vm.ref)
    assert [content.size for content in have] == [content.size for content in want]
    assert [content.sums for content in have] == [content.all_sums() for content in want]


def vifs_of(pool: BarePool) -> List[Dict[str, Any]]:
    """Return the VIFs of the only VM that has arrived."""
    (ref,) = pool.db.objects['VM']
    return [pool.db.objects['VIF'][vif] for vif in pool.db.objects['VM'][ref]['VIFs']]
