"""Each recipe's file is what its page says: parsed by the programs that it is for."""
import os
import re
import subprocess
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from pykickstart.errors import KickstartError
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from sandbox.hooks import REPOSITORY

from support.vm_mover import PYTHON

RECIPES = Path(REPOSITORY, 'docs', 'recipes')
LOGS = Path(__file__).parent / 'logs'


# --- multipath ---------------------------------------------------------------------------------


def multipath(tmp_path: Path, text: str) -> Tuple[str, List[str]]:
    """Return what multipath-tools makes of a drop-in, in a root folder /etc of its own."""
    folder = tmp_path / 'etc' / 'multipath' / 'conf.d'
    folder.mkdir(parents=True)
    (folder / 'lio.conf').write_text(text)
    done = subprocess.run(
        ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /etc && exec multipath -t',
         str(tmp_path / 'etc')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 0, done
    return done.stdout, [line for line in done.stderr.splitlines() if 'lio.conf' in line]


def stanza(merged: str) -> str:
    """Return the last entry for LIO: the drop-in's."""
    found = re.findall(r'device \{\s*vendor "LIO-ORG".*?\n\t\}', merged, re.S)
    return str(found[-1])


def test_the_drop_in_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """No line is refused, and each one is in the merged configuration."""
    text = (RECIPES / 'lio.conf').read_text()
    merged, complaints = multipath(tmp_path, text)
    assert complaints == []
    lines = [line.split(None, 1) for line in text.splitlines() if re.match(r'\t\t\w', line)]
    taken = stanza(merged)
    assert len(lines) == 12
    for key, value in lines:
        assert re.search(r'^\s*%s\s+"?%s"?$' % (key, re.escape(value.strip('"'))), taken, re.M), key


def test_of_2012_these_lines_are_refused(tmp_path: Path) -> None:
    """And the page names every one of them."""
    text = (RECIPES / 'lio-2012.conf').read_text()
    _, complaints = multipath(tmp_path, text)
    lines = text.splitlines()
    refused = {lines[int(re.findall(r'line (\d+)', line)[0]) - 1].split()[0]
               for line in complaints}
    assert refused == {'getuid_callout', 'prio_callout', 'selector', 'polling_interval'}
    page = (RECIPES / 'multipath.md').read_text()
    assert all('| `%s' % key in page for key in refused)


# --- kickstart ---------------------------------------------------------------------------------


def kickstart(text: str) -> Any:
    """Return a kickstart file, parsed as Enterprise Linux 9 would."""
    handler = makeVersion('RHEL9')
    KickstartParser(handler, missingIncludeIsFatal=True).readKickstartFromString(text)
    return handler


def test_raid10_on_four_disks() -> None:
    parsed = kickstart((RECIPES / 'raid10.ks').read_text())
    arrays = {raid.device: raid for raid in parsed.raid.raidList}
    assert {name: (raid.level, len(set(raid.members))) for name, raid in arrays.items()} == {
        'boot': ('RAID1', 4), 'data': ('RAID10', 4)}
    parts = {part.mountpoint: part.disk for part in parsed.partition.partitions}
    for raid in arrays.values():
        assert sorted(parts[member] for member in raid.members) == ['sda', 'sdb', 'sdc', 'sdd']
    assert parsed.volgroup.vgList[0].physvols == [arrays['data'].mountpoint] == ['pv.1']


def test_discard_everywhere() -> None:
    """Every line that fstab will have."""
    parsed = kickstart((RECIPES / 'raid10.ks').read_text())
    systems = [raid for raid in parsed.raid.raidList if raid.mountpoint.startswith('/')]
    systems += parsed.logvol.lvList
    assert len(systems) == 4
    for one in systems:
        assert 'discard' in one.fsopts.split(','), one.mountpoint


def test_its_own_check_finds_a_line_without(tmp_path: Path) -> None:
    """What the file does at the end of an installation, on an fstab."""
    (script,) = kickstart((RECIPES / 'raid10.ks').read_text()).scripts
    check = script.script.split('# a mirror')[0]
    for options, code in (('defaults,discard', 0), ('defaults', 1)):
        fstab = tmp_path / 'fstab'
        fstab.write_text('# made by anaconda\nUUID=1 / xfs defaults,noatime,discard 0 0\n'
                         'tmpfs /tmp tmpfs defaults 0 0\nUUID=2 none swap %s 0 0\n' % options)
        done = subprocess.run(['sh', '-c', check.replace('/etc/fstab', str(fstab))],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == code, done


@pytest.mark.parametrize('old, new', [('--level=10', '--level=11'), ('volgroup ssd', 'volgroup'),
                                      ('logvol /', 'logvolume /')])
def test_the_validator_finds_mistakes(old: str, new: str) -> None:
    with pytest.raises(KickstartError):
        kickstart((RECIPES / 'raid10.ks').read_text().replace(old, new))


# --- e1000e ------------------------------------------------------------------------------------


def check(*paths: str, text: str = '') -> Tuple[int, str]:
    """Run the script."""
    done = subprocess.run([PYTHON, str(RECIPES / 'e1000e-check'), *paths], input=text,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
                          env={'LC_ALL': 'C', 'PATH': os.environ['PATH']})
    assert 'Traceback' not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize('name, code, said', [
    ('timeout', 4, ['this is the fault', 'timed out: eth1 (1 times)', '0000:02:00.0 (1 times)',
                    'left the PCI Express bus', 'next: pcie_aspm=off']),
    ('dom0-4.19', 4, ['this is the fault', '1 of them after a boot with pcie_aspm=off']),
    ('cable', 0, ['not the e1000e time-outs', 'went down 1 times', 'cable']),
    ('other-driver', 0, ['not the e1000e time-outs', 'other drivers: eth0'])])
def test_which_log_is_this_fault(name: str, code: int, said: List[str]) -> None:
    path = LOGS / (name + '.log')
    for ran in (check(str(path)), check(text=path.read_text())):
        assert ran[0] == code
        assert all(words in ran[1] for words in said), ran


def test_the_page_shows_what_it_prints() -> None:
    page = (RECIPES / 'e1000e.md').read_text()
    assert check(str(LOGS / 'timeout.log'))[1] in page


def test_a_log_of_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / 'log'
    path.write_bytes(b'\xff\xfe\x00 NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out\n')
    assert check(str(path))[0] == 4
    assert check(str(tmp_path / 'none'))[0] == 2 and check('--nonsense')[0] == 2
