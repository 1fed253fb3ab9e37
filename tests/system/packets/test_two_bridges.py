"""Two bridges share one table of connections: what was asked on one is no question on the other."""
from typing import List, NamedTuple

import pytest
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from support.packets.frames import rrq, udp

CONFIG = '''
version: 1
unsealed: accept
groups:
  red: {rules: [udp/53, tftp]}
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


@pytest.fixture(scope='module')
def pairs(dom0: Sandbox) -> List[List[Vm]]:
    """Two members on either bridge."""
    dom0.configure(CONFIG)
    return [start_pair(dom0, bridge) for bridge in BRIDGES]


def gets(pair: List[Vm], asking: bool, port: int = 4001) -> bool:
    """Have the first VM ask the second for a file, or the second send data; do they arrive?"""
    client, server = [Nic(vm.mac, '10.9.0.%d' % number) for vm, number in zip(pair, (11, 12))]
    frame = rrq(client, server, port) if asking else udp(server, client, 50001, port)
    by, on = pair if asking else pair[::-1]
    on.sniff()
    by.send(bytes(frame))
    return bytes(frame) in on.sniffed(until=bytes(frame))


def hears(pair: List[Vm], asking: bool) -> bool:
    """Have the first VM ask the second for a name, or the second answer; does it arrive?"""
    client, server = [Nic(vm.mac, '10.9.0.%d' % number) for vm, number in zip(pair, (11, 12))]
    frame = udp(client, server, 4000, 53) if asking else udp(server, client, 53, 4000)
    by, on = pair if asking else pair[::-1]
    on.sniff()
    by.send(bytes(frame))
    return bytes(frame) in on.sniffed(until=bytes(frame))


def test_an_answer_belongs_to_the_bridge_where_was_asked(pairs: List[List[Vm]]) -> None:
    """A tenant's own network must not open another one's ports."""
    ours, theirs = pairs
    assert not hears(ours, asking=False)
    assert hears(theirs, asking=True)
    assert not hears(ours, asking=False)
    assert hears(theirs, asking=False)
    assert hears(ours, asking=True)
    assert hears(ours, asking=False)
    assert hears(theirs, asking=False)


def test_a_file_belongs_to_the_bridge_where_it_was_asked_for(pairs: List[List[Vm]]) -> None:
    """TFTP's data open a connection of their own, which is known by the one that asked."""
    ours, theirs = pairs
    assert not gets(ours, asking=False)
    assert gets(theirs, asking=True)
    assert not gets(ours, asking=False)
    assert gets(ours, asking=True, port=4002)
    assert gets(ours, asking=False, port=4002)
