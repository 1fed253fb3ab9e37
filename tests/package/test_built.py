"""The package as a file: what rpm 4.11.3 must be able to install, and what is in it.

This module comes first: the others move this process into a root of its own.
"""
import glob
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List
from xml.etree import ElementTree

import pytest

from sandbox.process import run
from sandbox.pythons import ROOT, by_name
from support.package_root import read

REPOSITORY = Path(ROOT)
NAME = 'xsisolate-0.1.0-1'
MOVER = 'migratevm-0.1.0-1.noarch.rpm'
OWN = '/usr/share/xsisolate/0.1.0-1'
# lib/rpmds.c of rpm 4.11.3, with the version that it provides
RPMLIB_OF_4_11 = {
    'VersionedDependencies': '3.0.3-1', 'CompressedFileNames': '3.0.4-1',
    'PayloadIsBzip2': '3.0.5-1', 'PayloadIsXz': '5.2-1', 'PayloadIsLzma': '4.4.2-1',
    'PayloadFilesHavePrefix': '4.0-1', 'ExplicitPackageProvide': '4.0-1',
    'HeaderLoadSortsTags': '4.0.1-1', 'ScriptletInterpreterArgs': '4.0.3-1',
    'PartialHardlinkSets': '4.0.4-1', 'ConcurrentAccess': '4.1-1', 'BuiltinLuaScripts': '4.2.2-1',
    'FileDigests': '4.6.0-1', 'FileCaps': '4.6.1-1', 'ScriptletExpansion': '4.9.0-1',
    'TildeInVersions': '4.10.0-1'}
PYTHONS = list(by_name().values()) + sorted(
    glob.glob('/usr/bin/python3.12')
    + glob.glob(os.path.expanduser('~/.pyenv/versions/3.12.*/bin/python3.12')))


def query(package: str, form: str) -> str:
    return run(['rpm', '-qp', '--qf', form, package])


@pytest.fixture(scope='module')
def package(built: str) -> str:
    return os.path.join(built, NAME + '.noarch.rpm')


