"""XenServer 8, and XCP-ng before 2025-07: their xenopsd reads another folder.

Here the package is looked at from the host's side: udev, systemd, bugtool, an installer.
"""
import os
import re
import signal
import socket
import subprocess
from xml.etree import ElementTree

from support.installed_dom0 import OURS, STOCK, Dom0, ask_udev, next_xenopsd
from sandbox.process import ip, run, wait_until
from support.package_root import read

RELEASE = 'old'
ONE = '/packages/xsisolate-0.1.0-1.noarch.rpm'
NEW, OLD = '/etc/xenopsd.conf.d/', '/etc/xenopsd-xc.conf.d/'
NAME = '50-xsisolate.conf'


def write(path: str, text: str) -> None:
    with open(path, 'w') as file:
        file.write(text)


def test_xenopsd_finds_us_in_its_own_folder(dom0: Dom0) -> None:
    assert not os.path.exists(OLD)      # nobody has made it
    dom0.rpm('-i', ONE)
    dom0.xsisolate('activate')
    os.rename(NEW + NAME, '/etc/away')
    assert list(next_xenopsd()) == [OURS + '/setup-vif-rules', OURS + '/vif']
    os.rename('/etc/away', NEW + NAME)
    dom0.restart_toolstack()
    assert dom0.answering().this_xenopsd == (OURS,)


def fail_mode() -> str:
    return run(['ovs-vsctl', 'get', 'Bridge', 'xenbr0', 'fail_mode']).strip()


def test_a_fail_mode_that_goes_back_takes_no_locks_away(dom0: Dom0) -> None:
    """ovs-vswitchd drops all flows when it changes, also those of the stock script."""
    before = read('/etc/xsisolate/xsisolate.yaml')
    write('/etc/xsisolate/xsisolate.yaml',
          'version: 1\nnetworks: {xenbr0: {default: unlocked, fail_closed: true}}\n')
    dom0.xsisolate('activate')
    assert fail_mode() == 'secure'
    dom0.xsisolate('deactivate')
    assert fail_mode() == 'standalone' and not dom0.flows()
    assert len(dom0.flows('cookie=1/-1')) == 3
    write('/etc/xsisolate/xsisolate.yaml', before)
    dom0.xsisolate('activate')
    assert fail_mode() == 'standalone' and not dom0.flows('cookie=1/-1')


def test_udev_leaves_alone_what_is_not_ours(dom0: Dom0) -> None:
    hooks = dom0.hooks
    assert hooks.udev_commands('tap', 'add') == [OURS + '/vif add type_if=tap']
    assert hooks.udev_commands('vif', 'online') == [OURS + '/vif online type_if=vif']
    # a VIF's add and offline are nobody's business, and go where they always went
    for action in ('add', 'offline'):
        assert STOCK + '/vif %s type_if=vif' % action in hooks.udev_commands('vif', action)
    rules = {name: read('/etc/udev/rules.d/' + name)
             for name in os.listdir('/etc/udev/rules.d')}
    ip(['link add tap7 type veth peer name peer7'])     # a VPN's
    said = subprocess.run(['udevadm', 'test', '--action=add', '/sys/class/net/tap7'],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8').stdout
    ip(['link del tap7'])
    assert "run: '%s/vif add type_if=tap'" % STOCK in said and OURS not in said
    # a file that sorts before the stock one would lose
    early = {name.replace('zz-', 'aa-'): text for name, text in rules.items()}
    assert STOCK + '/vif online type_if=vif' in ask_udev(early, 'vif', 'online')


def test_the_daemon_runs_with_what_the_package_brings(dom0: Dom0) -> None:
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind('/run/notify')
    ear.settimeout(20)
    unit = read('/usr/lib/systemd/system/xsisolate-watch.service')
    command = unit.split('ExecStart=')[1].splitlines()[0].split()
    process = subprocess.Popen(command, cwd='/', stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={'PATH': '/usr/bin:/usr/sbin', 'NOTIFY_SOCKET': '/run/notify'})
    try:
        heard = b''
        while b'READY=1' not in heard:
            heard = ear.recv(4096)
        maps = read('/proc/%d/maps' % process.pid)
        assert 'yaml' not in maps
        dom0.host.ovs.del_flows('xenbr0', 'cookie=0x5849534f00000000/0xffffffff00000000',
                                '-O', 'OpenFlow14')
        # not only the first of them: the daemon is to be ended when it has done all
        wait_until(lambda: subprocess.call(['/usr/bin/xsisolate', 'sync', '--dry-run'],
                                           stdout=subprocess.DEVNULL) == 0,
                   'the flows that somebody deleted', 20)
        assert len(dom0.flows()) > 100
    finally:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)[0].decode()
        ear.close()
        os.unlink('/run/notify')
    assert process.returncode == 0 and 'Traceback' not in output, output


