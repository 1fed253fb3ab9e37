"""Which hooks xenopsd will run: every way in which its configuration can say so."""
import os
import subprocess
import time
from typing import Callable, Mapping

import pytest
from xsisolate.dom0.xen.xenopsd_conf import (XenopsdConfig, _start_time, read_start,
                                             read_xenopsd_config)

STOCK = {'/usr/libexec/xenopsd/setup-vif-rules': '', '/usr/libexec/xenopsd/vif': '',
         '/etc/xenopsd.conf': 'run_hotplug_scripts=false\n'
                              'search-path=/usr/lib/xapi:/usr/libexec/xenopsd\nvif-script=vif\n'}
UNIT = '/usr/lib/systemd/system/xenopsd-xc.service'
NEW_UNIT = {UNIT: '[Service]\nExecStart=/usr/sbin/xenopsd-xc $XENOPSD_OPTIONS --config '
                  '/etc/xenopsd.conf --config-dir /etc/xenopsd.conf.d\n'}
OURS = '/usr/libexec/xsisolate/setup-vif-rules'
Read = Callable[[Mapping[str, str]], XenopsdConfig]


@pytest.fixture
def read(root) -> Read:
    """Write files below a root of the test's own; return what xenopsd makes of them."""
    def read_files(files: Mapping[str, str]) -> XenopsdConfig:
        for path, text in files.items():
            target = str(root) + path
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, 'w') as file:
                file.write(text)
        return read_xenopsd_config()
    return read_files


def test_a_stock_host(read: Read) -> None:
    found = read(STOCK)
    assert found.setup_vif_rules == ('/usr/libexec/xenopsd/setup-vif-rules', 'built in')
    assert found.vif_script == ('/usr/libexec/xenopsd/vif', '/etc/xenopsd.conf:3')
    assert (found.files, found.folder) == (('/etc/xenopsd.conf',), '/etc/xenopsd-xc.conf.d')
    assert found.pid is None and not found.changed


@pytest.mark.parametrize('unit, folder, counts', [
    ({}, '/etc/xenopsd-xc.conf.d', True), ({}, '/etc/xenopsd.conf.d', False),
    (NEW_UNIT, '/etc/xenopsd.conf.d', True), (NEW_UNIT, '/etc/xenopsd-xc.conf.d', False)])
def test_the_folder_of_each_release(read: Read, unit: Mapping[str, str], folder: str,
                                    counts: bool) -> None:
    found = read(dict(STOCK, **unit, **{folder + '/50-xsisolate.conf': 'setup-vif-rules=' + OURS}))
    assert (found.setup_vif_rules.path == OURS) is counts


@pytest.mark.parametrize('line, path', [
    ('setup-vif-rules = %s' % OURS, OURS), ('setup-vif-rules="%s"' % OURS, OURS),
    ("setup-vif-rules='%s' # ours" % OURS, OURS), ('setup-vif-rules=/a#b', '/a'),
    ('# setup-vif-rules=' + OURS, '/usr/libexec/xenopsd/setup-vif-rules'),
    ('setup-vif-rules ' + OURS, '/usr/libexec/xenopsd/setup-vif-rules'),
    ('Setup-vif-rules=' + OURS, '/usr/libexec/xenopsd/setup-vif-rules'),
    ('setup-vif-rules=nowhere', 'nowhere'),
    ('setup-vif-rules=""%s""' % OURS, '"%s"' % OURS),
    ('setup-vif-rules=/one\nsetup-vif-rules=/two', '/two')])
def test_lines(read: Read, line: str, path: str) -> None:
    found = read(dict(STOCK, **{'/etc/xenopsd-xc.conf.d/50': line}))
    assert found.setup_vif_rules.path == path


def test_every_file_counts_whatever_its_name(read: Read) -> None:
    """In byte order: capitals come first, and what rpm or an editor left behind is read."""
    folder = '/etc/xenopsd-xc.conf.d/'
    found = read(dict(STOCK, **{folder + name: 'setup-vif-rules=/%d' % at for at, name in enumerate(
        ('Z.conf', '50.conf', '50.conf.rpmsave', '50.conf~'))}))
    assert found.files[1:] == tuple(folder + name for name in (
        '50.conf', '50.conf.rpmsave', '50.conf~', 'Z.conf'))
    assert found.setup_vif_rules == ('/0', folder + 'Z.conf:1')


def test_a_name_is_looked_for_when_it_is_read(read: Read) -> None:
    """A search path that comes later helps the built-in name only, and goes before the others."""
    files = dict(STOCK, **{'/opt/a/vif': '', '/opt/a/setup-vif-rules': '',
                           '/etc/xenopsd-xc.conf.d/1': 'search-path=/opt/a'})
    found = read(files)
    assert found.vif_script.path == '/usr/libexec/xenopsd/vif'
    assert found.setup_vif_rules.path == '/opt/a/setup-vif-rules'
    assert read({'/usr/bin/setup-vif-rules': ''}).setup_vif_rules.path == '/usr/bin/setup-vif-rules'


def test_the_command_line_gives_way_to_files(read: Read) -> None:
    options = {'/etc/sysconfig/xenopsd': 'XENOPSD_OPTIONS="--setup-vif-rules=/from/options"'}
    found = read(dict(STOCK, **NEW_UNIT, **options))
    assert found.setup_vif_rules == ('/from/options', 'command line')
    found = read({'/etc/xenopsd.conf.d/50': 'setup-vif-rules=/from/file'})
    assert found.setup_vif_rules.path == '/from/file'


def test_a_drop_in_of_the_unit(read: Read) -> None:
    """systemd clears ExecStart with an empty one and takes the last."""
    found = read(dict(STOCK, **NEW_UNIT, **{
        UNIT + '.d/x.conf': '[Service]\nExecStart=\nExecStart=/usr/sbin/xenopsd-xc --config-dir=/d',
        '/d/1': 'vif-script=/usr/libexec/xsisolate/vif'}))
    assert (found.folder, found.vif_script.path) == ('/d', '/usr/libexec/xsisolate/vif')


def test_the_process_that_runs_knows_best(read: Read, root) -> None:
    """Its arguments count, and files that are younger than it does not know."""
    argv = '/usr/sbin/xenopsd-xc\0--config\0/etc/x.conf\0--config-dir\0/d\0'
    with open('/proc/self/stat') as file:
        mine = file.read()
    found = read({'/etc/x.conf': '', '/proc/77/cmdline': argv, '/proc/77/stat': mine,
                  '/proc/9/cmdline': 'sh\0'})
    os.utime(str(root / 'etc/x.conf'), (999, 999))
    assert (found.pid, found.folder) == (77, '/d')
    found = read({'/d/50': 'setup-vif-rules=' + OURS})
    assert found.changed == ('/d/50',) and found.setup_vif_rules.path == OURS


def test_when_a_process_started(root, monkeypatch) -> None:
    """Not when somebody first looked at its folder, which is what the folder's time says."""
    monkeypatch.delenv('XSISOLATE_ROOT')
    before = time.time()
    child = subprocess.Popen(['sleep', '60'])
    try:
        between = time.time()
        time.sleep(0.3)
        os.stat('/proc/%d' % child.pid)
        assert before - 0.02 <= _start_time(child.pid) <= between + 0.02
        assert _start_time(os.getpid()) < before
    finally:
        child.kill()
        child.wait()
    assert _start_time(child.pid) is None and read_start(child.pid) is None


def test_a_host_without_anything(read: Read) -> None:
    found = read({})
    assert found.setup_vif_rules == ('setup-vif-rules', 'built in') and not found.files
