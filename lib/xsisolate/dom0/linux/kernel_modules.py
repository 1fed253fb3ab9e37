"""Which modules the running kernel can load, or has built in."""
import os
from typing import Optional

from xsisolate.paths import rooted

LISTS = ('modules.dep', 'modules.builtin')


def has_module(name: str) -> Optional[bool]:
    """Tell whether the kernel has a module of this name; None if its lists are not there."""
    found = False
    for what in LISTS:
        path = rooted('/lib/modules/%s/%s' % (os.uname().release, what))
        try:
            with open(path, encoding='ascii', errors='replace') as file:
                found = any(_stem(line) == name for line in file) or found
        except OSError:
            return None
    return found


def _stem(line: str) -> str:
    """Return the module that a line of either list begins with."""
    return os.path.basename(line.split(':')[0].strip()).split('.')[0].replace('-', '_')
