"""A planned restart of Open vSwitch opens nothing, and closes nobody out for long.

What systemd would run is read from the drop-in and run, in its order, around the
real daemons' end and start, while a stranger and managed VIFs shout at each other.
"""
import os
import re
import signal
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import pytest

from sandbox.hooks import REPOSITORY
from sandbox.process import run, wait_until
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.reachability import can_talk, is_cut_off
from support.switch import full_table, our_flows, policy_flows
from support.host_state import moved_away
from support.vm_events import refresh
from support.guarded_host import CONFIG, GUARDED, RED, Around, is_fine, shown_error
from support.shouting import Heard

from sandbox.daemon import PATH, Watch
from support.guarded_host import LONG_S

pytestmark = GUARDED

DROP_IN = os.path.join(REPOSITORY, 'rpm', 'systemd', 'openvswitch.service.d', '50-xsisolate.conf')
COMMAND = '/usr/bin/xsisolate'
KEY = 'flow-restore-wait'
MOST_S = 15.0           # measured: 1.5 s, most of it the daemons' own
WINDOW_S = 1.0          # measured: none, or 0.1 s
# What XCP-ng's openvswitch.service is (Type=forking), with the commands that it starts.
UNIT = '''[Unit]
Description=Open vSwitch
[Service]
Type=forking
ExecStart=/bin/true
ExecStop=/bin/true
'''


class Line(NamedTuple):
    """A command of a unit; its failure may be of no consequence."""

    ignored: bool
    argv: Sequence[str]


def lines(setting: str) -> List[Line]:
    """Return the drop-in's commands of one kind, in order."""
    with open(DROP_IN) as file:
        found = re.findall(r'^%s=(-?)(.+)$' % setting, file.read(), re.MULTILINE)
    return [Line(bool(dash), words.split()) for dash, words in found]


@pytest.fixture(scope='module')
def systemd(host: Sandbox) -> Callable[..., List[str]]:
    """Run the drop-in's commands of one kind as systemd does; return what they say."""
    environ: Dict[str, str] = {'PATH': PATH, 'LC_ALL': 'C',
                               'PYTHONPATH': os.path.join(REPOSITORY, 'lib')}

    def start(setting: str, command: Sequence[str] = (), only: str = '') -> List[str]:
        said = []
        for ignored, argv in lines(setting):
            mine = command or (str(host.hooks.interpreter), '-m', 'xsisolate')
            replaced = [word for one in argv for word in (mine if one == COMMAND else (one,))]
            done = subprocess.run(replaced, env=environ, cwd='/', stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  encoding='utf-8', timeout=80)
            assert ignored or not done.returncode, done
            assert 'Traceback' not in done.stdout, done.stdout
            said.append('%d: %s' % (done.returncode, done.stdout))
        return said
    return start


@pytest.fixture
def never_held(host: Sandbox) -> Iterator[None]:
    """Whatever a test does, the switch forwards in the end."""
    yield
    host.ovs.vsctl('remove', 'Open_vSwitch', '.', 'other_config', KEY)


def is_held(host: Sandbox) -> bool:
    return KEY in host.ovs.vsctl('get', 'Open_vSwitch', '.', 'other_config')


class Restart(NamedTuple):
    """What came of a restart."""

    said: List[str]         # by what runs after the start
    heard: Heard


def restart(host: Sandbox, systemd: Any, shout: Any, vms: Sequence[Vm], around: Around,
            post: Optional[Callable[[], List[str]]] = None) -> Restart:
    """Restart Open vSwitch as `systemctl restart openvswitch` does with the drop-in."""
    shouting = shout(*vms)
    shouting.talk(vms[0], around.friend)
    time.sleep(0.3)
    host.ovs.stop()                             # ExecStop=ovs-ctl stop
    said = systemd('ExecStartPre')
    assert [line[:3] for line in said] == ['0: '], said
    host.ovs.start_database()                   # ExecStart=ovs-start
    host.ovs.start_vswitchd()
    assert is_held(host)
    said = post() if post else systemd('ExecStartPost')
    assert not is_held(host)
    time.sleep(0.7)
    heard = shouting.stop()
    print('\n%d frames sent, %d forbidden ones arrived; members apart for %.2f s; %s' % (
        heard.total, heard.number, heard.pause, said))
    return Restart(said, heard)


def check_opened_nothing(result: Restart) -> None:
    assert result.heard.total > 500 and not result.heard.forbidden, result


