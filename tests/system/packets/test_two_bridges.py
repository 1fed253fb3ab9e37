"""Two bridges share one table of connections: what was asked on one is no question on the other."""
from typing import List, NamedTuple

from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from support.packets.frames import udp

CONFIG = '''
version: 1
unsealed: accept
groups:
  red: {rules: [udp/53]}
'''
BRIDGES = ('xenbr0', 'xapi1')


class Nic(NamedTuple):
    """Who sends a frame, or gets it."""

    mac: str
    ip: str


def start_pair(dom0: Sandbox, bridge: str) -> List[Vm]:
    """Start two members; on each bridge they have the same addresses, as tenants may choose."""
    dom0.add_bridge(bridge)
    return [dom0.start_vm('%s-%d' % (bridge, number), bridge, ipv4='10.9.0.%d/24' % number,
                          policy={'groups': 'red', 'vif/0/ipv4': '10.9.0.%d' % number})
            for number in (11, 12)]


def hears(dom0: Sandbox, pair: List[Vm], asking: bool) -> bool:
    """Have the first VM ask the second for a name, or the second answer; does it arrive?"""
    client, server = [Nic(vm.mac, '10.9.0.%d' % number) for vm, number in zip(pair, (11, 12))]
    frame = udp(client, server, 4000, 53) if asking else udp(server, client, 53, 4000)
    by, on = pair if asking else pair[::-1]
    on.sniff()
    by.send(bytes(frame))
    return bytes(frame) in on.sniffed(until=bytes(frame))


def test_an_answer_belongs_to_the_bridge_where_was_asked(dom0: Sandbox) -> None:
    """A tenant's own network must not open another one's ports."""
    dom0.configure(CONFIG)
    ours, theirs = [start_pair(dom0, bridge) for bridge in BRIDGES]
    assert not hears(dom0, ours, asking=False)
    assert hears(dom0, theirs, asking=True)
    assert not hears(dom0, ours, asking=False)
    assert hears(dom0, theirs, asking=False)
    assert hears(dom0, ours, asking=True)
    assert hears(dom0, ours, asking=False)
    assert hears(dom0, theirs, asking=False)
