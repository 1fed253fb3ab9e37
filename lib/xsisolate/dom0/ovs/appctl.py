"""Questions to ovs-vswitchd itself that change nothing."""
from typing import NamedTuple, Optional, Sequence

from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.paths import rooted

APPCTL = ('ovs-appctl', '-t', 'ovs-vswitchd')
TIMEOUT_S = 20.0
KERNELS_TABLE = '/proc/sys/net/netfilter/nf_conntrack_'


class Connections(NamedTuple):
    """How many connections are tracked, and how many may be."""

    known: int
    most: int


def trace(bridge: str, packet: str, ct_next: Sequence[str] = ()) -> str:
    """Return what would become of a packet.

    `ct_next`: what connection tracking says of it, each time that it is asked; its connection has
    every bridge's label.
    """
    if not ct_next:
        return run(APPCTL + ('ofproto/trace', bridge, packet), timeout=TIMEOUT_S)
    states = [word for state in ct_next for word in ('--ct-next', state)]
    return run(APPCTL + ('ofproto/trace', bridge, packet + ',ct_label=0x' + 'f' * 32, *states),
               timeout=TIMEOUT_S)


def show_ports() -> str:
    """Return all ports with their OpenFlow and datapath numbers."""
    return run(APPCTL + ('dpif/show',), timeout=TIMEOUT_S)


def read_version() -> str:
    """Return ovs-vswitchd's version."""
    return run(APPCTL + ('version',), timeout=TIMEOUT_S).split('\n')[0].rpartition(' ')[2]


def count_connections() -> Optional[Connections]:
    """Return how full the table of connections is; None if nothing says so.

    Of its own datapath ovs-vswitchd says it, of the kernel's the kernel does.
    """
    try:
        return Connections(*[int(run(APPCTL + ('dpctl/ct-get-' + what,), timeout=TIMEOUT_S))
                             for what in ('nconns', 'maxconns')])
    except (CommandFailed, ValueError):
        pass
    try:
        found = []
        for what in ('count', 'max'):
            with open(rooted(KERNELS_TABLE + what), encoding='ascii') as file:
                found.append(int(file.read()))
        return Connections(*found)
    except (OSError, ValueError):
        return None