@pytest.mark.parametrize('with_daemon', [True, False], ids=['daemon', 'alone'])
def test_a_planned_restart_opens_nothing(host: Sandbox, around: Around, start: Any, systemd: Any,
                                         shout: Any, new_watch: Any, settled: Any,
                                         never_held: None, with_daemon: bool) -> None:
    vm, blue = start(13, RED), start(14, {'groups': 'blue'})
    watch: Optional[Watch] = new_watch().start() if with_daemon else None
    assert is_fine(vm, around)
    settled()
    before = policy_flows(host)
    result = restart(host, systemd, shout, (vm, blue, around.friend), around)
    check_opened_nothing(result)
    assert 0 < result.heard.pause < MOST_S
    assert policy_flows(host) == before
    assert [line[:3] for line in result.said] == ['0: ', '0: '], result.said
    assert 'xenbr0: 3 VIFs, 0 quarantined' in result.said[0] or (
        'xenbr0: 4 VIFs, 0 quarantined' in result.said[0])
    settled()
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address(), blue.address())
    assert can_talk(around.bystander, '10.9.0.254')
    if watch:       # and it still follows
        host.ovs.ofctl('del-flows', 'xenbr0')
        host.ovs.add_flow('xenbr0', 'priority=0,actions=NORMAL')
        wait_until(lambda: policy_flows(host) == before, 'the flows', 8)


def test_without_the_drop_in_it_is_open(host: Sandbox, around: Around, start: Any,
                                        shout: Any) -> None:
    """What the stock unit does; the ears of these tests work."""
    vm = start(13, RED)
    shouting = shout(vm)
    host.ovs.stop()
    host.ovs.start_database()
    host.ovs.start_vswitchd()
    time.sleep(0.5)
    shouting.stop().check_all_heard()
    refresh(vm)


# --- what goes wrong -------------------------------------------------------------------------


def full(host: Sandbox) -> Any:
    """Let the switch refuse our flows."""
    return full_table(host)


def without_xenstored(host: Sandbox) -> Any:
    """Let there be no xenstored."""
    return moved_away('/run/xenstored/socket')


class Broken:
    """Let the configuration be broken, and nobody know what it was."""

    def __init__(self, host: Sandbox) -> None:
        self.host = host

    def __enter__(self) -> None:
        self.host.configure('version: 7\n')
        os.unlink('/run/xsisolate/config.json')

    def __exit__(self, *_: object) -> None:
        self.host.configure(CONFIG % LONG_S)


class Locked:
    """Let a hung process hold a bridge's lock."""

    def __init__(self, host: Sandbox) -> None:
        self.process: Optional['subprocess.Popen[bytes]'] = None

    def __enter__(self) -> None:
        os.makedirs('/run/xsisolate/lock', exist_ok=True)
        self.process = subprocess.Popen(['flock', '/run/xsisolate/lock/xenbr0', 'sleep', '60'],
                                        start_new_session=True)
        time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


IMPATIENT = '''
import sys, time
import xsisolate.dataplane.planned_restart as restart
from xsisolate import cli
restart.RELEASE_S, restart.LOCK_S, restart.CLOSE_S = %s, 0.5, 5
def hang(*arguments, **named):
    try:
        time.sleep(60)
    except Exception:
        time.sleep(60)
%s
sys.exit(cli.main(['release']))
'''
HUNG = IMPATIENT % (0.5, 'restart.resync = hang')
TROUBLE = {'full': (full, 'its VIFs are closed until it is programmed'),
           'locked': (Locked, 'still locked'),
           'configuration': (Broken, 'version'),
           'xenstored': (without_xenstored, 'xenstored does not run on this host')}


@pytest.mark.parametrize('what', TROUBLE)
def test_what_cannot_be_programmed_is_closed(host: Sandbox, around: Around, start: Any,
                                             systemd: Any, shout: Any, command: Any,
                                             settled: Any, never_held: None, what: str) -> None:
    """The bridge forwards for everybody else, and the next sync makes good."""
    trouble, words = TROUBLE[what]
    vm, far = start(13, RED), start(14, RED, bridge='xenbr1')
    free = start(15, None, bridge='xenbr1')
    other = start(16, None, bridge='xenbr1')
    before = policy_flows(host)
    with trouble(host):
        result = restart(host, systemd, shout, (vm, around.friend), around, lambda: systemd(
            'ExecStartPost', (str(host.hooks.interpreter), '-c', IMPATIENT % (20, ''))))
        check_opened_nothing(result)
        assert words in result.said[0], result.said
        assert is_cut_off(vm, around.friend.address(), around.bystander.address())
        assert is_cut_off(around.bystander, '10.9.0.254')      # who knows what it may?
        if what in ('full', 'locked'):      # the other bridge has no trouble
            assert can_talk(free, other.address()) and is_cut_off(far, free.address())
    done = command('sync')
    assert done.returncode == 0, done.stdout + done.stderr
    settled()
    assert policy_flows(host) == before and not shown_error(vm)
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    assert can_talk(around.bystander, '10.9.0.254')