@pytest.fixture(scope='module')
def unpacked(package: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder with the package's files."""
    folder = str(tmp_path_factory.mktemp('unpacked'))
    subprocess.run('rpm2cpio %s | cpio -idm --quiet' % package, shell=True, cwd=folder, check=True)
    return folder


def digests(folder: str) -> Dict[str, str]:
    return {name: hashlib.sha256(Path(folder, name).read_bytes()).hexdigest()
            for name in sorted(os.listdir(folder)) if '-1.' in name}


def test_the_same_commit_gives_the_same_bytes(built: str, tmp_path: Path) -> None:
    """From another clone, in another folder, with another clock, umask and locale."""
    clone, out = str(tmp_path / 'elsewhere'), tmp_path / 'out'
    run(['git', 'clone', '--quiet', str(REPOSITORY), clone])
    shutil.copytree(str(REPOSITORY / 'build' / 'rpm' / 'fetched'), clone + '/build/rpm/fetched')
    out.mkdir()
    subprocess.run(['sh', '-c', 'umask 077; exec rpm/build "$@"', 'sh', sys.executable, '1',
                    str(out)], cwd=clone, check=True, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE, env=dict(os.environ, TZ='Asia/Tokyo', LANG='C.UTF-8',
                                                    SOURCE_DATE_EPOCH='1', HOME=str(tmp_path)))
    assert digests(built) == digests(str(out)) and len(digests(built)) == 3


def test_the_source_package_is_enough(built: str, package: str, tmp_path: Path) -> None:
    env = dict(os.environ, SOURCE_DATE_EPOCH=query(package, '%{BUILDTIME}'))
    subprocess.run(['rpmbuild', '--rebuild', '--quiet', '--nodeps', '--target', 'noarch',
                    '--define', '_topdir %s' % tmp_path,
                    os.path.join(built, NAME + '.src.rpm')], check=True, env=env,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    again = tmp_path / 'RPMS' / 'noarch' / (NAME + '.noarch.rpm')
    # all but which source package it names: the one that was rebuilt is not built again
    form = '%{PAYLOADDIGEST} %{POSTIN} %{PREUN} %{POSTUN} [%{REQUIRES}] [%{PROVIDES}]'
    assert query(str(again), form) == query(package, form)


def test_rpm_4_11_can_install_it(package: str) -> None:
    needs = query(package, '[%{REQUIRENAME} %{REQUIREVERSION}\n]')
    found = dict(re.findall(r'rpmlib\((\w+)\) (\S+)', needs))
    assert found and found.items() <= RPMLIB_OF_4_11.items()
    assert query(package, '%{PAYLOADFORMAT} %{PAYLOADCOMPRESSOR} %{PAYLOADFLAGS} '
                 '%{FILEDIGESTALGO} %{ARCH}') == 'cpio gzip 9 8 noarch'
    assert ' if ' not in needs and ' or ' not in needs      # rich dependencies
    for tag in ('RECOMMENDNAME', 'SUGGESTNAME', 'SUPPLEMENTNAME', 'FILETRIGGERNAME',
                'TRANSFILETRIGGERNAME', 'TRIGGERNAME', 'PRETRANS', 'POSTTRANS'):
        assert query(package, '[%%{%s}]' % tag) == '', tag
    assert query(package, '%{SIGMD5} %{SHA1HEADER}').count('(none)') == 0


def test_it_says_who_it_is_and_what_it_brings(package: str) -> None:
    commit = run(['git', '-C', str(REPOSITORY), 'log', '-1', '--format=%ct']).strip()
    assert query(package, '%{BUILDHOST} %{BUILDTIME}') == 'reproducible ' + commit
    provides = query(package, '[%{PROVIDENAME} %{PROVIDEVERSION}\n]').splitlines()
    assert {'bundled(python3dist(pyyaml)) 6.0.1', 'bundled(python3dist(ovs)) 2.17.7'} <= set(
        provides)
    needs = set(query(package, '[%{REQUIRENAME}\n]').splitlines())
    assert {'/usr/bin/python3', 'xenopsd', 'xenopsd-xc', 'xapi-core', 'openvswitch'} <= needs
    assert query(package, '[%{FILEUSERNAME}:%{FILEGROUPNAME} ]').split() == (
        ['root:root'] * len(query(package, '[%{FILEMODES} ]').split()))


def test_files_are_where_a_dom0_has_them_and_nowhere_else(package: str) -> None:
    files = run(['rpm', '-qpl', package]).splitlines()
    outside = [name for name in files if not name.startswith('/usr/share/xsisolate')]
    assert outside == OUTSIDE
    assert not [name for name in files if re.search(
        r'site-packages|\.so$|\.pyc$|egg-info|__pycache__|\.git|/tests/', name)]
    assert run(['rpm', '-qpc', package]).split() == ['/etc/xsisolate/xsisolate.yaml']
    flags = dict(line.split(' ') for line in query(
        package, '[%{FILENAMES} %{FILEFLAGS:fflags}\n]').splitlines())
    assert flags['/etc/xsisolate/xsisolate.yaml'] == 'cn'       # config, noreplace
    assert [name for name in files if flags[name] == 'g'] == [
        '/etc/systemd/system/openvswitch.service.d/50-xsisolate.conf',
        '/etc/udev/rules.d/zz-xsisolate.rules', '/etc/xenopsd-xc.conf.d/50-xsisolate.conf',
        '/etc/xenopsd.conf.d/50-xsisolate.conf']


OUTSIDE = '''\
/etc/systemd/system/openvswitch.service.d
/etc/systemd/system/openvswitch.service.d/50-xsisolate.conf
/etc/udev/rules.d/zz-xsisolate.rules
/etc/xapi.d/plugins/xsisolate
/etc/xenopsd-xc.conf.d
/etc/xenopsd-xc.conf.d/50-xsisolate.conf
/etc/xenopsd.conf.d
/etc/xenopsd.conf.d/50-xsisolate.conf
/etc/xensource/bugtool/xsisolate
/etc/xensource/bugtool/xsisolate.xml
/etc/xensource/bugtool/xsisolate/stuff.xml
/etc/xsisolate
/etc/xsisolate/xsisolate.yaml
/usr/bin/xsisolate
/usr/lib/systemd/system/xsisolate-hooks.service
/usr/lib/systemd/system/xsisolate-metrics.service
/usr/lib/systemd/system/xsisolate-metrics.timer
/usr/lib/systemd/system/xsisolate-watch.service
/usr/libexec/xsisolate
/usr/libexec/xsisolate/setup-vif-rules
/usr/libexec/xsisolate/vif
/usr/share/bash-completion/completions/xsisolate
/usr/share/man/man5/xsisolate.yaml.5.gz
/usr/share/man/man8/xsisolate-hooks.8.gz
/usr/share/man/man8/xsisolate.8.gz'''.splitlines()


def test_the_mover_is_a_package_of_its_own(built: str, package: str, tmp_path: Path) -> None:
    """The hooks' package stays lean; the two together are what a checkout has."""
    mover = os.path.join(built, MOVER)
    files = run(['rpm', '-qpl', mover]).splitlines()
    inside = [name for name in files if name.startswith(OWN)]
    assert sorted(set(files) - set(inside)) == ['/usr/bin/migratevm',
                                                '/usr/share/man/man1/migratevm.1.gz']
    assert all('migratevm' in name for name in files) and len(inside) > 10
    assert not [name for name in run(['rpm', '-qpl', package]).splitlines() if 'migratevm' in name]
    assert 'xsisolate = 0.1.0-1' in run(['rpm', '-qpR', mover]).splitlines()
    for one in (package, mover):
        subprocess.run('rpm2cpio %s | cpio -idmu --quiet' % one, shell=True, cwd=str(tmp_path),
                       check=True)
    done = subprocess.run([sys.executable, '-I', str(tmp_path) + OWN + '/rpm/bin/migratevm',
                           '--version'], stdout=subprocess.PIPE, encoding='utf-8')
    assert done.stdout == 'migratevm 0.1.0\n'


def test_the_link_lands_after_what_it_leads_to(package: str) -> None:
    """rpm unpacks in this order: at no moment does the link of an upgrade lead to half of it."""
    files = run(['rpm', '-qpl', package]).splitlines()
    assert files.index('/usr/share/xsisolate/current') == len(files) - 1
    assert all(OWN in name for name in files if '/share/xsisolate/0' in name)


def test_a_yum_repository_of_it(built: str, tmp_path: Path) -> None:
    """yum 3.4 reads XML with gzip; made twice it is the same."""
    made = []
    for name in ('one', 'two'):
        shutil.copytree(built, str(tmp_path / name))
        run([str(REPOSITORY / 'rpm' / 'repo'), str(tmp_path / name)])
        folder = tmp_path / name / 'repo'
        made.append({str(path.relative_to(folder)): path.read_bytes()
                     for path in folder.rglob('*') if path.is_file()})
    assert made[0] == made[1]
    assert sorted(made[0]) == [MOVER, MOVER.replace('-1.', '-2.'),
                               'repodata/filelists.xml.gz', 'repodata/other.xml.gz',
                               'repodata/primary.xml.gz', 'repodata/repomd.xml',
                               NAME + '.noarch.rpm', NAME[:-1] + '2.noarch.rpm']
    primary = ElementTree.fromstring(gzip.decompress(made[0]['repodata/primary.xml.gz']))
    digests = {element.text for element in primary.iter() if element.tag.endswith('checksum')}
    assert digests == {hashlib.sha256(content).hexdigest() for name, content in made[0].items()
                       if name.endswith('.rpm')}


def test_rpmlint(built: str) -> None:
    # it is a program of Debian's Python, and has no business in ours
    done = subprocess.run(['rpmlint', '-c', str(REPOSITORY / 'rpm' / 'rpmlint.toml'),
                           os.path.join(built, NAME + '.noarch.rpm'),
                           os.path.join(built, NAME + '.src.rpm'), os.path.join(built, MOVER),
                           str(REPOSITORY / 'rpm' / 'xsisolate.spec')],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8')
    assert re.search('3 packages and 1 specfiles checked; 0 errors, 0 warnings', done.stdout), (
        done.stdout)


@pytest.mark.parametrize('python', PYTHONS)
def test_it_runs_on_a_bare_python(unpacked: str, python: str) -> None:
    """What no Dom0 has, or has elsewhere, comes from the package; -S: nobody's site-packages."""
    command = [python, '-I', '-S', unpacked + '/usr/share/xsisolate/current/rpm/bin/xsisolate']
    done = subprocess.run(command + ['--version'], stdout=subprocess.PIPE, encoding='utf-8')
    assert done.stdout == 'xsisolate 0.1.0\n'
    lib = '%s%s/lib' % (unpacked, OWN)
    code = '''
import sys
sys.path.insert(0, %r)
import yaml
from xsisolate.dom0.ovs.library import find_ovs
from xsisolate.config.load import parse_config
print(yaml.__file__, yaml.__version__, find_ovs(), parse_config("version: 1\\ngrace: 7", "x").grace)
import xsisolate.daemon.loop
''' % lib
    done = subprocess.run([python, '-I', '-S', '-c', code], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding='utf-8')
    assert done.stdout.split() == [lib + '/yaml/__init__.py', '6.0.1',
                                   '%s%s/bundled' % (unpacked, OWN), '7'], done


def test_the_hosts_ovs_is_preferred_if_it_can_be_used(unpacked: str, tmp_path: Path) -> None:
    lib = '%s%s/lib' % (unpacked, OWN)
    code = '''
import sys
sys.path.insert(0, %r)
from xsisolate.dom0.ovs import library
library.HOSTS = %r
print(library.find_ovs())
import ovs.db.idl
print(ovs.db.idl.__file__)
'''
    for name, text, expected in (
            ('good', None, 'good'), ('python2', 'except IOError, e:', 'bundled'),
            ('broken', 'raise ValueError', 'bundled')):
        folder = tmp_path / name
        shutil.copytree('%s%s/bundled' % (unpacked, OWN), str(folder))
        if text:
            (folder / 'ovs' / 'jsonrpc.py').write_text(text)
        done = subprocess.run([sys.executable, '-I', '-S', '-c', code % (lib, str(folder))],
                              stdout=subprocess.PIPE, encoding='utf-8', check=True)
        where, idl = done.stdout.split()
        assert os.path.basename(where) == expected and idl.startswith(where)


def test_licences_are_there(unpacked: str) -> None:
    folder = unpacked + OWN + '/licenses'
    assert 'Copyright (c) 2017-2021 Ingy' in read(folder + '/PyYAML-MIT.txt')
    assert 'Apache License' in read(folder + '/Apache-2.0.txt')


def test_bugtool(unpacked: str) -> None:
    """What xen-bugtool reads, and that its commands are ones that shells understand."""
    top = unpacked + '/etc/xensource/bugtool/xsisolate'
    capability = ElementTree.parse(top + '.xml').getroot()
    assert capability.tag == 'capability' and set(capability.attrib) == {
        'pii', 'max_size', 'max_time', 'mime', 'checked'}
    collect = ElementTree.parse(top + '/stuff.xml').getroot()
    assert collect.tag == 'collect'
    assert {child.tag for child in collect} == {'files', 'directory', 'list', 'command'}
    commands: List[str] = [str(child.text) for child in collect if child.tag == 'command']
    for command in commands:
        run(['sh', '-n', '-c', command])
    for word in ('sync --dry-run', 'dump-flows', 'rpm -V xsisolate', 'status', 'log'):
        assert [command for command in commands if word in command], word
    labels = [child.attrib['label'] for child in collect if child.tag == 'command']
    assert len(set(labels)) == len(labels)
