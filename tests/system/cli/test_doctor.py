"""`doctor` finds nothing on a host that is well, and each thing that can be wrong."""
import ctypes
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from sandbox.enter import check, mount
from sandbox.hooks import REPOSITORY
from sandbox.process import LIBC, ip
from sandbox.pythons import for_hooks
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm

from xsisolate.activation.desired import DAEMON, SERVER
from xsisolate.diagnostics.doctor_switch import examine_connections
from xsisolate.dom0.ovs import appctl
from xsisolate.dom0.run_files.pool_state import PoolState, write_state

from support.command import BROKEN, DIFFERENT, DONE, FAILED, xsisolate

pytestmark = pytest.mark.any_python
MS_BIND = 0x1000
OURS, STOCK = os.path.join(REPOSITORY, 'hooks'), '/usr/libexec/xenopsd'
DROP_IN = '/etc/xenopsd-xc.conf.d/50-xsisolate.conf'
UDEV = '/etc/udev/rules.d/zz-xsisolate.rules'
NOTE = '/run/xsisolate/taken-over'
SYSTEMCTL = '/usr/bin/systemctl'
SAYS = '/run/systemctl-says-'
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
CONFIG = 'version: 1\ngrace: 1\nunsealed: accept\n'
FILES = {
    '/etc/xenopsd.conf': 'search-path=/usr/libexec/xenopsd\nvif-script=vif\n',
    DROP_IN: 'setup-vif-rules=%s/setup-vif-rules\nvif-script=%s/vif\n' % (OURS, OURS),
    '/etc/udev/rules.d/xen-backend.rules': 'SUBSYSTEM=="xen-backend", KERNEL=="vif*", '
    'RUN+="%s/vif $env{ACTION} type_if=vif"\nSUBSYSTEM=="xen-backend", KERNEL=="vbd*", '
    'RUN+="/usr/libexec/xenopsd/block $env{ACTION}"\n' % STOCK,
    UDEV: '# ours\nSUBSYSTEM=="xen-backend", KERNEL=="vif*", ACTION=="online|move|remove", \\\n'
    'RUN="%s/vif $env{ACTION} type_if=vif"\n' % OURS,
    '/var/lib/xcp/local.db': '<?xml version="1.0"?><config><row key="host" value="x"/>'
    '<row value="false" key="ha.armed"/></config>',
    '/proc/77/stat': '77 (a) b) S' + ' 0' * 18 + ' 4711 0\n',
    '/proc/77/cmdline': '/usr/sbin/xenopsd-xc\0--config\0/etc/xenopsd.conf\0',
    STOCK + '/vif': '#!/bin/bash\n', STOCK + '/setup-vif-rules': '#!/usr/bin/python3\n'}


class Patient:
    """A host that is well, until something is done to it."""

    def __init__(self, dom0: Sandbox, root: Path) -> None:
        self.dom0, self.root = dom0, root
        dom0.add_bridge('xenbr0')
        dom0.configure(CONFIG)
        dom0.add_uplink('xenbr0', GATEWAY)
        self.vm = dom0.start_vm('red1', ipv4='10.9.0.11/24', policy={
            'groups': 'red', 'vif/0/ipv4': '10.9.0.11'})
        for folder in ('/run', '/etc/xsisolate', '/' + REPOSITORY.split('/')[1]):
            (root / folder[1:]).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(folder, str(root) + folder)

    def write(self, path: str, text: str) -> None:
        """Write a file of the host's."""
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)

    def remove(self, path: str) -> None:
        """Remove a file of the host's."""
        (self.root / path[1:]).unlink()

    def heal(self) -> None:
        """Put everything back as it was."""
        write_state(PoolState(True, time.monotonic(), 'host'))       # XAPI's records say it all
        for path, text in FILES.items():
            self.write(path, text)
        for path in ('/etc/xenopsd.conf', DROP_IN):
            self.age(path, 999)
        self.dom0.configure(CONFIG)
        os.chmod('/etc/xsisolate/xsisolate.yaml', 0o644)
        for unit in (DAEMON, SERVER):
            self.unit('active', 'enabled', unit)
        self.dom0.toolstack.write_private(self.vm.domain, self.vm.vifs[0])
        self.dom0.ovs.set_bridge('xenbr0', 'protocols=[]', 'fail_mode=standalone')
        self.dom0.ovs.vsctl('del-controller', 'xenbr0', '--', 'del-manager')
        xsisolate('sync')

    def age(self, path: str, when: float) -> None:
        """Set a file's or folder's time."""
        os.utime(str(self.root) + path, (when, when))

    def note(self, xenopsd: str) -> None:
        """Note as `activate` does that this xenopsd does not know yet."""
        with open(NOTE, 'w') as file:
            file.write(xenopsd)

    def unit(self, active: str, enabled: str, unit: str = DAEMON) -> None:
        """Let systemd say this of a unit."""
        with open(SAYS + unit, 'w') as file:
            file.write('ActiveState=%s\nUnitFileState=%s\n' % (active, enabled))


