"""What a hook may cost, in counts: programs, messages, modules. Times are for `make bench`."""
import os
from collections import Counter
from typing import Iterator, List, Set

import pytest

from bench.crowd import Crowd, isolated, plug_call, refresh_call, unplug_call, write_members
from bench.measure import count_programs, trace
from sandbox.hooks import Call
from sandbox.process import run
from sandbox.dom0 import Sandbox

from support.middlebox import between
from support.resync import sync

pytestmark = pytest.mark.any_python

HELLO, QUESTION10, QUESTION14 = 0, 16, 18
# Modules that a hook must not import on its way: each costs it 1 to 10 ms on Python 3.6.
SLOW = {'typing', 'subprocess', 'contextlib', 'argparse', 'logging',
        'threading', 'tempfile', 'signal', 'ipaddress', 'yaml', 'site', 'inspect',
        'random'}
MODULES_MOST = 40       # of the standard library


@pytest.fixture(scope='module')
def crowd(host: Sandbox) -> Crowd:
    return Crowd(host, 'xenbr0')


def made(host: Sandbox, call: Call) -> None:
    one, = host.hooks.run(call)
    assert one.code == 0, one


def test_hooks_start_no_program(host: Sandbox, crowd: Crowd) -> None:
    one, other = crowd.add([isolated(1), isolated(2)])
    made(host, plug_call(host.hooks, other))
    for call in (plug_call(host.hooks, one), refresh_call(host.hooks, one),
                 unplug_call(host.hooks, one)):
        argv = host.hooks.start_of(call.hook) + list(call.args)
        assert count_programs(argv, call.environment) == 0, call
    made(host, unplug_call(host.hooks, other))
    crowd.remove([one, other])


def questions(host: Sandbox, call: Call) -> int:
    """Return how often a hook asks ovs-vswitchd to go through its cached verdicts."""
    return sum('revalidator/wait' in line for line in trace(
        host.hooks.start_of(call.hook) + list(call.args), call.environment, 'sendto'))


@pytest.mark.parametrize('mode', ['isolated', 'locked', 'unlocked'])
def test_a_port_that_comes_is_not_judged_as_one_that_has_gone(
        host: Sandbox, crowd: Crowd, mode: str) -> None:
    """It may have that one's number. A refresh that changes nothing has nothing to wait for."""
    one, = crowd.add([isolated(1)])
    made(host, plug_call(host.hooks, one))
    policy = {'mode': mode, 'vif/0/ipv4': '10.9.0.77'}
    vm = host.start_vm('comes', ipv4='10.9.0.77/24', plug=False,
                       policy=None if mode == 'unlocked' else policy)
    vm.cable(0)
    assert questions(host, host.hooks.udev_vif('online', vm.domid, 0)) == 2
    assert questions(host, host.hooks.locking_changed(vm.domain, vm.vifs[0])[0]) == 0
    vm.shutdown()
    made(host, unplug_call(host.hooks, one))
    crowd.remove([one])


def kinds(host: Sandbox, call: Call) -> Counter:
    """Return how many OpenFlow messages of which kind a hook sends."""
    seen: List[int] = []

    def note(kind: int, message: bytes) -> bool:
        seen.append(kind)
        return True

    with between('xenbr0', note):
        made(host, call)
    return Counter(seen)


@pytest.fixture
def neighbours(host: Sandbox, crowd: Crowd) -> Iterator[None]:
    others = crowd.add([isolated(number) for number in range(10, 30)])
    crowd.attach(others)
    write_members(host, 'xenbr0', 'red', 500)
    sync()
    yield
    os.unlink('/run/xsisolate/groups/red.json')
    for one in others:
        made(host, unplug_call(host.hooks, one))
    crowd.remove(others)


def test_a_refresh_says_as_much_on_a_full_bridge_and_changes_nothing(
        host: Sandbox, crowd: Crowd, request: pytest.FixtureRequest) -> None:
    one, = crowd.add([isolated(1)])
    made(host, plug_call(host.hooks, one))
    alone = kinds(host, refresh_call(host.hooks, one))
    assert set(alone) == {HELLO, QUESTION10, QUESTION14}
    assert alone[HELLO] <= 3 and alone[QUESTION10] == 1 and alone[QUESTION14] <= 7
    request.getfixturevalue('neighbours')
    made(host, refresh_call(host.hooks, one))
    assert kinds(host, refresh_call(host.hooks, one)) == alone
    made(host, unplug_call(host.hooks, one))
    crowd.remove([one])


def modules_of(host: Sandbox, names: str) -> Set[str]:
    """Return what importing some of our modules imports, of the standard library and ours."""
    folder = os.path.join(os.path.dirname(host.hooks.folder), 'lib')
    start = host.hooks.start_of('vif')[:-1]
    said = run(start + ['-c', 'import sys; sys.path.insert(0, %r); before = set(sys.modules); '
                        'from xsisolate.hooks import %s; print(*set(sys.modules) - before)'
                        % (folder, names)])
    return set(said.split())


def test_hooks_import_little(host: Sandbox) -> None:
    modules = modules_of(host, 'entry, call')
    assert not modules & SLOW
    others = {name for name in modules if not name.startswith(('_', 'xsisolate'))}
    assert len(others) <= MODULES_MOST, sorted(others)


def test_hooks_that_have_a_server_import_next_to_nothing(host: Sandbox) -> None:
    modules = modules_of(host, 'entry')
    assert {name for name in modules if name.startswith('xsisolate')} == {
        'xsisolate', 'xsisolate.hooks', 'xsisolate.hooks.entry', 'xsisolate.hooks.client',
        'xsisolate.typing_compat', 'xsisolate.paths'}
    others = {name for name in modules if not name.startswith(('_', 'xsisolate'))}
    assert others <= {'os', 'os.path', 'posixpath', 'genericpath', 'stat', 'errno', 'abc',
                      'collections.abc', 'struct'}, sorted(others)
