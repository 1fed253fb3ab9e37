"""What udev will run for a VIF: every rules file of the system, read in udev's order.

Files of all folders are sorted by name, one in /etc hides those of its name
elsewhere. `RUN+=` adds a program, `RUN=` forgets what was there before.
"""
import os
import re
from typing import Dict, List, NamedTuple, Sequence, Tuple

from xsisolate.paths import rooted

FOLDERS = ('/etc/udev/rules.d', '/run/udev/rules.d', '/usr/lib/udev/rules.d', '/lib/udev/rules.d')
SIZE_LIMIT = 1 << 20
KEY = re.compile(r'(\w+)(?:\{[^}]*\})?\s*(==|!=|\+=|:=|=)\s*"([^"]*)"')


class Runs(NamedTuple):
    """A program that udev runs, and the rule that says so."""

    program: str
    where: str          # file:line


def find_vif_programs(action: str) -> List[Runs]:
    """Return what udev runs when a VIF's backend has an event, such as online."""
    found: List[Runs] = []
    files: Dict[str, str] = {}
    for folder in FOLDERS:
        for name in _names(folder):
            files.setdefault(name, '%s/%s' % (folder, name))
    for name in sorted(files, key=os.fsencode):
        for number, line in enumerate(_read(files[name]).replace('\\\n', ' ').splitlines(), 1):
            keys = KEY.findall(line)
            if line.lstrip().startswith('#') or not _matches(keys, action):
                continue
            for key, sign, value in keys:
                if key == 'RUN' and sign in ('=', ':='):
                    found = []
                if key == 'RUN' and value:
                    found.append(Runs(value.split()[0], '%s:%d' % (files[name], number)))
    return found


def _matches(keys: Sequence[Tuple[str, str, str]], action: str) -> bool:
    """Tell whether a rule is for events of this kind of a VIF's backend."""
    matches = {key: value for key, sign, value in keys if sign == '=='}
    return (matches.get('SUBSYSTEM') == 'xen-backend'
            and matches.get('KERNEL', 'vif*') in ('vif*', 'vif*-*', '*')
            and action in matches.get('ACTION', action).split('|'))


def _names(folder: str) -> List[str]:
    try:
        return [name for name in os.listdir(rooted(folder))
                if name.endswith('.rules')]
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(rooted(path), encoding='utf-8', errors='replace') as file:
            return file.read(SIZE_LIMIT)
    except OSError:
        return ''
