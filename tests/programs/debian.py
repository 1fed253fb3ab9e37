"""Debian's packages of other releases than the system's, fetched by apt itself."""
import glob
import os
import shutil
import subprocess
from typing import List, Sequence

from sandbox.process import LabError, run

RELEASES = ('bullseye', 'bookworm', 'trixie')       # Debian 11, 12 and 13
MIRROR = 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n'
FETCH_S = 300


def own_release() -> str:
    """Return the system's own release."""
    with open('/etc/os-release', encoding='utf-8') as file:
        found = dict(line.strip().partition('=')[::2] for line in file if '=' in line)
    return found.get('VERSION_CODENAME', '')


def unpack(folder: str, release: str, package: str, beginnings: Sequence[str]) -> str:
    """Return the root below a folder where a package is unpacked with what it depends on.

    Only packages whose names begin so are unpacked; the folder is made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    root, apt = os.path.join(folder, 'root'), os.path.join(folder, 'apt')
    for file in _fetch(apt, release, package):
        if os.path.basename(file).startswith(tuple(beginnings)):
            run(['dpkg-deb', '-x', file, root])
    shutil.rmtree(apt)
    return root


def _fetch(apt: str, release: str, package: str) -> List[str]:
    """Return the files of a release's package and of all that it depends on."""
    for place in ('lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(apt, place))
    files = {'status': '', 'sources.list': MIRROR % (_mirror(), release)}
    files['apt.conf'] = ''.join('%s "%s";\n' % setting for setting in (
        ('Dir::Etc::sourcelist', apt + '/sources.list'), ('Dir::Etc::sourceparts', '-'),
        ('Dir::State::lists', apt + '/lists'), ('Dir::State::status', apt + '/status'),
        ('Dir::Cache', apt + '/cache'), ('APT::Sandbox::User', 'root'),
        ('APT::Update::Error-Mode', 'any')))    # a mirror that is not there is an error
    for name, text in files.items():
        with open(os.path.join(apt, name), 'w', encoding='utf-8') as file:
            file.write(text)
    environment = dict(os.environ, APT_CONFIG=apt + '/apt.conf', LC_ALL='C')
    for words in (['update'], ['install', '-y', '--download-only', '--no-install-recommends',
                               package]):
        done = subprocess.run(['apt-get', '-q', *words], env=environment, timeout=FETCH_S,
                              encoding='utf-8', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise LabError('apt-get %s for %s: %s' % (words[0], release, done.stdout[-500:]))
    return sorted(glob.glob(apt + '/cache/archives/*.deb'))


def _mirror() -> str:
    """Return where this system's packages come from."""
    for path in ['/etc/apt/sources.list', *sorted(glob.glob('/etc/apt/sources.list.d/*'))]:
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                for word in file.read().split():
                    if word.startswith('http') and word.rstrip('/').endswith('/debian'):
                        return word
    raise LabError('no source of Debian\'s packages in /etc/apt')
