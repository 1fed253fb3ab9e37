"""Self-tests as processes and in this process, and what a host is like around them."""
import json
import os
import signal
import subprocess
from typing import Any, Dict, List, NamedTuple, Tuple

from sandbox.dom0 import Sandbox
from sandbox.hooks import REPOSITORY
from sandbox.process import die_with_parent, run
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE

TIMEOUT_S = 300


class Ended(NamedTuple):
    """How a self-test ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def start(python: str, *options: str, **environ: str) -> 'subprocess.Popen[str]':
    """Start a self-test, as an admin's shell would."""
    return subprocess.Popen(
        [python, '-m', 'xsisolate', 'selftest', *options], cwd='/', stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
        preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        env=dict({'PATH': os.environ['PATH'], 'LC_ALL': 'C', 'PYTHONDEVMODE': 'yes',
                  'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}, **environ))


def end(process: 'subprocess.Popen[str]') -> Ended:
    """Wait until a self-test has ended."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert 'Traceback' not in err, err
    return Ended(process.returncode, out, err)


def has_bridge(dom0: Sandbox) -> bool:
    """Tell whether the self-test's bridge is there."""
    return TRIAL_BRIDGE in dom0.ovs.vsctl('list-br').split()


def look_around(dom0: Sandbox) -> Dict[str, object]:
    """Return everything that a self-test must leave as it is."""
    rows = ('Bridge', 'Port', 'Interface', 'Controller', 'Manager')
    columns = {'Interface': 'name,type,ofport,external_ids,error', 'Port': 'name,interfaces,tag',
               'Bridge': 'name,ports,fail_mode,external_ids,other_config,protocols',
               'Controller': 'target', 'Manager': 'target,connection_mode,external_ids'}
    return {
        'database': {table: sorted(dom0.ovs.vsctl(
            '--columns=' + columns[table], '--no-headings', 'list', table).split('\n'))
            for table in rows},
        'flows': {name: sorted(dom0.ovs.dump_flows(name)) for name in dom0.bridges},
        'devices': sorted(os.listdir('/sys/class/net')),
        'names': run(['ip', 'netns', 'list']),
        'files': sorted(files_below('/run/xsisolate', '/run/nonpersistent', '/etc/xsisolate')),
        'store': [dom0.store.tree(path) for path in ('/local/domain', '/vm', '/xapi')]}


def files_below(*folders: str) -> List[Tuple[str, int]]:
    """Return all files, and when they were written; the lock of the self-test itself may come.

    A daemon that runs writes its counts and its record every few seconds.
    """
    return [(path, os.stat(path).st_mtime_ns)
            for folder in folders for place, _, names in os.walk(folder)
            for path in [os.path.join(place, name) for name in names]
            if os.path.basename(path) not in (TRIAL_BRIDGE, 'daemon.json', 'refused.json')]

