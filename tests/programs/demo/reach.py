"""Measures who reaches whom: every machine tries every other, all at the same time."""
import json
import os
import subprocess
import sys
from typing import Dict, FrozenSet, List, Mapping, Set

from demo.policy import PROBES, Matrix, Probe, pairs
from demo.scene import Place
from sandbox.host import Host
from sandbox.process import LabError, die_with_parent

PROGRAMS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT_S = 1.5         # an answer takes milliseconds, lost packets are sent again
PATIENCE_S = 30


def measure(place: Place, hosts: Mapping[str, Host]) -> Matrix:
    """Return which probes get through between which machines; `hosts` are where they run."""
    running = {machine.name: start(place, machine.name, hosts[machine.name])
               for machine in place.machines}
    answers = {name: finish(process) for name, process in running.items()}
    return {(source.name, target.name): frozenset(
        probe for probe in PROBES
        if target.address(probe.version) in answers[source.name][probe.kind])
        for source, target in pairs(place)}


def start(place: Place, name: str, host: Host) -> 'subprocess.Popen[str]':
    """Start the probes of one machine, in its network namespace."""
    machine, = (machine for machine in place.machines if machine.name == name)
    task = {'targets': [target.address(version) for source, target in pairs(place)
                        if source == machine for version in (4, 6)],
            'sources': {str(version): machine.address(version) for version in (4, 6)},
            'timeout': TIMEOUT_S}
    return subprocess.Popen(
        ['nsenter', '--net=/proc/%d/ns/net' % host.pid,
         sys.executable, '-m', 'demo.probe', json.dumps(task)],
        cwd=PROGRAMS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding='utf-8',
        preexec_fn=die_with_parent, start_new_session=True)     # a Ctrl-C is for us


def finish(process: 'subprocess.Popen[str]') -> Dict[str, Set[str]]:
    """Return the addresses that answered, by kind of probe."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise LabError('a prober failed with exit code %d' % process.returncode)
    return {kind: set(addresses) for kind, addresses in json.loads(said).items()}


def differences(measured: Matrix, promised: Matrix) -> List[str]:
    """Return a line for each pair of machines where the two do not agree."""
    lines = []
    for pair in sorted(promised):
        for probes, verdict in (
                (measured[pair] - promised[pair], 'gets through, but must not'),
                (promised[pair] - measured[pair], 'must get through, but does not')):
            if probes:
                lines.append('%s to %s: %s %s' % (pair[0], pair[1], names(probes), verdict))
    return lines


def names(probes: FrozenSet[Probe]) -> str:
    """Return probes as people say them."""
    return ', '.join('%s IPv%d' % (probe.kind, probe.version) for probe in sorted(probes))
