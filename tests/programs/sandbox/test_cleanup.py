"""Nothing of a sandbox outlives its process, however that ends; two do not collide."""
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any, Dict, Set

import pytest

import sandbox.ovs
from sandbox.process import LabError, has_ended, wait_until
from sandbox.dom0 import Sandbox

PROGRAMS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A process with a sandbox in it. The orphan is a hook's child that hangs: no
# parent-death signal reaches it, and its session is its own.
SCRIPT = '''
import json, os, subprocess, sys, time
sys.path.insert(0, %r)
from sandbox.enter import sandbox_pids
from sandbox.hotplug import PlainHotplug
from sandbox.dom0 import Sandbox

with Sandbox(hotplug=PlainHotplug()) as dom0:
    dom0.add_bridge('xenbr0')
    one, two = [dom0.start_vm('vm%%d' %% n, ipv4='10.9.0.%%d/24' %% n) for n in (1, 2)]
    subprocess.run(['/bin/sh', '-c', 'sleep 1000 & :'], start_new_session=True)
    print(json.dumps({'pids': sandbox_pids(), 'netdevs': os.listdir('/sys/class/net'),
                      'ping': one.ping('10.9.0.2'), 'domids': dom0.store.ls('/vm')}))
    sys.stdout.flush()
    sys.stdin.readline()
''' % PROGRAMS


def start_sandbox() -> 'subprocess.Popen[str]':
    """Start a process with a sandbox; it says what it has, and ends at a newline."""
    return subprocess.Popen([sys.executable, '-c', SCRIPT], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            encoding='utf-8', start_new_session=True)


def words(process: 'subprocess.Popen[str]') -> Dict[str, Any]:
    """Return what a sandbox process said of itself."""
    assert process.stdout
    return dict(json.loads(process.stdout.readline()))


def surroundings() -> Dict[str, Set[str]]:
    """Return the devices and mounts of this process's own namespaces."""
    with open('/proc/self/mounts') as mounts:
        return {'netdevs': set(os.listdir('/sys/class/net')), 'mounts': set(mounts)}


@pytest.mark.parametrize('how', ['newline', 'SIGINT', 'SIGTERM', 'SIGKILL'])
def test_nothing_is_left_behind(namespaces: None, how: str) -> None:
    before = surroundings()
    process = start_sandbox()
    said = words(process)
    # guardian, ovsdb-server, ovs-vswitchd, oxenstored, two agents, the orphan
    assert len(said['pids']) == 7 and {'vif1.0', 'vif2.0'} <= set(said['netdevs'])
    assert not any(has_ended(int(pid)) for pid in said['pids'])
    if how == 'newline':
        process.communicate('\n')
    else:
        os.killpg(process.pid, getattr(signal, how))    # as a terminal would
        process.communicate()
    wait_until(lambda: all(has_ended(int(pid)) for pid in said['pids']),
               'the end of %s' % said['pids'], timeout=5)
    assert surroundings() == before


def test_two_sandboxes_do_not_meet(namespaces: None) -> None:
    processes = [start_sandbox(), start_sandbox()]
    said = [words(process) for process in processes]
    assert [one['ping'] for one in said] == [True, True]
    assert set(said[0]['netdevs']) == set(said[1]['netdevs'])
    assert not set(said[0]['pids']) & set(said[1]['pids'])
    assert not set(said[0]['domids']) & set(said[1]['domids'])
    for process in processes:
        process.communicate('\n')
        assert process.returncode == 0


def test_a_second_sandbox_in_a_process_finds_nothing_of_the_first(
        namespaces: None) -> None:
    before = surroundings()
    for _ in range(2):
        with Sandbox() as dom0:
            assert dom0.ovs.vsctl('list-br') == ''
            assert dom0.store.get('/local/domain/7') is None
            assert not os.path.exists('/etc/xsisolate/xsisolate.yaml')
            dom0.add_bridge('xenbr0')
            dom0.store.write('/local/domain/7', '1')
            dom0.configure('version: 1\n')
        assert surroundings() == before


def test_without_open_vswitch_there_is_an_error(monkeypatch: pytest.MonkeyPatch,
                                                tmp_path: pathlib.Path,
                                                namespaces: None) -> None:
    monkeypatch.setattr(sandbox.ovs, 'SCHEMA', str(tmp_path / 'no'))
    with pytest.raises(LabError, match='not installed'):
        Sandbox().__enter__()


def test_logs_are_kept_on_request(monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str],
                                  tmp_path: object) -> None:
    monkeypatch.setenv('KEEP_OVS', '1')
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(RuntimeError):
        with Sandbox() as dom0:
            dom0.add_bridge('xenbr0')
            raise RuntimeError
    kept = capsys.readouterr().err.split()[-1]
    assert os.path.getsize(kept + '/openvswitch/ovs-vswitchd.log')
    with open(kept + '/xenbr0.flows') as flows:
        assert flows.read() == 'priority=0 actions=NORMAL\n'
