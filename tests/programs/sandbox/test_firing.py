"""The sandbox fires hooks as udev and xenopsd do; here the hook is one that tells on them."""
import json
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest

from sandbox.hooks import Hooks
from sandbox.hotplug import UdevHotplug
from sandbox.process import has_ended, wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import PlugFailed, Vm

TELLTALE = '''#!%s -B
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
sys.exit(%d)
'''
# Python sets this one by itself in a process that has no locale.
NOISE = {'LC_CTYPE'}


def write_hooks(folder: Path, code: int = 0) -> Hooks:
    """Write hooks that print how they were called, and exit with `code`."""
    folder.mkdir()
    for name in ('vif', 'setup-vif-rules'):
        (folder / name).write_text(TELLTALE % (sys.executable, code))
        (folder / name).chmod(0o755)
    return Hooks(folder=str(folder))


@pytest.fixture(scope='module')
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Hooks:
    """Hooks that print how they were called."""
    return write_hooks(tmp_path_factory.mktemp('hooks') / 'telltale')


@pytest.fixture(scope='module')
def vm(dom0: Sandbox) -> Iterator[Vm]:
    """An HVM guest, so that it has both kinds of device."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    yield dom0.start_vm('told', hvm=True)


def told(stdout: str) -> tuple:     # type: ignore[type-arg]
    """Return arguments and environment as a hook printed them."""
    args, environment = json.loads(stdout)
    return args, {key: value for key, value in environment.items() if key not in NOISE}


def test_plug_fires_what_udev_fires(vm: Vm) -> None:
    tap, vif = [told(run.stdout) for run in vm.runs]
    domid = vm.domid
    assert tap == (['add', 'type_if=tap'], {
        'ACTION': 'add', 'SUBSYSTEM': 'net', 'SEQNUM': '4712', 'IFINDEX': '42',
        'DEVPATH': '/devices/virtual/net/tap%d.0' % domid,
        'INTERFACE': 'tap%d.0' % domid})
    assert vif == (['online', 'type_if=vif'], {
        'ACTION': 'online', 'SUBSYSTEM': 'xen-backend', 'SEQNUM': '4711',
        'DEVPATH': '/devices/vif-%d-0' % domid, 'XENBUS_TYPE': 'vif',
        'XENBUS_PATH': 'backend/vif/%d/0' % domid, 'XENBUS_BASE_PATH': 'backend',
        'vif': 'vif%d.0' % domid, 'script': vm.dom0.hooks.path('vif')})


def test_a_removed_backend_tells_only_its_path(vm: Vm) -> None:
    environment = vm.dom0.hooks.udev_vif('remove', vm.domid, 0).environment
    assert not {'vif', 'script', 'PATH', 'HOME', 'LANG'} & set(environment)
    assert environment['XENBUS_PATH'] == 'backend/vif/%d/0' % vm.domid


def test_every_event_can_be_fired(vm: Vm) -> None:
    calls = UdevHotplug(every_event=True).unplug(vm, 0)
    assert [call.args for call in calls] == [
        ('remove', 'type_if=tap'), ('offline', 'type_if=vif'),
        ('unbind', 'type_if=vif'), ('remove', 'type_if=vif')]


def test_locking_is_changed_by_xenopsd_itself(vm: Vm) -> None:
    runs = vm.set_locking('locked', ipv4=('10.0.0.1',))
    assert [run.name for run in runs] == ['setup-vif-rules'] * 2
    assert [told(run.stdout)[0] for run in runs] == [
        ['classic', '%s%d.0' % (kind, vm.domid), vm.uuid, '0', 'filter']
        for kind in ('vif', 'tap')]
    assert list(told(runs[0].stdout)[1]) == ['PATH']


def test_a_move_writes_the_new_bridge_first(vm: Vm) -> None:
    vif, tap = [told(run.stdout) for run in vm.move('xenbr1')]
    assert (vif[0], tap[0]) == (['move', 'type_if=vif'], ['move', 'type_if=tap'])
    assert vif[1]['XENBUS_PATH'] == 'backend/vif/%d/0' % vm.domid
    assert vm.dom0.store.read('/xapi/%s/private/vif/0/bridge' % vm.uuid) == 'xenbr1'


def test_a_failing_hook_fails_the_plug(vm: Vm, tmp_path: Path) -> None:
    good, vm.dom0.hooks = vm.dom0.hooks, write_hooks(tmp_path / 'bad', code=3)
    try:
        with pytest.raises(PlugFailed, match='exit 3'):
            vm.dom0.start_vm('refused')
        refused = vm.dom0.start_vm('refused', plug=False)
        assert [run.code for run in refused.plug(check=False)] == [3]
    finally:
        vm.dom0.hooks = good


def test_a_chosen_interpreter_runs_the_hook(vm: Vm) -> None:
    hooks = Hooks('/bin/echo', pythonpath='lib', folder=vm.dom0.hooks.folder)
    run, = hooks.run(hooks.udev_vif('online', 7, 0))
    # with the options that its first line names
    assert run.stdout == '-B %s online type_if=vif\n' % hooks.path('vif')


def test_pythonpath_is_all_that_a_test_may_add(vm: Vm) -> None:
    hooks = Hooks(pythonpath='lib', folder=vm.dom0.hooks.folder)
    run, = hooks.run(hooks.locking_changed(vm.domain, vm.vifs[0])[0])
    assert told(run.stdout)[1] == {'PATH': '/sbin:/usr/sbin:/bin:/usr/bin',
                                   'PYTHONPATH': 'lib'}


def test_output_code_and_time_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / 'vif').write_text('echo out; echo err >&2; sleep 0.1; exit 5\n')
    hooks = Hooks('/bin/sh', folder=str(tmp_path))
    run, = hooks.run(hooks.udev_vif('online', 7, 0))
    assert (run.code, run.stdout, run.stderr) == (5, 'out\n', 'err\n')
    assert 0.1 <= run.seconds < 1


def test_several_at_once_take_as_long_as_one(tmp_path: Path) -> None:
    (tmp_path / 'vif').write_text('sleep 0.5; echo $XENBUS_PATH\n')
    hooks = Hooks('/bin/sh', folder=str(tmp_path))
    began = time.monotonic()
    runs = hooks.run(*(hooks.udev_vif('online', domid, 0) for domid in range(6)))
    assert time.monotonic() - began < 1.5
    assert [run.stdout for run in runs] == [
        'backend/vif/%d/0\n' % domid for domid in range(6)]


def test_a_timeout_ends_the_hook_and_its_children(tmp_path: Path) -> None:
    (tmp_path / 'vif').write_text('sleep 100 & echo $!; wait\n')
    hooks = Hooks('/bin/sh', folder=str(tmp_path))
    run, = hooks.run(hooks.udev_vif('online', 7, 0), timeout=0.3)
    assert run.code == -9 and 0.3 <= run.seconds < 2
    wait_until(lambda: has_ended(int(run.stdout)), 'the child of the hook')