def test_a_broken_configuration_costs_nobody_the_network(
        host: Sandbox, around: Around, start: Any, systemd: Any, shout: Any, configure: Any,
        command: Any, never_held: None) -> None:
    """All flows are lost, and put back by what the file said when it was last valid."""
    vm = start(13, RED)
    assert command('sync').returncode == 0
    before = policy_flows(host)
    configure('version: 7\n')
    result = restart(host, systemd, shout, (vm, around.friend), around)
    check_opened_nothing(result)
    assert 'quarantined' in result.said[0] and ' 0 quarantined' in result.said[0], result.said
    assert policy_flows(host) == before
    assert is_fine(vm, around) and is_cut_off(vm, around.bystander.address())
    assert can_talk(around.bystander, '10.9.0.254')


def test_what_hangs_is_ended(host: Sandbox, around: Around, start: Any, systemd: Any, shout: Any,
                             command: Any, never_held: None) -> None:
    """Also where the first alarm is taken for something else's failure."""
    vm = start(13, RED)

    def post() -> List[str]:
        return systemd('ExecStartPost', (str(host.hooks.interpreter), '-c', HUNG))

    result = restart(host, systemd, shout, (vm, around.friend), around, post)
    check_opened_nothing(result)
    assert 'not done within 0.5 s' in result.said[0] and 'closed' in result.said[0]
    assert command('sync').returncode == 0
    assert is_fine(vm, around)


@pytest.mark.parametrize('gone', [('/nonexistent/xsisolate',), ('/bin/sh', '-c', 'kill -9 $$')],
                         ids=['removed', 'killed'])
def test_the_network_comes_back_without_us(host: Sandbox, around: Around, start: Any, systemd: Any,
                                           command: Any, never_held: None,
                                           gone: Sequence[str]) -> None:
    """Nothing of ours runs any more: a host without network would be beyond repair."""
    vm = start(13, RED)
    host.ovs.stop()
    systemd('ExecStartPre')
    host.ovs.start_database()
    host.ovs.start_vswitchd()
    assert is_held(host) and is_cut_off(around.bystander, '10.9.0.254')
    said = systemd('ExecStartPost', gone)
    assert said[0][:3] != '0: ' and said[1] == '0: ', said
    assert not is_held(host) and can_talk(around.bystander, '10.9.0.254')
    assert command('sync').returncode == 0
    assert is_fine(vm, around)


def test_without_our_command_nothing_is_held(host: Sandbox, around: Around, start: Any,
                                             systemd: Any) -> None:
    """The package is gone and the drop-in is still loaded."""
    host.ovs.stop()
    systemd('ExecStartPre', ('/nonexistent/xsisolate',))
    host.ovs.start_database()
    host.ovs.start_vswitchd()
    assert not is_held(host) and can_talk(around.bystander, '10.9.0.254')
    systemd('ExecStartPost', ('/nonexistent/xsisolate',))
    refresh(around.friend)


# --- other orders of things ------------------------------------------------------------------


def test_hold_while_the_switch_runs(host: Sandbox, around: Around, start: Any, command: Any,
                                    never_held: None) -> None:
    """It does not look at the key any more, so an admin may hold in advance."""
    vm = start(13, RED)
    for _ in range(2):
        assert command('hold').returncode == 0
        assert is_held(host) and is_fine(vm, around) and can_talk(around.bystander, '10.9.0.254')
    for _ in range(2):
        done = command('release')
        assert done.returncode == 0 and not is_held(host), done
    assert is_fine(vm, around)


def test_hold_says_what_is_wrong(host: Sandbox, around: Around, command: Any) -> None:
    host.ovs.stop()
    try:
        with moved_away('/etc/openvswitch/conf.db'):
            done = command('hold')
            assert done.returncode == 1 and done.stderr.count('\n') == 1, done
            assert 'conf.db' in done.stderr
    finally:
        host.ovs.start_database()
        host.ovs.start_vswitchd()
        refresh(around.friend)


