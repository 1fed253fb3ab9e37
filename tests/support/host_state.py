"""What a hook leaves on the host beside flows: links, and keys of xenstore."""
import os
from contextlib import contextmanager
from typing import Dict, Iterator, Optional

from sandbox.process import run
from sandbox.toolstack import backend, hotplug
from sandbox.vm import Vm

CONFIG = '''\
version: 1
unsealed: accept
networks:
  xenbr0:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
XENSTORED_SOCKET = '/run/xenstored/socket'
OVSDB_SOCKET = '/run/openvswitch/db.sock'


def is_up(netdev: str) -> bool:
    """Tell whether Dom0 has set a device up."""
    with open('/sys/class/net/%s/flags' % netdev) as flags:
        return bool(int(flags.read(), 16) & 1)


def carrier_changes(netdev: str) -> int:
    """Return how often a device's carrier went and came."""
    with open('/sys/class/net/%s/carrier_changes' % netdev) as count:
        return int(count.read())


def hotplug_keys(vm: Vm, devid: int = 0) -> Dict[str, str]:
    """Return what the hooks have told xenopsd, below hotplug/."""
    folder = hotplug(vm.domain, devid)
    return vm.dom0.store.tree(folder) if vm.dom0.store.get(folder) is not None else {}


def backend_key(vm: Vm, key: str, devid: int = 0) -> Optional[str]:
    """Return a key of the VIF's backend, such as hotplug-status."""
    return vm.dom0.store.get('%s/%s' % (backend(vm.domid, devid), key))


@contextmanager
def moved_away(path: str) -> Iterator[None]:
    """Let a file, a socket for example, be missing for a while."""
    os.rename(path, path + '.away')
    try:
        yield
    finally:
        os.rename(path + '.away', path)


@contextmanager
def mounted(folder: str, options: str = '') -> Iterator[None]:
    """Cover a folder with an empty file system of a test's own."""
    os.makedirs(folder, exist_ok=True)
    run(['mount', '-t', 'tmpfs', '-o', options or 'mode=755', 'hooks-test', folder])
    try:
        yield
    finally:
        run(['umount', '--lazy', folder])


def write_script(path: str, text: str) -> None:
    """Write an executable shell script."""
    with open(path, 'w') as file:
        file.write('#!/bin/sh\n' + text)
    os.chmod(path, 0o755)