def test_the_hooks_server_runs_with_what_the_package_brings(dom0: Dom0) -> None:
    unit = read('/usr/lib/systemd/system/xsisolate-hooks.service')
    command = unit.split('ExecStart=')[1].splitlines()[0].split()
    call = '/usr/share/xsisolate/current/lib/xsisolate/hooks/call.py'

    def hook() -> str:
        done = subprocess.run([OURS + '/vif'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding='utf-8', env={})
        return done.stdout

    with subprocess.Popen(command, cwd='/', stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env={'LC_ALL': 'C'}) as server:
        try:
            assert server.stderr and b'serving' in server.stderr.readline()
            os.rename(call, call + '.away')
            assert 'usage: vif' in hook()
        finally:
            server.terminate()
    try:
        assert "cannot import name 'call'" in hook()     # nobody serves it any more
    finally:
        os.rename(call + '.away', call)
    assert 'usage: vif' in hook()


def test_bugtools_commands_run(dom0: Dom0) -> None:
    stuff = ElementTree.parse('/etc/xensource/bugtool/xsisolate/stuff.xml').getroot()
    said = {}
    for child in stuff:
        if child.tag == 'command':
            done = subprocess.run(['sh', '-c', str(child.text)], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, encoding='utf-8', timeout=60)
            said[child.attrib['label']] = done.stdout
            assert 'not found' not in done.stdout and 'syntax' not in done.stdout, done
    assert 'xsisolate-0.1.0-1.noarch' in said['xsisolate-version']
    assert 'nothing to do' in said['xsisolate-activation']
    assert 'cookie=0x5849534f' in said['xsisolate-flows']


def test_the_plugin_is_where_xapi_looks(dom0: Dom0) -> None:
    plugin = '/etc/xapi.d/plugins/xsisolate'
    assert os.access(plugin, os.X_OK)
    assert os.path.realpath(plugin).startswith('/usr/share/xsisolate/0.1.0-1/')


def test_doctor_finds_who_answers(dom0: Dom0) -> None:
    """It asks by its own ways what activate has done, and finds what the package brings."""
    # no restart is asked for, although the file was written again since the last one
    assert os.stat(OLD + NAME).st_mtime > os.stat('/run/standin/xenopsd').st_mtime
    said = dom0.xsisolate('doctor')
    for what in ('library ovs', 'library yaml', 'hook setup-vif-rules', 'hook vif', 'udev rule',
                 'xenopsd'):
        assert re.search('^ok +' + what, said, re.MULTILINE), said


def test_another_file_that_names_us_is_not_overlooked(dom0: Dom0) -> None:
    """xenopsd would not start once the hooks are gone."""
    write(OLD + '99-by-hand', 'setup-vif-rules = %s/setup-vif-rules # by hand\n' % OURS)
    said = dom0.rpm('-e', 'xsisolate', code=1)
    assert '99-by-hand:1' in said and 'nothing has changed after all' in said
    assert dom0.answering().udev == (OURS,) and dom0.flows()
    os.unlink(OLD + '99-by-hand')


def test_a_host_that_is_down_is_not_given_back(dom0: Dom0) -> None:
    dom0.host.ovs.stop()
    said = dom0.rpm('-e', 'xsisolate', code=1)
    assert 'ovsdb-server cannot be reached at' in said and 'nothing was changed' in said
    dom0.host.ovs.start_database()
    dom0.host.ovs.start_vswitchd()
    dom0.xsisolate('sync')


def test_what_editors_leave_behind_goes_too(dom0: Dom0) -> None:
    write(OLD + NAME + '.rpmsave', 'setup-vif-rules=%s/setup-vif-rules\n' % OURS)
    write(NEW + NAME + '~', 'vif-script=%s/vif\n' % OURS)
    dom0.rpm('-e', 'xsisolate')
    dom0.restart_toolstack()
    run(['rm', '-r', OURS, '/run/xsisolate'])
    assert dom0.changed() == set()
    assert dom0.answering() == ((STOCK,), (STOCK,), (STOCK,), (STOCK,), ())


def test_where_nothing_runs_it_is_installed_and_removed_all_the_same(dom0: Dom0) -> None:
    """As by an installer, for a Dom0 that will only be started."""
    dom0.host.ovs.stop()
    dom0.rpm('-i', ONE)
    dom0.rpm('-e', 'xsisolate')
    assert dom0.changed() == set() and not os.path.exists('/run/xsisolate')
    dom0.host.ovs.start_database()
    dom0.host.ovs.start_vswitchd()