def test_ovs_ctls_own_restart(host: Sandbox, around: Around, start: Any, shout: Any,
                              watch: Watch, settled: Any, never_held: None) -> None:
    """`ovs-ctl restart` and `force-reload-kmod`: flows saved, database first, then the switch.

    They do not know of the unit, and bring flows back but not who is left out of
    floods: until the daemon has seen to that an isolated VIF may hear others' broadcasts.
    """
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    before = policy_flows(host)
    shouting = shout(vm, around.friend)
    time.sleep(0.3)
    script = '/run/saved-flows'
    with open(script, 'w') as file:
        file.write(run(['/usr/share/openvswitch/scripts/ovs-save', 'save-flows', 'xenbr0',
                        'xenbr1']))
    assert host.ovs.database
    host.ovs.database.terminate()
    host.ovs.database.wait()
    host.ovs.start_database()
    host.ovs.stop_vswitchd()
    host.ovs.vsctl('--no-wait', 'set', 'Open_vSwitch', '.', 'other_config:%s=true' % KEY)
    host.ovs.start_vswitchd()
    run(['sh', script])
    host.ovs.vsctl('--no-wait', '--if-exists', 'remove', 'Open_vSwitch', '.', 'other_config',
                   '%s=true' % KEY)
    released = time.monotonic()
    time.sleep(1.5)
    heard = shouting.stop()
    print('\n%d frames sent, %d forbidden ones arrived, the last after %.3f s' % (
        heard.total, heard.number, (heard.last or released) - released))
    heard.check_all_sent()
    assert heard.last < released + WINDOW_S
    settled()
    assert policy_flows(host) == before and is_fine(vm, around)


def test_the_database_alone(host: Sandbox, around: Around, start: Any, shout: Any, watch: Watch,
                            settled: Any) -> None:
    """Nothing opens meanwhile or afterwards, and the daemon finds it again.

    Without it ovs-vswitchd takes no flows and has no verdict for new conversations. The
    user-space datapath of these tests, a part of ovs-vswitchd, forwards nothing at all.
    """
    vm = start(13, RED)
    assert is_fine(vm, around)
    settled()
    before, pid = our_flows(host), watch.pid
    shouting = shout(vm, around.friend)
    shouting.talk(vm, around.friend)
    time.sleep(0.3)                                 # until they are under way
    assert host.ovs.database
    host.ovs.database.kill()
    host.ovs.database.wait()
    time.sleep(1)
    os.unlink('/run/openvswitch/db.sock')
    host.ovs.start_database()
    wait_until(lambda: can_talk(vm, around.friend.address()), 'ovs-vswitchd to forward', 12)
    time.sleep(0.3)
    heard = shouting.stop()
    print('\n%d frames sent; members apart for %.3f s' % (heard.total, heard.pause))
    heard.check_none_heard()
    assert heard.pause < MOST_S
    assert our_flows(host) == before and watch.pid == pid
    policy = policy_flows(host)     # what was learned comes back when a guest speaks
    host.ovs.set_bridge('xenbr0', 'fail_mode=secure')       # it drops all flows
    wait_until(lambda: policy_flows(host) == policy, 'the daemon to follow', 12)
    host.ovs.set_bridge('xenbr0', 'fail_mode=standalone')
    settled()
    assert is_fine(vm, around)


# --- what systemd thinks of it ---------------------------------------------------------------


def test_systemd_understands_it(tmp_path: Any) -> None:
    folder = tmp_path / 'openvswitch.service.d'
    folder.mkdir()
    unit = tmp_path / 'openvswitch.service'
    unit.write_text(UNIT)
    with open(DROP_IN) as file:
        text = file.read()
    (folder / '50-xsisolate.conf').write_text(text.replace(COMMAND, '/bin/true').replace(
        '/usr/bin/ovs-vsctl', '/bin/true'))
    done = subprocess.run(['systemd-analyze', 'verify', '--man=no', str(unit)],
                          env={'PATH': PATH, 'SYSTEMD_UNIT_PATH': '%s:' % tmp_path},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8')
    assert not [line for line in done.stdout.splitlines() if 'openvswitch' in line], done.stdout
    assert all(line.ignored and line.argv[0].startswith('/usr/bin/timeout')
               for setting in ('ExecStartPre', 'ExecStartPost') for line in lines(setting))
    assert len(lines('ExecStartPre')) == 1 and len(lines('ExecStartPost')) == 2
