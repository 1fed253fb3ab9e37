"""A self-test says yes on a host that is well, touches nothing else, and leaves nothing."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Tuple

import pytest
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox
from sandbox.process import LabError, ip, wait_until
from sandbox.pythons import for_hooks
from sandbox.vm import Vm
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.selftest.leftovers import DEVICES, find_left
from xsisolate.selftest.parties import UNMANAGED_PAIR, VMS

from support.command import DONE, FAILED, xsisolate
from support.selftest_run import Ended, end, has_bridge, look_around, start

SHORT_S = 15
PYTHON = os.environ.get('HOOK_PYTHON') or for_hooks()


@pytest.fixture(scope='module')
def daemon(vms: Tuple[Vm, Vm]) -> Iterator[Watch]:
    """The daemon, which looks at every bridge."""
    watch = Watch(PYTHON)
    try:
        yield watch.start()
        watch.stop()
    finally:
        watch.close()


@pytest.fixture(scope='module')
def well(dom0: Sandbox, vms: Tuple[Vm, Vm], daemon: Watch) -> Ended:
    """A self-test on a host with VMs and a daemon; both go on, and nothing of them changes."""
    before = look_around(dom0)
    ended = end(start(PYTHON))
    assert look_around(dom0) == before
    return ended


def test_all_is_well(well: Ended) -> None:
    assert well.code == DONE, well.out + well.err
    lines = well.out.splitlines()
    assert lines[-1].startswith('Everything is as it should be. (')
    assert 'Open vSwitch' in well.out and 'CT label: Yes' in well.out
    for words in ('176 pairs, 1056 probes', '11 so', '20 counted', 'none lost', 'no flow left'):
        assert words in well.out, words
    assert sum(line.startswith('attacks ') for line in lines) == 8
    assert '!' not in [line for line in lines if line.startswith('red1 ')][0]
    assert not well.err


def test_the_daemon_has_not_looked_at_it(well: Ended, daemon: Watch) -> None:
    """It would close VIFs that it does not know."""
    time.sleep(1)
    assert TRIAL_BRIDGE not in daemon.said() and 'vif327' not in daemon.said()


def test_the_vms_can_talk(well: Ended, vms: Tuple[Vm, Vm]) -> None:
    red, rose = vms
    assert red.ping(rose.address())


def wait_for_flows(dom0: Sandbox) -> None:
    """Wait until a self-test has begun to plug."""
    def has_flows() -> bool:
        try:
            return any('resubmit' in flow for flow in dom0.ovs.dump_flows(TRIAL_BRIDGE))
        except LabError:
            return False        # one bridge goes, the next one comes
    wait_until(has_flows, 'flows', SHORT_S)


@pytest.mark.parametrize('sig, code', [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130),
                                       (signal.SIGINT, 130), (signal.SIGHUP, 130)])
@pytest.mark.parametrize('when', ['at once', 'in the middle'])
def test_killed(dom0: Sandbox, vms: Tuple[Vm, Vm], sig: int, code: int, when: str) -> None:
    """What can clean up does; of what was killed the next run removes the rest."""
    before = look_around(dom0)
    process = start(PYTHON)
    wait_until(lambda: has_bridge(dom0), 'the bridge', SHORT_S)
    if when == 'in the middle':
        wait_for_flows(dom0)
        time.sleep(1)
    process.send_signal(sig)
    ended = end(process)
    assert ended.code == code, ended
    if sig == signal.SIGKILL:
        assert find_left()
        killed = dom0.ovs.vsctl('get', 'Bridge', TRIAL_BRIDGE, '_uuid')
        next_one = start(PYTHON)
        wait_until(lambda: dom0.ovs.vsctl('--if-exists', 'get', 'Bridge', TRIAL_BRIDGE, '_uuid')
                   not in ('', killed), 'the next bridge', SHORT_S)
        wait_for_flows(dom0)
        next_one.terminate()
        assert end(next_one).code == 130
    assert not find_left()
    assert look_around(dom0) == before


def test_two_at_once(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    with bridge_lock(TRIAL_BRIDGE, 0):
        ended = end(start(PYTHON))
    assert ended.code == FAILED
    assert ended.err == ('xsisolate: bridge %s is still locked after 0 s, by process %d\n'
                         % (TRIAL_BRIDGE, os.getpid()))


def test_a_bridge_of_others(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    dom0.ovs.add_bridge(TRIAL_BRIDGE)
    try:
        refused = xsisolate('selftest', code=FAILED)
        assert 'that no self-test has made' in refused.err and 'del-br' in refused.err
        assert has_bridge(dom0)
    finally:
        dom0.ovs.vsctl('del-br', TRIAL_BRIDGE)


@pytest.mark.parametrize('device', [DEVICES[0], DEVICES[-1]])
def test_a_device_of_others(dom0: Sandbox, vms: Tuple[Vm, Vm], device: str) -> None:
    ip(['link add %s type veth peer name peer0' % device])
    try:
        refused = xsisolate('selftest', code=FAILED)
        assert 'network device %s' % device in refused.err
        assert os.path.exists('/sys/class/net/' + device)
    finally:
        ip(['link del ' + device])


def test_a_vm_with_a_mac_address_of_ours(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    vm = dom0.start_vm('twin', mac=VMS[0].mac)
    try:
        refused = xsisolate('selftest', code=FAILED)
        assert vm.netdev() in refused.err and 'MAC address' in refused.err
    finally:
        vm.shutdown()
    assert not find_left()


def test_a_switch_that_is_held(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    dom0.ovs.vsctl('set', 'Open_vSwitch', '.', 'other_config:flow-restore-wait=true')
    try:
        assert 'flow-restore-wait' in xsisolate('selftest', code=FAILED).err
    finally:
        dom0.ovs.vsctl('remove', 'Open_vSwitch', '.', 'other_config', 'flow-restore-wait')


def test_without_a_switch(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    refused = end(start(PYTHON, OVS_RUNDIR='/nowhere'))
    assert refused.code == FAILED and refused.err.startswith(
        'xsisolate: ovsdb-server cannot be reached at /nowhere/db.sock: ')
    assert refused.err.count('\n') == 1


def test_not_as_root(dom0: Sandbox, tmp_path: Path) -> None:
    refused = subprocess.run(['setpriv', '--reuid=65534', '--clear-groups', sys.executable, '-c',
                              'import sys; sys.path.insert(0, sys.argv.pop(1)); '
                              'from xsisolate.cli import main; sys.exit(main(sys.argv[1:]))',
                              os.path.join(os.getcwd(), 'lib'), 'selftest'], encoding='utf-8',
                             stderr=subprocess.PIPE, timeout=SHORT_S)
    assert refused.returncode == FAILED
    assert 'run it as root' in refused.stderr and refused.stderr.count('\n') == 1


def test_names_that_cannot_exist() -> None:
    """Xen gives no domain such a number, and each party has a VIF and addresses of its own."""
    assert all(party.vif and 0x7ff0 <= party.vif.domid < 0x8000 for party in VMS)
    for field in ('vif', 'mac', 'ipv4', 'ipv6', 'number'):
        assert len({getattr(party, field) for party in VMS}) == len(VMS)
    assert {name for name in UNMANAGED_PAIR} <= {party.name for party in VMS}


def test_full(dom0: Sandbox, vms: Tuple[Vm, Vm]) -> None:
    """With the whole corpus."""
    done = end(start(PYTHON, '--full', '--json'))
    assert done.code == DONE, done.out + done.err
    report = done.json
    corpus = [one for one in report['outcomes'] if one['area'] == 'corpus']
    assert report['fine'] and len(corpus) == 21 and all(one['fine'] for one in corpus)
    assert sum(int(one['what'].split(': ')[1].split()[0]) for one in corpus) > 1700
    assert len(report['reachability']) > 3000
    assert report['speeds']['managed']['throughput_mbit_s'] > 0
