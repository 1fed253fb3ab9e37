"""Where OVS's Python library comes from: the host's own copy if it can be used, else ours.

XCP-ng 8.3 and XenServer 8 ship it off sys.path, other hosts on it or not at all. The
package brings a copy, for this program only. (PyYAML, which no Dom0 has, lies beside us.)
"""
import importlib
import os
import sys

from xsisolate.errors import HostError
from xsisolate.paths import RELEASE

NEEDED = ('ovs.db.idl', 'ovs.jsonrpc', 'ovs.poller', 'ovs.stream')
HOSTS = '/usr/share/openvswitch/python'
OURS = os.path.join(RELEASE, 'bundled')


def find_ovs() -> str:
    """Make the library importable; return the folder that it comes from, '' for sys.path's."""
    for folder in ('', HOSTS, OURS):
        if _try(folder):
            return folder
    raise HostError('no usable Python library of Open vSwitch: %s is not on sys.path, in %s or '
                    'in %s' % (', '.join(NEEDED), HOSTS, OURS))


def _try(folder: str) -> bool:
    path = [folder] if folder else []
    sys.path[:0] = path
    try:
        for name in NEEDED:
            importlib.import_module(name)
        return True
    except Exception:       # missing, of Python 2, or broken: the next one is as good
        del sys.path[:len(path)]
        for name in [name for name in sys.modules if name.split('.')[0] == 'ovs']:
            del sys.modules[name]
        return False
