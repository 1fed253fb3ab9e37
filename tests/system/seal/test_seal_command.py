"""`xsisolate seal --local`: the seal for an admin's tools, and one line when there is none."""
import hashlib
import json
import os
import subprocess
from typing import Any, Callable, Iterator, List, NamedTuple

import pytest

from sandbox import metadata, seals
from sandbox.hooks import REPOSITORY
from sandbox.dom0 import SEAL, Sandbox
from sandbox.vm import Vm

from support.host_state import moved_away
from support.vm_events import refresh
from support.guarded_host import (CHANGED, CONFIG, MISSING, PORTABLE_CHANGED, RED, UNREADABLE,
                                  UNSEALED, VERSION, give_seal, give_vm_data, own, start_vm,
                                  the_seal)

pytestmark = pytest.mark.host(sealed=True, config=CONFIG % 0)

POLICY = own(11, dict(RED, **{'vif/1/mode': 'locked', 'vif/1/ipv4': '10.9.0.23'}))
NOBODY = '/run/no-such-socket'
TIMEOUT_S = 20


class Run(NamedTuple):
    """What came of the command."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope='module')
def command(host: Sandbox) -> Callable[..., Run]:
    """Return a function that runs the command as from a checkout, with udev's poor locale."""
    def run(*args: Any, **environ: str) -> Run:
        done = subprocess.run(
            [str(host.hooks.interpreter), '-m', 'xsisolate'] + [str(arg) for arg in args],
            env=dict({'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C',
                      'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}, **environ),
            cwd='/', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=TIMEOUT_S)
        answer = Run(done.returncode, done.stdout.decode('ascii'), done.stderr.decode('utf-8'))
        assert 'Traceback' not in answer.stderr and 'internal' not in answer.stderr, answer
        return answer
    return run


@pytest.fixture(scope='module')
def seal(command: Any) -> Callable[..., Run]:
    """Return a function that asks for the seal of a VM's VIF."""
    def run(vm: Vm, *what: str, devid: int = 0, **environ: str) -> Run:
        answer: Run = command('seal', '--local', vm.domid, devid, *what, **environ)
        return answer
    return run


@pytest.fixture(scope='module')
def resident(host: Sandbox) -> Vm:
    """A VM with two sealed VIFs."""
    vm = start_vm(host, 11, POLICY, mac='02:00:00:00:ab:cd', plug=False)
    host.add_vif(vm, 'xenbr1', policy=POLICY)
    vm.plug()
    return vm


@pytest.fixture
def vm(resident: Vm) -> Iterator[Vm]:
    """The same; whatever a test does to its vm-data, metadata and seals is put right."""
    before = dict(resident.vifs)
    give_vm_data(resident, POLICY)
    yield resident
    for devid, vif in before.items():
        resident.set_vif(devid, mac=vif.mac, other_config=vif.other_config)


def complaint(run: Run, code: int, *words: str) -> str:
    """Return the line that the command complains with."""
    assert (run.code, run.stdout) == (code, ''), run
    said = run.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith('xsisolate: ') and said[0].isprintable(), run
    assert len(said[0]) < 1000 and all(word in said[0] for word in words), (words, said)
    return said[0]


# --- what it prints --------------------------------------------------------------------------


def test_it_prints_the_seal_that_another_tool_makes(vm: Vm, seal: Any) -> None:
    for devid in (0, 1):
        expected = seals.seal(vm.uuid, vm.vifs[devid], POLICY)
        assert seal(vm, '--print', devid=devid) == Run(0, expected + '\n', '')
        run = seal(vm, '--canonical', devid=devid)
        assert (run.code, run.stderr) == (0, '')
        assert json.loads(run.stdout) == {
            'vm': vm.uuid, 'mac': vm.vifs[devid].mac, 'device': str(devid),
            'policy': seals.effective(POLICY, devid)}
        digest = hashlib.sha256(run.stdout.rstrip('\n').encode()).hexdigest()
        assert expected == '1:' + digest


def test_it_says_all_of_it_in_json(vm: Vm, seal: Any) -> None:
    for what in ('--print', '--check', '--canonical'):
        run = seal(vm, what, '--json')
        record = json.loads(run.stdout)
        assert record.pop('canonical') + '\n' == seal(vm, '--canonical').stdout
        assert record == {'vif': vm.netdev(), 'vm': vm.uuid, 'state': 'sealed',
                          'carries': the_seal(vm), 'seal': the_seal(vm)}
        assert (run.code, run.stderr) == (0, '')
    vm.xenstore.write('vm-data/xsisolate/groups', 'blue')
    run = seal(vm, '--check', '--json')
    assert (run.code, json.loads(run.stdout)['state']) == (4, 'changed')


def test_what_it_prints_makes_a_policy_count(vm: Vm, seal: Any) -> None:
    give_vm_data(vm, own(11, {'groups': 'blue'}))
    assert ' mode=quarantined ' in refresh(vm).stderr and seal(vm, '--check').code == 4
    give_seal(vm, seal(vm, '--print').stdout.strip())
    assert ' mode=isolated groups=blue ' in refresh(vm).stderr and seal(vm, '--check').code == 0


def test_during_a_migration_it_is_the_same_seal(host: Sandbox, seal: Any) -> None:
    vm = start_vm(host, 12, RED)
    expected = Run(0, the_seal(vm) + '\n', '')
    incoming = host.migrate_in(vm)
    assert seal(incoming, '--print') == seal(vm, '--print') == expected
    assert vm.uuid in seal(incoming, '--canonical').stdout
    assert seal(incoming, '--check').code == 0
    final = vm.uuid
    vm.become(final[:24] + '000000000000')
    host.store.write('/vm/%s/origin-uuid' % vm.uuid, final)
    assert seal(vm, '--print') == expected
    incoming.arrive()
    assert seal(incoming, '--print') == expected
    assert seal(incoming, '--check').code == 0
    for one in (vm, incoming):
        one.shutdown()


# --- --check and its exit codes --------------------------------------------------------------


CHECKS: List[Any] = [
    (lambda vm: None, 0, 'sealed'),
    (lambda vm: give_seal(vm, the_seal(vm).upper()), 0, 'sealed'),
    (lambda vm: give_seal(vm, None), 4, UNSEALED),
    (lambda vm: give_seal(vm, '3' + the_seal(vm)[1:]), 4, VERSION),
    (lambda vm: give_seal(vm, '2' + the_seal(vm)[1:]), 4, PORTABLE_CHANGED),
    (lambda vm: give_seal(vm, seals.portable_seal(0, POLICY)), 0, 'sealed, portable'),
    (lambda vm: give_seal(vm, ''), 4, UNREADABLE),
    (lambda vm: give_seal(vm, '\x1b[2J\n\xff' + 'x' * 100000), 4, UNREADABLE),
    (lambda vm: vm.xenstore.write('vm-data/xsisolate/mode', 'locked'), 4, CHANGED),
    (lambda vm: vm.set_vif(mac='02:00:00:00:99:99'), 4, CHANGED),
    (lambda vm: vm.xenstore.rm('vm-data'), 4, MISSING),
    (lambda vm: (vm.xenstore.rm('vm-data'), give_seal(vm, None)), 0, 'no policy and no seal')]


@pytest.mark.parametrize('at', range(len(CHECKS)), ids=['%d %s' % case[1:] for case in CHECKS])
def test_check_says_what_the_hooks_would(vm: Vm, seal: Any, at: int) -> None:
    change, code, words = CHECKS[at]
    change(vm)
    run = seal(vm, '--check')
    assert (run.code, run.stderr) == (code, '') and run.stdout.startswith(vm.netdev() + ': ')
    line, = run.stdout.splitlines()
    assert words in line and line.isprintable() and len(line) < 1000
    assert json.loads(seal(vm, '--check', '--json').stdout)['vm'] == vm.uuid
    quarantined = ' mode=quarantined ' in refresh(vm).stderr
    assert quarantined is (code == 4)


# --- when there is nothing to print ----------------------------------------------------------


def test_a_vif_without_policy_has_no_seal(vm: Vm, seal: Any) -> None:
    vm.set_vm_data({'else': 'x'})
    for what in ('--print', '--canonical'):
        complaint(seal(vm, what), 3, vm.uuid, 'device 0', 'nothing to seal')


HOSTILE = {'groups': 'r\xff\xfe\x1b[2J\x00d', 'mode': 'x' * 2000, 'allow': '\n'.join(['%s'] * 600),
           'allow-64': '10.9.0.1', 'vif/0/ipv4': '10.9.0.300', 'Mode': 'locked'}


@pytest.mark.parametrize('key', sorted(HOSTILE))
def test_hostile_vm_data_is_one_line(vm: Vm, seal: Any, key: str) -> None:
    vm.xenstore.write('vm-data/xsisolate/' + key, HOSTILE[key])
    for what in ('--print', '--canonical', '--check'):
        complaint(seal(vm, what), 3, key.split('/')[-1])


def test_thousands_of_nodes_are_one_line(vm: Vm, seal: Any) -> None:
    for number in range(3000):      # the guest's, though not through its slow ring
        vm.dom0.store.write('/local/domain/%d/vm-data/xsisolate/x%d' % (vm.domid, number), '')
    complaint(seal(vm, '--check'), 3, 'children')


def test_no_such_vif(host: Sandbox, vm: Vm, command: Any) -> None:
    for local, word in (((vm.domid + 1000, 0), 'domain %d ' % (vm.domid + 1000)),
                        ((vm.domid, 7), 'device 7'), ((0, 0), 'domain 0 '), ((99999, 0), '99999')):
        complaint(command('seal', '--local', *local, '--print'), 1, word)


def test_no_metadata(vm: Vm, seal: Any) -> None:
    metadata.remove(vm.uuid, [0])
    complaint(seal(vm, '--check'), 1, vm.uuid, 'No such file')
    for text in ('', '{"mac":"02:00', '[]', '\0'):
        with open(metadata.path(vm.uuid, 0), 'w') as file:
            file.write(text)
        complaint(seal(vm, '--check'), 1, vm.uuid)
    metadata.write(vm.uuid, vm.vifs[0])
    assert seal(vm, '--check').code == 0


def test_no_xenstored(vm: Vm, seal: Any) -> None:
    complaint(seal(vm, '--print', XENSTORED_PATH=NOBODY), 1, NOBODY)
    complaint(seal(vm, '--print', XENSTORED_PATH='/etc/passwd'), 1, '/etc/passwd')
    with moved_away('/run/xenstored/socket'):
        complaint(seal(vm, '--check'), 1, 'xenstored cannot be reached at')
    assert seal(vm, '--print', XENSTORED_PATH='/run/xenstored/socket').code == 0


def test_it_asks_neither_xapi_nor_open_vswitch_nor_the_configuration(host: Sandbox, vm: Vm,
                                                                     seal: Any,
                                                                     config: str) -> None:
    host.configure('version: 7\n')
    with moved_away('/run/openvswitch/db.sock'):
        assert seal(vm, '--check').code == 0
    host.configure(config)


# --- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize('args', [
    (), ('seel',), ('seal',), ('seal', '--print'), ('seal', '--local', '1', '--print'),
    ('seal', '--local', '1', '0', '--print', '--check'),
    ('seal', '--local', '-1', '0', '--print'), ('seal', '--local', 'x', '0', '--print'),
    ('seal', '--local', '1.0', '0', '--print'), ('seal', '--local', '', '0', '--print'),
    ('seal', '--local', '123456', '0', '--print'), ('seal', '--local', '1/../2', '0', '--check'),
    ('seal', '--local', '\u00b2', '0', '--check')])
def test_usage(command: Any, args: Any) -> None:
    run = command(*args)
    assert (run.code, run.stdout) == (2, '') and run.stderr.startswith('usage: xsisolate')


@pytest.mark.parametrize('args, words', [
    (('--help',), ['seal', 'exit codes: 0 done', '4 differences found']),
    (('seal', '--help'), ['--local DOMID DEVID', '--canonical', 'VIF.other_config:' + SEAL,
                          'xe vif-param-set']),
    (('--version',), ['xsisolate '])])
def test_help(command: Any, args: Any, words: Any) -> None:
    run = command(*args)
    assert (run.code, run.stderr) == (0, '')
    assert all(word in run.stdout for word in words), run.stdout
