"""Puts this process into network and mount namespaces of its own.

Hooks and tools then find their default paths (/run/openvswitch, /run/xenstored,
...) without any variable, two sandboxes cannot meet, and the kernel takes the
namespaces back when their last process is gone. That this happens even after a
SIGKILL is the work of a guardian process, see `guard`.
"""
import ctypes
import os
import signal
from typing import List

from sandbox.process import LIBC, LabError, die_with_parent, ip, set_sysctl

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

# /run as a whole, for nothing that is in it concerns a sandbox; elsewhere only
# the folders that Dom0's own programs write to.
PRIVATE_FOLDERS = ('/run', '/var/lib/xenstored', '/var/log/xen',
                   '/var/log/openvswitch', '/etc/openvswitch', '/etc/xapi.d',
                   '/etc/xsisolate')
DOM0_FOLDERS = ('/run/lock', '/run/openvswitch', '/run/xenstored', '/run/xen',
                '/run/nonpersistent', '/run/xsisolate')


def enter() -> None:
    """Move this process, for the rest of its life, into a sandbox; once is enough."""
    if is_inside():
        return
    if os.geteuid():
        raise LabError('the sandbox Dom0 needs root for its namespaces')
    if len(os.listdir('/proc/self/task')) > 1:
        raise LabError('unshare moves one thread only, and this process has several')
    check(LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET), 'unshare')
    make_mounts()
    guard()
    ip(['link set lo up'])
    # Dom0 has no business on its VIFs: no router solicitations, no MLD reports
    # from its own ends among the packets that tests look at.
    set_sysctl('net/ipv6/conf/default/disable_ipv6', 1)


def is_inside() -> bool:
    """Tell whether this very process made the namespaces that it is in."""
    with open('/proc/self/mounts') as mounts:
        return any(line.startswith(mark() + ' ') for line in mounts)


def mark() -> str:
    """Return what our mounts are called: a child that enters gets a sandbox of its own."""
    return 'xsisolate-lab-%d' % os.getpid()


def make_mounts() -> None:
    """Cover Dom0's folders, and show /sys/class/net of the new network namespace."""
    mount('none', '/', None, MS_REC | MS_PRIVATE)
    mount('sysfs', '/sys', 'sysfs')
    for folder in PRIVATE_FOLDERS:
        os.makedirs(folder, exist_ok=True)
        mount(mark(), folder, 'tmpfs')
    for folder in DOM0_FOLDERS:
        os.makedirs(folder, exist_ok=True)


def mount(source: str, target: str, kind: object, flags: int = 0) -> None:
    """Call mount(2)."""
    words = [ctypes.c_char_p(word.encode()) if isinstance(word, str) else None
             for word in (source, target, kind)]
    check(LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), None),
          'mount ' + target)


def check(result: int, what: str) -> None:
    """Turn a failed C call into a LabError."""
    if result:
        raise LabError('%s: %s' % (what, os.strerror(ctypes.get_errno())))


def guard() -> None:
    """Fork the guardian: when this process dies it ends all that is left in the sandbox.

    A parent-death signal reaches only children, but a hook has children of its
    own, and one of them may hang. Nobody outside can be in our mount namespace,
    so that is what tells the guardian whom to end, each by its pid.
    """
    ready, told = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        try:
            keep_watch(parent, told)
        finally:
            os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)


def keep_watch(parent: int, told: int) -> None:
    """Sleep until the parent is dead, then end its sandbox."""
    os.setsid()     # a Ctrl-C at the terminal is meant for the parent
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    die_with_parent(signal.SIGUSR1)
    os.write(told, b'.')
    os.closerange(0, 1024)      # do not keep the parent's terminal or pipes open
    if os.getppid() == parent:
        signal.sigwait({signal.SIGUSR1})
    while True:
        pids = sandbox_pids()
        if not pids:
            return
        for pid in pids:
            end(pid)


def sandbox_pids() -> List[int]:
    """Return the processes, but this one, that are in this mount namespace."""
    mine = os.readlink('/proc/self/ns/mnt')
    pids = (int(name) for name in os.listdir('/proc') if name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and namespace_of(pid) == mine]


def namespace_of(pid: int) -> str:
    """Return the name of a process's mount namespace, empty when it is gone."""
    try:
        return os.readlink('/proc/%d/ns/mnt' % pid)
    except OSError:
        return ''


def end(pid: int) -> None:
    """Kill one process; that it is gone already is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