@pytest.fixture(scope='module')
def patient(dom0: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A host, with a stand-in for systemd, which does not run here."""
    root = tmp_path_factory.mktemp('root')
    with open('/run/systemctl', 'w') as file:
        file.write('#!/bin/sh\n[ "$1" = show ] || exit 1\ncat %s$6\n' % SAYS)
    os.chmod('/run/systemctl', 0o755)
    mount('/run/systemctl', SYSTEMCTL, None, MS_BIND)
    os.environ['XSISOLATE_ROOT'] = str(root)
    try:
        patient = Patient(dom0, root)
        yield patient
    finally:
        del os.environ['XSISOLATE_ROOT']
        check(LIBC.umount2(ctypes.c_char_p(SYSTEMCTL.encode()), 0), 'umount')


@pytest.fixture(autouse=True)
def healthy(patient: Patient) -> None:
    """Each test begins with a host that is well."""
    patient.heal()


def findings(code: int = DONE) -> List[Dict[str, Any]]:
    """Return what is not well."""
    found = xsisolate('doctor', '--json', code=code).json['findings']
    return [one for one in found if one['state'] != 'ok' and one['what'] != 'seals']


def test_a_host_that_is_well(patient: Patient) -> None:
    assert findings() == []
    found = xsisolate('doctor', '--json').json
    assert {'library ovs', 'library yaml', 'configuration', 'hook setup-vif-rules', 'hook vif',
            'udev rule', 'xenopsd', 'HA', 'daemon', 'hook server', 'ovs-vswitchd', 'connections',
            'pool', 'bridge xenbr0', 'networkd, xenbr0', 'plugged VIFs', 'VIFs', 'flows of xenbr0',
            'permissive', 'seals'} == {
                one['what'] for one in found['findings']}
    assert (found['problems'], found['warnings']) == (0, 1)
    said = xsisolate('doctor')
    assert 'ok      hook setup-vif-rules   %s/setup-vif-rules (%s:1)' % (
        OURS, DROP_IN) in said.lines
    assert said.lines[-1] == '19 well, 1 warning, 0 problems'
    said = xsisolate('doctor', '--quiet')
    assert said.lines[0].startswith('warning seals') and len(said.lines) == 4


@pytest.mark.parametrize('count, state', [
    ('235929', 'ok'), ('235930', 'warning'), ('262143', 'warning'), ('262144', 'problem')])
def test_the_kernels_table_of_connections(patient: Patient, monkeypatch: pytest.MonkeyPatch,
                                          count: str, state: str) -> None:
    """Of the kernel's datapath ovs-vswitchd does not say it."""
    monkeypatch.setattr(appctl, 'APPCTL', ('false',))
    for what, value in (('count', count), ('max', '262144')):
        patient.write('/proc/sys/net/netfilter/nf_conntrack_' + what, value + '\n')
    assert [finding.state for finding in examine_connections()] == [state]


def test_on_dom0s_python(patient: Patient) -> None:
    python = for_hooks()
    for command in ('doctor', 'check'):
        done = subprocess.run(
            [python, '-m', 'xsisolate', command, '--json'], encoding='ascii', timeout=60,
            env={'LC_ALL': 'C', 'PYTHONPATH': os.path.join(REPOSITORY, 'lib'),
                 'XSISOLATE_ROOT': str(patient.root)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0 and not done.stderr, done
        assert not [one for one in json.loads(done.stdout).get('findings', ())
                    if one['state'] == 'problem'], done.stdout


def spoil_flows(patient: Patient) -> None:
    """Let somebody delete flows."""
    patient.dom0.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0', 'table=213')


def spoil_key(script: str) -> Callable[[Patient], None]:
    """Let a plugged VIF's key name another script."""
    def spoil(patient: Patient) -> None:
        patient.dom0.store.write('/xapi/%s/private/vif/0/setup-vif-rules' % patient.vm.uuid, script)
    return spoil


def spoil_controller(patient: Patient) -> None:
    """Give the bridge a controller that does not answer."""
    patient.dom0.ovs.vsctl('set-controller', 'xenbr0', 'tcp:127.0.0.1:1')
    xsisolate('sync')       # all flows were wiped


def spoil_manager(patient: Patient) -> None:
    """Let a manager open the bridge, as after networkd's reset."""
    patient.dom0.ovs.vsctl('remove', 'Bridge', 'xenbr0', 'other_config', 'disable-in-band', '--',
                           'set-manager', 'tcp:10.9.0.200:6640')


def spoil_pool(patient: Patient) -> None:
    """Let XAPI be away for long."""
    write_state(PoolState(False, 1.0, error='away'))


Spoil = Callable[[Patient], Any]
SICK: Dict[str, Tuple[Spoil, str, str, int, str]] = {
    'no drop-in': (lambda p: p.remove(DROP_IN), 'hook setup-vif-rules', 'problem', FAILED,
                   STOCK + '/setup-vif-rules (built in) is not ours'),
    'leftovers count': (lambda p: (p.write(DROP_IN + '.rpmsave', 'setup-vif-rules=/gone\n'), p.age(
        DROP_IN + '.rpmsave', 999)), 'hook setup-vif-rules', 'problem', FAILED,
        '/gone (%s.rpmsave:1) is not there' % DROP_IN),
    'younger than xenopsd': (lambda p: p.age('/etc/xenopsd.conf', time.time()), 'xenopsd',
                             'problem', FAILED, 'since before /etc/xenopsd.conf changed'),
    'not read yet': (lambda p: p.note('77 4711'), 'xenopsd', 'problem', FAILED,
                     'process 77 does not know yet that the hooks have changed hands, and calls '
                     'the stock ones'),
    'no xenopsd': (lambda p: p.remove('/proc/77/cmdline'), 'xenopsd', 'warning', DONE,
                   'it does not run'),
    'no udev rule of ours': (lambda p: p.remove(UDEV), 'udev rule', 'problem', FAILED,
                             STOCK + '/vif (/etc/udev/rules.d/xen-backend.rules:1)'),
    'both rules': (lambda p: p.write(UDEV, FILES[UDEV].replace('RUN=', 'RUN+=')), 'udev rule',
                   'problem', FAILED, OURS + '/vif'),
    'HA': (lambda p: p.write('/var/lib/xcp/local.db', FILES['/var/lib/xcp/local.db'].replace(
        'false', 'true')), 'HA', 'warning', DONE, 'armed on this host'),
    'HA unknown': (lambda p: p.remove('/var/lib/xcp/local.db'), 'HA', 'warning', DONE,
                   'unknown: xapi\'s local database does not say'),
    'daemon stopped': (lambda p: p.unit('inactive', 'enabled'), 'daemon', 'problem', FAILED,
                       'is inactive and enabled'),
    'daemon disabled': (lambda p: p.unit('active', 'disabled'), 'daemon', 'problem', FAILED,
                        'is active and disabled'),
    'daemon unknown': (lambda p: os.unlink(SAYS + DAEMON), 'daemon', 'problem', FAILED,
                       'systemctl show'),
    'hook server stopped': (lambda p: p.unit('failed', 'enabled', SERVER), 'hook server', 'warning',
                            DONE, 'is failed and enabled'),
    'broken configuration': (lambda p: p.dom0.configure('version: 1\nx: 1\n'), 'configuration',
                             'problem', BROKEN, ':2: x: unknown key'),
    'odd configuration': (lambda p: p.dom0.configure(CONFIG + 'groups: {red: {vms: []}}'),
                          'configuration', 'warning', BROKEN, 'vms: [] means'),
    'writable configuration': (lambda p: os.chmod('/etc/xsisolate/xsisolate.yaml', 0o666),
                               "configuration's owner", 'problem', FAILED, 'mode 666'),
    'stock key': (spoil_key(STOCK + '/setup-vif-rules'), 'plugged VIFs', 'problem', FAILED,
                  STOCK + '/setup-vif-rules for vif1.0'),
    'dangling key': (spoil_key('/gone/setup-vif-rules'), 'plugged VIFs', 'problem', FAILED,
                     'it is not there'),
    'lost flows': (spoil_flows, 'flows of xenbr0', 'problem', DIFFERENT, ' missing, 0 too many'),
    'controller': (spoil_controller, 'bridge xenbr0', 'warning', DONE,
                   'when its controller tcp:127.0.0.1:1 does not answer'),
    'manager': (spoil_manager, 'bridge xenbr0', 'problem', DIFFERENT,
                'with the address of its manager tcp:10.9.0.200:6640 pass'),
    'old pool': (spoil_pool, 'pool', 'warning', DONE, 'as of '),
}


@pytest.mark.parametrize('what', SICK)
def test_what_is_wrong(patient: Patient, what: str) -> None:
    spoil, name, state, code, found = SICK[what]
    spoil(patient)
    try:
        seen = [one for one in findings(code) if one['what'] == name]
        assert seen and seen[0]['state'] == state and found in seen[0]['found'], seen
        assert seen[0]['expected'] and seen[0]['do']
    finally:
        for path in (str(patient.root) + DROP_IN + '.rpmsave', '/run/xsisolate/pool.json', NOTE):
            if os.path.exists(path):
                os.unlink(path)


def test_our_file_written_once_more_needs_no_restart(patient: Patient) -> None:
    """As when somebody deactivates, changes their mind, and activates."""
    patient.age(DROP_IN, time.time())
    patient.note('77 4710')         # one that had this pid before
    try:
        assert findings() == []
    finally:
        os.unlink(NOTE)


def test_a_vif_in_quarantine_and_one_without_an_address(patient: Patient) -> None:
    bad = patient.dom0.start_vm('ba\nd', ipv4='10.9.0.12/24', policy={'mode': 'x\x1b[2J'})
    mute = patient.dom0.start_vm('mute', ipv4='10.9.0.13/24', policy={'groups': 'red'})
    try:
        seen = [one for one in findings(BROKEN) if one['what'] == 'VIF']
        assert [one['state'] for one in seen] == ['problem', 'warning']
        assert seen[0]['found'].startswith("'ba\\nd' (%s) is in quarantine: " % bad.netdev())
        assert '\x1b' not in xsisolate('doctor', code=BROKEN).out
    finally:
        bad.shutdown(), mute.shutdown()


def test_a_vif_whose_netdev_is_gone(patient: Patient) -> None:
    vm: Vm = patient.dom0.start_vm('ghost', ipv4='10.9.0.14/24', policy={'groups': 'red'})
    ip(['link del ' + vm.netdev()])
    try:
        seen = [one for one in findings(DIFFERENT) if one['what'] == 'ports of xenbr0']
        assert seen[0]['found'] == 'no netdev: ' + vm.netdev()
    finally:
        patient.dom0.ovs.lose_device(vm.netdev())
        vm.shutdown(check=False)


def test_a_host_whose_switch_is_dead(patient: Patient) -> None:
    """ovs-vswitchd does not answer: what can be looked at is, in one line each."""
    patient.dom0.ovs.kill_vswitchd()
    try:
        began = time.monotonic()
        said = xsisolate('doctor', code=FAILED)
        assert 'problem ovs-vswitchd' in said.out and 'ok      hook vif' in said.out
        assert time.monotonic() - began < 60 and not said.err
    finally:
        patient.dom0.ovs.start_vswitchd()
        xsisolate('sync')


def test_interrupted(patient: Patient) -> None:
    """Ctrl-C ends it with one line."""
    child = subprocess.Popen(['python3', '-c', 'import signal, sys; signal.signal(signal.SIGINT, '
                              'signal.default_int_handler); sys.path.insert(0, "lib"); '
                              'from xsisolate.diagnostics import doctor; import os, time\n'
                              'def late(step): os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n'
                              'import xsisolate.cli.doctor as command; command.examine = late\n'
                              'from xsisolate import cli; sys.exit(cli.main(["doctor"]))'],
                             cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             encoding='ascii')
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (128 + signal.SIGINT, '', 'xsisolate: interrupted\n')
