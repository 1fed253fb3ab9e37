"""When something is missing or hangs, a sync says so in a line and harms no VIF."""
import fcntl
import json
import os
import signal
import threading
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List

import pytest

from sandbox import metadata
from support.command import BROKEN, DIFFERENT, DONE, FAILED, USAGE
from sandbox.process import ip
from sandbox.pythons import by_name
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.host_state import OVSDB_SOCKET, XENSTORED_SOCKET, moved_away
from support.reachability import can_talk, is_cut_off
from support.switch import external_ids, ports
from support.resync import (PAIR_CONFIG, assert_in_sync, flows, ours, program, state, sync,
                            write_members)
from xsisolate.dataplane import vif_facts, bridge_snapshot
from xsisolate.dataplane import resync as syncing_bridges
from xsisolate.dom0.ovs import flow_table

pytestmark = pytest.mark.any_python



@pytest.fixture
def host(pair_host: Sandbox) -> Sandbox:
    """Not conftest's: every test has VMs of its own."""
    return pair_host


def damage(host: Sandbox) -> None:
    """Delete what a sync would bring back, on both bridges."""
    for bridge in ('xenbr0', 'xenbr1'):
        host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', bridge,
                       'table=234,cookie=0x5849534f00000000/0xffffffff00000000')


def is_damaged(host: Sandbox, bridge: str) -> bool:
    """Tell whether a bridge still lacks it."""
    return not any('table=234,' in flow for flow in ours(host, bridge))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process hang for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def the_line(said: str, *words: str) -> str:
    """Return the only line of a text, which has these words in it."""
    assert said.count('\n') == 1 and said.startswith('xsisolate: '), said
    assert all(word in said for word in words), said
    return said


# --- how it is called ------------------------------------------------------------------------


def test_bridges_by_name(host: Sandbox) -> None:
    """A fake bridge's name means the bridge that carries the network."""
    said = the_line(sync('--bridge', 'xenbr9', code=FAILED).err, 'xenbr9', 'xenbr0', 'xenbr1')
    assert 'Open vSwitch has no bridge' in said
    damage(host)
    for name in ('xenbr1', 'xapi7'):
        seen = sync('--dry-run', '--bridge', name, code=DIFFERENT)
        assert seen.lines[:2] == ['--- xenbr1 as it is', '+++ xenbr1 as it should be']
    assert sync('--bridge', 'xapi7').out.startswith('xenbr1: 1 VIFs')
    assert not is_damaged(host, 'xenbr1') and is_damaged(host, 'xenbr0')


def test_broken_configuration_touches_nothing(host: Sandbox) -> None:
    damage(host)
    before = state(host)
    host.configure('version: 1\nnetworks:\n  xenbr0: {defualt: locked}\n')
    for arguments in ([], ['--dry-run'], ['--json']):
        done = sync(*arguments, code=BROKEN)
        the_line(done.err, '/etc/xsisolate/xsisolate.yaml:3', 'defualt', 'no VIF was touched')
        assert not done.out
    assert state(host) == before


def test_broken_group_file_stops_its_bridges_only(host: Sandbox) -> None:
    [vm for vm in host.vms if vm.name == 'c'][0].set_policy(
        {'mode': 'locked', 'vif/0/ipv4': '10.9.0.13'})
    sync()
    damage(host)
    write_members(host, 'red')
    path = '/run/xsisolate/groups/red.json'
    with open(path, 'w') as file:
        file.write('{"version": 1, ')
    try:
        done = sync(code=BROKEN)
    finally:
        os.unlink(path)
    the_line(done.err, 'bridge xenbr0', path)
    assert is_damaged(host, 'xenbr0') and not is_damaged(host, 'xenbr1')


# --- who does not answer ---------------------------------------------------------------------


def test_nobody_there(host: Sandbox) -> None:
    for path in (XENSTORED_SOCKET, OVSDB_SOCKET):
        before = state(host)
        with moved_away(path):
            done = sync(code=FAILED)
        the_line(done.err, path)
        assert not done.out and state(host) == before


@pytest.mark.parametrize('how', ['hangs', 'is killed'])
def test_xenstored_fails_in_mid_run(host: Sandbox, monkeypatch: pytest.MonkeyPatch,
                                    how: str) -> None:
    """Nobody is quarantined for that, and all VIFs keep their flows."""
    before, calls = state(host), []
    real, process = vif_facts.read_policy, host.xenstored.process
    assert process

    def read_policy(store: Any, domid: int, devid: str) -> Any:
        calls.append(domid)
        store._timeout = 0.3
        if len(calls) == 2:         # in the look at xenbr0, the lock taken
            process.send_signal(signal.SIGSTOP)
            if how == 'is killed':
                store._socket.shutdown(2)       # what a dead process's socket does
        return real(store, domid, devid)

    monkeypatch.setattr(vif_facts, 'read_policy', read_policy)
    try:
        done = sync(code=FAILED)
    finally:
        process.send_signal(signal.SIGCONT)
    lines = done.err.splitlines()
    assert len(lines) == 2 and not done.out, done
    assert all('bridge xenbr%d: xenstored' % number in line for number, line in enumerate(lines))
    assert state(host) == before
    monkeypatch.undo()
    assert_in_sync(host)


