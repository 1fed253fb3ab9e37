"""Questions to ovs-vswitchd itself that change nothing."""
from typing import Sequence

from xsisolate.dom0.linux.process import run

APPCTL = ('ovs-appctl', '-t', 'ovs-vswitchd')
TIMEOUT_S = 20.0


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