def test_vswitchd_hangs(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_table, 'TIMEOUT_S', 0.3)
    before = state(host)
    assert host.ovs.vswitchd
    with stopped(host.ovs.vswitchd.pid):
        done = sync(code=FAILED)
        seen = sync('--dry-run', '--json', code=FAILED)
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert all('bridge xenbr%d: ovs-vswitchd' % n in line for n, line in enumerate(lines))
    assert [one['error'][15:27] for one in json.loads(seen.out)] == ['ovs-vswitchd'] * 2
    assert state(host) == before


def test_ovsdb_fails_in_mid_run(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs while xenbr0 is being programmed: a line per bridge."""
    before = state(host)
    assert host.ovs.database
    pid = host.ovs.database.pid
    monkeypatch.setattr(syncing_bridges, 'bridge_lock', hanging(pid))
    monkeypatch.setattr('xsisolate.cli.command.Ovsdb', impatient)
    try:
        done = sync(code=FAILED)
    finally:
        os.kill(pid, signal.SIGCONT)
    lines = done.err.splitlines()
    assert ['bridge xenbr%d: ovsdb-server' % n in line
            for n, line in enumerate(lines)] == [True] * 2
    assert state(host) == before


def hanging(pid: int) -> Callable[..., Any]:
    """Return a lock under which a process hangs."""
    @contextmanager
    def lock(bridge: str, deadline: float) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        yield
    return lock


def impatient() -> Any:
    """Return a connection that waits only a moment."""
    from xsisolate.dom0.ovs.ovsdb import Ovsdb
    return Ovsdb(timeout=0.4)


def test_bridge_locked_by_another(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other bridge is reconciled nevertheless, and a lock that is given up is waited for."""
    monkeypatch.setattr(syncing_bridges, 'LOCK_DEADLINE_S', 0.3)
    damage(host)
    lock = os.open('/run/xsisolate/lock/xenbr0', os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = sync(code=FAILED)
    the_line(done.err, 'bridge xenbr0 is still locked after 0.3 s, by process')
    assert done.out.startswith('xenbr1: ')
    assert is_damaged(host, 'xenbr0') and not is_damaged(host, 'xenbr1')
    monkeypatch.setattr(syncing_bridges, 'LOCK_DEADLINE_S', 20)
    threading.Timer(0.5, os.close, [lock]).start()
    sync()
    assert not is_damaged(host, 'xenbr0')


def test_metadata_missing(host: Sandbox) -> None:
    """Nobody knows that VIF: it is quarantined. Others are not concerned."""
    a, b = host.vms[:2]
    os.rename(metadata.path(a.uuid, 0), metadata.path(a.uuid, 0) + '.away')
    said = sync().out
    os.rename(metadata.path(a.uuid, 0) + '.away', metadata.path(a.uuid, 0))
    assert '2 VIFs, 1 quarantined' in said and 'vif.0: No such file' in said
    assert 'No such file' in external_ids(host, a.netdev())['xsisolate-error']
    assert is_cut_off(a, '10.9.0.12') and 'xsisolate-error' not in external_ids(host, b.netdev())
    sync()
    assert can_talk(a, '10.9.0.12') and 'xsisolate-error' not in external_ids(host, a.netdev())
    assert_in_sync(host)


@pytest.mark.parametrize('when', ['before the metadata is read', 'metadata first',
                                  'xenstore first'])
def test_vm_renamed_between_two_looks(host: Sandbox, monkeypatch: pytest.MonkeyPatch,
                                      when: str) -> None:
    """The end of a migration: no hook runs, nothing changes but names."""
    a = host.vms[0]
    new = a.uuid[:24] + '0123456789ab'
    host.store.write('/vm/%s/origin-uuid' % a.uuid, a.uuid)     # its own, whatever it is called
    before, real, calls = state(host), bridge_snapshot.read_vif, []
    old_path, new_path = metadata.path(a.uuid, 0), metadata.path(new, 0)

    def rename() -> None:
        os.makedirs(os.path.dirname(new_path))
        os.rename(old_path, new_path)
        os.rmdir(os.path.dirname(old_path))

    def read_vif(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) != 1:
            return real(*arguments)
        if when == 'before the metadata is read':
            a.become(new)
        elif when == 'metadata first':
            rename()
            threading.Timer(0.1, rename_in_xenstore, [host, a, new]).start()
        else:
            threading.Timer(0.1, rename).start()
        return real(*arguments)

    host.configure(PAIR_CONFIG.replace('grace: 1', 'grace: 0'))
    monkeypatch.setattr(bridge_snapshot, 'read_vif', read_vif)
    if when == 'xenstore first':
        rename_in_xenstore(host, a, new)
    done = sync()
    a.domain = a.domain._replace(uuid=new)
    assert len(calls) == 4 and done.out.count(' 0 quarantined') == 2, done
    assert state(host) == before and can_talk(a, '10.9.0.12')


def rename_in_xenstore(host: Sandbox, vm: Vm, uuid: str) -> None:
    """Do xenstore's half of Vm.become."""
    from sandbox.xenstored import Dom0Connection
    store = Dom0Connection()        # a thread's own
    store.connect()
    store.write_all('/vm/' + uuid, {'uuid': uuid, 'origin-uuid': vm.uuid})
    store.write('/local/domain/%d/vm' % vm.domid, '/vm/' + uuid)
    store.close()


# --- ports of dead netdevs -------------------------------------------------------------------


def test_dead_ports(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """They must be missed twice; foreign ports may be as dead as they like."""
    a = host.vms[0]
    for port in ('vif77.0', 'tap77.1', 'vif78.0', 'eth9', 'vifx', 'tap5'):
        host.ovs.ofctl('show', 'xenbr0')
        os.system('ovs-vsctl --no-wait add-port xenbr0 %s' % port)
    a.crash()
    host.store.rm('/local/domain/%d' % a.domid)
    before = ports(host)
    seen = sync('--dry-run', code=DIFFERENT)
    dead = ['-port tap77.1', '-port vif%d.0' % a.domid, '-port vif77.0', '-port vif78.0']
    assert seen.lines[2:6] == sorted(dead), seen.lines[:7]
    assert ports(host) == before
    monkeypatch.setattr(syncing_bridges, 'sleep', lambda seconds: ip(
        ['link add vif78.0 type veth peer name peer78']))
    assert '3 dead ports removed' in sync().out
    assert ports(host) == sorted(set(before) - {'vif77.0', 'tap77.1', a.netdev()})
    assert not [flow for flow in ours(host) if 'cookie=0x5849534f5%07x' % (a.domid << 9) in flow]
    ip(['link del vif78.0'])
    monkeypatch.undo()
    assert '1 dead ports removed' in sync().out
    assert sorted(set(ports(host)) & {'eth9', 'vifx', 'tap5'}) == ['eth9', 'tap5', 'vifx']


# --- what it prints --------------------------------------------------------------------------


KEYS = {'bridge', 'error', 'vifs', 'dead_ports', 'quarantined', 'mute', 'missing', 'surplus',
        'settings'}


def test_json(host: Sandbox) -> None:
    damage(host)
    host.vms[0].set_policy({'mode': 'nonsense'})
    seen = json.loads(sync('--json', '--dry-run', code=DIFFERENT).out)
    done = json.loads(sync('--json').out)
    assert [set(one) for one in seen + done] == [KEYS] * 4
    assert seen == done
    first, second = done
    assert (first['bridge'], first['vifs'], first['error'], first['dead_ports']) == (
        'xenbr0', 2, None, [])
    assert list(first['quarantined']) == [host.vms[0].netdev()]
    assert 'nonsense' in first['quarantined'][host.vms[0].netdev()]
    assert first['surplus'] and {'what': host.vms[0].netdev() + ' xsisolate-error', 'actual': '',
                                 'desired': first['quarantined'][host.vms[0].netdev()]
                                 } in first['settings']
    assert second['missing'] and not second['surplus'] and not second['quarantined']
    after: List[Dict[str, Any]] = json.loads(sync('--json').out)
    assert all(not one['missing'] and not one['surplus'] and not one['settings'] for one in after)


@pytest.mark.parametrize('name', sorted(by_name()))
def test_as_a_program(host: Sandbox, name: str) -> None:
    """In the C locale, on Dom0's Python too: exit codes, help, usage."""
    options = {'python': by_name()[name]}
    helped = program('sync', '--help', **options)
    assert helped.code == DONE and '--dry-run' in helped.out and 'exit code 4' in helped.out
    for wrong in (['sync', '--dryrun'], ['sync', 'xenbr0'], ['sync', '--bridge'], ['snyc'], []):
        done = program(*wrong, **options)
        assert done.code == USAGE and not done.out and 'usage: xsisolate' in done.err
    assert program('sync', '--dry-run', **options).code == DONE
    damage(host)
    host.vms[1].set_vm_data({'xsisolate/mode': 'n\u00f6'})
    seen = program('sync', '--dry-run', **options)
    assert seen.code == DIFFERENT and not seen.err
    done = program('sync', **options)
    assert done.code == DONE and '2 VIFs, 1 quarantined' in done.out and not done.err
    assert program('sync', '--bridge', 'no', **options).code == FAILED
    assert flows(host) and program('sync', '--json', '--dry-run', **options).code == DONE
